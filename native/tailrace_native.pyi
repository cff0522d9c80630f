"""The native transcoder: pages of DynamoDB Streams and Kinesis, and items of tables, to the keys and values of Kafka records."""

from typing import TypedDict, final

__version__: str
"""It goes with the Tailrace of the same version: they make the same bytes."""

def crc32(data: bytes, /) -> int:
    """Give what `zlib.crc32` gives."""

class Table(TypedDict):
    """The table that rows are of, and how they were read."""

    name: str
    region: str
    arn: str
    key_names: list[str]
    snapshot: str
    """What kind of snapshot it is, in Debezium's words."""
    read_ms: int
    """Milliseconds since the epoch."""

@final
class Transcoder:
    """Converts the pages of one pipeline. Safe for many threads; it works with the interpreter lock released."""

    def __new__(cls, *, format: str, numbers: str, pipeline: str, version: str) -> Transcoder:
        """`version` is Tailrace's. Raises ValueError for a format or numbers that it does not know."""

    def page(
        self, body: bytes, *, table: str, region: str, stream_arn: str, shard_id: str, now_ns: int
    ) -> tuple[Columns, str | None] | None:
        """Give the records of a body of GetRecords and the next iterator; None when the whole page is handed back.

        A record that it is not sure of has only its place, and None in every other column. Raises RuntimeError when
        it panicked.
        """

    def log_page(
        self, body: bytes, *, region: str, stream_arn: str, shard_id: str, left: list[str], now_ns: int
    ) -> tuple[LogColumns, str | None, bool] | None:
        """Give the records of a body of Kinesis's GetRecords, the next iterator and whether there is more at once.

        None when the whole page is handed back. A record that it is not sure of, that is no change record, or whose
        table is one of `left` has only its place. Raises RuntimeError when it panicked.
        """

    def scan(
        self, body: bytes, table: Table, *, now_ns: int
    ) -> tuple[RowColumns, tuple[int, int] | None, tuple[int, int] | None] | None:
        """Give the rows of a body of Scan, and where its LastEvaluatedKey and ConsumedCapacity begin and end.

        None when the whole page is handed back; an item that it is not sure of has only its place. Raises RuntimeError
        when it panicked.
        """

    def export_lines(self, lines: bytes, table: Table, *, now_ns: int) -> RowColumns:
        """Give the rows of lines of an export to S3, one for each; of a line that it is not sure of only its place.

        Raises RuntimeError when it panicked.
        """

RowColumns = tuple[list[bytes | None], list[bytes | None], list[int], list[int]]
"""Keys, values (both None where it was not sure), and where the items begin and end in the body."""
LogColumns = tuple[
    list[bytes | None],
    list[bytes | None],
    list[str | None],
    list[str | None],
    list[bool | None],
    list[int | None],
    list[int | None],
    list[bytes | None],
    list[bytes | None],
    list[int],
    list[int],
]
"""Keys, values (None is a null value, too), tables, sequence numbers, whether the item was deleted, creation times in
microseconds and arrivals in milliseconds since the epoch, digests of the change and of the item, and where the records
begin and end in the body."""
Columns = tuple[
    list[bytes | None],
    list[bytes | None],
    list[int | None],
    list[str | None],
    list[bool | None],
    list[int],
    list[int],
]
"""Keys, values (None is a null value, too), creation times in milliseconds since the epoch, sequence numbers, whether
the item was deleted, and where the records begin and end in the body: as many of each as there are records."""
