"""A run in the browser: what is served to whom, what it says of a run that changes, who plays."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromium import PROGRAM, Chromium
from hypothesis import given
from hypothesis import strategies as st
from watched import EVIL, PONG, agent, ask, eval_line, new_run, told, train_line

from rtpd.agents.play import play
from rtpd.cli.main import main
from rtpd.errors import RequestError
from rtpd.watch import pool, server, serving
from rtpd.watch.metrics import MOST_POINTS, Metrics, thinned
from rtpd.watch.pool import ShowPool
from rtpd.watch.server import PAGES, Server


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = new_run(tmp_path_factory.mktemp("runs") / "pong-1")
    for step in range(100, 1000, 100):
        found.append(train_line(step))
    found.append(eval_line(500))
    return found


@pytest.fixture(scope="module")
def url(run):
    with serving(run.path) as address:
        yield address


def test_every_page_is_served_under_a_strict_policy(url):
    shipped = {p.name for p in Path(server.__file__).with_name("page").iterdir()} | {"style.css"}
    assert {Path(name).name for name, _ in PAGES.values()} == shipped
    for path in PAGES:
        status, headers, body = ask(url, path)
        policy = headers["Content-Security-Policy"]
        assert status == 200 and body and "default-src 'none'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http" not in body.replace(b"http://www.w3.org/2000/svg", b"")  # nothing from afar
        assert ask(url, path, "HEAD")[2] == b""


@pytest.mark.parametrize(
    "path",
    [
        "/manifest.json", "/metrics.jsonl", "/agents/teacher.json", "/../manifest.json",
        "/%2e%2e/manifest.json", "/./index.html", "/watch/page/index.html", "//etc/passwd",
        "/..%2f..%2f..%2fetc/passwd", "/run.json/../../manifest.json", "/page/", "/index.html",
    ],
)  # fmt: skip
def test_no_address_leads_to_another_file(url, path):
    assert ask(url, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_nothing_can_be_changed(url, method):
    assert ask(url, "/run.json", method)[0] in (405, 501)


@pytest.mark.parametrize("path", ["/", "/run.json", "/games.json?agent=teacher"])
def test_pages_elsewhere_cannot_read_it(url, path):
    port = urlsplit(url).port
    others = [[f"evil.example:{port}"], ["127.0.0.1.evil.example"], ["localhost@evil.example"]]
    others += [["evil.example", f"127.0.0.1:{port}"], [], ["127.0.0.1:80:80"], ["0.0.0.0"]]
    for hosts in others:
        assert ask(url, path, hosts=hosts)[0] == 403, hosts
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "localhost:9000"):  # a tunnel's port
        assert ask(url, path, hosts=[host])[0] == 200, host
    for site in ("cross-site", "same-site"):
        assert ask(url, path, Sec_Fetch_Site=site)[0] == (200 if path == "/" else 403)
    assert "Access-Control-Allow-Origin" not in ask(url, path, Origin="http://evil.example")[1]


def raw(url, data, patience=30):
    """What is answered to these bytes, until the connection is closed."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), patience) as link:
        link.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: link.recv(2**16), b""))


HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"


