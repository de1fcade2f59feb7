#!/usr/bin/env bash
# Distillation on the student's own answers (GKD) divides its loss by the number of tokens of other answers.
#
# Packages: trl 1.16.0, transformers 5.23.0, torch 2.13.0 (CPU).
# Guess:    the loss is the mean divergence over the tokens that were read, whether they come from the data set or
#           from the student.
# Truth:    the Trainer counts the labels of the batch as it came from the data set; then training_step puts the student's
#           answers in their place, and the sum of their divergences is divided by the old count. Where the student writes
#           n times as many tokens as the reference answer has, loss and gradient are n times too large; with shorter
#           answers they are too small. Steps on the data set are right, so a mixture (lmbda 0.5, the default) weighs its two
#           kinds of step by an accident of lengths, and the loss curve jumps between them.
# Source:   trl/experimental/gkd/gkd_trainer.py, training_step (labels replaced) and compute_loss (num_items_in_batch).
# Hurt:     early in training, when a student has not learned to stop, on-policy steps are the largest; clipping hides it.
# Instead:  compute_loss without num_items_in_batch when gradient_accumulation_steps is 1, or trl's DistillationTrainer.
# Upstream: DistillationTrainer was given its own count (trl pull request 6478); GKD of 1.16.0 was not.
# Seen:     data set 12 tokens: logged 0.401, mean 0.401. Student's 32, 128, 256 tokens: logged 1.13, 4.29, 8.63, mean
#           0.43, 0.40, 0.40.
# Date:     2026-11-28
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 \
  tokenizers==0.23.3 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import os
import sys
import warnings

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl.experimental.gkd import GKDConfig, GKDTrainer

warnings.filterwarnings("ignore")
letters = ["<pad>", "<eos>", "<s>"] + [chr(i) for i in range(32, 127)]
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(letters)}, merges=[])),
    pad_token="<pad>", eos_token="<eos>", bos_token="<s>")
tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
talk = [{"role": "user", "content": "one and one"}, {"role": "assistant", "content": "two"}]
rows = Dataset.from_dict({"messages": [talk] * 4})


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=98, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, pad_token_id=0, eos_token_id=None,
        bos_token_id=2))


class Watched(GKDTrainer):
    """Keeps, beside the loss, the same divergence as a mean over the tokens that were read."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with torch.no_grad():
            student, teacher = (
                reader(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
                for reader in (model, self.teacher_model))
            labels = inputs["labels"][:, 1:]
            self.mean = float(self.generalized_jsd_loss(student, teacher, labels=labels, beta=self.beta))
            self.tokens = int((labels != -100).sum())
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


reference = 0
for own, length in ((0.0, 8), (1.0, 8), (1.0, 32), (1.0, 64)):
    settings = GKDConfig(
        output_dir=sys.argv[1], use_cpu=True, bf16=False, report_to=[], save_strategy="no", max_steps=1, logging_steps=1,
        per_device_train_batch_size=4, lmbda=own, max_new_tokens=length, learning_rate=0.0, disable_tqdm=True)
    trainer = Watched(llama(0), teacher_model=llama(1), args=settings, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    logged = trainer.state.log_history[0]["loss"]
    reference = reference or trainer.tokens
    print(f"RESULT {'student' if own else 'data set'}: {trainer.tokens} tokens, mean {trainer.mean:.4f}, "
          f"logged {logged:.4f}, {logged / trainer.mean:.2f} times")
    assert abs(logged / trainer.mean - trainer.tokens / reference) < 0.01, "the loss is counted otherwise now"
assert trainer.tokens > 10 * reference
PY
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" probe.py "$work/out" > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
grep '^RESULT' "$work/log"
