//! The Python module `tailrace_native`: hands a page's bytes to the transcoder with the interpreter lock released, and
//! makes Python objects only of what comes out. `tailrace_native.pyi` says the same in Python's words.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use tailrace_transcode as transcode;

/// A part of a page's body that holds on to the body instead of copying it; `bytes()` copies.
#[pyclass(frozen, module = "tailrace_native")]
struct Slice {
    body: Py<PyBytes>,
    span: Range<usize>,
}

#[pymethods]
impl Slice {
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body.as_bytes(py)[self.span.clone()])
    }

    fn __len__(&self) -> usize {
        self.span.len()
    }
}

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

    /// Gives the page's records and its next iterator, or None when the whole page is handed back.
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
    ) -> PyResult<Option<(Bound<'py, PyList>, Option<Bound<'py, PyString>>)>> {
        let text = body.as_bytes();
        let shard = transcode::Shard { table, region, stream_arn, shard_id };
        // A panic would otherwise pass the `except Exception` of a reader's thread and end it.
        let page = py
            .detach(|| catch_unwind(AssertUnwindSafe(|| self.inner.page(text, &shard, now_ns))))
            .map_err(|_| PyRuntimeError::new_err("the native transcoder panicked"))?;
        let Some(page) = page else { return Ok(None) };
        let objects = Objects { py, body, text, output: &page.output };
        let records = page.records.iter().map(|record| objects.record(record)).collect::<PyResult<Vec<_>>>()?;
        let next_iterator = page.next_iterator.map(|span| objects.string(&span)).transpose()?;
        Ok(Some((PyList::new(py, records)?, next_iterator)))
    }
}

/// Makes the Python objects of one page.
struct Objects<'a, 'py> {
    py: Python<'py>,
    body: &'a Bound<'py, PyBytes>,
    text: &'a [u8],
    output: &'a [u8],
}

impl<'py> Objects<'_, 'py> {
    fn record(&self, record: &transcode::Record) -> PyResult<Bound<'py, PyAny>> {
        match record {
            transcode::Record::HandedBack(span) => Ok(self.slice(span)?.into_any()),
            transcode::Record::Made(made) => {
                let value = made.value.as_ref().map(|span| self.bytes(span));
                let sequence = self.string(&made.sequence)?;
                let fields =
                    (self.bytes(&made.key), value, made.created_ms, sequence, made.deletes, self.slice(&made.span)?);
                Ok(fields.into_pyobject(self.py)?.into_any())
            }
        }
    }

    fn bytes(&self, span: &Range<usize>) -> Bound<'py, PyBytes> {
        PyBytes::new(self.py, &self.output[span.clone()])
    }

    fn string(&self, span: &Range<usize>) -> PyResult<Bound<'py, PyString>> {
        Ok(PyString::from_bytes(self.py, &self.text[span.clone()])?)
    }

    fn slice(&self, span: &Range<usize>) -> PyResult<Bound<'py, Slice>> {
        Bound::new(self.py, Slice { body: self.body.clone().unbind(), span: span.clone() })
    }
}

#[pymodule]
mod tailrace_native {
    #[pymodule_export]
    use super::{Slice, Transcoder};

    /// It goes with the Tailrace of the same version: they make the same bytes.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "it is Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
