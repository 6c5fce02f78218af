"""What students are asked for: from NET:LOSS:KEY=VALUE to a net, a loss and settings."""

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any

from rtpd.config.loading import layered, to_dict
from rtpd.config.settings import Config, StudentConfig
from rtpd.errors import ConfigError, unknown
from rtpd.learning.distillation import LOSSES
from rtpd.networks import architectures

MOST_STUDENTS = 256


@dataclass(frozen=True)
class StudentSpec:
    """One student: the name it is listed under, its net's text and its loss.

    `settings`: all that hold for it; `overrides`: those that are its own, as in "temperature=0.1";
    `short`: what tables call it, a number in the place of its overrides, as in "net1.7#2".
    `int8`: it learns as it will be when it is exported in integers; `options`: those of its loss.
    `late`: this is the end of the run, in which it may learn more often.
    """

    name: str
    net: str
    loss: str
    settings: StudentConfig
    overrides: tuple[str, ...] = ()
    int8: bool = False
    options: tuple[tuple[str, float], ...] = ()
    short: str = ""
    late: bool = False

    @property
    def updates(self) -> int:
        """Its updates for each of the teacher's."""
        return self.late_updates if self.late else self.settings.updates

    @property
    def late_updates(self) -> int:
        """The same at the end of the run: never fewer than before."""
        return max(self.settings.updates, self.settings.late_updates)

    @property
    def text(self) -> str:
        """What `parse_students` reads."""
        return ":".join((self.net, self.loss, *(["int8"] if self.int8 else []), *self.overrides))


def parse_students(config: Config) -> tuple[StudentSpec, ...]:
    """The students of NET:LOSS and what may follow; the loss may be left out (kl).

    Behind it stand `int8` and settings of the student's own, KEY=VALUE with the KEY of a flag
    --student.KEY, parted by colons. `auto` is for `resolve`. A student is named after its net, and
    net-loss where the same net comes with several losses, with -int8 and its own settings behind.
    """
    texts = config.students
    if texts in ((), ("none",)):
        return ()
    if len(texts) > MOST_STUDENTS:
        raise ConfigError(f"--students names {len(texts):,}: allowed: {MOST_STUDENTS}")
    if "none" in texts:
        raise ConfigError(f"--students {' '.join(texts)}: 'none' stands alone")
    found: list[StudentSpec] = []
    for text in texts:
        student = _student(text, config)
        if student in found:
            raise ConfigError(f"student '{student.text}' is listed twice")
        found.append(student)
    named: list[StudentSpec] = []
    for student in found:
        plain = "-".join(_plain_words(student, found))
        before = sum(s.short.partition("#")[0] == plain for s in named)
        short = f"{plain}#{before + 1}" if before else plain
        named.append(replace(student, name=_name_of(student, found), short=short))
    return tuple(named)


def _student(text: str, config: Config) -> StudentSpec:
    """A student of its text, yet without a name."""
    net, loss, *parts = (*text.split(":"), "")
    parts = [part for part in parts if part]
    shape = architectures.parse(net) if net != "auto" else None
    if (loss or "kl") not in LOSSES:
        raise ConfigError(f"student '{text}': {unknown('loss', loss, LOSSES)}")
    pairs = [part.partition("=") for part in parts if "=" in part]
    own = tuple(f"{key.replace('-', '_')}={value}" for key, _, value in pairs)
    forms = [part for part in parts if "=" not in part]
    for form in forms:
        if form != "int8":
            raise ConfigError(f"student '{text}': {unknown('form', form, ['int8', 'KEY=VALUE'])}")
    if forms and not isinstance(shape, architectures.ConvShape | None):
        raise ConfigError(f"student '{text}': int8 goes with nets of convolutions, as net1.7")
    loss = loss or "kl"
    given = dict(part.split("=", 1) for part in own)
    options = {key: given.get(key, value) for key, value in LOSSES[loss].options.items()}
    numbers = tuple((key, _number(text, key, value)) for key, value in options.items())
    shared = tuple(part for part in own if part.partition("=")[0] not in options)
    settings = _settings(text, shared, config)
    if settings.targets == "auto":
        acts = "ema" if config.teacher.ema_decay else "latest"
        answered = config.teacher.is_frozen or settings.follow == acts
        settings = replace(settings, targets="stored" if answered else "fresh")
    return StudentSpec("", net, loss, settings, own, bool(forms), numbers)


def _number(text: str, key: str, value: str | float) -> float:
    """An option of a loss."""
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(value)):
            return number
    raise ConfigError(f"student '{text}': {key} '{value}': allowed: a number")


def _settings(text: str, own: tuple[str, ...], config: Config) -> StudentConfig:
    """Those of all students, under a student's own."""
    tables: list[dict[str, Any]] = []
    for part in own:
        path, _, written = part.partition("=")
        value: Any = written
        for number in (int, float):
            with contextlib.suppress(ValueError):
                value = number(written)
                break
        for key in reversed(path.split(".")):
            value = {key: value}
        tables.append({"student": value})
    try:
        return layered(None, {"student": to_dict(config)["student"]}, *tables).student
    except ConfigError as error:
        said = str(error).removeprefix("settings: ")
        raise ConfigError(f"student '{text}': {said}") from None


def _plain_words(student: StudentSpec, others: list[StudentSpec]) -> list[str]:
    """Its net, and its loss and form where others differ in them."""
    losses = {s.loss for s in others if s.net == student.net}
    words = [student.net] if len(losses) == 1 else [student.net, student.loss]
    return words + (["int8"] if student.int8 else [])


def _name_of(student: StudentSpec, others: list[StudentSpec]) -> str:
    words = _plain_words(student, others)
    for part in student.overrides:  # optimizer.anneal=0.2: anneal-0.2
        path, _, value = part.partition("=")
        words += [path.rpartition(".")[2].replace("_", "-"), value]
    return "-".join(words)


def parse_actors(config: Config) -> dict[str, slice]:
    """Which of a game's envs each agent drives; the teacher drives some or all."""
    if config.actors == "teacher":
        return {"teacher": slice(0, config.num_envs)}
    names = ["teacher", *(student.name for student in parse_students(config))]
    slices: dict[str, slice] = {}
    start = 0
    for part in config.actors.split(","):
        name, _, text = part.strip().partition("=")
        if name not in names:
            raise ConfigError(f"--actors {config.actors}: {unknown('agent', name, names)}")
        if name in slices or not (text.isdecimal() and len(text) < 10 and int(text)):
            raise ConfigError(
                f"--actors {config.actors}: '{part}': allowed: each agent once, with a number of "
                "envs, as in teacher=6,net1.7=2"
            )
        slices[name] = slice(start, start + int(text))
        start += int(text)
    if "teacher" not in slices or start != config.num_envs:
        raise ConfigError(
            f"--actors {config.actors}: that is {start} envs, the teacher's among them must be 1 "
            f"or more, and --num-envs is {config.num_envs}"
        )
    return slices
