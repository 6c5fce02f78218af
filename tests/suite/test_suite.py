"""Suites with real child processes: nothing lost, nothing done twice, nothing left behind."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from rtpd.cli.main import main
from rtpd.config.loading import load_config, presets, to_dict
from rtpd.errors import RequestError, RunError
from rtpd.storage.records import TrainRecord
from rtpd.storage.run_folder import Run
from rtpd.suite import run_suite
from rtpd.suite.attempt import find
from rtpd.suite.board import Panel
from rtpd.suite.plan import as_toml, experiments, jobs_of
from rtpd.suite.rows import TrackedRun, results, seconds_left
from rtpd.suite.suite_file import read
from rtpd.training.train import train

pytestmark = pytest.mark.xdist_group("suite")  # its runs are made once, by one worker
GAME = "gym-CartPole-v1"
CART = """\
games = ["gym/CartPole-v1"]
seeds = {seeds}
preset = "cpu"
[settings]
students = ["mlp4:kl"]
steps = {steps}
log_steps = 400
checkpoint_steps = 1_600
num_envs = 8
teacher.net = "mlp8"
rollout = {{ steps = 8, minibatch_size = 16 }}
replay = {{ capacity = 800, warmup_steps = 200 }}
evaluation = {{ period_steps = 0, episodes = 2, final_episodes = 2 }}
"""
PATIENCE_SECONDS = 120


def wait_for(what, *, seconds=PATIENCE_SECONDS):
    """Poll until something is there; what it is."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def write(path, text):
    path.write_text(text)
    return path


