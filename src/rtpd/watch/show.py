"""Agents of a run, each playing a game of its own from the same start, all asked at each frame."""

import io
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rtpd.agents.play.game import Cast, Moment, Tally, check_alike, moments
from rtpd.agents.play.picture import actions_of
from rtpd.agents.sources import agents_of
from rtpd.errors import clean
from rtpd.storage.agent_id import AgentId

EPSILON, SEED = 0.05, 1


class Show:
    """As many games as agents; `step` plays one step of each."""

    def __init__(self, run: Path, names: tuple[str, ...]) -> None:
        """Load the agents as they are on disk; RtpdError if that cannot be done."""
        found = agents_of(run, names)
        first, *others = names
        for name in others:
            mine, its = found.policies[first].spec, found.policies[name].spec
            check_alike(mine, its, f"'{name}' beside '{first}'")
        casts = {n: Cast({n: found.policies[n], **found.policies}, str(run)) for n in names}
        self.actions = [clean(action) for action in actions_of(casts[first])]
        self.trained_steps = found.policies[first].provenance.get("step")
        self._valued = {  # the outputs of students, and of a policy, are logits
            name for name, policy in found.policies.items()
            if AgentId.parse(name).is_teacher and policy.head.gives_q
        }  # fmt: skip
        self.number = 0
        self.answer: dict[str, Any] = {}
        self._tallies = {name: Tally() for name in names}
        self._games = {
            name: moments(cast, found.options, EPSILON, SEED, pictures=True)
            for name, cast in casts.items()
        }

    def step(self) -> None:
        """Play one step of every game; `answer` then tells of it, ready for JSON."""
        shown = []
        for name, game in self._games.items():
            moment, tally = next(game), self._tallies[name]
            tally.add(moment)
            shown.append(_told(name, moment, tally, self._valued))
        self.number += 1
        trained = self.trained_steps if isinstance(self.trained_steps, int) else None
        self.answer = {
            "number": self.number,
            "actions": self.actions,
            "trained_steps": trained,
            "moments": shown,
        }

    def close(self) -> None:
        """Free the emulators."""
        for game in self._games.values():
            game.close()


def _told(name: str, moment: Moment, tally: Tally, valued: set[str]) -> dict[str, Any]:
    """What the page shows of a moment; a value of the agents that have one."""
    agents = [
        {
            "name": agent,
            "value": float(q.max()) if agent in valued else None,
            "best": int(q.argmax()),
            "bars": (1 - moment.behind[agent]).tolist(),  # the longest is the greedy action's
        }
        for agent, q in moment.q.items()
    ]
    return {
        "plays": name,
        "picture": None if moment.picture is None else _image(moment.picture),
        "episode": moment.episode,
        "step": moment.step,
        "total": moment.total,
        "last": moment.last,
        "action": moment.action,
        "agree": moment.agree,
        "agreement": tally.agreement,
        "steps": tally.steps,
        "agents": agents,
    }


def _image(picture: np.ndarray) -> str:
    """A PNG as a data URI."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", compress_level=1)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
