"""The rights in AWS that a pipeline needs, and no more: made from the file alone, as an IAM policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from tailrace.config import AnyLoaded, LoadedPipeline
from tailrace.config.rights import AwsRight, RightsNeeded, partition_of
from tailrace.errors import FileError
from tailrace.kafka import login, msk_iam
from tailrace.operations.acls import Acl, Resource, acls_of, lake_acls_of
from tailrace.operations.lake_targets import require_targets

Identity = Literal["host", "source-role", "lake-role", "kafka-role"]

_ANY: Final = "*"
_ACTIONS: Final = {
    ("topic", "Describe"): ("DescribeTopic",),
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
    if identity == "lake-role":
        raise FileError("--identity lake-role is for a lake alone", hint="add --lake")
    pipeline = loaded.pipeline
    source = pipeline.source
    needed = source.rights(RightsNeeded(True, True)) if snapshots else pipeline.aws_rights
    reads = tuple(right for right in needed if right.resources != (source.role_arn,))
    roles = {"source-role": source.role_arn, "kafka-role": pipeline.kafka.get(msk_iam.ROLE_ARN)}
    if identity == "host":
        own = *_secrets(loaded), *kafka_rights(pipeline.kafka, acls_of(pipeline), cluster)
        assumes = AwsRight("assume source role", ("sts:AssumeRole",), (source.role_arn or "",))
        rights = [*([assumes] if source.role_arn else reads), *own]
    elif role := roles[identity]:
        account = role.split(":")[4]
        of_cluster = _on_cluster(pipeline.kafka, acls_of(pipeline), cluster)
        rights = [*(reads if identity == "source-role" else of_cluster)]
    else:
        key = "source.role_arn" if identity == "source-role" else f"kafka.{msk_iam.ROLE_ARN}"
        raise FileError(f"the file has no {key}", hint="leave --identity out: the host needs all rights itself")
    return _document(rights, source.region or _ANY, account)


def lake_policy(
    loaded: AnyLoaded, *, identity: Identity = "host", account: str = _ANY, cluster: str | None = None
) -> dict[str, Any]:
    """Return the policy of who runs `tailrace lake`, or that of a role of the file which it assumes.

    `account` and `cluster` are those of `policy`. Raises FileError when the file has no such role, or no lake.
    """
    if identity == "source-role":
        raise FileError("--identity source-role is for the tables, which a lake does not read", hint="leave --lake out")
    targets = require_targets(loaded)
    kafka, lakes = targets[0].kafka, [target.lake for target in targets]
    role, lake_roles = kafka.get(msk_iam.ROLE_ARN), {lake.role_arn for lake in lakes if lake.role_arn}
    acls = lake_acls_of(loaded)
    if identity == "host":
        reached = [right for lake in lakes if not lake.role_arn for right in lake.aws_rights]
        assumes = [AwsRight("assume lake role", ("sts:AssumeRole",), (each,)) for each in sorted(lake_roles)]
        rights = [*assumes, *reached, *_secrets(loaded), *kafka_rights(kafka, acls, cluster)]
    elif identity == "kafka-role" and role:
        account, rights = role.split(":")[4], [*_on_cluster(kafka, acls, cluster)]
    elif identity == "lake-role" and len(lake_roles) == 1:
        assumed = (right for lake in lakes if lake.role_arn for right in lake.aws_rights)
        rights = [right for right in assumed if right.actions != ("sts:AssumeRole",)]
    else:
        key = f"kafka.{msk_iam.ROLE_ARN}" if identity == "kafka-role" else "lake.role_arn"
        several = identity == "lake-role" and lake_roles
        raise FileError(
            f"the lakes of the file have several {key}" if several else f"the file has no {key}",
            hint="give each lake a file" if several else "leave --identity out: the host needs all rights itself",
        )
    return _document(dict.fromkeys(rights), next((lake.region for lake in lakes if lake.region), _ANY), account)


def _document(rights: Collection[AwsRight], region: str, account: str) -> dict[str, Any]:
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


def kafka_rights(kafka: Mapping[str, str], acls: Sequence[Acl], cluster: str | None = None) -> Iterator[AwsRight]:
    """Return the rights that logging in with AWS_MSK_IAM takes: on the cluster, or to assume the role that has them."""
    if login.mechanism(kafka) != msk_iam.MECHANISM:
        return
    if role_arn := kafka.get(msk_iam.ROLE_ARN):
        yield AwsRight("assume kafka role", ("sts:AssumeRole",), (role_arn,))
    else:
        yield from _on_cluster(kafka, acls, cluster)


def _on_cluster(kafka: Mapping[str, str], acls: Sequence[Acl], cluster: str | None) -> Iterator[AwsRight]:
    """Return the rights on an MSK cluster with IAM; `cluster` is its ARN, by default any of the account and region."""
    settings = msk_iam.settings_of(kafka)
    of_cluster = cluster or f"arn:<partition>:kafka:{settings.region or '<region>'}:<account>:cluster/*/*"
    yield AwsRight("kafka cluster", ("kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"), (of_cluster,))
    for kind, purpose in _PURPOSES.items():
        mine = [acl for acl in acls if acl.resource == kind]
        if not mine:
            continue
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


def secrets_of(loaded: AnyLoaded) -> list[str]:
    """Return the names of the secrets that the file refers to."""
    return sorted({each.name.partition("#")[0] for each in loaded.references if each.kind == "secret"})


def _secrets(loaded: AnyLoaded) -> Iterator[AwsRight]:
    if secrets := secrets_of(loaded):
        yield AwsRight("read secrets", ("secretsmanager:GetSecretValue",), tuple(map(secret_arn, secrets)))


def _filled(resource: str, region: str) -> str:
    """Fill in what is of the deployment."""
    filled = resource.replace("<partition>", partition_of(region)).replace("<region>", region)
    return filled.replace("<account>", _ANY)


def _of_account(arn: str, account: str) -> str:
    """Return an ARN of any account as that of one."""
    parts = arn.split(":")
    return ":".join([*parts[:4], account, *parts[5:]]) if parts[4:5] == [_ANY] else arn
