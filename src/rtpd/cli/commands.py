"""What can be typed: each command as a dataclass, from which tyro makes flags and help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rtpd.config.settings import Config

USAGE = """usage: rtpd COMMAND [OPTIONS]      real-time policy distillation

  rtpd train GAME      train a teacher and distil it into tiny students, at once
  rtpd distill TEACHER distil a teacher that has learnt before (two stages)
  rtpd evaluate DIR    let the agents of a run play whole episodes
  rtpd export DIR      write an agent as ONNX or C, checked against the original
  rtpd play SOURCE     watch an agent play, live or as a film
  rtpd watch DIR       a run in the browser: curves, and its agents at play
  rtpd zoo             list the students that come with rtpd
  rtpd ls              list the runs, their state and scores
  rtpd suite FILE      train games x seeds x settings, each a run that can be gone on with
  rtpd report DIR...   a page of what runs have shown, with figures
  rtpd games           list the games
  rtpd teachers        list the teachers
  rtpd bench           how fast this machine trains
  rtpd completion bash completion for the shell

  rtpd COMMAND --help  explains a command

examples:
  rtpd train pong --minutes 30
  rtpd train breakout --students net4:kl net1.7:kl net0.5:mse --steps 1000000
  rtpd train --resume runs/pong-1
  rtpd evaluate runs/pong-1 --agents teacher net1.7 --episodes 30
  rtpd play zoo:pong/net1.7"""

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
    "export": """examples:
  rtpd export runs/pong-1 --agent net1.7 --to onnx
  rtpd export runs/pong-1 --agent net1.7 --to onnx --int8 --out pong.onnx
  rtpd export runs/pong-1/agents/net1.7.safetensors --to c
  rtpd export runs/pong-1 --agent net1.7 --to hub --out pong-net1.7""",
    "play": """examples:
  rtpd play zoo:pong/net1.7
  rtpd play runs/pong-1 --agent net1.7 --versus teacher
  rtpd play zoo:pong/net1.7 --versus zoo:pong/net0.5 --steps 400 --out pong.webp""",
    "ls": """examples:
  rtpd ls
  rtpd ls suites/small --json""",
    "completion": """examples:
  source <(rtpd completion bash)
  rtpd completion bash > ~/.local/share/bash-completion/completions/rtpd""",
    "watch": """examples:
  rtpd watch runs/pong-1
  rtpd watch runs/pong-1 --port 9000 --open
  ssh -L 8686:127.0.0.1:8686 HOST      # then the address that was printed there""",
    "zoo": """examples:
  rtpd zoo
  rtpd evaluate zoo:pong/net1.7 --episodes 10""",
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
  [variants.two-stage]           # `rtpd distill` of what another variant has trained
  distill = "real-time"

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
    """go on with this run from its last checkpoint; only --steps, --minutes and --on-divergence
    go with it"""
    out: Path | None = None
    """a new or empty folder for the run (default: runs/GAME-N)"""
    quiet: bool = False
    """print nothing but errors"""
    track: tuple[str, ...] = ()
    """tell these the metrics too: tensorboard, wandb (offline, unless WANDB_MODE says otherwise),
    trackio; each writes into the run folder and must be installed"""


@dataclass(frozen=True)
class DistillCommand:
    """Distil a teacher that has learnt before into small students: the two-stage procedure.

    The teacher plays with epsilon 0.05 and learns no more; students learn from a replay of its play
    (Rusu et al. 2015). Ctrl-C saves; `rtpd train --resume DIR` goes on.
    """

    teacher: tyro.conf.Positional[Path]
    """run folder, an agent's .safetensors file, or (name its game too) the .zip of a
    Stable-Baselines3 DQN, PPO or A2C or an sb3-contrib QR-DQN, or the .cleanrl_model of a CleanRL
    DQN or PPO; statistics of VecNormalize are not in such files"""
    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: str | None = None
    """what the settings come from (default: distill, after the paper)"""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """TOML file with any of the settings below, over the preset"""
    out: Path | None = None
    """a new or empty folder for the run (default: runs/GAME-N)"""
    quiet: bool = False
    """print nothing but errors"""
    track: tuple[str, ...] = ()
    """tell these the metrics too: tensorboard, wandb (offline, unless WANDB_MODE says otherwise),
    trackio; each writes into the run folder and must be installed"""


