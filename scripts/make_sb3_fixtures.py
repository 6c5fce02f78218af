"""Make tests/data/sb3-*.zip with Stable-Baselines3 itself, and what it answers as sb3-*.npz.

Also cleanrl-*.cleanrl_model, of nets as CleanRL's programs have them, and torch-tensors.pth and
.npz, a dict of tensors and what is in it.

Any Python will do that has them; rtpd is not needed:

    pip install torch stable-baselines3 sb3-contrib ale-py opencv-python-headless
    python scripts/make_sb3_fixtures.py [FOLDER [NAME ...]]

One agent is trained, the PPO of CartPole, to have a teacher that plays well. Of the others fresh
weights, made larger so that the answers differ from observation to observation, say as much about
reading a file. Each .npz holds `obs` as the net gets them, its Q-values `q` (of a QR-DQN, means
over the quantiles; of PPO and A2C the logits of the policy) and `action`, what `predict` picks. So
that the files stay small, the nets of the image agents are narrow behind their convolutions, their
weights are rounded to 8 bits of mantissa, and their archives are packed again with compression; the
others are as Stable-Baselines3 wrote them.
"""

import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize
from torch import nn

try:
    from sb3_contrib import QRDQN
except ImportError:  # the other agents can be made without it
    QRDQN = None

gymnasium.register_envs(ale_py)
NARROW = {"features_extractor_kwargs": {"features_dim": 6}}
SPLIT = {"net_arch": {"pi": [12, 8], "vf": [5]}, "activation_fn": torch.nn.ReLU}
AGENTS = {  # the algorithm, its policy, its net, and what else it is told
    "cartpole-dqn": (DQN, "MlpPolicy", {"net_arch": [8, 6]}, {"buffer_size": 10}),
    "cartpole-qrdqn": (
        QRDQN, "MlpPolicy", {"net_arch": [8], "n_quantiles": 5}, {"buffer_size": 10},
    ),
    "cartpole-ppo": (PPO, "MlpPolicy", {"net_arch": {"pi": [32, 32], "vf": [32]}}, {}),
    "cartpole-a2c": (A2C, "MlpPolicy", SPLIT | {"share_features_extractor": False}, {}),
    "pong-dqn": (DQN, "CnnPolicy", NARROW, {"buffer_size": 10}),
    "pong-qrdqn": (
        QRDQN, "CnnPolicy", {"net_arch": [9], "n_quantiles": 3} | NARROW, {"buffer_size": 10},
    ),
    "pong-ppo": (PPO, "CnnPolicy", {"features_extractor_kwargs": {"features_dim": 32}}, {}),
}  # fmt: skip
TRAINED = {"cartpole-ppo": 40_000}  # steps
# What was last seen, which is pickled into the JSON, and long for images.
SEEN = ["_last_obs", "_last_original_obs"]


def make_env(name):
    if name.startswith("cartpole"):
        return make_vec_env("CartPole-v1", seed=0)
    return VecFrameStack(make_atari_env("PongNoFrameskip-v4", seed=0), 4)


def observations(env, count):
    """Some of a random play, and as many at random, in the order that the net reads."""
    random, played = np.random.default_rng(0), [env.reset()]
    while len(played) < 60:
        played.append(env.step([env.action_space.sample()])[0])
    seen = np.concatenate(played[-8 * count :: 8])
    if seen.dtype == np.uint8:
        noise = random.integers(0, 256, seen[:1].shape, np.uint8)
        return np.concatenate([seen, noise]).transpose(0, 3, 1, 2)  # channels first
    return np.concatenate([seen, random.normal(size=seen.shape).astype(np.float32)])


def answers(agent, obs):
    with torch.no_grad():
        if isinstance(agent, PPO | A2C):
            policy = agent.policy
            seen = torch.as_tensor(obs)
            features = BasePolicy.extract_features(policy, seen, policy.pi_features_extractor)
            q = policy.action_net(policy.mlp_extractor.forward_actor(features))
        elif QRDQN and isinstance(agent, QRDQN):
            q = agent.policy.quantile_net(torch.as_tensor(obs)).mean(dim=1)
        else:
            q = agent.policy.q_net(torch.as_tensor(obs))
    return {"obs": obs, "q": q.numpy(), "action": agent.predict(obs, deterministic=True)[0]}


def pack(path):
    """Compress an archive's members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def disturb(agent, rounded):
    """Weights that are larger, unlike the target net's, and of 8 bits of mantissa if asked."""
    with torch.no_grad():
        for name, weights in agent.policy.named_parameters():
            if name == "action_net.weight":  # for logits of a few nats
                weights.mul_(2 if rounded else 100)
            else:
                weights.mul_(3).add_(0.02 * torch.randn_like(weights))
            if rounded:
                weights.copy_(weights.bfloat16().float())


