"""What every kind of source has: its place in AWS, and its answers to all that is asked outside the wiring."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, ClassVar, NamedTuple, Self

from pydantic import Field, SecretStr, Strict, ValidationInfo, field_validator, model_validator

from tailrace.config.fields import Endpoint, Part, Region, Role, Text
from tailrace.config.problem import InvalidError, Path, dotted
from tailrace.config.rights import AwsRight, RightsNeeded
from tailrace.core.change import ViewType
from tailrace.core.tags import WantedTags
from tailrace.errors import WorldError


class TableEntry(NamedTuple):
    """What the file says of tables in one place: a name, or a pattern with `*` and `?`."""

    text: str
    path: Path
    """Where it stands: `("source", "tables", 0)`."""

    @property
    def is_pattern(self) -> bool:
        """Whether it may match several tables."""
        return is_pattern(self.text)

    def matches(self, table: str) -> bool:
        """Return whether a table is the one, or one of those, that it means."""
        return fnmatchcase(table, self.text)


class EventSource(NamedTuple):
    """What AWS Lambda needs to read streams of a kind for a function."""

    name: str
    """What AWS calls the streams."""
    sam_type: str
    """What AWS SAM calls an event of theirs."""
    stream_words: str
    """What a stream is called, with `{table}` for the name of its table."""
    loss_words: str
    """How changes that wait are lost at last."""
    starting_position: str
    """Where a mapping begins, as Lambda calls it."""
    starting_ms: int | None
    """The time at which it begins, if that is a time; milliseconds since the epoch."""
    read_actions: tuple[str, ...]
    """IAM actions on the streams."""
    list_actions: tuple[str, ...]
    """IAM actions for which AWS has no narrower resource than all."""
    arn_pattern: str
    """Regular expression of a stream's ARN, with `{table}` for the escaped name of its table."""
    arn_command: str
    """The command that prints the ARN of the stream of `{table}`."""


