"""Admit a student to the zoo: `python scripts/zoo_add.py runs/pong-1 net0.1`.

It plays 100 episodes that nobody has chosen anything by; the teacher's score is that of the run's
own last evaluation, or of its evaluation.json. Only students that play are admitted: level with
people, or above half of their teacher, from random play.
"""

import argparse
import json
import shutil
from pathlib import Path

from rtpd.agents.evaluate import evaluate
from rtpd.agents.zoo import FOLDER
from rtpd.config.loading import from_dict
from rtpd.envs import short
from rtpd.storage.files import read_json, write_json
from rtpd.storage.migration import migrated
from rtpd.storage.run_folder import Run
from rtpd.system.compile_cache import keep_compiled

EPISODES, EPSILON, SEED = 100, 0.05, 1000


def teacher_of(folder: Path) -> dict:
    file = folder / "evaluation.json"
    if file.is_file():
        return read_json(file)["agents"]["teacher"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [line for line in lines if line["kind"] == "eval"][-1]["agents"]["teacher"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("agent")
    parser.add_argument("--suite", help="the suite file of the run, if there is one")
    parser.add_argument("--commit", help="of rtpd, where the run does not say")
    args = parser.parse_args()
    keep_compiled()
    found = evaluate(args.run, agents=(args.agent,), episodes=EPISODES, epsilon=EPSILON, seed=SEED)
    row, manifest = found["agents"][args.agent], Run.open(args.run).manifest
    teacher = teacher_of(args.run)
    first = row["human_normalised"] or 0
    share = first / teacher["human_normalised"] if teacher["human_normalised"] > 0 else 0
    if first < 1 and share <= 0.5:
        raise SystemExit(f"not admitted: {row['mean']:.1f}, teacher {teacher['mean']:.1f}")
    about = manifest["agents"]
    game = short(found["env"])
    target = FOLDER / game
    target.mkdir(exist_ok=True)
    weights = args.run / "agents" / f"{args.agent}.safetensors"
    for suffix in (".safetensors", ".json"):
        shutil.copy(weights.parent / f"{args.agent}{suffix}", target)
    write_json(
        target / f"{args.agent}.card.json",
        {
            "game": found["env"],
            "agent": args.agent,
            "net": about[args.agent]["net"],
            "parameters": row["parameters"],
            "bytes": weights.stat().st_size,
            **{key: row[key] for key in ("mean", "standard_error", "human_normalised")},
            "episodes": EPISODES,
            "epsilon": EPSILON,
            "seed": SEED,
            "returns": row["returns"],
            "teacher": {
                "kind": from_dict(migrated(manifest["config"])).teacher.algorithm,
                "parameters": about["teacher"]["parameters"],
                **{key: teacher[key] for key in ("mean", "standard_error", "episodes")},
            },
            "training": {
                **{key: manifest[key] for key in ("preset", "seed", "step")},
                "commit": manifest["commit"] or args.commit,
                "suite": args.suite,
            },
        },
    )
    print(f"zoo:{game}/{args.agent}: {row['mean']:.1f} ± {row['standard_error']:.1f}")


if __name__ == "__main__":
    main()
