"""The command line: a view of `Config`, and one line for every error.

Exit codes: 0 done, 1 failed while running, 2 bad request, 130 interrupted after saving, 141 nobody
read what was printed.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import tyro

from rtpd.cli import tables
from rtpd.cli.commands import (
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
from rtpd.cli.parsing import parse
from rtpd.config.settings import Config, load_config, read_toml
from rtpd.envs import FAMILIES
from rtpd.envs.options import IMPORT, modules_of
from rtpd.errors import ConfigError, RequestError, RtpdError, unknown
from rtpd.storage.files import finite, write_json
from rtpd.system import formatting
from rtpd.system.interrupt import heeded
from rtpd.system.streams import closed_pipe, json_alone, json_stream, open_all
from rtpd.training.monitor import monitor as choose_monitor


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns the exit code and prints at most one line about an error."""
    open_all()
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
        with _trusted(args), json_alone() if "--json" in args else contextlib.nullcontext():
            code = commands[args[0]](args[1:])
        sys.stdout.flush()  # here, where a closed pipe can be caught
        return code
    except BrokenPipeError:
        return closed_pipe()
    except SystemExit as stop:  # --help, or Rich, which meets a closed pipe in its own way
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return closed_pipe()
        if isinstance(stop.__context__, BrokenPipeError):
            return closed_pipe()
        raise
    except RtpdError as error:
        print(formatting.error_line(error), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if "RTPD_TRACEBACK" in os.environ:
            raise
        told = _PLAIN.get(type(error), error)
        print(formatting.error_line(told), "(RTPD_TRACEBACK=1 shows where)", file=sys.stderr)
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


# Those whose own words say little or nothing.
_PLAIN: dict[type[Exception], Exception] = {
    MemoryError: RtpdError("out of memory"),
    RecursionError: RtpdError("something that was read is nested too deeply"),
}


def _train(args: list[str]) -> int:
    preset, default = _defaults(args)
    command = parse(TrainCommand, args, "train", TrainCommand(default))
    monitor = choose_monitor(quiet=command.quiet)
    from rtpd.system.compile_cache import keep_compiled
    from rtpd.training.train import resume, train

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
    command = parse(DistillCommand, args, "distill", DistillCommand(tyro.MISSING, settings))
    from rtpd.system.compile_cache import keep_compiled
    from rtpd.training.distill import distill

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
    command = parse(EvaluateCommand, args, "evaluate")
    from rtpd.agents.evaluate import evaluate
    from rtpd.system.compile_cache import keep_compiled

    keep_compiled()
    result = evaluate(
        command.run,
        agents=command.agents,
        episodes=command.episodes,
        epsilon=command.epsilon,
        seed=command.seed,
    )
    _show(result, tables.print_evaluation, as_json=command.json)
    return 0


def _export(args: list[str]) -> int:
    command = parse(ExportCommand, args, "export")
    from rtpd.export import export
    from rtpd.system.compile_cache import keep_compiled

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
    _show(result, tables.print_export, as_json=command.json)
    return 0


def _play(args: list[str]) -> int:
    command = parse(PlayCommand, args, "play")
    from rtpd.agents.play import play
    from rtpd.agents.play.live import Terminal
    from rtpd.system.compile_cache import keep_compiled

    keep_compiled()
    screen = formatting.terminal(sys.stdout)
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
    _show(result, tables.print_play, as_json=command.json)
    return 0 if result["status"] == "finished" else 130


def _watch(args: list[str]) -> int:
    command = parse(WatchCommand, args, "watch")
    os.environ["JAX_PLATFORMS"] = "cpu"  # the GPU, if any, and the cores are the training's
    os.nice(10)
    from rtpd.system.compile_cache import keep_compiled
    from rtpd.watch import watch

    keep_compiled()
    watch(command.run, port=command.port, browse=command.open, tell=_address)
    return 0


def _address(url: str) -> None:
    print(f"{url} (Ctrl-C ends)", flush=True)


def _zoo(args: list[str]) -> int:
    command = parse(ZooCommand, args, "zoo")
    from rtpd.agents.zoo import catalogue

    _show(
        catalogue(),
        lambda found: formatting.terminal(sys.stdout).print(tables.zoo_table(found)),
        as_json=command.json,
    )
    return 0


def _ls(args: list[str]) -> int:
    command = parse(LsCommand, args, "ls")
    from rtpd.report.listing import runs

    _show(
        runs(command.folder),
        lambda found: formatting.terminal(sys.stdout).print(tables.runs_table(found)),
        as_json=command.json,
    )
    return 0


def _completion(args: list[str]) -> int:
    command = parse(CompletionCommand, args, "completion")
    from rtpd.cli.completion import script
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
    command = parse(SuiteCommand, args, "suite")
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
    command = parse(ReportCommand, args, "report")
    runs = command.runs or tuple(filter(Path.is_dir, [Path("runs")]))
    if not runs:
        raise RequestError("no run folder given, and there is no folder 'runs': rtpd report DIR...")
    from rtpd.report import report

    written = report(runs, command.out, clip=command.clip)
    tables.print_report(written.tables)
    print(f"\n{written.html} (also {written.markdown}, {written.pictures}/)")
    return 0


def _games(args: list[str]) -> int:
    command = parse(GamesCommand, args, "games")
    from rich.console import Console

    from rtpd.envs.ale import games

    show = tables.games_table
    _show(games(), lambda found: Console().print(show(found)), as_json=command.json)
    return 0


def _teachers(args: list[str]) -> int:
    command = parse(TeachersCommand, args, "teachers")
    from rtpd.system.compile_cache import keep_compiled
    from rtpd.training.bench import teachers

    keep_compiled()
    found = teachers(seconds=command.seconds if command.measure else None, tell=_tell)
    _show(
        found,
        lambda found: formatting.terminal(sys.stdout).print(tables.teachers_table(found)),
        as_json=command.json,
    )
    return 0


def _show[T](result: T, show: Callable[[T], object], *, as_json: bool) -> None:
    """Print a result for people, or as JSON."""
    if as_json:
        print(json.dumps(finite(result), indent=2, allow_nan=False), file=json_stream.get())
    else:
        show(result)


def _tell(text: str) -> None:
    print(f"... {text}", file=sys.stderr)


def _bench(args: list[str]) -> int:
    command = parse(BenchCommand, args, "bench", BenchCommand(_defaults(args)[1]))
    from rtpd.system.compile_cache import keep_compiled
    from rtpd.training.bench import bench

    keep_compiled()
    result = bench(
        command.config,
        rounds=command.rounds,
        seconds=command.seconds,
        tell=_tell,
    )
    if command.out:
        write_json(command.out, finite(result))
    _show(result, tables.print_bench, as_json=command.json)
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
    from rtpd.training.train import default_preset

    said = load_config(None, file)
    chosen = read_toml(file).get("teacher", {}).get("algorithm") if file else None
    teacher = _value_of(args, "--teacher") or _value_of(args, "--teacher.algorithm") or chosen
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