@contextlib.contextmanager
def started(*args, program=("-m", "rtpd"), cwd=None):
    """`rtpd suite` in a process of its own, which is killed if it is still there at the end."""
    command = [sys.executable, *program, "suite", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()


def child_of(suite, run):
    """The process of a run, once it has been started."""

    def find_it():
        assert suite.poll() is None, suite.communicate()
        for process in psutil.Process(suite.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may be gone by now
                if f"{run}.toml" in process.cmdline():
                    return process
        return None

    return wait_for(find_it)


def snapshot(folder):
    """Every file with its bytes and its time of change."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def metrics(run):
    """All lines of metrics without the wall clock."""
    clock = ("seconds", "steps_per_second")
    return [{k: v for k, v in r.items() if k not in clock} for r in Run.open(run).records()]


@pytest.fixture(scope="module")
def cart(tmp_path_factory):
    """The file of a suite of two seeds, in a folder that it has to itself."""
    return write(tmp_path_factory.mktemp("suite") / "cart.toml", CART.format(steps=4_800, seeds=2))


@pytest.fixture(scope="module")
def whole(cart):
    """The first run of that suite, never stopped. It goes first, so that it alone compiles."""
    path = cart.with_name("whole")
    train(jobs_of(cart, read(cart), cart.parent)[0].config, out=path, preset="cpu")
    return path


@pytest.fixture(scope="module")
def strange(cart):
    """A folder of modules that leave a mark in it, and fail, when they are imported."""
    folder = cart.with_name("strange")
    folder.mkdir()
    for name in ("tyro", "multiprocessing", "rtpd", "runpy", "numpy"):
        write(folder / f"{name}.py", "open('mark', 'w').close()\nraise SystemExit(7)")
    return folder


@pytest.fixture(scope="module")
def suite(cart, whole, strange):
    """The finished suite, one run of which was killed on the way; nobody may change it."""
    file, folder = cart, cart.parent
    begin = (
        "import sys\nfrom rtpd.cli.main import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())"
    )
    command = {"program": (write(folder / "rtpd", begin),), "cwd": strange}
    with started(file, "--out", folder / "out", "--jobs", 2, "--json", **command) as process:
        run = folder / "out" / GAME / "default" / "seed-0"
        child = child_of(process, run)
        wait_for(lambda: list(run.glob("checkpoints/0*")))
        child.kill()
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    return file, folder / "out", json.loads(out), err


def test_a_killed_run_is_gone_on_with_and_ends_as_if_nothing_had_happened(suite, whole):
    _, out, result, _ = suite
    killed = out / GAME / "default" / "seed-0"
    assert [run["resumed"] for run in result["runs"]] == [1, 0]
    assert len(Run.open(killed).manifest["resumed"]) == 1
    assert metrics(killed) == metrics(whole)
    for weights in (whole / "agents").glob("*.safetensors"):
        assert (killed / "agents" / weights.name).read_bytes() == weights.read_bytes()


TWO_STAGES = """
[variants.two-stage]
distill = "default"
steps = 800
[variants.default]
"""


def test_a_variant_distils_the_teachers_of_another_one(suite, tmp_path):
    """One of them has learnt before, and one learns in the same suite."""
    _, out, _, _ = suite
    shutil.copytree(out, tmp_path / "out")
    file = write(tmp_path / "two.toml", CART.format(steps=4_800, seeds="[1, 2]") + TWO_STAGES)
    result = run_suite(file, out=tmp_path / "out", jobs=2, stream=io.StringIO())
    assert result["status"] == "finished", result["runs"]
    for seed in (1, 2):
        source, run = (
            Run.open(tmp_path / "out" / GAME / variant / f"seed-{seed}")
            for variant in ("default", "two-stage")
        )
        assert run.manifest["distilled_from"] == str(source.path)
        assert run.manifest["preset"] == "distill"
        assert run.manifest["started"] >= source.manifest["ended"]
        assert run.manifest["config"]["environment"] == source.manifest["config"]["environment"]
        before, now = (r.agent_path("teacher").read_bytes() for r in (source, run))
        assert before == now
    again = run_suite(file, out=tmp_path / "out", stream=io.StringIO())
    assert [run["resumed"] for run in again["runs"]] == [0] * 4


def test_a_run_whose_teacher_came_to_nothing_is_not_started(tmp_path):
    file = write(tmp_path / "two.toml", CART.format(steps=1_600, seeds=1) + TWO_STAGES)
    out = tmp_path / "out"
    (out / GAME / "default" / "seed-0.log").mkdir(parents=True)  # so that it cannot start
    (out / "suite.lock").touch()
    result = run_suite(file, out=out, stream=io.StringIO())
    assert result["status"] == "failed"
    notes = {run["variant"]: run["note"] for run in result["runs"]}
    assert "default/seed-0" in notes["two-stage"] and "not finished" in notes["two-stage"]
    assert not (out / GAME / "two-stage").exists()


def test_the_result_holds_every_run_and_means_over_seeds(suite):
    _, out, result, _ = suite
    assert result["status"] == "finished"
    assert result["next"] == [f"rtpd report {out}"]
    for seed, run in enumerate(result["runs"]):
        assert (run["seed"], run["state"], run["step"]) == (seed, "finished", 4_800)
        assert Run.open(Path(run["run"])).manifest["seed"] == seed
        assert Run.open(Path(run["run"])).manifest["preset"] == "cpu"
    for row in result["results"]:
        means = [run["evaluation"][row["agent"]]["mean"] for run in result["runs"]]
        assert row["seeds"] == 2
        assert row["mean"] == pytest.approx(statistics.fmean(means))
        assert row["standard_error"] == pytest.approx(abs(means[0] - means[1]) / 2)
    assert [row["agent"] for row in result["results"]] == ["teacher", "mlp4"]


def test_progress_is_told_in_lines(suite):
    _, _, _, err = suite
    lines = err.splitlines()
    assert lines[0].startswith("2 runs: 2 waiting")
    for piece in ("waiting  ", "(killed by SIGKILL)", "running (resumed 1)", "ETA", "steps/s"):
        assert any(piece in line for line in lines if "seed-0" in line), err
    for seed in (0, 1):
        last = [line for line in lines if f"seed-{seed} " in line][-1]
        assert "finished" in last
        assert "4,800 of 4,800 steps" in last
        assert "teacher" in last


def test_a_finished_suite_started_again_runs_nothing_and_changes_no_file(suite, capsys):
    file, out, result, _ = suite
    before = snapshot(out)
    assert main(["suite", str(file), "--out", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["results"] == result["results"]
    assert snapshot(out) == before
    assert (out / "suite.toml").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "pieces"),
    [
        ("steps = 4800", "steps = 4800\nteacher.gamma = 0.9", ["teacher.gamma", "0.9", "0.99"]),
        ("steps = 4800", "steps = 4000", ["steps", "4000", "4800"]),
        ('"mlp4:kl"', '"mlp4:mse"', ["students", "mlp4:mse"]),
    ],
)
def test_other_settings_of_a_run_that_is_there_are_refused(
    suite, tmp_path, capsys, old, new, pieces
):
    file, out, _, _ = suite
    before = snapshot(out)
    changed = write(tmp_path / "changed.toml", file.read_text().replace(old, new))
    dry = ["--dry-run"] if "steps" in pieces else []
    assert main(["suite", str(changed), "--out", str(out), *dry]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for piece in ("seed-0", *pieces):
        assert piece in err
    assert snapshot(out) == before


def test_a_dry_run_shows_the_runs_and_writes_nothing(suite, tmp_path, monkeypatch, capsys):
    file, out, _, _ = suite
    before = snapshot(out)
    more = file.read_text().replace("seeds = 2", "seeds = [1, 2]").replace("4800", "9600")
    more = write(tmp_path / "more.toml", more + "[variants.a]\n[variants.default]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["suite", str(more), "--out", str(out), "--dry-run", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    found = [(run["variant"], run["seed"], run["state"], run["step"]) for run in runs]
    assert found == [
        ("a", 1, "waiting", 0),
        ("a", 2, "waiting", 0),
        ("default", 1, "waiting", 4_800),
        ("default", 2, "waiting", 0),
    ]
    assert main(["suite", str(file), "--dry-run"]) == 0
    assert f"{GAME}/default/seed-1" in capsys.readouterr().out
    assert snapshot(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["more.toml"]


def test_the_parent_does_without_jax(suite):
    file, _, _, _ = suite
    code = f"""
import sys
from pathlib import Path
from rtpd.suite import run_suite
assert len(run_suite(Path({str(file)!r}), dry_run=True)["runs"]) == 2
assert "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_suite_runs_no_code_of_the_current_folder(suite, strange):
    """Neither what checks it nor what runs it, however plain the names of that folder's modules."""
    assert not (strange / "mark").exists()


@pytest.mark.slow
def test_nothing_outlives_a_killed_suite_and_two_at_once_are_refused(tmp_path, capsys):
    file = write(tmp_path / "cart.toml", CART.format(steps=1_000_000, seeds=1))
    out = tmp_path / "out"
    run = out / GAME / "default" / "seed-0"
    with started(file, "--out", out) as first:
        child = child_of(first, run)
        wait_for(lambda: list(run.glob("checkpoints/0*")))
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    wait_for(lambda: not child.is_running() or child.status() in gone, seconds=5)

    with started(file, "--out", out) as second:
        wait_for(lambda: Run.open(run).manifest.get("resumed"))
        assert main(["suite", str(file), "--out", str(out)]) == 2
        assert "another `rtpd suite` is running" in capsys.readouterr().err
        os.killpg(second.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        output, _ = second.communicate(timeout=PATIENCE_SECONDS)
    assert second.returncode == 130, output
    assert f"next: rtpd suite {file} --out {out}" in output
    assert "seed-0  interrupted (resumed 1)" in output
    assert Run.open(run).manifest["status"] == "interrupted"


@pytest.mark.slow
def test_runs_that_fail_are_named_and_the_others_are_done(tmp_path):
    variants = "[variants.huge]\nreplay.capacity = 1_000_000_000\n[variants.small]\n"
    text = CART.format(steps=1_000, seeds=1) + variants
    file, out = write(tmp_path / "cart.toml", text), tmp_path / "out"
    small = out / GAME / "small" / "seed-0"
    with started(file, "--out", out) as process:
        child = child_of(process, small)
        wait_for((small / "manifest.json").exists)
        child.kill()  # before its first checkpoint
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    huge = small.parents[1] / "huge" / "seed-0.log"
    assert huge.read_text().count("--- ") == 1  # exit code 2 is not tried again
    assert f"failed: {GAME}/huge/seed-0: --replay.capacity 1000000000" in output
    assert str(huge) in output
    assert small.with_name("seed-0.log").read_text().count("--- ") == 2
    manifest = Run.open(small).manifest
    assert manifest["status"] == "finished"
    assert "resumed" not in manifest  # started afresh
    row = next(line for line in output.splitlines() if line.startswith("gym/CartPole-v1"))
    assert "small" in row
    assert "±" not in row  # one seed


class Fails:
    """Workers, and every attempt on them, that come to nothing at once."""

    def __init__(self):
        self.started = []

    def start(self, job):
        self.started.append(job.label)
        return self

    def room(self):
        return True

    def begun(self):
        return True

    def code(self):
        return 1

    def close(self):
        pass


@pytest.mark.parametrize(("flags", "tries"), [([], 3), (["--retries", "0"], 1)])
def test_a_run_that_keeps_failing_is_gone_on_with_twice_or_as_asked(
    flags, tries, tmp_path, monkeypatch, capsys
):
    workers = Fails()
    monkeypatch.setattr("rtpd.suite._workers", lambda *_: workers)
    file = write(tmp_path / "cart.toml", CART.format(steps=1_000, seeds=1))
    assert main(["suite", str(file), "--out", str(tmp_path / "out"), *flags]) == 1
    assert len(workers.started) == tries
    goes_on = capsys.readouterr().out.splitlines()[-1]
    assert goes_on.endswith(" ".join(["--out", str(tmp_path / "out"), *flags]))


@pytest.mark.slow
def test_more_steps_go_on_with_a_finished_run(suite, tmp_path):
    file, out, _, _ = suite
    shutil.copytree(out, tmp_path / "out")
    longer = file.read_text().replace("4800", "5200").replace("seeds = 2", "seeds = 1")
    with started(
        write(file.with_name("longer.toml"), longer), "--out", tmp_path / "out"
    ) as process:
        output, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert "5,200 of 5,200 steps" in output
    run = Run.open(tmp_path / "out" / GAME / "default" / "seed-0")
    assert run.manifest["step"] == 5_200
    assert (tmp_path / "out" / "suite.toml").read_text() == longer
    untouched = Path(GAME, "default", "seed-1")
    before, after = snapshot(out / untouched), snapshot(tmp_path / "out" / untouched)
    assert [data for data, _ in before.values()] == [data for data, _ in after.values()]


BAD = [
    ("", ["games"]),
    ("games = [", ["TOML"]),
    ("games = 'pong'", ["games", "array"]),
    ("games = []", ["games", ">= 1"]),
    ("gmaes = ['pong']", ["gmaes", "games"]),
    ("games = ['pong']\nseeds = 0", ["seeds", ">= 1"]),
    ("games = ['pong']\nseeds = true", ["seeds"]),
    ("games = ['pong']\nseeds = []", ["seeds", ">= 1"]),
    ("games = ['pong']\nseeds = [-1]", ["seeds", ">= 0"]),
    ("games = ['pong']\nseeds = [3, 1, 3]", ["seeds", "'3'", "twice"]),
    ("games = ['pong']\nname = 'a/b'", ["name", "a/b", "letters"]),
    ("games = ['pong']\nname = '..'", ["name", "..", "letters"]),
    ("games = ['pong']\npreset = 'cpuu'", ["preset", "cpuu", "'cpu'"]),
    ("games = ['pong']\nsettings = 3", ["settings", "object"]),
    ("games = ['pong']\n[settings]\nstepz = 3", ["settings", "stepz", "steps"]),
    ("games = ['pong']\n[settings]\nsteps = 1.5", ["settings", "steps", "int"]),
    (
        "games = ['pong']\n[settings]\nteacher.gama = 0.9",
        ["settings", "teacher.gama", "teacher.gamma"],
    ),
    ("games = ['pong']\n[settings]\nseed = 3", ["settings", "seed", "seeds"]),
    ("games = ['pong']\n[settings]\nenv = 'pong'", ["settings", "env", "games"]),
    ("games = ['pong']\n[settings]\npreset = 'cpu'", ["settings", "preset", "top"]),
    ("games = ['pong']\n[variants.'a/b']", ["variants", "a/b", "letters"]),
    ("games = ['pong']\n[variants.'.hidden']", ["variants", ".hidden", "letters"]),
    ("games = ['pong']\n[variants.'']", ["variants", "letters"]),
    ("games = ['pong']\n[variants]\na = 3", ["variants", "object"]),
    ("games = ['pong']\n[variants.a]\npreset = 3", ["variants.a.preset", "3", "cpu"]),
    ("games = ['pong']\n[variants.a]\nstepz = 3", ["variants.a", "stepz", "steps"]),
    (
        "games = ['pong']\n[variants.alpha]\n[variants.b]\ndistill = 'alhpa'",
        ["variants.b.distill", "alhpa", "'alpha'"],
    ),
    ("games = ['pong']\n[variants.a]\ndistill = 'a'", ["variants.a.distill", "'a'", "allowed"]),
    ("games = ['pong']\n[variants.a]\n[variants.b]\ndistill = 3", ["variants.b.distill", "'3'"]),
    ("games = ['pong']\n[game_settings.pogn]\nsteps = 3", ["game_settings", "pogn", "'pong'"]),
    ("games = ['pong']\n[game_settings.pong]\nstepz = 3", ["game_settings.pong", "stepz"]),
]
OUT_OF_RANGE = [
    ("games = ['pnog']", ["pnog", "pong"]),
    ("games = ['gm/CartPole-v1']", ["gm", "gym"]),
    ("games = ['pong', 'Pong']", ["games", "ale/pong", "twice"]),
    ("games = ['pong']\n[variants.b]\nteacher.gamma = 1.5", ["'b'", "gamma", "0 to 1"]),
    ("games = ['pong']\n[settings]\nstudents = ['net1.8:kl']", ["net1.8", "net1.7"]),
    ("games = ['pong']\n[settings]\nstudents = ['net1.7:kll']", ["kll", "'kl'"]),
    ("games = ['pong']\n[settings]\nteacher.algorithm = 'pqnn'", ["pqnn", "pqn"]),
    ("games = ['pong', 'gym/CartPole-v1']\n[settings]\nstudents = ['net1.7']",
     ["CartPole-v1", "net1.7", "vectors"]),
    ("games = ['pong']\n[game_settings.pong]\nenvironment.threads = -1", ["pong", "threads", "-1"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pieces"), [*BAD, OUT_OF_RANGE[0]])
def test_a_bad_suite_file_gets_one_line_and_exit_code_2(
    text, pieces, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad.toml", text)
    assert main(["suite", "bad.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    for piece in ("bad.toml", *pieces):
        assert piece in err
    assert [p.name for p in tmp_path.iterdir()] == ["bad.toml"]


@pytest.mark.parametrize(("text", "pieces"), OUT_OF_RANGE)
def test_every_run_of_the_grid_is_checked(text, pieces, tmp_path):
    file = write(tmp_path / "bad.toml", text)
    with pytest.raises(RequestError) as error:
        experiments(file, read(file))
    message = str(error.value)
    assert "\n" not in message
    for piece in (str(file), *pieces):
        assert piece in message


@pytest.mark.parametrize(
    ("argv", "pieces"),
    [
        (["absent.toml"], ["absent.toml"]),
        (["good.toml", "--jobs", "0"], ["--jobs 0", "1 or more"]),
        (["good.toml", "--cores", "0"], ["--cores 0", "1 or more"]),
        (["good.toml", "--retries", "-1"], ["--retries -1", "0 or more"]),
        (["good.toml", "--out", "."], ["not empty"]),
        (["good.toml", "--out", "good.toml"], ["is a file"]),
        (["my suite.toml"], ["name", "my suite"]),
    ],
)
def test_a_bad_request_gets_one_line(argv, pieces, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("good.toml", "my suite.toml"):
        write(tmp_path / name, "games = ['pong']")
    before = snapshot(tmp_path)
    assert main(["suite", *argv]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    for piece in pieces:
        assert piece in err
    assert snapshot(tmp_path) == before


def test_layers_preset_settings_game_variant(tmp_path):
    text = """
games = ["gym/CartPole-v1", "gym/Acrobot-v1"]
seeds = [5, 3]
preset = "cpu"
[settings]
steps = 1
log_steps = 1
teacher.gamma = 0.1
[game_settings."gym/Acrobot-v1"]
log_steps = 2
teacher.gamma = 0.2
[variants.a]
teacher.gamma = 0.3
[variants.b]
preset = "double-dqn"
replay.capacity = 9_000
"""
    file = write(tmp_path / "s.toml", text)
    jobs = jobs_of(file, read(file), tmp_path / "out")
    found = {job.label: job.config for job in jobs}
    assert len(found) == 8
    for label, config in found.items():
        game, variant, seed = label.split("/")
        acrobot, a = game == "gym-Acrobot-v1", variant == "a"
        assert config.env == "gym/" + game.removeprefix("gym-")
        assert config.seed == int(seed.removeprefix("seed-"))
        assert config.steps == 1  # settings over the preset
        assert config.log_steps == (2 if acrobot else 1)  # the game over settings
        assert config.teacher.gamma == (
            0.3 if a else 0.2 if acrobot else 0.1
        )  # the variant over both
        assert config.teacher.algorithm == ("pqn" if a else "double-dqn")
        assert config.students == ("mlp16:kl",)  # as the manifest will have it


OF_PPO = """
games = ["probe/chain"]
preset = "ppo-gym"
[variants.a]
[variants.b]
distill = "a"
"""


def test_a_second_stage_of_a_policy_has_a_policy_s_temperature(tmp_path):
    file = write(tmp_path / "s.toml", OF_PPO)
    _, second = experiments(file, read(file))
    assert second.config.student.policy_temperature == 1
    assert {"student.temperature", "student.temperature_unit"} <= second.unused
    for line, said in {
        "student.temperature = 0.5": "--student.temperature 0.5: students follow the logits",
        "students = ['mlp8:mse']": "mse follows Q-values, and teacher 'ppo' has a policy alone",
    }.items():
        file = write(tmp_path / "s.toml", OF_PPO + line)
        with pytest.raises(RequestError, match=said):
            experiments(file, read(file))


@pytest.mark.parametrize("preset", presets())
def test_settings_survive_their_file(preset, tmp_path):
    config = load_config(preset)
    file = write(tmp_path / "settings.toml", as_toml(config))
    assert load_config("nature", file) == config  # complete: nothing of another preset is left


@pytest.mark.parametrize("name", ["notes.txt", "agents", "manifest.json"])
def test_only_folders_that_the_suite_made_are_ever_removed(suite, tmp_path, name):
    file, _, _, _ = suite
    job = jobs_of(file, read(file), tmp_path)[0]
    job.folder.mkdir(parents=True)
    assert find(job).state == "new"
    if name == "manifest.json":
        config = {"config": to_dict(job.config)}
        write(job.folder / name, json.dumps(config))  # a run of these settings, begun by hand
    else:
        write(job.folder / name, "")
    with pytest.raises(RunError, match="is no run of this suite"):
        find(job)
    write(job.settings, "")
    if name == "notes.txt":
        with pytest.raises(RunError, match="is no run of this suite"):
            find(job)
    else:
        assert find(job).state == "new"


def test_the_table_fits_the_terminal_and_shows_what_runs_first(suite):
    file, out, _, _ = suite
    many = write(file.with_name("many.toml"), file.read_text().replace("seeds = 2", "seeds = 30"))
    rows = [TrackedRun(job, find(job)) for job in jobs_of(many, read(many), out)]
    running = rows[20]
    running.state, running.step = "running", 2_400
    running.train = TrainRecord(step=2_400, seconds=4.8, steps_per_second=400.0)
    text = io.StringIO()
    panel = Panel(Console(file=text, force_terminal=True, width=120, height=12, highlight=False))
    panel.update(rows)
    panel.close()
    shown = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    for piece in ("seed-20 ", "4,800  50 %", "50 %", " 400 ", " 6 s", "23 of them not shown"):
        assert piece in shown, shown
    assert "30 runs: 2 finished, 27 waiting, 1 running" in shown
    # Half a run at its own pace, and 27 at the mean pace of those that have begun.
    paces = [row.seconds_per_step for row in (rows[0], rows[1], running)]
    expected = 27 * 4_800 * statistics.fmean(paces) + 2_400 * paces[2]
    assert seconds_left(rows) == pytest.approx(expected)
    assert [row["seeds"] for row in results(rows)] == [2, 2]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_one_line_says_what_to_install(suite, tmp_path, capsys):
    file, _, _, _ = suite
    assert main(["suite", str(file), "--out", str(tmp_path / "out"), "--ray", "local"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "pip install ray" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_on_ray_a_lost_worker_s_run_goes_on_elsewhere(tmp_path):
    pytest.importorskip("ray", reason="needs the cluster extra")
    file, out = write(tmp_path / "cart.toml", CART.format(steps=4_800, seeds=2)), tmp_path / "out"
    run = out / GAME / "default" / "seed-0"
    with started(file, "--out", out, "--ray", "local", "--cores", 1, "--json") as process:
        child = child_of(process, run)
        wait_for(lambda: list(run.glob("checkpoints/0*")))
        child.parent().kill()
        wait_for(lambda: not child.is_running(), seconds=5)
        output, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    result = json.loads(output)
    assert [run["state"] for run in result["runs"]] == ["finished"] * 2
    assert len(Run.open(run).manifest["resumed"]) == 1
    assert all(row["seeds"] == 2 for row in result["results"])


@pytest.mark.slow
def test_on_ray_no_code_of_the_current_folder_is_run(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs the cluster extra")
    from rtpd.suite.cluster import Cluster

    monkeypatch.chdir(tmp_path)
    cluster = Cluster("local", 1, 1, 0)
    try:
        path = ray.get(ray.remote(lambda: sys.path).remote())
    finally:
        cluster.close()
    assert str(tmp_path) not in path and "" not in path


@pytest.mark.slow
def test_on_ray_an_interrupted_suite_saves(tmp_path):
    pytest.importorskip("ray", reason="needs the cluster extra")
    file, out = (
        write(tmp_path / "cart.toml", CART.format(steps=1_000_000, seeds=2)),
        tmp_path / "out",
    )
    run = out / GAME / "default" / "seed-0"
    with started(file, "--out", out, "--ray", "local", "--cores", os.cpu_count()) as process:
        wait_for(lambda: list(run.glob("checkpoints/0*")))
        process.send_signal(signal.SIGTERM)
        output, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    assert "seed-0  interrupted" in output
    assert Run.open(run).manifest["status"] == "interrupted"
    assert not run.with_name("seed-1").exists()  # it waited for room
