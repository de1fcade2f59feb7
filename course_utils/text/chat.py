"""Conversations as tokens, and a mark on every token that the assistant said.

A question and its answer become::

    <|end|><|user|>Where does Mira Oakley live?<|assistant|>In Amberhaven.<|end|>

The answer and the ``<|end|>`` after it are the assistant's; all the rest it reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_utils.text.documents import DataError, show_value
from course_utils.text.special_tokens import (
    ASSISTANT,
    ASSISTANT_ID,
    CHAT_TEMPLATE,
    END_ID,
    SYSTEM_ID,
    USER_ID,
    closing_id,
    opening_id,
    padding_id,
)
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Message = Mapping[str, str]
ROLES = {"system": SYSTEM_ID, "user": USER_ID, "assistant": ASSISTANT_ID}


def encode_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and a mask of the same length: 1 where the assistant speaks, 0 elsewhere.

    The ids are those of ``tokenizer.apply_chat_template(messages)``, with one difference: with the course's own
    tokenizer, a special token that somebody typed into a message is encoded as the characters it is made of.
    The token that ends the assistant's turn carries a 1. Raises DataError for a conversation that is not well formed.
    """
    return encode_chats([messages], tokenizer)[0]


def encode_chats(
    conversations: Sequence[Sequence[Message]], tokenizer: PreTrainedTokenizerFast, blank_answers: bool = False
) -> list[tuple[list[int], list[int]]]:
    """``encode_chat`` for many conversations: all their messages go through the tokenizer in one call.

    ``blank_answers``: take answers that say nothing, as a model may give them; to learn from they are refused.
    """
    for row, messages in enumerate(conversations):
        check_messages(messages, row, blank_answers)
    if not _is_ours(tokenizer):
        return [_encode_by_template(messages, tokenizer, row) for row, messages in enumerate(conversations)]
    pieces = iter(encode_plain([m["content"] for messages in conversations for m in messages], tokenizer))
    encoded = []
    for messages in conversations:
        input_ids, answer_mask = [END_ID], [0]
        for message in messages:
            piece = next(pieces)
            spoken = message["role"] == "assistant"
            input_ids += [ROLES[message["role"]], *piece]
            answer_mask += [0] + [int(spoken)] * len(piece)
            if spoken:
                input_ids.append(END_ID)
                answer_mask.append(1)
        encoded.append((input_ids, answer_mask))
    return encoded


def sft_columns(conversations: Sequence[Sequence[Message]], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[Any]]:
    """Conversations as columns for trl's ``SFTTrainer`` with ``assistant_only_loss``: "messages", if the chat template
    marks the answers; else, as trl needs the mark, tokens and masks, which it takes as they are, without that setting.
    """
    if "generation" in _template_tags(tokenizer):
        return {"messages": [list(messages) for messages in conversations]}
    encoded = encode_chats(conversations, tokenizer)
    return {"input_ids": [ids for ids, _ in encoded], "assistant_masks": [mask for _, mask in encoded]}


