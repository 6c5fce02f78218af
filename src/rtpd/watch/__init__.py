"""A run in the browser, live or afterwards: `rtpd watch runs/pong-1`.

It reads the run folder and writes nothing: `metrics.py` follows metrics.jsonl, `state.py` makes of
it what the page shows, `show.py` lets agents play and `pool.py` only while a page asks for it,
`server.py` serves all that, and `page/` is what runs in the browser.
"""

import errno
import threading
import webbrowser
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rtpd.errors import RequestError
from rtpd.storage.run_folder import Run
from rtpd.system.interrupt import interruptible
from rtpd.system.process import settled
from rtpd.watch.server import ADDRESS, PORT, Server


@contextmanager
def serving(run: str | Path, port: int = 0) -> Generator[str]:
    """Serve a run folder from a thread of its own, to this machine alone; gives the address.

    Args:
        run: the folder; it may be being written, and may vanish and come back.
        port: 0 takes 8686, or a free one if that is taken.

    Raises:
        RequestError: if the folder is no run, or the port cannot be had.
    """
    with settled():
        server = _server(Run.open(Path(run)).path, port)
        thread = threading.Thread(target=server.serve_forever, name="watch")
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def watch(
    run: str | Path, *, port: int = 0, browse: bool = False, tell: Callable[[str], None]
) -> None:
    """Serve a run folder until Ctrl-C or SIGTERM.

    Args:
        run: the folder.
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


def _server(run: Path, port: int) -> Server:
    if not 0 <= port < 2**16:
        raise RequestError(f"--port {port}: allowed: 1 to 65535, or 0 for a free one")
    try:
        return Server(run, port or PORT)
    except OSError as error:
        if port:
            taken = "is taken" if error.errno == errno.EADDRINUSE else f"failed: {error.strerror}"
            raise RequestError(
                f"--port {port}: {ADDRESS}:{port} {taken}: another one, or 0 for a free one"
            ) from None
    return Server(run, 0)
