"""What an event source mapping is set to, in AWS's words and within AWS's limits; and how hostile the mapper is.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
"""

from __future__ import annotations

from typing import Literal

import msgspec

DestinationKind = Literal["sqs", "s3"]
"""Whose message a discarded batch makes: that of SQS and SNS holds positions only, that of S3 the event as well."""


class EventSourceMapping(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of CreateEventSourceMapping that DynamoDB Streams have, without FilterCriteria.

    Raises ValueError, with a sentence, for what AWS refuses.
    """

    batch_size: int = 100
    maximum_batching_window_s: int = 0
    tumbling_window_s: int = 0
    """0: no window."""
    parallelization_factor: int = 1
    starting_position: Literal["TRIM_HORIZON", "LATEST"] = "TRIM_HORIZON"
    bisect_batch_on_function_error: bool = False
    maximum_retry_attempts: int = -1
    """-1: until the records expire."""
    maximum_record_age_s: int = -1
    """-1: as long as the stream keeps records."""
    report_batch_item_failures: bool = False
    on_failure: DestinationKind | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        limits = {
            "batch_size": (1, 10_000),
            "maximum_batching_window_s": (0, 300),
            "tumbling_window_s": (0, 900),
            "parallelization_factor": (1, 10),
            "maximum_retry_attempts": (-1, 10_000),
            "maximum_record_age_s": (-1, 604_800),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; AWS takes {least} to {most}")
        if -1 < self.maximum_record_age_s < 60:
            raise ValueError(f"maximum_record_age_s is {self.maximum_record_age_s}; AWS takes -1, or 60 and more")
        if self.tumbling_window_s and self.parallelization_factor > 1:
            raise ValueError(
                "a tumbling window and a parallelization factor above 1 do not go together here: "
                "a window's state would belong to one of several batches at once; leave one of the two out"
            )


class Hostility(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often, 0 to 1, the mapper does what AWS may do but rarely does. Drawn from the seed for each batch."""

    duplicate: float = 0
    """A batch is invoked twice at once; the first answer counts."""
    lost: float = 0
    """The answer to an invocation never comes: the batch is sent again, maybe while the first still runs."""
    throttle: float = 0
    """The function is not invoked; the batch is sent again later."""
    short: float = 0
    """A batch is smaller than it could be."""
    rewind: float = 0
    """After a batch the shard continues from the checkpoint before the last one."""
    final_with_records: float = 0
    """The last records of a window come in its final invocation, instead of before it."""

    def __post_init__(self) -> None:
        """Check the rates. Raises ValueError, with a sentence,."""
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"the rate of {name} is {getattr(self, name)}; it must lie between 0 and 1")
