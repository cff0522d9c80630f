"""Transformations: what a pipeline changes, drops and routes on the way. A user's own function needs nothing but this.

from tailrace.transform import Change

def redact(change: Change) -> Change | None:
    if change.after is not None:
        change.after.pop("password", None)
    return change
"""

from tailrace.transform.change import Change, Function, Item, Result

__all__ = ["Change", "Function", "Item", "Result"]
