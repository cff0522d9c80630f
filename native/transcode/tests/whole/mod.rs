//! What must hold for whatever comes out of a page, broken or not; shared with `native/fuzz`.

use tailrace_transcode::{Format, Log, LogPage, Numbers, Page, Rows, Shard, Table, Transcoder};

/// Whose page it is.
pub const SHARD: Shard = Shard {
    table: "orders",
    region: "eu-west-1",
    stream_arn: "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000",
    shard_id: "shardId-1",
};

/// Whose page of Kinesis it is.
pub const LOG: Log = Log {
    region: "eu-west-1",
    stream_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/shop-cdc/1714557600000",
    shard_id: "shardId-000000000000",
    left: &["left"],
};

/// Whose rows they are.
pub const TABLE: Table = Table {
    name: "orders",
    region: "eu-west-1",
    arn: "arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
    key_names: &["id", "sort"],
    snapshot: "true",
    read_ms: 1_714_557_600_000,
};

/// One for each format and each way to write numbers.
pub fn transcoders() -> Vec<Transcoder> {
    [Format::Debezium, Format::Item, Format::DynamoDbJson, Format::CloudEvents]
        .into_iter()
        .flat_map(|format| {
            [Numbers::Exact, Numbers::String].map(|numbers| Transcoder::new(format, numbers, "shop", "1"))
        })
        .collect()
}

/// Every place is a place of text, in its order.
pub fn check(page: &Page, body: &[u8]) {
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

/// Every place of a page of Kinesis is a place of text, in its order, and of a table that the page names.
pub fn check_log(page: &LogPage, body: &[u8]) {
    let body = std::str::from_utf8(body).unwrap();
    let output = std::str::from_utf8(&page.output).unwrap();
    let mut end = 0;
    for record in &page.records {
        assert!(end <= record.span.start && record.span.start < record.span.end);
        end = record.span.end;
        let Some(change) = &record.change else { continue };
        assert!(body[record.span.clone()].starts_with('{') && body[record.span.clone()].ends_with('}'));
        assert!(body[change.sequence.clone()].bytes().all(|digit| digit.is_ascii_digit()));
        assert!(!page.tables[change.table].is_empty() && page.tables[change.table] != "left");
        for text in [Some(&change.key), change.value.as_ref()].into_iter().flatten() {
            assert!(output[text.clone()].starts_with('{') && output[text.clone()].ends_with('}'));
        }
    }
}

/// Every place of rows is a place of text, in its order; a line that is not text is one that was left.
pub fn check_rows(rows: &Rows, body: &[u8]) {
    let output = std::str::from_utf8(&rows.output).unwrap();
    let mut end = 0;
    for row in &rows.rows {
        assert!(end <= row.span.start && row.span.start <= row.span.end);
        end = row.span.end;
        let Some(message) = &row.message else { continue };
        let item = std::str::from_utf8(&body[row.span.clone()]).unwrap();
        assert!(item.starts_with('{') && item.ends_with('}'));
        for text in [&message.key, &message.value] {
            assert!(output[text.clone()].starts_with('{') && output[text.clone()].ends_with('}'));
        }
    }
    for place in [&rows.last_key, &rows.capacity].into_iter().flatten() {
        assert!(place.start < place.end && std::str::from_utf8(&body[place.clone()]).is_ok());
    }
}
