//! The values of the four formats, put together from converted images and what is the same for a whole page.

use crate::cursor::Sure;
use crate::record::{Converted, Fields, Op};
use crate::strings::quote_into;
use crate::{Format, Shard};

/// Writes the values of one page.
pub struct Envelopes {
    format: Format,
    sequence_digits: usize,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Envelopes {
    /// Prepares what all values of a table's changes in the page have in common. `connector` is what `connector_fields`
    /// gave, `sequence_digits` the most that the source's sequence numbers have.
    pub fn new(format: Format, connector: &[u8], shard: &Shard, sequence_digits: usize, now_ns: u64) -> Self {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        match format {
            Format::Debezium => {
                head.extend_from_slice(b",\"source\":{");
                head.extend_from_slice(connector);
                head.extend_from_slice(b",\"snapshot\":\"false\"");
                member(b"db", account(shard.stream_arn).as_bytes(), &mut head);
                member(b"table", shard.table.as_bytes(), &mut head);
                member(b"shard", shard.shard_id.as_bytes(), &mut head);
                member(b"stream", shard.stream_arn.as_bytes(), &mut head);
                member(b"region", shard.region.as_bytes(), &mut head);
                tail.extend_from_slice(
                    format!(
                        ",\"ts_ms\":{},\"ts_us\":{},\"ts_ns\":{now_ns},\"transaction\":null}}",
                        now_ns / 1_000_000,
                        now_ns / 1_000
                    )
                    .as_bytes(),
                );
            }
            Format::CloudEvents => member(b"source", shard.stream_arn.as_bytes(), &mut head),
            Format::DynamoDbJson => {
                head.extend_from_slice(b",\"eventVersion\":\"1.1\",\"eventSource\":\"aws:dynamodb\"");
                member(b"awsRegion", shard.region.as_bytes(), &mut head);
                member(b"eventSourceARN", shard.stream_arn.as_bytes(), &mut tail);
                tail.push(b'}');
            }
            Format::Item => {}
        }
        Self { format, sequence_digits, head, tail }
    }

    /// Appends the value of a change and gives true, or gives false when its value is null.
    pub fn write(&self, fields: &Fields, converted: &Converted, sequence: &[u8], out: &mut Vec<u8>) -> Sure<bool> {
        match self.format {
            Format::Debezium => self.debezium(fields, converted, sequence, out),
            Format::CloudEvents => self.cloud_event(fields, converted, sequence, out),
            Format::DynamoDbJson => self.dynamodb_json(fields, converted, sequence, out),
            Format::Item => return item(fields, converted, out),
        }
        Ok(true)
    }

    fn debezium(&self, fields: &Fields, converted: &Converted, sequence: &[u8], out: &mut Vec<u8>) {
        let images = Images::of(fields.op, converted);
        out.extend_from_slice(b"{\"before\":");
        out.extend_from_slice(images.before);
        out.extend_from_slice(b",\"after\":");
        out.extend_from_slice(images.after);
        out.extend_from_slice(&self.head);
        plain_member(b"view_type", fields.view_type, out);
        plain_member(b"sequence", sequence, out);
        plain_member(b"event_id", fields.event_id, out);
        times(fields.created_us, out);
        if fields.expired {
            out.extend_from_slice(b",\"ttl\":true");
        }
        out.extend_from_slice(images.notes);
        out.push(b'}');
        plain_member(b"op", op_letter(fields.op), out);
        out.extend_from_slice(&self.tail);
    }

    fn cloud_event(&self, fields: &Fields, converted: &Converted, sequence: &[u8], out: &mut Vec<u8>) {
        let images = Images::of(fields.op, converted);
        let kind: &[u8] = match fields.op {
            Op::Create => b"com.amazonaws.dynamodb.item.created",
            Op::Update => b"com.amazonaws.dynamodb.item.updated",
            Op::Delete => b"com.amazonaws.dynamodb.item.deleted",
        };
        out.extend_from_slice(b"{\"specversion\":\"1.0\"");
        plain_member(b"id", fields.event_id, out);
        out.extend_from_slice(&self.head);
        plain_member(b"type", kind, out);
        member(b"subject", &converted.key, out);
        if fields.created_us >= 1000 {
            out.extend_from_slice(b",\"time\":\"");
            rfc3339(fields.created_us / 1000, out);
            out.push(b'"');
        }
        plain_member(b"datacontenttype", b"application/json", out);
        member(b"partitionkey", &converted.key, out);
        out.extend_from_slice(b",\"sequence\":\"");
        out.resize(out.len() + self.sequence_digits.saturating_sub(sequence.len()), b'0');
        out.extend_from_slice(sequence);
        out.extend_from_slice(b"\",\"data\":{\"before\":");
        out.extend_from_slice(images.before);
        out.extend_from_slice(b",\"after\":");
        out.extend_from_slice(images.after);
        out.extend_from_slice(b",\"keys\":");
        out.extend_from_slice(&converted.key);
        out.extend_from_slice(images.notes);
        if fields.expired {
            out.extend_from_slice(b",\"ttl\":true");
        }
        out.extend_from_slice(b"}}");
    }

    fn dynamodb_json(&self, fields: &Fields, converted: &Converted, sequence: &[u8], out: &mut Vec<u8>) {
        let name: &[u8] = match fields.op {
            Op::Create => b"INSERT",
            Op::Update => b"MODIFY",
            Op::Delete => b"REMOVE",
        };
        out.extend_from_slice(b"{\"eventID\":\"");
        out.extend_from_slice(fields.event_id);
        out.push(b'"');
        plain_member(b"eventName", name, out);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"dynamodb\":{\"ApproximateCreationDateTime\":");
        seconds(fields.created_us / 1000, out);
        out.extend_from_slice(b",\"Keys\":");
        out.extend_from_slice(&converted.typed_keys);
        for (name, image) in [(&b",\"NewImage\":"[..], &converted.after), (b",\"OldImage\":", &converted.before)] {
            if image.is_there {
                out.extend_from_slice(name);
                out.extend_from_slice(&image.json);
            }
        }
        plain_member(b"SequenceNumber", sequence, out);
        plain_member(b"StreamViewType", fields.view_type, out);
        out.push(b'}');
        if fields.expired {
            out.extend_from_slice(
                b",\"userIdentity\":{\"type\":\"Service\",\"principalId\":\"dynamodb.amazonaws.com\"}",
            );
        }
        out.extend_from_slice(&self.tail);
    }
}

