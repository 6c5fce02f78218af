"""How fast this machine trains: the parts of the loop one by one, and the loop as a whole.

The loops of all families are alive at once and take turns, so that what else the machine does
falls on all of them; a ratio is taken within a turn.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import psutil

from rtpd.config.loading import load_config
from rtpd.config.settings import Config
from rtpd.errors import ConfigError
from rtpd.learning.teachers.catalogue import catalogue
from rtpd.storage.provenance import provenance
from rtpd.system.process import settled
from rtpd.training import validation
from rtpd.training.timing import TimedLoop, emulator_rate, matmul_gflops
from rtpd.training.unused import usual_of

FAMILIES: dict[str, tuple[str, ...]] = {
    "none": (),
    "net1.7": ("net1.7:kl",),
    "paper": ("net25:kl", "net7:kl", "net4:kl", "net1.7:kl"),
    "all": ("net25:kl", "net7:kl", "net4:kl", "net1.7:kl", "net0.5:kl", "net0.1:kl"),
}
SETTLING_SECONDS = 1.0  # of a loop before it is measured


@settled()
def bench(
    settings: Config,
    *,
    preset: str | None = None,
    rounds: int = 5,
    seconds: float = 10.0,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure `settings` on this machine, with no students and with each family in turn.

    Args:
        settings: what would be trained. Its students are the family; `auto` stands for `FAMILIES`
            on an Atari game.
        preset: what they came from, as for `train`.
        rounds: turns of every loop.
        seconds: wall time of a turn.
        tell: told what is being measured.

    Returns:
        JSON-ready: where it was measured, "matmul_gflops" (f32), "emulator_steps_per_second",
        "rss_bytes", and "families": {name: {"students", "update_ms", "update_gflop",
        "update_gflops", "share_of_matmul", "milliseconds_per_iteration" ({part: ms}, an iteration
        being one step of every env), "loop_steps_per_second" (median of "rounds"), "ratio" to the
        loop without students (median of "ratios")}}.

    Raises:
        RequestError: if the settings cannot be met.
    """
    if rounds < 1 or not 0 < seconds < math.inf:
        raise ConfigError(f"--rounds {rounds} --seconds {seconds}: both must be above 0")
    if settings.teacher.is_frozen:
        raise ConfigError("--teacher frozen: allowed: a teacher that learns")
    validation.validate(settings, usual_of(preset))
    if len(settings.games) > 1:
        raise ConfigError(f"'{settings.env}': one game at a time is measured")
    tell("matrix products")
    result: dict[str, Any] = {
        "env": settings.env,
        "num_envs": settings.num_envs,
        "teacher": settings.teacher.algorithm,
        "matmul_gflops": round(matmul_gflops(), 1),
        **provenance(jax.devices()[0].device_kind),
    }
    loops = {}
    try:
        for name, students in _families(settings).items():
            tell(f"compiling: {name}")
            loops[name] = TimedLoop(replace(settings, students=students))
        tell("the emulator alone")
        result["emulator_steps_per_second"] = round(emulator_rate(loops["none"].env), 1)
        result["cadence"] = loops["none"].loop.learner.schedule.cadence
        result["families"] = {}
        for name, loop in loops.items():
            tell(f"parts of the loop: {name}")
            result["families"][name] = loop.parts(result["matmul_gflops"])
        _take_turns(loops, rounds, seconds, result["families"], tell)
    finally:
        for loop in loops.values():
            loop.env.close()
    result["rss_bytes"] = psutil.Process().memory_info().rss
    return result


@settled()
def teachers(
    *,
    seconds: float,
    env: str = "ale/pong",
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """What `learning.teachers.catalogue` says of each teacher, and how fast it learns here.

    Args:
        seconds: wall time of each teacher's loop.
        env: what is played.
        tell: told what is being measured.

    Returns:
        JSON-ready: beside what the catalogue says "update_ms" and "loop_steps_per_second", with
        the teacher's preset and a small student. Updates differ in size and pace, so it is the
        steps/s that compare.
    """
    if not 0 < seconds < math.inf:
        raise ConfigError(f"--seconds {seconds}: must be above 0")
    found = catalogue()
    for name, row in found.items():
        tell(name)
        settings = load_config(row["preset"])
        teacher = replace(settings.teacher, algorithm=name)
        row |= _speed(replace(settings, teacher=teacher, env=env, students=("auto",)), seconds)
    return found


def _speed(settings: Config, seconds: float) -> dict[str, Any]:
    loop = TimedLoop(settings)
    try:
        loop.rate(SETTLING_SECONDS)
        rate = loop.rate(seconds)
        return {"update_ms": loop.update_ms(), "loop_steps_per_second": rate}
    finally:
        loop.env.close()


def _families(settings: Config) -> dict[str, tuple[str, ...]]:
    """The families to compare; no students always come first."""
    if settings.students != ("auto",):
        return {"none": (), "given": settings.students}
    if settings.env.startswith("ale/") or "/" not in settings.env:
        return FAMILIES
    return {"none": (), "auto": ("auto",)}


def _take_turns(
    loops: Mapping[str, TimedLoop],
    rounds: int,
    seconds: float,
    families: dict[str, dict[str, Any]],
    tell: Callable[[str], None],
) -> None:
    """Run every loop in every round, in an order that alternates; adds to `families`."""
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for i in range(rounds):
        tell(f"the loop: round {i + 1} of {rounds}")
        for name in list(loops)[:: -1 if i % 2 else 1]:
            rates[name].append(loops[name].rate(seconds))
    for name, row in families.items():
        ratios = [rate / none for rate, none in zip(rates[name], rates["none"], strict=True)]
        row["loop_steps_per_second"] = statistics.median(rates[name])
        row["rounds"] = rates[name]
        row["ratio"] = statistics.median(ratios)
        row["ratios"] = ratios
