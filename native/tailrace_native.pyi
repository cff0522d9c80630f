"""The native transcoder: pages of DynamoDB Streams to the keys and values of Kafka records."""

from typing import final

__version__: str
"""It goes with the Tailrace of the same version: they make the same bytes."""

Made = tuple[bytes, bytes | None, int, str, bool, Slice]
"""Key, value, creation time (milliseconds since the epoch), sequence number, whether it deletes, the record as read."""

@final
class Slice:
    """A part of a page's body that holds on to the body instead of copying it."""

    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...

@final
class Transcoder:
    """Converts the pages of one pipeline. Safe for many threads; it works with the interpreter lock released."""

    def __new__(cls, *, format: str, numbers: str, pipeline: str, version: str) -> Transcoder:
        """`version` is Tailrace's. Raises ValueError for a format or numbers that there are not."""

    def page(
        self, body: bytes, *, table: str, region: str, stream_arn: str, shard_id: str, now_ns: int
    ) -> tuple[list[Made | Slice], str | None] | None:
        """Give the records of a body of GetRecords and the next iterator; None when the page is handed back.

        A record that it is not sure of is the bare slice of the body. Raises RuntimeError when it panicked.
        """
