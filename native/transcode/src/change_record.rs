//! What `DynamoDB` writes to a Kinesis data stream: one change, and the digests that show a repeat of it.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds.html>

use std::collections::HashSet;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::cursor::{Sure, Unsure};
use crate::record::{CREATED_MS_MAX, Fields, Once, Op, Reader};

const TABLE_NAME_MAX: usize = 255;

/// The first half of a SHA-256, which most processors compute themselves.
pub type Digest = [u8; 16];

/// A change record.
pub struct ChangeRecord<'a> {
    pub table: &'a [u8],
    pub fields: Fields<'a>,
    before: Range<usize>,
    after: Range<usize>,
}

#[derive(Default)]
struct Body {
    has_keys: bool,
    created: u64,
    is_micros: bool,
    before: Range<usize>,
    after: Range<usize>,
}

impl<'a> Reader<'a, '_> {
    /// Reads what the cursor stands before to the end of its text, and fills `converted`. A record of one of the tables
    /// of `left` is refused.
    pub fn change_record(&mut self, left: &HashSet<&[u8]>) -> Sure<ChangeRecord<'a>> {
        let mut once = Once::default();
        let (mut event_id, mut op, mut body, mut is_time_to_live) = (None, None, None, false);
        let (mut table, mut is_of_dynamodb): (&[u8], bool) = (b"", false);
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"eventID" => {
                    once.see(0)?;
                    event_id = Some(self.cursor.plain_string()?);
                }
                b"eventName" => {
                    once.see(1)?;
                    op = Some(self.op()?);
                }
                b"dynamodb" => {
                    once.see(2)?;
                    body = Some(self.body()?);
                }
                b"userIdentity" => {
                    once.see(3)?;
                    is_time_to_live = self.identity()?;
                }
                b"tableName" => {
                    once.see(4)?;
                    table = self.cursor.plain_string()?;
                    if left.contains(table) {
                        return Err(Unsure);
                    }
                }
                b"eventSource" => {
                    once.see(5)?;
                    is_of_dynamodb = self.cursor.plain_string()? == b"aws:dynamodb";
                }
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        self.cursor.peek_token();
        if !is_of_dynamodb || !is_table_name(table) || self.cursor.at != self.cursor.text.len() {
            return Err(Unsure);
        }
        let body = body.filter(|body| body.has_keys).ok_or(Unsure)?;
        let op = op.ok_or(Unsure)?;
        self.refuse_odd_images(op)?;
        let created_us = if body.is_micros { Some(body.created) } else { body.created.checked_mul(1000) };
        let created_us = created_us.filter(|us| us / 1000 <= CREATED_MS_MAX).ok_or(Unsure)?;
        let fields = Fields {
            op,
            event_id: event_id.ok_or(Unsure)?,
            created_us,
            view_type: b"NEW_AND_OLD_IMAGES",
            expired: op == Op::Delete && is_time_to_live,
        };
        Ok(ChangeRecord { table, fields, before: body.before, after: body.after })
    }

    fn body(&mut self) -> Sure<Body> {
        let mut once = Once::default();
        let mut body = Body::default();
        self.converted.before.is_there = false;
        self.converted.after.is_there = false;
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"Keys" => {
                    once.see(0)?;
                    self.keys(true)?;
                    body.has_keys = true;
                }
                b"NewImage" => {
                    once.see(1)?;
                    body.after = self.span_of(Self::after)?;
                }
                b"OldImage" => {
                    once.see(2)?;
                    body.before = self.span_of(Self::before)?;
                }
                b"ApproximateCreationDateTime" => {
                    once.see(3)?;
                    body.created = self.created()?;
                }
                b"ApproximateCreationDateTimePrecision" => {
                    once.see(4)?;
                    body.is_micros = self.is_micros()?;
                }
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        Ok(body)
    }

    /// Reads an image and gives where it stands.
    fn span_of(&mut self, read: impl FnOnce(&mut Self) -> Sure<()>) -> Sure<Range<usize>> {
        self.cursor.peek_token();
        let start = self.cursor.at;
        read(self)?;
        Ok(start..self.cursor.at)
    }

    fn created(&mut self) -> Sure<u64> {
        if self.cursor.peek_token() == b'n' {
            self.cursor.word(b"null")?;
            return Ok(0);
        }
        let digits = std::str::from_utf8(self.cursor.number()?).map_err(|_| Unsure)?;
        digits.parse().map_err(|_| Unsure)
    }

    fn is_micros(&mut self) -> Sure<bool> {
        if self.cursor.peek_token() == b'n' {
            self.cursor.word(b"null")?;
            return Ok(false);
        }
        match self.cursor.plain_string()? {
            b"MICROSECOND" => Ok(true),
            b"MILLISECOND" => Ok(false),
            _ => Err(Unsure),
        }
    }
}

impl ChangeRecord<'_> {
    /// Gives the digests of the item and of the change. `typed_keys` is in order; `data` is the record's own text.
    pub fn digests(&self, typed_keys: &[u8], has_images: (bool, bool), data: &[u8]) -> (Digest, Digest) {
        let image = |is_there: bool, span: &Range<usize>| if is_there { &data[span.clone()] } else { &[][..] };
        let (before, after) = (image(has_images.0, &self.before), image(has_images.1, &self.after));
        let item = digest([self.table, b"\0", typed_keys]);
        let op: &[u8] = match self.fields.op {
            Op::Create => b"c",
            Op::Update => b"u",
            Op::Delete => b"d",
        };
        let (created_us, length) = (self.fields.created_us.to_le_bytes(), (before.len() as u64).to_le_bytes());
        let identity = digest([&item[..], &created_us, op, &length, before, after]);
        (item, identity)
    }
}

fn digest<const PARTS: usize>(parts: [&[u8]; PARTS]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.finalize()[..size_of::<Digest>()]);
    digest
}

fn is_table_name(name: &[u8]) -> bool {
    (1..=TABLE_NAME_MAX).contains(&name.len())
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
