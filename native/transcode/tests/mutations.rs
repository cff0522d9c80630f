//! Broken pages: whatever bytes come, nothing panics, and what comes out is whole.
//!
//! `MUTATIONS=10000000 cargo test --release` tries so many; the seed is always the same.

use tailrace_transcode::{Format, Numbers, Page, Shard, Transcoder};

const SHARD: Shard = Shard {
    table: "orders",
    region: "eu-west-1",
    stream_arn: "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000",
    shard_id: "shardId-1",
};

const BODY: &str = r#"{"Records":[
{"eventID":"e1","eventName":"INSERT","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"eu-west-1","dynamodb":
{"ApproximateCreationDateTime":1.7145576E9,"Keys":{"id":{"S":"a\"\u00e9\ud83d\ude00"},"sort":{"N":"-1.50"}},"NewImage":
{"z":{"S":"é😀\\"},"n":{"N":"1E+20"},"b":{"B":"YWI="},"t":{"BOOL":true},"f":{"BOOL":false},"0":{"NULL":true},
"m":{"M":{"b":{"S":""},"a":{"L":[{"N":"1"},{"M":{}},{"L":[]}]}}},"ss":{"SS":["b","a","\n"]},"ns":{"NS":["3","-1","1.5"]},
"bs":{"BS":["YQ==","","YWJj"]}},"SequenceNumber":"100000000000000000001","SizeBytes":26,"StreamViewType":"NEW_IMAGE"}},
{"eventID":"e2","eventName":"REMOVE","dynamodb":{"ApproximateCreationDateTime":1714557600.123,"Keys":{"id":{"B":"YQ=="}},
"OldImage":{"id":{"B":"YQ=="},"x":{"X":[null,-1.5e3]}},"SequenceNumber":"100000000000000000002",
"StreamViewType":"OLD_IMAGE"},"userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"}},
{"eventID":"e3","eventName":"MODIFY","dynamodb":{"Keys":{"id":{"S":"b"}},"SequenceNumber":"100000000000000000003",
"StreamViewType":"KEYS_ONLY"}}],"NextShardIterator":"next"}"#;

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

fn transcoders() -> Vec<Transcoder> {
    [Format::Debezium, Format::Item, Format::DynamoDbJson, Format::CloudEvents]
        .into_iter()
        .flat_map(|format| {
            [Numbers::Exact, Numbers::String].map(|numbers| Transcoder::new(format, numbers, "shop", "1"))
        })
        .collect()
}

/// Every place is a place of text, in its order.
fn check(page: &Page, body: &[u8]) {
    let body = std::str::from_utf8(body).unwrap();
    let output = std::str::from_utf8(&page.output).unwrap();
    let mut end = 0;
    for record in &page.records {
        let span = record.span();
        assert!(end <= span.start && span.start < span.end);
        end = span.end;
        let Some(made) = record.made() else { continue };
        assert!(body[span.clone()].starts_with('{') && body[span.clone()].ends_with('}'));
        assert!(body[made.sequence.clone()].bytes().all(|digit| digit.is_ascii_digit()));
        for text in [Some(&made.key), made.value.as_ref()].into_iter().flatten() {
            assert!(output[text.clone()].starts_with('{') && output[text.clone()].ends_with('}'));
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
