//! The Python module `tailrace_native`: hands a page's bytes to the transcoder with the interpreter lock released, and
//! makes Python objects only of what comes out. `tailrace_native.pyi` says the same in Python's words.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString};
use tailrace_transcode as transcode;

/// Converts the pages of one pipeline.
#[pyclass(frozen, module = "tailrace_native")]
struct Transcoder {
    inner: transcode::Transcoder,
}

#[pymethods]
impl Transcoder {
    #[new]
    #[pyo3(signature = (*, format, numbers, pipeline, version))]
    fn new(format: &str, numbers: &str, pipeline: &str, version: &str) -> PyResult<Self> {
        let format = match format {
            "debezium" => transcode::Format::Debezium,
            "item" => transcode::Format::Item,
            "dynamodb-json" => transcode::Format::DynamoDbJson,
            "cloudevents" => transcode::Format::CloudEvents,
            _ => return Err(PyValueError::new_err(format!("there is no format {format}"))),
        };
        let numbers = match numbers {
            "exact" => transcode::Numbers::Exact,
            "string" => transcode::Numbers::String,
            _ => return Err(PyValueError::new_err(format!("numbers are exact or string, not {numbers}"))),
        };
        Ok(Self { inner: transcode::Transcoder::new(format, numbers, pipeline, version) })
    }

    /// Gives the columns of the page's records and its next iterator, or None when the whole page is handed back.
    #[pyo3(signature = (body, *, table, region, stream_arn, shard_id, now_ns))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keywords")]
    fn page<'py>(
        &self,
        py: Python<'py>,
        body: &Bound<'py, PyBytes>,
        table: &str,
        region: &str,
        stream_arn: &str,
        shard_id: &str,
        now_ns: u64,
    ) -> PyResult<Option<(Columns<'py>, Option<Bound<'py, PyString>>)>> {
        let text = body.as_bytes();
        let shard = transcode::Shard { table, region, stream_arn, shard_id };
        let Some(page) = apart(py, || self.inner.page(text, &shard, now_ns))? else { return Ok(None) };
        let next_iterator = page.next_iterator.as_ref().map(|span| string(py, text, span)).transpose()?;
        Ok(Some((columns(py, text, &page)?, next_iterator)))
    }

    /// Gives the columns of the records of a page of Kinesis, its next iterator and whether there is more to read at
    /// once, or None when the whole page is handed back.
    #[pyo3(signature = (body, *, region, stream_arn, shard_id, left, now_ns))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keywords")]
    #[expect(clippy::needless_pass_by_value, reason = "it is extracted from Python's list")]
    fn log_page<'py>(
        &self,
        py: Python<'py>,
        body: &Bound<'py, PyBytes>,
        region: &str,
        stream_arn: &str,
        shard_id: &str,
        left: Vec<String>,
        now_ns: u64,
    ) -> PyResult<Option<LogRead<'py>>> {
        let text = body.as_bytes();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        let log = transcode::Log { region, stream_arn, shard_id, left: &left };
        let Some(page) = apart(py, || self.inner.log_page(text, &log, now_ns))? else { return Ok(None) };
        let next_iterator = page.next_iterator.as_ref().map(|span| string(py, text, span)).transpose()?;
        Ok(Some((log_columns(py, text, &page)?, next_iterator, page.full)))
    }

    /// Gives the columns of the rows of an answer of `Scan`, and where its last key and its consumed capacity stand; or
    /// None when the whole page is handed back.
    #[pyo3(signature = (body, table, *, now_ns))]
    #[expect(clippy::needless_pass_by_value, reason = "it is extracted from Python's dictionary")]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        body: &Bound<'py, PyBytes>,
        table: Table,
        now_ns: u64,
    ) -> PyResult<Option<Scanned<'py>>> {
        let text = body.as_bytes();
        let Some(rows) = table.lend(py, |table| self.inner.scan(text, table, now_ns))? else { return Ok(None) };
        let place = |span: &Range<usize>| (span.start, span.end);
        let (last_key, capacity) = (rows.last_key.as_ref().map(place), rows.capacity.as_ref().map(place));
        Ok(Some((row_columns(py, &rows)?, last_key, capacity)))
    }

    /// Gives the columns of the rows of an export's lines.
    #[pyo3(signature = (lines, table, *, now_ns))]
    #[expect(clippy::needless_pass_by_value, reason = "it is extracted from Python's dictionary")]
    fn export_lines<'py>(
        &self,
        py: Python<'py>,
        lines: &Bound<'py, PyBytes>,
        table: Table,
        now_ns: u64,
    ) -> PyResult<RowColumns<'py>> {
        let text = lines.as_bytes();
        row_columns(py, &table.lend(py, |table| self.inner.export_lines(text, table, now_ns))?)
    }
}

/// The table that rows are of, as Python's dictionary says it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Table {
    name: String,
    region: String,
    arn: String,
    key_names: Vec<String>,
    snapshot: String,
    read_ms: u64,
}

impl Table {
    /// Lends it to work that runs `apart`.
    fn lend<T: Send>(&self, py: Python, work: impl FnOnce(&transcode::Table) -> T + Send) -> PyResult<T> {
        let Self { name, region, arn, key_names, snapshot, read_ms } = self;
        let key_names: Vec<&str> = key_names.iter().map(String::as_str).collect();
        let table = transcode::Table { name, region, arn, key_names: &key_names, snapshot, read_ms: *read_ms };
        apart(py, || work(&table))
    }
}

