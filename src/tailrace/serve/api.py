"""Kafka Connect's REST API over the operations of `service`.

Source: https://kafka.apache.org/41/documentation/#connect_rest
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import Body, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from tailrace._version import __version__
from tailrace.errors import TailraceError, UnreachableError
from tailrace.serve import connectors, loggers
from tailrace.serve.errors import ApiError
from tailrace.serve.http_rules import HttpRules
from tailrace.serve.metrics import Metrics
from tailrace.serve.service import Service
from tailrace.serve.state import Target
from tailrace.serve.users import Auth, may

logger = logging.getLogger("tailrace.serve")

Scalar = str | int | float | bool | None
Config = dict[str, Scalar]
"""A configuration as clients send it: Connect takes any scalar for its text."""


class ErrorMessage(BaseModel):
    """What Connect answers for an error."""

    error_code: int
    message: str


class NewConnector(BaseModel):
    """The body of `POST /connectors`."""

    name: str
    config: Config
    initial_state: Literal["RUNNING", "PAUSED", "STOPPED"] = "RUNNING"


class Level(BaseModel):
    """The body of `PUT /admin/loggers/{name}`."""

    level: str


_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorMessage} for status in (400, 401, 403, 404, 405, 409, 415, 500, 503)
}
CommonName = Callable[[Request], str | None]
"""Returns the common name of the certificate that a request's client has shown."""


def make_app(service: Service, metrics: Metrics, auth: Auth | None, common_name: CommonName) -> FastAPI:
    """Make the application; without `auth` everyone who reaches it is an operator."""
    app = FastAPI(
        title="Tailrace",
        version=__version__,
        responses=_ERRORS,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name.strip("_"),
    )
    _handle_errors(app)
    if auth is not None:
        _require_users(app, auth, common_name)
    _add_connectors(app, service)
    _add_operations(app, service)
    _add_offsets(app, service)
    _add_plugins(app, service)
    _add_admin(app, service)
    _add_metrics(app, metrics)
    app.add_middleware(HttpRules, count=metrics.count_request)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Make the OpenAPI tell of the errors that are answered: FastAPI's own, 422, never is."""
    found = app.openapi()
    for operation in (each for path in found["paths"].values() for each in path.values()):
        operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(name, None)


