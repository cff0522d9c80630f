"""Sinks: what carries the records of topics on into another system, exactly once."""
