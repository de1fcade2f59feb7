#!/usr/bin/env bash
# GRPO moves the weights at full speed although every answer gets the same reward.
#
# Packages: trl 1.16.0, transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    eight answers with the reward 0.7 each: nobody is better than the group, every advantage is 0, no step.
# Truth:    the mean of eight times 0.7 in float32 is not 0.7. The difference of one rounding, divided by a standard
#           deviation of nearly 0 plus 1e-4, is an advantage of some 1e-4 to 1e-3 of one sign for the whole group, and Adam
#           does not care how small a gradient is: each step moves weights by the learning rate. frac_reward_zero_std
#           reports 1.0 for a reward of 0.1, so the log shows nothing. Rewards that float32 holds exactly (1.0, 0.5) are safe,
#           and so are groups of four here.
# Source:   trl/trainer/grpo_trainer.py, _generate_and_score_completions (mean and nanstd over the group).
# Hurt:     format rewards of 0.1, penalties of -0.3: once all answers earn them, training goes on at random
#           instead of standing still; filters for groups without spread that trust the logged share.
# Instead:  rewards that are sums of halves, or subtract after a comparison: a group whose rewards are all equal gets 0.
# Upstream: no report found.
# Seen:     five steps at learning rate 0.01: weights moved by 0 (1.0 and 0.5), by 0.049 (0.1), 0.050 (0.7), largest possible 0.05.
# Date:     2026-11-28
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 \
  tokenizers==0.23.3 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import sys
import warnings

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

warnings.filterwarnings("ignore")
letters = ["<pad>", "<eos>", "<s>"] + [chr(i) for i in range(32, 127)]
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(letters)}, merges=[])),
    pad_token="<pad>", eos_token="<eos>", bos_token="<s>")
prompts = Dataset.from_dict({"prompt": ["one and one", "two and two", "three", "four"]})
STEPS, RATE = 5, 1e-2


def run(reward: float, generations: int) -> tuple[float, float, float]:
    """Largest change of a weight, the largest gradient norm, and the smallest logged share of groups without spread."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=98, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    settings = GRPOConfig(
        output_dir=sys.argv[1], use_cpu=True, bf16=False, report_to=[], save_strategy="no", max_steps=STEPS,
        logging_steps=1, per_device_train_batch_size=generations, num_generations=generations, disable_tqdm=True,
        max_completion_length=8, learning_rate=RATE, lr_scheduler_type="constant")
    trainer = GRPOTrainer(model, lambda completions, **_: [reward] * len(completions), args=settings,
                          train_dataset=prompts, processing_class=tokenizer)
    trainer.train()
    logs = [row for row in trainer.state.log_history if "grad_norm" in row]
    moved = max((p - before[name]).abs().max().item() for name, p in model.named_parameters())
    return moved, max(row["grad_norm"] for row in logs), min(row["frac_reward_zero_std"] for row in logs)


for reward, generations in ((1.0, 8), (0.5, 8), (0.1, 4), (0.1, 8), (0.7, 8)):
    moved, norm, flat = run(reward, generations)
    print(f"RESULT {generations} answers with {reward} each: weights moved by {moved:.4f}, gradient norm {norm:.1e}, "
          f"groups logged as without spread {flat:.0%}")
    if generations == 4 or reward in (1.0, 0.5):
        assert moved == 0
    else:
        assert moved > 0.8 * STEPS * RATE, "equal rewards give no step any more"
        assert reward != 0.1 or flat == 1, "the log shows it now"
PY
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py "$work/out" > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
grep '^RESULT' "$work/log"
