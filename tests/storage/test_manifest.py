"""manifest.json: its entries, those of earlier versions, and settings that have been renamed."""

import json
from pathlib import Path

import msgspec
import pytest

from rtpd.errors import CheckpointError
from rtpd.storage import migration
from rtpd.storage.manifest import AgentInfo, Manifest, parse_manifest
from rtpd.storage.migration import migrated
from rtpd.storage.run_folder import Run

RESULTS = Path(__file__).parents[2] / "results"


def test_the_entries_at_the_start_of_a_run_are_these():
    agents = {"teacher": AgentInfo(net="nature", parameters=5, share=1.0, multiply_adds=7)}
    made = Manifest(status="starting", preset=None, commit=None, seed=0, config={}, agents=agents)
    assert msgspec.to_builtins(made) == {
        "status": "starting", "preset": None, "seed": 0, "commit": None, "config": {},
        "agents": {"teacher": {"net": "nature", "parameters": 5, "share": 1.0, "multiply_adds": 7}},
    }  # fmt: skip


def test_nothing_is_lost_of_the_manifests_of_earlier_versions():
    found = sorted(RESULTS.rglob("manifest.json"))
    assert len(found) > 20
    for file in found:
        text = json.loads(file.read_bytes())
        read = msgspec.to_builtins(parse_manifest(text, file))
        left_out = text.keys() - read.keys()
        assert all(text[name] in ({}, []) for name in left_out), file  # as if it were not there
        assert read == {name: text[name] for name in text.keys() - left_out}, file


@pytest.mark.parametrize(
    ("entries", "place"),
    [
        ({"config": 3}, "$.config"),
        ({"step": -1}, "$.step"),
        ({"agents": {"a": {"parameters": -4}}}, "$.agents[...].parameters"),
        ({"config": {"env": 3}}, "$.env"),
        ({"config": {"env": "a", "steps": 10**4000}}, "$.steps"),
        ({"resumed": [3]}, "$.resumed[0]"),
    ],
)
def test_an_entry_that_cannot_be_is_named(tmp_path, entries, place):
    with pytest.raises(CheckpointError) as error:
        parse_manifest({"config": {}} | entries, tmp_path / "manifest.json")
    assert str(error.value).startswith(f"'{tmp_path}/manifest.json' is damaged: ")
    assert f"`{place}`" in str(error.value)


def test_steps_may_be_written_as_a_person_does():
    found = parse_manifest({"config": {"steps": 1e6}, "later": 3}, Path("manifest.json"))
    assert found.settings.steps == 1_000_000


NEW = {"teacher": {"algorithm": "pqn", "net": "net4"}, "exploration": {"end": 0.1}, "seed": 3}
OLD = {"teacher": "pqn", "td": {"net": "net4"}, "explore": {"last": 0.1}, "seed": 3}


@pytest.fixture
def renamed(monkeypatch):
    names = {
        "teacher": "teacher.algorithm",
        "td.*": "teacher.*",
        "explore.last": "exploration.end",
    }
    monkeypatch.setattr(migration, "RENAMED", names)


def test_settings_are_read_under_the_names_of_today(renamed, tmp_path):
    assert migrated(OLD) == NEW
    assert migrated(NEW) == NEW == migrated(migrated(OLD))
    run = Run.create(tmp_path / "run", {"config": OLD})
    assert run.manifest["config"] == run.about.config == NEW
    run.note(status="finished")
    assert json.loads((run.path / "manifest.json").read_text())["config"] == NEW


def test_a_setting_that_has_its_new_name_already_keeps_its_value(renamed):
    both = {"td": {"net": "net4", "gamma": 0.9}, "teacher": {"net": "net7"}}
    assert migrated(both) == {"teacher": {"net": "net7", "gamma": 0.9}}


@pytest.mark.parametrize("odd", [None, 3, "td", [], {}, {"td": 3}, {"explore": "last"}])
def test_what_is_no_table_of_settings_stays_as_it_is(renamed, odd):
    assert migrated(odd) == odd
