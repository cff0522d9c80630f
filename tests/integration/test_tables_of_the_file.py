"""Tables come into the file and go out of it: what it leaves out rests, and goes on where it stood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.bench import Bench
from support.waiting import wait_for


def test_a_table_that_the_file_leaves_out_rests_until_it_is_named_again(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=2)
    kept, left_out = pipeline.tables
    source: dict[str, Any] = pipeline.settings["source"]
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(50)
        pipeline.shard_of(left_out)
        worker.terminate()
        assert worker.wait() == 0
        worker = pipeline.worker(pipeline.write_file(source=source | {"tables": [kept]}), "--accept-changes")
        wait_for("the table is left out", lambda: pipeline.checkpoint_state().tables[left_out].state == "left out")
        at_rest = pipeline.end_offsets(pipeline.topic(left_out))
        pipeline.wait_published(100)
        assert pipeline.end_offsets(pipeline.topic(left_out)) == at_rest
        worker.terminate()
        assert worker.wait() == 0
        pipeline.worker(pipeline.file, "--accept-changes")
        pipeline.wait_published(100)
    pipeline.settle()
