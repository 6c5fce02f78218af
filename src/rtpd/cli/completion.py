"""Completion for the shell: commands, flags, and the names that some flags take."""

from rtpd.cli.commands import COMMANDS
from rtpd.cli.flags import flag_names
from rtpd.config.loading import presets
from rtpd.envs.ale import games
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


def script(shell: str) -> str:
    """What the shell has to read, one of `SHELLS`; RequestError if there is none for it."""
    if shell not in SHELLS:
        raise RequestError(unknown("shell", shell, SHELLS))
    known = {
        "--preset": sorted(presets()),
        "--teacher": sorted(TEACHERS),
        "--track": sorted(TRACKERS),
    }
    values = [f'        {flag}) words="{" ".join(names)}" ;;' for flag, names in known.items()]
    flags = []
    for name, entry in COMMANDS.items():
        first = sorted(games()) if name in ("train", "bench") else []
        words = " ".join([*flag_names(entry.kind), *first])
        flags.append(f'            {name}) words="{words}" ;;')
    return _BASH.format(
        commands=" ".join(COMMANDS), values="\n".join(values), flags="\n".join(flags)
    )
