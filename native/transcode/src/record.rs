//! One record of a page: its fields in whatever order they come, its images converted as they are passed.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html>

use std::ops::Range;

use crate::Format;
use crate::cursor::{Cursor, Sure, Unsure};
use crate::item::{Items, Numbers};
use crate::sorted::Sorter;

/// The latest time whose nanoseconds fit in 64 bits (the year 2262).
pub const CREATED_MS_MAX: u64 = (1 << 63) / 1_000_000;
pub const SEQUENCE_DIGITS_MAX: usize = 40;

/// What happened to the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// INSERT
    Create,
    /// MODIFY
    Update,
    /// REMOVE
    Delete,
}

/// A record's fields.
pub struct Fields<'a> {
    pub op: Op,
    pub event_id: &'a [u8],
    /// As precise as the record says.
    pub created_us: u64,
    pub view_type: &'a [u8],
    /// Time to Live deleted the item.
    pub expired: bool,
}

/// What was made of a record's keys and images. It keeps its memory from one record to the next.
#[derive(Default)]
pub struct Converted {
    /// The message key.
    pub key: Vec<u8>,
    /// The key attributes as DynamoDB JSON in order, where the format shows them.
    pub typed_keys: Vec<u8>,
    pub before: Image,
    pub after: Image,
}

impl Converted {
    /// Forgets the last record.
    pub fn clear(&mut self) {
        self.key.clear();
        self.before.is_there = false;
        self.after.is_there = false;
    }
}

/// One image, converted as the format needs it.
#[derive(Default)]
pub struct Image {
    pub is_there: bool,
    /// Where it stands in the text that was read.
    pub span: Range<usize>,
    pub json: Vec<u8>,
}

/// Members that may come once only: of two, parsers differ in which they take.
#[derive(Default)]
pub struct Once(u32);

impl Once {
    pub fn see(&mut self, member: u32) -> Sure<()> {
        if self.0 & (1 << member) != 0 {
            return Err(Unsure);
        }
        self.0 |= 1 << member;
        Ok(())
    }
}

/// What records of DynamoDB Streams and of Kinesis say alike, beside keys and images.
#[derive(Default)]
pub struct Head<'a> {
    once: Once,
    event_id: Option<&'a [u8]>,
    op: Option<Op>,
    is_time_to_live: bool,
}

#[derive(Default)]
struct StreamRecord<'a> {
    created_ms: u64,
    sequence: Option<Range<usize>>,
    view_type: Option<&'a [u8]>,
}

/// Reads the record that the cursor stands before.
pub struct Reader<'a, 'b> {
    pub cursor: &'b mut Cursor<'a>,
    pub sorter: &'b mut Sorter,
    pub converted: &'b mut Converted,
    pub format: Format,
    pub numbers: Numbers,
}

