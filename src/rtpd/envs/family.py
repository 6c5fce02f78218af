"""What a family of environments is, such as the games of ale-py."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rtpd.envs.options import EnvOptions

if TYPE_CHECKING:  # names are checked without JAX
    from rtpd.types import Screen, VectorEnv


class EnvFamily(ABC):
    """Environments that are called `family/name`; a method is given the name alone."""

    @abstractmethod
    def canonical(self, name: str) -> str:
        """The one spelling of a name; one that is not known comes back as it is."""

    @abstractmethod
    def check(self, name: str) -> None:
        """See whether there is an environment of this canonical name, without starting it.

        Raises:
            EnvError: if the name is unknown, or its spaces are not supported.
        """

    @abstractmethod
    def make(self, name: str, num_envs: int, options: EnvOptions) -> "VectorEnv":
        """Start `num_envs` (1 or more) copies of what `check` has passed; idle until `reset`.

        If it has `warnings`, each a few words, a run tells them.
        """

    def screen(self, name: str, options: EnvOptions) -> "Screen | None":
        """Pictures of the first env that `make(name, ..., options)` makes; None: there are none."""
        del name, options
        return None