@dataclass(frozen=True)
class EvaluateCommand:
    """Let the agents of a run play whole episodes, side by side, with unclipped returns.

    % of teacher is measured from random play where the game's random score is known.
    """

    run: tyro.conf.Positional[Path]
    """run folder, or an .onnx file that `rtpd export` has written"""
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
class ExportCommand:
    """Write an agent as an ONNX file (needs the `export` extra), a C header, or a folder to upload.

    It is checked against the original on 2,048 frames of its own play and over whole episodes
    before it gets its name: in float32 every greedy action must be the same.
    """

    source: tyro.conf.Positional[Path]
    """run folder, an agent's .safetensors file, or zoo:GAME/NAME"""
    agent: str | None = None
    """which agent of the run"""
    to: str = "onnx"
    """onnx; c: one C99 header in integers alone; hub: a folder for the Hugging Face Hub, with a
    model card"""
    int8: bool = False
    """int8 weights and uint8 activations (always with --to c), for students of
    convolutions and dense layers"""
    out: Path | None = None
    """the file or folder (default: GAME-AGENT.onnx, GAME-AGENT-int8.onnx, GAME-AGENT.h or
    GAME-AGENT in this folder)"""
    episodes: int = 10
    """whole episodes that both forms play"""
    epsilon: float = 0.05
    """share of random actions in them, 0 to 1"""
    seed: int = 1
    """of the envs and of the random actions"""
    json: bool = False
    """print JSON instead of a table"""


@dataclass(frozen=True)
class PlayCommand:
    """Watch an agent play whole episodes: live in a terminal, or as a film.

    Beside the screen stand its Q-values, a bar for each action: the longest is the greedy one, `<`
    marks what was done. With --versus another agent says of every step what it would have done.
    """

    source: tyro.conf.Positional[Path]
    """run folder, an agent's .safetensors or .onnx file, zoo:GAME/NAME, or a folder for the Hub"""
    agent: str | None = None
    """which agent of the run"""
    versus: Path | None = None
    """another agent of the same run, or the source of one of the same game: it is asked what it
    would do, and does not play"""
    versus_agent: str | None = None
    """which agent, if --versus is another run"""
    episodes: int = 1
    """whole episodes"""
    steps: int | None = None
    """end after so many agent steps (15 are a second of Atari), whole episodes or not"""
    epsilon: float = 0.05
    """share of random actions, 0 to 1"""
    seed: int = 1
    """of the env and of the random actions"""
    out: Path | None = None
    """a film: .webp, .gif, or .mp4 (needs the `video` extra)"""
    fps: float = 15.0
    """agent steps shown a second, 1 to 240"""
    live: bool = True
    """show the game in the terminal, where there is one and no film is asked for"""
    json: bool = False
    """print JSON instead of a table"""


@dataclass(frozen=True)
class LsCommand:
    """List the runs in a folder, the newest first: how far each is, and its last evaluation.

    A run that was killed can be gone on with: `rtpd train --resume RUN`.
    """

    folder: tyro.conf.Positional[Path] = Path("runs")
    """runs are looked for at any depth"""
    json: bool = False
    """print JSON instead of a table"""


@dataclass(frozen=True)
class CompletionCommand:
    """Print what a shell must read to complete commands, flags, games and presets."""

    shell: tyro.conf.Positional[str]
    """bash"""


@dataclass(frozen=True)
class WatchCommand:
    """Show a run in the browser, while it trains or afterwards, until Ctrl-C.

    Learning curves, the advantage that students keep, the table of agents, and the agents at play
    side by side with their Q-values. The page is for this machine alone; the run folder is only
    read.
    """

    run: tyro.conf.Positional[Path]
    """run folder"""
    port: int = 0
    """where the page is served; 0: 8686, or a free one if that is taken"""
    open: bool = False
    """also open the page in this machine's browser"""


@dataclass(frozen=True)
class ZooCommand:
    """List the students that come with rtpd, with their scores and their teachers'.

    `zoo:GAME/NAME` is one of them wherever rtpd asks for an agent: play, evaluate, export, distill.
    """

    json: bool = False
    """print the cards as JSON instead of a table"""


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
    """run folders, or folders that hold some at any depth (default: runs)"""
    out: Path = Path("report.html")
    """the page, NAME.html; report.md and report-figures/ are written beside it"""
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
