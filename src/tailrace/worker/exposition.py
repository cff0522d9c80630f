"""What `/metrics` shows: the metrics of every pipeline of the process, each with the label `pipeline`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric
from prometheus_client.registry import Collector


class Exposition(Collector):
    """Collects what several collectors have, by the name of their pipeline."""

    def __init__(self, pipelines: Mapping[str, Collector]) -> None:
        self._pipelines = pipelines

    def collect(self) -> Iterator[Metric]:
        """Return each metric once, with the samples of all pipelines."""
        families: dict[str, Metric] = {}
        for pipeline, collector in self._pipelines.items():
            for found in collector.collect():
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += [
                    sample._replace(labels={"pipeline": pipeline} | sample.labels) for sample in found.samples
                ]
        yield from families.values()
