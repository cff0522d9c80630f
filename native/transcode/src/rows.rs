//! Items of a table, as `Scan` and exports to S3 give them, to the keys and values of a snapshot's rows.
//!
//! Sources: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html> and
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html>

use std::ops::Range;

use crate::Format;
use crate::cursor::{Cursor, Sure, Unsure};
use crate::item::{Items, Numbers};
use crate::key_places::KeyPlaces;
use crate::row_envelope::RowEnvelope;
use crate::sorted::Sorter;

/// The table that rows are of, and how they are read.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// Its name.
    pub name: &'a str,
    /// The AWS region.
    pub region: &'a str,
    /// Its ARN.
    pub arn: &'a str,
    /// Its key attributes.
    pub key_names: &'a [&'a str],
    /// What kind of snapshot it is, in Debezium's words.
    pub snapshot: &'a str,
    /// When the rows were read, milliseconds since the epoch.
    pub read_ms: u64,
}

/// An item and what was made of it.
#[derive(Debug)]
pub struct Row {
    /// The message, or None for an item that is left to Python.
    pub message: Option<Message>,
    /// Where the item stands in the body; of a line that is left to Python, where the line stands.
    pub span: Range<usize>,
}

/// Where a message stands in the output.
#[derive(Debug)]
pub struct Message {
    /// Its key.
    pub key: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
}

/// Rows in their order.
#[derive(Debug, Default)]
pub struct Rows {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where the last key that was read stands in the body: JSON that the other path looks at.
    pub last_key: Option<Range<usize>>,
    /// Where the consumed capacity stands in the body, as `last_key`.
    pub capacity: Option<Range<usize>>,
    /// All keys and values.
    pub output: Vec<u8>,
}

/// A page under way.
pub struct Work<'a> {
    cursor: Cursor<'a>,
    sorter: Sorter,
    keys: KeyPlaces,
    envelope: RowEnvelope,
    format: Format,
    numbers: Numbers,
    /// The item, its key and its key as DynamoDB JSON. They keep their memory from one row to the next.
    item: Vec<u8>,
    key: Vec<u8>,
    typed_key: Vec<u8>,
    made: Rows,
}

impl<'a> Work<'a> {
    pub fn new(body: &'a [u8], format: Format, numbers: Numbers, keys: KeyPlaces, envelope: RowEnvelope) -> Self {
        Self {
            cursor: Cursor { text: body, at: 0 },
            sorter: Sorter::default(),
            keys,
            envelope,
            format,
            numbers,
            item: Vec::new(),
            key: Vec::new(),
            typed_key: Vec::new(),
            made: Rows { output: Vec::with_capacity(body.len()), ..Rows::default() },
        }
    }

    /// Reads an answer of `Scan`. Refuses it when it is not surely well-formed to its last byte.
    pub fn scan(mut self) -> Sure<Rows> {
        std::str::from_utf8(self.cursor.text).map_err(|_| Unsure)?;
        let mut has_items = false;
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"Items" if !has_items => {
                    has_items = true;
                    self.items()?;
                }
                b"LastEvaluatedKey" if self.made.last_key.is_none() => self.made.last_key = Some(self.passed()?),
                b"ConsumedCapacity" if self.made.capacity.is_none() => self.made.capacity = Some(self.passed()?),
                b"Items" | b"LastEvaluatedKey" | b"ConsumedCapacity" => return Err(Unsure),
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        self.cursor.peek_token();
        if has_items && self.cursor.at == self.cursor.text.len() { Ok(self.made) } else { Err(Unsure) }
    }

    /// Reads lines of an export, each `{"Item": …}`; whatever else a line is, it is handed back.
    pub fn lines(mut self) -> Rows {
        let body = self.cursor.text;
        let mut start = 0;
        while start < body.len() {
            let end = body[start..].iter().position(|&byte| byte == b'\n').map_or(body.len(), |length| start + length);
            self.cursor = Cursor { text: &body[..end], at: start };
            let row = self.line(start..end).unwrap_or(Row { message: None, span: start..end });
            self.made.rows.push(row);
            start = end + 1;
        }
        self.made
    }

    fn line(&mut self, line: Range<usize>) -> Sure<Row> {
        let end = line.end;
        std::str::from_utf8(&self.cursor.text[line]).map_err(|_| Unsure)?;
        self.cursor.expect(b'{')?;
        if self.cursor.name()? != b"Item" {
            return Err(Unsure);
        }
        self.cursor.peek_token();
        let start = self.cursor.at;
        let message = self.message()?;
        let span = start..self.cursor.at;
        self.cursor.expect(b'}')?;
        self.cursor.peek_token();
        if self.cursor.at == end { Ok(Row { message: Some(message), span }) } else { Err(Unsure) }
    }

    fn items(&mut self) -> Sure<()> {
        let mut more = self.cursor.opens(b'[', b']')?;
        while more {
            self.cursor.peek_token();
            let start = self.cursor.at;
            let message = self.message().ok();
            if message.is_none() {
                self.cursor.at = start;
                self.cursor.skip()?;
            }
            self.made.rows.push(Row { message, span: start..self.cursor.at });
            more = self.cursor.goes_on(b']')?;
        }
        Ok(())
    }

    /// Passes any value: gives where it stands.
    fn passed(&mut self) -> Sure<Range<usize>> {
        self.cursor.peek_token();
        let start = self.cursor.at;
        self.cursor.skip()?;
        Ok(start..self.cursor.at)
    }

    /// Converts the item that the cursor stands before.
    fn message(&mut self) -> Sure<Message> {
        let is_typed = self.format == Format::DynamoDbJson;
        self.sorter.clear();
        self.keys.clear();
        let mut items = Items { cursor: &mut self.cursor, sorter: &mut self.sorter, numbers: self.numbers };
        self.item.clear();
        items.row(is_typed, &mut self.keys, &mut self.item)?;
        let end = items.cursor.at;
        self.key.clear();
        self.keys.write(&mut items, &mut self.key, Items::key_value)?;
        if is_typed {
            self.typed_key.clear();
            self.keys.write(&mut items, &mut self.typed_key, Items::typed_value)?;
        }
        items.cursor.at = end;
        let output = &mut self.made.output;
        let key_start = output.len();
        output.extend_from_slice(&self.key);
        let key_end = output.len();
        self.envelope.write(&self.key, &self.typed_key, &self.item, output);
        Ok(Message { key: key_start..key_end, value: key_end..output.len() })
    }
}
