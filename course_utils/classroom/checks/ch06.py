"""Checks of chapter 06: the chat template, the mask, the batch, the loss and the format of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import log
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.classroom.exercises.exercise import Mistake, check, expect

IGNORE = -100
Conversation = list[dict[str, str]]


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from course_utils.text.tokenizer import train_tokenizer

    return train_tokenizer(["Where does Mira Oakley live? Mira Oakley lives in Amberhaven."] * 2, 300)


def _turns(*contents: str, first: str = "user") -> Conversation:
    roles = {"user": "assistant", "assistant": "user", "system": "user"}
    messages, role = [], first
    for content in contents:
        messages.append({"role": role, "content": content})
        role = roles[role]
    return messages


@check(
    "06.1",
    title="Encode a chat",
    reference="course_utils.text.chat:encode_chat",
    difficulty=2,
    minutes=10,
    points=2,
    asked="what does a chat template do? Write one",
    seconds=30.0,  # the first call of all may have to import transformers
    hints=[
        "Begin with `ids = [tokenizer.bos_token_id]` and `mask = [0]`, then go through the messages: for each, add the "
        "token of its role and the tokens of its content, and as many entries to the mask.",
        "`tokenizer.convert_tokens_to_ids(f'<|{role}|>')` gives the id of a role's token, "
        "`tokenizer(content, split_special_tokens=True)['input_ids']` the ids of the content. The second adds no special "
        "token, and makes none of what somebody typed.",
        "Only after a message of the assistant comes one more token, `tokenizer.eos_token_id`. The mask is 1 for the "
        "tokens of its content and for this one, and 0 for everything else, the token of its role included.",
    ],
)
def check_encode_chat(candidate: Callable[..., Any]) -> None:
    from course_utils.text.chat import encode_chat

    tokenizer = _tokenizer()
    one = _turns("Where does Mira live?", "In Amberhaven.")
    for messages in (
        one,
        one[:1],
        _turns("Be brief.", "Where does Mira live?", "In Amberhaven.", first="system"),
        _turns("Who?", "Mira.", "Where?", "In Amberhaven."),
        _turns("Say <|assistant|> twice.", "In Amberhaven."),
        _turns(" Where? ", "In Amberhaven.\n"),
    ):
        result = candidate(messages, tokenizer)
        said = "\n".join(f"{m['role']}: {m['content']}" for m in messages)
        expect.that(
            isinstance(result, (tuple, list)) and len(result) == 2,
            "Return two lists: the ids, and the mask of the assistant's tokens.",
            given=said,
            yours=result,
        )
        ids, mask = (_as_list(part) for part in result)
        right, right_mask = encode_chat(messages, tokenizer)
        _same_tokens(ids, right, messages, said, tokenizer)
        expect.that(
            len(mask) == len(ids),
            "The mask and the ids have different lengths: each token needs its 0 or 1.",
            given=said,
            expected=len(ids),
            yours=len(mask),
        )
        wrong = {
            "The mask is turned round: 1 belongs to what the assistant says.": [1 - m for m in right_mask],
            "The mask is 1 for the token of the assistant's role as well. It is part of the question: at inference we "
            "write it, not the model.": _mask_where(right, right_mask, with_role=True, with_end=True),
            "The mask is 0 for the token that ends the answer. A model that never learns to say it never stops.": (
                _mask_where(right, right_mask, with_role=False, with_end=False)
            ),
            "The mask marks the token of the assistant's role and leaves out the end of the answer. It is one place "
            "too far to the left: labels are shifted in the loss, not here.": (
                _mask_where(right, right_mask, with_role=True, with_end=False)
            ),
            "The mask is 1 from the first answer to the end: the later questions are not the assistant's.": (
                _mask_to_the_end(right, right_mask, mask)
            ),
            "Only the last answer is marked; each turn of the assistant is learned.": _mask_of_last(right_mask),
        }
        mask = [value.item() if hasattr(value, "item") else value for value in mask]
        kinds = {type(value).__name__ for value in mask if not isinstance(value, Integral)}
        expect.that(
            not kinds,
            "The mask holds numbers, 0 or 1.",
            given=said,
            expected="0 or 1",
            yours=f"values of type {', '.join(sorted(kinds))}",
        )
        mask = [int(value) for value in mask]
        expect.equal(mask, right_mask, "The mask does not mark the answer and its end.", given=said, mistakes=wrong)


def _as_list(part: Any) -> list:
    return part.tolist() if hasattr(part, "tolist") else list(part)


def _same_tokens(ids: list, right: list[int], messages: Conversation, said: str, tokenizer: Any) -> None:
    end, assistant = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|assistant|>")
    shown = {"given": said, "expected": _text(right, tokenizer), "yours": _text(ids, tokenizer)}
    if ids == right:
        return
    last_is_user = messages[-1]["role"] == "user"
    bare = [{**m, "content": m["content"].strip()} for m in messages]
    expect.that(
        bare == messages or ids != _encoded(bare, tokenizer),
        "White space in a message is content: encode it as it is, without `strip`.",
        given=said,
        expected=repr(_text(right, tokenizer)),
        yours=repr(_text(ids, tokenizer)),
    )
    expect.that(ids[:1] == [end], "The conversation does not begin with the bos token, `<|end|>`.", **shown)
    expect.that(
        not (last_is_user and ids == [*right, assistant]),
        "There is an `<|assistant|>` at the end, where no answer follows. It is added only when the model is to speak.",
        **shown,
    )
    expect.that(ids != right[:-1], "The last answer does not end with `<|end|>`.", **shown)
    without = [token for i, token in enumerate(right) if i == 0 or token != end]
    expect.that(ids != without, "No answer ends with `<|end|>`, the eos token.", **shown)
    expect.that(
        ids.count(end) <= right.count(end),
        "There are more `<|end|>` than one at the start and one after each answer. A question has none behind it.",
        **shown,
    )
    if any("<|assistant|>" in m["content"] for m in messages) and ids.count(assistant) > right.count(assistant):
        # decoded, both look alike: the tokens must be counted
        shown |= {
            "expected": f"{right.count(assistant)} token `<|assistant|>`; the typed one is 13 plain characters",
            "yours": f"{ids.count(assistant)} tokens `<|assistant|>`",
        }
        raise Mistake(
            "The user typed `<|assistant|>`, and it became the token: so anybody can forge a turn. Encode contents with "
            "`split_special_tokens=True`.",
            **shown,
        )
    roles = [tokenizer.convert_tokens_to_ids(f"<|{m['role']}|>") for m in messages]
    expect.that(all(role in ids for role in roles), "A message lacks the token of its role.", **shown)
    expect.that(False, "The tokens are not those of the template.", **shown)


def _encoded(messages: Conversation, tokenizer: Any) -> list[int]:
    from course_utils.text.chat import encode_chat

    return encode_chat(messages, tokenizer)[0]


def _text(ids: Sequence[int], tokenizer: Any) -> str:
    try:
        return tokenizer.decode(list(ids))
    except (TypeError, ValueError):
        return repr(ids)


def _mask_where(ids: Sequence[int], mask: Sequence[int], *, with_role: bool, with_end: bool) -> list[int]:
    tokenizer = _tokenizer()
    end, role = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|assistant|>")
    changed = list(mask)
    for i, token in enumerate(ids):
        if token == role:
            changed[i] = int(with_role)
        elif token == end and mask[i]:
            changed[i] = int(with_end)
    return changed


def _mask_to_the_end(ids: Sequence[int], right: Sequence[int], yours: Sequence[int]) -> list[int]:
    """1 from the first answer on: without the role tokens where ``yours`` leaves them out, else with them."""
    first = right.index(1) if 1 in right else len(right)
    with_roles = [int(i >= first) for i in range(len(right))]
    roles = _tokenizer().convert_tokens_to_ids(["<|system|>", "<|user|>", "<|assistant|>"])
    without = [int(value and token not in roles) for value, token in zip(with_roles, ids, strict=True)]
    return without if list(yours) == without else with_roles


def _mask_of_last(right: Sequence[int]) -> list[int]:
    """1 for the last answer alone."""
    after = len(right)
    while after and not right[after - 1]:
        after -= 1
    begin = after
    while begin and right[begin - 1]:
        begin -= 1
    return [int(begin <= i < after) for i in range(len(right))]


@check(
    "06.2",
    title="Mask the prompt",
    reference="course_utils.text.batching:mask_prompt",
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the labels of the SFT collator",
    hints=[
        "Compare a row of places, `torch.arange(length)`, with the two lengths of each row: below the first lies the "
        "prompt, from the second on the padding. The ids cannot tell: padding may look like a real token.",
        "`places < prompt_lengths[:, None]` has the shape (batch, length). Padding is where "
        "`places >= lengths[:, None]`. Join the two with `|`.",
        "`input_ids.masked_fill(hidden, -100)` copies and fills; `masked_fill_` with the underscore would change the "
        "caller's tensor.",
    ],
)
def check_mask_prompt(candidate: Callable[..., Tensor]) -> None:
    from course_utils.text.batching import mask_prompt

    cases = (
        ([[5, 6, 7, 8, 9]], [3], [5]),
        ([[5, 6, 7, 8, 0, 0], [5, 6, 7, 8, 9, 10]], [2, 4], [4, 6]),
        ([[5, 6, 7], [5, 6, 7]], [0, 3], [3, 3]),
        ([[4, 6, 9, 9, 9]], [1], [3]),  # padded with the token that ends the answer
    )
    for rows, prompts, wholes in cases:
        input_ids, prompt_lengths, lengths = torch.tensor(rows), torch.tensor(prompts), torch.tensor(wholes)
        right = mask_prompt(input_ids, prompt_lengths, lengths)
        place = torch.arange(input_ids.shape[1])
        padding, prompt = place >= lengths[:, None], place < prompt_lengths[:, None]
        like_padding = (input_ids == input_ids[:, -1:]) & (lengths[:, None] < input_ids.shape[1])
        wrong = {
            "The end of the answer is masked: here padding and end are the same token. Take the lengths, not the "
            "ids.": input_ids.masked_fill(prompt | like_padding, IGNORE),
            "The last answer token is masked too: a row has `lengths` tokens, counted from position 0.": (
                input_ids.masked_fill(prompt | (place >= lengths[:, None] - 1), IGNORE)
            ),
            "The first place of the padding is not masked: a row has `lengths` tokens, counted from position 0.": (
                input_ids.masked_fill(prompt | (place > lengths[:, None]), IGNORE)
            ),
            "The first answer token is masked too: did you mask up to and including the length?": input_ids.masked_fill(
                (place <= prompt_lengths[:, None]) | padding, IGNORE
            ),
            "The last token of the prompt is not masked: the prompt has `prompt_lengths` tokens, counted from "
            "position 0.": input_ids.masked_fill((place < prompt_lengths[:, None] - 1) | padding, IGNORE),
            "The padding is not masked: the model would learn to write padding.": input_ids.masked_fill(prompt, IGNORE),
            "The answer is masked and the prompt is learned: it is the other way round.": input_ids.masked_fill(
                ~prompt | padding, IGNORE
            ),
            "Masked places are 0; cross-entropy skips -100 only, and 0 is a token like any other.": (
                input_ids.masked_fill(prompt | padding, 0)
            ),
            "The labels are shifted by one. The loss does that; done twice, the model learns to skip a token.": (
                torch.cat([right[:, 1:], torch.full((len(rows), 1), IGNORE)], 1)
            ),
            "Every row is masked to the same length: each has its own prompt.": input_ids.masked_fill(
                (place < prompt_lengths.max()) | padding, IGNORE
            ),
        }
        wrong = {text: value for text, value in wrong.items() if not torch.equal(value, right)}
        given = {"input_ids": input_ids, "prompt_lengths": prompt_lengths, "lengths": lengths}
        labels = candidate(input_ids, prompt_lengths, lengths)
        expect.equal(labels, right, "The labels are not the expected ones.", given=given, mistakes=wrong)


@check(
    "06.3",
    title="Collate a batch",
    reference="course_utils.text.batching:collate",
    difficulty=2,
    minutes=10,
    points=2,
    asked="write the SFT collator",
    hints=[
        "Find the longest row first. Make three full tensors of the shape (rows, longest): pad ids, zeros and -100.",
        "`torch.full(shape, value)` of an integer gives int64. Then fill row by row: "
        "`input_ids[i, :n] = torch.tensor(example['input_ids'])`.",
        "The attention mask is 1 for the first n places of a row. Do not compute it as `input_ids != pad_id`: with "
        "many tokenizers the padding token is the end token, and a real one would be hidden.",
    ],
)
def check_collate(candidate: Callable[..., dict[str, Tensor]]) -> None:
    from course_utils.text.batching import collate

    cases = (
        ([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}], 0),
        ([{"input_ids": [5, 6], "labels": [-100, 6]}], 0),
        ([{"input_ids": [4, 1], "labels": [-100, 1]}, {"input_ids": [4, 5, 6, 1], "labels": [-100, -100, 6, 1]}], 1),
    )
    for examples, pad_id in cases:
        given = {"examples": examples, "pad_id": pad_id}
        batch, right = candidate([dict(example) for example in examples], pad_id, None), collate(examples, pad_id)
        expect.kind(batch, dict, given=given)
        missing = [name for name in right if name not in batch]
        expect.that(
            not missing,
            f"`{missing[0] if missing else ''}` is missing from the batch.",
            given=given,
            expected=", ".join(right),
            yours=", ".join(map(str, batch)),
        )
        longest = right["input_ids"].shape[1]
        ids_wrong = {
            "The padding is on the left; for training it belongs on the right.": _left(examples, pad_id, longest)
        }
        if pad_id:
            ids_wrong["The padding is 0; use `pad_id`."] = collate(examples, 0)["input_ids"]
        expect.equal(
            batch["input_ids"],
            right["input_ids"],
            "input_ids:",
            given=given,
            mistakes=_others(ids_wrong, right["input_ids"]),
        )
        mask_wrong = {
            "The attention mask hides a real token: here `pad_id` is also the token that ends an answer. Take the "
            "lengths, not `input_ids != pad_id`.": (right["input_ids"] != pad_id).long(),
            "The attention mask is 1 on the padding too.": torch.ones_like(right["input_ids"]),
            "The attention mask is turned round: 1 is a real token.": 1 - right["attention_mask"],
            "The mask hides the prompt. The prompt is read, only not learned: `labels` says what is learned.": (
                (right["labels"] != IGNORE).long()
            ),
        }
        expect.equal(
            batch["attention_mask"],
            right["attention_mask"],
            "attention_mask:",
            given=given,
            mistakes=_others(mask_wrong, right["attention_mask"]),
        )
        padding = right["attention_mask"] == 0
        label_wrong = {
            "The padding of the labels is `pad_id`; it must be -100, or the model learns to write padding.": (
                right["labels"].masked_fill(padding, pad_id)
            ),
            "The labels are the ids: the -100 of the prompts are lost.": right["input_ids"].masked_fill(
                padding, IGNORE
            ),
        }
        expect.equal(
            batch["labels"], right["labels"], "labels:", given=given, mistakes=_others(label_wrong, right["labels"])
        )
    short, long = {"input_ids": [4, 1], "labels": [4, 1]}, {"input_ids": [4, 5, 6, 1], "labels": [-100, 5, 6, 1]}
    given = {"examples": [short, long], "pad_id": 0, "max_length": 4}
    try:
        candidate([dict(short), dict(long)], 0, 4)
    except ValueError as error:
        raise Mistake(
            "You refuse a row of exactly max_length tokens. It fits: only a row with *more* is too long.",
            given=given,
            expected="a batch",
            yours=f"{type(error).__name__}: {error}",
        ) from None
    batch = candidate([dict(short), dict(long)], 0, 9)
    width = batch["input_ids"].shape[1]
    expect.that(
        width == 4,
        "Padded to max_length: pad to the longest of *this* batch, each further place is computed for nothing."
        if width == 9
        else "The batch is not as wide as its longest row.",
        given={"examples": [short, long], "pad_id": 0, "max_length": 9},
        expected="4 places",
        yours=f"{width} places",
    )
    # no id of the long row, no label of it, not its length and not the limit is a 2: an error that says 2 names the row
    rows = [dict(short), dict(short), dict(long)]
    expect.raises(
        ValueError,
        candidate,
        rows,
        0,
        3,
        message="Row 2 (rows count from 0) has 4 tokens, and max_length is 3: that should raise a ValueError. Cutting the "
        "row would drop the end of its answer without a word.",
    )
    expect.raises(
        ValueError,
        candidate,
        rows,
        0,
        3,
        mention="2",
        message="The error should name the row that is too long by its number, here 2: rows count from 0. With a "
        "thousand rows nobody finds it by its ids.",
    )
    expect.raises(
        ValueError,
        candidate,
        [dict(long), dict(short)],
        0,
        3,
        message="The first row has 4 tokens, and max_length is 3: that should raise a ValueError. Look at every row, not at "
        "the last alone.",
    )


def _others(wrong: dict[str, Tensor], right: Tensor) -> dict[str, Tensor]:
    """Only those wrong answers that this case can tell from the right one."""
    return {text: value for text, value in wrong.items() if not torch.equal(value, right)}


def _left(examples: Sequence[dict[str, list[int]]], pad_id: int, longest: int) -> Tensor:
    return torch.tensor([[pad_id] * (longest - len(e["input_ids"])) + e["input_ids"] for e in examples])


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the answer tokens of the whole batch.

    logits: (batch, length, vocabulary); those at position t predict token t + 1.  labels: (batch, length) int64,
    aligned with the tokens, -100 where nothing is to be learned. Returns a scalar, 0 if there is no answer token.
    """
    targets = labels[:, 1:]
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=IGNORE, reduction="sum")
    return total / (targets != IGNORE).sum().clamp(min=1)


