"""The rights that the function needs, and no more: for exactly its streams, its queue, its log, its secrets.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html#events-dynamodb-permissions (streams) and
https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions (network interfaces)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from tailrace.config import LambdaFunction
from tailrace.config.rights import AwsRight
from tailrace.config.source import EventSource
from tailrace.operations.aws_rights import secret_arn, sids

STREAMS: Final = "<streams>"
QUEUE: Final = "<queue>"
LOGS: Final = "<logs>"
"""Resources that the files themselves define. In other resources `<partition>`, `<region>` and `<account>` are those of
the deployment."""

_INTERFACES: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


class Statement(msgspec.Struct, frozen=True):
    """A statement of a policy; `condition` names the function that it is about, if it is about one alone."""

    sid: str
    comment: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    effect: str = "Allow"
    source_function: str | None = None


def statements(
    name: str,
    function: LambdaFunction,
    event_source: EventSource,
    secrets: Sequence[str],
    location: str | None,
    *,
    kafka: Sequence[AwsRight] = (),
) -> Iterator[Statement]:
    """Return the statements of the function `name` that reads `secrets`, and its pipeline from `location`.

    `kafka` are those that a cluster with IAM asks for.
    """
    yield Statement(
        "ReadStreams",
        "The event source mappings read with the function's rights.",
        event_source.read_actions,
        (STREAMS,),
    )
    yield Statement(
        "ListStreams", "Needed too, and AWS knows no narrower resource for it.", event_source.list_actions, ("*",)
    )
    yield Statement("WriteLogs", "Its own log, no other.", ("logs:CreateLogStream", "logs:PutLogEvents"), (LOGS,))
    if function.on_failure != "none":
        resource = QUEUE if function.on_failure == "queue" else function.on_failure
        yield Statement("TellOfDiscarded", "Where discarded batches are told.", ("sqs:SendMessage",), (resource,))
    if secrets:
        yield Statement(
            "ReadSecrets",
            "The secrets that the pipeline file names. One with a key of your own in KMS needs kms:Decrypt of it too.",
            ("secretsmanager:GetSecretValue",),
            tuple(map(secret_arn, secrets)),
        )
    for sid, right in zip(sids(kafka), kafka, strict=True):
        yield Statement(sid, "The cluster has IAM access control.", right.actions, right.resources)
    if location:
        yield _read_pipeline(location)
    if function.vpc.subnets:
        yield Statement(
            "ManageNetworkInterfaces",
            "Lambda makes the interfaces in your subnets with these rights; AWS asks for them on every resource.",
            _INTERFACES,
            ("*",),
        )
        yield Statement(
            "ButNotTheCode",
            "They are Lambda's: the function's own code may not use them.",
            _INTERFACES,
            ("*",),
            "Deny",
            f"arn:<partition>:lambda:<region>:<account>:function:{name}",
        )


def _read_pipeline(location: str) -> Statement:
    kind, _, name = location.partition(":")
    if kind == "ssm":
        arn = f"arn:<partition>:ssm:<region>:<account>:parameter/{name.removeprefix('/')}"
        comment = "The pipeline file. A SecureString with a key of your own in KMS needs kms:Decrypt of it too."
        return Statement("ReadPipeline", comment, ("ssm:GetParameter",), (arn,))
    arn = f"arn:<partition>:s3:::{name.removeprefix('//')}"
    return Statement("ReadPipeline", "The pipeline file.", ("s3:GetObject",), (arn,))
