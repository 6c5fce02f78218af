"""The part of a report that tells how its runs were made."""

import shlex
from collections import Counter

from rtpd.config.loading import load_config, presets, to_dict
from rtpd.report.blocks import Block, Details, Facts, Heading, Table, Text
from rtpd.report.cells import SCRATCH
from rtpd.report.gather import RunHistory, flat
from rtpd.report.naming import TAUGHT_BY, differing
from rtpd.report.study import Study
from rtpd.report.trials import Trial, above_chance
from rtpd.report.words import game_name
from rtpd.system.formatting import duration, show


def section(study: Study, anchor: str) -> Details:
    """Settings, then every run, then every final evaluation, folded away."""
    groups = _groups(study)
    inner: list[Block] = []
    if len(groups) > 1:
        inner += [Text("Where runs differ, beside what most of them have:"), _differences(groups)]
    for name, runs in groups.items():
        parts = (Facts(_facts(runs)), _runs(runs, study, name))
        inner.append(Details(Heading(name, 4), parts))
    evaluations = Details(Heading("Final evaluations of every run", 4), tuple(_evaluations(study)))
    return Details(Heading("Settings and provenance", 2, anchor), (*inner, evaluations))


def _groups(study: Study) -> dict[str, list[RunHistory]]:
    """Every run, by the names of its game, procedure and setting."""
    groups: dict[str, list[RunHistory]] = {}
    for cell in study.cells:
        name = f"{game_name(cell.game)}, {cell.label}"
        groups[name] = sorted((trial.run for trial in cell.trials), key=lambda run: run.order)
    rest = [run for run in study.runs if not run.evaluations]
    return groups | ({"not evaluated yet": rest} if rest else {})


def _differences(groups: dict[str, list[RunHistory]]) -> Table:
    """Of each group, the settings that are others than the commonest."""
    tables = {name: runs[0].settings for name, runs in groups.items()}
    keys = differing([*tables.values()])
    common = {key: Counter(t.get(key, "") for t in tables.values()).most_common(1)[0][0]
              for key in keys}  # fmt: skip
    usual = ", ".join(f"{key} {common[key] or '-'}" for key in keys)
    rows = [("most", usual)]
    for name, table in tables.items():
        other = [f"{k} {table.get(k) or '-'}" for k in keys if table.get(k, "") != common[k]]
        rows.append((name, ", ".join(other) or "as most"))
    return Table(("runs", "settings"), tuple(rows), 2, "Where runs differ")


def _facts(runs: list[RunHistory]) -> tuple[tuple[str, str], ...]:
    """What the runs of a setting share, or each thing that they do not."""
    manifests = [run.manifest for run in runs]

    def all_of(values: list[str | None]) -> str:
        return "; ".join(dict.fromkeys(value for value in values if value)) or "-"

    versions = [", ".join(f"{k} {v}" for k, v in m.versions.items() if v) for m in manifests]
    return (
        ("preset", all_of([m.preset for m in manifests])),
        ("other than the preset", _beyond_preset(runs[0])),
        ("command", shlex.join(manifests[0].command) or "-"),
        ("commit", all_of([m.commit for m in manifests])),
        ("device", all_of([m.device for m in manifests])),
        ("machine", all_of([m.machine for m in manifests])),
        ("python", all_of([m.python for m in manifests])),
        ("versions", all_of([*versions])),
        ("distilled from", all_of([m.distilled_from for m in manifests])),
    )


def _beyond_preset(run: RunHistory) -> str:
    """The settings that differ from the preset as this rtpd has it, or else from the defaults."""
    preset = run.manifest.preset
    base = flat(to_dict(load_config(preset if preset in presets() else None)))
    own = flat(run.manifest.config)
    other = [f"{key} {own[key]}" for key in sorted(own) if base.get(key) != own[key]]
    return ", ".join(line for line in other if not line.startswith(("env ", "seed "))) or "nothing"


def _runs(runs: list[RunHistory], study: Study, name: str) -> Table:
    head = ("run", "games", "seed", "status", "started (UTC)", "agent steps", "wall time")
    uncounted = {run.path for run in study.uncounted}
    rows = []
    for run in runs:
        about, notes = run.manifest, [run.manifest.status]
        if not run.evaluations:
            notes.append("no evaluation yet")
        if run.path in uncounted:
            notes.append("not counted: another run of this setting and seed went as far or further")
        steps = [line.step for line in (*run.training, *run.evaluations)]
        rows.append(
            (
                str(run.path), ", ".join(map(game_name, run.games)), str(run.seed),
                ", ".join(notes), about.started or "-", show(max(steps, default=None)),
                duration(run.seconds),
            )
        )  # fmt: skip
    return Table(head, tuple(rows), 5, f"Runs, {name}")


def _evaluations(study: Study) -> list[Block]:
    about = (
        "Mean return ± standard error over the episodes of the last evaluation. Here the 95 % "
        "interval of % of teacher is over episodes of one run, and so tells nothing of other seeds."
    )
    head = (
        "run", "game", "agent", "agent steps", "episodes", "mean return ± s.e.",
        "of teacher's return (95 % over episodes)",
    )  # fmt: skip
    pairs = [(trial, cell) for cell in study.cells for trial in cell.trials]
    rows = tuple(row for trial, cell in pairs for row in _lines(trial, cell.procedure))
    return [Text(about), Table(head, rows, 3, "Final evaluations of every run")]


def _lines(trial: Trial, procedure: str) -> list[tuple[str, ...]]:
    rows, teacher = [], trial.final(TAUGHT_BY)
    measures = teacher is not None and above_chance(trial.random_score, [teacher])
    for agent, name in trial.agents.items():
        score = trial.final(agent)
        if score is None:
            continue
        many = score.standard_error is not None and score.episodes != 1
        error = f" ± {show(score.standard_error, ',.1f')}" if many else ""
        low, high = (score.percent_interval if many else None) or (None, None)
        over = "" if low is None else f" ({show(low)} to {show(high)})"
        share = show(score.percent_of_teacher, unit=" %") + over
        own = agent == TAUGHT_BY  # nothing is a share of itself
        shown = (
            f"{trial.about(agent).net} from scratch" if own and procedure == SCRATCH else str(name)
        )
        rows.append(
            (
                str(trial.run.path), game_name(trial.game), shown, show(trial.run.reach),
                show(score.episodes), show(score.mean, ",.1f") + error,
                share if measures and not own else "-",
            )
        )  # fmt: skip
    return rows
