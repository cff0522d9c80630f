"""What `tailrace lake` would read and write by a lake's own file. Nothing is made here."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from tailrace.config import LoadedLakeFile
from tailrace.config.rights import AwsRight
from tailrace.kafka import clients, topics
from tailrace.operations.lake_status import LakeStatus, lake_statuses
from tailrace.operations.lake_targets import targets_of
from tailrace.operations.lake_topics import tables_found


class LakePlan(msgspec.Struct, frozen=True):
    """A lake's own file before it is run."""

    name: str
    bootstrap_servers: str
    cluster_id: str
    tables: Mapping[str, str]
    """By topic."""
    dead_letters: str
    is_dead_letters_topic_there: bool
    lakes: tuple[LakeStatus, ...]
    rights: tuple[AwsRight, ...]
    """What AWS must allow, and no more."""


class LakeFileStatus(msgspec.Struct, frozen=True):
    """The lakes of a file at a moment."""

    name: str
    at_ms: int
    lakes: tuple[LakeStatus, ...]


def make_lake_plan(loaded: LoadedLakeFile) -> LakePlan:
    """Look at Kafka and the lakes. Raises WorldError when one does not answer, or a topic is missing."""
    file = loaded.content
    with loaded.telling("kafka", "bootstrap.servers"):
        cluster = topics.describe(clients.admin(file.kafka), file.kafka)
    return LakePlan(
        file.name,
        file.kafka["bootstrap.servers"],
        cluster.id,
        tables_found(loaded),
        file.dead_letters_topic,
        file.dead_letters_topic in cluster.topics,
        read_lake_status(loaded).lakes,
        tuple(right for lake in file.lakes for right in lake.aws_rights),
    )


def read_lake_status(loaded: LoadedLakeFile) -> LakeFileStatus:
    """Read how far the lakes are. Raises WorldError when Kafka fails."""
    now_ms = time.time_ns() // 1_000_000
    with loaded.telling("kafka", "bootstrap.servers"):
        return LakeFileStatus(loaded.content.name, now_ms, lake_statuses(targets_of(loaded), now_ms))
