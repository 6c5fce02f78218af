"""Make tests/data/onnx-*.onnx with PyTorch's two exporters, and what PyTorch answers as onnx-*.npz.

Any Python will do that has them; rtpd is not needed:

    pip install torch onnx onnxscript stable-baselines3 ale-py opencv-python-headless
    python scripts/make_onnx_fixtures.py [FOLDER]

cartpole-logits: the PPO of sb3-cartpole-ppo.zip, which plays well, by the newer exporter.
pong-q: a small net of fresh weights on uint8 frames, channels first, whose output has no telling
name, by the newer exporter. pong-actions: the greedy actions of another on float32 frames of 0 to
1, channels last, one state at a time, by the older exporter. Each .npz holds `obs` as rtpd has
them and `answer`.
"""

import sys
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import onnx
import torch
from make_sb3_fixtures import make_env, observations
from stable_baselines3 import PPO
from torch import nn

gymnasium.register_envs(ale_py)
HERE = Path(__file__).resolve().parents[1] / "tests" / "data"


def small_net():
    """A convolutional net of fresh weights, large enough that its answers differ."""
    layers = [
        nn.Conv2d(4, 4, 8, stride=4), nn.ReLU(), nn.Conv2d(4, 8, 4, stride=2), nn.ELU(),
        nn.Flatten(), nn.Linear(648, 8), nn.Tanh(), nn.Linear(8, 6),
    ]  # fmt: skip
    net = nn.Sequential(*layers)
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(3)
    return net


class Logits(nn.Module):
    """The logits of an actor."""

    def __init__(self, policy):
        super().__init__()
        self.extractor, self.actor = policy.mlp_extractor, policy.action_net

    def forward(self, obs):
        return self.actor(self.extractor.forward_actor(obs))


class Values(nn.Module):
    """Of uint8 frames [N 4 84 84]."""

    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, frames):
        return self.net(frames.float() / 255)


class Actions(nn.Module):
    """Of float32 frames [N 84 84 4] from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, frames):
        return self.net(frames.permute(0, 3, 1, 2)).argmax(dim=1)


def write(folder, name, net, obs, seen, **how):
    path = folder / f"onnx-{name}.onnx"
    net.eval()
    with torch.no_grad():
        answer = net(torch.as_tensor(seen)).numpy()
    torch.onnx.export(
        net, (torch.as_tensor(seen[: how.pop("batch", 1)]),), path, external_data=False, **how
    )
    model = onnx.load(path)
    for node in model.graph.node:  # where in the source each comes from, with the folders' names
        del node.metadata_props[:]
    onnx.save(model, path)
    np.savez_compressed(path.with_suffix(".npz"), obs=obs, answer=answer)
    print(f"{path}: {path.stat().st_size:,} bytes, answers {answer[:3].tolist()}")


def main():
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE
    torch.manual_seed(0)
    free = {"batch": 2, "dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    policy = PPO.load(HERE / "sb3-cartpole-ppo.zip", device="cpu").policy
    env = make_env("cartpole")
    env.action_space.seed(0)
    obs = observations(env, 6)
    write(folder, "cartpole-logits", Logits(policy), obs, obs, output_names=["logits"], **free)
    env = make_env("pong")
    env.action_space.seed(0)
    obs = observations(env, 3)
    write(folder, "pong-q", Values(), obs, obs, **free)
    turned = obs.transpose(0, 2, 3, 1).astype(np.float32) / 255
    write(
        folder, "pong-actions", Actions(), obs, np.ascontiguousarray(turned),
        dynamo=False, output_names=["action"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