fn item(fields: &Fields, converted: &Converted, out: &mut Vec<u8>) -> Sure<bool> {
    if fields.op == Op::Delete {
        return Ok(false);
    }
    if !converted.after.is_there {
        return Err(crate::cursor::Unsure);
    }
    out.extend_from_slice(&converted.after.json);
    Ok(true)
}

/// Gives the members that tell the connector, without braces.
pub fn connector_fields(version: &str, pipeline: &str) -> Vec<u8> {
    let mut fields = b"\"version\":".to_vec();
    quote_into(version.as_bytes(), &mut fields);
    plain_member(b"connector", b"dynamodb", &mut fields);
    member(b"name", pipeline.as_bytes(), &mut fields);
    fields
}

/// What a change shows of its item. A delete shows at least the key before it, any other change at least after it.
struct Images<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// Members with a comma before each: which image is null although there was one, which holds the key alone.
    notes: &'static [u8],
}

impl<'a> Images<'a> {
    fn of(op: Op, converted: &'a Converted) -> Self {
        const NULL: &[u8] = b"null";
        let (before, after) = (&converted.before, &converted.after);
        Self {
            before: match op {
                Op::Create => NULL,
                _ if before.is_there => &before.json,
                Op::Update => NULL,
                Op::Delete => &converted.key,
            },
            after: match op {
                Op::Delete => NULL,
                _ if after.is_there => &after.json,
                _ => &converted.key,
            },
            notes: match (op, before.is_there, after.is_there) {
                (Op::Delete, false, _) => b",\"keys_only\":[\"before\"]",
                (Op::Update, false, false) => b",\"missing\":[\"before\"],\"keys_only\":[\"after\"]",
                (Op::Update, false, true) => b",\"missing\":[\"before\"]",
                (Op::Create | Op::Update, _, false) => b",\"keys_only\":[\"after\"]",
                _ => b"",
            },
        }
    }
}

