#!/usr/bin/env bash
# Inside one autocast block the optimizer's steps are not seen: the loss stays the same to the last bit.
#
# Package:  torch 2.13.0 (CPU).
# Guess:    "with torch.autocast(...)" around a training loop is the same as around each forward pass.
# Truth:    autocast keeps the bfloat16 copy of each trainable float32 weight until the outermost block ends.
#           The optimizer changes the float32 weight, the next forward in the same block uses the old copy:
#           every step sees the first weights and repeats the first gradient. Gradients are non-zero, weights do
#           move (further and further along the first gradient), but loss and outputs are those of step one.
# Source:   aten/src/ATen/autocast_mode.cpp, cached_cast (cache keyed by the tensor, cleared when the nesting of
#           autocast blocks falls to zero; an in-place change of the weight does not void the entry).
# Hurt:     loops, evaluations or rollouts that share one outer autocast block with optimizer steps, e.g.
#           several inner updates of PPO or of meta-learning, weights swapped in by an average, test-time training.
# Instead:  one autocast block for each forward pass, torch.clear_autocast_cache() after the step, or
#           cache_enabled=False.
# Upstream: the cache is documented by its switch; pytorch issue 65766 is its neighbour (gradients), this one seen in users' projects.
# Seen:     loop inside one block: 1.3821 at each of 20 steps, 3.0433 outside after it; otherwise 1.3821 -> 0.7616.
# Date:     2026-11-27
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
from contextlib import nullcontext

import torch

print("torch", torch.__version__)


def train(outer: bool, cache: bool = True, clear: bool = False) -> tuple[list[float], float]:
    """Losses of 20 steps, autocast around the loop or around each forward; then the loss after the block."""
    torch.manual_seed(0)
    model = torch.nn.Linear(16, 4, bias=False)
    inputs, targets = torch.randn(64, 16), torch.randn(64, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)

    def cast() -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=cache)

    def loss_now() -> torch.Tensor:
        return (model(inputs).float() - targets).pow(2).mean()

    losses = []
    with cast() if outer else nullcontext():
        for _ in range(20):
            with nullcontext() if outer else cast():
                loss = loss_now()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if clear:
                torch.clear_autocast_cache()
    with torch.no_grad():
        return losses, loss_now().item()


runs = {"around each forward": train(False), "around the loop": train(True),
        "loop, cache off": train(True, cache=False), "loop, cache cleared": train(True, clear=True)}
for name, (losses, after) in runs.items():
    print(f"{name:20s} loss {losses[0]:.4f} -> {losses[-1]:.4f}   outside the block {after:.4f}")
stuck, after = runs.pop("around the loop")
assert all(abs(loss - stuck[0]) < 1e-9 for loss in stuck), "steps are seen inside the block now"
assert abs(after - stuck[-1]) > 0.01  # the true weights did move
for name, (losses, after) in runs.items():
    assert losses[-1] < losses[0] - 0.01 and abs(after - losses[-1]) < 0.02, name
PY
cd "$work"
OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py
