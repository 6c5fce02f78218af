"""Agents to be watched: `play("zoo:pong/net1.7", out="pong.webp")`.

`game.py` plays one env, step by step; `live.py` shows it in a terminal, `film.py` writes it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rtpd.agents.play import game
from rtpd.agents.play.film import Film
from rtpd.agents.sources import check_numbers, one_of, options_of
from rtpd.agents.store import file_of
from rtpd.errors import ConfigError
from rtpd.system.interrupt import Interruption
from rtpd.system.process import settled
from rtpd.types import EvalResult


class View(Protocol):
    """Where a game is shown."""

    def show(self, moment: game.Moment) -> bool | None:
        """Show one step; False ends the show."""
        ...

    def close(self) -> None:
        """End the show, whatever happened."""
        ...


@settled()
def play(
    source: str | Path,
    agent: str | None = None,
    *,
    versus: str | Path | None = None,
    versus_agent: str | None = None,
    episodes: int = 1,
    epsilon: float = 0.05,
    seed: int = 1,
    out: str | Path | None = None,
    fps: float = 15.0,
    steps: int | None = None,
    view: Callable[[game.Cast], View] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Let an agent of a source (see `agents.sources`) play whole, unclipped episodes, one by one.

    Args:
        source: where the agent is.
        agent: which one, of a run with several.
        versus: another agent, which is asked about the same observations while the first one
            drives the game: its source, or its name if it is of the same run.
        versus_agent: which one of that source, if that is a run of several.
        episodes: how many.
        epsilon: share of random actions.
        seed: of the env and of the random actions; the first episode is that of
            `evaluate(source, episodes=1)`.
        out: a film to write: .webp, .gif, or .mp4 (`video` extra). After Ctrl-C there is none.
        fps: pictures a second, of the film.
        steps: end after as many agent steps, whole episodes or not.
        view: makes what shows the game while it is played.
        tell: told of every episode that ends, in one line.

    Returns:
        JSON-ready {"source", "env", "agent", "status" ("interrupted" by a signal, else "finished",
        also where a view wanted no more), "episodes", "returns", "lengths" (agent steps), "mean",
        "standard_error", "epsilon", "seed", "versus", "steps" (on which an action was chosen),
        "agreement" (share of those on which both would choose the same; None without another),
        "file"}.

    Raises:
        RequestError: if the request cannot be met; nothing was written.
    """
    check_numbers(episodes, epsilon, seed)
    if not 1 <= fps <= 240:
        raise ConfigError(f"--fps {fps:g}: allowed: 1 to 240")
    if steps is not None and steps < 1:
        raise ConfigError(f"--steps {steps}: allowed: 1 and more")
    name, policy = one_of(source, agent)
    cast = game.Cast({name: policy}, str(source))
    if versus is not None:
        cast = _against(cast, versus, versus_agent)
    film = Film(Path(out), fps, cast) if out is not None else None
    views: list[View] = [film] if film else []
    played = game.Tally()
    if view is not None:
        views.append(view(cast))
    limits = (episodes, steps or sys.maxsize)
    stopped = _watch(cast, views, played, limits, epsilon, seed, tell)
    if film and not stopped:
        tell(f"writing {out}")
        film.save()
    result = EvalResult(name, policy.spec.name, played.returns, played.lengths, epsilon)
    return {
        "source": str(source),
        "env": policy.spec.name,
        "agent": name,
        "versus": cast.other,
        "status": "interrupted" if stopped else "finished",
        "episodes": len(played.returns),
        "returns": list(played.returns),
        "lengths": list(played.lengths),
        "mean": result.mean if played.returns else None,
        "standard_error": result.standard_error if played.returns else None,
        "epsilon": epsilon,
        "seed": seed,
        "steps": played.steps,
        "agreement": played.agreement if cast.other else None,
        "file": str(out) if film and not stopped else None,
    }


def _watch(
    cast: game.Cast, views: list[View], played: game.Tally, limits: tuple[int, int],
    epsilon: float, seed: int, tell: Callable[[str], None],
) -> bool:  # fmt: skip
    """Play so many episodes or steps, and show every step; whether it was interrupted."""
    stop = Interruption()
    episodes, most = limits
    steps = game.moments(cast, options_of(cast.driver), epsilon, seed, pictures=bool(views))
    try:
        with stop.listening(lambda: None), stop.others():
            for moment in steps:
                if stop.asked:
                    return True
                wanted = False not in [view.show(moment) for view in views]
                if played.add(moment):
                    tell(_line(cast, played, episodes))
                if not wanted or len(played.returns) == episodes or played.steps == most:
                    return False
    finally:
        steps.close()
        for view in views:
            view.close()
    return True


def _line(cast: game.Cast, played: game.Tally, episodes: int) -> str:
    """One line on the episode that has just ended."""
    line = f"episode {len(played.returns)} of {episodes}: return {played.returns[-1]:g}"
    line += f" in {played.lengths[-1]:,} steps"
    return line + (f", agreement {100 * played.agreement:.1f} %" if cast.other else "")


def _against(cast: game.Cast, versus: str | Path, agent: str | None) -> game.Cast:
    """Add the other agent; RequestError if it cannot see what the first one sees."""
    if file_of(versus) is None and not Path(versus).is_dir():  # an agent of the same run
        versus, agent = cast.source, str(versus)
    name, other = one_of(versus, agent)
    game.check_alike(cast.driver.spec, other.spec, f"--versus '{versus}'")
    (first,) = cast.policies
    title = name if name != first else f"{name} (2)"
    return game.Cast({**cast.policies, title: other}, cast.source)
