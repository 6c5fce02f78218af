"""rtpd on environments that nobody here wrote: each is trained, evaluated, exported and resumed.

    python scripts/environments.py --out results/measurements/environments.json
    python scripts/environments.py --only CartPole-v1 Blackjack-v1

The commands are those that a user types, with few steps: whether they work is asked, not how well
agents play. Environments whose package is not installed (`pip install minatar minigrid
gymnasium[box2d]`) are skipped, and named as such. Ends with exit code 1 if one has failed.
"""

import argparse
import contextlib
import importlib
import io
import json
import platform
import sys
import tempfile
import time
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium

from rtpd.cli.main import main as rtpd
from rtpd.storage.files import write_json
from rtpd.storage.provenance import provenance

GYMNASIUM = (
    "CartPole-v1", "MountainCar-v0", "Acrobot-v1", "LunarLander-v3", "Blackjack-v1",
    "FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1", "Taxi-v4",
    "phys2d/CartPole-v1", "tabular/Blackjack-v0",
)  # fmt: skip
MINATAR = tuple(
    f"MinAtar/{game}-v1" for game in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
)
# Their observations hold a text, the mission, which no net of rtpd reads: the image alone is taken.
MINIGRID = (
    "MiniGrid-Empty-5x5-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-FourRooms-v0",
    "MiniGrid-LavaGapS5-v0",
)
WRAPPERS = "minigrid.wrappers"
LIMIT = 500  # steps of an episode, where the environment has no limit
PACKAGES = ("rtpd", "gymnasium", "minatar", "minigrid", "box2d")
STEPS, MORE_STEPS = 2_000, 2_400
SMALL = (
    "--num-envs", "4", "--replay.warmup-steps", "1000", "--replay.capacity", "5000",
    "--log-steps", "500", "--evaluation.period-steps", "0", "--evaluation.final-episodes", "3",
    "--quiet",
)  # fmt: skip


def register() -> dict[str, str]:
    """Register what the packages have; why an environment's package is not there, by its id."""
    missing = {}
    for package, ids in (("minatar.gym", MINATAR), (WRAPPERS, MINIGRID)):
        try:
            module = importlib.import_module(package)
        except ImportError as error:
            missing |= dict.fromkeys(ids, f"not installed: {error}")
            continue
        if ids[0] not in gymnasium.registry:
            module.register_envs()
    return missing


def played_as(env_id: str) -> str:
    """The id that is played: without the mission of Minigrid, and never without a time limit.

    An episode without one may last for ever (CliffWalking with a policy that stands still).
    """
    limit = gymnasium.spec(env_id).max_episode_steps
    if limit is not None and env_id not in MINIGRID:
        return env_id
    made = f"Tried-{env_id.replace('/', '-')}"
    gymnasium.register(made, partial(_changed, env_id), max_episode_steps=limit or LIMIT)
    return made


def _changed(env_id: str, **kwargs: Any) -> gymnasium.Env:
    env = gymnasium.make(env_id, **kwargs)
    return importlib.import_module(WRAPPERS).ImgObsWrapper(env) if env_id in MINIGRID else env


def command(*words: str | Path) -> str:
    """What a command of rtpd prints; RuntimeError with its one line if it fails."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = rtpd([str(word) for word in words])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        lines = said.getvalue().strip().splitlines() or ["(not a word)"]
        raise RuntimeError(f"rtpd {words[0]} ended with {code}: {lines[-1]}")
    return out.getvalue()


def tried(played: str, folder: Path) -> dict[str, Any]:
    """What came of an environment: scores, exports, the step that a resumed run has reached."""
    run = folder / "run"
    command("train", f"gym/{played}", "--steps", str(STEPS), "--out", run, *SMALL)
    manifest = json.loads((run / "manifest.json").read_text())
    student = next(name for name in manifest["agents"] if name != "teacher")
    found = json.loads(command("evaluate", run, "--episodes", "3", "--json"))
    exports = {}
    for target, suffix in (("onnx", "onnx"), ("c", "h")):
        words = ("--agent", student, "--to", target, "--episodes", "2", "--json")
        path = folder / f"student.{suffix}"
        told = json.loads(command("export", run, *words, "--out", path))
        exports[target] = {key: told[key] for key in ("format", "bytes", "agreement_or_tied")}
    command("train", "--resume", run, "--steps", str(MORE_STEPS), "--quiet")
    manifest = json.loads((run / "manifest.json").read_text())
    return {
        "preset": manifest["preset"],
        "random_score": next(iter(manifest["random_scores"].values()), None),
        "agents": {
            name: {key: row[key] for key in ("parameters", "mean", "percent_of_teacher")}
            for name, row in found["agents"].items()
        },
        "exports": exports,
        "resumed_to": manifest["step"],
        "status": manifest["status"],
    }


def main() -> int:
    """Try all of them and write what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", help="ids (default: all)")
    parser.add_argument("--out", type=Path, help="JSON of what came of each")
    args = parser.parse_args()
    missing, rows, told = register(), [], about()
    for env_id in args.only or (*GYMNASIUM, *MINATAR, *MINIGRID):
        start, row = time.monotonic(), {"env": env_id}
        try:
            if env_id not in missing:
                row["played_as"] = played_as(env_id)
                gymnasium.make(row["played_as"]).close()
        except Exception as error:  # a package for its physics that is not installed
            missing[env_id] = f"cannot be made: {' '.join(str(error).split())[:200]}"
        if env_id in missing:
            row |= {"result": "skipped", "why": missing[env_id]}
        else:
            try:
                with tempfile.TemporaryDirectory(prefix="rtpd-environments-") as folder:
                    row |= {"result": "passed", **tried(row["played_as"], Path(folder))}
            except Exception as error:
                row |= {"result": "failed", "why": str(error)}
        row["seconds"] = round(time.monotonic() - start, 1)
        rows.append(row)
        if args.out:
            write_json(args.out, {**told, "environments": rows})
        print(f"{env_id}: {row['result']} {row.get('why', '')} ({row['seconds']} s)", flush=True)
    return int(any(row["result"] == "failed" for row in rows))


def about() -> dict[str, Any]:
    """Where it was tried."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    kept = provenance("cpu")
    return {
        "command": "python scripts/environments.py --out results/measurements/environments.json",
        "commit": kept["commit"],
        "started": kept["started"],
        "machine": kept["machine"],
        "python": platform.python_version(),
        "versions": versions,
        "steps": [STEPS, MORE_STEPS],
    }


if __name__ == "__main__":
    sys.exit(main())
