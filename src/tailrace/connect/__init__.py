"""Kafka Connect's records in Python: values with schemas, and what is done with them. Pure."""
