"""What can be typed: to add a command, write a `Command` and give it an entry here.

Nothing is imported before it is asked for, so that `rtpd --help` need not wait.
"""

from pkgutil import resolve_name
from typing import NamedTuple

from rtpd.cli.command import Command


class Entry(NamedTuple):
    """A command: how it is typed, what it does, where its class is, what its help ends with."""

    usage: str
    summary: str
    where: str  # "module:Class"
    examples: str

    @property
    def kind(self) -> type[Command]:
        """The class of the command."""
        return resolve_name(self.where)


COMMANDS = {
    "train": Entry(
        "train GAME",
        "train a teacher and distil it into tiny students, at once",
        "rtpd.cli.training:TrainCommand",
        """examples:
  rtpd train pong --minutes 30
  rtpd train ms_pacman --students net25:kl net1.7:kl net1.7:mse --seed 1
  rtpd train gym/CartPole-v1 --students mlp16:kl --steps 50000
  rtpd train --resume runs/pong-1 --steps 1000000""",
    ),
    "distill": Entry(
        "distill TEACHER",
        "distil a pretrained teacher (two stages)",
        "rtpd.cli.training:DistillCommand",
        """examples:
  rtpd distill runs/pong-1 --students net1.7:kl net0.5:kl
  rtpd distill runs/pong-1 --students net4:mse --steps 400000 --out runs/smaller
  rtpd distill dqn_pong.zip pong --students net1.7:kl
  rtpd distill model.onnx pong --teacher-output logits --teacher-scale 255""",
    ),
    "evaluate": Entry(
        "evaluate RUN",
        "let the agents of a run play whole episodes",
        "rtpd.cli.agents:EvaluateCommand",
        """examples:
  rtpd evaluate runs/pong-1
  rtpd evaluate runs/pong-1 --agents teacher net1.7 --episodes 100 --json""",
    ),
    "export": Entry(
        "export SOURCE",
        "write an agent as ONNX or C, checked against the original",
        "rtpd.cli.agents:ExportCommand",
        """examples:
  rtpd export runs/pong-1 --agent net1.7 --to onnx
  rtpd export runs/pong-1 --agent net1.7 --to onnx --int8 --out pong.onnx
  rtpd export runs/pong-1/agents/net1.7.safetensors --to c
  rtpd export runs/pong-1 --agent net1.7 --to hub --out pong-net1.7""",
    ),
    "play": Entry(
        "play SOURCE",
        "watch an agent play, live or as a film",
        "rtpd.cli.agents:PlayCommand",
        """examples:
  rtpd play zoo:pong/net1.7
  rtpd play runs/pong-1 --agent net1.7 --versus teacher
  rtpd play zoo:pong/net1.7 --versus zoo:pong/net0.5 --steps 400 --out pong.webp""",
    ),
    "watch": Entry(
        "watch RUN...",
        "runs in the browser: curves, and agents at play",
        "rtpd.cli.agents:WatchCommand",
        """examples:
  rtpd watch runs/pong-1
  rtpd watch runs/pong-1 runs/pong-2   # compared in the same charts
  rtpd watch runs/pong-1 --port 9000 --open
  ssh -L 8686:127.0.0.1:8686 HOST      # then the address that was printed there""",
    ),
    "zoo": Entry(
        "zoo",
        "list the students that come with rtpd",
        "rtpd.cli.listings:ZooCommand",
        """examples:
  rtpd zoo
  rtpd evaluate zoo:pong/net1.7 --episodes 10""",
    ),
    "ls": Entry(
        "ls",
        "list the runs, their state and scores",
        "rtpd.cli.listings:LsCommand",
        """examples:
  rtpd ls
  rtpd ls suites/small --json""",
    ),
    "suite": Entry(
        "suite FILE",
        "train games x seeds x settings, as runs that can be resumed",
        "rtpd.cli.training:SuiteCommand",
        """a suite file, in which only `games` must be there:
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
  [variants.two-stage]           # `rtpd distill` of another variant's teachers
  distill = "real-time"

examples:
  rtpd suite pong-sizes.toml --dry-run
  rtpd suite pong-sizes.toml --jobs 2
  rtpd suite pong-sizes.toml --ray auto --cores 8""",
    ),
    "report": Entry(
        "report RUN...",
        "a page of what runs have shown, with figures",
        "rtpd.cli.listings:ReportCommand",
        """examples:
  rtpd report runs/pong-1
  rtpd report runs/pong-1 suites/small --out pages/pong.html --no-clip""",
    ),
    "games": Entry(
        "games",
        "list the games",
        "rtpd.cli.listings:GamesCommand",
        """examples:
  rtpd games --json""",
    ),
    "teachers": Entry(
        "teachers",
        "list the teachers, or tell what a file has in it",
        "rtpd.cli.listings:TeachersCommand",
        """examples:
  rtpd teachers
  rtpd teachers --file ppo.zip     # what is in it, and how it can be distilled
  rtpd teachers --measure""",
    ),
    "bench": Entry(
        "bench",
        "how fast this machine trains",
        "rtpd.cli.training:BenchCommand",
        """examples:
  rtpd bench
  rtpd bench breakout --students net1.7:kl --rounds 9 --out bench.json
  rtpd bench pong --teacher dqn --replay.steps-per-update 4""",
    ),
    "completion": Entry(
        "completion bash",
        "completion for the shell",
        "rtpd.cli.listings:CompletionCommand",
        """examples:
  source <(rtpd completion bash)
  rtpd completion bash > ~/.local/share/bash-completion/completions/rtpd""",
    ),
}

_EXAMPLES = """examples:
  rtpd train pong --minutes 30
  rtpd train breakout --students net4:kl net1.7:kl net0.5:mse --steps 1000000
  rtpd train --resume runs/pong-1
  rtpd evaluate runs/pong-1 --agents teacher net1.7 --episodes 30
  rtpd play zoo:pong/net1.7"""


def usage() -> str:
    """What `rtpd --help` prints."""
    listed = "\n".join(f"  rtpd {entry.usage:<16} {entry.summary}" for entry in COMMANDS.values())
    head = "usage: rtpd COMMAND [OPTIONS]      real-time policy distillation"
    return f"{head}\n\n{listed}\n\n  rtpd COMMAND --help   explains a command\n\n{_EXAMPLES}"
