//! Pages of DynamoDB Streams and of Kinesis, and items of tables, to the keys and values of Kafka records, in one pass over the bytes.
//!
//! It makes what the Python of Tailrace makes, byte for byte, or says that it is not sure: a record that is unusual in
//! any way, or a whole page, is handed back, and the Python takes it. So it may refuse whatever is rare.

#![forbid(unsafe_code)]

mod base64;
mod change_record;
mod cursor;
mod envelope;
mod item;
mod key_places;
mod log;
mod number;
mod record;
mod row_envelope;
mod rows;
mod sorted;
mod strings;

use std::ops::Range;

use cursor::{Cursor, Sure, Unsure};
use envelope::Envelopes;
pub use item::Numbers;
use key_places::KeyPlaces;
pub use log::{Change, Log, LogPage, LogRecord};
use record::{Converted, Op, Reader, SEQUENCE_DIGITS_MAX};
use row_envelope::RowEnvelope;
pub use rows::{Message, Row, Rows, Table};
use sorted::Sorter;

/// What the values are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Debezium's envelope.
    Debezium,
    /// The bare item.
    Item,
    /// The record of a Lambda event.
    DynamoDbJson,
    /// CloudEvents 1.0, structured.
    CloudEvents,
}

/// The shard that a page is of.
#[derive(Debug, Clone, Copy)]
pub struct Shard<'a> {
    /// The table's name.
    pub table: &'a str,
    /// The AWS region.
    pub region: &'a str,
    /// The stream's ARN.
    pub stream_arn: &'a str,
    /// The shard's id.
    pub shard_id: &'a str,
}

/// A record of a page.
#[derive(Debug)]
pub enum Record {
    /// It was converted.
    Made(Made),
    /// It is left to Python: where it stands in the body.
    HandedBack(Range<usize>),
}

impl Record {
    /// Gives what was made of it, if anything was.
    #[must_use]
    pub fn made(&self) -> Option<&Made> {
        match self {
            Self::Made(made) => Some(made),
            Self::HandedBack(_) => None,
        }
    }

    /// Gives where it stands in the body.
    #[must_use]
    pub fn span(&self) -> &Range<usize> {
        match self {
            Self::Made(made) => &made.span,
            Self::HandedBack(span) => span,
        }
    }
}

/// What was made of a record.
#[derive(Debug)]
pub struct Made {
    /// Where its key stands in the page's output.
    pub key: Range<usize>,
    /// Where its value stands in the page's output; None for a null value.
    pub value: Option<Range<usize>>,
    /// When the change was made, milliseconds since the epoch.
    pub created_ms: u64,
    /// Where its sequence number, decimal digits, stands in the body.
    pub sequence: Range<usize>,
    /// It deletes the item.
    pub deletes: bool,
    /// Where the record stands in the body.
    pub span: Range<usize>,
}

/// A page's records in their order.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where the iterator of the next page stands in the body; None at the shard's end.
    pub next_iterator: Option<Range<usize>>,
    /// All keys and values.
    pub output: Vec<u8>,
}

/// Converts the pages of one pipeline.
#[derive(Debug)]
pub struct Transcoder {
    format: Format,
    numbers: Numbers,
    connector: Vec<u8>,
}

impl Transcoder {
    /// Prepares for a pipeline; `version` is Tailrace's, which Debezium's envelope names.
    #[must_use]
    pub fn new(format: Format, numbers: Numbers, pipeline: &str, version: &str) -> Self {
        Self { format, numbers, connector: envelope::connector_fields(version, pipeline) }
    }

    /// Converts the body of an answer of `GetRecords`, or a Lambda event of one shard; `now_ns` is the time of
    /// processing, nanoseconds since the epoch. None when the whole page is handed back.
    #[must_use]
    pub fn page(&self, body: &[u8], shard: &Shard, now_ns: u64) -> Option<Page> {
        std::str::from_utf8(body).ok()?;
        let mut work = Work {
            cursor: Cursor { text: body, at: 0 },
            sorter: Sorter::default(),
            converted: Converted::default(),
            envelopes: Envelopes::new(self.format, &self.connector, shard, SEQUENCE_DIGITS_MAX, now_ns),
            format: self.format,
            numbers: self.numbers,
            page: Page { records: Vec::new(), next_iterator: None, output: Vec::with_capacity(body.len()) },
        };
        work.envelope().ok()?;
        Some(work.page)
    }

