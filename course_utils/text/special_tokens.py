"""The six special tokens, the chat template that is made of them, and what stands for them in other tokenizers.

``<|end|>`` opens the text of a conversation, as it opens every document, and ends the assistant's turn: a model that
never learns to say it never stops. The template marks the answer and its ``<|end|>`` with ``{% generation %}``, the
mark that transformers and trl read, so that their mask of the assistant's tokens is the course's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD, END, USER, ASSISTANT, MASK, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|mask|>", "<|system|>"
SPECIAL_TOKENS = (PAD, END, USER, ASSISTANT, MASK, SYSTEM)  # their ids are 0 to 5, in this order
PAD_ID, END_ID, USER_ID, ASSISTANT_ID, MASK_ID, SYSTEM_ID = range(6)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('role ' + message['role'] + ' is none of system, user, assistant') }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# For a tokenizer without a template, as most base models have it: roles in plain words, so that no token is new.
PLAIN_TEMPLATE = (
    "{{ bos_token if bos_token else eos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant:' }}"
    "{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['role'] | capitalize + ': ' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def opening_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that opens a text: the begin token, or the end token where there is none.

    GPT-2 and Qwen have no begin token of their own; lm-evaluation-harness and evaluate open a text in the same way.
    Raises ValueError for a tokenizer with neither.
    """
    return _first(tokenizer, "bos_token_id", "eos_token_id")


def closing_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a text: the end token, or the begin token where there is none. Raises ValueError."""
    return _first(tokenizer, "eos_token_id", "bos_token_id")


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up a row: the padding token, or one that ends a text where there is none."""
    return _first(tokenizer, "pad_token_id", "eos_token_id", "bos_token_id")


def _first(tokenizer: PreTrainedTokenizerBase, *names: str) -> int:
    for name in names:
        found = getattr(tokenizer, name, None)
        if found is not None:  # 0 is an id like any other
            return found
    raise ValueError(
        "the tokenizer has neither a begin token nor an end token, so nothing can open or end a text. Set "
        "tokenizer.eos_token to the token that ended the texts in the model's pretraining."
    )
