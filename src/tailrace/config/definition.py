"""What a pipeline file says that its pipeline is, as it is recorded in the checkpoint topic."""

from __future__ import annotations

import hashlib

import msgspec

from tailrace.config.model import Pipeline
from tailrace.core.checkpoint import DefinitionRecord, Route


def definition_of(pipeline: Pipeline) -> DefinitionRecord:
    """Return the definition of a pipeline file, not recorded yet (generation 0). Secrets are no part of it."""

    def topic(template: str) -> str:
        return template.replace("{pipeline}", pipeline.name)

    tombstones = "with" if pipeline.tombstones else "no"
    steps = [step.model_dump(mode="json", exclude_defaults=True) for step in pipeline.transform]
    return DefinitionRecord(
        generation=0,
        tables=tuple(entry.text for entry in pipeline.source.tables_read),
        exclude=pipeline.source.tables_left_out,
        tags=pipeline.source.tags_read,
        source_type=pipeline.source.type,
        published=pipeline.source.tables_published,
        unpublished=pipeline.source.tables_unpublished,
        topic=topic(pipeline.topic),
        routes=tuple(
            Route(step.tables, tuple(map(topic, step.route.templates))) for step in pipeline.transform if step.route
        ),
        format=f"{pipeline.format.type}, numbers {pipeline.numbers}, {tombstones} tombstones",
        transform=hashlib.sha256(msgspec.json.encode(steps)).hexdigest() if steps else "",
    )
