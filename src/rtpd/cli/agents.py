"""Commands that let agents play: evaluate, export, play, watch."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import override

import tyro

from rtpd.cli import tables
from rtpd.cli.command import Command
from rtpd.system.formatting import terminal


@dataclass(frozen=True)
class EvaluateCommand(Command):
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

    @override
    def execute(self) -> int:
        from rtpd.agents.evaluate import evaluate
        from rtpd.system.compile_cache import keep_compiled

        keep_compiled()
        result = evaluate(
            self.run,
            agents=self.agents,
            episodes=self.episodes,
            epsilon=self.epsilon,
            seed=self.seed,
        )
        tables.print_result(result, tables.print_evaluation, as_json=self.json)
        return 0


@dataclass(frozen=True)
class ExportCommand(Command):
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

    @override
    def execute(self) -> int:
        from rtpd.export import export
        from rtpd.system.compile_cache import keep_compiled

        keep_compiled()
        result = export(
            self.source,
            self.agent,
            to=self.to,
            int8=self.int8,
            out=self.out,
            episodes=self.episodes,
            epsilon=self.epsilon,
            seed=self.seed,
            tell=tables.tell,
        )
        tables.print_result(result, tables.print_export, as_json=self.json)
        return 0


@dataclass(frozen=True)
class PlayCommand(Command):
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

    @override
    def execute(self) -> int:
        from rtpd.agents.play import play
        from rtpd.agents.play.live import Terminal
        from rtpd.system.compile_cache import keep_compiled

        keep_compiled()
        screen = terminal(sys.stdout)
        live = self.live and self.out is None and not self.json and screen.is_terminal
        result = play(
            self.source,
            self.agent,
            versus=self.versus,
            versus_agent=self.versus_agent,
            episodes=self.episodes,
            steps=self.steps,
            epsilon=self.epsilon,
            seed=self.seed,
            out=self.out,
            fps=self.fps,
            view=(lambda cast: Terminal(screen, cast, self.fps)) if live else None,
            tell=tables.tell,
        )
        tables.print_result(result, tables.print_play, as_json=self.json)
        return 0 if result["status"] == "finished" else 130


@dataclass(frozen=True)
class WatchCommand(Command):
    """Show runs in the browser, while they train or afterwards, until Ctrl-C.

    Learning curves, the advantage that students keep, the table of agents, and the agents at play
    side by side. Several runs share their charts and the table. The page is for this machine
    alone; the run folders are only read.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """run folder, or up to 4 to compare"""
    port: int = 0
    """where the page is served; 0: 8686, or a free one if that is taken"""
    open: bool = False
    """also open the page in this machine's browser"""

    @override
    def execute(self) -> int:
        os.environ["JAX_PLATFORMS"] = "cpu"  # the GPU, if any, and the cores are the training's
        os.nice(10)
        from rtpd.system.compile_cache import keep_compiled
        from rtpd.watch import watch

        keep_compiled()
        watch(
            self.runs,
            port=self.port,
            browse=self.open,
            tell=_address,
        )
        return 0


def _address(url: str) -> None:
    print(f"{url} (Ctrl-C ends)", flush=True)
