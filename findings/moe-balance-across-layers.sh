#!/usr/bin/env bash
# The load-balancing loss of mixture-of-experts models cannot see two layers that collapse on different experts.
#
# Packages: transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    the auxiliary loss is taken layer by layer and then averaged (the expert shares of one router,
#           as in the papers), so a layer that sends everything to one expert is punished.
# Truth:    counts and probabilities are added up over all layers and divided once at the end, so the shares
#           are taken over layers and tokens together. Two layers with two experts, each wholly collapsed: on the same expert the loss
#           is 2, on different experts it is 1, exactly the value of perfect balance; its gradient then
#           pushes neither of them back.
# Source:   transformers/models/mixtral/modeling_mixtral.py, load_balancing_loss_func (the two sums run
#           through the loop over layers, one product after it); 33 model files of 5.23 define such a function.
# Hurt:     whoever fine-tunes with output_router_logits=True and reads a low aux_loss as healthy routers.
# Instead:  call the function once a layer and average; plot expert shares for each layer.
# Upstream: discussed in transformers issues 28255 and 29503, both closed; not in the documentation.
# Seen:     same expert 2.0, different experts 1.0, even 1.0; gradient 0.0695 against 0; tiny Mixtral 1.027 against 1.095.
# Date:     2026-11-27
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import torch
import transformers
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func as balance

print("torch", torch.__version__, "transformers", transformers.__version__)
first = torch.tensor([[12.0, 0.0]]).repeat(16, 1)  # 16 tokens, all to expert 0
second = first.flip(1)                             # all to expert 1
half = torch.cat([first[:8], second[:8]])          # as even as can be
joined = {"both layers on one expert": (first, first), "each layer on another expert": (first, second),
          "even in each layer": (half, half)}
seen = {}
for name, layers in joined.items():
    each = sum(balance((layer,), 2, 1) for layer in layers) / 2
    seen[name] = (balance(layers, 2, 1).item(), each.item())
    print(f"{name:30s} library {seen[name][0]:.4f}   mean over layers {seen[name][1]:.4f}")
assert abs(seen["both layers on one expert"][0] - 2) < 1e-2
assert abs(seen["each layer on another expert"][0] - 1) < 1e-2, "collapse is seen layer by layer now"
assert abs(seen["each layer on another expert"][1] - 2) < 1e-2

# The gradient on a router that is soft but lopsided: it vanishes when the next layer leans the other way.
lean = torch.tensor([[1.0, 0.0]]).repeat(16, 1)
for name, other in (("same way", lean), ("other way", lean.flip(1))):
    layer = lean.clone().requires_grad_()
    balance((layer, other), 2, 1).backward()
    size = layer.grad.norm().item()
    print(f"gradient on a leaning router, next layer leans the {name}: {size:.6f}")
    assert (size > 1e-3) == (name == "same way"), "the gradient depends on its own layer now"

# A whole model reports the joined value as aux_loss.
torch.manual_seed(0)
model = MixtralForCausalLM(MixtralConfig(
    vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=1, initializer_range=0.5)).eval()
with torch.no_grad():
    out = model(torch.randint(0, 64, (4, 16)), output_router_logits=True)
each = sum(balance((layer,), 4, 1) for layer in out.router_logits) / len(out.router_logits)
print(f"tiny Mixtral: aux_loss {out.aux_loss:.4f}   mean over its layers {each:.4f}")
assert abs(out.aux_loss - balance(out.router_logits, 4, 1)) < 1e-5 and each > out.aux_loss + 0.02
PY
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py
