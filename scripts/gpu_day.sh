#!/usr/bin/env bash
# What a GPU is to show, measured in one go and in under 25 minutes: steps/s against the emulator's
# own rate, the update, the cost of one and of six students, bfloat16 against float32, several games
# at once, and one game to expert. One folder of JSON and run folders comes out of it.
#
#     scripts/gpu_day.sh results/gpu              # on a machine with a GPU
#     SCALE=0.02 scripts/gpu_day.sh /tmp/gpu      # the same steps in tiny budgets, also on a CPU
#
# SCALE stretches every budget; EXTRA names what else is installed (cuda: JAX for NVIDIA's GPUs).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT=${1:?"usage: scripts/gpu_day.sh FOLDER"}
SCALE=${SCALE:-1}
mkdir -p "$OUT"

seconds() { awk -v s="$SCALE" -v x="$1" 'BEGIN { printf "%.2f", (x * s > 0.5) ? x * s : 0.5 }'; }
steps() { awk -v s="$SCALE" -v x="$1" 'BEGIN { printf "%d", (x * s > 8192) ? x * s : 8192 }'; }
say() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*" | tee -a "$OUT/log.txt"; }

say "setting up"
make setup >"$OUT/setup.txt" 2>&1
RTPD=.venv/bin/rtpd
if command -v nvidia-smi >/dev/null; then
  nvidia-smi >"$OUT/nvidia-smi.txt"
  .venv/bin/python -m pip install --quiet -e ".[${EXTRA:-cuda}]" >>"$OUT/setup.txt" 2>&1 ||
    uv pip install --quiet --python .venv/bin/python -e ".[${EXTRA:-cuda}]" >>"$OUT/setup.txt" 2>&1
fi
lscpu >"$OUT/lscpu.txt"
.venv/bin/python -c 'import jax; print(jax.devices())' | tee -a "$OUT/log.txt"
# Small envs and replays where the budgets are tiny, so that it all runs on two cores.
SMALL=()
if awk -v s="$SCALE" 'BEGIN { exit !(s < 0.5) }'; then
  SMALL=(--num-envs 16 --replay.capacity 8000 --replay.warmup-steps 2048)
fi

for compute in bfloat16 float32; do
  for preset in gpu pqn; do
    say "bench: $preset, $compute"
    $RTPD bench pong --preset "$preset" --compute "$compute" "${SMALL[@]}" --rounds 2 \
      --seconds "$(seconds 4)" --json --out "$OUT/bench-$preset-$compute.json" >/dev/null
  done
done

say "several games at once"
$RTPD train pong+boxing+breakout --preset pqn "${SMALL[@]}" --steps "$(steps 400000)" \
  --minutes "$(seconds 3)" --evaluation.period-steps 0 --evaluation.final-episodes 2 \
  --checkpoint-steps 0 --out "$OUT/games" >"$OUT/games.txt" 2>&1

say "one game to expert"
$RTPD train pong --preset pqn --students net4:kl net1.7:kl net0.5:kl net0.1:kl "${SMALL[@]}" \
  --steps "$(steps 8000000)" --minutes "$(seconds 9)" --exploration.decay-steps "$(steps 400000)" \
  --evaluation.period-steps "$(steps 1000000)" --evaluation.final-episodes 30 \
  --checkpoint-steps 0 --out "$OUT/pong" >"$OUT/pong.txt" 2>&1

say "done: $OUT"
