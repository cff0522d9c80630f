"""Writes the files that deploy the function, in the format that a team uses."""

from __future__ import annotations

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


def write_files(deployment: Deployment, form: Format, output: Path) -> list[Path]:
    """Write the files of a format into the folder `output`, which is made. Raises `WorldError`."""
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
    written = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, template in _FILES[form].items():
            text = environment.get_template(template).render(d=deployment, f=deployment.function, form=form)
            (output / name).write_text(text)
            written.append(output / name)
    except OSError as error:
        raise WorldError(
            f"cannot write to {output}: {error.strerror}", hint="give another folder as --output"
        ) from error
    return written


def _filled(resource: str, plain: str, filling: str, tokens: Mapping[str, str]) -> str:
    """Write a resource of a statement as a text of a format, `filling` if it has something to fill in."""
    filled = re.sub(r"<(\w+)>", lambda token: tokens[token[1]], resource)
    return (plain if filled == resource else filling) % filled
