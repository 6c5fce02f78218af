"""Commands that train: train, distill, suite, bench."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self, override

import tyro

from rtpd.cli import tables
from rtpd.cli.command import Command
from rtpd.cli.words import asks_help, before_flags, check_resume_flags, value_of
from rtpd.config.loading import load_config
from rtpd.config.settings import Config
from rtpd.storage.files import finite, write_json
from rtpd.training.monitor import monitor as choose_monitor


@dataclass(frozen=True)
class _OfSettings(Command):
    """A command that trains by settings, which begin with a preset."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """cpu, gpu, gym, double-dqn, ppo-cpu, ppo-gym, demo, or a paper's: nature, munchausen, c51,
    qr-dqn, rainbow, pqn, ppo. The default is the one for the device, gym outside Atari, double-dqn
    where --teacher needs a replay; for --teacher ppo ppo-cpu or ppo (GPU), ppo-gym outside Atari"""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file with any of the settings, over the preset"""

    @classmethod
    @override
    def defaults(cls, words: list[str]) -> Self:
        preset, settings = before_flags(words)
        return cls(settings, preset=None if asks_help(words) else preset)


@dataclass(frozen=True)
class TrainCommand(_OfSettings):
    """Train a teacher on an environment and distil it into small students, in the same update.

    Settings come from the defaults, then the preset, then the TOML file, then the flags.
    Ctrl-C saves; `--resume DIR` goes on.
    """

    brief: ClassVar[tuple[str, ...]] = (
        "--students", "--steps", "--minutes", "--seed", "--num-envs", "--teacher", "--preset",
        "--config", "--resume", "--out", "--track", "--quiet",
    )  # fmt: skip

    resume: Path | None = None
    """go on with this run from its last checkpoint; only --steps, --minutes and --on-divergence
    go with it"""
    out: Path | None = None
    """a new or empty folder for the run (default: runs/GAME-N)"""
    quiet: bool = False
    """print nothing but errors"""
    track: tuple[str, ...] = ()
    """tell these the metrics too: tensorboard, wandb, trackio. Each must be installed and writes
    into the run folder; wandb is offline unless WANDB_MODE says otherwise"""
    words: tyro.conf.Suppress[tuple[str, ...]] = ()
    """as they were typed, since a run that goes on keeps what was not said"""

    @classmethod
    @override
    def defaults(cls, words: list[str]) -> Self:
        return replace(super().defaults(words), words=tuple(words))

    @override
    def execute(self) -> int:
        monitor = choose_monitor(quiet=self.quiet)
        from rtpd.system.compile_cache import keep_compiled
        from rtpd.training.train import resume, train

        keep_compiled()
        if self.resume is not None:
            check_resume_flags(self.words)
            given = {
                name: getattr(self.config, name)
                for name in ("steps", "minutes", "on_divergence")
                if value_of(self.words, f"--{name.replace('_', '-')}") is not None
            }
            summary = resume(self.resume, **given, monitor=monitor, track=self.track)
        else:
            summary = train(
                self.config, out=self.out, preset=self.preset, monitor=monitor, track=self.track
            )
        return 0 if summary["status"] == "finished" else 130


