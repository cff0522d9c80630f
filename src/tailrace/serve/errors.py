"""Errors of the REST API, as Kafka Connect answers them: a status and a sentence."""

from __future__ import annotations


class ApiError(Exception):
    """An answer that is no success; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def not_found(name: str) -> ApiError:
    """Return the error for a connector that does not exist."""
    return ApiError(404, f"Connector {name} not found")
