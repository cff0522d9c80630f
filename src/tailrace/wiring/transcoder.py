"""Which transcoder makes Kafka's messages of a page: the native one where it is installed, else pure Python."""

from __future__ import annotations

import importlib
import os
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple

from tailrace import formats
from tailrace._version import __version__
from tailrace.aws.http import Crc32
from tailrace.config import Pipeline
from tailrace.core.ports import SourcePage
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.export_lines import LinesDecoder, decode_lines
from tailrace.sources.dynamodb.native_pages import NativeDecoder
from tailrace.sources.dynamodb.native_rows import NativeLinesDecoder, NativeScanDecoder
from tailrace.sources.dynamodb.page_decoder import PageDecoder
from tailrace.sources.dynamodb.rows import ScanDecoder, decode_scan
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.kinesis.log_page import HashKeys, LogDecoder, LogPageDecoder, RecordKind
from tailrace.sources.kinesis.native_log import NativeLogDecoder

VARIABLE: Final = "TAILRACE_NATIVE"
_INSTALL: Final = f"pip install 'tailrace[native]=={__version__}'"


class Transcoder(NamedTuple):
    """The transcoder of this process, and why it is this one."""

    name: Literal["native", "pure"]
    why: str
    module: ModuleType | None = None

    @property
    def crc32(self) -> Crc32:
        """What checks the bytes of a page."""
        return zlib.crc32 if self.module is None else self.module.crc32

    def decoder(self, pipeline: Pipeline, transformation_of: Callable[[str], object | None]) -> PageDecoder:
        """Make what decodes the pages of a pipeline; `transformation_of` gives a table's transformation."""
        transcoder = self._native(pipeline)
        if transcoder is None:
            return decode_page
        native = NativeDecoder(transcoder, formats.FORMATS[pipeline.format.type].headers)

        def decode(body: bytes, *, shard: ShardRef, table: str, region: str) -> SourcePage:
            # A transformation needs changes, and the native transcoder only makes messages.
            return (native if transformation_of(table) is None else decode_page)(
                body, shard=shard, table=table, region=region
            )

        return decode

    def scan_decoder(self, pipeline: Pipeline, transformation_of: Callable[[str], object | None]) -> ScanDecoder:
        """Make what decodes the rows of a pipeline's tables, as `decoder` does its pages."""
        transcoder = self._native(pipeline)
        if transcoder is None:
            return decode_scan
        native = NativeScanDecoder(transcoder, formats.FORMATS[pipeline.format.type].headers)
        return lambda body, rows_of: (native if transformation_of(rows_of.facts.table) is None else decode_scan)(
            body, rows_of
        )

    def lines_decoder(self, pipeline: Pipeline, transformation_of: Callable[[str], object | None]) -> LinesDecoder:
        """Make what decodes the lines of exports of a pipeline's tables, as `decoder` does its pages."""
        transcoder = self._native(pipeline)
        if transcoder is None:
            return decode_lines
        native = NativeLinesDecoder(transcoder, formats.FORMATS[pipeline.format.type].headers)
        return lambda lines, rows_of: (native if transformation_of(rows_of.facts.table) is None else decode_lines)(
            lines, rows_of
        )

    def log_decoder(
        self,
        pipeline: Pipeline,
        transformation_of: Callable[[str], object | None],
        kind: RecordKind,
        *,
        deaggregate: bool,
        hash_keys: HashKeys | None = None,
    ) -> LogDecoder:
        """Make what decodes the pages of Kinesis streams with records of this kind, as `decoder` does its pages.

        `hash_keys` as for `LogPageDecoder`.
        """
        python = LogPageDecoder(kind, deaggregate=deaggregate, hash_keys=hash_keys)
        transcoder = None if kind == "raw" else self._native(pipeline)
        if transcoder is None:
            return python
        return NativeLogDecoder(transcoder, formats.FORMATS[pipeline.format.type].headers, python, transformation_of)

    def _native(self, pipeline: Pipeline) -> Any:
        """Return the native transcoder for the format of a pipeline; None where Python does it all."""
        if self.module is None or pipeline.makes_connect_records:  # Connect's converters need changes, not messages
            return None
        try:
            return self.module.Transcoder(
                format=pipeline.format.type, numbers=pipeline.numbers, pipeline=pipeline.name, version=__version__
            )
        except ValueError:  # a format that only Python makes
            return None


PURE: Final = Transcoder("pure", "nothing else was asked for")


def choose(environment: Mapping[str, str] = os.environ) -> Transcoder:
    """Choose by `TAILRACE_NATIVE`: `off` is pure Python, `on` native or nothing, unset native where it is installed.

    Raises WorldError when `on` cannot be had, and for another value.
    """
    wanted = environment.get(VARIABLE, "")
    if wanted not in {"", "on", "off"}:
        raise WorldError(f"{VARIABLE} is {wanted!r}", hint="set it to on or off, or leave it unset")
    if wanted == "off":
        return Transcoder("pure", f"{VARIABLE} is off")
    try:
        module = importlib.import_module("tailrace_native")
    except ModuleNotFoundError:
        why = "tailrace-native is not installed"
    except ImportError as error:
        why = f"tailrace-native cannot be loaded: {error}"
    else:
        if module.__version__ == __version__:
            return Transcoder("native", f"tailrace-native {__version__} is installed", module)
        # Another version may make other bytes.
        why = f"tailrace-native {module.__version__} does not go with tailrace {__version__}"
    if wanted == "on":
        raise WorldError(f"{VARIABLE} is on, but {why}", hint=_INSTALL)
    return Transcoder("pure", why)
