"""Runs to watch: folders as `rtpd train` makes them, though nothing has learnt; and who asks."""

import http.client
import json
from urllib.parse import urlencode, urlsplit

import jax.numpy as jnp
import jax.random as jr

from rtpd.agents.store import save
from rtpd.networks import architectures
from rtpd.networks.policy import Policy
from rtpd.storage.run_folder import Run
from rtpd.types import EnvSpec, Preprocess

PONG = EnvSpec("ale/pong", 6, (84, 84), action_meanings=("NOOP", "FIRE", "UP", "DOWN", "A", "B"))
EVIL = "<img src=x onerror=alert(1)>"
SHORT = {"max_episode_frames": 240}  # 60 agent steps


def agent(run, name, seed=0, step=100, spec=PONG):
    """A fresh net, saved as an agent of the run."""
    net = architectures.build("net0.1", spec, spec.num_actions, key=jr.key(seed))
    about = {"agent": name, "net": "net0.1", "teacher": "dqn", "dueling": False, "norm": False}
    about |= {"num_outputs": spec.num_actions, "environment": SHORT, "step": step}
    preprocess = Preprocess(jnp.zeros(spec.frame_shape), jnp.float32(255))
    save(run.agent_path(name), Policy(net, preprocess, spec, about))


def new_run(path, names=("teacher", "net0.1"), env="ale/pong", saved=True):
    """A run folder as `rtpd train` makes it, but nothing has learnt."""
    about = {n: {"net": "net0.1", "parameters": 1605, "share": 0.5, "loss": "kl"} for n in names}
    settings = {"env": env, "steps": 10_000, "checkpoint_steps": 100, "environment": SHORT}
    run = Run.create(path, {"status": "running", "seed": 3, "agents": about, "config": settings})
    for seed, name in enumerate(names if saved else ()):
        agent(run, name, seed)
    return run


def train_line(step, students=("net0.1",), **more):
    """A line of training, its numbers made of its step."""
    row = {"advantage_kept": (step % 97) / 97, "constant_advantage_kept": 0.25, "spread": 0.5}
    line = {"kind": "train", "step": step, "seconds": step / 7, "steps_per_second": 50.5}
    line["teacher"] = {"loss": 0.1, "return": step / 3 if step > 200 else None}
    return line | {"students": dict.fromkeys(students, row)} | more


def eval_line(step, names=("teacher", "net0.1")):
    row = {"episodes": 3, "mean": step / 9, "standard_error": 0.5, "percent_of_teacher": 99.0}
    row |= {"percent_interval": [90.0, 101.5], "returns": [1.0, 2.0, 3.0]}
    return {"kind": "eval", "step": step, "seconds": 1.0, "agents": dict.fromkeys(names, row)}


def ask(url, path="/", method="GET", hosts=None, **headers):
    """Status, headers and body of one request, its path sent as it stands."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    connection.putrequest(method, path, skip_host=hosts is not None)
    for host in hosts or ():
        connection.putheader("Host", host)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def told(url, path="/run.json", **query):
    status, _, body = ask(url, f"{path}?{urlencode(query, doseq=True)}")
    assert status == 200
    return json.loads(body)
