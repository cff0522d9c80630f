"""The environment variables of a sandbox.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

from tailrace_simulator.function.code import Code

_PASSED_ON = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PATH", "LD_LIBRARY_PATH")
"""Taken from here, if they are set; everything else of this process's environment is not."""


def make_environment(
    code: Code, *, name: str, region: str, memory_mb: int, runtime_api: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return a sandbox's variables: Lambda's own, and those that the function is configured with."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    runtime_dir = str(code.runtime_dir or "")
    environment = {variable: os.environ[variable] for variable in _PASSED_ON if variable in os.environ}
    environment.setdefault("AWS_ACCESS_KEY_ID", "local")
    environment.setdefault("AWS_SECRET_ACCESS_KEY", "local")
    return environment | {
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{uuid4().hex}",
        "LAMBDA_RUNTIME_DIR": runtime_dir,
        "LAMBDA_TASK_ROOT": str(code.task_root),
        "LANG": "en_US.UTF-8",
        "PYTHONPATH": os.pathsep.join(part for part in (str(code.task_root), runtime_dir) if part),
        "TZ": ":UTC",
        **extra,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "_HANDLER": code.handler,
    }
