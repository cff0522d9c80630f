"""A table of Apache Iceberg: the marks of its partitions are in the summary of each snapshot, beside the files it adds.

They are also a property of the table, which remains when the snapshots have been expired.

pyiceberg would repeat a refused commit by itself on top of whatever others have committed, and write a null list inside
a struct as an empty one. So commits are staged with it and sent once, and files are written with pyarrow alone.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import BotoCoreError, ClientError

from tailrace.config.lake import PartitionBy
from tailrace.config.lake_names import APART
from tailrace.errors import WorldError
from tailrace.extras import brought_by
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.fitting import additions
from tailrace.lake.ledger import Sums
from tailrace.lake.table_sink import DECLARE, Causes, ConflictError, Mark, telling

with brought_by("lake-iceberg"):
    from pyiceberg.catalog import Catalog
    from pyiceberg.exceptions import (
        CommitFailedException,
        NamespaceAlreadyExistsError,
        NoSuchNamespaceError,
        NoSuchTableError,
        RESTError,
        TableAlreadyExistsError,
        ValidationError,
    )
    from pyiceberg.io.pyarrow import (
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
        schema_to_pyarrow,
    )
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.partitioning import PartitionField, PartitionSpec, partition_record_value
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update import AssertTableUUID
    from pyiceberg.transforms import parse_transform
    from pyiceberg.typedef import Record
    from sqlalchemy.exc import SQLAlchemyError

MARKS: Final = "tailrace.marks"
"""The key of the marks, in snapshots' summaries and the table's properties."""
_OF: Final = "tailrace.table"
"""The property that names the table whose changes it has."""
_CAUSES: Final = Causes(
    conflict=CommitFailedException,
    refused=(ValidationError, ValueError, TypeError),
    unreachable=(OSError, NoSuchNamespaceError, RESTError, SQLAlchemyError, BotoCoreError, ClientError),
    check="check `lake.catalog`, the network and the rights; what is in the table is whole",
)
_COPY_BYTES: Final = 1 << 20
_NEW: Final = {"format-version": "2", "write.parquet.compression-codec": "zstd"}

_UNITS: Final = ("year", "month", "day", "hour")


class _Uploaded(msgspec.Struct, frozen=True):
    """A stored file that no commit has yet."""

    uri: str
    size_bytes: int
    values: dict[str, Any]
    """What its rows have in common, by the names of partition fields."""
    statistics: dict[str, Any]


class IcebergChanges:
    """A `ChangeTable`. `partition_by` has names of columns, and the unit of those that are times."""

    is_apart = False

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        name: tuple[str, str],
        columns: pa.Schema,
        partition_by: Sequence[PartitionBy] = (),
        *,
        of: str,
    ) -> None:
        """`columns` are those that a new table has from the beginning; `name` begins with the namespace.

        `of` is the table whose changes it has, and no other's.
        """
        self.name = ".".join(name)
        self._name = name
        self._catalog = catalog
        self._columns = columns
        self._partition_by = partition_by
        self._of = of
        self._table: Table | None = None
        self._marks: Mapping[str, Mark] = {}

    def find(self) -> bool:
        """Load the table's metadata."""
        with self._telling("reading"):
            try:
                self._table = self._catalog().load_table(self._name)
            except NoSuchTableError:
                return False
        if (other := self._table.properties.get(_OF, self._of)) != self._of:
            raise WorldError(
                f"{self.name} has the changes of {other}, and those of {self._of} would be mixed with them", hint=APART
            )
        self._marks = self._find_marks(self._table.metadata)
        return True

    def look(self) -> None:
        """Load the table's metadata; create it if there is none."""
        while not self.find():
            with self._telling("creating"):
                self._create(self._catalog())

    def sums(self) -> Sums:
        """Return it from the snapshot's summary."""
        snapshot = self._loaded.current_snapshot()
        said = snapshot.summary.additional_properties if snapshot is not None and snapshot.summary is not None else {}
        return Sums(*(int(said.get(f"total-{name}", 0)) for name in ("data-files", "records", "files-size")))

    def mark(self, place: Place) -> Mark | None:
        """Return it from the metadata."""
        return self._marks.get(_key(place))

    @property
    def schema(self) -> pa.Schema:
        """The table's columns with their ids, which files must have too."""
        return schema_to_pyarrow(self._loaded.schema())

    def widen(self, columns: pa.Schema) -> None:
        """Add columns in a commit of their own, and partition fields as soon as their columns are there."""
        while True:
            try:
                with self._telling("adding columns to", DECLARE):
                    self._add_columns(columns)
                    if self._partition_by:
                        self._add_partition_fields()
            except ConflictError:
                self.look()
            else:
                return

    def split(self, rows: pa.Table) -> Iterator[tuple[Hashable, pa.Table]]:
        """Yield the rows of each partition of the table."""
        spec = self._loaded.spec()
        if spec.is_unpartitioned():
            yield (), rows
            return
        schema = self._loaded.schema()
        known: list[list[Any]] = []
        """Of each field, the distinct values."""
        numbers = rows.select([])
        for index, field in enumerate(spec.fields):
            values, own = _numbered(rows.column(schema.find_column_name(field.source_id)), field, schema)
            known.append(values)
            numbers = numbers.append_column(str(index), own)
        names = numbers.column_names
        grouped = (
            numbers.append_column("row", pa.array(range(rows.num_rows))).group_by(names).aggregate([("row", "list")])
        )
        for group in grouped.to_pylist():
            found = tuple(
                (field.name, values[group[name]]) for field, values, name in zip(spec.fields, known, names, strict=True)
            )
            yield found, rows.take(pa.array(group["row_list"]))

    def upload(self, file: Path, part: Hashable) -> object:
        """Store the file under a name of its own in the table's folder."""
        return self._stored(file, dict(part))  # type: ignore[call-overload]  # as `split` yields them

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], _keys: Sequence[str]) -> None:
        """Commit a snapshot on top of the one that was looked at."""
        encoded = self._encoded(marks)
        spec = self._loaded.spec()
        with self._telling("committing to"):
            transaction = self._loaded.transaction()
            transaction.set_properties({MARKS: encoded})
            snapshot = transaction.update_snapshot(snapshot_properties={MARKS: encoded}).merge_append()
            for file in files:
                assert isinstance(file, _Uploaded)
                snapshot.append_data_file(self._data_file(file, spec))
            snapshot.commit()
            self._send(transaction)

    @property
    def _loaded(self) -> Table:
        assert self._table is not None
        return self._table

    def _stored(self, file: Path, values: dict[str, Any]) -> _Uploaded:
        table, schema = self._loaded, self._loaded.schema()
        uri = table.location_provider().new_data_location(f"{uuid.uuid4().hex}.parquet")
        statistics = data_file_statistics_from_parquet_metadata(
            pq.read_metadata(file),
            compute_statistics_plan(schema, table.properties),
            parquet_path_to_id_mapping(schema),
        )
        with self._telling("storing a file of"), file.open("rb") as source, table.io.new_output(uri).create() as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)
        return _Uploaded(uri, file.stat().st_size, values, statistics.to_serialized_dict())

    def _encoded(self, marks: Mapping[Place, Mark]) -> str:
        """Return all marks, with new ones."""
        new = {_key(place): mark for place, mark in marks.items()}
        return msgspec.json.encode({**self._marks, **new}).decode()

    def _create(self, catalog: Catalog) -> None:
        with contextlib.suppress(NamespaceAlreadyExistsError, SQLAlchemyError):  # by another process, or it shows below
            catalog.create_namespace(self._name[:1])
        with contextlib.suppress(TableAlreadyExistsError):  # by another process
            catalog.create_table(self._name, self._columns, properties={**_NEW, _OF: self._of})

    def _find_marks(self, metadata: TableMetadata) -> dict[str, Mark]:
        """Return the marks of the newest snapshot that has them, among the current one and those that it follows."""
        snapshot, passed = metadata.current_snapshot(), set()
        while snapshot is not None:
            passed.add(snapshot.snapshot_id)
            if marks := _noted(snapshot):
                return self._decode(marks)
            parent = snapshot.parent_snapshot_id
            snapshot = metadata.snapshot_by_id(parent) if parent is not None else None
        if (last := metadata.properties.get(MARKS)) is None:
            return {}
        for other in metadata.snapshots:  # the property is of one that was expired, unless the table was rolled back
            if other.snapshot_id not in passed and _noted(other) == last:
                raise WorldError(
                    f"{self.name} was rolled back to a snapshot that does not say how far the table has the topics",
                    hint=f"set it to a snapshot whose summary has {MARKS}, such as {other.snapshot_id}",
                )
        return self._decode(last)

    def _decode(self, marks: str) -> dict[str, Mark]:
        try:
            return msgspec.json.decode(marks, type=dict[str, Mark])
        except msgspec.MsgspecError as error:
            raise WorldError(
                f"{MARKS} of {self.name} is not as it was written: {error}", hint="restore the table's property"
            ) from error

    def _add_columns(self, columns: pa.Schema) -> None:
        if new := additions(schema_to_pyarrow(self._loaded.schema(), include_field_ids=False), columns):
            transaction = self._loaded.transaction()
            with transaction.update_schema() as update:
                update.union_by_name(new)
            self._send(transaction)

    def _add_partition_fields(self) -> None:
        """Add those whose columns exist; rows from before the column are in no part of its values."""
        schema, spec = self._loaded.schema(), self._loaded.spec()
        there = {(field.source_id, str(field.transform)) for field in spec.fields}
        transaction = self._loaded.transaction()
        update = transaction.update_spec()
        missing = False
        for column, unit in self._partition_by:
            field = next((each for each in schema.fields if each.name == column), None)
            transform = parse_transform(unit or "identity")
            if field is not None and (field.field_id, str(transform)) not in there:
                update.add_field(column, transform, f"{column}_{unit or 'value'}")
                missing = True
        if missing:
            update.commit()
            self._send(transaction)

    @staticmethod
    def _data_file(file: _Uploaded, spec: PartitionSpec) -> DataFile:
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=file.uri,
            file_format=FileFormat.PARQUET,
            partition=Record(*(file.values.get(field.name) for field in spec.fields)),
            file_size_in_bytes=file.size_bytes,
            sort_order_id=None,
            spec_id=spec.spec_id,
            equality_ids=None,
            key_metadata=None,
            **file.statistics,
        )

    def _send(self, transaction: Transaction) -> None:
        """Commit once what is staged; `commit_transaction` would do so again on top of others' commits."""
        table = self._loaded
        requirements = (*transaction._requirements, AssertTableUUID(uuid=table.metadata.table_uuid))
        answer = table.catalog.commit_table(table, requirements, transaction._updates)
        table.metadata, table.metadata_location = answer.metadata, answer.metadata_location
        self._marks = self._find_marks(table.metadata)

    def _telling(self, doing: str, hint: str = _CAUSES.check) -> AbstractContextManager[None]:
        return telling(f"{doing} {self.name}", _CAUSES, hint)


def _noted(snapshot: Snapshot) -> str | None:
    return snapshot.summary.additional_properties.get(MARKS) if snapshot.summary is not None else None


def _numbered(column: pa.ChunkedArray, field: PartitionField, schema: Schema) -> tuple[list[Any], pa.Array]:
    """Return the distinct values of a partition field, and the number of each row's."""
    if str(field.transform) in _UNITS:
        column = pc.floor_temporal(column, unit=str(field.transform))  # fewer to transform
    distinct = pc.unique(column)
    transform = field.transform.transform(schema.find_field(field.source_id).field_type)
    found = [
        None if value is None else transform(partition_record_value(field, value, schema))
        for value in distinct.to_pylist()
    ]
    values = list(dict.fromkeys(found))
    numbers = pa.array([values.index(each) for each in found], pa.int32())
    return values, numbers.take(pc.index_in(column.combine_chunks(), value_set=distinct))


def _key(place: Place) -> str:
    return f"{place.topic}/{place.partition}"