def _handle_errors(app: FastAPI) -> None:
    def answer(status: int, message: str) -> JSONResponse:
        return JSONResponse({"error_code": status, "message": message}, status)

    @app.exception_handler(ApiError)
    def _api(_request: Request, error: ApiError) -> JSONResponse:
        return answer(error.status, error.message)

    @app.exception_handler(TailraceError)
    def _own(_request: Request, error: TailraceError) -> JSONResponse:
        return answer(503 if isinstance(error, UnreachableError) else 500, str(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return answer(400, f"{where}: {first['msg']}" if where else str(first["msg"]))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        found = answer(error.status_code, f"HTTP {error.status_code} {error.detail}")
        if error.status_code == 405:  # Starlette would name the methods of the first route of this path alone
            found.headers["Allow"] = ", ".join(_methods(app, request))
        return found

    @app.exception_handler(Exception)
    def _defect(_request: Request, error: Exception) -> JSONResponse:
        logger.error("request failed; this is a defect of Tailrace", exc_info=error)
        return answer(500, f"unexpected {type(error).__name__}: this is a defect of tailrace")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that a request's path has."""
    routes = (
        route for route in app.routes if isinstance(route, Route) and route.matches(request.scope)[0] != Match.NONE
    )
    found = {method for route in routes for method in route.methods or ()}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _require_users(app: FastAPI, auth: Auth, common_name: CommonName) -> None:
    @app.middleware("http")
    async def _check(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path == "/health":  # a probe has no login
            return await follow(request)
        user = auth.user_of(request.headers.get("Authorization"), common_name(request))
        if user is None:
            challenge = {"WWW-Authenticate": 'Basic realm="tailrace"'}
            return JSONResponse({"error_code": 401, "message": "log in first"}, 401, challenge)
        if not may(user.role, request.method, request.url.path):
            message = f"{user.name} is a {user.role}: only an operator may change connectors"
            return JSONResponse({"error_code": 403, "message": message}, 403)
        return await follow(request)


def _add_connectors(app: FastAPI, service: Service) -> None:
    @app.get("/")
    def _root() -> dict[str, str]:
        return service.root()

    @app.get("/connectors")
    def _list(expand: Annotated[list[str], Query(default_factory=list)]) -> Any:
        names = service.names()
        if not expand:
            return names
        views = {"status": service.status, "info": service.info}
        found: dict[str, Any] = {}
        for name in names:
            with contextlib.suppress(ApiError):  # it was deleted meanwhile
                found[name] = {each: views[each](name) for each in expand if each in views}
        return found

    @app.post("/connectors", status_code=201)
    def _create(body: NewConnector, response: Response) -> dict[str, Any]:
        name = body.name.strip()
        created = service.create(name, _texts(body.config), body.initial_state)
        response.headers["Location"] = f"/connectors/{name}"
        return created

    @app.get("/connectors/{name}")
    def _info(name: str) -> dict[str, Any]:
        return service.info(name)

    @app.delete("/connectors/{name}", status_code=204)
    def _delete(name: str) -> None:
        service.delete(name)

    @app.get("/connectors/{name}/config")
    def _config(name: str) -> dict[str, str]:
        return service.config(name)

    @app.put("/connectors/{name}/config", responses={201: {"description": "Created"}})
    def _put_config(name: str, body: Annotated[Config, Body()], response: Response) -> dict[str, Any]:
        found, is_new = service.put_config(name, _texts(body))
        response.status_code = 201 if is_new else 200
        return found

    @app.patch("/connectors/{name}/config")
    def _patch_config(name: str, body: Annotated[Config, Body()]) -> dict[str, Any]:
        return service.patch_config(name, {key: None if value is None else _text(value) for key, value in body.items()})


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/connectors/{name}/status")
    def _status(name: str) -> dict[str, Any]:
        return service.status(name)

    @app.get("/connectors/{name}/tasks")
    def _tasks(name: str) -> list[dict[str, Any]]:
        return service.tasks(name)

    @app.get("/connectors/{name}/tasks/{task}/status")
    def _task(name: str, task: int) -> dict[str, Any]:
        return service.task_status(name, task)

    @app.post("/connectors/{name}/tasks/{task}/restart", status_code=204)
    def _restart_task(name: str, task: int) -> None:
        service.task_status(name, task)
        service.restart(name)

    @app.get("/connectors/{name}/topics")
    def _topics(name: str) -> dict[str, Any]:
        return service.topics(name)

    @app.put("/connectors/{name}/topics/reset", status_code=202)
    def _reset_topics(name: str) -> None:
        service.info(name)  # they follow from the configuration, so there is nothing to forget

    def add(action: str, target: Target, status: int) -> None:
        @app.put(f"/connectors/{{name}}/{action}", status_code=status, name=action)
        def _set(name: str) -> None:
            service.set_target(name, target)

    add("pause", "PAUSED", 202)
    add("resume", "RUNNING", 202)
    add("stop", "STOPPED", 204)

    @app.post("/connectors/{name}/restart", status_code=204, responses={202: {"description": "Restarting"}})
    def _restart(
        name: str,
        include_tasks: Annotated[bool, Query(alias="includeTasks")] = False,
        only_failed: Annotated[bool, Query(alias="onlyFailed")] = False,
    ) -> Response:
        service.restart(name, only_failed=only_failed)
        if include_tasks or only_failed:
            return JSONResponse(service.status(name), 202)
        return Response(status_code=204)


def _add_offsets(app: FastAPI, service: Service) -> None:
    @app.get("/connectors/{name}/offsets")
    def _offsets(name: str) -> dict[str, Any]:
        return service.offsets(name)

    @app.delete("/connectors/{name}/offsets")
    def _reset(name: str) -> dict[str, str]:
        return service.reset_offsets(name)

    @app.patch("/connectors/{name}/offsets")
    def _alter(name: str) -> dict[str, str]:
        service.info(name)
        raise ApiError(
            400,
            "Positions of single shards cannot be set, since items would then be published out of order; delete all "
            "of them, or replay a time range",
        )


def _add_plugins(app: FastAPI, service: Service) -> None:
    @app.get("/connector-plugins")
    def _plugins() -> list[dict[str, str]]:
        return connectors.plugins()

    @app.get("/connector-plugins/{plugin}/config")
    def _plugin(plugin: str) -> list[dict[str, Any]]:
        found = connectors.find_plugin(plugin)
        if found is None:
            raise ApiError(404, f"Unknown plugin {plugin}")
        return connectors.definitions(found)

    @app.put("/connector-plugins/{plugin}/config/validate")
    def _validate(plugin: str, body: Annotated[Config, Body()]) -> dict[str, Any]:
        return service.validate(plugin, _texts(body))


def _add_admin(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    def _health() -> dict[str, str]:
        service.names()
        return {"status": "healthy", "message": "Worker has completed startup and is ready to handle requests."}

    @app.get("/admin/loggers")
    def _loggers() -> dict[str, Any]:
        return loggers.levels()

    @app.get("/admin/loggers/{name}")
    def _logger(name: str) -> dict[str, Any]:
        found = loggers.levels().get(name.lower() if name.lower() == loggers.ROOT else name)
        if found is None:
            raise ApiError(404, f"Logger {name} not found.")
        return found

    @app.put("/admin/loggers/{name}", responses={204: {"description": "Set in every process"}})
    def _set_level(name: str, body: Level, scope: str = "worker") -> Response:
        level = loggers.require(body.level)
        if scope == "cluster":
            service.set_logger(name, level)
            return Response(status_code=204)
        return JSONResponse(loggers.set_level(name, level))


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", response_class=PlainTextResponse)
    def _metrics() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


def _texts(config: Config) -> dict[str, str]:
    return {name: _text(value) for name, value in config.items() if value is not None}


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
