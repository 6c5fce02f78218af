"""Readers of strangers' files, fed with damaged ones for as long as you like.

    nice -n 5 python scripts/fuzz.py --minutes 15 --seed 0 --keep broken/

Each input is a valid file with bytes flipped, cut, doubled or spliced, or with a value replaced by
another type; digests are made to fit, as whoever writes a file can; names lead to pipes and links;
checkpoints are another run's. A reader must give something that keeps the bounds, or raise
RtpdError with one short printable line, and be done in seconds. Whatever else happens is kept,
under the name of its exception, for tests/test_hostile.py.
"""

import argparse
import copy
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

MOST_SECONDS = 40  # for one input, on a machine that has other work too
PLACES = (
    ".lock", "manifest.json", "metrics.jsonl", "agents", "agents/teacher.safetensors",
    "agents/teacher.json", "checkpoints", "checkpoints/0000000100", "checkpoints/.0000000200.tmp",
    "checkpoints/0000000100/sha256.json", "checkpoints/0000000100/meta.json",
    ".manifest.json.a.tmp",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, 0.5, -1e308, 1e308, "", "../../x", "/etc/passwd",
    "a\x1b[31m[red]", "\u202e", "\ud800", "x" * 5000, "\0", [], {}, [[]], [1, 2, 3], [2**40] * 3,
    {"a": 1}, {"": {}}, "mlp0", "conv1-1-1x1", "teacher", ["a", "a"], "a\nb", "a\r\n\tb", "\u2028",
    "\x9b", 2**31 - 2, 2**62, 10**20, 1e-320, "9" * 5000, "mlp" + "9" * 5000, "a+a", ["mlp8"] * 999,
)  # fmt: skip


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one to four pieces flipped, cut, doubled, spliced or replaced."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        i, j = sorted(int(k) for k in rng.integers(0, len(changed) + 1, 2))
        match int(rng.integers(6)):
            case 0 if i < len(changed):
                changed[i] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[i:]
            case 2:
                changed[i:i] = changed[i:j]
            case 3:
                del changed[i:j]
            case 4:
                changed[i:i] = rng.bytes(int(rng.integers(1, 9)))
            case _:
                changed[i : i + 8] = [b"\xff" * 8, b"\0" * 8, b"9" * 8, b"[{\"',=]}"][
                    int(rng.integers(4))
                ]
    return bytes(changed)


