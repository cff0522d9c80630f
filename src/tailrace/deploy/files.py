"""Writes the files that deploy the function, in the format that a team uses."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from tailrace.deploy.deployment import Deployment
from tailrace.errors import WorldError

Format = Literal["sam", "cloudformation", "terraform", "cdk"]

_FILES: Final[dict[Format, dict[str, str]]] = {
    "sam": {"template.yaml": "template.yaml.j2"},
    "cloudformation": {"template.yaml": "template.yaml.j2"},
    "terraform": {"main.tf": "main.tf.j2"},
    "cdk": {"app.py": "app.py.j2", "cdk.json": "cdk.json.j2", "requirements.txt": "requirements.txt.j2"},
}
_DIGESTS: Final = ".tailrace-files.json"
"""The SHA-256 of each file as it was written, to recognize one that was edited since."""
_PSEUDO_PARAMETERS: Final = {
    "partition": "${AWS::Partition}",
    "region": "${AWS::Region}",
    "account": "${AWS::AccountId}",
}
_TERRAFORM_DATA: Final = {
    "partition": "${data.aws_partition.current.partition}",
    "region": "${data.aws_region.current.region}",
    "account": "${data.aws_caller_identity.current.account_id}",
}
_STACK_ATTRIBUTES: Final = {"partition": "{self.partition}", "region": "{self.region}", "account": "{self.account}"}


def write_files(deployment: Deployment, form: Format, output: Path, *, force: bool = False) -> list[Path]:
    """Write the files of a format into the folder `output`, which is made. Raises `WorldError`.

    A file that was edited, or that somebody else wrote, is overwritten only with `force`; else nothing is written.
    """
    environment = Environment(
        loader=PackageLoader("tailrace.deploy"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "quoted": json.dumps,
        "pattern": re.escape,
        "cloudformation": lambda resource: _filled(resource, '"%s"', '!Sub "%s"', _PSEUDO_PARAMETERS),
        "terraform": lambda resource: _filled(resource, '"%s"', '"%s"', _TERRAFORM_DATA),
        "cdk": lambda resource: _filled(resource, '"%s"', 'f"%s"', _STACK_ATTRIBUTES),
    }
    contents = {
        name: environment.get_template(template).render(d=deployment, f=deployment.function, form=form).encode()
        for name, template in _FILES[form].items()
    }
    return write_contents(contents, output, force=force)


def write_contents(contents: Mapping[str, bytes], output: Path, *, force: bool = False) -> list[Path]:
    """Write files by name into the folder `output` as `write_files` does. Raises `WorldError`."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        digests = _read_digests(output)
        if not force:
            _refuse_edited(output, contents, digests)
        digests |= {name: _digest(content) for name, content in contents.items()}
        (output / _DIGESTS).write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")
        for name, content in contents.items():
            (output / name).write_bytes(content)
    except OSError as error:
        raise WorldError(
            f"cannot write to {output}: {error.strerror}", hint="give another folder as --output"
        ) from error
    return [output / name for name in contents]


def _refuse_edited(output: Path, contents: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    """Raise WorldError when a file is neither as Tailrace wrote it nor as it would be written now."""
    edited = [
        str(output / name)
        for name, content in contents.items()
        if (output / name).exists()
        and _digest((output / name).read_bytes()) not in {_digest(content), digests.get(name)}
    ]
    if edited:
        raise WorldError(
            f"edited since `deploy-files` wrote it, so it is not overwritten: {', '.join(edited)}",
            hint="give another folder as --output and compare, or overwrite it with --force",
        )


def _read_digests(output: Path) -> dict[str, str]:
    try:
        digests = json.loads((output / _DIGESTS).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _filled(resource: str, plain: str, filling: str, tokens: Mapping[str, str]) -> str:
    """Write a resource of a statement as a text of a format, `filling` if it has something to fill in."""
    filled = re.sub(r"<(\w+)>", lambda token: tokens[token[1]], resource)
    return (plain if filled == resource else filling) % filled
