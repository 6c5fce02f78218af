"""Agent steps/s of DQN on Pong as the usual PyTorch programs do it; prints one line of JSON.

`cleanrl`: one emulator, one file, a loop in the order of CleanRL's dqn_atari.py (act, step, store,
sample, update). `sb3`: Stable-Baselines3's DQN with its CnnPolicy. Both: Mnih's net of 1.7 million
parameters, batches of 32, one update of plain DQN every 4 agent steps, a small replay.

Runs in an environment of its own (torch, stable-baselines3, ale-py, opencv-python-headless);
benchmarks/peers.py starts it beside rtpd.
"""

import argparse
import json
import time

import ale_py
import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

WARMUP = 1_000
CAPACITY = 20_000

gym.register_envs(ale_py)


def make_env():
    env = gym.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0)
    env = gym.wrappers.AtariPreprocessing(env, noop_max=30, frame_skip=4)
    return gym.wrappers.FrameStackObservation(env, 4)


def nature_net(num_actions):
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, num_actions),
    )  # fmt: skip


def cleanrl(steps):
    """Rate of a hand-written loop with one env, from the end of the warm-up."""
    env = make_env()
    net, target = (nature_net(env.action_space.n) for _ in range(2))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    replay = ReplayBuffer(
        CAPACITY, env.observation_space, env.action_space, "cpu",
        optimize_memory_usage=True, handle_timeout_termination=False,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=0)
    for step in range(WARMUP + steps):
        if step == WARMUP + steps // 10:
            start = time.perf_counter()
        if rng.random() < 0.05:
            action = env.action_space.sample()
        else:
            with torch.no_grad():
                action = net(torch.as_tensor(obs[None]) / 255.0).argmax(1).item()
        after, reward, terminal, truncated, _ = env.step(action)
        replay.add(obs, after, np.array([action]), np.array([reward]), np.array([terminal]), [{}])
        obs = env.reset()[0] if terminal or truncated else after
        if step >= WARMUP and step % 4 == 0:
            batch = replay.sample(32)
            with torch.no_grad():
                best = target(batch.next_observations.float() / 255.0).max(dim=1).values
                wanted = batch.rewards.flatten() + 0.99 * best * (1 - batch.dones.flatten())
            q = net(batch.observations.float() / 255.0).gather(1, batch.actions).squeeze(1)
            loss = nn.functional.mse_loss(wanted, q)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if step % 1000 == 0:
            target.load_state_dict(net.state_dict())
    return (steps - steps // 10) / (time.perf_counter() - start)


class Clock(BaseCallback):
    """Notes the time when the first tenth after the warm-up is over."""

    def __init__(self, step):
        super().__init__()
        self.step, self.start = step, None

    def _on_step(self):
        if self.start is None and self.num_timesteps >= self.step:
            self.start = time.perf_counter()
        return True


def sb3(steps):
    """Rate of Stable-Baselines3's DQN, from the end of the warm-up."""
    model = DQN(
        "CnnPolicy", make_env(), learning_starts=WARMUP, buffer_size=CAPACITY, batch_size=32,
        train_freq=4, gradient_steps=1, target_update_interval=1_000, learning_rate=1e-4,
        optimize_memory_usage=True, exploration_fraction=0.01, device="cpu", seed=0,
        replay_buffer_kwargs={"handle_timeout_termination": False},
    )  # fmt: skip
    clock = Clock(WARMUP + steps // 10)
    model.learn(WARMUP + steps, callback=clock)
    return (steps - steps // 10) / (time.perf_counter() - clock.start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=["cleanrl", "sb3"])
    parser.add_argument("--steps", type=int, default=3_000)
    args = parser.parse_args()
    rate = {"cleanrl": cleanrl, "sb3": sb3}[args.peer](args.steps)
    versions = {m.__name__: m.__version__ for m in (torch, gym, stable_baselines3)}
    print(json.dumps({"steps_per_second": rate, "versions": versions}))


if __name__ == "__main__":
    main()
