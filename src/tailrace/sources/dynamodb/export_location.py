"""Where an export lies: the folder of its manifests, given that folder or one above it with no other export."""

from __future__ import annotations

from typing import Final

from tailrace.aws.files import Files, Listing
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.export_manifest import SUMMARY_NAME

_ROOT: Final = "AWSDynamoDB"
_LISTED_MAX: Final = 20


def find_export(files: Files, folder: str) -> str:
    """Return the folder with the manifests of the one export in `folder`.

    DynamoDB writes `folder/AWSDynamoDB/<export>/manifest-summary.json`; each of the two levels may be given, too.
    Raises ReadError, and WorldError when there is no export, or more than one.
    """
    folder = folder.removesuffix(f"/{SUMMARY_NAME}")
    listing = files.list(folder)
    if _has_summary(listing):
        return folder
    exports = folders = listing.folders
    for each in folders:
        if each.rsplit("/", 1)[-1] == _ROOT:
            exports = files.list(each).folders
    found = [each for each in exports if _has_summary(files.list(each))]
    if len(found) == 1:
        return found[0]
    name = files.uri(folder)
    if not found:
        raise WorldError(
            f"{name} holds no finished export: there is no {SUMMARY_NAME}",
            hint="give the folder that holds it, and wait until `aws dynamodb describe-export` says COMPLETED",
        )
    names = [files.uri(each) for each in found[:_LISTED_MAX]]
    more = f" and {len(found) - _LISTED_MAX} more" if len(found) > _LISTED_MAX else ""
    raise WorldError(f"{name} holds {len(found)} exports: {', '.join(names)}{more}", hint="give one of them")


def _has_summary(listing: Listing) -> bool:
    return any(path.rsplit("/", 1)[-1] == SUMMARY_NAME for path in listing.sizes)
