"""What a report may never say or show, on runs that are written by hand."""

import json
import re
import shutil
import warnings
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from rtpd.errors import RunError
from rtpd.report import answer, clip, compose, numbered, report, savings
from rtpd.report.blocks import Contents, Details, Heading, Picture, Table, flatten
from rtpd.report.cells import SCRATCH
from rtpd.report.curves import POINTS, common
from rtpd.report.drawing import COLOURS, ON_DARK, Palette, drawing
from rtpd.report.figures import Point, front_of, points, sizes
from rtpd.report.gather import gather
from rtpd.report.naming import TAUGHT_BY, Agent, setting_names
from rtpd.report.overall import overall
from rtpd.report.page import html, style
from rtpd.report.study import study
from rtpd.report.trials import Curve

SIZES = {"nature": 1_000_000, "net25": 250_000, "net1.7": 17_000, "net0.5": 5_000, "net0.1": 1_000}


def agent(text):
    """NET:LOSS:KEY=VALUE as a manifest has it."""
    net, loss, *own = [*text.split(":"), "kl"][: max(2, text.count(":") + 1)]
    size = SIZES[net]
    return {"net": net, "parameters": size, "share": size / 1e6, "loss": loss, "settings": own}


def made(path, *evaluations, env="ale/pong", seed=0, net="nature", names=None, of=None, **config):
    """A run of {agent: mean return}, one an evaluation; `names`: what each agent is."""
    *_, last = evaluations
    names = {name: name for name in last if name != "teacher"} | (names or {})
    agents = {"teacher": agent(net)} | {name: agent(text) for name, text in names.items()}
    teacher = {"net": net, "algorithm": "frozen" if of else "dqn"} | config.pop("teacher", {})
    usual = {"env": env, "steps": 1000, "students": list(names.values()), "teacher": teacher}
    about = {"status": "finished", "seed": seed, "config": usual | config, "agents": agents,
             "frames_per_step": 4, "step": 1000, "seconds": 600.0}  # fmt: skip
    about |= {"distilled_from": str(of)} if of else {}
    (path / "agents").mkdir(parents=True)
    (path / "agents" / "teacher.json").write_text(json.dumps({"sha256": str(of or path)}))
    (path / "manifest.json").write_text(json.dumps(about))
    lines = []
    for i, means in enumerate(evaluations, 1):
        step = 1000 * i // len(evaluations)
        kept = {name: {"advantage_kept": 0.5, "constant_advantage_kept": 0.1} for name in names}
        scores = {name: {"mean": mean, "standard_error": 0.1, "episodes": 30}
                  for name, mean in means.items()}  # fmt: skip
        lines.append({"kind": "train", "step": step, "seconds": step * 0.6, "students": kept})
        lines.append({"kind": "eval", "step": step, "seconds": step * 0.6, "agents": scores})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pong in all three procedures over two seeds, Boxing in real time."""
    root = tmp_path_factory.mktemp("suite")
    for seed, shift in ((0, 0.0), (1, 1.0)):
        real = made(
            root / f"pong/real-time/seed-{seed}",
            {"teacher": -20, "net1.7": -20, "cold": -20},
            {"teacher": 15 + shift, "net1.7": 15, "cold": 10},
            seed=seed, names={"cold": "net1.7:kl:temperature=0.1:updates=2"},
        )  # fmt: skip
        made(root / f"pong/two-stage/seed-{seed}", {"teacher": 15 + shift, "net0.5": 2},
             {"teacher": 15 + shift, "net0.5": 14.9}, seed=seed, of=real)  # fmt: skip
        for net, mean in (("net1.7", -5), ("net0.5", -20.7)):  # the latter: random play
            made(root / f"pong/scratch-{net}/seed-{seed}", {"teacher": -20.7}, {"teacher": mean},
                 seed=seed, net=net)  # fmt: skip
        made(root / f"boxing/real-time/seed-{seed}", {"teacher": 0, "net1.7": 0, "cold": 1},
             {"teacher": 50, "net1.7": 25, "cold": 45}, env="ale/boxing", seed=seed,
             names={"cold": "net1.7:kl:temperature=0.1:updates=2"})  # fmt: skip
    return root


@pytest.fixture(scope="module")
def found(folder):
    return study(gather([folder]))


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return report([folder], tmp_path_factory.mktemp("page") / "report.html", clip=False)


def cell_of(found, game, procedure):
    [cell] = [c for c in found.of(f"ale/{game}") if c.procedure == procedure]
    return cell


# What learnt without a teacher.


def test_a_net_from_scratch_is_measured_by_the_best_teacher_and_called_by_its_net(found):
    cell = cell_of(found, "pong", SCRATCH)
    assert list(cell.members) == [Agent("net1.7"), Agent("net0.5")]  # one cell, two nets
    shares = [cell.results[a].share.value for a in cell.members]
    assert shares[0] == pytest.approx(100 * (-5 + 20.7) / (15.5 + 20.7)) and shares[1] == 0
    assert cell.size(Agent("net0.5")) == pytest.approx(0.005)  # of that teacher, not of itself


def test_a_teacher_outside_of_jax_may_have_no_known_size(tmp_path):
    run = made(tmp_path / "run", {"teacher": 15, "net1.7": 14})
    manifest = json.loads((run / "manifest.json").read_text())
    for net in ("onnx", "function"):
        manifest["agents"]["teacher"] |= {"net": net, "parameters": 0}
        (run / "manifest.json").write_text(json.dumps(manifest))
        assert points(study(gather([run])).cells) == []
    manifest["agents"]["teacher"]["net"] = "nature"
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="no parameters of agent 'teacher'"):
        gather([run])


def test_a_net_from_scratch_alone_has_no_share_at_all(folder, tmp_path):
    lone = folder / "pong/scratch-net1.7"
    [cell] = study(gather([lone])).cells
    assert cell.procedure == SCRATCH and cell.results[Agent("net1.7")].share is None
    text = report([lone], tmp_path / "x.html", clip=False).markdown.read_text()
    assert not re.search(r"\b100 %(?! or)", text) and "no teacher was run" in text
    assert "size against score" not in text  # there is nothing to measure by


def test_no_row_of_the_page_gives_a_net_from_scratch_or_a_teacher_a_share_of_itself(written):
    rows = [r for r in written.markdown.read_text().splitlines() if r.startswith("| ")]
    own = [row for row in rows if "from scratch" in row or row.startswith("| teacher")]
    assert len(own) >= 6
    for row in own:
        assert not [c for c in row.split(" | ")[1:2] if c.startswith("100 %")], row


def test_a_teacher_alone_under_a_setting_that_others_teach_in_is_one_more_seed(folder, tmp_path):
    made(tmp_path / "alone", {"teacher": 17}, seed=7)
    both = study(gather([folder / "pong/real-time", tmp_path]))
    [cell] = both.cells
    assert [t.seed for t in cell.members[TAUGHT_BY]] == [0, 1, 7]
    assert cell.teacher_mean(Agent("net1.7")) == 15.5  # of its own runs


# What failed.


def test_nothing_that_plays_as_at_random_is_on_the_front(found):
    dots = points(found.of("ale/pong"))
    failed = [p for p in dots if p.procedure == SCRATCH and p.name == "net0.5"]
    assert failed and not failed[0].learnt
    front = front_of(dots)
    assert failed[0] not in front and all(p.learnt for p in front)
    tiny = Point("net0.1", SCRATCH, 0.01, 99.0, None, learnt=False)  # smallest and high, by luck
    assert tiny not in front_of([*dots, tiny])


def test_the_front_holds_what_nothing_as_small_beats():
    rows = [(1, 5), (2, 4), (3, 9), (3, 8), (0.5, 1)]
    front = front_of(Point("x", None, size, score, None, True) for size, score in rows)
    assert [(p.size, p.score) for p in front] == [(0.5, 1), (1, 5), (3, 9)]


def test_a_student_is_compared_on_the_front_by_the_best_teacher_of_its_game(folder, tmp_path):
    weak = {"teacher": -10, "net0.1": -10}  # all of a bad teacher
    made(tmp_path / "weak", weak, teacher={"algorithm": "c51"})
    cells = study(gather([folder / "pong", tmp_path])).of("ale/pong")
    [dot] = [p for p in points(cells) if p.name == "net0.1"]
    assert dot.score < 35
    assert next(c for c in cells if Agent("net0.1") in c.members).shares(Agent("net0.1")) == [100]


def test_there_is_no_figure_of_a_single_dot():
    assert sizes("x", [Point("net1.7", SCRATCH, 1.7, 50.0, None, True)], "y") is None
    teachers = [Point("teacher", None, 100.0, score, None, True) for score in (90.0, 100.0)]
    assert sizes("x", teachers, "y") is None


# Seeds, agents and settings.


def test_seeds_are_put_together_by_agent_whatever_other_students_a_run_has(folder, tmp_path):
    made(tmp_path / "more", {"teacher": 12, "net1.7-kl": 12, "net25": 13}, seed=2,
         names={"net1.7-kl": "net1.7:kl"})  # fmt: skip
    [cell] = study(gather([folder / "pong/real-time", tmp_path])).cells
    seeds = {a.label: cell.results[a].seeds for a in cell.members}
    assert seeds == {"teacher": [0, 1, 2], "net1.7": [0, 1, 2], "net25": [2],
                     "net1.7, T=0.1, 2 updates": [0, 1]}  # fmt: skip
    assert cell.teacher_mean(Agent("net25")) == 12


def test_a_seed_counts_once_and_the_run_that_went_further_is_it(folder, tmp_path):
    path = made(tmp_path / "further", {"teacher": 1, "net1.7": 1}, {"teacher": 2, "net1.7": 1.5})
    lines = (path / "metrics.jsonl").read_text().replace('"step": 1000', '"step": 1001')
    (path / "metrics.jsonl").write_text(lines)
    [cell] = study(gather([folder / "pong/real-time", tmp_path])).cells
    assert cell.scores(Agent("net1.7")) == [1.5, 15]
    assert len(cell.scores(Agent("net1.7", ("T=0.1", "2 updates")))) == 2  # only there


def test_settings_are_named_by_what_differs_and_only_then():
    table = {"teacher.algorithm": "dqn", "steps": "1000", "compute": "auto", "student.updates": "1"}
    others = [table | {"teacher.algorithm": "c51"}, table | {"compute": "bfloat16"}]
    tables = [table, *others]
    assert setting_names([table], [""], "real time", table) == [""]
    assert setting_names(tables, [""] * 3, "real time", table) == ["dqn", "c51", "dqn, bfloat16"]
    names = setting_names(tables, ["real-time", "atoms", "half"], "real time", table)
    assert names == ["", "atoms", "half"]  # a suite's own, without repeating the procedure
    fallback = setting_names(tables, ["a", "a", ""], "real time", table)
    assert len(set(fallback)) == 3


def test_two_stages_of_different_teachers_are_different_settings(folder, tmp_path):
    real = made(tmp_path / "c51", {"teacher": 10, "net1.7": 9}, teacher={"algorithm": "c51"})
    made(tmp_path / "two", {"teacher": 10, "net0.5": 9}, of=real)
    found = study(gather([folder / "pong", tmp_path]))
    cells = [c for c in found.cells if c.procedure == "two stages"]
    assert {c.name: len(c.trials) for c in cells} == {"dqn": 2, "c51": 1}
    panels = {tuple(c.label for c in panel) for panel in found.panels("ale/pong")}
    assert ("real time, c51", "two stages, c51") in panels


def test_over_games_the_numbers_are_those_of_the_runs(found, written):
    rows = {o.agent.label: o for o in overall(found) if o.agent != TAUGHT_BY}
    plain = rows["net1.7"]
    shares = [np.mean(plain.shares[f"ale/{game}"]) for game in ("boxing", "pong")]
    geometric = np.sqrt(np.prod(shares))
    text = written.markdown.read_text().split("## Over games")[1]
    row = next(line for line in text.splitlines() if line.startswith("| net1.7 (real time)"))
    assert row.split(" | ")[1].startswith(f"{geometric:.1f}")
    for name, mean in (("net25", "108.3"), ("net7", "101.7"), ("net4", "84.0")):
        assert f"| {name} (Rusu et al. 2015) | {mean} |" in text


def test_what_real_time_saves_is_counted_with_the_teachers_own_steps(tmp_path):
    """Teachers of 1,000 steps in 4 evaluations; second stages of as many, but two seeds lag."""
    good, bad = {"teacher": 20, "net1.7": 20}, {"teacher": 20, "net1.7": 0}
    for env in ("ale/pong", "ale/boxing"):
        for seed, late in ((0, good), (1, bad)):
            name = f"{env[4:]}-{seed}"
            real = made(tmp_path / name, bad, good, good, late, env=env, seed=seed)
            made(tmp_path / f"{name}-two", good, good, good, good, env=env, seed=seed, of=real)
    found = study(gather([tmp_path]))
    pairs = sorted(savings.pairs(found), key=lambda pair: (pair.game, pair.real is None))
    assert [(p.game, p.real and p.real.steps, p.second.steps) for p in pairs] == [
        ("ale/boxing", 500, 250), ("ale/boxing", None, 250),
        ("ale/pong", 500, 250), ("ale/pong", None, 250),
    ]  # fmt: skip
    assert pairs[0].steps == 40 and pairs[0].as_long == 25 and pairs[0].second_stage == 25
    assert pairs[0].seconds == pytest.approx(100 * 300 / (600 + 150))
    assert pairs[1].steps is None and pairs[1].second_stage == 25
    _, _, over, by_game = savings.section(found)
    (row,) = over.rows
    cells = dict(zip(over.head, row, strict=True))
    assert cells["steps, as measured"] == cells["time, as measured"] == "40 %"
    assert cells["seeds that arrived: real time"] == cells["both"] == "2 of 4"
    assert cells["two stages"] == "4 of 4" and cells["games"] == "2"
    assert [line[0] for line in by_game.rows] == ["boxing, net1.7", "pong, net1.7"]
    one = study(gather(sorted(tmp_path.glob("pong-*"))))
    assert savings.section(one) == []  # a single game says it in its own section


def test_each_game_shows_its_smallest_good_student_that_was_kept(folder, tmp_path):
    for run in folder.glob("*/real-time/seed-*"):
        kept = tmp_path / run.relative_to(folder)
        shutil.copytree(run, kept)
        for name in ("teacher", "net1.7", *(["cold"] if "boxing" in run.parts else [])):
            (kept / "agents" / f"{name}.safetensors").touch()
    lost = made(tmp_path / "qbert", {"teacher": 9, "net1.7": 9}, env="ale/qbert")
    found = study(gather([tmp_path]))
    pairs = {game: clip.choose(game, found) for game in found.games}
    assert {game: pair and pair.student.name for game, pair in pairs.items()} == {
        "ale/boxing": "cold", "ale/pong": "net1.7", "ale/qbert": None,
    }  # fmt: skip
    assert pairs["ale/pong"].teacher.name == "teacher" and not list(lost.glob("agents/*.s*"))


def test_the_answer_names_the_smallest_net_that_is_good_enough(tmp_path):
    made(tmp_path / "a", {"teacher": 20, "net25": 20, "net1.7": 19.9, "net0.5": 12})
    found = study(gather([tmp_path]))
    assert "in real time net1.7 (" in answer.verdict("ale/pong", found)


# Curves.


def test_curves_of_seeds_stand_on_one_grid():
    one = Curve([0, 10, 20], [0.0] * 3, [0.0, 10.0, 20.0])
    other = Curve([5, 15, 25, 35], [0.0] * 4, [5.0, 15.0, 25.0, 35.0])
    course = common([one, other])
    assert course.steps.tolist() == [5, 10, 20] and course.values.shape == (2, 3)
    np.testing.assert_allclose(course.values, [course.steps] * 2)  # both are the line y = x
    assert common([one, one]).values.tolist() == [one.values] * 2  # none is made up
    assert common([one, Curve([30, 40], [0.0] * 2, [1.0, 1.0])]) is None
    long = Curve(list(range(5000)), [0.0] * 5000, [0.0] * 5000)
    assert len(common([long]).steps) == POINTS


def test_one_evaluation_makes_no_curve_and_never_an_expert_no_table(tmp_path):
    made(tmp_path / "a", {"teacher": 15, "net1.7": -5})
    text = report([tmp_path / "a"], tmp_path / "a.html", clip=False).markdown.read_text()
    assert "Evaluated return" not in text and "Time to expert" not in text
    made(tmp_path / "b", {"teacher": 0, "net1.7": -20}, {"teacher": 15, "net1.7": -5})
    text = report([tmp_path / "b"], tmp_path / "b.html", clip=False).markdown.read_text()
    after = text.split("Time to expert")[1].split("#")[0]
    assert "No agent's evaluations come to stay" in after and "|" not in after


def test_one_episode_and_one_seed_have_no_plus_or_minus(tmp_path):
    path = made(tmp_path / "a", {"teacher": 15, "net1.7": -5})
    lines = (path / "metrics.jsonl").read_text().replace('"episodes": 30', '"episodes": 1')
    (path / "metrics.jsonl").write_text(lines.replace("0.1}", "0.0}"))
    text = report([path], tmp_path / "x.html", clip=False).markdown.read_text()
    assert "± 0.0" not in text and not re.search(r"\d ±", text)
    first = next(line for line in text.splitlines() if line.startswith("| real time"))
    assert "(" not in first


# The page.


def test_a_figure_keeps_its_room_and_no_warning_is_given(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing("a title " * 20, "x", "y") as panel:
            for i in range(8):
                panel.axes.plot([0, 1], [i, i], label=f"net{i}, {'a long setting, ' * 6} 漢字")
        panel.svg()
        place, (wide, high) = panel.axes.get_position(), panel.figure.get_size_inches()
        assert place.width > 0.75 and place.height * high > 1.7 and wide < 6
        names = {f"s{i}": f"net1.7:kl:{'very.long.setting' * 3}={i}" for i in range(11)}
        made(tmp_path / "run", {"teacher": 0, **dict.fromkeys(names, 0)},
             {"teacher": 15, **dict.fromkeys(names, 14.9)}, names=names)  # fmt: skip
        report([tmp_path / "run"], tmp_path / "x.html", clip=False)


def test_no_two_agents_look_alike_and_few_part_in_grey():
    agents = [Agent(f"net{i}") for i in range(60)]
    palette = Palette(agents)
    assert len({(palette[a].colour, palette[a].marker) for a in agents}) == len(agents)
    few = Palette(agents[:8])
    lights = [luminance(few[a].colour) for a in agents[:8]]
    assert lights == sorted(lights)
    lightness = [116 * y ** (1 / 3) - 16 for y in lights]
    assert min(np.diff(lightness)) > 5
    assert len({few[a].marker for a in agents[:8]}) == 8
    one, other = Palette(agents[:3]), Palette(agents[:3])
    assert one[agents[1]] == other[agents[1]]


def luminance(colour):
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_marks_have_contrast_on_light_and_on_dark():
    light, dark = ({}, {})
    for where, block in re.findall(r"(@media [^{]*dark[^{]*\{\s*)?:root ?\{([^}]*)\}", style()):
        (dark if where else light).update(re.findall(r"--([\w-]+): ?(#[0-9a-f]{6})", block))
    assert len(light) == len(dark) >= 17  # each has its other
    for theme in (light, dark):
        for paper in ("card", "page"):
            for text in ("ink", "faint", "mark"):
                assert contrast(theme[text], theme[paper]) >= 4.5, (text, paper)
        marks = [name for name in theme if re.fullmatch(r"c\d+", name)]
        assert all(contrast(theme[name], theme["card"]) >= 3 for name in marks)
    assert [light[f"c{i}"] for i in range(8)] == list(COLOURS)
    assert [dark[f"c{i}"] for i in range(8)] == list(ON_DARK)


class Outline(HTMLParser):
    """Texts of cells, headings and paragraphs, links and ids."""

    KEPT = ("td", "th", "h1", "h2", "h3", "h4", "p", "figcaption", "dt", "dd", "li")

    def __init__(self, text):
        super().__init__()
        self.texts, self.links, self.ids, self.labels, self.inside = [], [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.links += [known["href"]] if tag == "a" else []
        self.ids += [known["id"]] if tag.startswith("h") and "id" in known else []
        self.labels += [known["aria-label"]] if tag == "svg" else []
        self.inside += tag in self.KEPT
        self.texts += [""] if tag in self.KEPT else []

    def handle_endtag(self, tag):
        self.inside -= tag in self.KEPT

    def handle_data(self, data):
        if self.inside and self.texts:
            self.texts[-1] += data


def test_the_contents_lead_to_every_section_and_the_answer_stands_before_them(found):
    blocks = numbered(compose(found, clip=False))
    [contents] = [b for b in blocks if isinstance(b, Contents)]
    sections = [b.heading if isinstance(b, Details) else b for b in blocks]
    named = [b for b in sections if isinstance(b, Heading) and b.level == 2]
    assert [anchor for _, anchor in contents.links] == [b.anchor for b in named]
    assert [text for text, _ in contents.links] == [b.text for b in named]
    page = Outline(html(blocks))
    assert page.links == [f"#{b.anchor}" for b in named] and set(page.ids) == {
        b.anchor for b in named
    }
    before = blocks[: blocks.index(contents)]
    assert any(isinstance(b, Table) for b in before) and any(isinstance(b, Picture) for b in before)


def test_markdown_says_what_the_page_says(written):
    page = Outline(written.html.read_text())
    text = unescape(re.sub(r"\\([\\`*_\[\]|~$])", r"\1", written.markdown.read_text()))
    missing = [t for t in page.texts if t.replace("\u00a0", " ") not in text]
    assert len(page.texts) > 200 and not missing


def test_each_figure_has_a_title_and_words_instead_of_its_own(found, written):
    pictures = [b for b in flatten(compose(found, clip=False)) if isinstance(b, Picture)]
    assert len({p.title for p in pictures}) == len(pictures) >= 6
    labels = Outline(written.html.read_text()).labels
    assert len(set(labels)) == len(pictures)
    assert all(re.search(r"\d", p.instead) for p in pictures)


def test_the_columns_that_answer_come_first_and_the_first_stays(found):
    tables = [b for b in flatten(compose(found, clip=False)) if isinstance(b, Table)]
    assert tables[0].head[:3] == ("game and procedure", "net1.7 (1.7 %)", "net0.5 (0.5 %)")
    assert tables[0].rows[0][0].startswith("boxing, real time")
    assert "position: sticky" in style()
    assert html([Heading("x", 1), tables[0]]).count('<th scope="row">') == len(tables[0].rows)