def make(name, folder):
    algorithm, policy, options, told = AGENTS[name]
    env = make_env(name)
    env.action_space.seed(0)
    agent = algorithm(policy, env, seed=0, policy_kwargs=options, device="cpu", **told)
    path = folder / f"sb3-{name}.zip"
    images = policy == "CnnPolicy"
    if name in TRAINED:
        agent.learn(TRAINED[name])
        print(evaluate_policy(agent, env, 20))
    else:
        agent.num_timesteps = 12_345
        disturb(agent, images)
    agent.save(path, exclude=SEEN)
    if images:
        pack(path)
    obs = observations(env, 3 if images else 6)
    np.savez_compressed(path.with_suffix(".npz"), **answers(agent, obs))
    print(f"{path}: {path.stat().st_size:,} bytes")


def cleanrl_net(outputs, last=True, width=6):
    """What CleanRL's dqn_atari and ppo_atari call `network`, there with a width of 512."""
    layers = [
        nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(), nn.Flatten(), nn.Linear(3136, width), nn.ReLU(),
    ]  # fmt: skip
    return nn.Sequential(*layers, *([nn.Linear(width, outputs)] if last else []))


class CleanrlDQN(nn.Module):
    """QNetwork of cleanrl/dqn_atari.py."""

    def __init__(self, outputs):
        super().__init__()
        self.network = cleanrl_net(outputs)

    def forward(self, x):
        return self.network(x / 255.0)


class CleanrlC51(nn.Module):
    """QNetwork of cleanrl/c51_atari.py, and its Q-values; there of 51 atoms."""

    def __init__(self, outputs, atoms=7, limit=10):
        super().__init__()
        self.register_buffer("atoms", torch.linspace(-limit, limit, steps=atoms))
        self.network = cleanrl_net(outputs * atoms)

    def forward(self, x):
        logits = self.network(x / 255.0)
        chances = torch.softmax(logits.view(len(x), -1, len(self.atoms)), dim=2)
        return (chances * self.atoms).sum(2)


class CleanrlPPO(nn.Module):
    """Agent of cleanrl/ppo_atari.py, and its logits."""

    def __init__(self, outputs):
        super().__init__()
        self.network = cleanrl_net(outputs, last=False)
        self.actor = nn.Linear(6, outputs)
        self.critic = nn.Linear(6, 1)

    def forward(self, x):
        return self.actor(self.network(x / 255.0))


CLEANRL = {
    "cleanrl-pong-dqn": CleanrlDQN,
    "cleanrl-pong-ppo": CleanrlPPO,
    "cleanrl-pong-c51": CleanrlC51,
}
# Kinds of values that the arguments of a program have, which c51_atari.py saves beside its weights.
ARGUMENTS = {"exp_name": "c51_atari", "seed": 1, "v_min": -10.0, "cuda": True, "hf_entity": None}


def make_cleanrl(name, folder):
    """A file as CleanRL saves it, of fresh weights."""
    torch.manual_seed(sum(name.encode()))
    env = make_env("pong")
    env.action_space.seed(0)
    agent = CLEANRL[name](int(env.action_space.n))
    path = folder / f"{name}.cleanrl_model"
    with torch.no_grad():
        for weights in agent.parameters():
            weights.copy_((3 * weights).bfloat16().float())
        obs = observations(env, 3)
        answers = agent(torch.as_tensor(obs)).numpy()
    state = agent.state_dict()
    saved = {"model_weights": state, "args": ARGUMENTS} if "c51" in name else state
    torch.save(saved, path)
    pack(path)
    np.savez_compressed(path.with_suffix(".npz"), obs=obs, q=answers, action=answers.argmax(1))
    print(f"{path}: {path.stat().st_size:,} bytes")


def make_statistics(folder):
    """sb3-cartpole-vecnormalize.pkl: statistics of random play, and what they make of vectors."""
    env = VecNormalize(make_env("cartpole"))
    env.action_space.seed(0)
    env.reset()
    for _ in range(200):
        env.step([env.action_space.sample()])
    path = folder / "sb3-cartpole-vecnormalize.pkl"
    env.save(path)
    obs = np.random.default_rng(0).normal(scale=0.1, size=(20, 4)).astype(np.float32)
    np.savez_compressed(path.with_suffix(".npz"), obs=obs, seen=env.normalize_obs(obs))
    print(f"{path}: {path.stat().st_size:,} bytes")


def make_tensors(folder):
    """torch-tensors.pth: numbers of several kinds, and views that share a storage."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "whole": base,
        "turned": base.T,
        "part": base[1:, 1::2],
        "scalar": base[2, 3],
        "empty": base[:0],
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "half": torch.tensor([0.5, -2], dtype=torch.float16),
        "long": torch.tensor([[2**40, -1]]),
        "bool": torch.tensor([True, False]),
    }
    torch.save(OrderedDict(state), folder / "torch-tensors.pth")
    expected = {name: tensor.numpy() for name, tensor in state.items()}
    np.savez_compressed(folder / "torch-tensors.npz", **expected)


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1] / "tests" / "data"
    target = Path(sys.argv[1]) if sys.argv[1:] else here
    target.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or [*AGENTS, *CLEANRL]:
        if name in CLEANRL:
            make_cleanrl(name, target)
        else:
            make(name, target)
    if not sys.argv[2:]:
        make_tensors(target)
        make_statistics(target)
