"""The command line: a view of `Config`, and one line for every error.

Exit codes: 0 done, 1 failed while running, 2 bad request, 130 interrupted after saving, 141 nobody
read what was printed.
"""

import contextlib
import ctypes
import difflib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TextIO, cast

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from rtpd import console
from rtpd.commands import (
    EXAMPLES,
    USAGE,
    BenchCommand,
    CompletionCommand,
    DistillCommand,
    EvaluateCommand,
    ExportCommand,
    GamesCommand,
    LsCommand,
    PlayCommand,
    ReportCommand,
    SuiteCommand,
    TeachersCommand,
    TrainCommand,
    WatchCommand,
    ZooCommand,
)
from rtpd.config import Config, load_config
from rtpd.envs import FAMILIES
from rtpd.envs.common import IMPORT, modules_of
from rtpd.errors import ConfigError, RequestError, RtpdError, unknown
from rtpd.files import finite, write_json
from rtpd.interrupt import heeded
from rtpd.monitor import monitor as choose_monitor


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns the exit code and prints at most one line about an error."""
    _open_streams()
    args = sys.argv[1:] if argv is None else argv
    commands = {
        "train": _train,
        "distill": _distill,
        "evaluate": _evaluate,
        "export": _export,
        "play": _play,
        "watch": _watch,
        "zoo": _zoo,
        "ls": _ls,
        "suite": _suite,
        "report": _report,
        "games": _games,
        "teachers": _teachers,
        "bench": _bench,
        "completion": _completion,
    }
    if threading.current_thread() is threading.main_thread():
        for number in set(heeded()) - {signal.SIGINT}:
            signal.signal(number, signal.default_int_handler)  # like Ctrl-C, at any moment
    try:
        if not args or args[0] in ("-h", "--help"):
            print(USAGE)
            sys.stdout.flush()
            return 0
        if args[0] == "--version":
            from importlib.metadata import version

            print(f"rtpd {version('rtpd')}")
            return 0
        if args[0] not in commands:
            raise RequestError(unknown("command", args[0], commands))
        with _trusted(args), _alone(args):
            code = commands[args[0]](args[1:])
        sys.stdout.flush()  # here, where a closed pipe can be caught
        return code
    except BrokenPipeError:
        return _closed_pipe()
    except SystemExit as stop:  # --help, or Rich, which meets a closed pipe in its own way
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return _closed_pipe()
        if isinstance(stop.__context__, BrokenPipeError):
            return _closed_pipe()
        raise
    except RtpdError as error:
        print(console.error_line(error), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if "RTPD_TRACEBACK" in os.environ:
            raise
        told = _PLAIN.get(type(error), error)
        print(console.error_line(told), "(RTPD_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print("rtpd: interrupted", file=sys.stderr)
        return 130


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


_json_stream = ContextVar[TextIO | None]("json_stream", default=None)


@contextlib.contextmanager
def _alone(args: list[str]) -> Generator[None]:
    """With --json, standard output is the JSON and nothing else.

    What others print meanwhile, envs and libraries in Python or in C, goes to standard error.
    """
    if "--json" not in args:
        yield
        return
    sys.stdout.flush()
    ours, number = sys.stdout, os.dup(1)
    os.dup2(2, 1)
    # Standard output itself writes to number 1, which is standard error now.
    json_out = os.fdopen(number, "w", closefd=False) if ours is sys.__stdout__ else ours
    token = _json_stream.set(json_out)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        json_out.flush()
    finally:
        _json_stream.reset(token)
        with contextlib.suppress(OSError, AttributeError):  # what C has not written yet
            ctypes.CDLL(None).fflush(None)
        os.dup2(number, 1)
        os.close(number)


# Those whose own words say little or nothing.
_PLAIN: dict[type[Exception], Exception] = {
    MemoryError: RtpdError("out of memory"),
    RecursionError: RtpdError("something that was read is nested too deeply"),
}


def _open_streams() -> None:
    """Give a process that was started without some standard streams (`>&-`) ones to nowhere.

    A file of a run that got the number of standard output would hold what others print there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))


