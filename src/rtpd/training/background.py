"""Work in a thread beside the training, for which a run that is to end need not wait."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from rtpd.system.interrupt import PATIENCE_SECONDS

TICK_SECONDS = 0.2  # between two looks at whether to hurry


class Background[Result]:
    """One piece of work at a time."""

    def __init__(self) -> None:
        """Nothing is going on."""
        self._going: Future[Result] | None = None
        self._give_up = threading.Event()

    def begin(self, work: Callable[[Callable[[], bool]], Result]) -> None:
        """Start `work(stop)`, after `end` of what went before: KeyboardInterrupt once `stop()`."""
        going = self._going = Future[Result]()

        def run() -> None:
            try:
                going.set_result(work(self._give_up.is_set))
            except BaseException as error:  # for `end` to raise
                going.set_exception(error)

        # A daemon: an env that never returns must not keep the process from ending.
        threading.Thread(target=run, name="evaluation", daemon=True).start()

    def end(self, hurry: Callable[[], bool], given_up: Callable[[], None]) -> Result | None:
        """Wait for what is going on, if anything, for its result; raises what went wrong in it.

        Once `hurry()` holds, only for a few seconds; then `given_up` is called, and None returned.
        """
        going, self._going = self._going, None
        if going is None:
            return None
        while not going.done() and not hurry():
            wait([going], TICK_SECONDS)
        if not wait([going], PATIENCE_SECONDS).done:
            self._give_up.set()
            given_up()
            wait([going], 2 * PATIENCE_SECONDS)  # to leave JAX in order, if it still answers
            return None
        return None if isinstance(going.exception(), KeyboardInterrupt) else going.result()

    def close(self) -> None:
        """Give up what is going on, and wait a few seconds for its end."""
        self._give_up.set()
        if self._going:
            wait([self._going], 3 * PATIENCE_SECONDS)
