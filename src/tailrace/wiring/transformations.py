"""Makes each table's transformation of the pipeline file; the user's functions are found once, here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tailrace.config import Pipeline
from tailrace.config.transform import Step as StepOfFile
from tailrace.errors import WorldError
from tailrace.transform import functions, paths
from tailrace.transform.expression import Expression
from tailrace.transform.steps import Call, Exclude, Filter, Hash, Include, Mask, Rename, Route, Step
from tailrace.transform.transformation import Placed, Transformation

_Make = Callable[[str], Step]
"""Makes a step for a table."""


class Transformations:
    """The transformations of a pipeline's tables. Safe for many threads."""

    def __init__(self, pipeline: Pipeline, steps: Sequence[StepOfFile] | None = None, key: str = "transform") -> None:
        """Find the user's functions; `steps` are those of another `key` of the file.

        Raises WorldError when there is none of a name.
        """
        self._steps = [
            (step, f"{key}[{index}]: {step.action}", _maker(step, pipeline))
            for index, step in enumerate(pipeline.transform if steps is None else steps)
        ]
        self._of_tables: dict[str, Transformation | None] = {}

    def of(self, table: str) -> Transformation | None:
        """Return the transformation of a table; None when no step is for it. Raises TopicError."""
        if table not in self._of_tables:
            steps = [Placed(place, make(table)) for step, place, make in self._steps if step.is_for(table)]
            self._of_tables[table] = Transformation(steps) if steps else None
        return self._of_tables[table]


def _maker(step: StepOfFile, pipeline: Pipeline) -> _Make:
    if step.route is not None:
        return _route_maker(step, pipeline)
    made = _step(step)
    return lambda _table: made


def _route_maker(step: StepOfFile, pipeline: Pipeline) -> _Make:
    assert step.route is not None
    route, by = step.route, Expression(step.route.by)

    def make(table: str) -> Step:
        topics = {value: pipeline.filled(template, table) for value, template in route.topics.items()}
        return Route(by, topics, pipeline.filled(route.otherwise, table) if route.otherwise else None)

    return make


def _step(step: StepOfFile) -> Step:  # noqa: PLR0911 - one for each action
    if step.function is not None:
        try:
            return Call(functions.find(step.function), step.function, step.changes_keys)
        except functions.FunctionError as error:
            raise WorldError(error.message, hint=error.hint) from error
    if step.filter is not None:
        return Filter(Expression(step.filter, is_condition=True))
    if step.include is not None:
        return Include(_paths(step.include))
    if step.exclude is not None:
        return Exclude(_paths(step.exclude))
    if step.rename is not None:
        return Rename({paths.parse(path): name for path, name in step.rename.items()})
    if step.mask is not None:
        return Mask(_paths(step.mask.attributes), step.mask.text, step.mask.keep_last)
    assert step.hash is not None
    return Hash(_paths(step.hash.attributes), step.hash.key.get_secret_value().encode())


def _paths(texts: tuple[str, ...]) -> tuple[paths.Path, ...]:
    return tuple(map(paths.parse, texts))
