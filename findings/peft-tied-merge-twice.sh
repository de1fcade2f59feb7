#!/usr/bin/env bash
# Merging an adapter on tied embeddings adds its delta twice.
#
# Packages: peft 0.21.2, transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    merge_and_unload gives the model that was just running.
# Truth:    with tied embeddings and ensure_weight_tying=True, as peft's own warning advises, embedding and head share one
#           delta, both layers are merged, and both write into the one matrix: base + 2 delta. Without the switch the head
#           of the merged model gets a delta that it did not have in training.
# Source:   peft/tuners/tuners_utils.py, inject_adapter and _unload_and_optionally_merge.
# Hurt:     whoever adds tokens or a language by LoRA on the embeddings of a model with tied ones, and merges for serving.
# Instead:  clone lm_head.weight and set tie_word_embeddings=False before get_peft_model.
# Upstream: no report found.
# Seen:     embedding moved by 2.000 deltas, logits off by 2.31 after the merge; without the switch 1.000 and 0.75; untied
#           first 1.000 and 0.
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
ids = torch.randint(0, 128, (2, 10))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(ids).logits


def adapted(model: torch.nn.Module, **settings) -> torch.nn.Module:
    """``model`` with an adapter whose delta is not zero."""
    generator = torch.Generator().manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=4, **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


for kind in ("ensure_weight_tying", "as it is", "untied first"):
    model = copy.deepcopy(tied)
    if kind == "untied first":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    running = adapted(model, target_modules=["embed_tokens"], ensure_weight_tying=kind == "ensure_weight_tying")
    layer = running.base_model.model.model.embed_tokens
    delta = (layer.lora_embedding_B["default"] @ layer.lora_embedding_A["default"]).T.detach() * layer.scaling["default"]
    live = logits(running)
    merged = running.merge_and_unload()
    off = (logits(merged) - live).abs().max().item()
    times = ((merged.model.embed_tokens.weight - tied.model.embed_tokens.weight).norm() / delta.norm()).item()
    print(f"RESULT embedding, {kind}: merged logits off by {off:.5f}, embedding moved by {times:.3f} deltas")
    assert abs(times - (2 if kind == "ensure_weight_tying" else 1)) < 1e-3
    assert (off < 1e-4) == (kind == "untied first")
PY
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
grep '^RESULT' "$work/log"
