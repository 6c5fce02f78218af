"""The part of a report that tells how its runs were made."""

import shlex

from rtpd.config.loading import load_config, presets, to_dict
from rtpd.report.blocks import Block, Facts, Heading, Table, Text
from rtpd.report.cells import Study, Trial
from rtpd.report.gather import RunHistory, flat
from rtpd.report.words import game_name
from rtpd.system.formatting import duration, show


def section(study: Study) -> list[Block]:
    """Settings, then every run, then every final evaluation."""
    blocks: list[Block] = [Heading("Settings and provenance")]
    if len(study.settings) > 1:
        head = ("differs", *study.settings)
        firsts = [runs[0].settings for runs in study.settings.values()]
        rows = tuple((k, *(f.get(k) or "-" for f in firsts)) for k in study.differing)
        blocks += [Text("The settings in which runs differ:"), Table(head, rows)]
    for name, runs in study.settings.items():
        blocks += [Heading(name, 3), Facts(_facts(runs)), _runs(runs, study)]
    return [*blocks, Heading("Final evaluations of every run", 3), *_evaluations(study)]


def _facts(runs: tuple[RunHistory, ...]) -> tuple[tuple[str, str], ...]:
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


def _runs(runs: tuple[RunHistory, ...], study: Study) -> Table:
    head = ("run", "games", "seed", "status", "started (UTC)", "agent steps", "wall time")
    rows = []
    for run in runs:
        about, notes = run.manifest, [run.manifest.status]
        if not run.evaluations:
            notes.append("no evaluation yet")
        if run in study.uncounted:
            notes.append("not counted: another run of this setting and seed has gone further")
        steps = [line.step for line in (*run.training, *run.evaluations)]
        rows.append(
            (
                str(run.path), ", ".join(map(game_name, run.games)), str(run.seed),
                ", ".join(notes), about.started or "-", show(max(steps, default=None)),
                duration(run.seconds),
            )
        )  # fmt: skip
    return Table(head, tuple(rows), 5)


def _evaluations(study: Study) -> list[Block]:
    about = (
        "Mean return ± standard error over the episodes of the last evaluation. Here the 95 % "
        "interval of % of teacher is over episodes of one run, and so tells nothing of other seeds."
    )
    head = (
        "run", "game", "agent", "agent steps", "episodes", "mean return ± s.e.",
        "of teacher's return (95 % over episodes)",
    )  # fmt: skip
    trials = [trial for cell in study.cells for trial in cell.trials]
    return [Text(about), Table(head, tuple(row for t in trials for row in _lines(t)), 3)]


def _lines(trial: Trial) -> list[tuple[str, ...]]:
    rows = []
    for name in trial.agents:
        score = trial.final.get(name)
        if score is None:
            continue
        error = "" if score.standard_error is None else f" ± {show(score.standard_error, ',.1f')}"
        low, high = score.percent_interval or (None, None)
        over = "" if low is None else f" ({show(low)} to {show(high)})"
        rows.append(
            (
                str(trial.run.path), game_name(trial.game), name, show(trial.run.reach),
                show(score.episodes), show(score.mean, ",.1f") + error,
                show(score.percent_of_teacher, unit=" %") + over,
            )
        )  # fmt: skip
    return rows