def test_an_address_that_is_none_is_told_so(url):
    answer = raw(url, b"GET http://[::1/run.json" + HEAD + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("more", [b"Content-Length: 60\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_the_body_of_a_request_is_no_second_request(url, more):
    answer = raw(url, b"GET /icon.svg" + HEAD + more + b"\r\nGET /style.css" + HEAD + b"\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in answer


def test_two_hundred_at_once_are_all_answered(url):
    gate = threading.Barrier(200)

    def one(_):
        gate.wait()
        return raw(url, b"GET /run.json" + HEAD + b"Connection: close\r\n\r\n", 60)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(one, range(200)))
    assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 200


def test_slow_connections_hold_few_threads_and_none_for_long(run, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 16)
    monkeypatch.setattr(server, "HEAD_SECONDS", 3.0)
    with serving(run.path) as url, contextlib.ExitStack() as links:
        place = urlsplit(url).hostname, urlsplit(url).port
        before = threading.active_count()
        slow = [links.enter_context(socket.create_connection(place, 60)) for _ in range(60)]
        busy = [link.recv(100)[:12] for link in slow[16:]]
        assert busy == [b"HTTP/1.1 503"] * 44
        assert threading.active_count() <= before + 16
        for link in slow[:16]:
            with contextlib.suppress(ConnectionError):  # it may be closed by now
                link.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
                assert link.recv(100) == b""
        assert told(url)["env"] == "ale/pong"


def test_it_listens_on_this_machine_alone(run):
    server = Server({"pong-1": run.path}, 0)
    try:
        assert server.socket.getsockname()[0] == "127.0.0.1"
    finally:
        server.server_close()


def test_the_page_is_told_what_the_metrics_say(run, url):
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    played = [line for line in lines if line["kind"] == "eval"]
    answer = told(url)
    curves = answer["curves"]
    returns = [[t["step"], t["teacher"]["return"]] for t in train]
    assert curves["return"] == {"teacher": [p for p in returns if p[1] is not None]}
    for curve, key in (("advantage", "advantage_kept"), ("constant", "constant_advantage_kept")):
        points = [[t["step"], t["students"]["net0.1"][key]] for t in train]
        assert curves[curve] == {"net0.1": points}
    for name in ("teacher", "net0.1"):
        assert curves["score"][name] == [[e["step"], e["agents"][name]["mean"]] for e in played]
        assert curves["error"][name] == [e["agents"][name]["standard_error"] for e in played]
    teacher, student = answer["agents"]
    assert (teacher["teacher"], student["teacher"]) == (True, False)
    assert student["parameters"] == "1,605" and student["share"] == "50 %" and student["saved"]
    assert student["score"] == "55.6 ± 0.5" and student["of_teacher"] == "99 % (90 to 102)"
    assert teacher["trained"] == "300.0" and student["advantage"] == "28 %"
    assert answer["status"] == "running" and answer["done"] == 0.09
    assert answer["progress"] == "900 of 10,000 steps (9 %), running, ETA 3 min"
    assert {"ale/pong", "seed 3", "50 steps/s"} <= set(answer["facts"])
    assert answer["clock"] == [[0, 0.0], *([t["step"], t["seconds"]] for t in train)]


def test_what_a_page_has_seen_is_not_sent_again_until_there_is_more(tmp_path):
    run = new_run(tmp_path / "run", saved=False)
    with serving(run.path) as url:
        first = told(url)
        assert first["curves"] == {"error": {}} and not first["agents"][0]["saved"]
        assert "curves" not in told(url, seen=first["version"])
        run.append(train_line(300))
        second = told(url, seen=first["version"])
        assert second["curves"]["return"] == {"teacher": [[300, 100.0]]}
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(train_line(400))[:80])  # a line that is still being written
            file.flush()
            assert "curves" not in told(url, seen=second["version"])
            file.write(json.dumps(train_line(400))[80:] + "\n")
        third = told(url, seen=second["version"])
        assert [p[0] for p in third["curves"]["return"]["teacher"]] == [300, 400]
        agent(run, "teacher")
        assert told(url, seen=third["version"])["agents"][0]["saved"]
        run.note(status="finished")
        assert told(url, seen=third["version"])["status"] == "finished"


def test_a_run_that_goes_comes_back_or_begins_anew_is_followed(tmp_path):
    run = new_run(tmp_path / "run", saved=False)
    for step in (300, 600, 900):
        run.append(train_line(step))
    with serving(run.path) as url:
        told(url)
        run.cut(lambda record: record["step"] <= 300)  # as a resumed run does
        run.append(train_line(500))
        run.append(train_line(700, seconds=1.0))
        assert [p[0] for p in told(url)["curves"]["return"]["teacher"]] == [300, 500, 700]
        shutil.move(run.path, tmp_path / "elsewhere")
        assert "is not a run folder" in told(url)["trouble"]
        again = new_run(tmp_path / "run", saved=False)
        assert told(url)["curves"] == {"error": {}}
        again.append(train_line(350))
        assert told(url)["curves"]["return"] == {"teacher": [[350, 350 / 3]]}


ODD = (b"", b"{", b"[1]", b"null", b'{"kind":"rollback","step":3}', b'{"kind":"train","step":-1}',
       b'{"kind":"train","step":1e99}', b'{"kind":"eval","step":1,"agents":{"a":{"mean":NaN}}}',
       b'{"kind":"train","step":5,"students":{"a":{"advantage_kept":"x"}}}',
       b"[" * 5000)  # fmt: skip


@given(
    st.lists(st.one_of(st.sampled_from(ODD), st.integers(0, 9_000)), max_size=20),
    st.lists(st.integers(0, 4_000), max_size=6),
)
def test_reading_in_pieces_finds_what_reading_at_once_does(given_lines, cuts):
    lines = [
        json.dumps(train_line(n) if n % 3 else eval_line(n)).encode() if isinstance(n, int) else n
        for n in given_lines
    ]
    data = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "metrics.jsonl"
        pieces, once = Metrics(file), Metrics(file)
        for start, end in pairwise(places):
            with file.open("ab") as out:
                out.write(data[start:end])
            pieces.read()
        once.read()
    assert pieces.curves == once.curves and pieces.errors == once.errors
    assert (pieces.rows, pieces.scores, pieces.last) == (once.rows, once.scores, once.last)
    for name, score in once.scores.items():  # the latest
        assert score.mean == once.curves["score"][name][-1][1]
    good = [n for n in given_lines if isinstance(n, int) and n % 3 and n > 200]
    assert once.curves["return"].get("teacher", []) == [(n, n / 3) for n in good]


def test_long_curves_are_thinned_and_keep_their_ends():
    points = [(i, i) for i in range(12_345)]
    found = thinned(points)
    assert len(found) == MOST_POINTS and found[0] == points[0] and found[-1] == points[-1]
    assert max(b[0] - a[0] for a, b in pairwise(found)) <= 13
    assert thinned(points[:7]) == points[:7]


@pytest.mark.parametrize(
    "damage",
    [
        "[1]", "{", '{"config": {"env": 3}, "agents": {}}', '{"config": {"env": "a"}, "agents": 4}',
        '{"config": {"env": "a"}, "agents": {"a": {"parameters": -4}}}',
        '{"config": {"env": "a"}, "agents": {"../../x": {}}}',
        '{"config": {"env": "a", "steps": 1' + "0" * 4000 + "}}",
    ],
)  # fmt: skip
def test_a_damaged_folder_is_told_of_in_one_line(tmp_path, damage):
    run = new_run(tmp_path / "run", saved=False)
    with serving(run.path) as url:
        (run.path / "manifest.json").write_text(damage)
        trouble = told(url)["trouble"]
        assert trouble and "\n" not in trouble and len(trouble) < 1000
        assert "trouble" in told(url, "/games.json", agent="teacher", seen=0)


def test_a_pipe_in_the_place_of_the_metrics_is_not_waited_for(tmp_path):
    run = new_run(tmp_path / "run", saved=False)
    os.mkfifo(run.path / "metrics.jsonl")
    with serving(run.path) as url:
        assert told(url)["curves"] == {"error": {}}


def everything(path):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in path.rglob("*")}


def test_a_game_is_the_one_that_rtpd_play_plays_and_leaves_no_trace(run, url, monkeypatch):
    monkeypatch.setattr(pool, "LEAST_SECONDS", 0.0)
    before, names, steps = everything(run.path), ["teacher", "net0.1"], 64
    shown = {name: [] for name in names}
    for seen in range(steps):
        answer = told(url, "/games.json", agent=names, seen=seen)
        assert answer["number"] == seen + 1 and answer["actions"] == list(PONG.action_meanings)
        for moment in answer["moments"]:
            assert moment["picture"].startswith("data:image/png;base64,")
            greedy = {a["name"]: a["best"] for a in moment["agents"]}
            assert next(iter(greedy)) == moment["plays"] and set(greedy) == set(names)
            assert moment["agree"] == (len(set(greedy.values())) == 1)
            for asked in moment["agents"]:
                # A student's outputs are no values that its teacher's could be compared with.
                assert isinstance(asked["value"], float) == (asked["name"] == "teacher")
                assert np.argmax(asked["bars"]) == asked["best"] and max(asked["bars"]) == 1
            kept = (moment["action"], moment["total"], moment["last"], list(greedy.values()))
            shown[moment["plays"]].append(kept)
    for name, other in (names, names[::-1]):
        film = Film()
        play(run.path, name, versus=other, epsilon=0.05, seed=1, episodes=9, view=film)
        assert shown[name] == film.seen[:steps] and any(last for _, _, last, _ in shown[name])
    for seen in (3, steps - 1):  # a page that lags catches up
        assert told(url, "/games.json", agent=names, seen=seen)["number"] == steps
    assert everything(run.path) == before


class Film:
    """Keeps what `play` shows."""

    def __init__(self):
        self.seen = []

    def __call__(self, cast):
        return self

    def show(self, moment):
        greedy = [int(q.argmax()) for q in moment.q.values()]
        self.seen.append((moment.action, moment.total, moment.last, greedy))

    def close(self):
        pass


def test_agents_that_are_saved_anew_take_over(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.0)
    run = new_run(tmp_path / "run", ("teacher",))
    shows = ShowPool(run.path)
    try:
        assert [shows.next(("teacher",), n)["number"] for n in (0, 1, 2)] == [1, 2, 3]
        weights = run.agent_path("teacher")
        description = weights.with_suffix(".json")
        old = description.read_bytes()
        agent(run, "teacher", seed=9, step=200)
        new = description.read_bytes()
        description.write_bytes(old)  # the weights are new, their description is not yet
        assert shows.next(("teacher",), 3)["number"] == 4
        description.write_bytes(new)
        answer = shows.next(("teacher",), 4)
        assert (answer["number"], answer["trained_steps"]) == (1, 200)
        weights.unlink()
        with pytest.raises(RequestError, match="agent 'teacher' has not been saved"):
            shows.next(("teacher",), 1)
    finally:
        shows.close()
    with pytest.raises(RequestError, match="ended"):
        shows.next(("teacher",), 1)


def test_emulators_live_only_while_somebody_watches(run, monkeypatch):
    shows = ShowPool(run.path)
    choices = [("teacher",), ("net0.1",), ("net0.1", "teacher")]
    try:
        for names in choices:
            shows.next(names, 0)
        assert list(shows._kept) == choices[1:]
        shows.tidy()
        assert list(shows._kept) == choices[1:]
        monkeypatch.setattr(pool, "PATIENCE_SECONDS", 0.0)
        shows.tidy()
        assert not shows._kept
    finally:
        shows.close()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"agent": "techer"}, "unknown agent 'techer': did you mean 'teacher'"),
        ({"agent": ["teacher", "teacher"]}, "each once"),
        ({"agent": ["teacher", "net0.1", "a", "b"]}, "4 agents: allowed: 1 to 3"),
        ({}, "0 agents"),
        ({"agent": "../../x"}, "unknown agent"),
        ({"agent": "teacher", "seen": "-1"}, "no number"),
    ],
)
def test_a_bad_question_about_games_gets_one_line(url, query, words):
    assert words in told(url, "/games.json", **query)["trouble"]


