"""The command line's words for each remedy. Logs and AWS Lambda use them too: whoever reads those has a shell."""

from __future__ import annotations

from typing import assert_never

from tailrace.moments import utc
from tailrace.remedy import (
    AcceptChanges,
    AcceptGap,
    AcceptLakeGap,
    AwaitSwitch,
    CancelSnapshot,
    CheckAcceptance,
    CreateTable,
    EnableStream,
    FinishRescale,
    InspectDeadLetters,
    LoadExports,
    NameTable,
    RedriveAgain,
    Remedy,
    ReplayFrom,
    RescaleAgain,
    RestoreShard,
    ResumeSnapshot,
    RunPipeline,
    SayTable,
    SetLanes,
    ShowSnapshots,
    ShowStatus,
    StartSnapshot,
    SwitchAgain,
    SwitchSource,
    SwitchTo,
    TagTable,
)


def sentence(remedy: Remedy, argument: str = "FILE") -> str:  # noqa: PLR0911, PLR0912 - one line a remedy
    """Return what to do. `argument` is how a command names the pipeline: its file, or flags."""
    match remedy:
        case RunPipeline():
            return "`tailrace run` makes it; if it has run, check kafka.bootstrap.servers"
        case SetLanes(lanes, or_rescale=True):
            return f"set `lanes: {lanes}`, or stop every worker and run `tailrace rescale`"
        case SetLanes(lanes):
            return f"set `lanes: {lanes}`: lanes can only be added"
        case FinishRescale():
            return "run `tailrace rescale` again (with nothing left to do it says so), then start the workers again"
        case RescaleAgain():
            return "stop every worker, then run `tailrace rescale` again: it goes on where it stopped"
        case AwaitSwitch():
            return (
                f"`tailrace status {argument}` shows which method publishes once it has ended; "
                "if it broke off, run it again"
            )
        case SwitchAgain():
            return "run `tailrace switch` again: nobody publishes until it has ended"
        case SwitchTo(method):
            return f"to go over to this one: tailrace switch {argument} --to {method}"
        case SwitchSource():
            return f"use the file that it runs with, or go over to this one: tailrace switch THAT_FILE --to {argument}"
        case AcceptChanges("worker"):
            return (
                f"if the change is meant, start one worker with `tailrace run {argument} --accept-changes`, "
                "then the others"
            )
        case AcceptChanges(method):
            return f"if the change is meant, run `tailrace switch {argument} --to {method} --accept-changes`"
        case AcceptGap(table):
            return f"decide what the loss means, then: tailrace accept-gap {argument} --table {table}"
        case AcceptLakeGap(lake):
            return f"decide what the loss means, then: tailrace accept-gap {argument} --lake {lake}"
        case ShowStatus():
            return "`tailrace status` shows where it stands"
        case CheckAcceptance():
            return "`tailrace status` shows whether it went through; run the command again if not"
        case RestoreShard():
            return "fix the cause and restart the workers, or set `errors: dead-letter`"
        case EnableStream(_, tables_key):
            return f"switch its stream on, or take the table out of {tables_key}"
        case NameTable(_, tables_key):
            return f"{tables_key} leaves it out; name it again and it goes on where it stands"
        case TagTable(_):
            return "give it the tags of the file (`tailrace plan` shows them), and it goes on where it stands"
        case CreateTable(_, tables_key):
            return f"create it, or take it out of {tables_key}"
        case RedriveAgain():
            return "run it again: it goes on where it stopped, without a repeat"
        case ReplayFrom(table, from_ms, to_ms):
            start = "trim_horizon" if from_ms is None else utc(from_ms)
            end = "" if to_ms is None else f" --to {utc(to_ms)}"
            return f"go on with: tailrace replay {argument} --table {table} --from {start}{end}"
        case InspectDeadLetters():
            return f"`tailrace redrive {argument} --dry-run` shows the reasons, and what would become of each now"
        case ShowSnapshots():
            return f"`tailrace snapshot status {argument}` shows how far the snapshots are"
        case StartSnapshot(table):
            return f"to start one: tailrace snapshot start {argument} --table {table}"
        case LoadExports(table, exports):
            given = " ".join(f"--export {each}" for each in exports)
            return f"then load all: tailrace snapshot start {argument} --table {table} {given} --export NEW_EXPORT…"
        case ResumeSnapshot(table):
            return f"to resume it, and try failed segments again: tailrace snapshot resume {argument} --table {table}"
        case CancelSnapshot(table):
            return f"wait for its end, or: tailrace snapshot cancel {argument} --table {table}"
        case SayTable():
            return "give --table"
    assert_never(remedy)
