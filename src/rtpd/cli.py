"""The command line: a view of `Config`, and one line for every error.

Exit codes: 0 done, 1 failed while running, 2 bad request, 130 interrupted after saving.
"""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast

import tyro

from rtpd import console
from rtpd.config import Config, load_config
from rtpd.errors import ConfigError, RequestError, RtpdError, unknown
from rtpd.files import write_json
from rtpd.monitor import monitor as choose_monitor

USAGE = """usage: rtpd COMMAND [OPTIONS]      real-time policy distillation

  rtpd train GAME      train a teacher and distil it into tiny students, at once
  rtpd distill TEACHER distil a teacher that has learnt before (two stages)
  rtpd evaluate DIR    let the agents of a run play whole episodes
  rtpd suite FILE      train games x seeds x settings, each a run that can be gone on with
  rtpd report DIR...   a page of what runs have shown, with figures
  rtpd games           list the games
  rtpd teachers        list the teachers
  rtpd bench           how fast this machine trains

  rtpd COMMAND --help  explains a command

examples:
  rtpd train pong --minutes 30
  rtpd train breakout --students net4:kl net1.7:kl net0.5:mse --steps 1000000
  rtpd train --resume runs/pong-1
  rtpd evaluate runs/pong-1 --agents teacher net1.7 --episodes 30"""

EXAMPLES = {
    "train": """examples:
  rtpd train pong --minutes 30
  rtpd train ms_pacman --students net25:kl net1.7:kl net1.7:mse --seed 1
  rtpd train gym/CartPole-v1 --students mlp16:kl --steps 50000
  rtpd train --resume runs/pong-1 --steps 1000000""",
    "distill": """examples:
  rtpd distill runs/pong-1 --students net1.7:kl net0.5:kl
  rtpd distill runs/pong-1/agents/teacher.safetensors --students net4:mse --steps 400000
  rtpd distill dqn_pong.zip pong --students net1.7:kl""",
    "evaluate": """examples:
  rtpd evaluate runs/pong-1
  rtpd evaluate runs/pong-1 --agents teacher net1.7 --episodes 100 --epsilon 0 --json""",
    "suite": """a suite file, in which only `games` must be there:
  games = ["pong", "boxing"]
  seeds = [0, 1, 2]              # or seeds = 3
  preset = "cpu"
  [settings]                     # of every run: the settings of `rtpd train`
  steps = 300_000
  [game_settings.boxing]         # of one game
  steps = 600_000
  [variants.real-time]           # each runs every game with every seed
  students = ["net1.7:kl"]
  [variants.constant-rate]
  student.optimizer.anneal = 0.0

examples:
  rtpd suite pong-sizes.toml --dry-run
  rtpd suite pong-sizes.toml --jobs 2
  rtpd suite pong-sizes.toml --ray auto --cores 8""",
    "report": """examples:
  rtpd report runs/pong-1
  rtpd report runs/pong-1 runs/pong-2 suites/small --out pages/pong.html --no-clip""",
    "games": """examples:
  rtpd games --json""",
    "teachers": """examples:
  rtpd teachers
  rtpd teachers --measure""",
    "bench": """examples:
  rtpd bench
  rtpd bench breakout --students net1.7:kl --rounds 9 --out bench.json
  rtpd bench pong --teacher dqn --replay.steps-per-update 4""",
}


@dataclass(frozen=True)
class TrainCommand:
    """Train a teacher on an environment and distil it into small students, in the same update.

    Settings come from the defaults, then the preset, then the TOML file, then the flags.
    Ctrl-C saves; `--resume DIR` goes on.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """cpu, gpu, double-dqn (the default is the one for the device, and double-dqn where --teacher
    needs a replay), demo, or a paper's settings: nature, munchausen, c51, qr-dqn, rainbow, pqn"""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file with any of the settings below, over the preset"""
    resume: Path | None = None
    """go on with this run from its last checkpoint; only --steps and --minutes go with it"""
    out: Path | None = None
    """a new or empty folder for the run (default: runs/GAME-N)"""
    quiet: bool = False
    """print nothing but errors"""
    tensorboard: bool = False
    """also write TensorBoard events into the run folder (needs the `track` extra)"""


