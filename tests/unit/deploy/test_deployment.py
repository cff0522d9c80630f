"""What is written for a deployment: every right is for exactly what the pipeline names, and what cannot be is told."""

from __future__ import annotations

import ast
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.cli import CommandLine, Outcome
from tailrace.config import LambdaFunction, load
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.core.ports import TableStream
from tailrace.deploy.deployment import Deployment, describe, look_up
from tailrace.deploy.files import Format, write_files
from tailrace.deploy.rights import statements
from tailrace.errors import FileError
from tailrace_simulator import SimulatedDynamoDB

PIPELINE = """\
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source: {type: dynamodb-streams, tables: [orders]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pipeline.yaml"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def described(file: Path, content: str, location: str | None = None) -> Deployment:
    file.write_text(content)
    return describe(load(file, with_secrets=False), "3.13", location, None)


def rights(deployment: Deployment) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {statement.sid: (statement.actions, statement.resources) for statement in deployment.statements}


def test_a_plain_pipeline_gets_streams_log_and_queue_and_no_more(file: Path) -> None:
    assert rights(described(file, PIPELINE)) == {
        "ReadStreams": (
            ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
            ("<streams>",),
        ),
        "ListStreams": (("dynamodb:ListStreams",), ("*",)),
        "WriteLogs": (("logs:CreateLogStream", "logs:PutLogEvents"), ("<logs>",)),
        "TellOfDiscarded": (("sqs:SendMessage",), ("<queue>",)),
    }


KINESIS = """\
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source: {type: kinesis, streams: [shop-cdc], start: "2026-01-31T12:00:00Z"}
"""


def test_a_pipeline_of_kinesis_may_read_its_streams_back(file: Path) -> None:
    read, _ = rights(described(file, KINESIS))["ReadStreams"]
    assert {
        "kinesis:DescribeStreamSummary",
        "kinesis:GetRecords",
        "kinesis:GetShardIterator",
        "kinesis:ListShards",
    } <= set(read)


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("sam", ["Type: Kinesis", "StartingPosition: AT_TIMESTAMP", "StartingPositionTimestamp: 1769860800.0"]),
        (
            "cloudformation",
            ["EventSourceArn: !Ref ShopCdcStreamArn", "TumblingWindowInSeconds: 60", "ParallelizationFactor: 1"],
        ),
        (
            "terraform",
            [
                'starting_position           = "AT_TIMESTAMP"',
                'starting_position_timestamp = "2026-01-31T12:00:00Z"',
            ],
        ),
        (
            "cdk",
            ["starting_position=lambda_.StartingPosition.AT_TIMESTAMP,", "starting_position_timestamp=1769860800.0,"],
        ),
    ],
)
def test_a_mapping_of_kinesis_begins_where_the_file_says(
    form: Format, lines: list[str], file: Path, tmp_path: Path
) -> None:
    written = write_files(described(file, KINESIS), form, tmp_path / form)[0].read_text().splitlines()
    assert set(lines) <= {line.strip() for line in written}


def test_the_stream_of_kinesis_is_looked_up_by_its_plain_arn(file: Path) -> None:
    file.write_text(KINESIS)
    pipeline = load(file, with_secrets=False).pipeline
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/shop-cdc"

    class Streams:
        def table_stream(self, table: str) -> TableStream:
            return TableStream(table, f"{arn}/1700000000000", None)

        def table_names(self, patterns: list[str]) -> list[str]:
            return patterns

    streams: Any = Streams()
    assert look_up(pipeline, streams) == {"shop-cdc": arn}


def test_only_what_aws_has_no_arn_for_is_allowed_on_everything() -> None:
    function = LambdaFunction.model_validate({"vpc": {"subnets": ["subnet-01234567"]}})
    event_source = DynamoDBStreamsSource(type="dynamodb-streams", tables=("orders",)).event_source
    made = statements("f", function, event_source, ["a", "b"], "ssm:/p")
    on_everything = {s.sid for s in made if "*" in s.resources and s.effect == "Allow"}
    assert on_everything == {"ListStreams", "ManageNetworkInterfaces"}


def test_a_secret_is_named_once_whatever_is_read_of_it(file: Path) -> None:
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kafka-AbCdEf"
    kafka = f"""kafka:
  bootstrap.servers: ${{secret:kafka#brokers}}
  security.protocol: sasl_ssl
  sasl.mechanism: PLAIN
  sasl.username: ${{secret:kafka#user}}
  sasl.password: ${{secret:{arn}}}
"""
    deployment = described(file, PIPELINE.replace('kafka: {bootstrap.servers: "localhost:9092"}\n', kafka))
    assert rights(deployment)["ReadSecrets"] == (
        ("secretsmanager:GetSecretValue",),
        (arn, "arn:<partition>:secretsmanager:<region>:<account>:secret:kafka-??????"),
    )


@pytest.mark.parametrize(
    ("location", "action", "arn"),
    [
        ("ssm:/shop/pipeline", "ssm:GetParameter", "arn:<partition>:ssm:<region>:<account>:parameter/shop/pipeline"),
        ("ssm:pipeline", "ssm:GetParameter", "arn:<partition>:ssm:<region>:<account>:parameter/pipeline"),
        ("s3:bucket/a/p.yaml", "s3:GetObject", "arn:<partition>:s3:::bucket/a/p.yaml"),
        ("s3://bucket/a/p.yaml", "s3:GetObject", "arn:<partition>:s3:::bucket/a/p.yaml"),
    ],
)
def test_a_pipeline_file_kept_by_aws_may_be_read(file: Path, location: str, action: str, arn: str) -> None:
    deployment = described(file, PIPELINE, location)
    assert deployment.location == location
    assert rights(deployment)["ReadPipeline"] == ((action,), (arn,))


def test_a_queue_of_ones_own_is_told_and_none_is_made(file: Path) -> None:
    arn = "arn:aws:sqs:us-east-1:123456789012:failures"
    deployment = described(file, PIPELINE + f"lambda: {{on_failure: '{arn}'}}\n")
    assert rights(deployment)["TellOfDiscarded"] == (("sqs:SendMessage",), (arn,))
    assert not deployment.makes_queue
    assert "TellOfDiscarded" not in rights(described(file, PIPELINE + "lambda: {on_failure: none}\n"))


def test_variables_of_the_pipeline_are_asked_for_but_those_that_lambda_sets(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_USER", "u")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    added = "format: debezium\n"
    content = PIPELINE.replace("localhost:9092", "${env:KAFKA_USER}:9092") + added
    content = content.replace("tables:", 'region: "${env:AWS_REGION}", tables:')
    assert [variable.name for variable in described(file, content).variables] == ["KAFKA_USER"]


def test_tables_whose_names_differ_in_signs_alone_are_told_apart(file: Path) -> None:
    deployment = described(file, PIPELINE.replace("[orders]", "[user-events, user.events, user_Events]"))
    assert [table.id for table in deployment.tables] == ["UserEvents", "UserEvents2", "UserEvents3"]


@pytest.mark.parametrize(
    ("content", "location", "sentence"),
    [
        (PIPELINE.replace("[orders]", "['order*']"), None, "order* is a pattern, and an event source mapping has one"),
        (
            PIPELINE.replace("tables:", "tags: {cdc: 'true'}, tables:"),
            None,
            "source.tags: chooses the tables, and an event source mapping has one table; add --lookup",
        ),
        (PIPELINE.replace("tables:", "endpoint_url: 'http://a:1', tables:"), None, "has no effect under Lambda"),
        (PIPELINE + "lambda: {vpc: {subnets: [subnet-01234567]}}\n", None, "security_groups: is missing; add one"),
        (
            PIPELINE + "schema: {type: avro, registry: {url: 'http://localhost:8081'}}\n",
            None,
            "it writes records with a schema registry, whose client is not in the package for Lambda",
        ),
        (PIPELINE, "https://a/b", "'https://a/b' is no place of a pipeline file; write ssm:NAME or s3:BUCKET/KEY"),
    ],
)
def test_what_cannot_be_deployed_is_told(file: Path, content: str, location: str | None, sentence: str) -> None:
    with pytest.raises(FileError) as caught:
        described(file, content, location)
    assert sentence in str(caught.value)


def make_table(endpoint_url: str, table: str) -> str:
    """Make a table; gives its stream's ARN."""
    with closing(boto3.client("dynamodb", endpoint_url=endpoint_url, region_name="us-east-1")) as client:
        made = client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    return str(made["TableDescription"]["LatestStreamArn"])


def deploy_files(run: CommandLine, file: Path, form: str, *more: str) -> Outcome:
    return run("deploy-files", "lambda", file, "--format", form, "--output", file.parent / form, *more)


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("sam", ["template.yaml"]),
        ("cloudformation", ["template.yaml"]),
        ("terraform", ["main.tf"]),
        ("cdk", ["app.py", "cdk.json", "requirements.txt"]),
    ],
)
def test_the_files_are_written_and_say_that_a_partial_answer_must_be_reported(
    run: CommandLine, file: Path, form: str, files: list[str]
) -> None:
    file.write_text(PIPELINE)
    outcome = deploy_files(run, file, form, "--json")
    assert outcome.json() == {
        "function": "tailrace-shop",
        "files": [str(file.parent / form / name) for name in files],
    }
    text = (file.parent / form / files[0]).read_text()
    assert "Required: without it Lambda takes a batch that was published in part for done" in text
    assert max(map(len, text.splitlines())) <= 160
    if form == "cdk":
        ast.parse(text)


@pytest.mark.parametrize("form", ["sam", "cloudformation", "terraform", "cdk"])
def test_with_lookup_patterns_are_tables_and_streams_are_filled_in(
    run: CommandLine, file: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    with SimulatedDynamoDB() as simulated:
        arns = [make_table(simulated.endpoint_url, table) for table in ("order-lines", "orders", "users")]
        monkeypatch.setenv("AWS_ENDPOINT_URL", simulated.endpoint_url)
        file.write_text(PIPELINE.replace("[orders]", "['order*'], region: us-east-1"))
        outcome = deploy_files(run, file, form, "--lookup")
    assert outcome.code == 0, outcome.err
    written = "".join(path.read_text() for path in (file.parent / form).iterdir())
    assert [arn in written for arn in arns] == [True, True, False]


def test_a_file_that_was_edited_is_not_overwritten_without_force(file: Path, tmp_path: Path, run: CommandLine) -> None:
    file.write_text(PIPELINE)
    output = tmp_path / "out"
    command = ("deploy-files", "lambda", file, "--format", "cdk", "--output", output)
    assert run(*command).code == 0
    assert run(*command).code == 0, "as it was written"
    file.write_text(PIPELINE + "lambda: {memory: 512MiB}\n")
    assert run(*command).code == 0, "another pipeline file, and nothing edited"
    edited = output / "app.py"
    edited.write_text(edited.read_text() + "# ours\n")
    kept = {path.name: path.read_text() for path in output.iterdir()}
    file.write_text(PIPELINE + "lambda: {memory: 1GiB}\n")
    code, _, err = run(*command)
    assert (code, err) == (
        3,
        f"error: edited since `deploy-files` wrote it, so it is not overwritten: {edited}; "
        "give another folder as --output and compare, or overwrite it with --force\n",
    )
    assert {path.name: path.read_text() for path in output.iterdir()} == kept
    assert run(*command, "--force").code == 0
    assert "# ours" not in edited.read_text()
    assert run(*command).code == 0
