#!/usr/bin/env bash
# Trained with a schedule-free optimizer, the Trainer saves other weights than those it evaluated.
#
# Packages: transformers 5.23.0, schedulefree 1.4.1, accelerate 1.15.0, torch 2.13.0 (CPU).
# Guess:    optim="schedule_free_adamw" is supported, so checkpoints hold the model: the loss of a saved folder is the one
#           that evaluate() reports for it.
# Truth:    schedule-free training steps at a point y between the fast iterate z and the average x; only x is the model.
#           optimizer.eval() puts x into the parameters. The Trainer calls it in its evaluation loop, and nowhere
#           where it saves: checkpoints that no evaluation precedes, and save_model() or push_to_hub() after train(),
#           hold y. The same run writes x if it happens to evaluate at that step.
# Source:   transformers/trainer.py: optimizer.train() in training_step, optimizer.eval() in evaluation_loop, none in
#           _save_checkpoint, save_model or at the end of _inner_training_loop.
# Hurt:     whoever trains without evaluation, or saves more often than evaluating; and whoever samples from trainer.model
#           after train(). The files load, the model works, and is worse by what averaging had gained.
# Instead:  call trainer.optimizer.eval() before saving or sampling (a callback's on_save comes too late), or evaluate
#           at each step that saves.
# Upstream: schedule_free issues 22 and 48 tell authors of loops to call eval() before saving; none found for the Trainer.
# Seen:     loss on fresh rows: evaluate() 1.887; the folder saved after train() 1.896; with optimizer.eval() before, 1.887.
#           The same checkpoint, 1.916 if nothing evaluated before it was written, 1.904 if something did.
# Date:     2026-11-28
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 \
  accelerate==1.15.0 schedulefree==1.4.1 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import sys
import warnings

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

warnings.filterwarnings("ignore")
folder = sys.argv[1]
generator = torch.Generator().manual_seed(0)
CHAIN = torch.softmax(2 * torch.randn(32, 32, generator=generator), 1)  # a language with an entropy that is not 0


def rows(count):
    found = [torch.randint(32, (count,), generator=generator)]
    for _ in range(31):
        found.append(torch.multinomial(CHAIN[found[-1]], 1, generator=generator)[:, 0])
    ids = torch.stack(found, 1)
    return [{"input_ids": row, "labels": row} for row in ids]


def train(name, **evaluation):
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, max_position_embeddings=64, **sizes))
    settings = TrainingArguments(
        f"{folder}/{name}", optim="schedule_free_adamw", learning_rate=0.05, lr_scheduler_type="constant", max_steps=150,
        per_device_train_batch_size=8, per_device_eval_batch_size=64, save_steps=100, use_cpu=True, report_to=[],
        disable_tqdm=True, logging_steps=1000, **evaluation)
    trainer = Trainer(model, settings, train_dataset=learned, eval_dataset=fresh)
    trainer.train()
    return trainer


@torch.no_grad()
def loss_of(place):
    model = LlamaForCausalLM.from_pretrained(place).eval()
    ids = torch.stack([row["input_ids"] for row in fresh])
    return model(input_ids=ids, labels=ids).loss.item()


learned, fresh = rows(1200), rows(256)
trainer = train("plain")
trainer.save_model(f"{folder}/after_training")
trainer.optimizer.eval()
trainer.save_model(f"{folder}/after_eval")
told = trainer.evaluate()["eval_loss"]
train("evaluated", eval_strategy="steps", eval_steps=100)
found = {
    "evaluate() reports": told,
    "the folder saved after train()": loss_of(f"{folder}/after_training"),
    "the same, optimizer.eval() called first": loss_of(f"{folder}/after_eval"),
    "checkpoint-100 of that run": loss_of(f"{folder}/plain/checkpoint-100"),
    "checkpoint-100 of the same run that evaluated": loss_of(f"{folder}/evaluated/checkpoint-100"),
}
for name, loss in found.items():
    print(f"{name:<50}{loss:.4f}")
told, saved, mended, plain, evaluated = found.values()
assert abs(mended - told) < 1e-3, "x is what evaluate() measured"
assert saved > told + 0.005, "changed: save_model() after train() now keeps the evaluated weights"
assert plain > evaluated + 0.005, "changed: a checkpoint no longer depends on an evaluation before it"
print("as described")
PY
"$work/venv/bin/python" "$work/probe.py" "$work/runs"
