"""Completion for the shell: commands, flags, and the names that some flags take."""

import contextlib
import io
import re
from collections.abc import Mapping

import tyro

from rtpd.config.settings import presets
from rtpd.errors import RequestError, unknown
from rtpd.learning.teachers import TEACHERS
from rtpd.training.trackers import TRACKERS

SHELLS = ("bash",)

_BASH = """# To have it in every shell:
#     rtpd completion bash > ~/.local/share/bash-completion/completions/rtpd
_rtpd() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "$before" in
{values}
        *) case "${{COMP_WORDS[1]}}" in
{flags}
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _rtpd rtpd
"""


def script(shell: str, commands: Mapping[str, type], games: list[str]) -> str:
    """What the shell has to read; RequestError if there is none for it.

    Args:
        shell: one of SHELLS.
        commands: the dataclass of each command.
        games: what `train` and `bench` may be given first.
    """
    if shell not in SHELLS:
        raise RequestError(unknown("shell", shell, SHELLS))
    known = {
        "--preset": sorted(presets()),
        "--teacher": sorted(TEACHERS),
        "--track": sorted(TRACKERS),
    }
    values = [f'        {flag}) words="{" ".join(names)}" ;;' for flag, names in known.items()]
    flags = []
    for name, kind in commands.items():
        words = " ".join([*flags_of(kind), *(games if name in ("train", "bench") else ())])
        flags.append(f'            {name}) words="{words}" ;;')
    return _BASH.format(
        commands=" ".join(commands), values="\n".join(values), flags="\n".join(flags)
    )


def flags_of(kind: type) -> list[str]:
    """Every flag of a command, as its help lists them."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"])
    heads = re.findall(r"^[│ ] (?:-\w, )?(--.*)", said.getvalue(), re.MULTILINE)
    return [flag for head in heads for flag in re.findall(r"(?:^|, )(--[a-z][\w.-]*)", head)]
