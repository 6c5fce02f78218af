"""A reader of strangers' files, fed with what reaches new branches of it: libFuzzer, by atheris.

    pip install atheris
    nice -n 5 python scripts/fuzz_guided.py pickle --minutes 5 --keep broken/

`scripts/fuzz.py` damages whole files at random; this one watches which code an input reaches and
goes on from those that reach more. A reader must give something or raise RtpdError with a one-line
message. Whatever else happens ends it, the input is kept, for tests/test_hostile.py.
"""

import argparse
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
with atheris.instrument_imports(include=["rtpd", "tomllib"]):
    import test_hostile as valid

    from rtpd.agents import store
    from rtpd.agents.formats import onnx_file
    from rtpd.agents.formats.torch_file import state_dict
    from rtpd.config.loading import load_config
    from rtpd.errors import RtpdError
    from rtpd.suite.suite_file import read as read_suite

Readers = dict[str, tuple[bytes, Callable[[bytes], object]]]


def readers(folder: Path) -> Readers:
    """By name: a valid file, and what reads the bytes of one."""
    toml, run, agent = folder / "x.toml", folder / "run", folder / "agent.safetensors"
    zoo = ROOT / "src" / "rtpd" / "zoo" / "pong" / "net0.1.safetensors"
    manifest = json.dumps(valid.MANIFEST).encode()
    lines = b"\n".join(json.dumps(line).encode() for line in valid.LINES) + b"\n"
    torch = (ROOT / "tests" / "data" / "torch-tensors.pth").read_bytes()

    def in_toml(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        return lambda data: (toml.write_bytes(data), read(toml))

    def read_run(data: bytes, metrics: bool) -> None:
        valid.run_folder(run, *((manifest, data) if metrics else (data, lines)))
        valid.read_all(run)

    def read_about(data: bytes) -> None:
        try:
            about = json.loads(data)
            valid.signed(agent, about, zoo.read_bytes())
        except (ValueError, AttributeError, RecursionError):  # cannot be signed
            agent.write_bytes(zoo.read_bytes())
            agent.with_suffix(".json").write_bytes(data)
        store.load(agent)

    def read_onnx(data: bytes) -> None:
        (folder / "x.onnx").write_bytes(data)
        onnx_file.load(folder / "x.onnx")

    found: Readers = {
        "settings": (
            b"steps = 100\n[teacher]\ngamma = 0.9\n",
            in_toml(lambda p: load_config(None, p)),
        ),
        "suite": (valid.SUITE, in_toml(read_suite)),
        "manifest": (manifest, lambda data: read_run(data, metrics=False)),
        "metrics": (lines, lambda data: read_run(data, metrics=True)),
        "agent": (zoo.with_suffix(".json").read_bytes(), read_about),
        "torch": (torch, lambda data: state_dict(data, "x.pth")),
        "pickle": (_pickle(torch), lambda data: state_dict(_with_pickle(torch, data), "x.pth")),
    }
    try:
        from rtpd.export.onnx import OnnxTarget
    except ImportError:
        return found
    OnnxTarget().write(store.load(zoo), folder / "valid.onnx", None)
    return found | {"onnx": ((folder / "valid.onnx").read_bytes(), read_onnx)}


def _pickle(torch: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(torch)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        return archive.read(name)


def _with_pickle(torch: bytes, pickle: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch)) as archive, zipfile.ZipFile(made, "w") as other:
        for name in archive.namelist():
            other.writestr(name, pickle if name.endswith("/data.pkl") else archive.read(name))
    return made.getvalue()


def main() -> None:
    """Fuzz one reader; libFuzzer ends the process, with 0 if nothing broke."""
    with tempfile.TemporaryDirectory(prefix="rtpd-fuzz-") as name:
        found = readers(Path(name))
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("reader", choices=found)
        parser.add_argument("--minutes", type=float, default=1.0)
        parser.add_argument("--keep", type=Path, default=Path("broken"), help="for what broke")
        given = parser.parse_args()
        seed, read = found[given.reader]
        corpus = Path(name) / "corpus"
        corpus.mkdir()
        (corpus / "valid").write_bytes(seed)
        given.keep.mkdir(parents=True, exist_ok=True)

        def test(data: bytes) -> None:
            try:
                read(data)
            except RtpdError as error:
                assert "\n" not in str(error), "two lines"

        how = [
            f"-max_total_time={round(60 * given.minutes)}", f"-max_len={2 * len(seed) + 4096}",
            f"-artifact_prefix={given.keep}/{given.reader}-", "-rss_limit_mb=4096", "-timeout=20",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *how, str(corpus)], test)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