def mutated_value(value: Any, rng: np.random.Generator) -> Any:
    """The JSON with one value, at any depth, replaced, taken out, or under another name."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    parent, key = places[int(rng.integers(len(places)))]
    odd = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    match int(rng.integers(5)):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict) and isinstance(odd, str):
            parent[odd] = parent.pop(key)
        case _:
            parent[key] = odd
    return value


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def targets(folder: Path) -> dict[str, Any]:
    """By name: a function from a random generator to what it read, and the files that it wrote."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import test_hostile as valid

    from rtpd.agents import store
    from rtpd.agents.formats.torch_file import state_dict
    from rtpd.agents.formats.vec_normalize import read as read_statistics
    from rtpd.agents.sources import options_of
    from rtpd.config.loading import flat, from_dict, load_config, to_dict
    from rtpd.networks import architectures
    from rtpd.networks.policy import Policy
    from rtpd.storage import checkpoint
    from rtpd.storage.archive import Archive
    from rtpd.storage.files import discard, sha256
    from rtpd.storage.run_folder import Run, is_running, locked
    from rtpd.suite.suite_file import read as read_suite
    from rtpd.training import identity
    from rtpd.training.validation import validate
    from rtpd.types import EnvSpec, Preprocess
    from rtpd.watch.state import State

    spec = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", 1, 1, ("left", "right"))
    facts = {"agent": "mlp8", "net": "mlp8", "dueling": False, "norm": False, "num_outputs": 2}
    net = architectures.build("mlp8", spec, 2, key=jr.key(0))
    agent = folder / "mlp8.safetensors"
    store.save(agent, Policy(net, Preprocess(jnp.zeros(4), jnp.ones(())), spec, facts))
    about, weights = json.loads(agent.with_suffix(".json").read_bytes()), agent.read_bytes()
    spawn = multiprocessing.get_context("spawn")  # onnxruntime is native: a crash must be survived
    data = Path(__file__).parents[1] / "tests" / "data"
    zips, models, pickles = (sorted(data.glob(f"*.{kind}")) for kind in ("zip", "onnx", "pkl"))

    def agents(rng: np.random.Generator) -> None:
        if rng.random() < 0.7:
            valid.signed(folder / "x.safetensors", mutated_value(about, rng), weights)
        else:
            valid.signed(folder / "x.safetensors", about, mutated(weights, rng))
        found = store.load(folder / "x.safetensors")
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)), "not finite"
        assert options_of(found).noop_max <= 1_000, "out of bounds"

    def runs(rng: np.random.Generator) -> None:
        manifest = valid.MANIFEST if rng.random() < 0.3 else mutated_value(valid.MANIFEST, rng)
        lines = [mutated_value(line, rng) if rng.random() < 0.4 else line for line in valid.LINES]
        texts = [json.dumps(manifest).encode(), *(json.dumps(line).encode() for line in lines)]
        texts = [mutated(text, rng) if rng.random() < 0.2 else text for text in texts]
        valid.run_folder(folder / "run", texts[0], b"\n".join([*texts[1:], b""]))
        valid.read_all(folder / "run")
        State(folder / "run").look()

    def places(rng: np.random.Generator) -> None:
        run, outside = folder / "placed", folder / "outside"
        discard(run), discard(outside)
        for path in (run, outside):  # a link leads to what would do
            valid.run_folder(path, json.dumps(valid.MANIFEST).encode(), b"")
            (path / "checkpoints" / "0000000100").mkdir(parents=True)
            (path / "checkpoints" / "0000000100" / "sha256.json").write_text("{}")
            (path / "agents").mkdir()
            (path / "agents" / "teacher.safetensors").write_text("mine")
        for name in rng.choice(PLACES, int(rng.integers(1, 4))):
            path = run / str(name)
            if not path.parent.is_dir() or path.parent.is_symlink():
                continue
            discard(path)
            targets = [outside / str(name), Path("/dev/zero"), path, outside]
            match int(rng.integers(4)):
                case 0:
                    os.mkfifo(path)
                case 1:
                    path.mkdir()
                case _:
                    path.symlink_to(targets[int(rng.integers(len(targets)))])
        before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
        try:
            is_running(run)
            with locked(run):
                opened = Run.open(run)
                opened.tidy()
                opened.append({"kind": "train", "step": 1, "seconds": 1.0})
                opened.sync()
                opened.note(step=1)
                checkpoint.save(opened.checkpoints / "0000000200", {"a": np.ones(3)}, {})
                opened.cut(lambda record: True)
        except FileExistsError:
            pass  # an OSError tells of a place that is taken
        finally:
            now = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}
            assert now == before, "it was written outside"
        valid.read_all(run)

    def strangers(rng: np.random.Generator) -> None:
        own = from_dict({"env": "probe/endless", "students": ["mlp8:kl"]})
        valid.run_folder(folder / "run", json.dumps(valid.MANIFEST | {"id": "a"}).encode(), b"")
        run = Run.open(folder / "run")
        whole = identity.stamp(run, own) | {"progress": {"step": 100, "learn_from": 5}}
        about, saved = mutated_value(whole, rng), folder / "checkpoints" / "0000000100"
        checkpoint.save(saved, {"a": np.arange(4)}, about)
        like = {"a": jax.ShapeDtypeStruct((4,), np.int64)}
        checkpoint.load(saved, like, lambda user: identity.check(saved, user, run, own))
        theirs = flat(to_dict(from_dict(about["settings"])))
        odd = {key for key, value in flat(to_dict(own)).items() if theirs[key] != value}
        assert about["run"] == "a" and about["progress"]["step"] == 100, "another run's"
        assert odd <= set(identity.MAY_CHANGE), odd

    def checkpoints(rng: np.random.Generator) -> None:
        checkpoint.SEGMENT_BYTES = 64
        saved = folder / "checkpoints" / "1"
        checkpoint.save(saved, {"a": np.arange(400, dtype=np.uint8).reshape(50, 8)}, {"step": 1})
        files = sorted(saved.iterdir())
        file = files[int(rng.integers(len(files)))]
        file.write_bytes(mutated(file.read_bytes(), rng))
        if file.name != "sha256.json":
            digests = {f.name: sha256(f.read_bytes()) for f in files if f.name != "sha256.json"}
            (saved / "sha256.json").write_text(json.dumps(digests))
        like = {"a": jax.ShapeDtypeStruct((50, 8), np.uint8)}
        checkpoint.load(saved, like)

    def in_its_own_process(load: Callable[[Path], object], data: bytes) -> None:
        """onnxruntime may end the process, which is then a find."""
        nonlocal runtime
        (folder / "x.onnx").write_bytes(data)
        try:
            runtime.submit(load, folder / "x.onnx").result()
        except BrokenProcessPool:
            runtime = ProcessPoolExecutor(1, spawn)
            raise

    def exports(rng: np.random.Generator) -> None:
        in_its_own_process(_load_onnx, mutated(whole, rng))

    def teachers(rng: np.random.Generator) -> None:
        data = models[int(rng.integers(len(models)))].read_bytes()
        in_its_own_process(_load_teacher, mutated(data, rng))

    def statistics(rng: np.random.Generator) -> None:
        (folder / "x.pkl").write_bytes(mutated(pickles[0].read_bytes(), rng))
        read_statistics(folder / "x.pkl")

    def suites(rng: np.random.Generator) -> None:
        (folder / "x.toml").write_bytes(mutated(valid.SUITE, rng))
        read_suite(folder / "x.toml")

    def settings(rng: np.random.Generator) -> None:
        if rng.random() < 0.5:
            (folder / "x.toml").write_bytes(mutated(b"steps = 100\n[teacher]\ngamma = 0.9\n", rng))
            found = load_config(None, folder / "x.toml")
        else:
            found = from_dict(mutated_value(to_dict(load_config("double-dqn")), rng))
        validate(found)
        numbers = [v for v in flat(to_dict(found)).values() if isinstance(v, int | float)]
        assert all(abs(number) < 2**31 for number in numbers), "out of bounds"

    def archives(rng: np.random.Generator) -> None:
        data = zips[int(rng.integers(len(zips)))].read_bytes()
        archive = Archive(data, "x.zip")
        data = archive.read("policy.pth") if "policy.pth" in archive.names else data
        (folder / "x.zip").write_bytes(mutated(data, rng))
        state_dict((folder / "x.zip").read_bytes(), "x.zip")

    found = {"agent": agents, "run": runs, "suite": suites, "toml": settings}
    found |= {"places": places, "strangers": strangers}
    found["checkpoint"] = checkpoints
    if find_spec("onnx") and find_spec("onnxruntime"):
        from rtpd.export.onnx import OnnxTarget

        OnnxTarget().write(store.load(agent), folder / "agent.onnx", None)
        whole = (folder / "agent.onnx").read_bytes()
        runtime, found["onnx"] = ProcessPoolExecutor(1, spawn), exports
        found |= {"teacher": teachers} if models else {}
    found |= {"statistics": statistics} if pickles else {}
    return found | ({"torch": archives} if zips else {})


