"""What an agent of a run is called."""

from dataclasses import dataclass

TEACHER = "teacher"  # what the teacher of a game is called


@dataclass(frozen=True)
class AgentId:
    """Which agent of a run: its game ("" in a run of one game), and its name in that game.

    As text "net1.7", or "pong/net1.7" where a run has several games: so an agent is called in
    manifests, in lines of metrics, on the command line, and as a file in `agents/`.
    """

    game: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "AgentId":
        """From its text form; any text is one."""
        game, _, name = text.rpartition("/")
        return cls(game, name)

    def __str__(self) -> str:
        return f"{self.game}/{self.name}" if self.game else self.name

    @property
    def is_teacher(self) -> bool:
        """Whether it teaches its game's students."""
        return self.name == TEACHER

    @property
    def teacher(self) -> "AgentId":
        """The agent that teaches this one; of a teacher, itself."""
        return AgentId(self.game, TEACHER)
