"""What the user `worker` of a broker with users may do."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from support.kafka_clients import TIMEOUT_S, client


def right(
    kind: ResourceType,
    name: str,
    operation: AclOperation = AclOperation.ALL,
    permission: AclPermissionType = AclPermissionType.ALLOW,
) -> AclBinding:
    """Return the right to do something with everything whose name begins with `name`; with DENY its ban."""
    return AclBinding(kind, name, ResourcePatternType.PREFIXED, "User:worker", "*", operation, permission)


def ban(kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    """Return the ban, which is stronger than any right."""
    return right(kind, name, operation, AclPermissionType.DENY)


def set_rights(admin: Mapping[str, str], *rights: AclBinding) -> None:
    """Let these hold from now on."""
    connected = AdminClient(client(dict(admin)))  # kept until the answers are there: without it a future never ends
    for future in connected.create_acls(list(rights)).values():
        future.result(TIMEOUT_S)


def lift(admin: Mapping[str, str], *rights: AclBinding) -> None:
    """Take rights, or bans, back."""
    connected = AdminClient(client(dict(admin)))
    for future in connected.delete_acls([_filter(each) for each in rights]).values():
        assert future.result(TIMEOUT_S)


def _filter(acl: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host, acl.operation, acl.permission_type
    )
