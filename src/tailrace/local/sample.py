"""The sample of `tailrace local up --sample`: a table with a stream and a few changes, and the file that streams it."""

from __future__ import annotations

import re
from pathlib import Path

from tailrace.errors import FileError
from tailrace.local.dynamodb import REGION
from tailrace.local.workload import TableSpec, connect, create_table

TABLE = "orders"
FILE = Path("pipeline.yaml")
CHANGES = 5
"""Changes that a new table has: three items made, one updated, one deleted."""

_PIPELINE = """\
name: shop
kafka:
  bootstrap.servers: {bootstrap_servers}
source:
  type: dynamodb-streams
  region: {region}
  endpoint_url: {endpoint_url}
  tables: [{table}]
topic: "{{pipeline}}.{{table}}"
format: debezium
"""


def pipeline_text(bootstrap_servers: str, endpoint_url: str) -> str:
    """Return the pipeline file that streams the sample's table from these services."""
    return _PIPELINE.format(bootstrap_servers=bootstrap_servers, endpoint_url=endpoint_url, region=REGION, table=TABLE)


def seed(endpoint_url: str) -> bool:
    """Create the table with its changes; return False, and change nothing, if it exists."""
    client = connect(endpoint_url)
    try:
        create_table(client, TableSpec(TABLE))
    except client.exceptions.ResourceInUseException:
        return False
    for number, total in enumerate(("12.90", "7.50", "99"), start=1):
        item = {"id": {"S": f"order-{number}"}, "state": {"S": "new"}, "total": {"N": total}}
        client.put_item(TableName=TABLE, Item=item)
    client.update_item(
        TableName=TABLE,
        Key={"id": {"S": "order-1"}},
        UpdateExpression="SET #state = :paid",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":paid": {"S": "paid"}},
    )
    client.delete_item(TableName=TABLE, Key={"id": {"S": "order-3"}})
    return True


def write_file(text: str, path: Path = FILE) -> None:
    """Write the pipeline file; one that an earlier sample wrote, for other ports, is replaced.

    Raises:
        FileError: there is another file, or one that was edited.
    """
    if path.exists() and not _is_sample(path.read_text(errors="replace")):
        raise FileError(
            "there is a file of your own, which the sample would replace",
            file=str(path),
            hint="run the command in another folder, or move the file away",
        )
    path.write_text(text)


def _is_sample(text: str) -> bool:
    """Return whether an unedited sample for some ports has this text."""
    parts = map(re.escape, pipeline_text("ADDRESS", "ADDRESS").split("ADDRESS"))
    return re.fullmatch(r"\S+".join(parts), text) is not None
