"""The documentation: its links lead somewhere, its commands parse, its worked examples run.

`scripts/check_docs.py` runs all of it for real.
"""

import contextlib
import importlib
import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from rtpd import envs, export
from rtpd.cli import commands, main, parsing
from rtpd.errors import RtpdError
from rtpd.learning import distillation, teachers
from rtpd.networks import architectures
from rtpd.storage.run_folder import Run
from rtpd.training import trackers, validation
from rtpd.training.unused import usual_of
from rtpd.types import EnvSpec

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("check_docs", ROOT / "scripts" / "check_docs.py")
docs = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(docs)

SCREEN = EnvSpec("ale/pong", num_actions=6, frame_shape=(84, 84))
PAGES = [page for page in docs.PAGES if page.name not in docs.STORIES]
TABLES = {
    "js": distillation.LOSSES,
    "net0.4": architectures.NETS,
    "advantage-learning": teachers.TEACHERS,
    "corridor": envs.FAMILIES,
    "npz": export.TARGETS,
    "csv": trackers.TRACKERS,
    "sizes": commands.COMMANDS,
}
TINY = {
    "--steps": "400",
    "--log-steps": "200",
    "--num-envs": "8",
    "--replay.capacity": "800",
    "--replay.warmup-steps": "200",
    "--evaluation.period-steps": "0",
    "--evaluation.final-episodes": "1",
}


class Parsed(BaseException):
    """Stops a command between its parse and its work; nothing catches it on the way."""


def check_command(words):
    """Parse a command line as rtpd does, and validate the settings of a training."""
    env, words = docs.split_env(words)
    if words[0] != "rtpd":
        return
    real, line = parsing.parse, " ".join(words)

    def stop(*how):
        command = real(*how)
        config = getattr(command, "config", None)
        if config is not None and not getattr(command, "resume", None) and config.env:
            try:
                preset = command.preset or ("distill" if words[1] == "distill" else None)
                validation.validate(config, usual_of(preset))
            except RtpdError as error:
                pytest.fail(f"{line}: {error}")
        raise Parsed

    places = [str(ROOT / path) for path in env.get("PYTHONPATH", "").split(":")]
    with patch.object(sys, "path", [*places, *sys.path]), patch.object(parsing, "parse", stop):
        try:
            code = main.main(words[1:])
        except Parsed:
            return
        except SystemExit as found:  # --help
            code = found.code
    assert code == 0, line


@pytest.mark.parametrize("page", docs.PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page):
    assert list(docs.broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_rtpd_takes(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in docs.blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        for words in block.commands:
            if words[:1] != ["usage:"]:
                check_command(words)
        if block.language == "python":
            compile(block.text, block.where, "exec")


def test_python_blocks_are_formatted_like_the_code(tmp_path):
    for i, block in enumerate(b for page in PAGES for b in docs.blocks(page)):
        if block.language == "python":
            (tmp_path / f"{block.page.stem}_{i}.py").write_text(block.text)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for how in (
        ["format", "--diff"],
        ["check", "--select", "E,F,UP,B,RUF", "--ignore", "F401,RUF003"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *how, "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "rtpd trian pong",
        "rtpd train pnog",
        "rtpd train pong --students net1.8:kl",
        "rtpd train pong --stpes 3",
        "rtpd evaluate",
    ],
)
def test_a_command_that_is_wrong_is_found(line, capsys):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_command(line.split())


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    text = "[a](b.md) [c](page.md#d) [e](https://x.y) `src/rtpd/no.py` `src/rtpd/types.py`"
    page.write_text(text)
    assert list(docs.broken_links(page)) == ["b.md", "src/rtpd/no.py"]


LOG = ROOT / "docs" / "LOG.md"
CITING = ("README.md", "results/README.md", "docs", "examples", "experiments", "src", "tests",
          "scripts", "benchmarks")  # fmt: skip


def citations():
    """(PATH:LINE, anchor, or "" without one) of every place that cites the log."""
    for top in CITING:
        files = sorted((ROOT / top).rglob("*.*")) or [ROOT / top]
        for path in files:
            if path.suffix in (".md", ".py", ".toml", ".sh", ".ipynb") and path != LOG:
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    for anchor in re.findall(r"\bLOG\.md(?!\")#?([\w-]*)", line):
                        yield f"{path.relative_to(ROOT)}:{number}", anchor


def test_whoever_cites_the_log_names_an_anchor_that_is_there():
    anchors, found = anchors_of(LOG.read_text()), list(citations())
    assert len(found) > 20
    assert [(where, anchor) for where, anchor in found if anchor not in anchors] == []


def anchors_of(text):
    return re.findall(r'<a id="([\w-]+)"></a>', text)


def test_the_questions_of_the_log_lead_to_all_of_its_sections():
    text = LOG.read_text()
    anchors, links = anchors_of(text), re.findall(r"\]\(#([^)]*)\)", text)
    assert len(set(anchors)) == len(anchors)
    assert sorted(set(links) - set(anchors)) == []
    head, *sections = re.split(r'(?=<a id="[\w-]+"></a>\n\n## \d)', text)
    asked = re.findall(r"^- .*\?.*$", head, re.MULTILINE)
    assert len(asked) > 20
    answers = [re.findall(r"\]\(#([^)]*)\)", question) for question in asked]
    assert all(answers)
    assert len(sections) == len(re.findall(r"^## \d", text, re.MULTILINE))
    reached = {anchor for found in answers for anchor in found}
    assert [part.splitlines()[2] for part in sections if not reached & set(anchors_of(part))] == []


def test_blocks_are_read_with_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- check: skip, needs a cluster -->\n```\nA=b rtpd train x \\\n  --seed 1  # why\n```\n"
        '\n```python title="a.py"\nx = 1\n```\n'
    )
    shell, python = docs.blocks(page)
    assert shell.commands == [["A=b", "rtpd", "train", "x", "--seed", "1"]]
    assert set(shell.marks) == {"skip", "needs a cluster"}
    assert (python.language, python.title, python.text) == ("python", "a.py", "x = 1\n")
    assert not python.marks


def test_a_budget_replaces_what_a_command_says():
    args = ["train", "pong", "--steps", "9", "--seed", "1"]
    assert docs.with_budget(args, {"--steps": "3"}) == [
        "train", "pong", "--seed", "1", "--steps", "3",
    ]  # fmt: skip
    assert docs.with_budget(["suite", "experiments/a.toml"], {})[-1] == "--dry-run"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder whose modules can be imported; tables and modules are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.dict(sys.modules))
        for table in TABLES.values():
            stack.enter_context(patch.dict(table))
        yield tmp_path