def _late(*_: object) -> None:
    raise TimeoutError("it waits")


def _load_onnx(path: Path) -> None:
    from rtpd.agents.formats import onnx_file

    onnx_file.load(path)


def _load_teacher(path: Path) -> None:
    from rtpd.agents.formats import onnx_graph, onnx_teacher

    model = onnx_teacher.parsed(path)
    onnx_graph.session(path, model.data)


def main() -> int:
    """Feed every reader in turn; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--keep", type=Path, default=None, help="folder for what broke")
    given = parser.parse_args()
    from rtpd.errors import MOST_CHARACTERS, RtpdError

    signal.signal(signal.SIGALRM, _late)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="rtpd-fuzz-") as name:
        readers = targets(Path(name))
        end, number = time.monotonic() + 60 * given.minutes, 0
        while time.monotonic() < end:
            number += 1
            for target, read in readers.items():
                rng = np.random.default_rng((given.seed, number))
                signal.alarm(MOST_SECONDS)
                began = time.thread_time()
                try:
                    read(rng)
                    said = "loaded"
                except RtpdError as error:
                    plain = str(error).isprintable() and len(str(error)) <= MOST_CHARACTERS
                    said = "refused" if plain else "BROKE: no short line"
                except Exception as error:
                    said = f"BROKE: {type(error).__name__}"
                    if not counts[f"{target}: {said}"]:
                        print(f"{target} seed {given.seed} number {number}", file=sys.stderr)
                        traceback.print_exc(limit=-4)
                        _keep(given.keep, Path(name), f"{target}-{type(error).__name__}-{number}")
                signal.alarm(0)
                if time.thread_time() - began > MOST_SECONDS / 4:
                    said = "BROKE: slow"
                counts[f"{target}: {said}"] += 1
    print(f"seed {given.seed}, {number:,} inputs a reader")
    for line, count in sorted(counts.items()):
        print(f"  {line:<40} {count:>9,}")
    return int(any("BROKE" in line for line in counts))


def _keep(folder: Path | None, source: Path, name: str) -> None:
    if folder is None:
        return
    for file in source.rglob("*"):
        if file.is_file():
            path = folder / name / file.relative_to(source)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
