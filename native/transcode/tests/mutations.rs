//! Broken pages: whatever bytes come, nothing panics, and what comes out is whole.
//!
//! `MUTATIONS=10000000 cargo test --release` tries so many; the seed is always the same.

mod whole;

use tailrace_transcode::{Format, Numbers, Transcoder};

use crate::whole::{LOG, SHARD, TABLE, check, check_log, check_rows, transcoders};

const BODY: &str = include_str!("pages/page.json");
const LOGGED: &str = include_str!("pages/log.json");
const SCANNED: &str = include_str!("pages/scan.json");
const LINES: &str = include_str!("pages/export.jsonl");

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

#[test]
fn a_page_of_kinesis_is_whole_before_it_is_broken() {
    let transcoder = Transcoder::new(Format::Debezium, Numbers::Exact, "shop", "1");
    let page = transcoder.log_page(LOGGED.as_bytes(), &LOG, 1).unwrap();
    check_log(&page, LOGGED.as_bytes());
    assert_eq!(page.records.iter().map(|record| record.change.is_some()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(page.tables, ["orders", "users"]);
}

#[test]
fn a_page_of_kinesis_that_breaks_off_is_handed_back() {
    for transcoder in transcoders() {
        for end in 0..LOGGED.len() {
            assert!(transcoder.log_page(&LOGGED.as_bytes()[..end], &LOG, 1).is_none());
        }
    }
}

#[test]
fn a_broken_page_of_kinesis_harms_nothing() {
    let count = std::env::var("MUTATIONS").map_or(100_000, |count| count.parse().unwrap());
    let transcoders = transcoders();
    let mut random = Random(0x1357_9BDF_0246_8ACE);
    for round in 0..count {
        let mut body = LOGGED.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            random.mutate(&mut body);
        }
        if let Some(page) = transcoders[round % transcoders.len()].log_page(&body, &LOG, 1) {
            check_log(&page, &body);
        }
    }
}

#[test]
fn rows_are_whole_before_they_are_broken() {
    let transcoder = Transcoder::new(Format::Debezium, Numbers::Exact, "shop", "1");
    let scanned = transcoder.scan(SCANNED.as_bytes(), &TABLE, 1).unwrap();
    let lines = transcoder.export_lines(LINES.as_bytes(), &TABLE, 1);
    for (rows, body) in [(&scanned, SCANNED), (&lines, LINES)] {
        check_rows(rows, body.as_bytes());
        assert_eq!(rows.rows.iter().map(|row| row.message.is_some()).collect::<Vec<_>>(), [true, false, true]);
    }
    let place = |place: Option<std::ops::Range<usize>>| &SCANNED[place.unwrap()];
    assert!(place(scanned.last_key).starts_with("{\"id\""));
    assert!(place(scanned.capacity).contains("\"CapacityUnits\""));
}

#[test]
fn a_scan_that_breaks_off_is_handed_back() {
    let body = SCANNED.trim_end();
    for transcoder in transcoders() {
        for end in 0..body.len() {
            assert!(transcoder.scan(&body.as_bytes()[..end], &TABLE, 1).is_none());
        }
    }
}

#[test]
fn broken_rows_harm_nothing() {
    let count = std::env::var("MUTATIONS").map_or(100_000, |count| count.parse().unwrap());
    let transcoders = transcoders();
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for round in 0..count {
        let transcoder = &transcoders[round % transcoders.len()];
        let mut body = if round % 2 == 0 { SCANNED } else { LINES }.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            random.mutate(&mut body);
        }
        if let Some(rows) = transcoder.scan(&body, &TABLE, 1) {
            check_rows(&rows, &body);
        }
        let rows = transcoder.export_lines(&body, &TABLE, 1);
        check_rows(&rows, &body);
        assert_eq!(rows.rows.len(), body.split_inclusive(|&byte| byte == b'\n').count());
    }
}
