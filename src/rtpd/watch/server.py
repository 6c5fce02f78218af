"""A run, or a few, over HTTP, for browsers on this machine alone.

The page and its scripts are files of this package, known by their whole addresses: no address
leads to any other file. What is told of the runs is JSON, which the scripts show as text.
"""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec

from rtpd.errors import RequestError, RtpdError, clean, error_line
from rtpd.watch.pool import ShowPool
from rtpd.watch.state import State

ADDRESS = "127.0.0.1"
PORT = 8686
# Another name that leads here is a page elsewhere that has rebound its own (DNS rebinding). The
# port may be another one: that of a tunnel.
HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
PAGES = {
    "/": ("watch/page/index.html", "text/html"),
    "/style.css": ("report/style.css", "text/css"),
    "/watch.css": ("watch/page/watch.css", "text/css"),
    "/watch.js": ("watch/page/watch.js", "text/javascript"),
    **{
        f"/{name}.js": (f"watch/page/{name}.js", "text/javascript")
        for name in ("card", "chart", "curves", "elements", "games", "head", "scale")
    },
    "/icon.svg": ("watch/page/icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
TOLD = ("/runs.json", "/run.json", "/games.json")
MOST_CONNECTIONS = 256
HEAD_SECONDS = 15.0  # for the head of a request, from its connection or the answer before
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves run folders until it is shut down."""

    request_queue_size = 128  # that may wait to be taken in

    def __init__(self, runs: Mapping[str, Path], port: int) -> None:
        """Listen at once, for runs by what the page calls them; OSError if the port is taken."""
        self.runs = list(runs)
        self.shows = [ShowPool(run) for run in runs.values()]
        self._states = [State(run, name) for name, run in runs.items()]
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._due: dict[socket.socket, float] = {}  # when the head of a request must be there
        super().__init__((ADDRESS, port), Handler)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def look(self, run: int, seen: str) -> dict[str, Any]:
        """What `State.look` tells of one of the runs, to one page at a time."""
        with self._lock:
            return self._states[run].look(seen)

    def service_actions(self) -> None:
        """Called twice a second by `serve_forever`, and after each connection."""
        for shows in self.shows:
            shows.tidy()
        now = time.monotonic()
        for connection, due in list(self._due.items()):
            if now > due:
                self.arrived(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # which wakes its thread

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Give a connection a thread; one too many is told so and closed."""
        if self._places.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:
                self._places.release()
                raise
            return
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer a connection until it is closed."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._due.pop(request, None)
            self._places.release()

    def expect(self, connection: socket.socket) -> None:
        """A request must come now, with all its headers, before long."""
        self._due[connection] = time.monotonic() + HEAD_SECONDS

    def arrived(self, connection: socket.socket) -> None:
        """It has come."""
        self._due.pop(connection, None)

    def server_close(self) -> None:
        """Also end the games."""
        super().server_close()
        for shows in self.shows:
            shows.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A page that goes away in the middle of an answer is no event."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; only GET and HEAD."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "rtpd", ""
    timeout = 60  # seconds; a browser opens another connection when it needs one

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        cast(Server, self.server).expect(self.connection)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Read its headers, now that its first line is there."""
        whole = super().parse_request()
        cast(Server, self.server).arrived(self.connection)
        return whole

    def do_GET(self) -> None:
        """A file of the page, or what is told of the run."""
        if {"content-length", "transfer-encoding"} & {name.lower() for name in self.headers}:
            self.close_connection = True  # its body is not read, and is no request
        if not HOST.fullmatch(", ".join(self.headers.get_all("Host", []))):
            return self._send(HTTPStatus.FORBIDDEN, b"this is not my name", "text/plain")
        try:
            url = urlsplit(self.path)
        except ValueError:
            return self._send(HTTPStatus.BAD_REQUEST, b"this is no address", "text/plain")
        if url.path in PAGES:
            name, kind = PAGES[url.path]
            return self._send(HTTPStatus.OK, files("rtpd").joinpath(name).read_bytes(), kind)
        if url.path not in TOLD:
            return self._send(HTTPStatus.NOT_FOUND, b"there is no such page", "text/plain")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return self._send(HTTPStatus.FORBIDDEN, b"another site asks", "text/plain")
        answer = msgspec.json.encode(self._answer(url.path, parse_qs(url.query)))
        return self._send(HTTPStatus.OK, answer, "application/json")

    do_HEAD = do_GET

    def _answer(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """What is told; {"trouble": one line} for what cannot be, since it may be soon."""
        server = cast(Server, self.server)
        seen, run = (query.get(name, ["0"])[-1] for name in ("seen", "run"))
        try:
            if path == "/runs.json":
                return {"runs": [clean(name) for name in server.runs]}
            if not (re.fullmatch(r"[0-9]", run) and int(run) < len(server.runs)):
                raise RequestError(f"run={run[:40]!r}: allowed: 0 to {len(server.runs) - 1}")
            if path == "/run.json":
                return server.look(int(run), seen)
            if not re.fullmatch(r"\d{1,15}", seen):
                raise RequestError(f"seen={seen[:40]!r} is no number of a step")
            return server.shows[int(run)].next(tuple(query.get("agent", ())), int(seen))
        except RtpdError as error:
            return {"trouble": clean(error)}
        except Exception as error:  # an env is anyone's code
            return {"trouble": error_line(error)}

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        coded = "" if kind.startswith("image") else "; charset=utf-8"
        for name, value in {**HEADERS, "Content-Type": kind + coded}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Say nothing."""
