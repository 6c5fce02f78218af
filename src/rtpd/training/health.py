"""What a run is warned of once: collapsed students, constant teachers, rewards that are clipped."""

from collections.abc import Callable

import numpy as np

from rtpd.config.settings import Config
from rtpd.envs import is_atari
from rtpd.storage.agent_id import AgentId
from rtpd.storage.records import AgentMetrics

COLLAPSED_SPREAD = 0.01
PATIENCE_UPDATES = 5_000  # early on the teacher itself may not tell states apart


class HealthWarnings:
    """Checks what a run measures, and tells what is wrong with each agent and env once."""

    def __init__(self, config: Config, warn: Callable[[str], None]) -> None:
        """`warn` takes a line."""
        self.config, self._warn = config, warn
        self._told: set[str] = set()

    def warn_once(self, text: str, about: str | None = None) -> None:
        """Warn, but only once about this; None: only once in these words."""
        about = text if about is None else about
        if about not in self._told:
            self._told.add(about)
            self._warn(text)

    def check_student(self, name: str, row: AgentMetrics, updates: int) -> None:
        """Check what was measured of a student after so many updates, if anything was."""
        if row.spread is not None:
            self._check_collapse(name, row, updates)
            self._check_constant(str(AgentId.parse(name).teacher), row, updates)

    def check_rewards(self, env: str, reward: np.ndarray) -> None:
        """Once per env outside Atari, at the first reward [E] whose size learning does not see."""
        td = not self.config.teacher.is_frozen or any(":kl-td" in s for s in self.config.students)
        if not (td and self.config.teacher.clip_rewards) or is_atari(env) or env in self._told:
            return
        largest = reward[np.abs(reward).argmax()]
        if abs(largest) > 1:
            self.warn_once(
                f"{env} gives a reward of {largest:g}, and rewards are clipped to -1..1 for "
                "learning: --teacher.no-clip-rewards learns from their sizes",
                about=env,
            )

    def _check_constant(self, teacher: str, row: AgentMetrics, updates: int) -> None:
        """Once per teacher: the same action in every state, so that nothing else can be learnt."""
        early = updates < PATIENCE_UPDATES and not self.config.teacher.is_frozen
        if (row.constant_agreement or 0.0) >= 1.0 and not early:
            self.warn_once(
                f"{teacher} takes the same action in all states looked at: students learn no more",
                about=teacher,
            )

    def _check_collapse(self, name: str, row: AgentMetrics, updates: int) -> None:
        """Once per student: the same output for every state, long after the start."""
        flat = row.spread is not None and not row.spread >= COLLAPSED_SPREAD
        if not flat or updates < PATIENCE_UPDATES:
            return
        self.warn_once(
            f"{name} has collapsed: {100 * row.spread:.2g} % of its outputs' variance lies "
            f"between states, advantage kept {row.advantage_kept:.2f} (a constant policy has "
            f"{row.constant_advantage_kept:.2f}), dead units {100 * (row.dead or 0):.0f} %; "
            "see docs/architecture.md, 'When a student collapses'",
            about=name,
        )