def test_agents_of_several_games_have_curves_and_plays_of_their_own(tmp_path):
    names = ("pong/teacher", "pong/net0.1", "boxing/teacher")
    run = new_run(tmp_path / "run", names, "ale/pong+ale/boxing", saved=False)
    agent(run, "pong/teacher")
    agent(run, "boxing/teacher", spec=replace(PONG, name="ale/boxing", num_actions=18))
    teachers = {"pong/teacher": {"return": 1.5}, "boxing/teacher": {"return": 2.5}}
    line = train_line(300, ("pong/net0.1", "net0.1")) | {"teachers": teachers}
    del line["teacher"]
    run.append(line)
    with serving(run.path) as url:
        answer = told(url)
        assert [row["game"] for row in answer["agents"]] == ["pong", "pong", "boxing"]
        assert [row["teacher"] for row in answer["agents"]] == [True, False, True]
        assert answer["curves"]["return"] == {n: [[300, r["return"]]] for n, r in teachers.items()}
        assert list(answer["curves"]["advantage"]) == ["pong/net0.1"]
        both = ["pong/teacher", "boxing/teacher"]
        words = told(url, "/games.json", agent=both, seen=0)["trouble"]
        assert "its name is ale/boxing, the first's ale/pong" in words


def test_the_command_line_tells_the_address_and_ends_with_ctrl_c(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(os, "nice", lambda by: by)  # or all tests after this one would be slow
    command = [sys.executable, "-m", "rtpd", "watch", str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[0]
        assert told(url)["run"] == "pong-1"
        port = str(urlsplit(url).port)
        assert main(["watch", str(run.path), "--port", port]) == 2
        assert f"--port {port}: 127.0.0.1:{port} is taken" in capsys.readouterr().err
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    for arguments, words in (([str(tmp_path)], "no manifest.json"), (["no"], "not a folder"),
                             ([str(run.path), "--port", "70000"], "1 to 65535")):  # fmt: skip
        assert main(["watch", *arguments]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1


TEXT = "document.body.innerText"
CARDS = "document.querySelectorAll('.card').length"
FITS = "document.documentElement.scrollWidth <= 390"  # innerWidth grows with what is too wide

# Each agent has one greedy action, and where they are two the card says so.
MARKED = """[...document.querySelectorAll('.card')].every((card) => {
  const rows = [...card.querySelectorAll('td.best')].map((cell) => cell.parentNode.rowIndex);
  const differ = new Set(rows).size > 1;
  const said = card.querySelector('.badge').textContent === (differ ? 'differ' : 'agree');
  return rows.length === 2 && said && card.querySelectorAll('td.differs').length === 2 * differ;
})"""


# A teacher's value is named, a student has none; a bar says what it is.
LABELLED = """[...document.querySelectorAll('.card')].every((card) => {
  const values = [...card.querySelectorAll('thead small')].map((one) => one.textContent).sort();
  const bars = [...card.querySelectorAll('.fill')].map((one) => one.getAttribute('aria-label'));
  return values[0] === '' && /^Q -?\\d+\\.\\d\\d$/.test(values[1])
    && bars.every((text) => /^[A-Z]+: \\d+ %(, greedy)?$/.test(text))
    && bars.filter((text) => text.endsWith('100 %, greedy')).length === 2;
})"""


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
def test_the_page_in_a_browser(tmp_path):
    run = new_run(tmp_path / "run <b>1", ("teacher", EVIL))
    agent(run, EVIL, seed=0)  # as the teacher is
    for step in (300, 600):
        run.append(train_line(step, (EVIL,)))
    with serving(run.path) as url:
        browser = Chromium(tmp_path / "profile")
        try:
            browser.look(1280)
            browser.call("Page.navigate", url=url)
            browser.wait(f"{CARDS} == 2 && {TEXT}.includes('600 of 10,000 steps')")
            assert browser.value(f"{TEXT}.includes({EVIL!r}) && {TEXT}.includes('run <b>1')")
            assert browser.value(f"{TEXT}.includes('random play -20.7')")
            assert browser.value("document.querySelectorAll('figure polyline').length") == 4
            assert browser.value("document.querySelectorAll('.screen[src^=\"data:\"]').length") == 2
            background = "getComputedStyle(document.body).backgroundColor"
            light = browser.value(background)
            run.append(train_line(900, (EVIL,)))
            run.append(eval_line(900, ("teacher", EVIL)))
            browser.wait(
                f"{TEXT}.includes('900 of 10,000 steps') && {TEXT}.includes('100.0 ± 0.5')"
            )
            assert browser.value(MARKED) and browser.value(f"!{TEXT}.includes('differ')")
            assert browser.value(LABELLED)
            agent(run, EVIL, seed=9, step=200)  # takes over
            browser.wait(f"{TEXT}.includes('after 100 steps') && {TEXT}.includes('differ')")
            browser.value("document.getElementById('pause').click()")
            browser.wait(MARKED)
            browser.look(390, 844, dark=True, phone=True)
            browser.wait(f"{FITS} && {background} != '{light}' && {CARDS} == 2")
            shutil.move(run.path, tmp_path / "elsewhere")
            browser.wait(f"{TEXT}.includes('is not a run folder')")
            shutil.move(tmp_path / "elsewhere", run.path)
            browser.wait(f"!{TEXT}.includes('is not a run folder')")
            assert browser.said == []
        finally:
            browser.close()
