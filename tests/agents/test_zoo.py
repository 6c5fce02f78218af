"""What ships plays as its card says, and folders for the Hub play as they are."""

import json
import re

import numpy as np
import pytest

import rtpd
from rtpd.agents import zoo
from rtpd.agents.evaluate import evaluate
from rtpd.agents.zoo.check import check_card
from rtpd.cli.main import main
from rtpd.errors import RequestError
from rtpd.storage.files import read_json
from rtpd.types import EvalResult, num_parameters

MOST_BYTES = 200_000  # of one student: they ship with the package


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_tells_of_the_file_beside_it(name):
    card, file = zoo.card(f"zoo:{name}"), zoo.weights(f"zoo:{name}")
    policy = rtpd.load_policy(f"zoo:{name}")  # verifies the sha256
    assert (card["game"], card["agent"]) == (policy.spec.name, policy.provenance["agent"])
    assert card["game"].removeprefix("ale/") == name.split("/")[0]
    assert card["parameters"] == num_parameters(policy.net) < card["teacher"]["parameters"] / 4
    assert card["bytes"] == file.stat().st_size < MOST_BYTES
    assert len(card["returns"]) == card["episodes"] >= 100
    assert card["mean"] == pytest.approx(np.mean(card["returns"]))
    assert card["standard_error"] == pytest.approx(
        np.std(card["returns"], ddof=1) / len(card["returns"]) ** 0.5
    )
    assert re.fullmatch("[0-9a-f]{40}", card["training"]["commit"])
    assert policy(np.zeros((4, 84, 84), np.uint8)).shape == (policy.spec.num_actions,)


def test_the_smallest_student_plays_as_its_card_says():
    name = min(zoo.names(), key=lambda name: zoo.card(f"zoo:{name}")["parameters"])
    result = evaluate(f"zoo:{name}", episodes=6, seed=3)
    assert result["card"]["holds"], result["card"]
    row = result["agents"][zoo.card(f"zoo:{name}")["agent"]]
    assert 0 < row["share"] < 0.25


@pytest.mark.parametrize(
    ("mean", "epsilon", "holds"),
    [(10, 0.05, True), (7, 0.05, False), (13, 0.05, False), (7, 0.5, None)],
)
def test_a_card_holds_where_chance_explains_the_difference(mean, epsilon, holds):
    returns = tuple(10 + 2 * np.random.default_rng(0).standard_normal(100))
    card = {"returns": returns, "mean": 10.0, "standard_error": 0.2, "episodes": 100,
            "epsilon": 0.05}  # fmt: skip
    played = EvalResult("a", "ale/pong", (mean,) * 10, (1,) * 10, epsilon)
    assert check_card(card, played)["holds"] is holds


def test_chance_alone_refutes_a_card_in_a_twentieth_of_cases():
    rng = np.random.default_rng(1)
    refuted = 0
    for _ in range(2000):
        card = {"returns": rng.standard_normal(100), "standard_error": 0.1, "episodes": 100,
                "epsilon": 0.05}  # fmt: skip
        card["mean"] = card["returns"].mean()
        played = EvalResult("a", "ale/pong", tuple(rng.standard_normal(10)), (1,) * 10, 0.05)
        refuted += not check_card(card, played)["holds"]
    assert refuted / 2000 == pytest.approx(0.05, abs=0.015)


def test_the_command_line_lists_them_and_knows_the_nearest(capsys):
    assert main(["zoo"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in zoo.names())
    assert main(["zoo", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == zoo.names()
    assert main(["evaluate", "zoo:pong/net17"]) == 2
    assert "pong/net1.7" in capsys.readouterr().err


def test_a_hub_folder_plays_as_it_is(tmp_path, capsys):
    name = "zoo:pong/net0.1"
    out = tmp_path / "pong-net0.1"
    assert main(["export", name, "--to", "hub", "--out", str(out), "--episodes", "1"]) == 0
    capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    mine, its = rtpd.load_policy(name), rtpd.load_policy(out)
    frames = np.random.default_rng(0).integers(0, 256, (4, 84, 84), np.uint8)
    assert np.array_equal(mine(frames), its(frames))
    assert evaluate(out, episodes=1)["agents"]["net0.1"]["returns"]
    card = (out / "README.md").read_text()
    front = dict(line.split(": ", 1) for line in card.split("---\n")[1].splitlines())
    found = {key: json.loads(value) for key, value in front.items()}
    assert found["library_name"] == "rtpd" and "ale/pong" in found["tags"]
    metric = found["model-index"][0]["results"][0]["metrics"][0]
    assert metric["type"] == "mean_reward" and float(metric["value"].split(" ")[0]) < 22
    assert "1,605 parameters" in card
    about = read_json(out / "config.json")
    about["agent"] = "x"
    (out / "config.json").write_text(json.dumps(about))
    assert main(["evaluate", str(out)]) == 1 and "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "word"), [(["--int8"], "--int8"), (["--out", "."], "is a folder")]
)
def test_what_a_hub_folder_cannot_be(flags, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "zoo:pong/net0.1", "--to", "hub", *flags]) == 2
    assert word in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_student_that_is_not_there():
    with pytest.raises(RequestError, match="unknown student of the zoo"):
        rtpd.load_policy("zoo:pong/teacher")
    with pytest.raises(RequestError):
        rtpd.load_policy("zoo:../../x")
