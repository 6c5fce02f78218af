"""What a command is."""

from abc import ABC, abstractmethod
from typing import Self


class Command(ABC):
    """A frozen dataclass: tyro makes flags of its fields, and the help of their docstrings."""

    @classmethod
    def defaults(cls, words: list[str]) -> Self | None:
        """What the flags in `words` are laid over; None: the fields' own defaults."""
        del words
        return None

    @abstractmethod
    def execute(self) -> int:
        """Do what was asked for; the exit code."""
