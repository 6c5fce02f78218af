"""Runs in the browser, live or afterwards: `rtpd watch runs/pong-1 runs/pong-2`.

It reads the run folders and writes nothing: `metrics.py` follows metrics.jsonl, `status.py` tells
how far a run is and what ended it, `state.py` makes of both what the page shows, `show.py` lets
agents play and `pool.py` only while a page asks for it, `server.py` serves all that, and `page/`
is what runs in the browser.
"""

import errno
import threading
import webbrowser
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rtpd.errors import RequestError
from rtpd.storage.run_folder import Run
from rtpd.system.interrupt import interruptible
from rtpd.system.process import settled
from rtpd.watch.server import ADDRESS, PORT, Server

MOST_RUNS = 4  # as many as the page can tell apart by their lines

Runs = str | Path | Sequence[str | Path]


@contextmanager
def serving(run: Runs, port: int = 0) -> Generator[str]:
    """Serve run folders from a thread of its own, to this machine alone; gives the address.

    Args:
        run: the folder, or up to 4 to compare; they may be being written, and may vanish and
            come back.
        port: 0 takes 8686, or a free one if that is taken.

    Raises:
        RequestError: if a folder is no run or is given twice, or the port cannot be had.
    """
    with settled():
        server = _server(_named(run), port)
        thread = threading.Thread(target=server.serve_forever, name="watch")
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def watch(run: Runs, *, port: int = 0, browse: bool = False, tell: Callable[[str], None]) -> None:
    """Serve run folders until Ctrl-C or SIGTERM.

    Args:
        run: the folder, or up to 4 to compare.
        port: as for `serving`.
        browse: also open the page in this machine's browser.
        tell: told the address.

    Raises:
        RequestError: as for `serving`.
    """
    asked = threading.Event()
    with interruptible(asked.set), serving(run, port) as url:
        tell(url)
        if browse:
            webbrowser.open(url)
        asked.wait()


def _named(run: Runs) -> dict[str, Path]:
    """The runs by what the page calls them: as much of a path's end as tells it from the others."""
    given = [run] if isinstance(run, str | Path) else run
    if not 1 <= len(given) <= MOST_RUNS:
        raise RequestError(f"{len(given)} runs: allowed: 1 to {MOST_RUNS}")
    paths = [Run.open(Path(path)).path for path in given]
    parts = [path.resolve().parts for path in paths]
    for path, own in zip(paths, parts, strict=True):
        if parts.count(own) > 1:
            raise RequestError(f"'{path}' is given twice")
    depth = 1
    while len({own[-depth:] for own in parts}) < len(parts):
        depth += 1
    names = ["/".join(own[-depth:]) for own in parts]
    return dict(zip(names, paths, strict=True))


def _server(runs: dict[str, Path], port: int) -> Server:
    if not 0 <= port < 2**16:
        raise RequestError(f"--port {port}: allowed: 1 to 65535, or 0 for a free one")
    try:
        return Server(runs, port or PORT)
    except OSError as error:
        if port:
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"failed: {error.strerror}"
            raise RequestError(
                f"--port {port}: {ADDRESS}:{port} {taken}: another one, or 0 for a free one"
            ) from None
    return Server(runs, 0)
