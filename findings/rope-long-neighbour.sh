#!/usr/bin/env bash
# With "longrope" or "dynamic" rotary scaling a short prompt answers differently beside a long one in the batch.
#
# Packages: transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    rows of a right-padded batch do not touch each other, and reading token by token with the cache
#           gives the logits of one pass over the whole text. Both to float32 rounding.
# Truth:    both schemes choose ONE set of frequencies from the largest position in the batch. One row longer
#           than the original context switches every row to the long factors: logits of a 20-token row move
#           by several units. And keys that entered the cache before the switch stay rotated by the old
#           frequencies, so cached and uncached logits part ways when a text crosses the border.
#           "default" and "yarn" (fixed frequencies) are exact in both respects.
# Source:   transformers/modeling_rope_utils.py, dynamic_rope_update (longrope_frequency_update and
#           dynamic_frequency_update use the maximum of position_ids).
# Hurt:     batched evaluation and serving of long-context models: a score depends on its neighbours and
#           on the batch size; log-probabilities of generation and of training differ.
# Instead:  batches of similar length on one side of the border, or fixed factors; compare batch size 1.
# Upstream: no report found for transformers; llama.cpp pull request 24875 names both limits for itself.
# Seen:     short row moved: dynamic 4.67 (7 of 20 top tokens), longrope 7.55 (13 of 20); cached: 1.81, 6.10; else 0.
# Date:     2026-11-27
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

print("torch", torch.__version__, "transformers", transformers.__version__)
ORIGINAL, SHORT, LONG = 32, 20, 64  # original context; a short and a long row
scaled = {"factor": 4.0, "original_max_position_embeddings": ORIGINAL}
schemes = {
    "default": ({}, LONG),
    "yarn": (scaled, 4 * ORIGINAL),
    "dynamic": ({"factor": 4.0}, ORIGINAL),
    "longrope": ({**scaled, "short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 4.0]}, 4 * ORIGINAL),
}
for name, (extra, positions) in schemes.items():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=positions, initializer_range=0.3, pad_token_id=0,
        rope_parameters={"rope_type": name, "rope_theta": 1e4, **extra})).eval()
    long_row = torch.randint(3, 128, (1, LONG))
    short_row = long_row[:, :SHORT]
    batch = torch.cat([long_row, torch.nn.functional.pad(short_row, (0, LONG - SHORT))])
    mask = (batch != 0).long()
    with torch.no_grad():
        alone = model(short_row).logits[0]
        beside = model(batch, attention_mask=mask).logits[1, :SHORT]
        whole = model(long_row).logits[0, -1]
        cache = model(short_row, use_cache=True).past_key_values
        for i in range(SHORT, LONG):
            step = model(long_row[:, i:i + 1], past_key_values=cache, use_cache=True)
    neighbour = (alone - beside).abs().max().item()
    cached = (step.logits[0, -1] - whole).abs().max().item()
    changed = (alone.argmax(-1) != beside.argmax(-1)).sum().item()
    print(f"{name:9s} long neighbour moves the short row by {neighbour:.5f} (top token changed at {changed} of"
          f" {SHORT}); cached against whole {cached:.5f}")
    if name in ("default", "yarn"):
        assert neighbour < 1e-3 and cached < 1e-3
    else:
        assert neighbour > 0.5 and changed > 0, f"{name}: rows are independent now"
        assert cached > 0.5, f"{name}: the cache follows the frequencies now"
PY
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py 2> "$work/err" || { tail -20 "$work/err"; exit 1; }
