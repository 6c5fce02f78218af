"""results/: EXPERIMENT/GAME/VARIANT/seed-N, each as experiments/EXPERIMENT.toml plans it."""

import re
from pathlib import Path

import pytest

from rtpd.config.loading import flat, to_dict
from rtpd.report.gather import ASIDE
from rtpd.storage.run_folder import MANIFEST, Run
from rtpd.suite import plan, suite_file

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
README = (RESULTS / "README.md").read_text()
FILES = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.*"))
EXPERIMENTS = sorted({file.split("/")[0] for file in FILES if file.endswith(f"/{MANIFEST}")})

RUN = r"[\w.-]+/[\w.-]+/[\w.-]+/seed-\d+"
ALLOWED = re.compile(
    r"README\.md|measurements/[\w.-]+\.json|"
    rf"{RUN}/(manifest\.json|metrics\.jsonl|evaluation\.json|agents/[\w.-]+\.json)"
)
LARGEST = 5_000_000  # bytes of a file


def test_there_are_runs_and_measurements_and_nothing_else():
    files = [file for file in FILES if (RESULTS / file).is_file()]
    assert len(EXPERIMENTS) >= 10
    assert [file for file in files if not ALLOWED.fullmatch(file)] == []
    assert [file for file in files if (RESULTS / file).stat().st_size > LARGEST] == []


def test_the_readme_tells_of_every_experiment_and_measurement():
    told = re.findall(r"^\| `([\w.-]+)` \|", README, re.MULTILINE)
    measured = [Path(file).stem for file in FILES if file.startswith("measurements/")]
    assert sorted(told) == sorted([*EXPERIMENTS, *measured])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_run_is_one_that_its_suite_file_plans(name):
    """With its settings, but for those of an earlier version; students may have been added."""
    file = ROOT / "experiments" / f"{name}.toml"
    suite = suite_file.read(file)
    planned = {(e.game, e.variant): e for e in plan.experiments(file, suite)}
    runs = sorted((RESULTS / name).rglob(MANIFEST))
    assert runs
    for run in (path.parent for path in runs):
        game, variant, seed = run.parts[-3:]
        assert int(seed.removeprefix("seed-")) in suite.seeds
        config = flat(to_dict(planned[f"ale/{game}", variant].config))
        manifest = Run.open(run).about
        assert (manifest.config["env"], manifest.seed) == (f"ale/{game}", int(seed[5:]))
        ran = {
            key: value
            for key, value in flat(manifest.config).items()
            if key == "students" or key not in ASIDE
        }
        assert set(config["students"]) <= set(ran.pop("students")), run
        assert {key: config[key] for key in ran if key in config} == {
            key: value for key, value in ran.items() if key in config
        }, run
