"""What a file is, whoever wrote it, and whether it can teach: `rtpd teachers --file FILE`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtpd.agents.formats import cleanrl, layers, onnx_teacher, pretrained, sb3
from rtpd.agents.formats.layers import Layer, Parsed
from rtpd.agents.formats.onnx_teacher import Model
from rtpd.agents.store import file_of, load_policy
from rtpd.errors import RequestError, typed
from rtpd.storage.files import contents
from rtpd.system.formatting import clean, count
from rtpd.types import num_parameters

MOST_GAMES = 3  # that are named


def describe(path: Path) -> dict[str, Any]:
    """What is in a file of Stable-Baselines3, CleanRL, ONNX or rtpd; nothing in it is run.

    Returns:
        JSON-ready {"file", "program", "algorithm", "network", "sees" (shape of an observation),
        "actions", "answers" (q, logits, actions; None: to be said), "parameters", "teaches",
        "why" (it does not teach), "fits" (which env, in words), "command", "needs" (flags of that
        command which the file leaves open: what their values may be)}; None where it is not known.

    Raises:
        RequestError: if there is no such file or run, or nobody here writes such files.
        CheckpointError: if it is damaged.
    """
    pretrained.check_is_agent(path)
    if not pretrained.is_agent(path):
        return _of_rtpd(path)
    program = {".onnx": "ONNX"}.get(path.suffix) or (
        "CleanRL" if cleanrl.is_agent(path) else "Stable-Baselines3"
    )
    keys = ("algorithm", "network", "sees", "actions", "answers", "parameters")
    found: dict[str, Any] = {"file": str(path), "program": program, **dict.fromkeys(keys)}
    try:
        if program == "ONNX":
            found |= _of_graph(onnx_teacher.parsed(path))
        else:
            found |= _of_layers((cleanrl if program == "CleanRL" else sb3).parsed(path))
    except RequestError as error:
        if not path.exists():
            raise
        why = str(error).removeprefix(f"{path}: ")
        return found | {"teaches": False, "why": why, "fits": None, "command": None, "needs": {}}
    fits, needs = _fits(found["sees"], found["actions"]), found.pop("needs", {})
    flags = [word for flag in needs for word in (flag, flag.rpartition("-")[2].upper())]
    command = typed("rtpd", "distill", *flags, path, "GAME")
    return found | {
        "teaches": True, "why": None, "fits": fits, "command": command, "needs": needs
    }  # fmt: skip


def _of_rtpd(path: Path) -> dict[str, Any]:
    """The teacher of a run, or an agent's file."""
    if file_of(path) is None and not path.is_dir():
        contents(path)  # there is no such file
        raise RequestError(f"'{path}' is no agent: allowed: {pretrained.KINDS}, a run of rtpd")
    policy = load_policy(path)
    return {
        "file": str(path),
        "program": "rtpd",
        "algorithm": policy.provenance.get("teacher"),
        "network": policy.provenance["net"],
        "sees": [policy.spec.stack, *policy.spec.frame_shape],
        "actions": policy.spec.num_actions,
        "answers": "q" if policy.head.gives_q else "logits",
        "parameters": num_parameters(policy.net),
        "teaches": True,
        "why": None,
        "fits": policy.spec.name,
        "command": typed("rtpd", "distill", path),
        "needs": {},
    }


def _of_layers(parsed: Parsed) -> dict[str, Any]:
    return {
        "algorithm": parsed.source["algorithm"],
        "network": f"{layers.net_text(_hidden(parsed.layers))}, {parsed.activation}",
        "sees": parsed.seen,
        "actions": len(parsed.layers[-1].bias) // parsed.head.atoms,
        "answers": "q" if parsed.head.gives_q else "logits",
        "parameters": sum(layer.weight.size + layer.bias.size for layer in parsed.layers),
    }


def _hidden(found: Sequence[Layer]) -> Sequence[Layer]:
    """The layers, of which a net of one has none that is hidden."""
    return found if len(found) > 1 else [Layer("none", np.zeros((0, 0)), np.zeros(0)), *found]


def _of_graph(model: Model) -> dict[str, Any]:
    output = next(iter(onnx_teacher.outputs(model)), None)
    if output is None:
        has = ", ".join(f"{clean(n)} {list(v.shape)}" for n, v in model.outputs.items())
        raise RequestError(f"for one state its outputs are {has}: allowed: [1, A] or [1]")
    sees, needs = list(model.input[1].shape[1:]), {}
    if output.kind is None:
        needs["--teacher-output"] = "q or logits"
    if len(sees) > 1 and 84 in sees and not model.reads_bytes:
        needs["--teacher-scale"] = "255 if it sees pixels of 0 to 1, 1 if of 0 to 255"
    return {
        "needs": needs,
        "algorithm": None,
        "network": f"{count(model.num_nodes, 'operation')}, by {model.program or 'unknown'}",
        "sees": sees,
        "actions": output.num_actions,
        "answers": output.kind,
        "parameters": model.parameters,
    }


def _fits(sees: list[int] | None, actions: int | None) -> str:
    """Which envs a teacher is for, in words."""
    has = f"{actions} actions" if actions is not None else "as many actions as it knows"
    if sees is None or len(sees) == 1 or 84 not in sees:
        return f"an env with observations {'of its shape' if sees is None else sees} and {has}"
    from rtpd.envs.ale import games

    known = [game for game, number in sorted(games().items()) if number == actions]
    named = ", ".join(known[:MOST_GAMES])
    more = f" and {len(known) - MOST_GAMES} more" if len(known) > MOST_GAMES else ""
    return f"Atari games with {has}" + (f": {named}{more}" if known else "")
