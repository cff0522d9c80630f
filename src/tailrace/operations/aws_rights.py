"""The rights in AWS that a pipeline needs, and no more: made from the file alone, as an IAM policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.rights import AwsRight, RightsNeeded, partition_of
from tailrace.errors import FileError
from tailrace.kafka import login, msk_iam
from tailrace.operations.acls import Resource, acls_of

Identity = Literal["host", "source-role", "kafka-role"]

_ANY: Final = "*"
_ACTIONS: Final = {
    ("topic", "Read"): ("DescribeTopic", "ReadData"),
    ("topic", "Write"): ("DescribeTopic", "WriteData"),
    ("topic", "Create"): ("CreateTopic",),
    ("topic", "DescribeConfigs"): ("DescribeTopicDynamicConfiguration",),
    ("group", "Read"): ("AlterGroup", "DescribeGroup"),
    ("transactional-id", "Write"): ("AlterTransactionalId", "DescribeTransactionalId"),
}
"""The actions of MSK that allow what an operation of an ACL does.

Source: https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html
"""
_PURPOSES: Final[dict[Resource, str]] = {
    "topic": "kafka topics",
    "group": "kafka groups",
    "transactional-id": "kafka transactional ids",
}


def policy(
    loaded: LoadedPipeline,
    *,
    identity: Identity = "host",
    account: str = _ANY,
    cluster: str | None = None,
    snapshots: bool = False,
) -> dict[str, Any]:
    """Return the policy of an identity: the host's own, or that of a role of the file which it assumes.

    `account` is that of the tables and secrets, `cluster` the ARN of the MSK cluster; `snapshots` allows those that are
    started by hand, and `verify`. Raises FileError when the file has no such role.
    """
    pipeline = loaded.pipeline
    source = pipeline.source
    needed = source.rights(RightsNeeded(True, True)) if snapshots else pipeline.aws_rights
    reads = tuple(right for right in needed if right.resources != (source.role_arn,))
    roles = {"source-role": source.role_arn, "kafka-role": pipeline.kafka.get(msk_iam.ROLE_ARN)}
    if identity == "host":
        assumes = AwsRight("assume source role", ("sts:AssumeRole",), (source.role_arn or "",))
        rights = [*([assumes] if source.role_arn else reads), *_own(loaded, cluster)]
    elif role := roles[identity]:
        account = role.split(":")[4]
        rights = [*reads] if identity == "source-role" else [*_on_cluster(pipeline, cluster)]
    else:
        key = "source.role_arn" if identity == "source-role" else f"kafka.{msk_iam.ROLE_ARN}"
        raise FileError(f"the file has no {key}", hint="leave --identity out: the host needs all rights itself")
    region = source.region or _ANY
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Action": sorted(right.actions),
                "Resource": [_of_account(_filled(resource, region), account) for resource in right.resources],
            }
            for sid, right in zip(sids(rights), rights, strict=True)
        ],
    }


def sids(rights: Iterable[AwsRight]) -> Iterator[str]:
    """Yield a statement's id for each: its purpose in letters and digits, with a number where it comes again."""
    seen: Counter[str] = Counter()
    for right in rights:
        sid = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", right.purpose))
        seen[sid] += 1
        yield f"{sid}{seen[sid]}" if seen[sid] > 1 else sid


def kafka_rights(pipeline: Pipeline, cluster: str | None = None) -> Iterator[AwsRight]:
    """Return the rights that logging in with AWS_MSK_IAM takes: on the cluster, or to assume the role that has them."""
    if login.mechanism(pipeline.kafka) != msk_iam.MECHANISM:
        return
    if role_arn := pipeline.kafka.get(msk_iam.ROLE_ARN):
        yield AwsRight("assume kafka role", ("sts:AssumeRole",), (role_arn,))
    else:
        yield from _on_cluster(pipeline, cluster)


def _on_cluster(pipeline: Pipeline, cluster: str | None) -> Iterator[AwsRight]:
    """Return the rights on an MSK cluster with IAM; `cluster` is its ARN, by default any of the account and region."""
    settings = msk_iam.settings_of(pipeline.kafka)
    of_cluster = cluster or f"arn:<partition>:kafka:{settings.region or '<region>'}:<account>:cluster/*/*"
    yield AwsRight("kafka cluster", ("kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"), (of_cluster,))
    acls = acls_of(pipeline)
    for kind, purpose in _PURPOSES.items():
        mine = [acl for acl in acls if acl.resource == kind]
        actions = {f"kafka-cluster:{each}" for acl in mine for op in acl.operations for each in _ACTIONS[kind, op]}
        within = of_cluster.replace(":cluster/", f":{kind}/")
        yield AwsRight(
            purpose, tuple(sorted(actions)), tuple(f"{within}/{acl.name}{'*' if acl.is_prefix else ''}" for acl in mine)
        )


def secret_arn(name: str) -> str:
    """Return a secret's ARN: AWS puts six characters behind its name."""
    if name.startswith("arn:"):
        return name if re.search(r"-[A-Za-z0-9]{6}$", name) else f"{name}-??????"
    return f"arn:<partition>:secretsmanager:<region>:<account>:secret:{name}-??????"


def secrets_of(loaded: LoadedPipeline) -> list[str]:
    """Return the names of the secrets that the file refers to."""
    return sorted({each.name.partition("#")[0] for each in loaded.references if each.kind == "secret"})


def _own(loaded: LoadedPipeline, cluster: str | None) -> Iterable[AwsRight]:
    """Return what is not about tables."""
    if secrets := secrets_of(loaded):
        yield AwsRight("read secrets", ("secretsmanager:GetSecretValue",), tuple(map(secret_arn, secrets)))
    yield from kafka_rights(loaded.pipeline, cluster)


def _filled(resource: str, region: str) -> str:
    """Fill in what is of the deployment."""
    filled = resource.replace("<partition>", partition_of(region)).replace("<region>", region)
    return filled.replace("<account>", _ANY)


def _of_account(arn: str, account: str) -> str:
    """Return an ARN of any account as that of one."""
    parts = arn.split(":")
    return ":".join([*parts[:4], account, *parts[5:]]) if parts[4:5] == [_ANY] else arn
