"""Access to the page: an optional password, and a check of the request's host and origin.

Any web page that is open in a browser can make the browser send requests to 127.0.0.1, websockets too. So a request
that names another host, or comes from a page of another origin, is refused, with or without a password.
"""

import base64
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from edgekd.errors import ConfigError
from edgekd.protocol.addresses import is_loopback, parse_address
from edgekd.protocol.allowance import Allowance

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "edgekd"  # some browsers send cookies with a websocket, but no password
WRONG_AT_ONCE = 10  # wrong passwords from all callers together; then all passwords are refused for a while
WRONG_EVERY = 1.0  # seconds after which one more password is checked


class Gate:
    """An ASGI application that passes only permitted requests on to `app`.

    Args:
        app: the ASGI application to protect.
        password: that a browser must send, with any user name; None: no password, but only requests for a loopback
            host are permitted.
        clock: monotonic, in seconds.
    """

    def __init__(self, app: App, password: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._password = app, None if password is None else password.encode()
        self._ticket = secrets.token_urlsafe(32)
        self._clock, self._wrong = clock, Allowance(WRONG_AT_ONCE, WRONG_EVERY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_from_here(headers.get("host", ""), headers.get("origin"), only_loopback=self._password is None):
            await _refuse(scope, receive, send, 403, b"another host, or a page of another origin\n")
        elif self._password is None or self._has_ticket(headers.get("cookie", "")):
            await self._app(scope, receive, send)
        elif "authorization" not in headers:
            await _refuse(scope, receive, send, 401, b"a password is needed\n")
        elif not self._wrong.has(self._clock()):  # a correct password is refused too: the answer must not tell it apart
            await _refuse(scope, receive, send, 429, b"too many wrong passwords: try again in a second\n")
        elif self._knows(headers["authorization"]):
            await self._app(scope, receive, self._handing_ticket(send))
        else:
            self._wrong.use()
            await _refuse(scope, receive, send, 401, b"a password is needed\n")

    def _knows(self, authorization: str) -> bool:
        kind, _, value = authorization.partition(" ")
        try:
            given = base64.b64decode(value, validate=True) if kind.lower() == "basic" else b""
        except ValueError:  # not Base64, or not ASCII
            return False
        assert self._password is not None  # the caller has checked it
        return hmac.compare_digest(given.partition(b":")[2], self._password)

    def _has_ticket(self, cookie: str) -> bool:
        try:
            given = SimpleCookie(cookie).get(COOKIE)
        except CookieError:
            return False
        return given is not None and hmac.compare_digest(given.value.encode(), self._ticket.encode())

    def _handing_ticket(self, send: Send) -> Send:
        cookie = f"{COOKIE}={self._ticket}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def handing(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", cookie)]
            await send(message)

        return handing


def is_from_here(host: str, origin: str | None, *, only_loopback: bool) -> bool:
    """Whether a request is for this page, and was sent by this page or by no page.

    Args:
        host: the header Host: "HOST" or "HOST:PORT".
        origin: the header Origin; None: there is none.
        only_loopback: whether the host must be a loopback address.
    """
    try:
        name, _ = parse_address(host if host.rpartition("]")[2].count(":") else f"{host}:80")
    except ConfigError:
        return False
    if only_loopback and not is_loopback(name):
        return False
    return origin is None or origin.partition("://")[2] == host


async def _refuse(scope: Scope, receive: Receive, send: Send, code: int, why: bytes) -> None:
    if scope["type"] == "websocket":
        await receive()  # the message "websocket.connect"
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
    if code == 401:
        headers.append((b"www-authenticate", b'Basic realm="edgekd", charset="UTF-8"'))
    if code == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": why})
