"""Multiple choice by likelihood: which of the given answers does a model find most likely behind the question?

This is how benchmarks such as ARC or HellaSwag ask a base model, and how EleutherAI's lm-eval scores them: the
log-probability of every choice behind the same prompt, as it stands or divided by the length of the choice (Brown et
al., arXiv 2005.14165, section 2.4, on why one divides). Nothing is generated, and nothing can be misread; but the model
may only choose.

Here the choices of one question are read in one row: a tree whose trunk is the prompt, in which every token looks at
its own ancestors only. What two choices begin with is read once, and what the prompts of a batch begin with, finished
examples and all, is read once for all of them. The numbers are those of reading every choice for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.models.decoder import Cache, Decoder
from course_utils.models.scoring import batched, evaluation_mode
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

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
    """The log-probability of every choice behind its prompt, for each question.

    begin: put the token in front with which every text of the model's pretraining began. lm-eval leaves that to the
    tokenizer, and the course's, like many, adds none. Spaces at the end of a prompt go over to the choice, as in
    lm-eval: tokens begin with their space. Raises ValueError if there are no questions, for a question without choices
    or with an empty one, and if prompt and choice would be joined in one token.
    """
    if not len(prompts) or len(prompts) != len(choices):
        raise ValueError(f"{len(prompts)} prompts and {len(choices)} lists of choices; one of each for every question.")
    for prompt, given in zip(prompts, choices, strict=True):
        if not len(given) or not all(given) or (not prompt.strip() and not begin):
            raise ValueError(f"the question {prompt!r} has the choices {list(given)!r}; none of them may be empty.")
    asked = _encoded(tokenizer, prompts, choices, delimiter, begin)
    alike = sorted(range(len(asked)), key=lambda i: asked[i][0])  # neighbours begin alike, and that is read once
    found: list[list[float]] = [[] for _ in asked]
    with evaluation_mode(model), torch.no_grad():
        for start in range(0, len(asked), batch_size):
            chosen = alike[start : start + batch_size]
            part = [asked[i] for i in chosen]
            read = (
                _read_trees(model, tokenizer, part)
                if isinstance(model, Decoder)
                else _read_rows(model, tokenizer, part)
            )
            for i, sums in zip(chosen, read, strict=True):
                found[i] = sums
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


Asked = tuple[list[int], list[list[int]]]  # the prompt's tokens, and those of each choice behind it


def _encoded(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    delimiter: str,
    begin: bool,
) -> list[Asked]:
    stripped = [prompt.rstrip(" ") for prompt in prompts]
    spaces = [prompt[len(kept) :] for prompt, kept in zip(prompts, stripped, strict=True)]
    wholes = [
        kept + space + delimiter + choice
        for kept, space, given in zip(stripped, spaces, choices, strict=True)
        for choice in given
    ]
    ids = iter(encode_plain([*stripped, *wholes], tokenizer))
    contexts = [next(ids) for _ in stripped]
    first = [opening_id(tokenizer)] if begin else []
    asked = []
    for prompt, context, given in zip(prompts, contexts, choices, strict=True):
        behind = []
        for choice in given:
            whole = next(ids)
            if whole[: len(context)] != context or len(whole) == len(context):
                raise ValueError(
                    f"the tokenizer joins the end of the prompt {prompt[-20:]!r} with the choice {choice!r}; a prompt "
                    f"must end where a token ends. Is the delimiter {delimiter!r} right?"
                )
            behind.append(whole[len(context) :])
        asked.append((first + context, behind))
    return asked


def _read_rows(model: nn.Module, tokenizer: Any, asked: Sequence[Asked]) -> Iterator[list[float]]:
    """Every choice in a row of its own, for models of other makes."""
    rows = [context + choice for context, behind in asked for choice in behind]
    begins = [len(context) for context, behind in asked for _ in behind]
    sums = [0.0] * len(rows)
    for at_hand, batch, logits in batched(model, rows, padding_id(tokenizer)):
        logs = logits[:, :-1].float().log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        for row, i in enumerate(at_hand):
            sums[i] = float(logs[row, begins[i] - 1 : len(rows[i]) - 1].sum())
    left = iter(sums)
    return iter([[next(left) for _ in behind] for _, behind in asked])


def _read_trees(model: Decoder, tokenizer: Any, asked: Sequence[Asked]) -> Iterator[list[float]]:
    """One row for a question: its prompt, then its choices as a tree. The last token of a choice need not be read."""
    prefix = list(commonprefix([context for context, _ in asked]))
    prefix = prefix[: min(len(context) for context, _ in asked) - 1]  # at least one token of each is its own
    trees = [_Tree(context[len(prefix) :], behind) for context, behind in asked]
    width = max(len(tree.tokens) for tree in trees)
    device = model.model.embed_tokens.weight.device
    ids = torch.full((len(trees), width), padding_id(tokenizer), dtype=torch.long)
    places = torch.zeros(len(trees), width, dtype=torch.long)
    visible = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)  # padding sees itself, or it sees nothing
    for row, tree in enumerate(trees):
        size = len(tree.tokens)
        ids[row, :size] = torch.tensor(tree.tokens)
        places[row, :size] = torch.tensor(tree.depths)
        visible[row, :size, :size] = tree.visible()
    hidden = _hidden(model, prefix, ids.to(device), places.to(device) + len(prefix), visible.to(device))
    rows, parents, targets, owner = (
        torch.tensor(column, device=device)
        for column in zip(*((r, p, t, c) for r, tree in enumerate(trees) for p, t, c in tree.predicted), strict=True)
    )
    # One row of logits for each node that has children: its normaliser serves all of them.
    nodes, where = (rows * width + parents).unique(return_inverse=True)
    logits = model.lm_head(hidden.flatten(0, 1)[nodes]).float()
    logs = logits[where, targets] - logits.logsumexp(-1)[where]
    most = max(len(behind) for _, behind in asked)
    sums = torch.zeros(len(trees) * most, dtype=torch.float64, device=device)
    sums.index_add_(0, rows * most + owner, logs.double())
    return iter([line[: len(behind)] for line, (_, behind) in zip(sums.view(-1, most).tolist(), asked, strict=True)])


class _Tree:
    """The tokens of a question that have to be read, each with its depth and its parent; and for every token of every
    choice the node from which it is predicted: (node, token, choice)."""

    def __init__(self, trunk: list[int], choices: Sequence[Sequence[int]]) -> None:
        self.trunk = len(trunk)
        self.tokens, self.depths = list(trunk), list(range(len(trunk)))
        self.parents = [-1] * len(trunk)
        self.predicted: list[tuple[int, int, int]] = []
        known: dict[tuple[int, int], int] = {}
        for number, choice in enumerate(choices):
            node = self.trunk - 1
            for i, token in enumerate(choice):
                self.predicted.append((node, token, number))
                if i == len(choice) - 1:
                    break
                child = known.get((node, token))
                if child is None:
                    child = known[node, token] = len(self.tokens)
                    self.tokens.append(token)
                    self.depths.append(self.depths[node] + 1)
                    self.parents.append(node)
                node = child

    def visible(self) -> Tensor:
        """(nodes, nodes) bool: which node may look at which."""
        seen = torch.ones(len(self.tokens), len(self.tokens), dtype=torch.bool).tril_()
        seen[self.trunk :, self.trunk :] = False
        for node in range(self.trunk, len(self.tokens)):
            if self.parents[node] >= self.trunk:
                seen[node, self.trunk : node] = seen[self.parents[node], self.trunk : node]
            seen[node, node] = True
        return seen


def _hidden(model: Decoder, prefix: list[int], ids: Tensor, places: Tensor, visible: Tensor) -> Tensor:
    """Hidden states (batch, width, hidden) of rows that all stand behind ``prefix``, which is read once."""
    cache: Cache | None = None
    if prefix:
        single = model.new_cache(1, len(prefix) + ids.shape[1])
        model.model(torch.tensor([prefix], device=ids.device), cache=single)
        single.select(torch.zeros(len(ids), dtype=torch.long, device=ids.device))
        cache = single
        visible = torch.cat([visible.new_ones(*visible.shape[:2], len(prefix)), visible], dim=2)
    if int(places.max()) >= model.config.max_position_embeddings:
        raise ValueError(
            f"a question with its examples has {int(places.max()) + 1} tokens or more; this model reads at most "
            f"max_position_embeddings = {model.config.max_position_embeddings}. Give fewer examples."
        )
    x = model.model.embed_tokens(ids)
    cos, sin = (table[places].to(x.dtype).unsqueeze(-2) for table in (model.model.rope_cos, model.model.rope_sin))
    for block in model.model.layers:
        x = block(x, cos, sin, visible[:, None], False, cache)
    return model.model.norm(x)