class Source(Part):
    """Where the changes come from. A kind adds its own keys, which only it and its factory read."""

    type: str
    region: Region | None = Field(
        default=None,
        description="AWS region of the tables. Without it AWS_REGION, AWS_DEFAULT_REGION or the profile decides.",
        examples=["us-east-1"],
    )
    endpoint_url: Endpoint | None = Field(
        default=None,
        description="Another endpoint than AWS's own for DynamoDB and its streams, such as DynamoDB Local.",
        examples=["http://localhost:8000"],
    )
    profile: Text | None = Field(
        default=None, min_length=1, description="Named profile of the AWS configuration files to take credentials from."
    )
    role_arn: Role | None = Field(
        default=None,
        description="Role to assume for reading, for tables of another account.",
        examples=["arn:aws:iam::123456789012:role/tailrace"],
    )
    access_key_id: Text | None = Field(
        default=None,
        min_length=16,
        max_length=128,
        description="Access key to use in place of the usual chain of credentials (environment, profile, container, "
        "instance). A role needs none.",
        examples=["${env:TAILRACE_ACCESS_KEY_ID}"],
    )
    secret_access_key: Annotated[SecretStr, Strict(False)] | None = Field(
        default=None,
        min_length=1,
        description="Secret of the access key. Take it from the environment or from AWS Secrets Manager.",
        examples=["${secret:tailrace/reader#secret_access_key}"],
    )
    external_id: Annotated[SecretStr, Strict(False)] | None = Field(
        default=None,
        min_length=2,
        max_length=1224,
        description="External id that the role's trust policy asks for. Needs `role_arn`.",
    )

    has_streams: ClassVar[bool] = False
    """Whether streams are read, with names of their own: `{stream}` in the name of a topic."""
    tables_path: ClassVar[Path]
    """The key that names the tables: `("source", "tables")`."""

    @property
    def tables_key(self) -> str:
        """`tables_path` as a sentence writes it: `source.tables`."""
        return dotted(self.tables_path)

    @property
    @abstractmethod
    def tables_read(self) -> tuple[TableEntry, ...]:
        """The tables that are read, unless they are left out: at least one entry."""

    @property
    def tables_left_out(self) -> tuple[str, ...]:
        """Names and patterns of tables that are not read although an entry matches them."""
        return ()

    @property
    def tags_read(self) -> WantedTags:
        """The tags that a table must have, too; none: any will do."""
        return ()

    @property
    def stream_to_enable(self) -> ViewType | None:
        """The view type with which a stream that is off is switched on; None: it stays off."""
        return None

    @property
    @abstractmethod
    def summary(self) -> str:
        """What is read, in a few words."""

    @property
    @abstractmethod
    def event_source(self) -> EventSource | None:
        """What AWS Lambda needs to read it; None when Lambda cannot."""

    @abstractmethod
    def rights(self, needed: RightsNeeded) -> Iterator[AwsRight]:
        """Yield what AWS must allow, and no more."""

    @abstractmethod
    def missing_table(self, table: str) -> WorldError:
        """Return the error that says that a table does not exist, and what to do."""

    @abstractmethod
    def missing_stream(self, table: str) -> WorldError:
        """Return the error that says that the changes of a table are not recorded, and what to do."""

    @abstractmethod
    def sample_stream(self, table: str) -> str:
        """Return a made-up ARN of a table's stream, for records that do not say where they are from."""

    @property
    def named_tables(self) -> tuple[str, ...]:
        """The entries that are names, not patterns, and are not left out."""
        return tuple(each.text for each in self.tables_read if not each.is_pattern and self.reads(each.text))

    @property
    def carries_tables(self) -> bool:
        """Whether changes of tables that no entry names may come with those that are read."""
        return False

    @property
    def carries_unnamed(self) -> bool:
        """Whether changes of tables may be published that `tables_of` does not return."""
        return False

    @property
    def carries_changes(self) -> bool:
        """Whether its records are changes of tables, or may be."""
        return True

    @property
    def tables_published(self) -> tuple[str, ...]:
        """Of streams that carry other tables, too: names and patterns of those that are published; none: all."""
        return ()

    @property
    def tables_unpublished(self) -> tuple[str, ...]:
        """Names and patterns of those that are not published although `tables_published` has them."""
        return ()

    def publishes(self, table: str) -> bool:
        """Return whether the changes of a table are published. A stream may carry tables that no entry names."""
        return self.reads(table)

    def tables_of(self, entry: str) -> tuple[str, ...]:
        """Return the tables, as far as the file names them, whose changes come with what is read by this name."""
        return (entry,)

    @property
    def only_table(self) -> str | None:
        """The table, when there can be only one."""
        first, *more = self.tables_read
        return None if more or first.is_pattern else first.text

    def reads(self, table: str) -> bool:
        """Return whether the changes of a table are read, by its name: its tags may say no."""
        return self.entry_of(table) is not None and not any(fnmatchcase(table, out) for out in self.tables_left_out)

    def entry_of(self, table: str) -> TableEntry | None:
        """Return the entry that brings a table in: its own name before any pattern."""
        return self._names.get(table) or next((each for each in self._patterns if each.matches(table)), None)

    @cached_property
    def _names(self) -> dict[str, TableEntry]:
        return {each.text: each for each in reversed(self.tables_read) if not each.is_pattern}

    @cached_property
    def _patterns(self) -> list[TableEntry]:
        return [each for each in self.tables_read if each.is_pattern]

    @model_validator(mode="after")
    def _has_both_keys(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise InvalidError(
                "has one of `access_key_id` and `secret_access_key`", "give both, or neither for the usual chain"
            )
        if self.access_key_id is not None and self.profile is not None:
            raise InvalidError("has both a `profile` and an access key", "keep one of them")
        return self

    @field_validator("external_id")
    @classmethod
    def _has_a_role(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("role_arn", "") is None:
            raise InvalidError("has no use without a role", "add `role_arn`, or leave it out")
        return value


def is_pattern(text: str) -> bool:
    """Return whether a table's name or pattern is a pattern."""
    return "*" in text or "?" in text
