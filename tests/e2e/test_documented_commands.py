"""Every command line that the README, the docs and `--help` show does what they say, run as a user would run it."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import boto3
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from support.checkpoints import birth, checkpoint, lineage, shard, write_topic
from support.checkpoints import table as table_record
from support.fake_aws import FakeAws, ok
from support.kafka_clients import read_committed
from support.names import unique
from support.waiting import wait_for
from tailrace.cli.main import app
from tailrace.local.artifacts import cache_dir
from tailrace.local.dynamodb import CREDENTIALS, REGION, DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.service import free_ports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LAMBDA_PAGE = (ROOT / "docs" / "lambda-at-home.md").read_text()
LANES = 16
"""As many as a pipeline has whose file does not say."""
STOP_TIMEOUT_S = 10.0
VISIBLE_TIMEOUT_S = 60.0

COVERED = {
    "pip install 'tailrace[local]'": "test_package.py installs the wheel",
    "pip install 'tailrace[local] @ git+https://github.com/tailrace/tailrace'": "test_package.py installs the source",
    "tailrace local up --sample": "test_tutorial.py",
    "tailrace tail pipeline.yaml --from beginning --limit 6": "test_tutorial.py",
    "tailrace tail pipeline.yaml --from beginning --key mine --limit 1": "test_tutorial.py",
    "tailrace status pipeline.yaml": "test_tutorial.py",
    "tailrace run us.yaml eu.yaml": "integration/test_several_pipelines.py",
    "tailrace run pipeline.yaml --snapshot-only": "integration/test_snapshot_beside_lambda.py",
    **dict.fromkeys(
        (
            "tailrace snapshot start pipeline.yaml --table orders",
            "tailrace snapshot start pipeline.yaml --table orders --dry-run",
            "tailrace snapshot start pipeline.yaml --table orders --wait",
            "tailrace snapshot start pipeline.yaml --table orders --filter \"item.status == 'open'\"",
            "tailrace snapshot start pipeline.yaml --table orders --filter \"item.status == 'open'\" --wait",
            "tailrace snapshot start pipeline.yaml --table orders --keys missing.jsonl",
            "tailrace snapshot pause pipeline.yaml --table orders",
            "tailrace snapshot resume pipeline.yaml --table orders",
            "tailrace snapshot cancel pipeline.yaml --table orders --yes",
            "tailrace snapshot status pipeline.yaml --watch",
        ),
        "integration/test_snapshot_commands.py",
    ),
    **dict.fromkeys(
        (
            "tailrace snapshot start pipeline.yaml --table orders --export s3://exports --wait",
            "tailrace snapshot start pipeline.yaml --table orders --export s3://exports/orders",
            "tailrace snapshot start pipeline.yaml --table orders --export s3://exports/full "
            "--export s3://exports/incremental",
        ),
        "integration/test_snapshot_exports.py, unit/operations, unit/sources",
    ),
    **dict.fromkeys(
        (
            "tailrace verify pipeline.yaml",
            "tailrace verify pipeline.yaml --table orders --read-capacity 500",
            "tailrace verify pipeline.yaml --table orders --repair",
        ),
        "integration/test_verify.py",
    ),
    **dict.fromkeys(
        (
            "tailrace validate connector.json --kafka client.properties",
            "tailrace plan connector.json --kafka client.properties",
            "tailrace run connector.json --kafka client.properties",
            "tailrace import connector.json --kafka client.properties > pipeline.yaml",
        ),
        "integration/test_connectors.py",
    ),
    "tailrace serve --kafka client.properties --group shop": "integration/test_serve.py",
    "tailrace serve --kafka client.properties --group shop --host 0.0.0.0 --auth users.yaml": "test_serve.py",
    **{f"tailrace {each} pipeline.yaml": f"test_{each}.py" for each in ("lake", "replicate")},
    **{f"tailrace {each} pipeline.yaml --once --json": f"test_{each}.py" for each in ("lake", "replicate")},
    "tailrace deploy-files lake pipeline.yaml --format connect": "unit/deploy/test_lake_connect.py",
    **{f"tailrace switch streams.yaml --to kinesis.yaml{each}": "test_switch_source.py" for each in ("", " --yes")},
    "tailrace iam pipeline.yaml --account 123456789012": "integration/test_logins.py, unit/operations",
    **{
        f"tailrace demo{options}": "test_demo.py"
        for options in ("", " --keep", " --lake", " --seconds 10", " --seconds 10 --json")
    },
    "tailrace package lambda pipeline.yaml --output build/lambda": "test_lambda_package.py",
    "tailrace deploy-files lambda pipeline.yaml --format sam": "test_deploy_files.py",
    "tailrace deploy-files lambda pipeline.yaml --format sam --lookup": "unit/deploy/test_deployment.py",
}
"""Documented command lines that are run elsewhere, and where."""


# What is documented


def commands_of_pages() -> set[str]:
    """The README's shell blocks, and the blocks of the other pages that are command lines of Tailrace."""
    shell = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    found = [line for block in shell for line in block.splitlines()]
    for page in (ROOT / "docs").glob("*.md"):
        found += re.findall(r"^tailrace .*$", page.read_text(), flags=re.MULTILINE)
    return {line.split("  #")[0].strip() for line in found} - {""}


