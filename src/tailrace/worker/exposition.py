"""What `/metrics` shows of several parts: the metrics of all, each sample with a label that names its part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric
from prometheus_client.registry import Collector


class Exposition(Collector):
    """Collects what several collectors have, such as those of pipelines, by the name that `label` shows."""

    def __init__(self, label: str, parts: Mapping[str, Collector]) -> None:
        self._label = label
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Return each metric once, with the samples of all parts."""
        families: dict[str, Metric] = {}
        for part, collector in self._parts.items():
            for found in collector.collect():
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += [
                    sample._replace(labels={self._label: part} | sample.labels) for sample in found.samples
                ]
        yield from families.values()
