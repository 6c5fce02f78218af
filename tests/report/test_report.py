"""Reports: numbers equal those of the metrics, one seed has no interval, foreign text is text."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from rtpd.cli.main import main
from rtpd.config.loading import load_config
from rtpd.config.settings import (
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    ReplayConfig,
    StudentConfig,
    TeacherConfig,
)
from rtpd.report import report
from rtpd.report.gather import gather, source
from rtpd.report.naming import TAUGHT_BY, Agent
from rtpd.report.published import rusu2015, rusu2015_means
from rtpd.report.study import study
from rtpd.storage.run_folder import Run
from rtpd.system.formatting import show
from rtpd.training.distill import distill
from rtpd.training.train import train

pytestmark = pytest.mark.xdist_group("report")  # its runs are made once, by one worker
FAST = OptimizerConfig(learning_rate=5e-3)
TRAIN = replace(
    load_config(),
    env="probe/swap",
    students=("mlp8:kl", "mlp4:mse"),
    steps=600,
    log_steps=100,
    checkpoint_steps=0,
    teacher=TeacherConfig(net="mlp16-16", optimizer=FAST, target_period_updates=25),
    student=StudentConfig(optimizer=FAST),
    replay=ReplayConfig(capacity=800, warmup_steps=200),
    exploration=ExplorationConfig(decay_steps=300),
    evaluation=EvaluationConfig(period_steps=200, episodes=3, final_episodes=3),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of one game, one of another, and a two-stage run; nobody may change them."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(replace(TRAIN, seed=seed), out=folder / f"swap-{seed}")
    train(replace(TRAIN, env="probe/match"), out=folder / "match")
    two = replace(load_config("distill"), env="", students=TRAIN.students, steps=600)
    two = replace(two, log_steps=100, replay=TRAIN.replay, student=TRAIN.student)
    distill(folder / "swap-0", replace(two, evaluation=TRAIN.evaluation), out=folder / "two")
    return folder


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    return report([runs], tmp_path_factory.mktemp("page") / "report.html")


class Page(HTMLParser):
    """Tags that are open, every attribute, all text."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.tags = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def final(run, agent):
    lines = [r for r in Run.open(run).records() if r["kind"] == "eval"]
    return lines[-1]["agents"][agent]["mean"]


def table_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_numbers_of_the_main_table_are_those_of_the_metrics(runs, written):
    rows = table_rows(written.markdown.read_text())
    swap = [runs / "swap-0", runs / "swap-1"]
    teacher = np.mean([final(run, "teacher") for run in swap])
    for name, label in (("teacher", "teacher"), ("mlp8", "mlp8"), ("mlp4", "mlp4, mse")):
        mean = np.mean([final(run, name) for run in swap])
        [row] = [r for r in rows if r[0] == f"{label} (real time)" and "0, 1" in r]
        assert str(Run.open(swap[0]).manifest["agents"][name]["parameters"]) in row
        assert row[2].startswith(f"{show(mean, ',.1f')} (") and " to " in row[2]
        share = 100 * mean / teacher if teacher > 0 and name != "teacher" else None
        assert row[1].split(" (")[0] == show(share, unit=" %")


