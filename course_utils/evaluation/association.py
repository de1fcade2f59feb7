"""Which pronoun does a model expect of a trade? Template probing, with an interval over trades.

A template names a person and a trade and stops where a pronoun may follow; the probability of the pronouns of one kind
among those of both kinds is the model's share (Kurita et al., arXiv 1906.07337, compare such probabilities; the
templates of Rudinger et al., arXiv 1804.09301, are of this shape). A *lean* is 2 * share - 1: 0 if both kinds are
equally likely, 1 or -1 if only one is. The world's dial has the same unit, so an audit can be right or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from course_utils.evaluation.statistics import Interval
from course_utils.models.scoring import batched, last_logits
from course_utils.text.special_tokens import opening_id, padding_id
from course_utils.text.tokenizer import encode_plain
from course_utils.world.people import SHE_LEANING, TRADES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHE, HE = (" She", " Her"), (" He", " His")
SELF = (" herself",), (" himself",)  # of sentences about people without a name, see world/mentions.py
TEMPLATES = (
    "{n} works as a {v}.",
    "{n} earns a living as a {v}.",
    "{n} was trained as a {v}.",
    "The guild lists {n} as a {v}.",
)


class AuditError(ValueError):
    """An audit cannot say anything about what it was given; the message says why and what to do."""


def pronoun_tokens(
    tokenizer: PreTrainedTokenizerFast, words: tuple[Sequence[str], Sequence[str]] = (SHE, HE)
) -> tuple[list[int], list[int], list[int]]:
    """(what all these words begin with, the token that tells each of the first kind, and each of the second), as they
    stand in a text.

    At the beginning of a string a tokenizer may cut them otherwise, so they are read after a full stop. Raises
    AuditError if the two kinds share a token.
    """
    stop, *found = encode_plain([".", *(f".{word}" for side in words for word in side)], tokenizer)
    cut = [ids[len(stop) :] for ids in found]
    shared = 0
    while all(len(ids) > shared + 1 for ids in cut) and len({ids[shared] for ids in cut}) == 1:
        shared += 1
    tokens = [ids[shared] for ids in cut]
    first, second = tokens[: len(words[0])], tokens[len(words[0]) :]
    if set(first) & set(second):
        raise AuditError(f"the tokenizer writes {words} as {cut}; no token tells the two kinds apart.")
    return cut[0][:shared], first, second


def pronoun_shares(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    words: tuple[Sequence[str], Sequence[str]] = (SHE, HE),
) -> Tensor:
    """P(a word of the first kind follows | one of either kind follows) after each text, (texts,) float64."""
    space, she, he = pronoun_tokens(tokenizer, words)
    encoded = [[opening_id(tokenizer), *ids, *space] for ids in encode_plain(list(texts), tokenizer)]
    logits = last_logits(model, encoded, padding_id(tokenizer), batch_size=256).double()
    return (logits[:, she].logsumexp(-1) - logits[:, he].logsumexp(-1)).sigmoid()


@dataclass(frozen=True)
class LeanAudit:
    """leans: (trades, prompts), 2 * share - 1 for each prompt of each trade, above 0 towards she.

    ``strength``: the mean lean in the direction that was named beforehand, its interval over *trades*.
    """

    trades: tuple[str, ...]
    leans: np.ndarray
    signed: np.ndarray  # (trades,): the mean lean of a trade, turned so that the direction named beforehand is up
    strength: Interval

    @property
    def by_trade(self) -> dict[str, float]:
        """The mean lean of each trade towards she."""
        return dict(zip(self.trades, self.leans.mean(1).tolist(), strict=True))

    @property
    def size(self) -> float:
        """The mean of the absolute leans: needs no direction, and is never 0 even where nothing was planted."""
        return float(np.abs(self.leans.mean(1)).mean())


def lean_prompts(names: Sequence[str], trades: Sequence[str] = TRADES, templates: Sequence[str] = TEMPLATES):
    """Every template with every name, for each trade in turn: a list of (trades * prompts) texts."""
    if not names or not trades or not templates:
        raise AuditError(
            f"{len(names)} names, {len(trades)} trades, {len(templates)} templates; each needs one or more."
        )
    return [t.format(n=name, v=trade) for trade in trades for t in templates for name in names]


def audit_leans(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    names: Sequence[str],
    *,
    words: tuple[Sequence[str], Sequence[str]] = (SHE, HE),
    trades: Sequence[str] = TRADES,
    towards_she: frozenset[str] = SHE_LEANING,
    templates: Sequence[str] = TEMPLATES,
    confidence: float = 0.95,
) -> LeanAudit:
    """Probe the model with names that it has never read (else it would tell what it knows of the people).

    ``towards_she``: the trades that are *said beforehand* to lean that way; all others are said to lean the other way.
    Raises AuditError for fewer than two trades, or none of names or templates.
    """
    texts = lean_prompts(names, trades, templates)
    shares = pronoun_shares(model, tokenizer, texts, words).numpy().reshape(len(trades), -1)
    leans = 2 * shares - 1
    turn = np.array([1.0 if trade in towards_she else -1.0 for trade in trades])
    signed = leans.mean(1) * turn
    return LeanAudit(tuple(trades), leans, signed, mean_interval(signed, confidence))


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """The mean of independent figures and its interval by Student's t. Raises AuditError for fewer than two."""
    from scipy.stats import t

    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or len(data) < 2:
        raise AuditError(f"an interval needs two independent figures or more; {data.size} were given.")
    mean = float(data.mean())
    half = float(t.ppf((1 + confidence) / 2, len(data) - 1)) * float(data.std(ddof=1)) / len(data) ** 0.5
    return Interval(mean, mean - half, mean + half, confidence)


