"""The topics that a lake's own file means, as Kafka has them now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tailrace.config import LoadedLakeFile
from tailrace.errors import WorldError
from tailrace.kafka import clients, topics
from tailrace.kafka.topics import TopicSpec
from tailrace.wiring.pipeline import DEAD_LETTERS_MAX_BYTES


def tables_found(loaded: LoadedLakeFile) -> Mapping[str, str]:
    """Return the table of each topic. Raises WorldError when there are none, or too many for the present state."""
    file = loaded.content
    with loaded.telling("kafka", "bootstrap.servers"):
        names = sorted(clients.metadata(clients.admin(file.kafka), file.kafka).topics)
    found = {name: table for name in names if (table := file.table_of(name)) is not None}
    for index, entry in enumerate(file.topics):
        if not any(file.means(entry, topic) for topic in found):
            with loaded.telling("topics", index):
                raise WorldError(f"{entry} matches no topic", hint="correct it, or start the pipeline that writes it")
    if any("current" in lake.tables for lake in file.lakes):
        by_table: defaultdict[str, list[str]] = defaultdict(list)
        for topic, table in found.items():
            by_table[table].append(topic)
        for table, several in by_table.items():
            if len(several) > 1:
                with loaded.telling("topics"):
                    raise WorldError(
                        f"{' and '.join(several)} are topics of one table, {table}, whose present state can follow one",
                        hint="name their tables under `tables`, or leave `current` out",
                    )
    return found


def ensure_dead_letters(loaded: LoadedLakeFile) -> None:
    """Make the topic of the dead letters if there is none. Raises WorldError."""
    file = loaded.content
    spec = TopicSpec(file.dead_letters_topic, 1, None, {"max.message.bytes": DEAD_LETTERS_MAX_BYTES})
    topics.ensure(clients.admin(file.kafka), file.kafka, [spec])
