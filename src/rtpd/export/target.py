"""What an export target is: a kind of file, or of folder, that agents are written as."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from rtpd.export.quantise import Quantised
from rtpd.networks.policy import HostPolicy, Policy


class ExportTarget(ABC):
    """How a policy is written as one kind of file, and how what was written is run.

    `quantised` is the policy in integers where int8 is asked for, else None.
    """

    suffix: ClassVar[str] = ""
    """what the file's name ends in; a target without one makes a folder"""
    images_are_int8: ClassVar[bool] = False
    """whether policies of images are written in integers, asked for or not"""

    @abstractmethod
    def check(self, policy: Policy, *, int8: bool) -> None:
        """RequestError, in one line, for what cannot be written or run here."""

    @abstractmethod
    def write(self, policy: Policy, path: Path, quantised: Quantised | None) -> None:
        """Write what `check` has passed as `path`, where nothing is yet."""

    @abstractmethod
    def load(self, path: Path, policy: Policy, quantised: Quantised | None) -> HostPolicy:
        """What was written, as something that computes Q-values."""

    def facts(self, policy: Policy, quantised: Quantised | None) -> dict[str, Any]:
        """What the result of the export tells beside what it tells of every target, JSON-ready."""
        del policy, quantised
        return {}

    def finish(self, path: Path, policy: Policy, result: dict[str, Any]) -> None:
        """Write what can be told only after the agent has played: `result` is the export's."""
        del path, policy, result
