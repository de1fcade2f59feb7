"""Multiple choice by likelihood: which of the given answers does a model find most likely after the question?

This is how benchmarks such as ARC or HellaSwag ask a base model, and how EleutherAI's lm-eval scores them: the
log-probability of every choice after the same prompt, as it stands or divided by the length of the choice (Brown et
al., arXiv 2005.14165, section 2.4, on why one divides). Nothing is generated, and nothing can be misread; but the model
may only choose.

What two questions or two choices begin with is read once (``prefix_tree.py``), finished examples and all, by a decoder
of the course in float32 on a CPU. The numbers are those of reading every choice for itself, as other models do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from course_utils.evaluation.prefix_tree import PrefixTree, next_logprobs
from course_utils.models.decoder import Decoder
from course_utils.models.decoding import can_fuse
from course_utils.models.scoring import batched, evaluation_mode
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PART = 4_096  # questions whose tree is built at once
LENGTHS = ("nothing", "characters", "bytes", "tokens")


@dataclass(frozen=True)
class ChoiceScores:
    """What a model makes of the choices of one question: ``logprobs`` in nats, and the ``tokens`` it read for each,
    the delimiter among them."""

    choices: tuple[str, ...]
    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]

    def lengths(self, divide_by: str) -> list[float]:
        """What the log-probabilities are divided by; characters and bytes are those of the choice *without* the
        delimiter in front of it. Raises ValueError for a measure that does not exist."""
        match divide_by:
            case "nothing":
                return [1.0] * len(self.choices)
            case "characters":  # acc_norm of lm-eval
                return [float(len(choice)) for choice in self.choices]
            case "bytes":  # acc_bytes
                return [float(len(choice.encode())) for choice in self.choices]
            case "tokens":
                return [float(count) for count in self.tokens]
        raise ValueError(f"divide_by is {divide_by!r}; expected one of {', '.join(map(repr, LENGTHS))}.")

    def chosen(self, divide_by: str = "nothing") -> int:
        """The choice of the highest log-probability per unit of length; of equals the first."""
        return int(np.argmax(np.divide(self.logprobs, self.lengths(divide_by))))


def score_choices(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    delimiter: str = " ",
    begin: bool = True,
    batch_size: int = 64,
) -> list[ChoiceScores]:
    """The log-probability of every choice after its prompt, for each question.

    begin: put the token in front with which every text of the model's pretraining began. lm-eval leaves that to the
    tokenizer, and the course's, like many, adds none. batch_size: choices that are read at once where each is read
    for itself. Spaces at the end of a prompt go over to the choice, as in lm-eval: tokens begin with their space.
    Raises ValueError if there are no questions, for a question without choices or with an empty one, and if prompt and
    choice would be joined in one token.
    """
    if not len(prompts) or len(prompts) != len(choices):
        raise ValueError(f"{len(prompts)} prompts and {len(choices)} lists of choices; one of each for every question.")
    for prompt, given in zip(prompts, choices, strict=True):
        if not len(given) or not all(given) or (not prompt.strip() and not begin):
            raise ValueError(f"the question {prompt!r} has the choices {list(given)!r}; none of them may be empty.")
    asked = _encoded(tokenizer, prompts, choices, delimiter, begin)
    with evaluation_mode(model), torch.no_grad():
        if can_fuse(model):
            found = _read_trees(model, asked)
        else:
            found = _read_rows(model, tokenizer, asked, batch_size)
    return [
        ChoiceScores(tuple(given), tuple(sums), tuple(map(len, behind)))
        for given, sums, (_, behind) in zip(choices, found, asked, strict=True)
    ]


def choice_accuracy(scores: Sequence[ChoiceScores], answers: Sequence[int], divide_by: str = "nothing") -> list[bool]:
    """For each question: is the chosen answer the right one? Their mean is lm-eval's acc (``"nothing"``), acc_norm
    (``"characters"``) or acc_bytes (``"bytes"``).

    Raises ValueError if there are no questions, or for an answer outside of its choices.
    """
    if not len(scores) or len(scores) != len(answers):
        raise ValueError(f"{len(scores)} scored questions and {len(answers)} answers; one for each, and at least one.")
    for i, (score, answer) in enumerate(zip(scores, answers, strict=True)):
        if not 0 <= answer < len(score.choices):
            raise ValueError(f"question {i} has {len(score.choices)} choices, and its answer is number {answer}.")
    return [score.chosen(divide_by) == answer for score, answer in zip(scores, answers, strict=True)]


Asked = tuple[list[int], list[list[int]]]  # the prompt's tokens, and those of each choice after it


def _encoded(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    delimiter: str,
    begin: bool,
) -> list[Asked]:
    stripped = [prompt.rstrip(" ") for prompt in prompts]
    spaces = [prompt[len(kept) :] for prompt, kept in zip(prompts, stripped, strict=True)]
    contexts = encode_plain(stripped, tokenizer)
    # What a choice adds is asked of the prompt's last line alone where that has the tokens that it has in its place:
    # few short texts instead of many long ones. It stands after a line end, as some tokenizers begin with a space.
    lines = ["\n" + kept.rpartition("\n")[2] for kept in stripped]
    known, gap = _ids(tokenizer, lines), len(encode_plain(["\n"], tokenizer)[0])
    starts = [
        line if (own := known[line][gap:]) and context[-len(own) :] == own else kept
        for kept, line, context in zip(stripped, lines, contexts, strict=True)
    ]
    ends = [[space + delimiter + choice for choice in given] for space, given in zip(spaces, choices, strict=True)]
    known |= dict(zip(stripped, contexts, strict=True))
    wholes = _ids(tokenizer, [start + end for start, given in zip(starts, ends, strict=True) for end in given])
    first = [opening_id(tokenizer)] if begin else []
    asked = []
    for prompt, context, start, given in zip(prompts, contexts, starts, ends, strict=True):
        behind = []
        for end in given:
            whole, size = wholes[start + end], len(known[start])
            if whole[:size] != known[start] or len(whole) == size:
                raise ValueError(
                    f"the tokenizer joins the end of the prompt {prompt[-20:]!r} with the choice "
                    f"{end.removeprefix(delimiter)!r}; a prompt must end where a token ends. Is the delimiter "
                    f"{delimiter!r} right?"
                )
            behind.append(whole[size:])
        asked.append((first + context, behind))
    return asked


def _ids(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> dict[str, list[int]]:
    """The ids of each text that there is."""
    once = list(dict.fromkeys(texts))
    return dict(zip(once, encode_plain(once, tokenizer), strict=True))


def _read_rows(model: nn.Module, tokenizer: Any, asked: Sequence[Asked], batch_size: int) -> list[list[float]]:
    """Every choice in a row of its own, for models of other makes."""
    rows = [context + choice for context, behind in asked for choice in behind]
    begins = [len(context) for context, behind in asked for _ in behind]
    sums = [0.0] * len(rows)
    for at_hand, batch, logits in batched(model, rows, padding_id(tokenizer), batch_size):
        logs = logits[:, :-1].float().log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        for row, i in enumerate(at_hand):
            sums[i] = float(logs[row, begins[i] - 1 : len(rows[i]) - 1].sum())
    left = iter(sums)
    return [[next(left) for _ in behind] for _, behind in asked]


def _read_trees(model: Decoder, asked: Sequence[Asked]) -> list[list[float]]:
    """What questions and choices begin with is read once. The last token of a choice need not be read."""
    longest = max(len(context) + max(map(len, behind)) for context, behind in asked)
    if longest > model.config.max_position_embeddings:
        raise ValueError(
            f"a question with its examples has {longest} tokens or more; this model reads at most "
            f"max_position_embeddings = {model.config.max_position_embeddings}. Give fewer examples."
        )
    order = sorted(range(len(asked)), key=lambda i: asked[i][0])  # neighbours share most
    found: list[list[float]] = [[] for _ in asked]
    for part in (order[start : start + PART] for start in range(0, len(order), PART)):
        texts = [asked[i][0] + choice[:-1] for i in part for choice in asked[i][1]]
        added = [choice for i in part for choice in asked[i][1]]
        tree = PrefixTree(texts)
        nodes = np.concatenate([tree.path(i)[-len(choice) :] for i, choice in enumerate(added)])
        tokens = np.fromiter(chain.from_iterable(added), np.int64)
        logprobs = next_logprobs(model, tree, nodes, tokens)
        sums = iter(np.add.reduceat(logprobs, np.append(0, np.cumsum([len(choice) for choice in added])[:-1])).tolist())
        for i in part:
            found[i] = [next(sums) for _ in asked[i][1]]
    return found
