//! The values of rows in the four formats: everything but the item is the same for a whole page.

use crate::Format;
use crate::envelope::{account, decimal, member, plain_member, rfc3339, seconds, times};
use crate::rows::Table;
use crate::strings::quote_into;

/// Writes the values of the rows of one page.
pub struct RowEnvelope {
    format: Format,
    head: Vec<u8>,
    middle: Vec<u8>,
    tail: Vec<u8>,
    quoted_key: Vec<u8>,
}

impl RowEnvelope {
    /// Prepares what all values of the page have in common. `connector` is what `connector_fields` gave.
    pub fn new(format: Format, connector: &[u8], table: &Table, now_ns: u64) -> Self {
        let (mut head, mut middle, mut tail) = (Vec::new(), Vec::new(), Vec::new());
        match format {
            Format::Debezium => {
                head.extend_from_slice(b"{\"before\":null,\"after\":");
                tail.extend_from_slice(b",\"source\":{");
                tail.extend_from_slice(connector);
                plain_member(b"snapshot", table.snapshot.as_bytes(), &mut tail);
                member(b"db", account(table.arn).as_bytes(), &mut tail);
                member(b"table", table.name.as_bytes(), &mut tail);
                tail.extend_from_slice(b",\"shard\":null,\"stream\":null");
                member(b"region", table.region.as_bytes(), &mut tail);
                tail.extend_from_slice(b",\"view_type\":null,\"sequence\":null,\"event_id\":null");
                times(table.read_ms * 1000, &mut tail);
                tail.push(b'}');
                plain_member(b"op", b"r", &mut tail);
                tail.extend_from_slice(
                    format!(
                        ",\"ts_ms\":{},\"ts_us\":{},\"ts_ns\":{now_ns},\"transaction\":null}}",
                        now_ns / 1_000_000,
                        now_ns / 1_000
                    )
                    .as_bytes(),
                );
            }
            Format::CloudEvents => {
                head.push(b'@');
                decimal(table.read_ms, &mut head);
                head.push(b'"');
                member(b"source", table.arn.as_bytes(), &mut head);
                plain_member(b"type", b"com.amazonaws.dynamodb.item.read", &mut head);
                head.extend_from_slice(b",\"subject\":");
                if table.read_ms != 0 {
                    middle.extend_from_slice(b",\"time\":\"");
                    rfc3339(table.read_ms, &mut middle);
                    middle.push(b'"');
                }
                plain_member(b"datacontenttype", b"application/json", &mut middle);
                middle.extend_from_slice(b",\"partitionkey\":");
            }
            Format::DynamoDbJson => {
                head.extend_from_slice(b"{\"eventID\":null,\"eventName\":\"INSERT\"");
                head.extend_from_slice(b",\"eventVersion\":\"1.1\",\"eventSource\":\"aws:dynamodb\"");
                member(b"awsRegion", table.region.as_bytes(), &mut head);
                head.extend_from_slice(b",\"dynamodb\":{\"ApproximateCreationDateTime\":");
                seconds(table.read_ms, &mut head);
                head.extend_from_slice(b",\"Keys\":");
                tail.extend_from_slice(b",\"SequenceNumber\":null,\"StreamViewType\":null}");
                member(b"eventSourceARN", table.arn.as_bytes(), &mut tail);
                tail.push(b'}');
            }
            Format::Item => {}
        }
        Self { format, head, middle, tail, quoted_key: Vec::new() }
    }

    /// Appends the value of a row: `key` is its message key, `typed_key` the same as DynamoDB JSON, `item` the item,
    /// both as the format shows them.
    pub fn write(&mut self, key: &[u8], typed_key: &[u8], item: &[u8], out: &mut Vec<u8>) {
        match self.format {
            Format::Debezium | Format::Item => {
                out.extend_from_slice(&self.head);
                out.extend_from_slice(item);
            }
            Format::DynamoDbJson => {
                out.extend_from_slice(&self.head);
                out.extend_from_slice(typed_key);
                out.extend_from_slice(b",\"NewImage\":");
                out.extend_from_slice(item);
            }
            Format::CloudEvents => {
                self.quoted_key.clear();
                quote_into(key, &mut self.quoted_key);
                out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":");
                out.extend_from_slice(&self.quoted_key);
                out.pop(); // the key's quote: its time follows
                out.extend_from_slice(&self.head);
                out.extend_from_slice(&self.quoted_key);
                out.extend_from_slice(&self.middle);
                out.extend_from_slice(&self.quoted_key);
                out.extend_from_slice(b",\"data\":{\"before\":null,\"after\":");
                out.extend_from_slice(item);
                out.extend_from_slice(b",\"keys\":");
                out.extend_from_slice(key);
                out.extend_from_slice(b"}}");
            }
        }
        out.extend_from_slice(&self.tail);
    }
}
