"""What a command is."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self


class Command(ABC):
    """A frozen dataclass: its fields are flags, the strings below them what the help says.

    `brief`: the flags that the short help has, in this order, each with its first sentence; of a
    command that has few of them none is left out.
    """

    brief: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def defaults(cls, words: list[str]) -> Self | None:
        """What the flags in `words` are laid over; None: the fields' own defaults."""
        del words
        return None

    @abstractmethod
    def execute(self) -> int:
        """Do what was asked for; the exit code."""
