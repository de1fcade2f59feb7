#!/usr/bin/env bash
# Under gradient accumulation transformers' Trainer multiplies the balancing loss of mixture-of-experts models.
#
# Packages: transformers 5.23.0, torch 2.13.0 (CPU), accelerate 1.15.0.
# Guess:    eight rows in one batch, in four micro-batches or in eight give the same gradient, as they do for the
#           cross-entropy since the Trainer normalizes by the tokens of the whole step; and label smoothing
#           changes the cross-entropy alone.
# Truth:    the model divides its cross-entropy by num_items_in_batch and adds router_aux_loss_coef * aux_loss undivided,
#           and the Trainer, told that the loss is scaled already, divides by nothing: the balancing loss enters once for each
#           micro-batch. With N accumulation steps its weight is N times the configured one. With
#           label_smoothing_factor above 0 it is 0: the smoothed loss is made from the logits alone.
# Source:   transformers/trainer.py, training_step (loss_is_scaled_for_ga) and compute_loss (label_smoother);
#           transformers/models/mixtral/modeling_mixtral.py, MixtralForCausalLM.forward, and its siblings.
# Hurt:     whoever halves the micro-batch for lack of memory and doubles the accumulation: the router is pushed
#           twice as hard at equal configuration, and the logged loss jumps although the cross-entropy did not.
# Instead:  divide router_aux_loss_coef by gradient_accumulation_steps. trl 1.16's SFTTrainer divides it itself.
# Seen:     eight equal rows, so that each micro-batch has the same balancing loss: norm of its gradient 3.62, 14.49, 28.98 for
#           1, 4, 8 steps, cross-entropy's 1.726 each time; smoothed: 0, 0, 0.
# Date:     2026-11-28
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import sys

import torch
import transformers
from transformers import MixtralConfig, MixtralForCausalLM, Trainer, TrainingArguments

print("torch", torch.__version__, "transformers", transformers.__version__)
row = torch.randint(3, 64, (24,), generator=torch.Generator().manual_seed(0))
rows = [{"input_ids": row, "labels": row} for _ in range(8)]


class Kept(Trainer):
    """Keeps the gradient that the optimizer is about to use."""

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.gradient = torch.cat([p.grad.flatten().clone() for p in self.model.parameters()])
        return loss


def gradient(coef, batch, steps, smoothing):
    torch.manual_seed(0)
    model = MixtralForCausalLM(
        MixtralConfig(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                      num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=1, output_router_logits=True,
                      router_aux_loss_coef=coef))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.mul_(20)  # routers with an opinion, so that there is something to balance
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
    arguments = TrainingArguments(
        sys.argv[1], per_device_train_batch_size=batch, gradient_accumulation_steps=steps, max_steps=1, learning_rate=0.0,
        optim="sgd", max_grad_norm=0.0, label_smoothing_factor=smoothing, use_cpu=True, report_to=[], save_strategy="no",
        logging_strategy="no", disable_tqdm=True)
    trainer = Kept(model, arguments, train_dataset=rows)
    trainer.train()
    return trainer.gradient


for smoothing, wanted in ((0.0, (1, 4, 8)), (0.1, (0, 0, 0))):
    first = None
    for steps, times in zip((1, 4, 8), wanted, strict=True):
        plain = gradient(0.0, 8 // steps, steps, smoothing)
        balance = (gradient(1.0, 8 // steps, steps, smoothing) - plain).norm()
        first = balance if first is None else first
        print(f"label smoothing {smoothing}, {steps} steps of {8 // steps} rows: cross-entropy's gradient "
              f"{plain.norm():.4f}, balancing loss's {balance:.4f}")
        if times:
            assert abs(balance / first - times) < 1e-3 and first > 1
        else:
            assert balance < 1e-6
print("as described")
PY
HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/probe.py" "$work/out" 2>"$work/err" | grep -v "^{" || { cat "$work/err"; exit 1; }
