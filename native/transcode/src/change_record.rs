//! What `DynamoDB` writes to a Kinesis data stream: one change, and the digests that show a repeat of it.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds.html>

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use crate::cursor::{Sure, Unsure};
use crate::record::{CREATED_MS_MAX, Converted, Fields, Head, Image, Once, Op, Reader};

const TABLE_NAME_MAX: usize = 255;

/// The beginning of a SHA-256, which most processors compute themselves: as many bytes as in `change_record.py`.
pub type Digest = [u8; 15];

/// A change record.
pub struct ChangeRecord<'a> {
    pub table: &'a [u8],
    pub fields: Fields<'a>,
}

#[derive(Default)]
struct Body {
    created: u64,
    is_micros: bool,
}

impl<'a> Reader<'a, '_> {
    /// Reads what the cursor stands before to the end of its text, and fills `converted`. A record of one of the tables
    /// of `left` is refused.
    pub fn change_record(&mut self, left: &HashSet<&[u8]>) -> Sure<ChangeRecord<'a>> {
        let (mut once, mut head, mut body) = (Once::default(), Head::default(), None);
        let (mut table, mut is_of_dynamodb): (&[u8], bool) = (b"", false);
        self.converted.clear();
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"dynamodb" => {
                    once.see(0)?;
                    body = Some(self.body()?);
                }
                b"tableName" => {
                    once.see(1)?;
                    table = self.cursor.plain_string()?;
                    if left.contains(table) {
                        return Err(Unsure);
                    }
                }
                b"eventSource" => {
                    once.see(2)?;
                    is_of_dynamodb = self.cursor.plain_string()? == b"aws:dynamodb";
                }
                name => self.head(name, &mut head)?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        self.cursor.peek_token();
        if !is_of_dynamodb || !is_table_name(table) || self.cursor.at != self.cursor.text.len() {
            return Err(Unsure);
        }
        let body = body.ok_or(Unsure)?;
        let created_us = if body.is_micros { Some(body.created) } else { body.created.checked_mul(1000) };
        let created_us = created_us.filter(|us| us / 1000 <= CREATED_MS_MAX).ok_or(Unsure)?;
        Ok(ChangeRecord { table, fields: self.fields(&head, created_us, b"NEW_AND_OLD_IMAGES")? })
    }

    fn body(&mut self) -> Sure<Body> {
        let (mut once, mut once_of_images) = (Once::default(), Once::default());
        let mut body = Body::default();
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"ApproximateCreationDateTime" => {
                    once.see(0)?;
                    body.created = self.created()?;
                }
                b"ApproximateCreationDateTimePrecision" => {
                    once.see(1)?;
                    body.is_micros = self.is_micros()?;
                }
                name => self.images(name, &mut once_of_images, true)?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        Ok(body)
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
    /// Gives the digests of the item and of the change, of which `data` is the text and `converted` what was read of it.
    pub fn digests(&self, converted: &Converted, data: &[u8]) -> (Digest, Digest) {
        let text = |image: &Image| if image.is_there { &data[image.span.clone()] } else { &[][..] };
        let (before, after) = (text(&converted.before), text(&converted.after));
        let item = digest([self.table, b"\0", &converted.typed_keys]);
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
