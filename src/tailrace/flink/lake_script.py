"""The job of a lake as a script of Flink SQL, for a cluster that others run."""

from __future__ import annotations

from typing import Final, Literal

from tailrace.flink.environment import VERSION
from tailrace.flink.kafka_options import java_options
from tailrace.flink.lake_job import tables_of
from tailrace.flink.lake_sql import FOLDER, setting, settings, statements
from tailrace.local.artifacts import pinned
from tailrace.operations.lake_targets import LakeTarget

ClusterKind = Literal["session-cluster", "emr", "managed-flink"]

_PASSWORD: Final = "${KAFKA_PASSWORD}"
_OF_SERVICE: Final = ("execution.checkpointing.", "restart-strategy.", "execution.runtime-mode")
"""What Managed Service for Apache Flink sets by itself."""
_HOW: Final = {
    "session-cluster": (
        "Copy the jars to `lib` of each node; for S3 also flink-s3-fs-native to `plugins/s3`. Run it with",
        "  bin/sql-client.sh -f lake.sql",
    ),
    "emr": (
        "Copy the jars to /usr/lib/flink/lib of the primary node, in the versions for the Flink of your release",
        "(`flink --version`); S3 is there. Run it with",
        "  flink-yarn-session -d && /usr/lib/flink/bin/sql-client.sh -f lake.sql",
    ),
    "managed-flink": (
        "Give each statement to `TableEnvironment.execute_sql` of an application whose jar or zip has the jars,",
        "in the versions for its runtime. Checkpoints, their place and restarts are settings of the application:",
        "set the checkpoint interval to the wanted age of a file. S3 is there, the application's role must allow it.",
    ),
}


def script_of(target: LakeTarget, kind: ClusterKind) -> str:
    """Return the script, with a comment that says how to run it. No password is in it. Raises TailraceError."""
    lake = target.lake
    has_password = "sasl.password" in target.kafka
    kafka = java_options({**target.kafka, "sasl.password": _PASSWORD} if has_password else target.kafka)
    job = f"{target.name}.lake-{lake.name}-flink"
    checkpoints = f"{lake.location}/{FOLDER}"
    lines = [f"The lake {lake.name} of the pipeline {target.name} as a job of Apache Flink {VERSION}.", *_HOW[kind]]
    if has_password:
        lines.append("Before that, put the password in: envsubst '$KAFKA_PASSWORD' < lake.sql")
    lines += [
        "Run it once only: two jobs write each change twice. To resume it, set 'execution.state-recovery.path'",
        "to its last savepoint or checkpoint; without it everything is written again.",
        "The jars:",
        *(f"  {jar.group}:{jar.name}:{jar.version}" for jar in pinned("flink") if jar.name != "flink-sql-gateway"),
    ]
    options = settings(lake, job, checkpoints)
    if kind == "managed-flink":
        options = {name: value for name, value in options.items() if not name.startswith(_OF_SERVICE)}
    said = [setting(name, value) for name, value in options.items()]
    said += statements(lake, tables_of(target), kafka, job)
    comment = "".join(f"-- {line}\n" for line in lines)
    return comment + "".join(f"\n{each};\n" for each in said)
