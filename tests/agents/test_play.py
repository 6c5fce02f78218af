"""Agents that are watched: the same games as in an evaluation, shown in step, as films or not."""

import io
import json
import os
import subprocess
import sys
import termios
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import rtpd
from rtpd import envs
from rtpd.agents.evaluate import evaluate
from rtpd.agents.play import film, game, play
from rtpd.agents.play.live import Terminal
from rtpd.agents.play.picture import called, draw
from rtpd.agents.store import save
from rtpd.cli.main import main
from rtpd.errors import RequestError
from rtpd.networks import architectures
from rtpd.networks.heads import Logits, Scalar
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.types import EnvSpec, Preprocess

PONG = EnvSpec("ale/pong", 6, (84, 84), action_meanings=("NOOP", "FIRE", "UP", "DOWN", "A", "B"))
ENDLESS = EnvSpec("probe/endless", 2, (1,), "float32", stack=1)
SHORT = {"environment": {"max_episode_frames": 240}}  # 60 agent steps


def agent(folder, name="a", spec=PONG, seed=0):
    """A fresh net as a file."""
    net = architectures.build(
        "net0.1" if spec.is_image else "mlp4", spec, spec.num_actions, key=jr.key(seed)
    )
    about = {"agent": name, "net": "net0.1" if spec.is_image else "mlp4", "teacher": "dqn"}
    about |= {"dueling": False, "norm": False, "num_outputs": spec.num_actions, **SHORT}
    preprocess = Preprocess(jnp.zeros(spec.frame_shape), jnp.float32(255))
    path = folder / f"{name}.safetensors"
    save(path, Policy(net, preprocess, spec, about))
    return path


@pytest.mark.parametrize("spec", [PONG, ENDLESS])
def test_a_watched_episode_is_that_of_an_evaluation(tmp_path, spec):
    file = agent(tmp_path, spec=spec)
    played = play(file, epsilon=0.3, seed=5)
    row = evaluate(file, episodes=1, epsilon=0.3, seed=5)["agents"]["a"]
    assert played["returns"] == row["returns"]
    assert played["status"] == "finished" and played["file"] is None


def test_the_screen_in_colour_keeps_in_step_with_what_the_agent_sees():
    options = envs.EnvOptions(sticky_actions=0.25, max_episode_frames=240)
    env, screen = envs.make("ale/breakout", 1, options), envs.screen("ale/breakout", options)
    actions = np.random.default_rng(0).integers(0, 4, 150)
    try:
        frame, picture = env.reset(7).frame[0], screen.reset(7)
        for action in actions:
            assert picture.shape == (210, 160, 3)
            grey = Image.fromarray(picture).convert("L").resize((84, 84), Image.Resampling.BOX)
            assert np.abs(np.asarray(grey, float) - frame).mean() < 3
            env.send(np.array([action]))
            frame, picture = env.recv().frame[0], screen.step(int(action))
    finally:
        env.close()
        screen.close()


def test_an_agent_agrees_with_itself_and_not_with_another(tmp_path):
    one, two = agent(tmp_path), agent(tmp_path, "b", seed=1)
    same = play(one, versus=one, episodes=2, epsilon=1.0)
    assert same["agreement"] == 1 and same["versus"] == "a (2)"
    other = play(one, versus=two, episodes=2, epsilon=1.0)
    assert other["agreement"] < 1 and other["returns"] == same["returns"]
    assert other["steps"] == sum(other["lengths"])


@pytest.mark.parametrize("preset", ["cpu", "ppo-cpu"])
def test_versus_may_be_an_agent_of_the_same_run(tmp_path, preset):
    usual = rtpd.load_config(preset)
    settings = replace(
        usual, env="probe/endless", students=("mlp4:kl",), steps=64,
        teacher=replace(usual.teacher, net="mlp8"),
    )  # fmt: skip
    run = tmp_path / "run"
    rtpd.train(settings, out=run)
    result = play(run, "mlp4", versus="teacher")
    assert result["versus"] == "teacher" and 0 <= result["agreement"] <= 1
    with pytest.raises(RequestError, match="unknown agent 'techer': did you mean 'teacher'"):
        play(run, "mlp4", versus="techer")
    with pytest.raises(RequestError, match="which agent"):
        play(run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["student"]["of_an_earlier_rtpd"] = 1
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert evaluate(run, episodes=1)["env"] == "probe/endless"


def test_steps_end_it_early_and_the_film_has_a_picture_of_each(tmp_path):
    out = tmp_path / "a.gif"
    result = play(agent(tmp_path), steps=7, out=out, fps=10)
    assert (result["steps"], result["returns"], result["mean"]) == (7, [], None)
    with Image.open(out) as image:
        assert image.n_frames == 7 and image.info["duration"] == 100
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".rtpd")] == []


