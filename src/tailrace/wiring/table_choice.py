"""Which tables a pipeline reads: by their names, and by their tags if the file asks for some."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.config.source import Source as SourceKey
from tailrace.core.ports import ReadError, ReadFailure, Source
from tailrace.core.tags import have_all


class TableChoice:
    """Chooses for one round of discovery after the other; both methods raise `ReadError`."""

    def __init__(self, asked: SourceKey, source: Source) -> None:
        self._asked = asked
        self._source = source
        self._tagged: frozenset[str] = frozenset()
        """The tables that have the tags, as they were last listed; none where they are not listed by tags."""

    def names(self) -> list[str]:
        """List the tables that may be read: those that the file names, there or not, and those that match.

        Of those without the tags, a source that cannot list by tags returns all, others none.
        """
        tagged = self._source.tables_with(self._asked.tags_read) if self._asked.tags_read else None
        self._tagged = tagged or frozenset()
        if tagged is None:
            names = self._source.table_names([entry.text for entry in self._asked.tables_read])
        else:
            names = sorted(tagged)
        return [name for name in names if self._asked.reads(name)]

    def other_tags(self, table: str) -> Mapping[str, str] | None:
        """Return the tags of a table, from the source itself, if they are not what is asked for; None if they are."""
        if not self._asked.tags_read or table in self._tagged:
            return None
        tags = self._source.tags_of(table)
        return None if have_all(tags, self._asked.tags_read) else tags


def list_tables(asked: SourceKey, source: Source) -> list[str]:
    """List the tables that a pipeline reads: those that it names, there or not, and those that match.

    Raises ReadError.
    """
    choice = TableChoice(asked, source)
    return [name for name in choice.names() if _is_chosen(choice, name)]


def _is_chosen(choice: TableChoice, table: str) -> bool:
    try:
        return choice.other_tags(table) is None
    except ReadError as error:
        if error.failure is ReadFailure.GONE:
            return True  # whoever describes it says so
        raise