    /// Converts the body of an answer of `GetRecords` of Kinesis; `now_ns` is the time of processing, nanoseconds since
    /// the epoch. None when the whole page is handed back.
    #[must_use]
    pub fn log_page(&self, body: &[u8], log: &Log, now_ns: u64) -> Option<LogPage> {
        std::str::from_utf8(body).ok()?;
        log::Work::new(body, self.format, self.numbers, &self.connector, log, now_ns).page().ok()
    }

    /// Converts the body of an answer of `Scan` into rows; `now_ns` is the time of processing, nanoseconds since the
    /// epoch. None when the whole page is handed back.
    #[must_use]
    pub fn scan(&self, body: &[u8], table: &Table, now_ns: u64) -> Option<Rows> {
        self.rows(body, table, now_ns).scan().ok()
    }

    /// Converts lines of an export to S3 into rows: one for each line, and where it was not sure, the line is left.
    #[must_use]
    pub fn export_lines(&self, body: &[u8], table: &Table, now_ns: u64) -> Rows {
        self.rows(body, table, now_ns).lines()
    }

    fn rows<'a>(&self, body: &'a [u8], table: &Table, now_ns: u64) -> rows::Work<'a> {
        let envelope = RowEnvelope::new(self.format, &self.connector, table, now_ns);
        rows::Work::new(body, self.format, self.numbers, KeyPlaces::new(table.key_names), envelope)
    }
}

/// A page under way.
struct Work<'a> {
    cursor: Cursor<'a>,
    sorter: Sorter,
    converted: Converted,
    envelopes: Envelopes,
    format: Format,
    numbers: Numbers,
    page: Page,
}

impl Work<'_> {
    /// Reads the whole answer. Refuses it when it is not surely well-formed to its last byte.
    fn envelope(&mut self) -> Sure<()> {
        let (mut has_records, mut has_iterator) = (false, false);
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"Records" if !has_records => {
                    has_records = true;
                    self.records()?;
                }
                b"NextShardIterator" if !has_iterator => {
                    has_iterator = true;
                    self.next_iterator()?;
                }
                b"Records" | b"NextShardIterator" => return Err(Unsure),
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        self.cursor.peek_token();
        if has_records && self.cursor.at == self.cursor.text.len() { Ok(()) } else { Err(Unsure) }
    }

    fn next_iterator(&mut self) -> Sure<()> {
        if self.cursor.peek_token() == b'n' {
            return self.cursor.word(b"null");
        }
        let text = self.cursor.string()?;
        if text.escaped {
            return Err(Unsure);
        }
        self.page.next_iterator = Some(text.span);
        Ok(())
    }

    fn records(&mut self) -> Sure<()> {
        let mut more = self.cursor.opens(b'[', b']')?;
        while more {
            self.cursor.peek_token();
            let start = self.cursor.at;
            let record = if let Ok(made) = self.record(start) {
                Record::Made(made)
            } else {
                self.cursor.at = start;
                self.cursor.skip()?;
                Record::HandedBack(start..self.cursor.at)
            };
            self.page.records.push(record);
            more = self.cursor.goes_on(b']')?;
        }
        Ok(())
    }

    fn record(&mut self, start: usize) -> Sure<Made> {
        self.sorter.clear();
        let (fields, sequence_span) = Reader {
            cursor: &mut self.cursor,
            sorter: &mut self.sorter,
            converted: &mut self.converted,
            format: self.format,
            numbers: self.numbers,
        }
        .record()?;
        let sequence = &self.cursor.text[sequence_span.clone()];
        let output = &mut self.page.output;
        let key_start = output.len();
        output.extend_from_slice(&self.converted.key);
        let key_end = output.len();
        let has_value = self.envelopes.write(&fields, &self.converted, sequence, output)?;
        Ok(Made {
            key: key_start..key_end,
            value: has_value.then_some(key_end..output.len()),
            created_ms: fields.created_us / 1000,
            sequence: sequence_span,
            deletes: fields.op == Op::Delete,
            span: start..self.cursor.at,
        })
    }
}