@dataclass(frozen=True)
class DistillCommand(Command):
    """Distil a pretrained teacher into small students: the two-stage procedure.

    The teacher plays with epsilon 0.05 and learns no more; students learn from a replay of its play
    (Rusu et al. 2015). Ctrl-C saves; `rtpd train --resume DIR` goes on.
    """

    brief: ClassVar[tuple[str, ...]] = (
        "--students", "--steps", "--minutes", "--seed", "--num-envs", "--preset", "--config",
        "--teacher-output", "--teacher-scale", "--teacher-normalize", "--out", "--track", "--quiet",
    )  # fmt: skip

    teacher: tyro.conf.Positional[Path]
    """run folder, an agent's .safetensors file, or (name its game too) a .zip of Stable-Baselines3
    (DQN, QR-DQN, PPO, A2C), a .cleanrl_model (DQN, C51, PPO), or an .onnx of any program;
    `rtpd teachers --file FILE` tells what is in it"""
    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """what the settings come from (default: distill, after the paper)"""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file with any of the settings, over the preset"""
    teacher_output: str | None = None
    """what an ONNX file answers, where its output's name does not tell: q, logits, actions"""
    teacher_scale: float | None = None
    """what an ONNX file's float pixels are divided by: 255 if it sees 0 to 1, 1 if 0 to 255"""
    teacher_normalize: Path | None = None
    """of a teacher that was trained on normalised vectors: what VecNormalize.save has written, or a
    .npz or .json of mean and var"""
    out: Path | None = None
    """a new or empty folder for the run (default: runs/GAME-N)"""
    quiet: bool = False
    """print nothing but errors"""
    track: tuple[str, ...] = ()
    """tell these the metrics too: tensorboard, wandb, trackio. Each must be installed and writes
    into the run folder; wandb is offline unless WANDB_MODE says otherwise"""

    @classmethod
    @override
    def defaults(cls, words: list[str]) -> Self:
        file = value_of(words, "--config")
        preset = value_of(words, "--preset") or "distill"
        settings = load_config(preset, Path(file) if file else None)
        return cls(tyro.MISSING, replace(settings, env=""))

    @override
    def execute(self) -> int:
        monitor = choose_monitor(quiet=self.quiet)
        from rtpd.system.compile_cache import keep_compiled
        from rtpd.training.distill import distill

        keep_compiled()
        summary = distill(
            self.teacher,
            self.config,
            teacher_output=self.teacher_output,
            teacher_scale=self.teacher_scale,
            teacher_normalize=self.teacher_normalize,
            out=self.out,
            preset=self.preset or "distill",
            monitor=monitor,
            track=self.track,
        )
        return 0 if summary["status"] == "finished" else 130


@dataclass(frozen=True)
class SuiteCommand(Command):
    """Train every game with every seed and variant of a suite file, each run in its own process.

    Settings come from the defaults, then the preset, then the file's [settings], those of the game,
    those of the variant. All are checked before anything starts. Start it again, after Ctrl-C or a
    crash, and it keeps what is finished and goes on with the rest; a higher `steps` goes on with
    finished runs too. DIR/GAME/VARIANT/ holds each run as seed-N/, what it printed in seed-N.log.
    """

    brief: ClassVar[tuple[str, ...]] = (
        "--out", "--jobs", "--cores", "--ray", "--dry-run",
    )  # fmt: skip

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

    @override
    def execute(self) -> int:
        from rtpd.suite import print_result, run_suite

        result = run_suite(
            self.file,
            out=self.out,
            jobs=self.jobs,
            cores=self.cores,
            retries=self.retries,
            ray=self.ray,
            dry_run=self.dry_run,
            stream=sys.stderr if self.json else sys.stdout,
        )
        tables.print_result(result, print_result, as_json=self.json)
        return {"failed": 1, "interrupted": 130}.get(result["status"], 0)


@dataclass(frozen=True)
class BenchCommand(_OfSettings):
    """Measure how fast this machine trains: emulator, compiled update, whole loop.

    Without --students: no students, net1.7, the four sizes of the paper, and all six, in turns.
    Takes some minutes; close what else is running.
    """

    brief: ClassVar[tuple[str, ...]] = (
        "--students", "--teacher", "--num-envs", "--preset", "--config", "--rounds", "--seconds",
        "--json", "--out",
    )  # fmt: skip

    rounds: int = 5
    """turns of every loop"""
    seconds: float = 10.0
    """wall time of a turn"""
    json: bool = False
    """print JSON instead of a table"""
    out: Path | None = None
    """also write the JSON to this file"""

    @override
    def execute(self) -> int:
        from rtpd.system.compile_cache import keep_compiled
        from rtpd.training.bench import bench

        keep_compiled()
        result = bench(
            self.config,
            preset=self.preset,
            rounds=self.rounds,
            seconds=self.seconds,
            tell=tables.tell,
        )
        if self.out:
            write_json(self.out, finite(result))
        tables.print_result(result, tables.print_bench, as_json=self.json)
        return 0
