"""Writes `src/tailrace/local/pins.json`: every jar of Kafka, DynamoDB Local and Flink with its SHA-256 and size.

Run it after changing a version below: `.venv/bin/python tools/pin_artifacts.py`, and read the difference before
committing it. The jars are downloaded again each time, so what is pinned is what the repository serves now.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.env import EnvironmentBuilder
from jgo.maven import MavenContext, PythonResolver

PINS = Path(__file__).parent.parent / "src" / "tailrace" / "local" / "pins.json"

LOGGING = "org.slf4j:slf4j-simple:1.7.36"  # without a binding both services log nothing
KAFKA = f"org.apache.kafka:kafka_2.13:4.1.0+{LOGGING}"  # a resolved tree

# Only what a server without Cognito needs, at the versions that its POM names: the resolved tree is half as big again.
AWS_SDK_VERSION = "2.48.3"
AWS_SDK = "auth aws-core dynamodb http-auth http-client-spi identity-spi json-utils pinpoint regions sdk-core utils"
DYNAMODB = [
    "software.amazon.dynamodb:DynamoDBLocal:3.3.1",
    "com.almworks.sqlite4java:sqlite4java:1.0.392",
    "com.amazon.ion:ion-java:1.12.1",
    "com.fasterxml.jackson.core:jackson-annotations:2.12.7",
    "com.fasterxml.jackson.core:jackson-core:2.12.7",
    "com.fasterxml.jackson.core:jackson-databind:2.12.7",
    "com.fasterxml.jackson.datatype:jackson-datatype-jsr310:2.12.7",
    "com.google.guava:guava:33.4.0-jre",
    "commons-cli:commons-cli:1.11.0",
    "joda-time:joda-time:2.13.0",
    "org.antlr:antlr4-runtime:4.10.1",
    "org.apache.commons:commons-lang3:3.17.0",
    "org.apache.logging.log4j:log4j-api:2.17.1",
    "org.apache.logging.log4j:log4j-core:2.17.1",
    "org.eclipse.jetty:jetty-http:12.1.11",
    "org.eclipse.jetty:jetty-io:12.1.11",
    "org.eclipse.jetty:jetty-server:12.1.11",
    "org.eclipse.jetty:jetty-util:12.1.11",
    "org.jetbrains.kotlin:kotlin-stdlib:1.9.21",
    "org.partiql:partiql-lang-kotlin:0.3.4",
    "org.slf4j:slf4j-api:1.7.36",
    LOGGING,
    *(f"software.amazon.awssdk:{name}:{AWS_SDK_VERSION}" for name in AWS_SDK.split()),
]

# What Flink's package on PyPI lacks. Parquet wants Hadoop's classes; Hadoop before 3.5 fails on Java 24 and newer.
FLINK_VERSION = "2.3.0"
FLINK = [
    "com.github.luben:zstd-jni:1.5.6-10",
    "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
    f"org.apache.flink:flink-sql-gateway:{FLINK_VERSION}",
    f"org.apache.flink:flink-sql-parquet:{FLINK_VERSION}",
    "org.apache.hadoop:hadoop-client-api:3.5.0",
    "org.apache.hadoop:hadoop-client-runtime:3.5.0",
]
FLINK_S3 = [f"org.apache.flink:flink-s3-fs-native:{FLINK_VERSION}"]  # a plugin, which Flink loads apart


def main() -> None:
    """Resolve, download, hash and write."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "repository")
        context = MavenContext(resolver=PythonResolver(), repo_cache=repository)
        EnvironmentBuilder(context=context, cache_dir=Path(folder, "environments")).from_endpoint(KAFKA)
        kafka = {":".join(_coordinates(jar.relative_to(repository))): jar for jar in repository.rglob("*.jar")}
        with ThreadPoolExecutor(8) as pool:
            lists = {"dynamodb": DYNAMODB, "flink": FLINK, "flink-s3": FLINK_S3}
            named = {
                service: dict(zip(names, pool.map(lambda name: _download(context, name), names), strict=True))
                for service, names in lists.items()
            }
        pins = {"kafka": _pins(kafka.items()), **{service: _pins(jars.items()) for service, jars in named.items()}}
    PINS.write_text(json.dumps(pins, indent=2) + "\n")


def _coordinates(jar: Path) -> tuple[str, str, str]:
    """Of a path in a repository: `org/slf4j/slf4j-api/1.7.36/slf4j-api-1.7.36.jar`."""
    *group, name, version, _ = jar.parts
    return ".".join(group), name, version


def _download(context: MavenContext, coordinates: str) -> Path:
    group, name, version = coordinates.split(":")
    return Path(context.project(group, name).at_version(version).artifact().resolve())


def _pins(jars: Iterable[tuple[str, Path]]) -> list[dict[str, str | int]]:
    return [
        {"jar": coordinates, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for coordinates, path in sorted(jars)
    ]


if __name__ == "__main__":
    main()
