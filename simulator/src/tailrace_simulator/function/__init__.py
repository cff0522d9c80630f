"""A simulator for AWS Lambda that runs a Python function in processes of its own, behind the documented Runtime API."""

from tailrace_simulator.function.code import Code, load_code
from tailrace_simulator.function.function import Function
from tailrace_simulator.function.sandbox import Sandbox

__all__ = ["Code", "Function", "Sandbox", "load_code"]