impl<'a> Reader<'a, '_> {
    /// Reads it whole and fills `converted`; gives where its sequence number, decimal digits, stands, too.
    pub fn record(&mut self) -> Sure<(Fields<'a>, Range<usize>)> {
        let (mut once, mut head, mut body) = (Once::default(), Head::default(), None);
        self.converted.clear();
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"dynamodb" => {
                    once.see(0)?;
                    body = Some(self.stream_record()?);
                }
                name => self.head(name, &mut head)?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        let body = body.ok_or(Unsure)?;
        let fields = self.fields(&head, body.created_ms * 1000, body.view_type.ok_or(Unsure)?)?;
        Ok((fields, body.sequence.ok_or(Unsure)?))
    }

    /// Reads the value of a member of a record, or passes it if it says nothing to `head`.
    #[inline]
    pub fn head(&mut self, name: &[u8], head: &mut Head<'a>) -> Sure<()> {
        match name {
            b"eventID" => {
                head.once.see(0)?;
                head.event_id = Some(self.cursor.plain_string()?);
            }
            b"eventName" => {
                head.once.see(1)?;
                head.op = Some(self.op()?);
            }
            b"userIdentity" => {
                head.once.see(2)?;
                head.is_time_to_live = self.identity()?;
            }
            _ => self.cursor.skip()?,
        }
        Ok(())
    }

    /// Reads the value of a member of a record's body into `converted`, or passes it if it is not the keys or an image;
    /// `typed` keys are needed, too.
    #[inline]
    pub fn images(&mut self, name: &[u8], once: &mut Once, typed: bool) -> Sure<()> {
        match name {
            b"Keys" => {
                once.see(0)?;
                self.keys(typed)?;
            }
            b"NewImage" => {
                once.see(1)?;
                self.after()?;
            }
            b"OldImage" => {
                once.see(2)?;
                self.before()?;
            }
            _ => self.cursor.skip()?,
        }
        Ok(())
    }

    /// Gives the fields of a record that was read.
    pub fn fields(&self, head: &Head<'a>, created_us: u64, view_type: &'a [u8]) -> Sure<Fields<'a>> {
        let op = head.op.ok_or(Unsure)?;
        if self.converted.key.is_empty() {
            return Err(Unsure);
        }
        self.refuse_odd_images(op)?;
        Ok(Fields {
            op,
            event_id: head.event_id.ok_or(Unsure)?,
            created_us,
            view_type,
            expired: op == Op::Delete && head.is_time_to_live,
        })
    }

    /// An image that the operation cannot have is never read by the other path.
    fn refuse_odd_images(&self, op: Op) -> Sure<()> {
        let is_odd = match op {
            Op::Create => self.converted.before.is_there,
            Op::Update => false,
            Op::Delete => self.converted.after.is_there,
        };
        if is_odd { Err(Unsure) } else { Ok(()) }
    }

    fn stream_record(&mut self) -> Sure<StreamRecord<'a>> {
        let (mut once, mut once_of_images) = (Once::default(), Once::default());
        let mut body = StreamRecord::default();
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"SequenceNumber" => {
                    once.see(0)?;
                    body.sequence = Some(self.sequence()?);
                }
                b"ApproximateCreationDateTime" => {
                    once.see(1)?;
                    body.created_ms = self.created_ms()?;
                }
                b"StreamViewType" => {
                    once.see(2)?;
                    body.view_type = Some(self.view_type()?);
                }
                name => self.images(name, &mut once_of_images, self.format == Format::DynamoDbJson)?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        Ok(body)
    }

    /// Reads what happened to the item.
    fn op(&mut self) -> Sure<Op> {
        match self.cursor.plain_string()? {
            b"INSERT" => Ok(Op::Create),
            b"MODIFY" => Ok(Op::Update),
            b"REMOVE" => Ok(Op::Delete),
            _ => Err(Unsure),
        }
    }

    /// Reads the key attributes: as the message key and, if `typed`, as DynamoDB JSON in order.
    fn keys(&mut self, typed: bool) -> Sure<()> {
        let start = self.cursor.at;
        let Self { cursor, sorter, converted, .. } = self;
        let mut items = Items { cursor, sorter, numbers: self.numbers };
        converted.key.clear();
        items.message_key(&mut converted.key)?;
        if typed {
            items.cursor.at = start;
            converted.typed_keys.clear();
            items.in_order(&mut converted.typed_keys)?;
        }
        Ok(())
    }

    /// Reads the old image.
    fn before(&mut self) -> Sure<()> {
        if self.format == Format::Item {
            // The bare item never shows it: it need only be an object or null.
            let first = self.cursor.peek_token();
            if !matches!(first, b'{' | b'n') {
                return Err(Unsure);
            }
            let start = self.cursor.at;
            self.cursor.skip()?;
            self.converted.before.is_there = first == b'{';
            self.converted.before.span = start..self.cursor.at;
            return Ok(());
        }
        let Self { cursor, sorter, converted, .. } = self;
        image(&mut Items { cursor, sorter, numbers: self.numbers }, self.format, &mut converted.before)
    }

    /// Reads the new image.
    fn after(&mut self) -> Sure<()> {
        let Self { cursor, sorter, converted, .. } = self;
        image(&mut Items { cursor, sorter, numbers: self.numbers }, self.format, &mut converted.after)
    }

    fn sequence(&mut self) -> Sure<Range<usize>> {
        let span = self.cursor.string()?.span;
        let digits = &self.cursor.text[span.clone()];
        let is_right = (1..=SEQUENCE_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        if is_right { Ok(span) } else { Err(Unsure) }
    }

    /// Reads seconds since the epoch; null is 0, as if absent.
    fn created_ms(&mut self) -> Sure<u64> {
        if self.cursor.peek_token() == b'n' {
            self.cursor.word(b"null")?;
            return Ok(0);
        }
        seconds_as_ms(self.cursor)
    }

    fn view_type(&mut self) -> Sure<&'a [u8]> {
        let view_type = self.cursor.plain_string()?;
        match view_type {
            b"NEW_AND_OLD_IMAGES" | b"NEW_IMAGE" | b"OLD_IMAGE" | b"KEYS_ONLY" => Ok(view_type),
            _ => Err(Unsure),
        }
    }

    /// Tells whether Time to Live made the change: Lambda writes the names with a small first letter.
    fn identity(&mut self) -> Sure<bool> {
        if self.cursor.peek_token() == b'n' {
            self.cursor.word(b"null")?;
            return Ok(false);
        }
        let mut once = Once::default();
        let (mut kind, mut principal): (&[u8], &[u8]) = (b"", b"");
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"type" | b"Type" => {
                    once.see(0)?;
                    kind = self.cursor.plain_string()?;
                }
                b"principalId" | b"PrincipalId" => {
                    once.see(1)?;
                    principal = self.cursor.plain_string()?;
                }
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        Ok(kind == b"Service" && principal == b"dynamodb.amazonaws.com")
    }
}

fn image(items: &mut Items, format: Format, image: &mut Image) -> Sure<()> {
    if items.cursor.peek_token() == b'n' {
        return items.cursor.word(b"null");
    }
    let start = items.cursor.at;
    image.json.clear();
    if format == Format::DynamoDbJson {
        // Any JSON is put in order, but an image is an object.
        if items.cursor.peek() != b'{' {
            return Err(Unsure);
        }
        items.in_order(&mut image.json)?;
    } else {
        items.item(&mut image.json)?;
    }
    image.is_there = true;
    image.span = start..items.cursor.at;
    Ok(())
}

/// Reads seconds since the epoch, and gives them in milliseconds.
pub fn seconds_as_ms(cursor: &mut Cursor) -> Sure<u64> {
    let text = std::str::from_utf8(cursor.number()?).map_err(|_| Unsure)?;
    let milliseconds = match text.parse::<u64>() {
        Ok(seconds) => seconds.checked_mul(1000),
        Err(_) => text.parse().ok().and_then(rounded_milliseconds),
    };
    milliseconds.filter(|&milliseconds| milliseconds <= CREATED_MS_MAX).ok_or(Unsure)
}

/// Rounds as Python does: half a millisecond to the even one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are checked just before")]
fn rounded_milliseconds(seconds: f64) -> Option<u64> {
    let milliseconds = (seconds * 1000.0).round_ties_even();
    (0.0..1e15).contains(&milliseconds).then_some(milliseconds as u64)
}
