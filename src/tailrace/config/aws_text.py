"""Texts that AWS keeps: secrets of Secrets Manager, parameters of SSM, objects of S3."""

from __future__ import annotations

import json
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from tailrace.config.problem import InvalidError

_BYTES_MAX = 1 << 20


def secret(reference: str) -> str:
    """Return a secret's text, or of `NAME#KEY` one value of the JSON object that it holds. Raises `InvalidError`.

    Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
    """
    name, _, key = reference.partition("#")
    text = _ask("secretsmanager", "get_secret_value", f"the secret {name}", SecretId=name).get("SecretString")
    if not isinstance(text, str):
        raise InvalidError(f"needs the secret {name}, which is binary", "store it as text")
    if not key:
        return text
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get(key), str | int):
        raise InvalidError(f"needs {key} of the secret {name}, which holds no such key", "store it as key and value")
    return str(values[key])


def parameter(name: str) -> str:
    """Return a parameter of SSM, decrypted. Raises `InvalidError`.

    Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    answer = _ask("ssm", "get_parameter", f"the parameter {name}", Name=name, WithDecryption=True)
    text: str = answer["Parameter"]["Value"]
    return text


def s3_object(place: str) -> str:
    """Return the text of the object at `BUCKET/KEY`. Raises `InvalidError`.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    bucket, _, key = place.partition("/")
    if not bucket or not key:
        raise InvalidError(f"names no object of S3: {place}", "write `s3:BUCKET/KEY`")
    body = _ask("s3", "get_object", f"s3:{place}", Bucket=bucket, Key=key)["Body"].read(_BYTES_MAX + 1)
    if len(body) > _BYTES_MAX:
        raise InvalidError(f"needs s3:{place}, which is larger than 1 MiB", "name the object of one text")
    try:
        text: str = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidError(f"needs s3:{place}, which is not UTF-8 text", "store it as UTF-8") from None
    return text


def _ask(service: str, operation: str, what: str, **parameters: Any) -> Any:
    config = Config(connect_timeout=5, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        client = Session().create_client(service, config=config)
        return getattr(client, operation)(**parameters)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise InvalidError(
            f"needs {what}, and AWS answers {code}", f"check its name, its region and the right to {operation}"
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise InvalidError(f"needs {what}: {error}", "check the AWS region and credentials") from None