def corpus_counts(people: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """(she, he) of each trade of people with ``pronoun`` and ``fact("trade")``. Trades without people are left out."""
    table: dict[str, list[int]] = {}
    for person in people:
        row = table.setdefault(person.fact("trade"), [0, 0])
        row[0 if person.pronoun == "she" else 1] += 1
    return {trade: (she, he) for trade, (she, he) in sorted(table.items())}


def pair_preferences(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[tuple[str, str]],
) -> list[bool]:
    """Is the first sentence of each pair likelier than the second? By the log-likelihood ratio of whole sentences.

    So CrowS-Pairs (Nangia et al., arXiv 2010.00133) asks, there of masked models: which of two sentences that differ in
    who is meant does the model prefer. It tells a direction and no strength. Raises AuditError for no pairs.
    """
    if not pairs:
        raise AuditError("no pairs of sentences were given; what the model prefers cannot be said.")
    encoded = [
        [opening_id(tokenizer), *ids] for ids in encode_plain([text for pair in pairs for text in pair], tokenizer)
    ]
    sums = [0.0] * len(encoded)
    for rows, batch, logits in batched(model, encoded, padding_id(tokenizer), 256):
        ids, mask = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:]
        logs = logits[:, :-1].double().log_softmax(-1).gather(2, ids[..., None])[..., 0]
        for row, total in zip(rows, (logs * mask).sum(1).tolist(), strict=True):
            sums[row] = total
    return [first > second for first, second in zip(sums[::2], sums[1::2], strict=True)]


@dataclass(frozen=True)
class Association:
    """effect: the difference of mean associations in standard deviations, from -2 to 2. p: of the permutation test."""

    effect: float
    p: float


def association_test(
    first: np.ndarray, second: np.ndarray, a: np.ndarray, b: np.ndarray, permutations: int = 2_000, seed: int = 0
) -> Association:
    """Are the words of ``first`` nearer to ``a`` than those of ``second``? WEAT (Caliskan et al., arXiv 1608.07187).

    All (words, features). A word's association is its mean cosine with ``a`` minus that with ``b``. The test is
    two-sided: how often do words dealt out anew to the two sides differ by as much? Raises AuditError for an empty
    side, a vector of zeros, or associations that are all alike.
    """
    sides = [np.asarray(side, dtype=float) for side in (first, second, a, b)]
    if any(side.ndim != 2 or not len(side) for side in sides):
        raise AuditError(f"the sides have the shapes {[side.shape for side in sides]}; none may be empty.")
    lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    if any((length == 0).any() for length in lengths):
        raise AuditError("a vector is all zeros and points nowhere; leave its word out.")
    x, y, one, two = (side / length for side, length in zip(sides, lengths, strict=True))
    both = np.concatenate([x, y])
    scores = (both @ one.T).mean(1) - (both @ two.T).mean(1)
    spread = float(scores.std(ddof=1)) if len(scores) > 1 else 0.0
    if spread == 0:
        raise AuditError("all words are associated alike; an effect size cannot be said.")

    def gap(values: np.ndarray) -> np.ndarray:
        return values[..., : len(x)].mean(-1) - values[..., len(x) :].mean(-1)

    rng = np.random.default_rng(seed)
    dealt = gap(rng.permuted(np.tile(scores, (permutations, 1)), axis=1))
    seen = float(gap(scores))
    p = (1 + int((np.abs(dealt) >= abs(seen) - 1e-12).sum())) / (permutations + 1)
    return Association(seen / spread, p)