@dataclass(frozen=True)
class DistillCommand:
    """Distil a teacher that has learnt before into small students: the two-stage procedure.

    The teacher plays with epsilon 0.05 and learns no more; students learn from a replay of its play
    (Rusu et al. 2015). Ctrl-C saves; `rtpd train --resume DIR` goes on.
    """

    teacher: tyro.conf.Positional[Path]
    """run folder, an agent's .safetensors file, or the .zip of a Stable-Baselines3 DQN or an
    sb3-contrib QR-DQN (name its game too; statistics of VecNormalize are not in such a file)"""
    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """what the settings come from (default: distill, after the paper)"""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file with any of the settings below, over the preset"""
    out: Path | None = None
    """a new or empty folder for the run (default: runs/GAME-N)"""
    quiet: bool = False
    """print nothing but errors"""
    tensorboard: bool = False
    """also write TensorBoard events into the run folder (needs the `track` extra)"""


@dataclass(frozen=True)
class EvaluateCommand:
    """Let the agents of a run play whole episodes, side by side, with unclipped returns.

    % of teacher is measured from random play where the game's random score is known.
    """

    run: tyro.conf.Positional[Path]
    """run folder"""
    agents: tuple[str, ...] = ()
    """which agents (default: all)"""
    episodes: int = 30
    """whole episodes per agent"""
    epsilon: float = 0.05
    """share of random actions, 0 to 1"""
    seed: int = 1
    """of the envs and of the random actions"""
    json: bool = False
    """print JSON with every return instead of a table"""


@dataclass(frozen=True)
class SuiteCommand:
    """Train every game with every seed and variant of a suite file, each run in its own process.

    Settings come from the defaults, then the preset, then the file's [settings], those of the game,
    those of the variant. All are checked before anything starts. Start it again, after Ctrl-C or a
    crash, and it keeps what is finished and goes on with the rest; a higher `steps` goes on with
    finished runs too. DIR/GAME/VARIANT/ holds each run as seed-N/, what it printed in seed-N.log.
    """

    file: tyro.conf.Positional[Path]
    """suite file (TOML); see the end of this help"""
    out: Path | None = None
    """the suite's folder: a new one, or the one to go on with (default: suites/NAME)"""
    jobs: int = 1
    """runs at once on a machine; each holds a replay of its own"""
    cores: int | None = None
    """CPU cores that each run keeps to (default: this machine's, shared equally among --jobs)"""
    retries: int = 2
    """how often a run that was killed or failed is gone on with before it counts as failed"""
    ray: str | None = None
    """run on a Ray cluster (needs the `cluster` extra): local starts one, auto or an address joins
    one. As many runs at once as have room, --cores CPUs each; those of a lost machine go on
    elsewhere. Every machine must have rtpd, and see --out under the same path"""
    dry_run: bool = False
    """show the runs and how far they are; write nothing"""
    json: bool = False
    """print the result as JSON; progress goes to standard error"""