def examples_of_help() -> dict[str, list[str]]:
    """The lines below `Example:` in the help of each command, by its name."""
    examples = {}
    commands = [("tailrace", get_command(app))]
    while commands:
        name, command = commands.pop()
        if isinstance(command, TyperGroup):
            commands += [(f"{name} {word}", child) for word, child in command.commands.items()]
        if not command.hidden and (not isinstance(command, TyperGroup) or command.invoke_without_command):
            shown = re.search(r"Example:\s+(.+?)(?:\n\n|\Z)", command.help or "", flags=re.DOTALL)
            examples[name] = [line.strip() for line in shown[1].splitlines()] if shown else []
    return examples


# What a user has


class Running:
    """A command line under way, or ended; what it writes goes to files."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self._process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_shows(self, what: str, condition: Callable[[], bool]) -> None:
        """Return once it visibly does what it should."""

        def shows() -> bool:
            assert self._process.poll() is None, f"it ended with {self._process.returncode}: {self.err}"
            return condition()

        wait_for(what, shows, VISIBLE_TIMEOUT_S)

    def stop(self, number: signal.Signals) -> None:
        """Send a signal; it must end well, and in time."""
        self._process.send_signal(number)
        self.must_end_well(STOP_TIMEOUT_S)

    def must_end_well(self, timeout_s: float) -> None:
        """Wait for its end: exit code 0, and nothing on stderr that is not for people."""
        assert self._process.wait(timeout_s) == 0, self.err
        assert "Traceback" not in self.err
        assert not re.search(r"^%\d\|", self.err, flags=re.MULTILINE), self.err


class Shop:
    """The README's pipeline in a folder, with a name and tables of its own, on the services of the tests."""

    def __init__(self, folder: Path, kafka: KafkaBroker, dynamodb: DynamoDBLocal, client: Any) -> None:
        self.name = unique("shop")
        self.orders = unique("orders")
        self.kafka = kafka.client_properties()
        self._folder = folder
        self._client = client
        self._written = 0
        users = unique("users")
        self._put_for = {
            r"localhost:9092": kafka.bootstrap_servers,
            r"http://localhost:8000": dynamodb.endpoint_url,
            r"\bshop\b": self.name,
            r"\borders\b": self.orders,
            r"\busers-": f"{users}-",
        }
        cache = folder / "cache"
        cache.mkdir()
        (cache / "jars").symlink_to(cache_dir() / "jars")
        self._environment = os.environ | {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": dynamodb.endpoint_url,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TAILRACE_CACHE": str(cache),
        }
        (block,) = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
        (folder / "pipeline.yaml").write_text(self._own(block))
        record = json.loads((ROOT / "tests" / "golden" / "update-in-lambda-event.json").read_text())["record"]
        (folder / "event.json").write_text(self._own(json.dumps({"Records": [record]})))
        for table in (self.orders, f"{users}-eu"):
            client.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )

    def write(self) -> None:
        """Write a new item to the table of the orders."""
        self._written += 1
        self._client.put_item(TableName=self.orders, Item={"id": {"S": f"order-{self._written}"}})

    def put_file(self, name: str, content: str) -> None:
        """Put a file where the commands are run."""
        (self._folder / name).write_text(content)

    def has_files(self, pattern: str) -> bool:
        """Return whether the commands have left files of this pattern where they are run."""
        return any(self._folder.glob(pattern))

    def on_failure_message(self) -> dict[str, Any]:
        """What Lambda would send of the first change of the orders."""
        streams = boto3.client(
            "dynamodbstreams",
            endpoint_url=self._client.meta.endpoint_url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        arn = self._client.describe_table(TableName=self.orders)["Table"]["LatestStreamArn"]
        (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        start = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = streams.get_shard_iterator(**start)["ShardIterator"]
        change = streams.get_records(ShardIterator=iterator)["Records"][0]["dynamodb"]
        time = change["ApproximateCreationDateTime"].isoformat()
        return {
            "DDBStreamBatchInfo": {
                "shardId": shard["ShardId"],
                "startSequenceNumber": change["SequenceNumber"],
                "endSequenceNumber": change["SequenceNumber"],
                "approximateArrivalOfFirstRecord": time,
                "approximateArrivalOfLastRecord": time,
                "batchSize": 1,
                "streamArn": arn,
            }
        }

    def published(self) -> int:
        """Count the committed changes of the orders; their topic has the default number of partitions."""
        return sum(len(read_committed(self.kafka, f"{self.name}.{self.orders}", partition)) for partition in range(6))

    @contextmanager
    def start(self, line: str, *, stdin: int | IO[bytes] = subprocess.DEVNULL) -> Iterator[Running]:
        """Run a command line as a shell does; kill what still runs in the end."""
        number = len(list(self._folder.glob("*.err")))
        out, err = self._folder / f"{number}.out", self._folder / f"{number}.err"
        with (
            out.open("wb") as stdout,
            err.open("wb") as stderr,
            subprocess.Popen(
                ["sh", "-c", f"exec {self._own(line)}"],
                cwd=self._folder,
                env=self._environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            ) as process,
        ):
            try:
                yield Running(process, out, err)
            finally:
                process.kill()

    def run(self, line: str, *, stdin: int | IO[bytes] = subprocess.DEVNULL) -> Running:
        """Run a command line that ends by itself."""
        with self.start(line, stdin=stdin) as running:
            running.must_end_well(VISIBLE_TIMEOUT_S)
        return running

    def _own(self, text: str) -> str:
        """Put this shop's names and addresses for those of the docs."""
        for documented, own in self._put_for.items():
            text = re.sub(documented, own, text)
        return text


@pytest.fixture(scope="module")
def make_shop(
    tmp_path_factory: pytest.TempPathFactory, kafka: KafkaBroker, dynamodb: DynamoDBLocal, dynamodb_client: Any
) -> Callable[[], Shop]:
    return lambda: Shop(tmp_path_factory.mktemp("shop"), kafka, dynamodb, dynamodb_client)


@pytest.fixture
def shop(make_shop: Callable[[], Shop]) -> Shop:
    """A pipeline that has never run."""
    return make_shop()


@pytest.fixture(scope="module")
def streaming_shop(make_shop: Callable[[], Shop]) -> Iterator[Shop]:
    """A pipeline with a worker, that has published a change."""
    shop = make_shop()
    with shop.start("tailrace run pipeline.yaml") as worker:
        worker.wait_shows("its first shard", lambda: '"table": "' + shop.orders in worker.err)
        shop.write()
        worker.wait_shows("the change is published", lambda: shop.published() > 0)
        yield shop
        worker.stop(signal.SIGTERM)


@pytest.fixture
def stopped_shop(shop: Shop) -> Shop:
    """A pipeline that has run, whose table of orders stands at a gap."""
    ref = shard(1, shop.orders)
    gap = checkpoint(ref, LANES, table=shop.orders, state="gap", sequence="17", detail="the position is trimmed")
    records = [birth(LANES), table_record(shop.orders), lineage(ref, LANES, table=shop.orders), gap]
    write_topic(shop.kafka, shop.name, LANES, records)
    return shop


# How each is run


def ends(shop: Shop, line: str, *, saying: str = "") -> None:
    """It is done at once, says something, and nothing on stderr."""
    ended = shop.run(line)
    assert saying in ended.out
    assert ended.err == ""


def streams(shop: Shop, line: str, *, until: signal.Signals) -> None:
    """It takes lanes, publishes a change, and stops when told to."""
    if "pipeline.yaml" not in line:
        line += " --name shop"
    (metrics_port,) = free_ports(1)
    with shop.start(line.replace("9400", str(metrics_port))) as worker:
        worker.wait_shows("a lane taken", lambda: '"lane taken"' in worker.err)
        worker.wait_shows("a shard begun", lambda: '"shard begun"' in worker.err)
        shop.write()
        worker.wait_shows("a change published", lambda: shop.published() > 0)
        if "--metrics-port" in line:
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/healthz", timeout=10) as answer:
                assert answer.status == 200
        worker.stop(until)
        assert "error" not in {json.loads(each)["level"] for each in worker.err.splitlines()}, worker.err


def watches(shop: Shop, line: str) -> None:
    """It shows the table with its owner, until Ctrl-C."""
    with shop.start(line) as watching:
        watching.wait_shows("the table", lambda: f"table {shop.orders}  streaming  shards: 1 open" in watching.out)
        watching.stop(signal.SIGINT)
        assert watching.err == ""


def follows(shop: Shop, line: str, *, until: signal.Signals) -> None:
    """It shows changes of the orders as they are written, until it is stopped."""

    def a_written_change_shows() -> bool:
        shop.write()
        return running.out.count("\n") > 1

    with shop.start(line) as running:
        running.wait_shows("a written change", a_written_change_shows)
        running.stop(until)
        assert running.err == ""
        lines = running.out.splitlines()
    if "--json" in line:
        assert {json.loads(each)["topic"] for each in lines} == {f"{shop.name}.{shop.orders}"}
    else:
        assert all(re.match(rf'[\d:.]{{12}} c {shop.orders} {{"id":"order-\d+"}} ', each) for each in lines), lines


def exports(shop: Shop, line: str) -> None:
    """It writes what was published to files, until it is stopped."""
    with shop.start(line) as running:
        running.wait_shows(
            "a batch under way", lambda: shop.has_files(f"backup/{shop.name}.{shop.orders}/*/.*.*.partial")
        )
        running.stop(signal.SIGINT)
        assert running.err == ""
        assert f"topic {shop.name}.{shop.orders}: " in running.out
    assert shop.has_files(f"backup/{shop.name}.{shop.orders}/*/*.jsonl")


def agrees(shop: Shop, line: str, *, warning: str, saying: str) -> None:
    """It says what is at stake, asks on the terminal unless `--yes` is given, and does what is answered."""
    ours, its = pty.openpty()
    with open(ours, "wb", buffering=0) as keyboard, open(its, "rb") as terminal:  # noqa: PTH123 - no paths
        keyboard.write(b"y\n")
        ended = shop.run(line, stdin=terminal)
    assert ended.err.startswith(warning.format(shop=shop))
    assert ended.err.endswith("[y/N]: ") != ("--yes" in line)
    assert saying.format(shop=shop) in ended.out


def shows_a_run_without_a_file(shop: Shop, line: str) -> None:
    """It finds the pipeline by the name that the run gave it."""
    with shop.start("tailrace run --table orders --bootstrap localhost:9092") as worker:
        worker.wait_shows("a shard begun", lambda: '"shard begun"' in worker.err)
        ends(shop, line, saying=f"table {shop.orders}  streaming")
        worker.stop(signal.SIGTERM)


def prints_a_schema(shop: Shop, line: str) -> None:
    """The file that it is sent to is a JSON Schema."""
    ends(shop, line)
    assert json.loads(shop.run(f"cat {shlex.split(line)[-1]}").out)["$schema"]


def stays_up(shop: Shop, line: str) -> None:
    """Both services are up on the ports that were asked for, until they are taken down."""
    kafka_port, dynamodb_port = free_ports(2)
    ports = {"9092": f"{kafka_port}", "8000": f"{dynamodb_port}"}
    try:
        ends(shop, re.sub("9092|8000", lambda port: ports[port[0]], line), saying="started\n")
        ends(shop, "tailrace local status", saying=f"bootstrap.servers  127.0.0.1:{kafka_port}\n")
        ends(shop, "tailrace local status", saying=f"endpoint_url       http://127.0.0.1:{dynamodb_port}\n")
    finally:
        ends(shop, "tailrace local down", saying="stopped\n")
    ends(shop, "tailrace local status", saying="not running")


def simulates(shop: Shop, line: str) -> None:
    """It answers AWS's clients and the documented actions, until it is stopped."""
    (port,) = free_ports(1)
    with shop.start(line.replace("8000", str(port))) as running:
        running.wait_shows("its address", lambda: f"endpoint_url  http://127.0.0.1:{port}\n" in running.out)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_tailrace/state", timeout=10) as answer:
            assert json.load(answer)["seed"] == 7
        running.stop(signal.SIGTERM)
        assert running.err == ""


def simulates_kinesis(shop: Shop, line: str) -> None:
    """Its stream gets the changes of its table, until it is stopped."""
    (port,) = free_ports(1)
    with shop.start(line.replace("8000", str(port))) as running:
        running.wait_shows("the stream", lambda: "the changes of orders go to the stream shop-cdc\n" in running.out)

        def has_records() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_tailrace/state", timeout=10) as answer:
                shards = json.load(answer)["kinesis"]["shop-cdc"]["shards"]
            return any(shard["records"] for shard in shards.values())

        running.wait_shows("records", has_records)
        running.stop(signal.SIGTERM)
        assert running.err == ""


def runs_a_function(shop: Shop, line: str) -> None:
    """It invokes the documented function with what is written, until it is stopped."""
    (function,) = re.findall(r"^```python\n(# my_function\.py\n.*?)^```", LAMBDA_PAGE, flags=re.MULTILINE | re.DOTALL)
    shop.put_file("my_function.py", function)
    with shop.start(line) as running:
        running.wait_shows("the stream", lambda: "reading arn:" in running.out)
        shop.write()
        running.wait_shows("an invocation", lambda: re.search(r"1 record  \d+ ms  answered", running.out) is not None)
        running.wait_shows("what the function printed", lambda: "INSERT order-" in running.err)
        running.stop(signal.SIGINT)
        assert "0 failed" in running.out.splitlines()[-1]


def redrives_from_a_file(shop: Shop, line: str) -> None:
    """It reads the batch again from the stream, and finds that the topic has it."""
    shop.put_file("failed.jsonl", json.dumps(shop.on_failure_message()) + "\n")
    ends(shop, line, saying=f"table {shop.orders}: 1 in the topics already\n")


def redrives_from_a_queue(shop: Shop, line: str) -> None:
    """It deletes the message of a batch that the topic has."""
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": json.dumps(shop.on_failure_message())}
    with closing(FakeAws()) as queue:
        queue.answers("ReceiveMessage", ok(Messages=[message]), ok(Messages=[]))
        queue.answers("DeleteMessage", ok())
        line = line.replace("https://sqs.us-east-1.amazonaws.com", queue.url)
        ends(shop, line, saying=f"table {shop.orders}: 1 in the topics already\n")
        assert queue.operations() == ["ReceiveMessage", "DeleteMessage", "ReceiveMessage"]


Scenario = tuple[str, Callable[[Shop, str], None]]
"""The fixture that gives the shop, and what must come of the command line there."""

SWITCHES = partial(agrees, warning="pipeline {shop.name} is served by worker", saying="is served by lambda now")
HOW: dict[str, Scenario] = {
    "tailrace run pipeline.yaml": ("shop", partial(streams, until=signal.SIGTERM)),
    "tailrace run pipeline.yaml --metrics-port 9400": ("shop", partial(streams, until=signal.SIGINT)),
    "tailrace run --table orders --bootstrap localhost:9092": ("shop", partial(streams, until=signal.SIGINT)),
    "tailrace run --table orders --bootstrap localhost:9092 --endpoint-url http://localhost:8000": (
        "shop",
        partial(streams, until=signal.SIGTERM),
    ),
    "tailrace validate pipeline.yaml": ("shop", partial(ends, saying="pipeline.yaml: ok: pipeline ")),
    "tailrace transform pipeline.yaml --sample event.json": (
        "shop",
        partial(ends, saying="1 changes: 1 published, 0 dropped, 0 dead-letter, 0 stopped\n"),
    ),
    "tailrace plan pipeline.yaml": ("streaming_shop", partial(ends, saying=": has run before\n")),
    "tailrace status pipeline.yaml --watch": ("streaming_shop", watches),
    "tailrace status --name tailrace-orders --bootstrap localhost:9092": ("shop", shows_a_run_without_a_file),
    "tailrace tail pipeline.yaml": ("streaming_shop", partial(follows, until=signal.SIGINT)),
    "tailrace tail pipeline.yaml --table orders --op c,u": ("streaming_shop", partial(follows, until=signal.SIGTERM)),
    "tailrace tail shop.orders --bootstrap localhost:9092 --from beginning --json": (
        "streaming_shop",
        partial(follows, until=signal.SIGINT),
    ),
    "tailrace tail pipeline.yaml --table orders --from 2h --to 1h": ("streaming_shop", ends),
    "tailrace tail pipeline.yaml --key order-1 --from beginning --to 1h": ("streaming_shop", ends),
    "tailrace export pipeline.yaml --to backup": ("streaming_shop", exports),
    "tailrace export shop.orders --bootstrap localhost:9092 --to backup --until-end": (
        "streaming_shop",
        partial(ends, saying="backup has all that the topics held at the start\n"),
    ),
    "tailrace redrive pipeline.yaml": ("streaming_shop", partial(ends, saying="there is nothing to publish again\n")),
    "tailrace redrive pipeline.yaml --table orders --dry-run": (
        "streaming_shop",
        partial(ends, saying="there is nothing to publish again\n"),
    ),
    "tailrace redrive pipeline.yaml --from-file failed.jsonl": ("streaming_shop", redrives_from_a_file),
    "tailrace redrive pipeline.yaml --from-sqs https://sqs.us-east-1.amazonaws.com/123456789012/failed": (
        "streaming_shop",
        redrives_from_a_queue,
    ),
    "tailrace replay pipeline.yaml --table orders --from 2h": (
        "streaming_shop",
        partial(agrees, warning="changes of table {shop.orders} from 20", saying=" changes replayed\n"),
    ),
    "tailrace verify pipeline.yaml --table orders": ("streaming_shop", partial(ends, saying="table ")),
    "tailrace schema > pipeline.schema.json": ("shop", prints_a_schema),
    "tailrace accept-gap pipeline.yaml --table orders": (
        "stopped_shop",
        partial(
            agrees,
            warning="lost: what was changed in shard",
            saying="accepted: table {shop.orders} goes on",
        ),
    ),
    "tailrace rescale pipeline.yaml": ("stopped_shop", partial(ends, saying="has 16 lanes already")),
    "tailrace switch pipeline.yaml --to lambda": ("stopped_shop", SWITCHES),
    "tailrace switch pipeline.yaml --to lambda --yes": ("stopped_shop", SWITCHES),
    "tailrace local up --kafka-port 9092 --dynamodb-port 8000": ("shop", stays_up),
    "tailrace simulate --port 8000 --seed 7": ("shop", simulates),
    "tailrace simulate kinesis --port 8000 --rate 100 --hostile": ("shop", simulates_kinesis),
    "tailrace simulate lambda my_function:handler --table orders --endpoint-url http://localhost:8000": (
        "shop",
        runs_a_function,
    ),
    "tailrace version": ("shop", partial(ends, saying="transcoder  ")),
    "tailrace local down": ("shop", partial(ends, saying="not running\n")),
    "tailrace local status": ("shop", partial(ends, saying="not running; `tailrace local up` starts it\n")),
}


EXAMPLES = examples_of_help()
DOCUMENTED = commands_of_pages() | {line for lines in EXAMPLES.values() for line in lines}


@pytest.mark.parametrize("command", sorted(EXAMPLES))
def test_the_help_of_a_command_has_an_example_of_it(command: str) -> None:
    assert EXAMPLES[command]
    assert all(line.startswith(f"{command} ") or line == command for line in EXAMPLES[command])


def test_of_every_documented_command_line_it_is_known_how_to_run_it() -> None:
    assert DOCUMENTED - HOW.keys() - COVERED.keys() == set(), "say in HOW how to run it"
    assert (HOW.keys() | COVERED.keys()) - DOCUMENTED == set(), "it is not documented any more"


@pytest.mark.parametrize("line", sorted(HOW))
def test_a_documented_command_line_does_what_it_says(line: str, request: pytest.FixtureRequest) -> None:
    fixture, scenario = HOW[line]
    scenario(request.getfixturevalue(fixture), line)


@pytest.mark.parametrize(
    ("target", "command"), [("demo", "tailrace demo"), ("test", "pytest -n 2 --dist loadfile --no-loadscope-reorder")]
)
def test_make_runs_the_commands_that_are_tested_elsewhere(target: str, command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/.ready", "--assume-old=.venv/.native", target],
        cwd=ROOT,
        env=environment,  # this test may run below `make test`, which would tell this make of itself
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f".venv/bin/{command}\n"
