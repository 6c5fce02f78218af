"""The command line: from words to a command, and one line for every error.

Exit codes: 0 done, 1 failed while running, 2 bad request, 130 interrupted after saving, 141 nobody
read what was printed.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Generator

from rtpd.cli.commands import COMMANDS, usage
from rtpd.envs.options import IMPORT, modules_of
from rtpd.errors import RequestError, RtpdError, error_line, unknown
from rtpd.system.interrupt import heeded
from rtpd.system.streams import closed_pipe, json_alone, open_all


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns the exit code and prints at most one line about an error."""
    open_all()
    args = sys.argv[1:] if argv is None else argv
    if threading.current_thread() is threading.main_thread():
        for number in set(heeded()) - {signal.SIGINT}:
            signal.signal(number, signal.default_int_handler)  # like Ctrl-C, at any moment
    try:
        code = _run(args)
        sys.stdout.flush()  # here, where a closed pipe can be caught
        return code
    except BrokenPipeError:
        return closed_pipe()
    except SystemExit as stop:  # Rich, which meets a closed pipe in its own way
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return closed_pipe()
        if isinstance(stop.__context__, BrokenPipeError):
            return closed_pipe()
        raise
    except RtpdError as error:
        print(error_line(error), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if "RTPD_TRACEBACK" in os.environ:
            raise
        told = _PLAIN.get(type(error), error)
        print(error_line(told), "(RTPD_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print("rtpd: interrupted", file=sys.stderr)
        return 130


def _run(args: list[str]) -> int:
    """The exit code of the command that the first word names."""
    if not args or args[0] in ("-h", "--help"):
        print(usage())
        return 0
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"rtpd {version('rtpd')}")
        return 0
    if args[0] not in COMMANDS:
        raise RequestError(unknown("command", args[0], COMMANDS))
    name, words = args[0], args[1:]
    entry = COMMANDS[name]
    from rtpd.cli.words import asks_help

    if asks_help(words):
        from rtpd.cli.help import columns, help_of

        defaults, everything = entry.kind.defaults(words), "--help-all" in words
        print(help_of(name, entry, defaults, everything=everything, width=columns()))
        return 0
    from rtpd.cli.parsing import parse

    with _trusted(args), json_alone() if "--json" in args else contextlib.nullcontext():
        return parse(entry.kind, words, name, entry.kind.defaults(words)).execute()


@contextlib.contextmanager
def _trusted(args: list[str]) -> Generator[None]:
    """Who types gym/module:id means the module to be imported; a file that says it does not.

    Child processes inherit this; whoever calls `main` from Python finds the variable as it was.
    """
    modules = [module for arg in args for module in modules_of(arg)]
    before = os.environ.get(IMPORT)
    if modules:
        os.environ[IMPORT] = ",".join(filter(None, [before, *modules]))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(IMPORT, None)
        else:
            os.environ[IMPORT] = before


# Those whose own words say little or nothing.
_PLAIN: dict[type[Exception], Exception] = {
    MemoryError: RtpdError("out of memory"),
    RecursionError: RtpdError("something that was read is nested too deeply"),
}
