"""What Connect's HTTP server does with every request: HEAD for each GET, a slash at the end, bodies only as JSON.

It also counts what is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_JSON: Final = "application/json"


class HttpRules:
    """Middleware outside all others."""

    def __init__(self, app: ASGIApp, count: Callable[[int], None]) -> None:
        """`count` hears the status of each request that is answered."""
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as the routes know it, or refuse its body with 415."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(message["status"])
            await send(message)

        # A page of any site can make a browser send a body, but not with this type unless we allow it.
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if has_body and headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            message = f"HTTP 415 Unsupported Media Type: send the body with Content-Type: {_JSON}"
            await JSONResponse({"error_code": 415, "message": message}, 415)(scope, receive, counted)
            return
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # the server leaves the body out
        path = scope["path"].rstrip("/") or "/"
        await self._app({**scope, "method": method, "path": path}, receive, counted)
