"""The `lambda` key: how AWS Lambda runs the pipeline. `tailrace deploy-files lambda` writes it down for AWS.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from tailrace.config.fields import Part, Text, Whole, as_tuple, as_written
from tailrace.config.problem import InvalidError, quoted
from tailrace.config.units import duration, size

MIB = 1 << 20
_FUNCTION_NAME = r"^[A-Za-z0-9_-]{1,64}$"
_QUEUE_ARN = r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}"
_SUBNET, _SECURITY_GROUP = r"^subnet-[0-9a-f]{8,17}$", r"^sg-[0-9a-f]{8,17}$"


def _function_name(value: str) -> str:
    if not re.match(_FUNCTION_NAME, value):
        raise InvalidError(f"{quoted(value)} cannot be a function's name", "use 1 to 64 letters, digits, `-` and `_`")
    return value


def _destination(value: str) -> str:
    if value not in {"queue", "none"} and not re.fullmatch(_QUEUE_ARN, value):
        raise InvalidError(
            f"must be `queue`, `none` or the ARN of a queue of SQS, not {quoted(value)}",
            "write e.g. `arn:aws:sqs:us-east-1:123456789012:failures`",
        )
    return value


def _resource(value: str, pattern: str, what: str, example: str) -> str:
    if not re.match(pattern, value):
        raise InvalidError(f"{quoted(value)} is not {what}", f"write e.g. `{example}`")
    return value


def _subnet(value: str) -> str:
    return _resource(value, _SUBNET, "a subnet", "subnet-0123456789abcdef0")


def _security_group(value: str) -> str:
    return _resource(value, _SECURITY_GROUP, "a security group", "sg-0123456789abcdef0")


def _whole(unit: int, what: str) -> AfterValidator:
    """Refuse a quantity that Lambda cannot be told: it counts in `unit`."""

    def check(value: int) -> int:
        if value % unit:
            raise InvalidError(f"must be a whole number of {what}", f"Lambda counts in {what}")
        return value

    return AfterValidator(check)


Seconds = _whole(1000, "seconds")
FunctionName = Annotated[
    Text, AfterValidator(_function_name), WithJsonSchema({"type": "string", "pattern": _FUNCTION_NAME})
]
Subnet = Annotated[Text, AfterValidator(_subnet), WithJsonSchema({"type": "string", "pattern": _SUBNET})]
SecurityGroup = Annotated[
    Text, AfterValidator(_security_group), WithJsonSchema({"type": "string", "pattern": _SECURITY_GROUP})
]
Destination = Annotated[
    Text,
    AfterValidator(_destination),
    WithJsonSchema({"type": "string", "pattern": f"^(queue|none|{_QUEUE_ARN})$"}),
]


class Vpc(Part):
    """Where the function's network interfaces lie, so that it reaches brokers inside a VPC."""

    subnets: Annotated[tuple[Subnet, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description="Subnets of the function; it is in no VPC without them.",
        examples=[["subnet-0123456789abcdef0"]],
    )
    security_groups: Annotated[tuple[SecurityGroup, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description="Security groups of the function: they must let it out to the brokers.",
        examples=[["sg-0123456789abcdef0"]],
    )


class LambdaFunction(Part):
    """The function and its event source mappings."""

    name: FunctionName | None = Field(
        default=None, description="The function's name. Without it, `tailrace-<name of the pipeline>`."
    )
    architecture: Literal["arm64", "x86_64"] = Field(
        default="arm64", description="The processor. AWS charges a fifth less for arm64."
    )
    memory_bytes: Annotated[int, size("128MiB", "10GiB"), _whole(MIB, "MiB")] = Field(
        default=as_written("1GiB"),
        alias="memory",
        description="The function's memory. Its share of the processor grows with it: one whole at 1769 MiB.",
    )
    timeout_ms: Annotated[int, duration("1s", "15m"), Seconds] = Field(
        default=as_written("1m"),
        alias="timeout",
        description="How long a batch may take. What is not published by then is brought again.",
    )
    window_ms: Annotated[int, duration("0s", "15m"), Seconds] = Field(
        default=as_written("1m"),
        alias="window",
        description="The tumbling window, which makes Lambda name a batch's shard. At `0s` there is none, and changes "
        "are published at least once.",
    )
    batch_size: Whole = Field(default=1_000, ge=1, le=10_000, description="Most changes in a batch (and 6 MB).")
    batching_window_ms: Annotated[int, duration("0s", "5m"), Seconds] = Field(
        default=as_written("0s"),
        alias="batching_window",
        description="How long Lambda gathers changes for a batch: fewer invocations, later changes.",
    )
    parallelization_factor: Whole = Field(
        default=1,
        ge=1,
        le=10,
        description="Batches of a shard at once. Above 1 changes are published at least once, and `window` must be 0s.",
    )
    maximum_retry_attempts: Whole = Field(
        default=-1,
        ge=-1,
        le=10_000,
        description="How often Lambda brings a failed batch again before it discards it; -1 is as long as the stream "
        "keeps its changes.",
    )
    maximum_record_age_ms: Annotated[int, duration("1m", "24h"), Seconds] | None = Field(
        default=None,
        alias="maximum_record_age",
        description="Lambda discards changes that are older. Without it, none that the stream still holds.",
    )
    on_failure: Destination = Field(
        default="queue",
        description="Who is told of a discarded batch: a queue of SQS that is made, nobody, or a queue by its ARN.",
    )
    reserved_concurrency: Whole | None = Field(
        default=None,
        ge=1,
        description="Invocations kept free for the function, and its most. It needs one for each open shard.",
    )
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096] = Field(
        default=30, description="How long CloudWatch keeps the function's logs."
    )
    iterator_age_alarm_ms: Annotated[int, duration("1m", "23h"), Seconds] = Field(
        default=as_written("15m"),
        alias="iterator_age_alarm",
        description="The alarm goes off when changes wait for so long. DynamoDB forgets them after 24 h.",
    )
    vpc: Vpc = Field(default=as_written({}), description="The function's place in a VPC, if it is in one.")

    @property
    def publishes_exactly_once(self) -> bool:
        """Whether batches name their shard and come one at a time."""
        return self.window_ms > 0 and self.parallelization_factor == 1
