"""Small signed clients of streams for the event source mapper: records stay as they came over the wire."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from tailrace_simulator.errors import SimulatorError
from tailrace_simulator.event_source.shard import ListedShard, Position

_TIMEOUT: Final = Timeout(connect=5, read=10)


class StreamsError(SimulatorError):
    """A call that was refused or not answered; `code` is AWS's name, empty when nothing came."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class StreamsClient:
    """A client of DynamoDB Streams. Safe to use from many threads at once. Every call raises `StreamsError`."""

    _service = "dynamodb"
    """The service whose signature its calls have."""
    _json_version = "1.0"

    def __init__(self, *, region: str | None = None, endpoint_url: str | None = None, connections: int = 32) -> None:
        """Make it. Raises `SimulatorError` when there are no credentials or no region."""
        session = Session()
        try:
            credentials = session.get_credentials()
        except BotoCoreError as error:
            raise SimulatorError(f"AWS credentials cannot be had: {error}") from error
        if credentials is None:
            raise SimulatorError("there are no AWS credentials", hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self.region = region or session.get_config_variable("region") or ("us-east-1" if endpoint_url else "")
        if not self.region:
            raise SimulatorError("there is no AWS region", hint="give --region, or set AWS_DEFAULT_REGION")
        self._signer = SigV4Auth(credentials, self._service, self.region)
        self._endpoint_url = endpoint_url
        self._pool = PoolManager(maxsize=connections, timeout=_TIMEOUT, retries=False)

    def close(self) -> None:
        """Close its connections."""
        self._pool.clear()

    def stream_arn(self, table: str) -> str:
        """Return the table's present stream. Raises `SimulatorError` when it has none."""
        described = self._call("DynamoDB_20120810", "DescribeTable", TableName=table)["Table"]
        if not described.get("StreamSpecification", {}).get("StreamEnabled"):
            raise SimulatorError(f"table {table} has no stream", hint="switch it on")
        return str(described["LatestStreamArn"])

    def shards(self, stream_arn: str) -> list[ListedShard]:
        """List every shard of a stream."""
        shards: list[ListedShard] = []
        more: dict[str, str] = {}
        while True:
            page = self._streams("DescribeStream", StreamArn=stream_arn, **more)["StreamDescription"]
            for shard in page["Shards"]:
                parents = (shard["ParentShardId"],) if "ParentShardId" in shard else ()
                closed = "EndingSequenceNumber" in shard["SequenceNumberRange"]
                shards.append(ListedShard(shard["ShardId"], parents, closed))
            if not (last := page.get("LastEvaluatedShardId")):
                return shards
            more = {"ExclusiveStartShardId": last}

    def iterator(self, stream_arn: str, shard_id: str, position: Position) -> str:
        """Get an iterator."""
        more = {"SequenceNumber": position.sequence} if position.sequence else {}
        answer = self._streams(
            "GetShardIterator", StreamArn=stream_arn, ShardId=shard_id, ShardIteratorType=position.kind, **more
        )
        return str(answer["ShardIterator"])

    def records(self, iterator: str) -> tuple[list[dict[str, Any]], str | None]:
        """Read a page: its records, and the next iterator; None at the shard's end."""
        answer = self._streams("GetRecords", ShardIterator=iterator)
        return answer["Records"], answer.get("NextShardIterator")

    def _streams(self, operation: str, **fields: str) -> dict[str, Any]:
        return self._call("DynamoDBStreams_20120810", operation, **fields)

    def _call(self, service: str, operation: str, **fields: str) -> dict[str, Any]:
        host = "streams.dynamodb" if "Streams" in service else self._service
        url = self._endpoint_url or f"https://{host}.{self.region}.amazonaws.com"
        body = msgspec.json.encode(fields)
        headers = {
            "X-Amz-Target": f"{service}.{operation}",
            "Content-Type": f"application/x-amz-json-{self._json_version}",
        }
        request = AWSRequest("POST", url, headers, body)
        self._signer.add_auth(request)
        try:
            answer = self._pool.request("POST", url, body=body, headers=dict(request.headers.items()))
            content: Any = msgspec.json.decode(answer.data)
        except (HTTPError, msgspec.DecodeError) as error:
            raise StreamsError(f"{operation} at {url} is not answered: {type(error).__name__}") from error
        if answer.status != 200:
            code = str(content.get("__type", "")).rpartition("#")[2]
            told = content.get("message") or content.get("Message") or ""
            raise StreamsError(f"{operation} at {url} is refused: {code}: {told}", code)
        return dict(content)


class KinesisClient(StreamsClient):
    """A client of Kinesis."""

    _service = "kinesis"
    _json_version = "1.1"

    def shards(self, stream_arn: str) -> list[ListedShard]:
        """List every shard of a stream."""
        shards: list[ListedShard] = []
        request: dict[str, str] = {"StreamARN": stream_arn}
        while True:
            page = self._kinesis("ListShards", **request)
            for shard in page["Shards"]:
                parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
                closed = "EndingSequenceNumber" in shard["SequenceNumberRange"]
                shards.append(ListedShard(shard["ShardId"], tuple(each for each in parents if each), closed))
            if not (token := page.get("NextToken")):
                return shards
            request = {"NextToken": token}

    def iterator(self, stream_arn: str, shard_id: str, position: Position) -> str:
        """Get an iterator."""
        more = {"StartingSequenceNumber": position.sequence} if position.sequence else {}
        answer = self._kinesis(
            "GetShardIterator", StreamARN=stream_arn, ShardId=shard_id, ShardIteratorType=position.kind, **more
        )
        return str(answer["ShardIterator"])

    def records(self, iterator: str) -> tuple[list[dict[str, Any]], str | None]:
        """Read a page: its records, and the next iterator; None at the shard's end."""
        answer = self._kinesis("GetRecords", ShardIterator=iterator)
        return answer["Records"], answer.get("NextShardIterator")

    def _kinesis(self, operation: str, **fields: str) -> dict[str, Any]:
        return self._call("Kinesis_20131202", operation, **fields)


def client_of(table_or_arn: str, *, region: str | None = None, endpoint_url: str | None = None) -> StreamsClient:
    """Make the client of a table's stream, or of a stream's ARN. Raises `SimulatorError`."""
    make = KinesisClient if table_or_arn.startswith("arn:") and ":kinesis:" in table_or_arn else StreamsClient
    return make(region=region, endpoint_url=endpoint_url)