@pytest.mark.parametrize("suffix", film.SUFFIXES)
def test_films_show_what_was_drawn(tmp_path, suffix):
    file, out, drawn = agent(tmp_path), tmp_path / f"a{suffix}", []
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    cast = []

    class Watching:
        def show(self, moment):
            drawn.append(np.asarray(draw(cast[0], moment)))

        def close(self):
            pass

    def view(given):
        cast.append(given)
        return Watching()

    play(file, versus=agent(tmp_path, "b", seed=1), steps=12, out=out, view=view, epsilon=0.5)
    if suffix == ".mp4":
        from imageio_ffmpeg import get_ffmpeg_exe

        command = [get_ffmpeg_exe(), "-i", out, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        shown = list(np.frombuffer(raw, np.uint8).reshape(-1, *drawn[0].shape))
    else:
        with Image.open(out) as image:
            shown = []
            for i in range(image.n_frames):
                image.seek(i)
                shown.append(np.asarray(image.convert("RGB")))
    assert len(shown) == len(drawn) == 12
    for picture, original in zip(shown, drawn, strict=True):
        assert picture.shape == original.shape
        assert np.abs(picture.astype(float) - original).mean() < 6


def test_the_longest_bar_is_the_greedy_action_s():
    policy = HostPolicy(lambda obs: np.zeros((len(obs), 6), np.float32), PONG, {})
    cast = game.Cast({"a": policy}, "")
    q = {"a": np.array([0.0, 2.0, 1.0, 0.5, 0.0, 0.0])}
    behind = {"a": (2 - q["a"]) / 2}
    moment = game.Moment(None, q, behind, 3, 1, 2, 0.0, False)
    pixels = np.asarray(draw(cast, moment))
    from rtpd.agents.play import picture

    longest = [(pixels == colour).all(-1).sum(axis=1).max() for colour in
               (picture.BEST, picture.BAR)]  # fmt: skip
    assert longest[0] > longest[1] > 0


def test_the_terminal_shows_the_game_and_gives_the_screen_back(tmp_path):
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=90, height=30, color_system="truecolor")
    play(
        agent(tmp_path), versus=agent(tmp_path, "b", seed=1), steps=3,
        view=lambda cast: Terminal(console, cast, 240),
    )  # fmt: skip
    text = said.getvalue()
    for piece in ("▀", "NOOP", "█", "episode 1", "agree", "\x1b[?25l", "\x1b[?25h"):
        assert piece in text or (piece == "agree" and "differ" in text), piece


def test_q_ends_the_show_and_the_terminal_is_as_it_was(tmp_path, monkeypatch):
    person, end = os.openpty()
    with open(end, closefd=True) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        before = termios.tcgetattr(end)
        console = Console(file=io.StringIO(), force_terminal=True, width=90, height=30)

        def view(cast):
            shown = Terminal(console, cast, 240)
            os.write(person, b"xQ")
            return shown

        result = play(agent(tmp_path), view=view)
        assert (result["status"], result["steps"], result["returns"]) == ("finished", 1, [])
        assert termios.tcgetattr(end) == before
    os.close(person)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"out": "a.avi"}, ("a.avi", ".webp")),
        ({"out": "no/a.gif"}, ("no folder", "no")),
        ({"episodes": 0}, ("--episodes 0", "1 to")),
        ({"fps": 0}, ("--fps 0", "1 to 240")),
        ({"steps": 0}, ("--steps 0",)),
        ({"versus": "zoo:pong/net17"}, ("pong/net17", "did you mean")),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line_before_anything_starts(
    tmp_path, monkeypatch, given, words
):
    monkeypatch.chdir(tmp_path)
    file = agent(tmp_path)
    with pytest.raises(RequestError) as error:
        play(file, **given)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_agents_of_different_games_are_not_compared(tmp_path):
    other = replace(PONG, name="ale/breakout", num_actions=4, action_meanings=())
    with pytest.raises(RequestError, match=r"its name is ale/breakout, the first's ale/pong"):
        play(agent(tmp_path), versus=agent(tmp_path, "b", spec=other))


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = str(agent(tmp_path))
    assert main(["play", file, "--steps", "5", "--out", "a.webp"]) == 0
    assert "a.webp" in capsys.readouterr().out and (tmp_path / "a.webp").is_file()
    assert main(["play", file, "--episodes", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["returns"]) == 2
    assert main(["play", "nothing"]) == 2


def test_an_interrupted_film_leaves_nothing(tmp_path):
    file, out = agent(tmp_path), tmp_path / "a.webp"
    code = (
        "import os, signal, sys; from rtpd.agents.play import play\n"
        f"def tell(text): os.kill(os.getpid(), signal.SIGINT)\n"
        f"r = play({str(file)!r}, out={str(out)!r}, episodes=9, tell=tell)\n"
        "sys.exit(0 if r['status'] == 'interrupted' and len(r['returns']) == 1 else 1)"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    assert not out.exists()


def test_the_example_takes_a_teacher_of_others_to_an_onnx_file(tmp_path):
    root = Path(__file__).parents[2]
    out = tmp_path / "run"
    command = [sys.executable, root / "examples/bring_your_own_teacher.py"]
    command += [root / "tests/data/sb3-cartpole-dqn.zip", "gym/CartPole-v1"]
    done = subprocess.run(
        [*command, "--steps", "2500", "--out", out], capture_output=True, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "58 parameters" in done.stdout and "action on 100 %" in done.stdout
    assert (out / "mlp8.onnx").is_file()


def test_packed_pictures_are_seen_one_by_one():
    frames = [np.full((4, 6, 3), i, np.uint8) for i in range(3)]
    reel = film._Reel([zlib.compress(f.tobytes()) for f in frames], (6, 4))
    for i in (2, 0, 1):
        reel.seek(i)
        assert (np.asarray(reel.copy()) == i).all() and reel.tell() == i
    with pytest.raises(EOFError):
        reel.seek(3)


@pytest.mark.parametrize(
    ("head", "loss", "word"),
    [
        (Scalar(), None, "value"),
        (Logits(), None, "logit"),
        (Scalar(), "kl", "logit"),
        (Scalar(), "mse", "value"),
    ],
)
def test_the_outputs_of_a_policy_are_not_called_values(head, loss, word):
    assert called(SimpleNamespace(head=head, provenance={"loss": loss})) == word
