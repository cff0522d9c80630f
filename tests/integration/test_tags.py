"""Tables come and go by their tags, and nothing is lost, whatever the listing of tags says meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.waiting import wait_for
from tailrace.remedy import TagTable
from tailrace.remedy_sentences import sentence
from tailrace_simulator import SimulatedDynamoDB

TAGS = {"cdc": "true", "stage": ["prod", "staging"]}


class Tagged:
    """A pipeline that finds its tables by their tags."""

    def __init__(self, pipeline: Bench) -> None:
        self.pipeline = pipeline
        source: dict[str, Any] = dict(pipeline.settings["source"])
        del source["tables"]
        self.file = pipeline.write_file(source=source | {"tags": TAGS})

    def tag(self, table: str, **tags: str) -> None:
        given = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.pipeline.dynamodb.tag_resource(ResourceArn=self._arn(table), Tags=given)

    def untag(self, table: str, *keys: str) -> None:
        self.pipeline.dynamodb.untag_resource(ResourceArn=self._arn(table), TagKeys=keys)

    def wait_state(self, table: str, state: str) -> None:
        def found() -> bool:
            record = self.pipeline.checkpoint_state().tables.get(table)
            return record is not None and record.state == state

        wait_for(f"table {table} is {state}", found)

    def _arn(self, table: str) -> str:
        return str(self.pipeline.dynamodb.describe_table(TableName=table)["Table"]["TableArn"])


@pytest.fixture
def simulated() -> Iterator[SimulatedDynamoDB]:
    with SimulatedDynamoDB(seed=1) as simulated:
        yield simulated


@pytest.mark.parametrize("tagging_api", [1, 0], ids=["listed by tags", "asked table by table"])
def test_a_table_that_gains_loses_and_regains_its_tags_loses_no_change_and_disturbs_no_other(
    bench: Callable[..., Bench], simulated: SimulatedDynamoDB, tagging_api: int
) -> None:
    simulated.act("settings", settings={"tagging_api": tagging_api, "tag_lag_s": 1, "shards": 2})
    pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2)
    tagged = Tagged(pipeline)
    kept, comes = pipeline.tables
    tagged.tag(kept, cdc="true", stage="staging")
    tagged.tag(comes, cdc="true", stage="test")
    with pipeline.workload:
        worker = pipeline.worker(tagged.file)
        tagged.wait_state(kept, "streaming")
        assert comes not in pipeline.checkpoint_state().tables
        tagged.tag(comes, stage="prod")
        tagged.wait_state(comes, "streaming")
        pipeline.wait_published(50)

        tags = ["GetResources", "ListTagsOfResource"]
        simulated.act("rates", rates={operation: {"unavailable": 1} for operation in tags})
        tagged.untag(comes, "cdc")
        failures = len(unlisted(worker.logged_by("tailrace.enumerator")))
        wait_for(
            "tags cannot be read",
            lambda: len(unlisted(worker.logged_by("tailrace.enumerator"))) > failures + 2,
        )
        assert pipeline.checkpoint_state().tables[comes].state == "streaming"
        simulated.act("rates", rates={})

        tagged.wait_state(comes, "left out")
        worker.wait_logged("table left out", table=comes)
        at_rest = pipeline.end_offsets(pipeline.topic(comes))
        simulated.act("rollover", table=comes)
        pipeline.wait_published(50)
        assert pipeline.end_offsets(pipeline.topic(comes)) == at_rest
        assert pipeline.checkpoint_state().tables[kept].state == "streaming"

        tagged.tag(comes, cdc="true")
        tagged.wait_state(comes, "streaming")
        pipeline.wait_published(50)
    pipeline.settle()
    assert not worker.logged("lane lost")
    assert not worker.logged("gap")


def unlisted(log: list[dict[str, Any]]) -> list[str]:
    starts = ("listing failed", "the tags of table")
    return [line["event"] for line in log if line["event"].startswith(starts)]


def test_a_table_that_is_without_its_tags_for_more_than_a_day_has_a_gap(
    bench: Callable[..., Bench], simulated: SimulatedDynamoDB
) -> None:
    pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2)
    tagged = Tagged(pipeline)
    kept, comes = pipeline.tables
    for table in pipeline.tables:
        tagged.tag(table, cdc="true", stage="prod")
    worker = pipeline.worker(tagged.file)
    pipeline.workload.run(40)
    pipeline.wait_complete()
    tagged.untag(comes, "cdc")
    tagged.wait_state(comes, "left out")
    pipeline.workload.run(40)
    simulated.act("trim", table=comes)
    tagged.tag(comes, cdc="true")
    worker.wait_logged("gap", table=comes)
    assert pipeline.checkpoint_state().is_stopped(comes)
    assert not pipeline.checkpoint_state().is_stopped(kept)


def test_plan_and_status_tell_of_the_tags(
    bench: Callable[..., Bench], simulated: SimulatedDynamoDB, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(capsys)
    pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2)
    tagged = Tagged(pipeline)
    one, _ = pipeline.tables
    code, out, _ = run("plan", tagged.file)
    assert code == 0, "it waits for the first table that gets them"
    assert "  tags          cdc=true, stage=prod|staging\n" in out
    assert "source.tags: * matches no table with the tags cdc=true, stage=prod|staging" in out
    worker = pipeline.worker(tagged.file)
    tagged.tag(one, cdc="true", stage="prod")
    worker.wait_logged("streaming", table=one)
    assert f"table {one}\n" in run("plan", tagged.file).out
    tagged.untag(one, "stage")
    tagged.wait_state(one, "left out")
    assert sentence(TagTable(one)) in run("status", tagged.file).out
    worker.terminate()
    assert worker.wait() == 0
    other = pipeline.write_file(source=pipeline.settings["source"] | {"tables": [one]})
    refused = run("run", other)
    assert refused.code == 3
    assert f"table {one}, which was left out, would be read again" in refused.err