/// Runs with the interpreter lock released. A panic would otherwise pass the `except Exception` of a reader's thread and
/// end it.
fn apart<T: Send>(py: Python, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| PyRuntimeError::new_err("the native transcoder panicked"))
}

type List<'py> = Bound<'py, PyList>;
type Columns<'py> = (List<'py>, List<'py>, List<'py>, List<'py>, List<'py>, List<'py>, List<'py>);

type LogColumns<'py> = (
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
    List<'py>,
);

type LogRead<'py> = (LogColumns<'py>, Option<Bound<'py, PyString>>, bool);

type RowColumns<'py> = (List<'py>, List<'py>, List<'py>, List<'py>);
type Place = (usize, usize);
type Scanned<'py> = (RowColumns<'py>, Option<Place>, Option<Place>);

/// Makes the Python objects of rows.
fn row_columns<'py>(py: Python<'py>, made: &transcode::Rows) -> PyResult<RowColumns<'py>> {
    let rows = &made.rows;
    let output = |span: &Range<usize>| PyBytes::new(py, &made.output[span.clone()]);
    Ok((
        PyList::new(py, rows.iter().map(|row| row.message.as_ref().map(|message| output(&message.key))))?,
        PyList::new(py, rows.iter().map(|row| row.message.as_ref().map(|message| output(&message.value))))?,
        PyList::new(py, rows.iter().map(|row| row.span.start))?,
        PyList::new(py, rows.iter().map(|row| row.span.end))?,
    ))
}

/// Makes the Python objects of a page. Lists of columns cost less than a tuple a record, which the collector would visit.
fn columns<'py>(py: Python<'py>, text: &[u8], page: &transcode::Page) -> PyResult<Columns<'py>> {
    let records = &page.records;
    let output = |span: &Range<usize>| PyBytes::new(py, &page.output[span.clone()]);
    let sequence = |record: &transcode::Record| record.made().map(|made| string(py, text, &made.sequence)).transpose();
    let sequences = records.iter().map(sequence).collect::<PyResult<Vec<_>>>()?;
    Ok((
        PyList::new(py, records.iter().map(|record| record.made().map(|made| output(&made.key))))?,
        PyList::new(py, records.iter().map(|record| record.made()?.value.as_ref().map(output)))?,
        PyList::new(py, times(py, records)?)?,
        PyList::new(py, sequences)?,
        PyList::new(py, records.iter().map(|record| record.made().map(|made| made.deletes)))?,
        PyList::new(py, records.iter().map(|record| record.span().start))?,
        PyList::new(py, records.iter().map(|record| record.span().end))?,
    ))
}

/// Makes the Python objects of a page of Kinesis.
fn log_columns<'py>(py: Python<'py>, text: &[u8], page: &transcode::LogPage) -> PyResult<LogColumns<'py>> {
    let records = &page.records;
    let tables: Vec<_> = page.tables.iter().map(|table| PyString::new(py, table)).collect();
    let output = |span: &Range<usize>| PyBytes::new(py, &page.output[span.clone()]);
    let changes = || records.iter().map(|record| record.change.as_ref());
    let sequences = changes()
        .map(|change| change.map(|change| string(py, text, &change.sequence)).transpose())
        .collect::<PyResult<Vec<_>>>()?;
    Ok((
        PyList::new(py, changes().map(|change| change.map(|change| output(&change.key))))?,
        PyList::new(py, changes().map(|change| change?.value.as_ref().map(output)))?,
        PyList::new(py, changes().map(|change| change.map(|change| &tables[change.table])))?,
        PyList::new(py, sequences)?,
        PyList::new(py, changes().map(|change| change.map(|change| change.deletes)))?,
        PyList::new(py, changes().map(|change| change.map(|change| change.created_us)))?,
        PyList::new(py, changes().map(|change| change.map(|change| change.arrived_ms)))?,
        PyList::new(py, changes().map(|change| change.map(|change| PyBytes::new(py, &change.identity))))?,
        PyList::new(py, changes().map(|change| change.map(|change| PyBytes::new(py, &change.item))))?,
        PyList::new(py, records.iter().map(|record| record.span.start))?,
        PyList::new(py, records.iter().map(|record| record.span.end))?,
    ))
}

/// Makes the creation times. Most records of a page are of one second, and share its number.
fn times<'py>(py: Python<'py>, records: &[transcode::Record]) -> PyResult<Vec<Option<Bound<'py, PyInt>>>> {
    let mut last: Option<(u64, Bound<'py, PyInt>)> = None;
    let mut time = |created_ms: u64| -> PyResult<Bound<'py, PyInt>> {
        match &last {
            Some((last_ms, number)) if *last_ms == created_ms => Ok(number.clone()),
            _ => {
                let number = created_ms.into_pyobject(py)?;
                last = Some((created_ms, number.clone()));
                Ok(number)
            }
        }
    };
    records.iter().map(|record| record.made().map(|made| time(made.created_ms)).transpose()).collect()
}

fn string<'py>(py: Python<'py>, text: &[u8], span: &Range<usize>) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, &text[span.clone()])
}

/// Gives what `zlib.crc32` gives, several times faster: of a page's bytes that is worth a twentieth of the whole way.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn crc32(py: Python<'_>, data: &Bound<'_, PyBytes>) -> u32 {
    let bytes = data.as_bytes();
    py.detach(|| crc32fast::hash(bytes))
}

#[pymodule]
mod tailrace_native {
    #[pymodule_export]
    use super::{Transcoder, crc32};

    /// It goes with the Tailrace of the same version: they make the same bytes.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "it is Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
