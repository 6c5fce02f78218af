"""Milliseconds of a PyTorch update of Mnih's net, bfloat16 and channels last; prints JSON lines.

Reads batch sizes from standard input, a line each, so that benchmarks/update.py can take turns with
it. Forward under autocast, loss, backward, clip of the gradient's norm, Adam.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn

UPDATES = 60


def nature_net(num_actions):
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(3136, 512), nn.LayerNorm(512), nn.ReLU(), nn.Linear(512, num_actions),
    ).to(memory_format=torch.channels_last)  # fmt: skip


def milliseconds(batch_size):
    """Medians, by optimiser: Adam as it comes, and its fused form."""
    found = {}
    for fused in (False, True):
        net = nature_net(6)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=fused)
        frames = torch.randint(0, 255, (batch_size, 4, 84, 84), dtype=torch.uint8)
        frames = frames.to(memory_format=torch.channels_last)
        action, wanted = torch.randint(0, 6, (batch_size, 1)), torch.randn(batch_size)
        times = []
        for _ in range(UPDATES):
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                q = net(frames.to(torch.bfloat16) / 128).gather(1, action).squeeze(1)
            loss = nn.functional.mse_loss(q.float(), wanted)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            times.append(time.perf_counter() - start)
        found["fused" if fused else "adam"] = 1e3 * statistics.median(times[UPDATES // 4 :])
    return found


def main():
    for line in sys.stdin:
        print(json.dumps({"torch": torch.__version__, **milliseconds(int(line))}), flush=True)


if __name__ == "__main__":
    main()
