"""Files from strangers: each loads as something valid or is refused in one line, in little memory.

The mutations are those of scripts/fuzz.py, which runs them for longer; what broke once is a line in
the tables here.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtpd.agents import store
from rtpd.agents.formats import onnx_file, onnx_graph
from rtpd.agents.sources import options_of
from rtpd.cli.main import main
from rtpd.cli.run_table import print_runs
from rtpd.config.loading import from_dict, load_config, to_dict
from rtpd.config.settings import Config, EvaluationConfig, ReplayConfig, TeacherConfig
from rtpd.errors import CheckpointError, ConfigError, RequestError, RtpdError
from rtpd.networks import architectures
from rtpd.networks.policy import Policy
from rtpd.report.gather import read as read_run
from rtpd.storage import checkpoint
from rtpd.storage.files import (
    MOST_JSON_BYTES,
    appended,
    contents,
    inside,
    opened,
    parse_json,
    read_json,
    sha256,
)
from rtpd.storage.listing import runs
from rtpd.storage.run_folder import Run
from rtpd.suite.suite_file import read as read_suite
from rtpd.training.train import train
from rtpd.training.validation import validate
from rtpd.types import EnvSpec, Preprocess
from rtpd.watch.state import State

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from fuzz import mutated, mutated_value

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANIFEST = {
    "config": {"env": "probe/corridor", "steps": 100, "teacher": {"gamma": 0.9}},
    "agents": {"teacher": {"parameters": 10, "share": 1.0, "net": "mlp8", "loss": None}},
    "seed": 0,
    "status": "finished",
    "command": ["rtpd", "train"],
    "versions": {"jax": "0.11"},
}
LINES = [
    {"kind": "train", "step": 10, "seconds": 1.0, "students": {"mlp8": {"agreement": 0.5}}},
    {"kind": "eval", "step": 20, "seconds": 2, "agents": {"teacher": {"mean": 1, "episodes": 2}}},
]  # fmt: skip
SUITE = b'games = ["pong"]\nseeds = [0, 1]\n[settings]\nsteps = 100\n[variants.a]\nstudents = []\n'
DEEP = 200_000


def refused_or_valid(read, *args):
    """One line, or something; any other exception, and any memory above 64 MB, fails the test."""
    tracemalloc.start()
    try:
        read(*args)
    except RtpdError as error:
        assert "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**26


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    spec = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", 1, 1, ("left", "right"))
    facts = {"agent": "mlp8", "net": "mlp8", "dueling": False, "norm": False, "num_outputs": 2}
    net = architectures.build("mlp8", spec, 2, key=jr.key(0))
    path = tmp_path_factory.mktemp("agents") / "mlp8.safetensors"
    store.save(path, Policy(net, Preprocess(jnp.zeros(4), jnp.ones(())), spec, facts))
    return path


def signed(path, about, data=None):
    """Write a description with a digest that fits, as whoever writes the file can."""
    data = path.read_bytes() if data is None else data
    about = {key: value for key, value in about.items() if key != "sha256"}
    digest = sha256(data + json.dumps(about, sort_keys=True).encode())
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(about | {"sha256": digest}))


@FEW
@given(seed=st.integers(0, 2**32))
def test_agents_with_any_description_or_weights(agent, tmp_path_factory, seed):
    rng, path = np.random.default_rng(seed), tmp_path_factory.getbasetemp() / "x.safetensors"
    about, data = json.loads(agent.with_suffix(".json").read_bytes()), agent.read_bytes()
    if seed % 3:
        about = mutated_value(about, rng)
    else:
        data = mutated(data, rng)
    if isinstance(about, dict):
        signed(path, about, data)
        refused_or_valid(store.load, path)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("frame_shape", [2**40, 2**40]),
        ("frame_shape", [2**16, 2**16]),  # 17 GB if it were believed
        ("frame_shape", []),
        ("frame_shape", [-1]),
        ("stack", 10**30),
        ("num_actions", 0),
        ("frame_dtype", "O"),
        ("name", "gym/antigravity:X-v0"),  # Gymnasium would import the module
        ("net", "mlp" + "-".join(["4096"] * 5000)),
        ("net", "conv8-8-8x64"),
        ("net", 3),
        ("num_outputs", 2**70),
        ("dueling", "yes"),
        ("agent", None),
        ("\ud800", 1),  # half of a character, which JSON can name
        ("stack", 2**40),
        ("net", "mlp" + "9" * 5000),
    ],
)
def test_agents_that_claim_what_cannot_be(agent, tmp_path, where, value):
    path = tmp_path / "x.safetensors"
    shutil.copy(agent, path)
    about = json.loads(agent.with_suffix(".json").read_bytes())
    (about["spec"] if where in about["spec"] else about)[where] = value
    signed(path, about)
    with pytest.raises(CheckpointError):
        refused_or_valid(store.load, path)
        store.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["weight", "centre", "scale"])
def test_weights_and_statistics_of_an_agent_are_finite_numbers(agent, tmp_path, which, value):
    path = tmp_path / "x.safetensors"
    arrays = {k: v.copy() for k, v in safetensors.numpy.load(agent.read_bytes()).items()}
    name = next(name for name in arrays if name.endswith(which))
    arrays[name].reshape(-1)[0] = value
    signed(
        path, json.loads(agent.with_suffix(".json").read_bytes()), safetensors.numpy.save(arrays)
    )
    with pytest.raises(CheckpointError, match="holds what is no finite number"):
        store.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noop_max", 2147483646), ("frame_skip", 2**62), ("max_episode_frames", 10**20),
        ("threads", 10**6),
    ],
)  # fmt: skip
def test_how_an_agent_s_game_is_played_has_bounds(agent, tmp_path, capsys, name, value):
    path = tmp_path / "x.safetensors"
    about = json.loads(agent.with_suffix(".json").read_bytes())
    signed(path, about | {"environment": {name: value}}, agent.read_bytes())
    with pytest.raises(CheckpointError, match=f"'environment' is damaged: {name} is {value}: allo"):
        options_of(store.load(path))
    assert main(["evaluate", str(path), "--episodes", "1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture(scope="module")
def exported(agent, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    from rtpd.export.onnx import OnnxTarget

    path = tmp_path_factory.mktemp("onnx") / "mlp8.onnx"
    OnnxTarget().write(store.load(agent), path, None)
    return path


@FEW
@given(seed=st.integers(0, 2**32))
def test_onnx_files_with_damage(exported, tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "x.onnx"
    path.write_bytes(mutated(exported.read_bytes(), np.random.default_rng(seed)))
    refused_or_valid(onnx_file.load, path)


def outside(model):
    model.graph.initializer[0].data_location = 1
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def doubled(model):  # 2^40 times its input, if it were computed
    for i in range(40):
        node = model.graph.node.add(op_type="Concat", input=[f"d{i}"] * 2, output=[f"d{i + 1}"])
        node.attribute.add(name="axis", i=1, type=2)
    model.graph.node[-40].input[:] = ["frames"] * 2


def claimed(model):
    model.graph.initializer[0].dims[0] = 2**40


def looping(model):
    model.graph.node[0].op_type = "Loop"


def padded(model):
    model.graph.node[0].attribute.add(name="pads", ints=[2**40] * 4, type=7)


def not_finite(model):
    weights = next(t for t in model.graph.initializer if t.data_type == 1)
    weights.raw_data = b"\0\0\x80\x7f" + weights.raw_data[4:]


def inside_another(model):
    model.graph.node[0].attribute.add(name="axis", type=5)


def of_others(model):
    model.opset_import.add(domain="com.example", version=1)


def with_more_actions(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def of_a_module(model):
    (about,) = [entry for entry in model.metadata_props if entry.key == onnx_file.KEY]
    about.value = about.value.replace("gym/CartPole-v1", "gym/antigravity:X-v0")


def of_other_frames(model):
    (about,) = [entry for entry in model.metadata_props if entry.key == onnx_file.KEY]
    about.value = about.value.replace('"frame_shape": [4]', '"frame_shape": [5]')


@pytest.mark.parametrize(
    "change",
    [
        outside, doubled, claimed, looping, padded, not_finite, inside_another, of_others,
        with_more_actions, of_a_module, of_other_frames,
    ],
)  # fmt: skip
def test_onnx_files_that_rtpd_has_not_written_never_reach_the_runtime(
    exported, tmp_path, monkeypatch, change
):
    import onnx

    model = onnx.load_model(exported)
    change(model)
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    assert path.read_bytes() != exported.read_bytes()
    monkeypatch.setattr(onnx_graph.runtime(), "InferenceSession", None)
    with pytest.raises(CheckpointError) as error:
        onnx_file.load(path)
    assert "\n" not in str(error.value) and "not callable" not in str(error.value)


MODULE = """import os, gymnasium
open(os.environ["MARK"], "w").close()
gymnasium.register("Stranger-v0", "gymnasium.envs.classic_control:CartPoleEnv")
"""


def test_a_module_is_imported_only_if_the_user_names_it(tmp_path, monkeypatch, capsys):
    mark, run = tmp_path / "mark", tmp_path / "run"
    (tmp_path / "stranger.py").write_text(MODULE)
    monkeypatch.setenv("MARK", str(mark))
    monkeypatch.syspath_prepend(tmp_path)
    env = "gym/stranger:Stranger-v0"
    (tmp_path / "x.toml").write_text(f'env = "{env}"')
    (tmp_path / "suite.toml").write_text(f'games = ["{env}"]')
    config = to_dict(replace(load_config("double-dqn"), env=env))
    manifest = MANIFEST | {"config": config, "step": config["steps"]}
    run_folder(run, json.dumps(manifest).encode(), b"")
    resumed = ["train", "--resume", str(run)]
    suite = ["suite", str(tmp_path / "suite.toml"), "--dry-run"]
    typed = ["train", env, "--preset", "double-dqn", "--out", str(run)]
    from_file = [[name, "--config", str(tmp_path / "x.toml")] for name in ("train", "bench")]
    for args, trusted, imported in (
        *((args, "", False) for args in (resumed, suite, *from_file)),
        (typed, "", True),
        (resumed, "math,stranger", True),
    ):
        monkeypatch.setenv("RTPD_IMPORT", trusted)
        assert main(args) == 2  # at the latest since the run is there and finished
        said = capsys.readouterr().err
        assert ("if you trust it, set RTPD_IMPORT=stranger" in said) is not imported
        assert said.count("\n") == 1
        assert mark.exists() is imported
        assert os.environ["RTPD_IMPORT"] == trusted  # what is typed holds for one command
        mark.unlink(missing_ok=True)
        sys.modules.pop("stranger", None)


def run_folder(folder, manifest, lines):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "metrics.jsonl").write_bytes(lines)


def read_all(folder):
    print_runs(runs(folder))  # never refused: a run that is damaged is listed as such
    run = Run.open(folder)
    run.records()
    assert all(folder in run.agent_path(name).parents for name in run.agents)
    read_run(folder)


@FEW
@given(seed=st.integers(0, 2**32))
def test_run_folders_with_anything_in_them(tmp_path_factory, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.getbasetemp() / "run"
    manifest, lines = json.dumps(MANIFEST).encode(), [json.dumps(line).encode() for line in LINES]
    match seed % 4:
        case 0:
            manifest = mutated(manifest, rng)
        case 1:
            manifest = json.dumps(mutated_value(MANIFEST, rng)).encode()
        case 2:
            lines[seed % 2] = json.dumps(mutated_value(LINES[seed % 2], rng)).encode()
        case 3:
            lines = [mutated(line, rng) for line in lines]
    run_folder(folder, manifest, b"\n".join([*lines, b""]))
    refused_or_valid(read_all, folder)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "a/../../b", "", ".", "a\0b", "a\x1b[31m", "x" * 999]
)
def test_names_cannot_leave_their_folder(tmp_path, name):
    with pytest.raises(CheckpointError, match="is no name of a file in it") as error:
        inside(tmp_path, name)
    assert str(error.value).isprintable()
    manifest = MANIFEST | {"agents": {name: {"parameters": 1}}}
    run_folder(tmp_path, json.dumps(manifest).encode(), b"")
    refused_or_valid(read_all, tmp_path)


def test_links_lead_as_far_as_their_folder_and_no_further(tmp_path):
    folder, beside = tmp_path / "run", tmp_path / "run2"
    folder.mkdir()
    beside.mkdir()
    for name, target in (("out", beside), ("file", beside / "x"), ("self", "self"), ("in", folder)):
        os.symlink(target, folder / name)
    for name in ("out", "out/x", "file", "self"):
        with pytest.raises(CheckpointError, match=r"^[^\n]* is a link that leads out of '[^\n]*'$"):
            inside(folder, name)
    assert inside(folder, "in/x") == folder / "in" / "x"


@pytest.mark.parametrize("name", ["teacher", "pong/net1.7", "CartPole-v1/mlp16-kl"])
def test_names_of_agents_are_inside(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "data",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"9" * 10_000,
        b"NaN",
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"",
        b'{"a": 1e999}',
        b'{"a": -1e999}',
    ],
)
def test_json_that_is_made_to_hurt(tmp_path, data):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_json(data)
    file = tmp_path / "x.json"
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_json(file)
    run_folder(tmp_path, json.dumps(MANIFEST).encode(), data + b"\n")
    refused_or_valid(read_all, tmp_path)


def test_what_is_no_plain_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(RtpdError):
            contents(path)
        with pytest.raises(ConfigError):
            load_config(None, path)
    descriptors = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for read in (contents, opened, appended):
        with contextlib.suppress(RtpdError, OSError):
            read(tmp_path)
    assert not descriptors or len(os.listdir("/proc/self/fd")) == descriptors
    big = tmp_path / "big.json"
    with big.open("wb") as file:
        file.truncate(MOST_JSON_BYTES + 1)  # sparse
    with pytest.raises(CheckpointError, match=r"has 67,108,865 bytes: allowed: 67,108,864"):
        read_json(big)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A finished run; copy it to change it."""
    path = tmp_path_factory.mktemp("run") / "run"
    evaluation = EvaluationConfig(period_steps=0, episodes=1, final_episodes=1)
    replay = ReplayConfig(capacity=200, warmup_steps=100)
    teacher = TeacherConfig(net="mlp8")
    config = Config("probe/endless", students=("mlp4:kl",), steps=200, checkpoint_steps=0)
    train(replace(config, teacher=teacher, replay=replay, evaluation=evaluation), out=path)
    return path