def test_the_worked_examples_of_extending_run(lab, monkeypatch, capsys):
    assert not any(name in table for name, table in TABLES.items())
    for block in docs.blocks(ROOT / "docs" / "extending.md"):
        if block.title:
            (lab / block.title).write_text(block.text)
        for words in block.commands if "fast" in block.marks else ():
            args = docs.rtpd_args(words)
            budget = TINY if args[0] == "train" else docs.BUDGETS.get(args[0], {})
            monkeypatch.setattr(sys, "argv", ["lab.py", *docs.with_budget(args, budget)])
            with pytest.raises(SystemExit) as ended:
                runpy.run_path("lab.py", run_name="__main__")
            assert ended.value.code == 0, block.where
    assert all(name in table for name, table in TABLES.items())
    config = Run.open(lab / "runs" / "all").manifest["config"]
    assert (config["teacher"]["algorithm"], config["env"]) == ("advantage-learning", "corridor/7")
    assert config["students"] == ["narrow:js"]
    assert list(np.load(lab / "7-narrow.npz"))
    told = (lab / "runs" / "all" / "csv" / "numbers.csv").read_text()
    assert "400,train/students/narrow/agreement," in told
    sizes = [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert sizes == ["teacher", "narrow"]
    net = architectures.build("net0.4", SCREEN, 6, key=jax.random.key(0))
    assert net.num_outputs == 6


@pytest.mark.parametrize("path", docs.NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_run_and_hold_no_outputs(path, monkeypatch, capsys):
    monkeypatch.chdir(path.parent)
    names = {}
    with matplotlib.rc_context({"backend": "agg"}):
        monkeypatch.setattr(plt, "show", lambda: None)
        exec(docs.notebook_code(path), names)
    assert len(plt.get_fignums()) == 2
    plt.close("all")
    assert "net1.7" in capsys.readouterr().out
    assert not [c for c in json.loads(path.read_text())["cells"] if c.get("outputs")]


WAY = (ROOT / "docs/a-frames-way.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", WAY))))
def test_a_frame_passes_functions_that_exist(name):
    """A module, or what is reached from the longest module that its name begins with."""
    parts = name.split(".")
    depth = next(n for n in range(len(parts), 0, -1) if is_module(".".join(parts[:n])))
    found = importlib.import_module("rtpd." + ".".join(parts[:depth]))
    for part in parts[depth:]:
        found = getattr(found, part)


def is_module(name):
    path = ROOT / "src/rtpd" / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()
