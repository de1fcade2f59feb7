#!/usr/bin/env bash
# The linear average of an adapter with itself is twice that adapter.
#
# Packages: peft 0.21.2, transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    add_weighted_adapter(..., combination_type="linear") gives the weighted sum of the adapters' deltas, or close.
# Truth:    the square roots of the weights go onto the factors A and B, so the products across adapters come along:
#           (A + A)/sqrt 2 times (B + B)/sqrt 2 is 2 B A. For two adapters of random directions the average is off by about
#           its own size, and so is a difference with weights 1 and -1. "cat" is exact, at the price of rank; "svd", the
#           default, is the best of the old rank and loses the rest.
# Source:   peft/tuners/lora/model.py, _generalized_task_arithmetic_weighted_adapter. The docstring calls linear a very
#           rough approximation.
# Hurt:     whoever averages checkpoints of one run, or subtracts a skill.
# Instead:  "cat", or merge each and average the weights.
# Seen:     half and half of one adapter 2.000 of it (cat 1.000, svd 1.000); of two: error 1.0 of the sum's size (cat 6e-8,
#           svd 0.45); of their difference 1.0 (svd 0.47).
# Date:     2026-11-28
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2 \
  accelerate==1.15.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import copy
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.filterwarnings("ignore")
torch.manual_seed(0)
tied = LlamaForCausalLM(LlamaConfig(
    vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, initializer_range=0.3, tie_word_embeddings=True)).eval()
model = get_peft_model(copy.deepcopy(tied), LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj"]), adapter_name="a")
model.add_adapter("b", LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj"]))
layer = model.base_model.model.model.layers[0].self_attn.q_proj
generator = torch.Generator().manual_seed(1)
with torch.no_grad():
    for name in "ab":
        layer.lora_B[name].weight.normal_(generator=generator)


def delta(name: str) -> torch.Tensor:
    return (layer.lora_B[name].weight @ layer.lora_A[name].weight * layer.scaling[name]).detach()


for names, weights in (("aa", [0.5, 0.5]), ("ab", [0.5, 0.5]), ("ab", [1.0, -1.0])):
    wanted = sum(weight * delta(name) for name, weight in zip(names, weights))
    for kind in ("linear", "cat", "svd"):
        model.add_weighted_adapter(list(names), weights, "new", combination_type=kind)
        error = ((delta("new") - wanted).norm() / wanted.norm()).item()
        size = (delta("new").norm() / wanted.norm()).item()
        model.delete_adapter("new")
        print(f"RESULT {names} {weights} {kind:6s}: {size:.3f} times the size of the sum, error {error:.2f} of it")
        if kind == "cat":
            assert error < 1e-5
        if kind == "linear":
            assert error > 0.7, "linear is the weighted sum now"
            assert names == "ab" or abs(size - 2) < 1e-3
PY
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
grep '^RESULT' "$work/log"