def encode_prompts(conversations: Sequence[Sequence[Message]], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The ids from which the assistant goes on: each conversation, then the start of an answer.

    A last message of the assistant is left out, so rows of instruction data can be given as they are.
    """
    asked = []
    for row, messages in enumerate(conversations):
        check_messages(messages, row)
        asked.append(list(messages[:-1] if messages[-1]["role"] == "assistant" else messages))
        if not asked[-1]:
            raise DataError(f"row {row} holds only an answer; a message of the user is expected before it.")
    if _is_ours(tokenizer):
        return [input_ids + [ASSISTANT_ID] for input_ids, _ in encode_chats(asked, tokenizer)]
    return [_render_ids(messages, tokenizer, row, add_generation_prompt=True) for row, messages in enumerate(asked)]


def encode_answers(
    texts: Sequence[tuple[str | Sequence[Message], str]], tokenizer: PreTrainedTokenizerFast
) -> list[list[int]]:
    """The token ids of each (prompt, answer) as a chat that ends with the end token, as the policy writes it.

    A prompt is what the user says, or the messages up to the answer.
    """
    chats = [[*as_messages(prompt), {"role": "assistant", "content": answer}] for prompt, answer in texts]
    return [ids for ids, _ in encode_chats(chats, tokenizer, blank_answers=True)]


def as_messages(prompt: str | Sequence[Message]) -> list[Message]:
    """A prompt as messages: a text is the user's; messages stay as they are."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def chat_prompt(tokenizer: PreTrainedTokenizerFast, prompt: str) -> list[int]:
    """The ids of an instruction in the chat template, up to where the assistant begins to speak."""
    return encode_prompts([[{"role": "user", "content": prompt}]], tokenizer)[0]


def plain_prompt(tokenizer: PreTrainedTokenizerFast, prompt: str) -> list[int]:
    """The ids of an instruction as plain text on its own line: all that a base model has ever seen."""
    return [opening_id(tokenizer), *encode_plain([prompt + "\n"], tokenizer)[0]]


def stop_ids(tokenizer: PreTrainedTokenizerFast, model: Any = None) -> tuple[int, ...]:
    """The tokens after which an answer of this model is finished, for ``generate``.

    The tokenizer's end token; the end tokens of the model's ``generation_config``, if ``model`` is one of transformers
    that has them; and the token with which the chat template ends an answer, which in ChatML is not the end token.
    """
    found = [closing_id(tokenizer)]
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found += [] if configured is None else [configured] if isinstance(configured, int) else list(configured)
    if tokenizer.chat_template is not None and not _is_ours(tokenizer):
        found += _turn_end(tokenizer)
    return tuple(dict.fromkeys(found))


def generation_ids(tokenizer: PreTrainedTokenizerFast, model: Any = None) -> dict[str, Any]:
    """``stop_ids`` and ``pad_id`` of a model: ``generate(model, prompts, **generation_ids(tokenizer, model))``."""
    return {"stop_ids": stop_ids(tokenizer, model), "pad_id": padding_id(tokenizer)}


def answer_mark(tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """The tokens after which an answer begins: what the chat template puts between the last message and the answer.

    ``(3,)``, the id of ``<|assistant|>``, with the course's own tokenizer. A template that puts nothing there has the
    message's own last token.
    """
    if _is_ours(tokenizer):
        return (ASSISTANT_ID,)
    asked = [{"role": "user", "content": "Who?"}]
    asks, prompt = (_render_ids(asked, tokenizer, 0, add_generation_prompt=prompts) for prompts in (False, True))
    same = next((i for i, (a, b) in enumerate(zip(asks, prompt, strict=False)) if a != b), min(len(asks), len(prompt)))
    return tuple(prompt[same:] or prompt[-1:])


def check_messages(messages: object, row: int = 0, blank_answers: bool = False) -> None:
    """Raise DataError, naming the row, unless ``messages`` is a list of ``{"role": ..., "content": ...}``.

    Roles are system, user and assistant; contents are strings, and not blank, but for answers with ``blank_answers``.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise DataError(
            f"row {row}: messages is {show_value(messages)} of type {type(messages).__name__}; a list like "
            '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}] is expected.'
        )
    if not messages:
        raise DataError(f"row {row}: messages is empty; at least one message is expected. Drop the row.")
    for number, message in enumerate(messages):
        where = f"row {row}, message {number}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise DataError(f'{where} is {show_value(message)}; a dict with "role" and "content" is expected.')
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise DataError(f"{where} has the role {role!r}; one of {', '.join(ROLES)} is expected.")
        if not isinstance(content, str):
            raise DataError(f"{where} has the content {show_value(content)}; a string is expected.")
        if not content.strip() and not (blank_answers and role == "assistant"):
            raise DataError(f"{where} ({role}) is blank; a text is expected. Drop the row or mend it.")


def _is_ours(tokenizer: PreTrainedTokenizerFast) -> bool:
    return tokenizer.chat_template == CHAT_TEMPLATE and tokenizer.convert_tokens_to_ids(ASSISTANT) == ASSISTANT_ID


def _turn_end(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The special token that a chat template puts after an answer, if it puts one there."""
    chat = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Mira."}]
    ids, special = _render_ids(chat, tokenizer, 0), special_ids(tokenizer)
    place = max((i for i, token in enumerate(ids) if token in special), default=0)
    return [ids[place]] if ids[place] in special and "Mira" not in tokenizer.decode(ids[place:]) else []


def special_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """All special tokens: those with a role, and those that are only marked so, as Llama 3's end of a turn is."""
    marked = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return marked | set(tokenizer.all_special_ids)


def _encode_by_template(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, row: int
) -> tuple[list[int], list[int]]:
    """Ids and answer mask under any chat template: by its own mark, or else by where the answers lie in its text."""
    if "generation" in _template_tags(tokenizer):
        options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
        rendered = _render(messages, tokenizer, row, **options)
        return rendered["input_ids"], rendered["assistant_masks"]
    text = _render(messages, tokenizer, row)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    places = encoded["offset_mapping"]
    answer_mask = [0] * len(places)
    for start, stop in answer_spans(messages, tokenizer, row):
        for i, (first, last) in enumerate(places):
            # a token that begins in the prompt is the assistant's if it holds more of the answer than white space
            spoken = first >= start or bool(text[start:last].strip())
            if spoken and start < last <= stop:
                answer_mask[i] = 1
    return encoded["input_ids"], answer_mask


def answer_spans(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, row: int = 0
) -> list[tuple[int, int]]:
    """Where the assistant's answers lie in the text that the chat template makes, (first, after the last) character.

    An answer begins where the prompt for it ends, and ends with the special token after it. Both are found by
    rendering: the conversation up to there; or, where a template rewrites earlier turns (as those do that drop the
    thinking of all answers but the last), the conversation with another text in the answer's place.
    Raises DataError if the template does not render the conversation, or leaves an answer out.
    """
    text = _render(messages, tokenizer, row)
    special = [tokenizer.convert_ids_to_tokens(id) for id in special_ids(tokenizer)]
    spans = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, other, after = messages[:number], {**message, "content": "\ue000"}, messages[number + 1 :]
        start, stop = _difference(text, _render([*before, other, *after], tokenizer, row))
        if stop <= start and message["content"].strip():
            raise DataError(
                f"row {row}: the chat template leaves out what message {number} says, so nothing can be learned from "
                "it. Drop the message, or use a template that renders it."
            )
        prompt = _render(before, tokenizer, row, add_generation_prompt=True) if number else ""
        if prompt and text.startswith(prompt):
            start = len(prompt)
        behind = text[stop:].lstrip()
        ends = _render([*before, other], tokenizer, row).rpartition("\ue000")[2].lstrip() if after else behind
        end = next((token for token in special if ends.startswith(token)), None)  # not what begins the next turn
        if end is not None and behind.startswith(end):
            stop = len(text) - len(behind) + len(end)
        spans.append((start, stop))
    return spans


def _difference(text: str, other: str) -> tuple[int, int]:
    """Where ``text`` stops being ``other``, and from where on it is again."""
    least = min(len(text), len(other))
    start = next((i for i in range(least) if text[i] != other[i]), least)
    same = next((i for i in range(least - start) if text[-1 - i] != other[-1 - i]), least - start)
    return start, len(text) - same


def _template_tags(tokenizer: PreTrainedTokenizerFast) -> set[str]:
    """The words that open the statements of the chat template, such as for, if and generation."""
    return set(re.findall(r"\{%[-+]?\s*(\w+)", tokenizer.chat_template or ""))


def _render_ids(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, row: int, **options: Any) -> list[int]:
    return _render(messages, tokenizer, row, tokenize=True, return_dict=False, **options)


def _render(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, row: int, **options: Any) -> Any:
    """What the chat template makes of the messages: text unless ``options`` ask for tokens. Raises DataError.

    Templates that let the assistant think first are asked not to: the course's answers are short.
    """
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise DataError(
            f"row {row}: the tokenizer has no chat template, as is usual with a base model. Set "
            "tokenizer.chat_template to one whose special tokens the tokenizer knows."
        )
    options = {"tokenize": False, "enable_thinking": False, **options}
    try:
        return tokenizer.apply_chat_template(list(messages), **options)
    except (TemplateError, TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"row {row}: the model's chat template cannot be rendered with messages of {roles}: "
            f"{type(error).__name__}: {error}. Give conversations that it allows, or mend chat_template in the model's "
            "tokenizer_config.json."
        ) from error
