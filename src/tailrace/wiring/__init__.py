"""Factories: what joins a pipeline file with sources, formats, transformations and Kafka."""