fn op_letter(op: Op) -> &'static [u8] {
    match op {
        Op::Create => b"c",
        Op::Update => b"u",
        Op::Delete => b"d",
    }
}

/// Appends a comma and a member whose value is a string.
pub fn member(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
    quote_into(value, out);
}

/// Does as `member` for a value that needs no escapes.
pub fn plain_member(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(value);
    out.push(b'"');
}

/// Gives the AWS account id of an ARN (`arn:partition:service:region:account:resource`), "" if it has none.
pub fn account(arn: &str) -> &str {
    let mut parts = arn.split(':');
    let account = parts.nth(4);
    account.filter(|_| parts.next().is_some()).unwrap_or("")
}

/// Appends when the change was made, known in microseconds, in three units.
pub fn times(us: u64, out: &mut Vec<u8>) {
    let (ms, rest) = (us / 1000, us % 1000);
    out.extend_from_slice(b",\"ts_ms\":");
    let start = out.len();
    decimal(ms, out);
    let head = start..out.len();
    out.extend_from_slice(b",\"ts_us\":");
    let start = out.len();
    if ms == 0 {
        decimal(rest, out);
    } else {
        out.extend_from_within(head);
        padded(rest, 3, out);
    }
    let digits = start..out.len();
    out.extend_from_slice(b",\"ts_ns\":");
    out.extend_from_within(digits);
    if us != 0 {
        out.extend_from_slice(b"000");
    }
}

/// Appends seconds as DynamoDB writes them, with the milliseconds only when there are any.
pub fn seconds(milliseconds: u64, out: &mut Vec<u8>) {
    decimal(milliseconds / 1000, out);
    if !milliseconds.is_multiple_of(1000) {
        out.push(b'.');
        padded(milliseconds % 1000, 3, out);
    }
}

/// Appends a time as RFC 3339, in UTC.
pub fn rfc3339(milliseconds: u64, out: &mut Vec<u8>) {
    let (days, rest) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    let (year, month, day) = civil(days);
    padded(year, 4, out);
    for (before, number) in
        [(b'-', month), (b'-', day), (b'T', rest / 3_600_000), (b':', rest / 60_000 % 60), (b':', rest / 1000 % 60)]
    {
        out.push(before);
        padded(number, 2, out);
    }
    out.push(b'.');
    padded(rest % 1000, 3, out);
    out.push(b'Z');
}

/// Gives year, month and day of a number of days since 1970-01-01, counting years from March, 400 at a time.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

pub fn decimal(number: u64, out: &mut Vec<u8>) {
    padded(number, 1, out);
}

/// Appends a number with at least `width` digits.
fn padded(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_the_calendar_says() {
        for (milliseconds, expected) in [
            (1, "1970-01-01T00:00:00.001Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (9_223_372_036_854, "2262-04-11T23:47:16.854Z"),
        ] {
            assert_eq!(text(|out| rfc3339(milliseconds, out)), expected);
        }
    }

    #[test]
    fn seconds_have_milliseconds_only_when_there_are_any() {
        assert_eq!(text(|out| seconds(1_714_557_600_000, out)), "1714557600");
        assert_eq!(text(|out| seconds(1_714_557_600_020, out)), "1714557600.020");
        assert_eq!(text(|out| seconds(0, out)), "0");
    }

    #[test]
    fn an_account_is_the_fifth_part_of_an_arn() {
        assert_eq!(account("arn:aws:dynamodb:eu-west-1:123:table/a:b"), "123");
        assert_eq!(account("arn:aws:dynamodb:eu-west-1:123"), "");
        assert_eq!(account(""), "");
    }
}
