//! Pages of Kinesis whose records are what `DynamoDB` writes there, as base64 inside the page.
//!
//! Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::base64;
use crate::change_record::Digest;
use crate::cursor::{Cursor, Sure, Unsure};
use crate::envelope::Envelopes;
use crate::item::Numbers;
use crate::record::{Converted, Once, Op, Reader, seconds_as_ms};
use crate::sorted::Sorter;
use crate::{Format, Shard};

/// The latest arrival that Python takes without doubt (the year 2262).
const ARRIVED_MS_MAX: u64 = 9_223_372_035_000;
/// What the Kinesis API allows.
const SEQUENCE_DIGITS_MAX: usize = 129;

/// The shard that a page of Kinesis is of.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// The AWS region.
    pub region: &'a str,
    /// The stream, as the records name it.
    pub stream_arn: &'a str,
    /// The shard's id.
    pub shard_id: &'a str,
    /// Tables whose changes are left to Python.
    pub left: &'a [&'a str],
}

/// A record of a page of Kinesis.
#[derive(Debug)]
pub struct LogRecord {
    /// Where it stands in the body.
    pub span: Range<usize>,
    /// What was made of it; None when it is left to Python.
    pub change: Option<Change>,
}

/// What was made of a change record.
#[derive(Debug)]
pub struct Change {
    /// Where its key stands in the page's output.
    pub key: Range<usize>,
    /// Where its value stands in the page's output; None for a null value.
    pub value: Option<Range<usize>>,
    /// Index of its table in the page's tables.
    pub table: usize,
    /// Where its sequence number, decimal digits, stands in the body.
    pub sequence: Range<usize>,
    /// It deletes the item.
    pub deletes: bool,
    /// When it was made, microseconds since the epoch, as precise as the record says.
    pub created_us: u64,
    /// When it arrived in the stream, milliseconds since the epoch.
    pub arrived_ms: u64,
    /// A digest of table and keys.
    pub item: Digest,
    /// A digest of all that a repeat has in common with it.
    pub identity: Digest,
}

/// A page's records in their order.
#[derive(Debug, Default)]
pub struct LogPage {
    /// The records.
    pub records: Vec<LogRecord>,
    /// The tables of the changes that were made.
    pub tables: Vec<String>,
    /// Where the iterator of the next page stands in the body; None at the shard's end.
    pub next_iterator: Option<Range<usize>>,
    /// There is more to read at once.
    pub full: bool,
    /// All keys and values.
    pub output: Vec<u8>,
}

/// The members of a record of Kinesis.
struct Entry {
    data: Range<usize>,
    sequence: Range<usize>,
    arrived_ms: u64,
}

/// A page under way.
pub struct Work<'a> {
    cursor: Cursor<'a>,
    sorter: Sorter,
    converted: Converted,
    format: Format,
    numbers: Numbers,
    connector: &'a [u8],
    log: &'a Log<'a>,
    left: HashSet<&'a [u8]>,
    now_ns: u64,
    /// The data of the record under way.
    data: Vec<u8>,
    envelopes: Vec<Envelopes>,
    tables: HashMap<Vec<u8>, usize>,
    page: LogPage,
}

impl<'a> Work<'a> {
    /// Prepares for a body that is known to be UTF-8.
    pub fn new(
        body: &'a [u8],
        format: Format,
        numbers: Numbers,
        connector: &'a [u8],
        log: &'a Log<'a>,
        now_ns: u64,
    ) -> Self {
        Self {
            cursor: Cursor { text: body, at: 0 },
            sorter: Sorter::default(),
            converted: Converted::default(),
            format,
            numbers,
            connector,
            log,
            left: log.left.iter().map(|table| table.as_bytes()).collect(),
            now_ns,
            data: Vec::new(),
            envelopes: Vec::new(),
            tables: HashMap::new(),
            page: LogPage { output: Vec::with_capacity(body.len()), ..LogPage::default() },
        }
    }