def _closed_pipe() -> int:
    """End as other tools do when nobody reads on, without Python's words about it at its exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # what a shell shows for SIGPIPE


def _train(args: list[str]) -> int:
    preset, default = _defaults(args)
    command = _parse(TrainCommand, args, "train", TrainCommand(default))
    monitor = choose_monitor(quiet=command.quiet)
    from rtpd.compilation import keep_compiled
    from rtpd.training import resume, train

    keep_compiled()
    if command.resume is not None:
        _check_resume_flags(args)
        given = {
            name: getattr(command.config, name)
            for name in ("steps", "minutes", "on_divergence")
            if _value_of(args, f"--{name.replace('_', '-')}") is not None
        }
        summary = resume(command.resume, **given, monitor=monitor, track=command.track)
    else:
        summary = train(
            command.config,
            out=command.out,
            preset=preset,
            monitor=monitor,
            track=command.track,
        )
    return 0 if summary["status"] == "finished" else 130


def _distill(args: list[str]) -> int:
    preset = _value_of(args, "--preset") or "distill"
    file = _value_of(args, "--config")
    settings = replace(load_config(preset, Path(file) if file else None), env="")
    command = _parse(DistillCommand, args, "distill", DistillCommand(tyro.MISSING, settings))
    from rtpd.compilation import keep_compiled
    from rtpd.distilling import distill

    keep_compiled()
    summary = distill(
        command.teacher,
        command.config,
        out=command.out,
        preset=preset,
        monitor=choose_monitor(quiet=command.quiet),
        track=command.track,
    )
    return 0 if summary["status"] == "finished" else 130


def _evaluate(args: list[str]) -> int:
    command = _parse(EvaluateCommand, args, "evaluate")
    from rtpd.compilation import keep_compiled
    from rtpd.evaluation import evaluate

    keep_compiled()
    result = evaluate(
        command.run,
        agents=command.agents,
        episodes=command.episodes,
        epsilon=command.epsilon,
        seed=command.seed,
    )
    _show(result, console.print_evaluation, as_json=command.json)
    return 0


def _export(args: list[str]) -> int:
    command = _parse(ExportCommand, args, "export")
    from rtpd.compilation import keep_compiled
    from rtpd.export import export

    keep_compiled()
    result = export(
        command.source,
        command.agent,
        to=command.to,
        int8=command.int8,
        out=command.out,
        episodes=command.episodes,
        epsilon=command.epsilon,
        seed=command.seed,
        tell=_tell,
    )
    _show(result, console.print_export, as_json=command.json)
    return 0


def _play(args: list[str]) -> int:
    command = _parse(PlayCommand, args, "play")
    from rtpd.compilation import keep_compiled
    from rtpd.playing import play
    from rtpd.playing.live import Terminal

    keep_compiled()
    screen = console.terminal(sys.stdout)
    live = command.live and command.out is None and not command.json and screen.is_terminal
    result = play(
        command.source,
        command.agent,
        versus=command.versus,
        versus_agent=command.versus_agent,
        episodes=command.episodes,
        steps=command.steps,
        epsilon=command.epsilon,
        seed=command.seed,
        out=command.out,
        fps=command.fps,
        view=(lambda cast: Terminal(screen, cast, command.fps)) if live else None,
        tell=_tell,
    )
    _show(result, console.print_play, as_json=command.json)
    return 0 if result["status"] == "finished" else 130


def _watch(args: list[str]) -> int:
    command = _parse(WatchCommand, args, "watch")
    os.environ["JAX_PLATFORMS"] = "cpu"  # the GPU, if any, and the cores are the training's
    os.nice(10)
    from rtpd.compilation import keep_compiled
    from rtpd.watch import watch

    keep_compiled()
    watch(command.run, port=command.port, browse=command.open, tell=_address)
    return 0


def _address(url: str) -> None:
    print(f"{url} (Ctrl-C ends)", flush=True)


def _zoo(args: list[str]) -> int:
    command = _parse(ZooCommand, args, "zoo")
    from rtpd.zoo import catalogue

    _show(
        catalogue(),
        lambda found: console.terminal(sys.stdout).print(console.zoo_table(found)),
        as_json=command.json,
    )
    return 0


def _ls(args: list[str]) -> int:
    command = _parse(LsCommand, args, "ls")
    from rtpd.listing import runs

    _show(
        runs(command.folder),
        lambda found: console.terminal(sys.stdout).print(console.runs_table(found)),
        as_json=command.json,
    )
    return 0


def _completion(args: list[str]) -> int:
    command = _parse(CompletionCommand, args, "completion")
    from rtpd.completion import script
    from rtpd.envs.ale import games

    kinds = {
        "train": TrainCommand, "distill": DistillCommand, "evaluate": EvaluateCommand,
        "export": ExportCommand, "play": PlayCommand, "zoo": ZooCommand, "ls": LsCommand,
        "suite": SuiteCommand, "report": ReportCommand, "games": GamesCommand,
        "teachers": TeachersCommand, "bench": BenchCommand, "completion": CompletionCommand,
        "watch": WatchCommand,
    }  # fmt: skip
    print(script(command.shell, kinds, sorted(games())))
    return 0


def _suite(args: list[str]) -> int:
    command = _parse(SuiteCommand, args, "suite")
    from rtpd.suite import print_result, run_suite

    result = run_suite(
        command.file,
        out=command.out,
        jobs=command.jobs,
        cores=command.cores,
        retries=command.retries,
        ray=command.ray,
        dry_run=command.dry_run,
        stream=sys.stderr if command.json else sys.stdout,
    )
    _show(result, print_result, as_json=command.json)
    return {"failed": 1, "interrupted": 130}.get(result["status"], 0)


def _report(args: list[str]) -> int:
    command = _parse(ReportCommand, args, "report")
    runs = command.runs or tuple(filter(Path.is_dir, [Path("runs")]))
    if not runs:
        raise RequestError("no run folder given, and there is no folder 'runs': rtpd report DIR...")
    from rtpd.report import report

    written = report(runs, command.out, clip=command.clip)
    console.print_report(written.tables)
    print(f"\n{written.html} (also {written.markdown}, {written.pictures}/)")
    return 0


def _games(args: list[str]) -> int:
    command = _parse(GamesCommand, args, "games")
    from rich.console import Console

    from rtpd.envs.ale import games

    _show(games(), lambda found: Console().print(console.games_table(found)), as_json=command.json)
    return 0


def _teachers(args: list[str]) -> int:
    command = _parse(TeachersCommand, args, "teachers")
    from rtpd.bench import teachers
    from rtpd.compilation import keep_compiled

    keep_compiled()
    found = teachers(seconds=command.seconds if command.measure else None, tell=_tell)
    _show(
        found,
        lambda found: console.terminal(sys.stdout).print(console.teachers_table(found)),
        as_json=command.json,
    )
    return 0


def _show[T](result: T, show: Callable[[T], object], *, as_json: bool) -> None:
    """Print a result for people, or as JSON."""
    if as_json:
        print(json.dumps(finite(result), indent=2, allow_nan=False), file=_json_stream.get())
    else:
        show(result)


def _tell(text: str) -> None:
    print(f"... {text}", file=sys.stderr)


def _bench(args: list[str]) -> int:
    command = _parse(BenchCommand, args, "bench", BenchCommand(_defaults(args)[1]))
    from rtpd.bench import bench
    from rtpd.compilation import keep_compiled

    keep_compiled()
    result = bench(
        command.config,
        rounds=command.rounds,
        seconds=command.seconds,
        tell=_tell,
    )
    if command.out:
        write_json(command.out, finite(result))
    _show(result, console.print_bench, as_json=command.json)
    return 0


def _defaults(args: list[str]) -> tuple[str | None, Config]:
    """The preset, and what it and a TOML file make of the settings before the flags."""
    preset, file = _value_of(args, "--preset"), _value_of(args, "--config")
    helping = not {"-h", "--help"}.isdisjoint(args)
    if preset is None and _value_of(args, "--resume") is None:
        preset = "cpu" if helping else _default_preset(args, Path(file) if file else None)
    return preset, load_config(preset, Path(file) if file else None)


def _default_preset(args: list[str], file: Path | None) -> str:
    """The one that fits the game and the teacher, whether a flag names them or the file."""
    from rtpd.training import default_preset

    said = load_config(None, file)
    teacher = _value_of(args, "--teacher") or (said.teacher if file else None)
    before, paths = ["", *args], ("--out", "--config", "--resume")  # they may look like games
    named = (arg for arg, flag in zip(args, before, strict=False) if flag not in paths)
    games = [arg for arg in named if "/" in arg and arg.partition("/")[0].lower() in FAMILIES]
    flagless = [arg for arg in args[:1] if not arg.startswith("-")]
    env = next(iter(flagless or games), said.env)
    return default_preset(teacher, env)


def _check_resume_flags(args: list[str]) -> None:
    """A resumed run keeps its settings, so flags that would be ignored are refused."""
    allowed = ("--resume", "--steps", "--minutes", "--on-divergence", "--quiet", "--track")
    for arg in args:
        name = arg.partition("=")[0]
        if name.startswith("--") and name.replace("_", "-") not in allowed:
            raise ConfigError(f"{name} does not go with --resume: allowed: {', '.join(allowed)}")
    if args and not args[0].startswith("-"):
        raise ConfigError(f"'{args[0]}' does not go with --resume: the run knows its environment")


def _value_of(args: list[str], name: str) -> str | None:
    """The value that follows a flag, before the real parse; None if it is not there."""
    for i, arg in enumerate(args):
        if arg == name:
            return args[i + 1] if i + 1 < len(args) else None
        if arg.startswith(f"{name}="):
            return arg.partition("=")[2]
    return None


_registry = ConstructorRegistry()


@_registry.primitive_rule
def _whole(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Whole numbers may be written as 1e6, as in TOML files."""
    if kind.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _int(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def _int(text: str) -> int:
    """ValueError unless the text is a whole number."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if (value := float(text)).is_integer():
            return int(value)
    raise ValueError(f"'{text}' is no whole number")


def _parse[T](kind: type[T], args: list[str], name: str, default: T | None = None) -> T:
    """Tyro's parse, its boxed complaints made into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(
                kind, args=args, prog=f"rtpd {name}", default=default, registry=_registry
            )
        return cast(T, parsed)
    except SystemExit as stop:
        if not stop.code:  # --help
            print(EXAMPLES[name])
            raise
        from rtpd.completion import flags_of

        raise RequestError(_one_line(said.getvalue(), name, list(flags_of(kind)))) from None