@contextlib.contextmanager
def not_for_ever():
    """Whatever is still waiting after a minute is ended by an error."""

    def late(*_):
        raise TimeoutError("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["pipe", "link out"])
@pytest.mark.parametrize(
    "name",
    [
        ".lock", "manifest.json", ".manifest.json.tmp", "metrics.jsonl", "agents",
        "agents/teacher.safetensors", "checkpoints", "checkpoints/0000000200",
        "checkpoints/.0000000240.tmp", "checkpoints/0000000200/arrays.safetensors",
    ],
)  # fmt: skip
def test_a_pipe_or_a_link_in_a_run_is_not_waited_for_nor_written_through(
    small_run, tmp_path, capsys, name, kind
):
    run, mine = tmp_path / "runs" / "run", tmp_path / "mine"
    shutil.copytree(small_run, run)
    shutil.copytree(small_run, mine)  # so that a link leads to what could be used
    before = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    (run / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(run / name)
    else:
        os.symlink(mine / name, run / name)
    with not_for_ever():
        assert main(["ls", str(run.parent)]) in (0, 2)
        code = main(["train", "--resume", str(run), "--steps", "240", "--quiet"])
        if code:
            main(["report", str(run), "--out", str(tmp_path / "x.html"), "--no-clip"])
            main(["evaluate", str(run), "--episodes", "1", "--json"])
    assert code == 0 if name.endswith(".tmp") else code in (0, 1, 2)
    assert {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()} == before
    assert "Traceback" not in capsys.readouterr().err


TOMLS = [
    b"a = " + b"[" * DEEP,
    b"a = " + b"{a=" * 10_000,
    b"a = " + b"9" * 10_000,
    b"\xff",
    b"steps = nan",
    b"steps = 1\nsteps = 2",
    b"steps = 1979-05-27",
    b"teacher = [{" + b"a." * 20_000 + b"a = 1}]",
    b"teacher." + b"a." * 20_000 + b"a = 1",  # 40 kB that took 1.6 GB
    b"#" * 2**19,
    b"seed = 0x" + b"f" * 50_000,
    b"steps = 0b" + b"1" * 100,
    b"[[teacher]]\na = [0x" + b"f" * 50_000 + b"]",
]


@pytest.mark.parametrize("data", TOMLS, ids=lambda data: repr(data[:12]))
def test_toml_that_is_made_to_hurt(tmp_path, data):
    file = tmp_path / "x.toml"
    file.write_bytes(data)
    for read in (lambda: load_config(None, file), lambda: read_suite(file)):
        with pytest.raises(ConfigError):
            refused_or_valid(read)
            read()


@FEW
@given(seed=st.integers(0, 2**32))
def test_suite_files_with_anything_in_them(tmp_path_factory, seed):
    file = tmp_path_factory.getbasetemp() / "suite.toml"
    file.write_bytes(mutated(SUITE, np.random.default_rng(seed)))
    refused_or_valid(read_suite, file)
    refused_or_valid(load_config, None, file)


def test_a_segment_that_unpacks_to_more_than_was_asked_for_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 64)
    tree = {"frames": jnp.arange(256, dtype=jnp.uint8).reshape(16, 16)}
    checkpoint.save(tmp_path / "1", tree, {"a": 1})
    like = jax.eval_shape(lambda: tree)
    assert checkpoint.load(tmp_path / "1", like)[1] == {"a": 1}
    segment = next((tmp_path / "1").glob("*-0000.zlib"))
    listed = json.loads((tmp_path / "1" / "sha256.json").read_bytes())
    for data in (
        zlib.compress(bytes(10**8)),
        zlib.compress(bytes(16)),
        b"",
        segment.read_bytes()[:-1],
    ):
        segment.write_bytes(data)
        digests = listed | {segment.name: sha256(data)}
        (tmp_path / "1" / "sha256.json").write_text(json.dumps(digests))
        with pytest.raises(CheckpointError, match="is no checkpoint"):
            refused_or_valid(checkpoint.load, tmp_path / "1", like)
            checkpoint.load(tmp_path / "1", like)


def test_error_leaves_are_in_the_tree():
    assert issubclass(ConfigError, RequestError) and issubclass(CheckpointError, RtpdError)
    assert (RequestError.exit_code, CheckpointError.exit_code) == (2, 1)


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["games"], ["games", "--json"]])
def test_a_closed_pipe_ends_quietly(args):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "rtpd", *args]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "argument", [b"po\x1b[31mng", b"\xff\xfe", b"x" * 100_000, b"a\nb", "\u202egnop".encode()]
)
@pytest.mark.parametrize("command", ["train", "evaluate", "report", ""])
def test_arguments_cannot_write_to_the_terminal(capsys, command, argument):
    text = os.fsdecode(argument)
    assert main([command, text] if command else [text]) in (1, 2)
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable() and len(line) < 3000
    line.encode()  # no half characters


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("maximum ..."), OSError(28, "No")])
def test_any_error_is_one_line(capsys, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("rtpd.envs.ale.games", fails)
    monkeypatch.delenv("RTPD_TRACEBACK", raising=False)
    assert main(["games"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rtpd: error: ") and said.count("\n") == 1
    monkeypatch.setenv("RTPD_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main(["games"])


# ---- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"0", b'{"kind": 1}', b'{"a":'])
def test_metrics_that_hold_no_records_cost_no_time(tmp_path, line):
    run_folder(tmp_path, json.dumps(MANIFEST).encode(), (line + b"\n") * (2**22 // (len(line) + 1)))
    for look in (runs, lambda path: State(path).look(), read_run):
        took = time.thread_time()
        with contextlib.suppress(RtpdError):
            look(tmp_path)
        assert time.thread_time() - took < 5


SUITES = {
    "seeds": b"games = ['pong']\nseeds = " + str(list(range(40_000))).encode(),
    "games": b"games = " + str([f"g{i}" for i in range(28_000)]).encode(),
    "variants": b"games = ['pong']\n" + b"".join(b"[variants.v%d]\n" % i for i in range(8_000)),
    "distilled": b"games = ['pong']\n[variants.a]\n"
    + b"".join(b"[variants.v%d]\ndistill='a'\n" % i for i in range(6_000)),
}


@pytest.mark.parametrize("name", SUITES)
def test_long_suite_files_take_no_more_time_than_reading_them(tmp_path, name):
    file = tmp_path / "suite.toml"
    file.write_bytes(SUITES[name])
    began = time.thread_time()
    with contextlib.suppress(RtpdError):
        read_suite(file)
    assert time.thread_time() - began < 6


def test_settings_that_name_thousands_are_refused_at_once():
    games = replace(load_config("double-dqn"), env="+".join(["pong"] * 60_000))
    students = replace(games, env="pong", students=tuple(f"mlp{i}:kl" for i in range(1, 4_000)))
    for asked in (games, students):
        began = time.thread_time()
        with pytest.raises(ConfigError, match=r"allowed: (128|256)"):
            validate(asked)
        assert time.thread_time() - began < 2


# ---- what errors say ---------------------------------------------------------------------------


TEXTS = ["a\nb", "\x1b[31mred", "\u202egnop", "x" * 10**7, "\x9b" * 10**6]


@pytest.mark.parametrize("leaf", [RtpdError, ConfigError, CheckpointError, RequestError])
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:5]))
def test_every_error_is_one_short_printable_line_where_it_is_made(leaf, text):
    said = str(leaf(f"cannot read {text}: why"))
    assert said.isprintable() and len(said) <= 2000 and said.startswith("cannot read ")
    assert str(leaf(said)) == said  # so an error about an error is not spelt out twice


def test_numbers_too_long_to_print_are_told_by_their_length():
    with pytest.raises(ConfigError, match=r"--seed \(a number of 16,610 bits\): allowed: 0 to"):
        validate(replace(load_config("double-dqn"), seed=10**5_000))
    with pytest.raises(ConfigError, match="--actors"):
        validate(replace(load_config("double-dqn"), actors="teacher=" + "9" * 5_000))
    with pytest.raises(ConfigError, match="--steps 10000000000: allowed: 1 to"):
        validate(replace(load_config("double-dqn"), steps=10**10))


@pytest.mark.parametrize("key", ["env", "teacher", "on_divergence", "\ud800"])
def test_settings_with_half_of_a_character_are_refused(key):
    with pytest.raises(RequestError):
        validate(from_dict({key: "\ud800"}))


def test_rows_are_clean_where_they_are_made(tmp_path):
    evil = "\u202e\x1b[31m" + "x" * 10_000
    agents = {"teacher": {"parameters": 1, "net": evil, "loss": evil}}
    config = MANIFEST["config"] | {"env": evil}
    manifest = MANIFEST | {"agents": agents, "config": config, "status": evil}
    run_folder(tmp_path, json.dumps(manifest).encode(), b"")
    (row,) = runs(tmp_path)
    page = State(tmp_path).look()
    shown = [row["env"], row["state"], page["env"], page["status"], *page["facts"]]
    for text in (*shown, page["agents"][0]["net"]):
        assert text.isprintable() and len(text) < 500
