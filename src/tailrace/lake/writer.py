"""One process of a lake: its sink and the runner that drives it, opened as the file says; and how the lake stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from tailrace.aws.errors import AwsKeys
from tailrace.aws.session import AwsSettings
from tailrace.config.lake import S3, Lake
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.bucket import Bucket
from tailrace.lake.ledger import Ledger, Sums
from tailrace.lake.location import Folder, Location
from tailrace.sinks.topics import Topics

_KEYS: Final = AwsKeys(region="lake.region", profile="lake.profile", role_arn="lake.role_arn")


def open_location(lake: Lake) -> Location:
    """Return the location that the file names. Raises WorldError when it cannot be used."""
    if not lake.location.startswith(S3):
        return Folder(Path(unquote(urlsplit(lake.location).path)))
    settings = AwsSettings(
        region=lake.region,
        profile=lake.profile,
        role_arn=lake.role_arn,
        endpoints={"s3": lake.endpoint_url} if lake.endpoint_url else {},
        keys=_KEYS,
    )
    return Bucket(lake.location, settings)


def definition(lake: Lake, name: str, cluster_id: str) -> Mapping[str, str]:
    """Return what makes two lakes two: neither may write where the other does."""
    return {
        "pipeline": name,
        "Kafka cluster": cluster_id,
        "format": lake.format,
        "partition_by": ", ".join(lake.partition_by),
    }


class TopicStatus(msgspec.Struct, frozen=True):
    """What a lake has of a topic."""

    topic: str
    table: str
    behind_changes_at_most: int
    """Offsets of the topic that the lake does not have yet; transaction markers are among them."""
    behind_s: float | None
    """How old the newest change is that the lake has of a partition which it does not have whole; None: of none."""
    files: int
    """Written so far, with rows and bytes as they are stored."""
    rows: int
    size_bytes: int
    last_commit_ms: int | None


class LakeStatus(msgspec.Struct, frozen=True):
    """A lake at a moment."""

    location: str
    format: str
    begun: bool
    """Whether anything was ever written there."""
    topics: tuple[TopicStatus, ...]


def read_status(lake: Lake, kafka: Mapping[str, str], table_of: Callable[[str], str | None], now_ms: int) -> LakeStatus:
    """Read how far a lake has the topics that are a table's. Raises WorldError."""
    location = open_location(lake)
    ledger, topics = Ledger(location), Topics(kafka)
    begun = ledger.is_founded
    ends = topics.ends(topics.find(lambda topic: table_of(topic) is not None))
    found: dict[str, list[tuple[Place, int]]] = {}
    for place, end in sorted(ends.items()):
        found.setdefault(place.topic, []).append((place, end))
    said = tuple(
        _topic_status(topic, table_of(topic) or topic, places, ledger if begun else None, now_ms)
        for topic, places in found.items()
    )
    return LakeStatus(location.uri, lake.format, begun, said)


def _topic_status(
    topic: str, table: str, places: list[tuple[Place, int]], ledger: Ledger | None, now_ms: int
) -> TopicStatus:
    behind, oldest_ms, last_commit_ms, sums = 0, None, None, Sums()
    for place, end in places:
        step = ledger.last(place) if ledger else None
        position = step.end if step else 0
        behind += max(0, end - position)
        if step is None:
            continue
        sums = sums.and_(step.sums)
        last_commit_ms = max(step.committed_ms, last_commit_ms or 0)
        if end > position and step.last_ms is not None:
            oldest_ms = min(step.last_ms, oldest_ms if oldest_ms is not None else step.last_ms)
    return TopicStatus(
        topic,
        table,
        behind,
        None if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000),
        sums.files,
        sums.rows,
        sums.size_bytes,
        last_commit_ms,
    )