    /// Reads the whole answer. Refuses it when it is not surely well-formed to its last byte.
    pub fn page(mut self) -> Sure<LogPage> {
        let mut once = Once::default();
        let mut has_records = false;
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"Records" => {
                    once.see(0)?;
                    has_records = true;
                    self.records()?;
                }
                b"NextShardIterator" => {
                    once.see(1)?;
                    self.next_iterator()?;
                }
                b"MillisBehindLatest" => {
                    once.see(2)?;
                    self.page.full = self.behind_ms()? != 0;
                }
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        self.cursor.peek_token();
        if has_records && self.cursor.at == self.cursor.text.len() { Ok(self.page) } else { Err(Unsure) }
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

    fn behind_ms(&mut self) -> Sure<u64> {
        if self.cursor.peek_token() == b'n' {
            self.cursor.word(b"null")?;
            return Ok(0);
        }
        let digits = std::str::from_utf8(self.cursor.number()?).map_err(|_| Unsure)?;
        digits.parse().map_err(|_| Unsure)
    }

    fn records(&mut self) -> Sure<()> {
        let mut more = self.cursor.opens(b'[', b']')?;
        while more {
            self.cursor.peek_token();
            let start = self.cursor.at;
            let entry = self.entry();
            let end = if entry.is_ok() {
                self.cursor.at
            } else {
                self.cursor.at = start;
                self.cursor.skip()?;
                self.cursor.at
            };
            let output_end = self.page.output.len();
            let change = entry.and_then(|entry| self.change(entry)).ok();
            if change.is_none() {
                self.page.output.truncate(output_end);
            }
            self.page.records.push(LogRecord { span: start..end, change });
            more = self.cursor.goes_on(b']')?;
        }
        Ok(())
    }

    fn entry(&mut self) -> Sure<Entry> {
        let mut once = Once::default();
        let (mut data, mut sequence, mut arrived_ms, mut has_key) = (None, None, None, false);
        let mut more = self.cursor.opens(b'{', b'}')?;
        while more {
            match self.cursor.name()? {
                b"Data" => {
                    once.see(0)?;
                    let text = self.cursor.string()?;
                    data = Some(text.span).filter(|_| !text.escaped);
                }
                b"SequenceNumber" => {
                    once.see(1)?;
                    sequence = Some(self.sequence()?);
                }
                b"ApproximateArrivalTimestamp" => {
                    once.see(2)?;
                    self.cursor.peek_token();
                    arrived_ms = Some(seconds_as_ms(&mut self.cursor)?).filter(|&ms| ms <= ARRIVED_MS_MAX);
                }
                b"PartitionKey" => {
                    once.see(3)?;
                    self.cursor.plain_string()?;
                    has_key = true;
                }
                // A record that was taken out of an aggregate.
                b"SubSequenceNumber" | b"ExplicitHashKey" => return Err(Unsure),
                _ => self.cursor.skip()?,
            }
            more = self.cursor.goes_on(b'}')?;
        }
        if !has_key {
            return Err(Unsure);
        }
        Ok(Entry {
            data: data.ok_or(Unsure)?,
            sequence: sequence.ok_or(Unsure)?,
            arrived_ms: arrived_ms.ok_or(Unsure)?,
        })
    }

    fn sequence(&mut self) -> Sure<Range<usize>> {
        let span = self.cursor.string()?.span;
        let digits = &self.cursor.text[span.clone()];
        let is_right = (1..=SEQUENCE_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        if is_right { Ok(span) } else { Err(Unsure) }
    }

    fn change(&mut self, entry: Entry) -> Sure<Change> {
        let Self { cursor, sorter, converted, format, numbers, log, left, data, envelopes, tables, page, .. } = self;
        data.clear();
        base64::decode_into(&cursor.text[entry.data], data)?;
        std::str::from_utf8(data).map_err(|_| Unsure)?;
        sorter.clear();
        let mut text = Cursor { text: data, at: 0 };
        let mut reader = Reader { cursor: &mut text, sorter, converted, format: *format, numbers: *numbers };
        let record = reader.change_record(left)?;
        let table = if let Some(&table) = tables.get(record.table) {
            table
        } else {
            let name = String::from_utf8(record.table.to_vec()).map_err(|_| Unsure)?;
            let Log { region, stream_arn, shard_id, .. } = **log;
            let shard = Shard { table: &name, region, stream_arn, shard_id };
            envelopes.push(Envelopes::new(*format, self.connector, &shard, SEQUENCE_DIGITS_MAX, self.now_ns));
            tables.insert(record.table.to_vec(), page.tables.len());
            page.tables.push(name);
            page.tables.len() - 1
        };
        let sequence = &cursor.text[entry.sequence.clone()];
        let key_start = page.output.len();
        page.output.extend_from_slice(&converted.key);
        let key_end = page.output.len();
        let has_value = envelopes[table].write(&record.fields, converted, sequence, &mut page.output)?;
        let (item, identity) = record.digests(converted, data);
        Ok(Change {
            key: key_start..key_end,
            value: has_value.then_some(key_end..page.output.len()),
            table,
            sequence: entry.sequence,
            deletes: record.fields.op == Op::Delete,
            created_us: record.fields.created_us,
            arrived_ms: entry.arrived_ms,
            item,
            identity,
        })
    }
}
