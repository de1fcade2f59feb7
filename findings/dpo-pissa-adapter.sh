#!/usr/bin/env bash
# DPO on an adapter with PiSSA or OLoRA start values: the policy is damaged before the first step.
#
# Packages: trl 1.16.0, peft 0.21.2, transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    an adapter that starts at zero effect gives a first DPO loss of log 2, whatever start values it
#           uses, and building the trainer does not change what the model computes.
# Truth:    PiSSA and OLoRA move part of each weight out of the base into the adapter, so "adapter off" is
#           no longer the starting model. Two roads, both without an error:
#           (a) peft_config given to DPOTrainer: the reference is "adapter off", that is the base without
#               its leading directions; the first loss is not log 2 and every reward starts off zero.
#           (b) a ready PeftModel given to DPOTrainer: the trainer adds a second adapter "ref" with the same
#               config, whose start takes the leading directions out of the base AGAIN, then copies the
#               weights of the first. Policy and reference agree, so the loss reads log 2 exactly, but both
#               are now another model: the logits are off by several units.
# Source:   trl/trainer/dpo_trainer.py, DPOTrainer.__init__ (model.add_adapter("ref", ...) and the choice
#           of the disabled adapter as reference); peft/tuners/lora/layer.py, pissa_init and olora_init,
#           which write the residual back into the base weight.
# Hurt:     whoever follows the advice to start LoRA from PiSSA and then trains preferences; in (b) no
#           logged number shows it.
# Instead:  default start values for DPO, or a separate ref_model (a deep copy taken before the adapter).
# Upstream: no report found.
# Seen:     peft_config: first loss - log 2 = -0.029 (PiSSA), -0.026 (OLoRA), model as handed in; ready PeftModel:
#           loss log 2, logits off by 6.57 (PiSSA), 4.78 (OLoRA); default start values: 0 and 0.
# Date:     2026-11-27
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 \
  tokenizers==0.23.3 peft==0.21.2 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import copy
import math
import sys
import warnings

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

warnings.filterwarnings("ignore")
letters = ["<pad>", "<eos>", "<s>"] + [chr(i) for i in range(32, 127)]
vocabulary = {piece: i for i, piece in enumerate(letters)}
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.BPE(vocab=vocabulary, merges=[])),
    pad_token="<pad>", eos_token="<eos>", bos_token="<s>")
torch.manual_seed(0)
start = LlamaForCausalLM(LlamaConfig(
    vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
    tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, bos_token_id=2)).eval()
ids = torch.randint(3, 128, (2, 10))
pairs = Dataset.from_dict({"prompt": ["one plus one is"] * 4, "chosen": [" two", " deux", " 2", "two!"],
                           "rejected": [" three", " x", " 5", " no"]})


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(ids).logits


def run(init: bool | str, ready: bool) -> tuple[float, float]:
    """First loss minus log 2, and how far the trainer's model is from the model handed in."""
    model = copy.deepcopy(start)
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj"],
                        init_lora_weights=init, task_type="CAUSAL_LM")
    # Learning rate 0: whatever moves is not training.
    settings = DPOConfig(output_dir=sys.argv[1], use_cpu=True, bf16=False, report_to=[], max_steps=1,
                         per_device_train_batch_size=4, logging_steps=1, learning_rate=0.0)
    if ready:
        model = get_peft_model(model, config)
        assert (logits(model) - logits(start)).abs().max() < 1e-3  # the adapter alone is faithful
    trainer = DPOTrainer(model=model, args=settings, train_dataset=pairs, processing_class=tokenizer,
                         peft_config=None if ready else config)
    moved = (logits(trainer.model) - logits(start)).abs().max().item()
    trainer.train()
    return trainer.state.log_history[0]["loss"] - math.log(2), moved


for init in (True, "pissa", "olora"):
    for ready in (False, True):
        loss, moved = run(init, ready)
        road = "ready PeftModel" if ready else "peft_config"
        print(f"RESULT {str(init):6s} {road:16s} loss - log 2 = {loss:+.4f}   logits moved by {moved:.4f}")
        if init is True:
            assert abs(loss) < 1e-4 and moved < 1e-3
        elif ready:
            assert abs(loss) < 1e-4 and moved > 1.0, "the trainer no longer damages the policy"
        else:
            assert abs(loss) > 0.01 and moved < 1e-3, "the reference is the starting model again"
PY
cd "$work"
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
"$work/venv/bin/pip" freeze | grep -iE '^(torch|transformers|peft|trl)=='
"$work/venv/bin/python" probe.py "$work/out" > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
grep '^RESULT' "$work/log"
