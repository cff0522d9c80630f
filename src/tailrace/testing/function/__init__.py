"""A simulator for AWS Lambda that runs a Python function in processes of its own, behind the documented Runtime API."""

from tailrace.testing.function.code import Code, load_code
from tailrace.testing.function.function import Function
from tailrace.testing.function.sandbox import Sandbox

__all__ = ["Code", "Function", "Sandbox", "load_code"]
