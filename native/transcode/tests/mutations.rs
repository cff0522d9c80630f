//! Broken pages: whatever bytes come, nothing panics, and what comes out is whole.
//!
//! `MUTATIONS=10000000 cargo test --release` tries so many; the seed is always the same.

mod whole;

use tailrace_transcode::{Format, Numbers, Transcoder};

use crate::whole::{SHARD, check, transcoders};

const BODY: &str = include_str!("pages/page.json");

/// Marsaglia's xorshift: random enough to break things with.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }

    fn mutate(&mut self, body: &mut Vec<u8>) {
        const PIECES: [&str; 14] = [
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\\ud800",
            "null",
            "\"N\"",
            "1e9",
            "99999999999999999999",
            "\u{0}",
        ];
        let at = self.below(body.len());
        match self.below(5) {
            0 => body[at] = u8::try_from(self.below(256)).unwrap(),
            1 => drop(body.drain(at..(at + 1 + self.below(8)).min(body.len()))),
            2 => drop(body.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
            3 => body[at] ^= 1 << self.below(8),
            _ => {
                let part = body[at..(at + 1 + self.below(30)).min(body.len())].to_vec();
                let to = self.below(body.len());
                body.splice(to..to, part);
            }
        }
    }
}

#[test]
fn the_page_is_whole_before_it_is_broken() {
    let page = Transcoder::new(Format::Debezium, Numbers::Exact, "shop", "1").page(BODY.as_bytes(), &SHARD, 1).unwrap();
    check(&page, BODY.as_bytes());
    assert_eq!(page.records.iter().map(|record| record.made().is_some()).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_page_that_breaks_off_is_handed_back() {
    for transcoder in transcoders() {
        for end in 0..BODY.len() {
            assert!(transcoder.page(&BODY.as_bytes()[..end], &SHARD, 1).is_none());
        }
    }
}

#[test]
fn a_broken_page_harms_nothing() {
    let count = std::env::var("MUTATIONS").map_or(100_000, |count| count.parse().unwrap());
    let transcoders = transcoders();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..count {
        let mut body = BODY.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            random.mutate(&mut body);
        }
        if let Some(page) = transcoders[round % transcoders.len()].page(&body, &SHARD, 1) {
            check(&page, &body);
        }
    }
}