@dataclass(frozen=True)
class ReportCommand:
    """Write one HTML page about runs, the same as Markdown beside it, and every figure as SVG.

    Runs that differ only in their seed are put together; a run still going on is marked as such.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """run folders, or folders that hold some at any depth"""
    out: Path = Path("report.html")
    """the page; report.md and report-figures/ are written beside it"""
    clip: bool = True
    """let the best teacher and its smallest good student play side by side (Atari)"""


@dataclass(frozen=True)
class GamesCommand:
    """List the Atari games that come with ale-py, with their number of actions."""

    json: bool = False
    """print JSON instead of a table"""


@dataclass(frozen=True)
class TeachersCommand:
    """List the teachers, each with its paper, what it learns from, and the preset that uses it.

    `rtpd train pong --preset c51` trains with the paper's settings, `rtpd train pong --teacher c51`
    with those of your device.
    """

    measure: bool = False
    """also measure how fast each is on this machine (some minutes; close what else is running)"""
    seconds: float = 10.0
    """wall time of each measurement"""
    json: bool = False
    """print JSON instead of a table"""


@dataclass(frozen=True)
class BenchCommand:
    """Measure how fast this machine trains: emulator, compiled update, whole loop.

    Without --students: no students, net1.7, the four sizes of the paper, and all six, in turns.
    Takes some minutes; close what else is running.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """cpu, gpu, double-dqn (the default is the one for the device, and double-dqn where --teacher
    needs a replay), demo, or a paper's settings: nature, munchausen, c51, qr-dqn, rainbow, pqn"""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file with any of the settings below, over the preset"""
    rounds: int = 5
    """turns of every loop"""
    seconds: float = 10.0
    """wall time of a turn"""
    json: bool = False
    """print JSON instead of a table"""
    out: Path | None = None
    """also write the JSON to this file"""


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns the exit code and prints at most one line about an error."""
    args = sys.argv[1:] if argv is None else argv
    commands = {
        "train": _train,
        "distill": _distill,
        "evaluate": _evaluate,
        "suite": _suite,
        "report": _report,
        "games": _games,
        "teachers": _teachers,
        "bench": _bench,
    }
    if not args or args[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    try:
        if args[0] == "--version":
            from importlib.metadata import version

            print(f"rtpd {version('rtpd')}")
            return 0
        if args[0] not in commands:
            raise RequestError(unknown("command", args[0], commands))
        return commands[args[0]](args[1:])
    except RtpdError as error:
        print(console.error_line(error), file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if "RTPD_TRACEBACK" in os.environ:
            raise
        print(console.error_line(error), "(RTPD_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rtpd: interrupted", file=sys.stderr)
        return 130


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
            for name in ("steps", "minutes")
            if _value_of(args, f"--{name}") is not None
        }
        summary = resume(command.resume, **given, monitor=monitor, tensorboard=command.tensorboard)
    else:
        summary = train(
            command.config,
            out=command.out,
            preset=preset,
            monitor=monitor,
            tensorboard=command.tensorboard,
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
        tensorboard=command.tensorboard,
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
    if command.json:
        print(json.dumps(result, indent=2))
    else:
        console.print_evaluation(result)
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
    if command.json:
        print(json.dumps(result, indent=2))
    else:
        print_result(result)
    return {"failed": 1, "interrupted": 130}.get(result["status"], 0)


def _report(args: list[str]) -> int:
    command = _parse(ReportCommand, args, "report")
    if not command.runs:
        raise RequestError("no run folder given (rtpd report DIR...)")
    from rtpd.report import report

    written = report(command.runs, command.out, clip=command.clip)
    console.print_report(written.tables)
    print(f"\n{written.html} (also {written.markdown}, {written.pictures}/)")
    return 0


def _games(args: list[str]) -> int:
    command = _parse(GamesCommand, args, "games")
    from rich.console import Console

    from rtpd.envs.ale import games

    if command.json:
        print(json.dumps(games(), indent=2))
    else:
        Console().print(console.games_table(games()))
    return 0


def _teachers(args: list[str]) -> int:
    command = _parse(TeachersCommand, args, "teachers")
    from rtpd.bench import teachers
    from rtpd.compilation import keep_compiled

    keep_compiled()
    found = teachers(seconds=command.seconds if command.measure else None, tell=_tell)
    if command.json:
        print(json.dumps(found, indent=2))
    else:
        console.terminal(sys.stdout).print(console.teachers_table(found))
    return 0


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
        write_json(command.out, result)
    if command.json:
        print(json.dumps(result, indent=2))
    else:
        console.print_bench(result)
    return 0


def _defaults(args: list[str]) -> tuple[str | None, Config]:
    """The preset, and what it and a TOML file make of the settings before the flags."""
    preset, file = _value_of(args, "--preset"), _value_of(args, "--config")
    helping = not {"-h", "--help"}.isdisjoint(args)
    if preset is None and _value_of(args, "--resume") is None:
        preset = "cpu" if helping else _default_preset(_value_of(args, "--teacher"))
    return preset, load_config(preset, Path(file) if file else None)


def _default_preset(teacher: str | None) -> str:
    from rtpd.training import default_preset

    return default_preset(teacher)


def _check_resume_flags(args: list[str]) -> None:
    """A resumed run keeps its settings, so flags that would be ignored are refused."""
    allowed = ("--resume", "--steps", "--minutes", "--quiet", "--tensorboard")
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


def _parse[T](kind: type[T], args: list[str], name: str, default: T | None = None) -> T:
    """Tyro's parse, its boxed complaints made into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(kind, args=args, prog=f"rtpd {name}", default=default)
        return cast(T, parsed)
    except SystemExit as stop:
        if not stop.code:  # --help
            print(EXAMPLES[name])
            raise
        raise RequestError(_one_line(said.getvalue(), name)) from None


def _one_line(box: str, name: str) -> str:
    """The first paragraph of a box of text, and the flag that it suggests."""
    lines = [line.strip("│ ").strip() for line in box.splitlines() if line.startswith("│")]
    end = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    text = " ".join(lines[:end]).rstrip(".")
    if "Perhaps you meant:" in lines:
        flag = lines[lines.index("Perhaps you meant:") + 1].split()[0].rstrip(",")
        text += f": did you mean {flag}?"
    return f"{text or ' '.join(box.split())} (rtpd {name} --help lists what is allowed)"
