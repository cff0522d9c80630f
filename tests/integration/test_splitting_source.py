"""Workers on the simulator: shards split and roll over all the time, the source fails, one worker is killed."""

from __future__ import annotations

from collections.abc import Callable

from support.bench import Bench
from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

SCRIPT = {
    "settings": {"shards": 2, "listing_lag_calls": 2, "skew_s": 3, "digit_every": 30, "slow_s": 0.2},
    "rates": {
        "DescribeStream": {"hole": 0.2, "throttle": 0.05, "server_error": 0.05},
        "GetShardIterator": {"throttle": 0.02, "server_error": 0.02, "lost": 0.02},
        "GetRecords": {
            "empty": 0.2,
            "short": 0.2,
            "late_end": 0.5,
            "throttle": 0.02,
            "expired": 0.02,
            "server_error": 0.02,
            "reset": 0.01,
            "garbled": 0.01,
            "slow": 0.02,
        },
        "PutItem": {"split": 0.002, "rollover": 0.01},
        "UpdateItem": {"split": 0.002, "rollover": 0.01},
    },
}


def test_everything_is_published_once_and_in_order_while_shards_split(bench: Callable[..., Bench]) -> None:
    with SimulatedDynamoDB(seed=1, script=parse_script(SCRIPT)) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2)
        with pipeline.workload:
            first = pipeline.worker()
            second = pipeline.worker()
            pipeline.wait_published(300)
            first.kill()
            pipeline.wait_published(300)
            wait_for("many shards", lambda: len(pipeline.checkpoint_state().shards) > 20)
        pipeline.settle()
    assert not second.logged("gap")
