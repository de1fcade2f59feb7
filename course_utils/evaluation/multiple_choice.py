"""Multiple choice by likelihood: which of the given answers does a model find most likely behind the question?

This is how benchmarks such as ARC or HellaSwag ask a base model, and how EleutherAI's lm-eval scores them: the
log-probability of every choice behind the same prompt, as it stands or divided by the length of the choice (Brown et
al., arXiv 2005.14165, section 2.4, on why one divides). Nothing is generated, and nothing can be misread; but the model
may only choose.

Here a row holds a tree: questions that begin alike, and their choices, in which every token looks at its own ancestors
only. What two questions or two choices begin with is read once, and what all prompts begin with, finished examples and
all, is read once for the whole call. The numbers are those of reading every choice for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from course_utils.models.decoder import Cache, Decoder
from course_utils.models.scoring import batched, evaluation_mode
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROW = 96  # tokens of a tree, after which the next question begins another: longer ones share more and look at more
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
    tokenizer, and the course's, like many, adds none. batch_size: questions (for models of other makes, choices) that
    are read at once. Spaces at the end of a prompt go over to the choice, as in lm-eval: tokens begin with their space.
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
        if isinstance(model, Decoder):
            found = _read_trees(model, tokenizer, asked, batch_size)
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
    contexts = encode_plain(stripped, tokenizer)
    # What a choice adds is asked of the prompt's last line alone where that has the tokens that it has in its place:
    # few short texts instead of many long ones. It stands behind a line end, as some tokenizers begin with a space.
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


def _read_trees(model: Decoder, tokenizer: Any, asked: Sequence[Asked], batch_size: int) -> list[list[float]]:
    """Neighbours share a row, as a tree of what they begin with. The last token of a choice need not be read."""
    prefix = list(commonprefix([context for context, _ in asked]))
    prefix = prefix[: min(len(context) for context, _ in asked) - 1]  # at least one token of each is its own
    trees: list[_Tree] = []
    for i in sorted(range(len(asked)), key=lambda i: asked[i][0]):
        if not trees or len(trees[-1].tokens) >= ROW:
            trees.append(_Tree())
        trees[-1].add(i, asked[i][0][len(prefix) :], asked[i][1])
    trees.sort(key=lambda tree: len(tree.tokens))  # little is padded
    longest = len(prefix) + max(max(tree.depths) for tree in trees) + 1
    if longest > model.config.max_position_embeddings:
        raise ValueError(
            f"a question with its examples has {longest} tokens or more; this model reads at most "
            f"max_position_embeddings = {model.config.max_position_embeddings}. Give fewer examples."
        )
    begun = _begin(model, prefix)
    found = [[0.0] * len(behind) for _, behind in asked]
    while trees:
        part, questions = [trees.pop()], 0
        while trees and (questions := questions + part[-1].questions) < batch_size:
            part.append(trees.pop())
        for (i, number), logprob in _read_batch(model, part, begun, padding_id(tokenizer)):
            found[i][number] += logprob
    return found


def _read_batch(
    model: Decoder, trees: Sequence[_Tree], begun: Cache, padding: int
) -> Iterator[tuple[tuple[int, int], float]]:
    """For each token of each choice, whose it is, (question, choice), and its log-probability in nats."""
    width, past = max(len(tree.tokens) for tree in trees), begun.length
    ids = np.full((len(trees), width), padding)
    places = np.full((len(trees), width), past)
    visible = np.zeros((len(trees), width, past + width), dtype=bool)
    visible[:, :, :past] = True
    visible[:, range(width), range(past, past + width)] = True  # padding sees itself, or it sees nothing
    for row, tree in enumerate(trees):
        size = len(tree.tokens)
        ids[row, :size] = tree.tokens
        places[row, :size] += tree.depths
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                visible[row, node, past : past + node] = visible[row, parent, past : past + node]
    device = begun.keys[0].device
    cache = model.new_cache(len(trees), past + width)
    cache.length = past
    for own, shared in zip([*cache.keys, *cache.values], [*begun.keys, *begun.values], strict=True):
        own[:, :, :past] = shared[:, :, :past]
    # One row of logits for each node that has children: its normaliser serves all of them.
    predicted = [(row * width + node, token) for row, tree in enumerate(trees) for node, token in tree.predicted]
    nodes, where = np.unique([node for node, _ in predicted], return_inverse=True)
    x = model.model.embed_tokens(torch.from_numpy(ids).to(device))
    at = torch.from_numpy(places).to(device)
    cos, sin = (table[at].to(x.dtype).unsqueeze(-2) for table in (model.model.rope_cos, model.model.rope_sin))
    mask = torch.from_numpy(visible).to(device)[:, None]
    last: Any = model.model.layers[-1]
    for block in model.model.layers[:-1]:
        x = block(x, cos, sin, mask, False, cache)
    x = x + last.self_attn(last.input_layernorm(x), cos, sin, mask, False, cache)
    x = x.flatten(0, 1)[torch.from_numpy(nodes).to(device)]  # nobody looks at the others any more
    x = x + last.mlp(last.post_attention_layernorm(x))
    logs = model.lm_head(model.model.norm(x)).float().log_softmax(-1).cpu().numpy()
    owners = [owner for tree in trees for owner in tree.owners]
    return zip(owners, logs[where, [token for _, token in predicted]].tolist(), strict=True)


def _begin(model: Decoder, prefix: list[int]) -> Cache:
    """Keys and values of what all questions begin with, which is read once."""
    cache = model.new_cache(1, len(prefix))
    if prefix:
        model.model(torch.tensor([prefix], device=cache.keys[0].device), cache=cache)
    return cache


class _Tree:
    """The tokens of some questions that have to be read, each with its depth and its parent (-1: none). For every token
    of every choice ``predicted`` has the node from which it is predicted and the token, and ``owners`` whose it is:
    (question, choice)."""

    def __init__(self) -> None:
        self.questions = 0
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        self.predicted: list[tuple[int, int]] = []
        self.owners: list[tuple[int, int]] = []
        self._known: dict[tuple[int, int], int] = {}

    def add(self, question: int, prompt: Sequence[int], choices: Sequence[Sequence[int]]) -> None:
        """One more question, of which whatever stands here already is shared."""
        self.questions += 1
        end = -1
        for token in prompt:
            end = self._child(end, token)
        for number, choice in enumerate(choices):
            node = end
            for i, token in enumerate(choice):
                if i:
                    node = self._child(node, choice[i - 1])
                self.predicted.append((node, token))
                self.owners.append((question, number))

    def _child(self, node: int, token: int) -> int:
        child = self._known.get((node, token))
        if child is None:
            child = self._known[node, token] = len(self.tokens)
            self.tokens.append(token)
            self.depths.append(self.depths[node] + 1 if node >= 0 else 0)
            self.parents.append(node)
        return child