# What settings are called elsewhere.
_SYNONYMS = {
    "lr": "learning-rate", "discount": "gamma", "batch": "batch-size", "n-envs": "num-envs",
    "timesteps": "steps", "total-timesteps": "steps", "total-steps": "steps", "temp": "temperature",
    "buffer-size": "capacity", "learning-starts": "warmup-steps", "resume-from": "resume",
}  # fmt: skip


def _like(flag: str, flags: list[str]) -> list[str]:
    """The one or two flags that were probably meant."""
    word = flag.lstrip("-").partition("=")[0].replace("_", "-")
    word = _SYNONYMS.get(word, word)
    same = [f for f in flags if f == f"--{word}"]
    longer = [f for f in flags if f.startswith(f"--{word}") and "." not in f]
    parts = [f for f in flags if f.rpartition(".")[2] == word]
    near = difflib.get_close_matches(f"--{word}", flags, n=1, cutoff=0.6)
    return (same or longer[:1] or parts[:2]) or near


def _one_line(box: str, name: str, flags: list[str]) -> str:
    """The first paragraph of a box of text, and the flag that was probably meant."""
    lines = [line.strip("│ ").strip() for line in box.splitlines() if line.startswith("│")]
    end = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    text = " ".join(lines[:end]).rstrip(".")
    _, unknown_ones, given = text.partition("Unrecognized options: ")
    if unknown_ones:
        flag = given.partition(",")[0].strip()
        like = _like(flag, flags)
        text = f"unknown option {flag}" + (f": did you mean {' or '.join(like)}?" if like else "")
    elif "Perhaps you meant:" in lines:
        flag = lines[lines.index("Perhaps you meant:") + 1].split()[0].rstrip(",")
        text += f": did you mean {flag}?"
    return f"{text or ' '.join(box.split())} (rtpd {name} --help lists what is allowed)"
