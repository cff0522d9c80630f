"""The rights that `plan --acls` and `iam` print: the least, from the file alone, one truth with MSK's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cli import CommandLine
from tailrace.config import LoadedPipeline, load, load_lake
from tailrace.deploy.deployment import describe
from tailrace.deploy.wheels import _is_needed
from tailrace.errors import FileError
from tailrace.operations import acls
from tailrace.operations.acls import Form, acls_of, lake_acls_of
from tailrace.operations.aws_rights import lake_policy, policy

SOURCE = {"type": "dynamodb-streams", "region": "eu-west-1", "tables": ["orders", "users-*"]}
MSK = {
    "bootstrap.servers": "b-1.shop.abc.c2.kafka.eu-west-1.amazonaws.com:9098",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "AWS_MSK_IAM",
}
SCRAM = {
    "bootstrap.servers": "kafka:9092",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "tailrace",
    "sasl.password": "x",
}


def loaded(folder: Path, **keys: Any) -> LoadedPipeline:
    file = folder / "pipeline.yaml"
    file.write_text(
        yaml.safe_dump({"name": "shop", "kafka": {"bootstrap.servers": "kafka:9092"}, "source": SOURCE} | keys)
    )
    return load(file)


def topics(pipeline: LoadedPipeline) -> set[tuple[str, bool]]:
    return {(acl.name, acl.is_prefix) for acl in acls_of(pipeline.pipeline) if acl.resource == "topic"}


def write(made: LoadedPipeline, form: Form, principal: str | None = None) -> str:
    kafka = made.pipeline.kafka
    return acls.write(kafka, acls_of(made.pipeline), form, made.place("kafka", "sasl.mechanism"), principal)


# Kafka


def test_a_named_table_has_its_topic_and_a_pattern_what_its_topics_begin_with(tmp_path: Path) -> None:
    assert topics(loaded(tmp_path)) == {
        ("shop.checkpoints", False),
        ("shop.dead-letters", False),
        ("shop.orders", False),
        ("shop.users-", True),
    }


def test_the_topics_of_routes_are_in_it(tmp_path: Path) -> None:
    route = {"by": "item.type", "topics": {"a": "{pipeline}.as", "b": "{table}.bs"}}
    made = loaded(tmp_path, source=SOURCE | {"tables": ["orders"]}, transform=[{"route": route}])
    assert topics(made) == {
        ("shop.checkpoints", False),
        ("shop.dead-letters", False),
        ("shop.as", False),
        ("orders.bs", False),
    }


def test_what_a_prefix_covers_is_not_listed_again(tmp_path: Path) -> None:
    assert topics(loaded(tmp_path, source=SOURCE | {"tables": ["orders", "*"]})) == {("shop.", True)}


def test_topics_that_connects_transforms_rename_may_be_any_for_a_pattern(tmp_path: Path) -> None:
    router = {"type": "org.apache.kafka.connect.transforms.RegexRouter", "regex": "shop.(.*)", "replacement": "x-$1"}
    converters = dict.fromkeys(("key.converter", "value.converter"), "org.apache.kafka.connect.json.JsonConverter")
    connect = {**converters, "transforms": "r", **{f"transforms.r.{key}": value for key, value in router.items()}}
    named = loaded(tmp_path, source=SOURCE | {"tables": ["orders"]}, connect=connect)
    assert ("x-orders", False) in topics(named)
    assert topics(loaded(tmp_path, connect=connect)) == {("", True)}


def test_tables_that_only_tags_or_a_stream_choose_are_all(tmp_path: Path) -> None:
    tagged = {"type": "dynamodb-streams", "region": "eu-west-1", "tags": {"cdc": "true"}}
    kinesis = {"type": "kinesis", "region": "eu-west-1", "streams": ["shop-cdc"]}
    for source in (tagged, kinesis):
        assert topics(loaded(tmp_path, source=source)) == {("shop.", True)}
    named = loaded(tmp_path, source=kinesis | {"tables": ["orders"]})
    assert topics(named) == {("shop.checkpoints", False), ("shop.dead-letters", False), ("shop.orders", False)}


def test_the_commands_are_for_a_shell(tmp_path: Path) -> None:
    lines = write(loaded(tmp_path, kafka=SCRAM), "kafka-acls").splitlines()
    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line)
        assert words[:6] == [
            "kafka-acls",
            "--bootstrap-server",
            "kafka:9092",
            "--add",
            "--allow-principal",
            "User:tailrace",
        ]
    assert lines[-1].endswith("--resource-pattern-type prefixed --transactional-id shop. --operation Write")


def test_a_user_that_is_secret_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "hidden")
    made = loaded(tmp_path, kafka=SCRAM | {"sasl.username": "${env:WHO}"})
    assert "User:NAME" in write(made, "kafka-acls")
    assert "hidden" not in write(made, "strimzi") + write(made, "confluent") + write(made, "kafka-acls")
    assert "--allow-principal 'User:CN=a b'" in write(made, "kafka-acls", "User:CN=a b")


def test_strimzis_user_has_the_same_rights(tmp_path: Path) -> None:
    made = loaded(tmp_path, kafka=SCRAM)
    user = yaml.safe_load(write(made, "strimzi"))
    assert (user["kind"], user["metadata"]["name"]) == ("KafkaUser", "tailrace")
    assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
    listed = user["spec"]["authorization"]["acls"]
    assert [
        (each["resource"]["name"], each["resource"]["patternType"] == "prefix", each["operations"]) for each in listed
    ] == [(acl.name, acl.is_prefix, list(acl.operations)) for acl in acls_of(made.pipeline)]
    assert {each["resource"]["type"] for each in listed} == {"topic", "group", "transactionalId"}


def test_terraform_has_a_resource_for_each_right(tmp_path: Path) -> None:
    made = loaded(tmp_path, kafka=SCRAM)
    text = write(made, "confluent", "User:sa-1")
    blocks = re.findall(r'resource "confluent_kafka_acl" "(\w+)" \{\n(.*?)\n\}', text, flags=re.DOTALL)
    assert (
        len({name for name, _ in blocks}) == len(blocks) == sum(len(acl.operations) for acl in acls_of(made.pipeline))
    )
    assert set(re.findall(r'operation     = "(\w+)"', text)) == {"READ", "WRITE", "CREATE", "DESCRIBE_CONFIGS"}
    assert set(re.findall(r'resource_type = "(\w+)"', text)) == {"TOPIC", "GROUP", "TRANSACTIONAL_ID"}


def test_a_cluster_with_iam_has_no_acls(tmp_path: Path) -> None:
    with pytest.raises(
        FileError, match=r"pipeline\.yaml:\d+: kafka\.sasl\.mechanism: is AWS_MSK_IAM, .*the command iam"
    ):
        write(loaded(tmp_path, kafka=MSK), "kafka-acls")


def test_options_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded(tmp_path, kafka=SCRAM)
    run = CommandLine(capsys)
    file = tmp_path / "pipeline.yaml"
    assert run("plan", file, "--acls", "--json").err == "error: --acls prints text: it excludes --json\n"
    assert run("plan", file, "--principal", "User:x").err.startswith("error: --principal is for --acls; ")
    assert "kind: KafkaUser" in run("plan", file, "--acl-format", "strimzi").out
    assert run("iam", file).json()["Version"] == "2012-10-17"


LAKE = {"location": "s3://analytics/shop", "region": "eu-west-1"}


def test_a_lake_reads_the_topics_and_writes_dead_letters(tmp_path: Path) -> None:
    assert lake_acls_of(loaded(tmp_path, lake=LAKE)) == (
        acls.Acl("topic", "shop.checkpoints", False, ("Describe",)),
        acls.Acl("topic", "shop.dead-letters", False, ("Write",)),
        acls.Acl("topic", "shop.orders", False, ("Read",)),
        acls.Acl("topic", "shop.users-", True, ("Read",)),
        acls.Acl("group", "shop.lake-", True, ("Read",)),
    )


def lake_file(folder: Path, **keys: Any) -> Path:
    file = folder / "lake.yaml"
    settings = {"name": "all", "kafka": {"bootstrap.servers": "kafka:9092"}, "topics": ["shop.{table}", "users"]}
    file.write_text(yaml.safe_dump(settings | {"lake": LAKE} | keys))
    return file


def test_a_lakes_own_file_says_which_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = lake_file(tmp_path)
    assert lake_acls_of(load_lake(file)) == (
        acls.Acl("topic", "all.dead-letters", False, ("Write", "Create")),
        acls.Acl("topic", "shop.", True, ("Read",)),
        acls.Acl("topic", "users", False, ("Read",)),
        acls.Acl("group", "all.lake-", True, ("Read",)),
    )
    run = CommandLine(capsys)
    assert len(run("plan", file, "--acls").out.splitlines()) == 4
    loaded(tmp_path, lake=LAKE)
    assert run("plan", tmp_path / "pipeline.yaml", "--acls", "--lake").out.count("--group shop.lake-") == 1
    loaded(tmp_path)
    assert "the pipeline has no `lake`" in run("plan", tmp_path / "pipeline.yaml", "--acls", "--lake").err
    assert run("plan", file, "--lake").err == "error: --lake is for --acls; add --acls, or leave it out\n"


# AWS


def by_sid(made: dict[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    return {each["Sid"]: (each["Action"], each["Resource"]) for each in made["Statement"]}


def test_the_policy_of_a_worker_is_what_plan_lists(tmp_path: Path) -> None:
    tables = [
        "arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/users-*",
    ]
    made = loaded(tmp_path)
    found = policy(made, account="123456789012")["Statement"]
    assert found[0] == {
        "Sid": "Reading",
        "Effect": "Allow",
        "Action": ["dynamodb:DescribeTable"],
        "Resource": tables,
    }
    assert [sorted(right.actions) for right in made.pipeline.aws_rights] == [each["Action"] for each in found]
    assert found[1]["Resource"] == [f"{table}/stream/*" for table in tables]
    assert len({each["Sid"] for each in found}) == len(found)
    assert all(each["Sid"].isalnum() for each in found)


def test_snapshots_by_hand_add_theirs(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    assert by_sid(policy(made, snapshots=True))["Snapshots"][0] == ["dynamodb:Scan"]
    assert "Snapshots" not in by_sid(policy(made))
    kinesis = {"type": "kinesis", "region": "eu-west-1", "streams": ["shop-cdc"]}
    assert "Snapshots" in by_sid(policy(loaded(tmp_path, source=kinesis), snapshots=True))


def test_with_a_role_the_host_may_assume_it_and_the_role_reads(tmp_path: Path) -> None:
    role = "arn:aws:iam::111111111111:role/reader"
    made = loaded(tmp_path, source=SOURCE | {"role_arn": role})
    assert by_sid(policy(made)) == {"AssumeSourceRole": (["sts:AssumeRole"], [role])}
    of_role = by_sid(policy(made, identity="source-role"))
    assert of_role["Reading"][1][0] == "arn:aws:dynamodb:eu-west-1:111111111111:table/orders"
    with pytest.raises(FileError, match=r"the file has no kafka\.sasl\.aws\.role\.arn"):
        policy(made, identity="kafka-role")


def test_the_rights_on_msk_say_what_the_acls_would(tmp_path: Path) -> None:
    cluster = "arn:aws:kafka:eu-west-1:123456789012:cluster/shop/abc-1"
    made = loaded(tmp_path, kafka=MSK)
    found = by_sid(policy(made, cluster=cluster))
    within = "arn:aws:kafka:eu-west-1:123456789012:{}/shop/abc-1/{}"
    assert found["KafkaCluster"] == (["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"], [cluster])
    for kind, sid in (
        ("topic", "KafkaTopics"),
        ("group", "KafkaGroups"),
        ("transactional-id", "KafkaTransactionalIds"),
    ):
        names = [
            f"{acl.name}*" if acl.is_prefix else acl.name for acl in acls_of(made.pipeline) if acl.resource == kind
        ]
        assert found[sid][1] == [within.format(kind, name) for name in names]
    role = "arn:aws:iam::222222222222:role/kafka"
    with_role = loaded(tmp_path, kafka=MSK | {"sasl.aws.role.arn": role})
    assert by_sid(policy(with_role))["AssumeKafkaRole"] == (["sts:AssumeRole"], [role])
    assert "KafkaTopics" in by_sid(policy(with_role, identity="kafka-role", cluster=cluster))


def test_the_lambda_function_gets_the_same_rights_on_msk(tmp_path: Path) -> None:
    made = loaded(tmp_path, kafka=MSK, source=SOURCE | {"tables": ["orders"]})
    statements = {each.sid: each for each in describe(made, "3.13", None, None).statements}
    of_iam = by_sid(policy(made))
    for sid in ("KafkaCluster", "KafkaTopics", "KafkaGroups", "KafkaTransactionalIds"):
        assert sorted(statements[sid].actions) == of_iam[sid][0]
    assert (
        statements["KafkaTopics"].resources[0] == "arn:<partition>:kafka:eu-west-1:<account>:topic/*/*/shop.checkpoints"
    )


def test_the_policy_of_a_lake_has_the_prefix_the_catalog_and_the_secrets(tmp_path: Path) -> None:
    glue = LAKE | {"format": "iceberg", "catalog": {"type": "glue"}}
    found = by_sid(lake_policy(loaded(tmp_path, lake=glue)))
    assert found["Lake"][1] == ["arn:aws:s3:::analytics/shop/*"]
    assert set(found) == {"Lake", "Lake2", "LakeCatalog"}
    right_actions = {action for actions, _ in found.values() for action in actions}
    (lake,) = loaded(tmp_path, lake=glue).pipeline.lakes
    assert right_actions == {action for right in lake.aws_rights for action in right.actions}
    assert {"s3:PutObject", "s3:ListBucket", "glue:UpdateTable"} < right_actions
    with pytest.raises(FileError, match="the pipeline has no `lake`"):
        lake_policy(loaded(tmp_path))


def test_lakes_that_assume_a_role_leave_the_rights_to_it(tmp_path: Path) -> None:
    role = "arn:aws:iam::333333333333:role/lake"
    made = loaded(tmp_path, kafka=MSK, lake=LAKE | {"role_arn": role})
    host = by_sid(lake_policy(made))
    assert host["AssumeLakeRole"] == (["sts:AssumeRole"], [role])
    assert host["KafkaGroups"][1] == ["arn:aws:kafka:eu-west-1:*:group/*/*/shop.lake-*"]
    assert set(host) == {"AssumeLakeRole", "KafkaCluster", "KafkaTopics", "KafkaGroups"}
    assert set(by_sid(lake_policy(made, identity="lake-role"))) == {"Lake", "Lake2"}
    with pytest.raises(FileError, match=r"the file has no lake\.role_arn"):
        lake_policy(loaded(tmp_path, lake=LAKE), identity="lake-role")
    other = {"name": "other", "location": "s3://b-1/x", "role_arn": role.replace("lake", "more")}
    with pytest.raises(FileError, match=r"several lake\.role_arn; give each lake a file"):
        lake_policy(loaded(tmp_path, lake=[LAKE | {"role_arn": role}, other]), identity="lake-role")


def test_options_of_a_lakes_policy_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = CommandLine(capsys), lake_file(tmp_path)
    assert by_sid(run("iam", file).json())["Lake"][1] == ["arn:aws:s3:::analytics/shop/*"]
    assert "--snapshots is for the tables" in run("iam", file, "--snapshots").err
    assert "--identity source-role is for the tables" in run("iam", file, "--identity", "source-role").err
    loaded(tmp_path, lake=LAKE)
    pipeline = tmp_path / "pipeline.yaml"
    assert "Lake" in by_sid(run("iam", pipeline, "--lake").json())
    assert "Lake" not in by_sid(run("iam", pipeline).json())
    assert "--identity lake-role is for a lake alone" in run("iam", pipeline, "--identity", "lake-role").err


def test_china_and_government_clouds_have_their_own_arns(tmp_path: Path) -> None:
    found = by_sid(policy(loaded(tmp_path, source=SOURCE | {"region": "cn-north-1"})))
    assert found["Reading"][1][0] == "arn:aws-cn:dynamodb:cn-north-1:*:table/orders"


@pytest.mark.parametrize(
    ("name", "plain", "msk_iam", "whole_sdk"),
    [
        ("aws_msk_iam_sasl_signer/MSKAuthTokenProvider.py", False, True, False),
        ("aws_msk_iam_sasl_signer_python-1.0.2.dist-info/METADATA", False, True, False),
        ("boto3/__init__.py", False, True, True),
        ("s3transfer/__init__.py", False, True, True),
        ("botocore/session.py", True, True, True),
        ("botocore/data/ec2/1/service-2.json.gz", False, False, True),
        ("botocore/data/sts/1/service-2.json.gz", True, True, True),
        ("click/core.py", False, False, False),
    ],
)
def test_the_layer_gains_the_signer_only_where_the_file_asks_for_it(
    name: str, plain: bool, msk_iam: bool, whole_sdk: bool
) -> None:
    assert _is_needed(name, whole_sdk=False, msk_iam=False) is plain
    assert _is_needed(name, whole_sdk=False, msk_iam=True) is msk_iam
    assert _is_needed(name, whole_sdk=True, msk_iam=False) is whole_sdk