@check(
    "06.4",
    title="The loss on answers",
    reference=answer_loss,
    difficulty=3,
    minutes=12,
    points=3,
    asked="write the SFT loss, and say over what you average",
    hints=[
        "Logits at position t predict the token at t + 1. So drop the last position of the logits and the first of "
        "the labels; what is left stands one over the other.",
        "`F.cross_entropy(a.transpose(1, 2), targets, ignore_index=-100, reduction='sum')` wants the vocabulary "
        "on axis 1.",
        "Divide the sum by the number of targets that are not -100, over the whole batch, not row by row. "
        "`.clamp(min=1)` on that number saves a batch without any answer from 0/0.",
    ],
)
def check_answer_loss(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(6)
    cases = (
        [[-100, 2, 3, 4, 1], [-100, -100, -100, -100, 1]],  # unequal numbers of answer tokens
        [[-100, -100, 3, 1, -100]],
        [[0, 2, 3, 4, 1]],  # a label at position 0, which nothing predicts
    )
    for rows in cases:
        labels = torch.tensor(rows)
        logits = (3 * torch.randn(*labels.shape, 5, generator=generator)).requires_grad_()
        given = {"logits": logits, "labels": labels}
        right = answer_loss(logits, labels)
        loss = candidate(logits, labels)
        expect.close(loss, right.item(), given=given, mistakes=_wrong_losses(logits, labels, right))
        expect.that(
            isinstance(loss, Tensor) and loss.requires_grad,
            "The loss is not connected to the logits: nothing would be learned. Leave out `.item()` and `.detach()`.",
            given=given,
            yours=loss,
        )
        (wanted,), (got,) = torch.autograd.grad(right, logits), torch.autograd.grad(loss, logits)
        expect.close(got, wanted, "The value is right, the gradient is not: part of the loss is detached.", given=given)
    large = 200 * logits.detach()
    loss, right = candidate(large, labels), answer_loss(large, labels)
    expect.that(
        bool(torch.isclose(torch.as_tensor(loss), right, rtol=1e-3)),
        "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp.",
        given={"logits": large, "labels": labels},
        expected=right,
        yours=loss,
    )
    _check_loss_of_nothing(candidate)


def _check_loss_of_nothing(candidate: Callable[[Tensor, Tensor], Tensor]) -> None:
    labels, logits = torch.full((1, 3), IGNORE), torch.zeros(1, 3, 5, requires_grad=True)
    loss = candidate(logits, labels)
    case = {"given": {"labels": labels}, "yours": loss}
    value = loss.detach() if isinstance(loss, Tensor) else loss
    expect.that(
        value is not None and float(value) == 0.0,
        "Without any answer token the loss should be 0. A NaN here ends a whole training run.",
        expected=0.0,
        **case,
    )
    connected = "Without answer tokens the loss is 0, but still connected to the logits: backward() must work."
    expect.that(isinstance(loss, Tensor) and loss.requires_grad, connected, expected="a Tensor with a gradient", **case)
    (slope,) = torch.autograd.grad(loss, logits, allow_unused=True)
    expect.that(slope is not None, connected, expected="a Tensor that comes from the logits", **case)
    expect.that(
        bool((slope == 0).all()),
        "Without answer tokens the loss is 0, but its gradient is not: a NaN in it spoils every weight at the next "
        "step. Avoid 0/0 instead of replacing its result.",
        given={"labels": labels},
        expected=torch.zeros_like(slope),
        yours=slope,
    )


def _wrong_losses(logits: Tensor, labels: Tensor, right: Tensor) -> dict[str, float]:
    logits = logits.detach()
    targets, moved = labels[:, 1:], logits[:, :-1]
    each = F.cross_entropy(moved.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
    count = (targets != IGNORE).sum(1)
    chosen = -moved.gather(2, targets.clamp(min=0)[..., None])[..., 0].masked_fill(targets == IGNORE, 0)
    backwards = F.cross_entropy(logits[:, 1:].transpose(1, 2), labels[:, :-1], ignore_index=IGNORE)
    wrong = {
        "The logits are not shifted: at position t they predict token t + 1, yours are compared with token t.": (
            F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE)
        ),
        "The shift goes the wrong way: token t is predicted by position t - 1, not t + 1.": backwards,
        "This is the mean over all places, ignored ones included. Divide by the number of answer tokens.": each.mean(),
        "This is the mean of the rows' means: a short answer then weighs as much as a long one. Divide the sum of the "
        "whole batch by its number of answer tokens.": (each.sum(1) / count.clamp(min=1)).mean(),
        "This is the sum; divide it by the number of answer tokens.": each.sum(),
        "The sum is divided by the number of rows. Divide it by the number of answer tokens.": each.sum() / len(labels),
        "The sum is divided by one more than the number of answer tokens. Against 0/0 take `.clamp(min=1)`, which "
        "leaves other numbers as they are.": each.sum() / (count.sum() + 1),
        "The labels are smoothed: plain cross-entropy is wanted.": F.cross_entropy(
            moved.transpose(1, 2), targets, ignore_index=IGNORE, label_smoothing=0.1
        ),
        "You counted the labels before the shift; position 0 is predicted by nothing.": (
            each.sum() / (labels != IGNORE).sum()
        ),
        "That is in bits; nats are wanted.": right.detach() / log(2),
        "The sign is wrong: a loss is the negative log-probability.": -right.detach(),
        "The softmax is applied twice: cross_entropy takes raw logits and does it itself.": (
            F.cross_entropy(moved.softmax(-1).transpose(1, 2), targets, ignore_index=IGNORE)
        ),
        "The logits are taken for log-probabilities: the softmax is missing.": chosen.sum() / count.sum(),
        "-100 is not skipped; token 0 is learned in its place.": F.cross_entropy(
            moved.transpose(1, 2), targets.clamp(min=0)
        ),
    }
    value = right.item()
    return {text: loss.item() for text, loss in wrong.items() if abs(loss.item() - value) > 1e-3 * abs(value)}


@check(
    "06.5",
    title="Is the format kept?",
    reference="course_utils.world.oracle:_format_kept",
    difficulty=1,
    minutes=8,
    points=1,
    asked="how do you check instruction following without a human judge?",
    hints=[
        "One word: `len(response.split()) == 1`. A sentence: three words or more, a capital first, and a full stop or "
        "an exclamation mark last.",
        "JSON: `json.loads(response)` raises ValueError for anything that is no JSON; catch it and return False.",
        "After parsing, look at what came out: it must be a dict whose only key is the relation. `list(parsed) == "
        "[relation]` says both, once `isinstance(parsed, dict)` is known.",
    ],
)
def check_format_kept(candidate: Callable[[str, str, str], bool]) -> None:
    cases = (
        ("Amberhaven.", "word", "town", True, "One word with its full stop is one word."),
        ("In Amberhaven.", "word", "town", False, "These are two words."),
        ("", "word", "town", False, "An empty answer is not one word."),
        (" Amberhaven.\n", "word", "town", True, "White space around the word does no harm."),
        ("Amber\nhaven", "word", "town", False, "A line break parts words as a space does: these are two."),
        ("1977.", "word", "birth year", True, "A number is a word too: count what stands between spaces, not letters."),
        ("Goat-herd.", "word", "trade", True, "A hyphen parts no words: only white space does."),
        ("amberhaven", "word", "town", True, "A word needs no capital."),
        ("Mira lives in Amberhaven.", "sentence", "town", True, "This is a sentence."),
        ("Mira sings well. She is glad.", "sentence", "town", True, "Two sentences keep the form as it is defined."),
        ("Mira lives. In Amberhaven", "sentence", "town", False, "The stop must be the last sign."),
        ("1977 was her year.", "sentence", "birth year", False, "A digit is no capital letter."),
        ("Mira lives in Amberhaven!", "sentence", "town", True, "An exclamation mark ends a sentence too."),
        (" Mira lives in Amberhaven.\n", "sentence", "town", True, "White space around the sentence does no harm."),
        ("Mira sings well.", "sentence", "town", True, "Three words are enough for a sentence."),
        ("Mira sings.", "sentence", "town", False, "Two words are too few for a sentence: three at the least."),
        ("Amberhaven.", "sentence", "town", False, "A single word is not a sentence: three words at the least."),
        ("", "sentence", "town", False, "An empty answer is not a sentence."),
        ("mira lives in Amberhaven.", "sentence", "town", False, "A sentence begins with a capital letter."),
        (
            "Mira lives in Amberhaven",
            "sentence",
            "town",
            False,
            "A sentence ends with a full stop or an exclamation mark.",
        ),
        (
            "Does Mira live there?",
            "sentence",
            "town",
            False,
            "This ends with a question mark; a full stop or an exclamation mark is demanded.",
        ),
        ('{"town": "Amberhaven"}', "json", "town", True, "This is JSON with the one key that was asked for."),
        (' {"town": "Amberhaven"}\n', "json", "town", True, "White space around the JSON does no harm."),
        ('{"pet": "owl"}', "json", "pet", True, "The key is the relation, here `pet`; it is not always `town`."),
        (
            '{"birth year":1977}',
            "json",
            "birth year",
            True,
            "This is JSON: a value may be a number, and no space is needed. Parse it; do not compare patterns.",
        ),
        ('{"town": "Amberhaven"', "json", "town", False, "The JSON is cut off: it cannot be parsed."),
        (
            '{"town": Amberhaven}',
            "json",
            "town",
            False,
            "The value has no quotes, so this is no JSON. `json.loads` sees it; a search for signs does not.",
        ),
        ("{'town': 'Amberhaven'}", "json", "town", False, "Single quotes are Python; JSON knows double ones only."),
        ("Amberhaven.", "json", "town", False, "This is no JSON."),
        (
            'Here: {"town": "Amberhaven"}',
            "json",
            "town",
            False,
            "Words stand around the JSON: a program could not parse the response.",
        ),
        ('{"Town": "Amberhaven"}', "json", "town", False, "Keys are compared sign by sign, capitals too."),
        ('{"town": ""}', "json", "town", True, "Only the form is asked for here: the value is not judged."),
        ('{"home": "Amberhaven"}', "json", "town", False, "The key is not the one that was asked for."),
        ('{"town": "Amberhaven", "pet": "owl"}', "json", "town", False, "There is a second key that nobody asked for."),
        ('["town"]', "json", "town", False, "This is JSON, but a list and no object."),
        ("1977", "json", "town", False, "This is JSON, but a number and no object."),
    )
    for response, form, relation, right, why in cases:
        given = {"response": response, "format": form, "relation": relation}
        try:
            kept = candidate(response, form, relation)
        except IndexError:
            if response:
                raise
            raise Mistake(
                "An empty answer has no first letter: `text[0]` raises an IndexError. Count the words first, or write "
                "`text[:1]`.",
                given=given,
                expected=right,
                yours="IndexError",
            ) from None
        kept = kept.item() if hasattr(kept, "item") else kept  # numpy's truth values are as good as Python's
        expect.that(isinstance(kept, bool), "Return True or False.", given=given, expected=right, yours=kept)
        expect.that(kept == right, why, given=given, expected=right, yours=kept)
