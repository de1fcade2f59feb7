"""The six special tokens, and the chat template that is made of them.

``<|end|>`` opens the text of a conversation, as it opens every document, and ends the assistant's turn: a model that
never learns to say it never stops. The template marks the answer and its ``<|end|>`` with ``{% generation %}``, the
mark that transformers and trl read, so that their mask of the assistant's tokens is the course's own.
"""

from __future__ import annotations

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