@pytest.mark.parametrize(
    ("error", "known"), [(0.2, True), (1.0, False), (None, True)], ids=["learnt", "chance", "one"]
)
def test_nothing_is_a_share_of_a_teacher_that_plays_at_random(runs, tmp_path, error, known):
    folder = tmp_path / "run"
    shutil.copytree(runs / "swap-0", folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "eval":
            line["agents"]["teacher"] |= {"mean": 1.5, "standard_error": error}  # random play: 0
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    [cell] = study(gather([folder])).cells
    assert bool(cell.shares(Agent("mlp8"))) == known
    assert not cell.shares(TAUGHT_BY)  # of itself
    assert (cell.best is not None) == known
    assert (cell.trials[0].arrival(TAUGHT_BY) is not None) == known


def test_one_seed_never_has_an_interval(runs, written, tmp_path):
    text = written.markdown.read_text()
    rows = [r for r in table_rows(text) if r[0].endswith(("(real time)", "(two stages)"))]
    rows = [r for r in rows if {"0", "0, 1"} & {*r}]
    assert {"0", "0, 1"} <= {cell for row in rows for cell in row}
    for row in rows:
        assert any(" to " in cell for cell in row) == ("0, 1" in row)
    shutil.copytree(runs / "swap-0", tmp_path / "copy")  # a copy is no second seed
    found = study(gather([runs / "swap-0", tmp_path / "copy", runs / "swap-0"]))
    assert [len(row) for row in found.cells[0].members.values()] == [1, 1, 1]
    assert len(found.uncounted) == 1


def test_the_page_parses_loads_nothing_and_repeats_no_id(written):
    text = written.html.read_text()
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags
    loads = [v for k, v in page.attributes if k in ("src", "href", "xlink:href", "action")]
    assert loads and all(value.startswith(("#", "data:")) for value in loads)
    assert not re.search(r"url\((?!#)|@import", text)
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert {v for v in loads if v.startswith("#")} <= {f"#{i}" for i in ids}


def test_figures_are_of_one_game_and_files_of_their_own(written):
    files = sorted(p for p in written.pictures.iterdir() if "over-games" not in p.name)
    assert files and all(ElementTree.parse(file) for file in files)
    text = written.markdown.read_text()
    for file in files:
        assert f"(<{written.pictures.name}/{file.name}>)" in text
        drawn = file.read_text()
        assert ("probe/swap" in drawn) + ("probe/match" in drawn) <= 1


def test_the_order_of_folders_changes_nothing_and_neither_does_a_second_time(runs, tmp_path):
    named = [runs / name for name in ("swap-0", "swap-1", "match", "two")]
    made = []
    for i, folders in enumerate((named, named[::-1] + named)):
        (tmp_path / str(i)).mkdir()
        out = report(folders, tmp_path / str(i) / "report.html")
        made.append({p.name: p.read_bytes() for p in out.html.parent.rglob("*") if p.is_file()})
    assert made[0] == made[1]


def test_two_stages_know_where_their_teacher_learnt(runs, tmp_path):
    records = gather([runs])
    two = next(r for r in records if r.path.name == "two")
    assert source(two, records).path.name == "swap-0"
    assert source(two, []).path.name == "swap-0"  # where it lay then
    [cell] = [c for c in study(records).cells if c.procedure == "two stages"]
    assert cell.label == "two stages" and cell.settings["teacher.algorithm"] != "frozen"
    panel = study(records).panels("probe/swap")[0]
    assert [cell.procedure for cell in panel] == ["real time", "two stages"]


def test_hostile_text_stays_text(runs, tmp_path):
    bad = "<script>alert(1)</script>|`x`\x1b[31m\n# boo $x^$ [a](http://b.c)"
    shutil.copytree(runs / "swap-0", tmp_path / "run")
    text = (tmp_path / "run" / "manifest.json").read_text()
    manifest = json.loads(text.replace("mlp8", "<script>8")) | {
        "commit": bad, "machine": bad, "status": bad, "command": [bad],
    }  # fmt: skip
    manifest["config"]["env"] = f"ale/{bad}"
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("mlp8", "<script>8"))
    out = report([tmp_path / "run"], tmp_path / "report.html", clip=False)
    page = out.html.read_text()
    assert "script" not in Page(page).tags
    assert "&lt;script&gt;8" in page
    assert "\x1b" not in page
    said = out.markdown.read_text()
    assert "<script" not in said and "\n# boo" not in said and "[a](" not in said
    for file in out.pictures.iterdir():
        assert "<script" not in file.read_text()


def test_a_run_that_goes_on_is_marked_and_its_last_line_may_be_half(runs, tmp_path):
    shutil.copytree(runs / "swap-0", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    run.note(status="running")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "ev')
    out = report([run.path], tmp_path / "report.html")
    assert "| 0 (running)" in out.markdown.read_text()


def test_the_ending_of_the_page_may_be_left_out(runs, tmp_path):
    assert report([runs / "match"], tmp_path / "page", clip=False).html == tmp_path / "page.html"
    assert (tmp_path / "page.html").is_file() and not (tmp_path / "page").exists()


def test_bad_requests_get_one_line_and_nothing_is_written(runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("manifest", "metrics", "silent"):
        shutil.copytree(runs / "match", tmp_path / name)
    (tmp_path / "manifest" / "manifest.json").write_text("{")
    with (tmp_path / "metrics" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval"}\n')
    Run.open(tmp_path / "silent").cut(lambda record: record["kind"] == "train")
    out = tmp_path / "out"
    out.mkdir()
    page = str(out / "report.html")
    cases = [
        ([str(tmp_path / "none"), "--out", page], "is not a folder"),
        ([str(tmp_path / "empty"), "--out", page], "no run folder"),
        ([str(tmp_path / "manifest"), "--out", page], "manifest.json"),
        ([str(tmp_path / "metrics"), "--out", page], "metrics.jsonl"),
        ([str(tmp_path / "silent"), "--out", page], "no evaluation"),
        ([str(runs), "--out", str(tmp_path / "no" / "report.html")], "no folder"),
        ([str(runs), "--out", str(out / "report.md")], ".html"),
        ([], "run"),
    ]
    for args, piece in cases:
        assert main(["report", *args]) == 2
        said = capsys.readouterr().err
        assert piece in said and said.count("\n") == 1
    assert not list(out.iterdir())


def test_the_command_says_where_the_page_is(runs, tmp_path, capsys):
    assert main(["report", str(runs / "match"), "--out", str(tmp_path / "p.html")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "p.html") in said and "mlp4" in said
    assert {p.name for p in tmp_path.iterdir()} == {"p.html", "p.md", "p-figures"}


def test_published_shares():
    assert rusu2015()["pong"] == {"teacher": 16.2, "net25": 100.6, "net7": 103.7, "net4": 96.9}
    assert len(rusu2015()) == 10
    # Table 1 of the paper, to the rounding of the games' own shares.
    for net, mean in {"net25": 108.3, "net7": 101.7, "net4": 83.9}.items():
        assert rusu2015_means()[net] == pytest.approx(mean, abs=0.1)
