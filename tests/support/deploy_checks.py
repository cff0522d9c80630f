"""A script for the environment of the deploy checks: lints, translates and deploys a template; prints what came of it.

python deploy_checks.py lint|terraform FILE...
python deploy_checks.py deploy sam|cloudformation FILE '{"given": {PARAMETER: VALUE}, "tables": {TABLE: PARAMETER}}'
"""

from __future__ import annotations

import ast
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import boto3
import hcl2
from cfnlint.api import lint as run_lint
from moto import mock_aws
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

REGION = "us-east-1"


def lint(text: str) -> list[str]:
    """What cfn-lint says of a template, a sentence each."""
    return [str(match) for match in run_lint(text, regions=[REGION])]


def parse(text: str) -> dict[str, Any]:
    """Read a template with its short forms, such as `!Ref`."""
    parsed: dict[str, Any] = yaml_parse(text)
    return parsed


def translate(text: str) -> dict[str, Any]:
    """Turn a template of AWS SAM into one of CloudFormation, as AWS does, the zips taken for uploaded."""
    template = parse(text)
    resources = template["Resources"]
    resources["Function"]["Properties"]["CodeUri"] = "s3://code/function.zip"
    resources["Layer"]["Properties"]["ContentUri"] = "s3://code/layer.zip"
    translated: dict[str, Any] = Translator({}, Parser()).translate(template, {})
    return translated


def deploy(body: str, given: dict[str, str], tables: dict[str, str]) -> dict[str, Any]:
    """Create the stack in moto, and give what AWS's APIs show; `tables` name the parameter of each one's stream."""
    with mock_aws():
        dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
        streams = {}
        for table in tables:
            made = dynamodb.create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
            streams[table] = made["TableDescription"]["LatestStreamArn"]
        s3.create_bucket(Bucket="code")
        empty = io.BytesIO()
        zipfile.ZipFile(empty, "w").close()
        for key in ("function.zip", "layer.zip"):
            s3.put_object(Bucket="code", Key=key, Body=empty.getvalue())
        parameters = given | {parameter: streams[table] for table, parameter in tables.items()}
        boto3.client("cloudformation").create_stack(
            StackName="tailrace",
            TemplateBody=body,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        return {"streams": streams} | shown()


def shown() -> dict[str, Any]:
    """What there is in the account."""
    functions, iam = boto3.client("lambda"), boto3.client("iam")
    (function,) = functions.list_functions()["Functions"]
    (role,) = iam.list_roles()["Roles"]
    (policy,) = iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName=policy)["PolicyDocument"]
    return {
        "function": function,
        "mappings": functions.list_event_source_mappings()["EventSourceMappings"],
        "alarms": boto3.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "role": role["Arn"],
        "attached": iam.list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"],
        "policy": document if isinstance(document, dict) else ast.literal_eval(document),
        "logs": boto3.client("logs").describe_log_groups()["logGroups"],
        "queues": boto3.client("sqs").list_queues().get("QueueUrls", []),
    }


def terraform(text: str) -> dict[str, Any]:
    """A Terraform file as data."""
    parsed: dict[str, Any] = hcl2.loads(text)
    return parsed


def main(command: str, *arguments: str) -> object:
    """Do what the command line says."""
    if command == "deploy":
        form, file, parameters = arguments
        text, wanted = Path(file).read_text(), json.loads(parameters)
        template = translate(text) if form == "sam" else parse(text)
        body = json.dumps(template)
        findings = lint(text) + lint(body)
        return deploy(body, wanted["given"], wanted["tables"]) | {"lint": findings, "template": template}
    return [{"lint": lint, "terraform": terraform}[command](Path(file).read_text()) for file in arguments]


if __name__ == "__main__":
    os.environ |= {"AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    print(json.dumps(main(*sys.argv[1:]), default=str))
