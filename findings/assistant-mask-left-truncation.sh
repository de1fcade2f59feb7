#!/usr/bin/env bash
# Assistant mask and left truncation: one cut answer at the left edge, and the whole mask is zero.
#
# Packages: transformers 5.23.0, tokenizers 0.23.3 (no torch needed).
# Guess:    return_assistant_tokens_mask marks the assistant's tokens that are left after truncation.
# Truth:    with truncation_side="right" it does. With "left" (the usual choice for keeping the last answer) an
#           assistant turn whose start was cut off ends the search: the loop takes the missing start as "the
#           rest was cut" and stops, although everything that follows is still there. The mask is all zeros,
#           also for the complete last answer; a loss masked by it sees no token of the conversation.
# Source:   transformers/tokenization_utils_base.py, apply_chat_template (loop over generation_indices, char_to_token
#           returns None for the cut start, then break).
# Hurt:     multi-turn fine-tuning with a fixed length: exactly the long conversations stop teaching, in silence.
# Instead:  build the mask without truncation and cut ids and mask together; count the ones of each row.
# Upstream: transformers issue 34494 (right truncation) was mended in 34531; the left side was not found reported.
# Seen:     cut left to 20 tokens: marked 0, should be 12; to 14: 0, should be 7; right side exact.
# Date:     2026-11-27
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6 numpy==2.4.6
cat > "$work/probe.py" <<'PY'
import tokenizers
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
pieces = ["<pad>", "<eos>"] + [chr(i) for i in range(32, 127)]
tokenizer = PreTrainedTokenizerFast(  # one token a character, so that the eye can follow
    tokenizer_object=Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[])),
    pad_token="<pad>", eos_token="<eos>")
tokenizer.chat_template = (
    "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}<eos>{% endgeneration %}"
    "{% else %}U:{{ m.content }}{% endif %}{% endfor %}")
talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "first"},
        {"role": "user", "content": "more"}, {"role": "assistant", "content": "second"}]


def encode(**options: object) -> tuple[list[int], list[int]]:
    out = tokenizer.apply_chat_template(talk, tokenize=True, return_dict=True,
                                        return_assistant_tokens_mask=True, **options)
    return list(out["input_ids"]), list(out["assistant_masks"])


ids, mask = encode()
taught = {}
for side in ("right", "left"):
    tokenizer.truncation_side = side
    for length in (len(ids), 20, 14):
        cut_ids, got = encode(truncation=True, max_length=length)
        right = mask[:length] if side == "right" else mask[-length:]
        assert cut_ids == (ids[:length] if side == "right" else ids[-length:])
        text = "".join(tokenizer.convert_ids_to_tokens(cut_ids))
        taught[side, length] = (sum(got), sum(right))
        print(f"{side:5s} {length:2d}  {text:45s} marked {sum(got):2d}, should be {sum(right):2d}")
        if side == "right" or length == len(ids):
            assert got == right
        else:
            assert sum(right) >= 7 and sum(got) == 0, "the mask survives left truncation now"
PY
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" probe.py 2> "$work/err" || { tail -20 "$work/err"; exit 1; }
