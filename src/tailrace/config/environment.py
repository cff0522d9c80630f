"""The pipeline that the environment names, as the Lambda function finds it: `TAILRACE_PIPELINE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tailrace.config import aws_text
from tailrace.config.load import LoadedPipeline, load, load_text
from tailrace.config.problem import InvalidError
from tailrace.errors import FileError

VARIABLE: Final = "TAILRACE_PIPELINE"
DEFAULT_FILE: Final = "pipeline.yaml"


def load_pipeline(environment: Mapping[str, str]) -> LoadedPipeline:
    """Load the pipeline that `TAILRACE_PIPELINE` names: a path, `ssm:NAME`, `s3:BUCKET/KEY`, or the YAML itself.

    Unset, it is `pipeline.yaml`. Relative paths start where the package lies (LAMBDA_TASK_ROOT). Raises `FileError`.
    """
    value = environment.get(VARIABLE, DEFAULT_FILE)
    folder = Path(environment.get("LAMBDA_TASK_ROOT", "."))
    kind, _, name = value.partition(":")
    try:
        match kind:
            case "ssm":
                return load_text(aws_text.parameter(name), value, folder, with_functions=True)
            case "s3":
                return load_text(aws_text.s3_object(name.removeprefix("//")), value, folder, with_functions=True)
    except InvalidError as error:
        raise FileError(f"{VARIABLE} {error.message}", hint=error.hint) from error
    if "\n" in value:
        return load_text(value, VARIABLE, folder, with_functions=True)
    return load(folder / value, with_functions=True)
