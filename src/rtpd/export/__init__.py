"""Agents as files that run elsewhere: `export("runs/pong-1", "net1.7", to="onnx")`.

To add a target, write an `ExportTarget` and add a line to `TARGETS`; it is imported on demand.
"""

import errno
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rtpd.agents.evaluate import stacks
from rtpd.agents.sources import check_numbers, one_of, options_of
from rtpd.errors import RequestError, unknown
from rtpd.export import quantise, verify
from rtpd.export.target import ExportTarget
from rtpd.networks.policy import Policy
from rtpd.storage.agent_id import AgentId
from rtpd.storage.files import check_writable, sync_folder
from rtpd.system.process import settled

# Where the class of each is: "module:Class".
TARGETS = {
    "onnx": "rtpd.export.onnx:OnnxTarget",
    "c": "rtpd.export.c:CTarget",
    "hub": "rtpd.export.hub:HubTarget",
}

__all__ = ["TARGETS", "ExportTarget", "export"]

FRAMES = 2_048  # for calibration, and as many others to compare on


@settled()
def export(
    source: str | Path,
    agent: str | None = None,
    *,
    to: str = "onnx",
    int8: bool = False,
    out: str | Path | None = None,
    episodes: int = 10,
    epsilon: float = 0.05,
    seed: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write an agent of a source (see `rtpd.agents.sources`) as `to`; see `TARGETS`.

    The file gets its name only after what it computes was compared with the original on `FRAMES`
    stacks of the agent's own play, and both have played `episodes` whole episodes. Returns
    JSON-ready {"file", "env", "agent", "format", "bytes", "frames", "agreement", ...}.

    Raises:
        RequestError: if the request cannot be met; nothing was written.
        RtpdError: if the exported form is not the original; nothing was written.
    """
    check_numbers(episodes, epsilon, seed)
    target = _target(to)
    name, policy = _policy(source, agent)
    int8 = int8 or (target.images_are_int8 and policy.spec.is_image)
    target.check(policy, int8=int8)
    if int8:
        quantise.check(policy)
    path = _file(target, policy, name, int8, out)
    options = options_of(policy)
    tell("playing for frames to compare on" + (" and to calibrate with" if int8 else ""))
    seen = partial(stacks, policy, options, count=FRAMES, epsilon=epsilon)
    frames = seen(seed=seed)
    # Calibrated on other games than those it is judged on.
    model = quantise.quantise(policy, seen(seed=seed + 1)) if int8 else None
    with tempfile.TemporaryDirectory(prefix=".rtpd-export-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        target.write(policy, made, model)
        exported = target.load(made, policy, model)
        found = verify.compare(verify.original_values(policy, frames), exported.q_values(frames))
        verify.demand(found, exact=not int8)
        tell(f"playing {episodes} episodes")
        played = verify.returns(
            policy, exported, options, episodes=episodes, epsilon=epsilon, seed=seed
        )
        result = {
            "file": str(path),
            "env": policy.spec.name,
            "agent": name,
            "format": f"{to} {'int8' if int8 else 'float32'}",
            "bytes": _size(made),
            **target.facts(policy, model),
            **verify.latency(exported, frames),
            **found,
            "episodes": episodes,
            "epsilon": epsilon,
            "seed": seed,
            **played,
        }
        target.finish(made, policy, result)
        _publish(made, path)
    sync_folder(path.parent)
    return result


def _target(to: str) -> ExportTarget:
    if to not in TARGETS:
        raise RequestError(unknown("target", to, TARGETS))
    return resolve_name(TARGETS[to])()


def _policy(source: str | Path, agent: str | None) -> tuple[str, Policy]:
    """The name of the agent asked for, and what it is; RequestError if it has no weights."""
    name, policy = one_of(source, agent)
    if not isinstance(policy, Policy):
        raise RequestError(f"'{source}' plays, but holds no weights that can be exported")
    return name, policy


def _size(made: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(f.stat().st_size for f in (made, *made.rglob("*")) if f.is_file())


def _publish(made: Path, path: Path) -> None:
    """Give it its name; RequestError if a folder has come to be there while it was made."""
    try:
        os.replace(made, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            raise
        raise RequestError(f"--out '{path}' was made by another program: choose another") from None


def _file(
    target: ExportTarget, policy: Policy, agent: str, int8: bool, out: str | Path | None
) -> Path:
    """Where the export goes; RequestError if nothing can be written there."""
    kind = "-int8" if int8 and not target.images_are_int8 else ""
    words = f"{policy.spec.name}-{AgentId.parse(agent).name}".rpartition("/")[2]
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in words)
    path = Path(out) if out is not None else Path(f"{safe}{kind}{target.suffix}")
    if path.suffix != target.suffix and target.suffix:
        raise RequestError(f"--out '{path}': its name must end in {target.suffix}")
    check_writable(path)
    return path
