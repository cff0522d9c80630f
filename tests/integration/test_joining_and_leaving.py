"""Workers come, go and die while changes are written: nothing is lost, repeated or out of order."""

from __future__ import annotations

import random
from collections.abc import Callable

from support.bench import Bench


def test_workers_join_and_leave_while_changes_are_written(bench: Callable[..., Bench]) -> None:
    pipeline = bench()
    with pipeline.workload:
        first = pipeline.worker()
        pipeline.wait_published(100)
        second, third = pipeline.worker(), pipeline.worker()
        pipeline.wait_shared(3)
        assert set(pipeline.owners().values()) == {first.pid, second.pid, third.pid}
        pipeline.wait_published(200)
        for leaving in (first, third):
            leaving.terminate()
            assert leaving.wait() == 0
        pipeline.wait_shared(1)
        assert set(pipeline.owners().values()) == {second.pid}
        pipeline.wait_published(200)
    pipeline.settle()


def test_another_worker_takes_over_when_one_is_killed(bench: Callable[..., Bench]) -> None:
    pipeline = bench(seed=7)
    draw = random.Random(7)
    with pipeline.workload:
        pipeline.worker()
        pipeline.worker()
        pipeline.wait_shared(2)
        for _ in range(2):
            victim = pipeline.owner_of(draw.choice(pipeline.tables))
            pipeline.wait_published(draw.randrange(20, 200))
            victim.kill()
            pipeline.worker()
            pipeline.wait_published(200)
    pipeline.settle()


def test_a_frozen_worker_publishes_nothing_when_it_thaws_and_then_works_again(bench: Callable[..., Bench]) -> None:
    pipeline = bench()
    with pipeline.workload:
        zombie = pipeline.worker()
        pipeline.wait_published(100)
        lane = pipeline.lane_of(pipeline.tables[0])
        zombie.freeze()
        claim = len(zombie.logged("lane taken"))
        other = pipeline.worker()
        other.wait_logged("lane taken", lane=lane)
        pipeline.wait_published(200)
        zombie.thaw()
        # Whether the broker refuses its transaction or the group tells it first that its lanes are gone.
        zombie.wait_logged("lane taken", count=claim + 1)
        pipeline.wait_shared(2)
        assert zombie.pid in pipeline.owners().values()
        pipeline.wait_published(200)
    pipeline.settle()
