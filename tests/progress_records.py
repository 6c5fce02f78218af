"""What a run tells, as tests show it: its start, lines of metrics.jsonl, its end; and a screen."""

import io

from rich.cells import cell_len
from rich.console import Console

INFO = {
    "env": "ale/pong", "run": "runs/pong-0", "preset": "cpu", "device": "cpu (2 cores)",
    "steps": 400_000, "minutes": None, "seed": 0, "start_step": 0,
    "agents": {
        "teacher": {"net": "conv32-64-64x512", "parameters": 1_687_206, "share": 1.0},
        "net1.7": {"net": "tiny", "parameters": 29_214, "share": 0.01732, "loss": "kl"},
    },
    "notes": ["replay 150,000 transitions: 1.06 GB of 20.1 GB free"],
}  # fmt: skip
TRAIN = {
    "kind": "train", "step": 12_000, "frames": 48_000, "seconds": 61.2, "steps_per_second": 243.0,
    "epsilon": 0.76, "updates": 1000, "episodes": 14,
    "teacher": {"loss": 0.01, "q": 0.3, "return": -20.1},
    "students": {"net1.7": {"loss": 0.2, "advantage_kept": 0.61, "constant_advantage_kept": 0.37,
                            "dead": 0.1, "spread": 0.8}},
}  # fmt: skip
SCORES = {
    "teacher": {"mean": -12.0, "standard_error": 1.1, "median": -12.0, "episodes": 5},
    "net1.7": {"mean": 1234.56, "standard_error": 0.04, "median": -13.0, "episodes": 5},
}
EVAL = {"kind": "eval", "step": 12_000, "seconds": 70.0, "agents": SCORES}
SUMMARY = {
    "run": "runs/pong-0", "status": "interrupted", "step": 12_000, "frames": 48_000, "seconds": 750,
    "agents": {
        name: {**agent, **SCORES[name], "human_normalised": None, "percent_of_teacher": 98.2}
        for name, agent in INFO["agents"].items()
    },
    "next": ["rtpd train --resume runs/pong-0"],
}  # fmt: skip
EVALUATION = {
    "run": "runs/pong-0", "env": "ale/pong", "epsilon": 0.05, "episodes": 30,
    "agents": {
        name: {**row, "human_normalised": 1.12, "percent_interval": [96.6, 99.4]}
        for name, row in SUMMARY["agents"].items()
    },
}  # fmt: skip
LONG = ["teacher", "net1.7", "a-student-with-a-very-long-name-indeed", "幅の広い名前"]
OWN = {
    "net1.7": {},
    "net1.7-updates-4-temperature-0.1": {
        "short": "net1.7#2", "settings": ["updates=4", "temperature=0.1"],
    },
    "net1.7-optimizer-anneal-0.2-follow-ema": {
        "short": "net1.7#3", "settings": ["optimizer.anneal=0.2", "follow=ema"],
    },
}  # fmt: skip
NOTE = "net1.7#2: updates=4, temperature=0.1; its name: net1.7-updates-4-temperature-0.1"


def screen(terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal)


def text(console: Console) -> str:
    return console.file.getvalue()


def widest(shown: str) -> int:
    return max(cell_len(line) for line in shown.splitlines())
