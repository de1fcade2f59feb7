"""Checks of chapter 05: the nucleus, a step of beam search, a few-shot prompt, BM25, and vectors before a text."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.classroom.checks.layout import strided
from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.models import beam_search


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits (batch, vocab) with -inf outside of the smallest set of likeliest tokens that reaches top_p."""
    ordered, places = logits.softmax(-1).sort(-1, descending=True)
    kept = ordered.cumsum(-1) - ordered < top_p  # what stands before a token has not reached top_p yet
    keep = torch.zeros_like(kept).scatter(-1, places, kept)
    return logits.masked_fill(~keep, float("-inf"))


@check(
    "05.1",
    title="The nucleus",
    reference=nucleus,
    difficulty=3,
    minutes=10,
    points=3,
    asked="implement top-p sampling",
    hints=[
        "`ordered, places = logits.softmax(-1).sort(descending=True)`, and the sum so far: `ordered.cumsum(-1)`.",
        "A token stays if the sum of those *before* it is still below top_p: `cumsum - ordered < top_p`. So the one that "
        "crosses the limit stays, and the likeliest always does.",
        "The answer is in sorted order; bring it back with `keep = torch.zeros_like(kept).scatter(-1, places, kept)`, then "
        '`logits.masked_fill(~keep, float("-inf"))`.',
    ],
)
def check_nucleus(candidate: Callable[[Tensor, float], Tensor]) -> None:
    p = torch.tensor([[0.08, 0.5, 0.27, 0.15], [0.05, 0.02, 0.9, 0.03]])
    logits, top_p = p.log() + torch.tensor([[1.0], [-2.0]]), 0.7
    keep = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 0]]).bool()
    given = {"probabilities": p, "top_p": top_p}

    def cut(kept: Tensor | list) -> Tensor:
        return logits.masked_fill(~torch.as_tensor(kept).bool(), float("-inf"))

    result = candidate(logits.clone(), top_p)
    expect.kind(result, Tensor, given=given)
    expect.shape(result, (2, 4), given=given)
    left = torch.isfinite(result)
    expect.that(
        not bool(((result < -1e8) & left).any()),
        "A large negative number is not enough: with -inf the probability is exactly 0.",
        given=given,
        yours=result,
    )
    expect.that(
        not torch.equal(left, p > top_p),
        "Tokens with a probability above top_p are kept; the *sum* of the likeliest is what reaches top_p.",
        given=given,
        yours=result,
    )
    expect.that(
        bool(left.any(-1).all()),
        "A row has no token left. The one that crosses top_p belongs to the nucleus, so the likeliest always stays.",
        given=given,
        yours=result,
    )
    expect.that(
        not torch.equal(left, torch.ones_like(left)) or not torch.allclose(result, p, atol=1e-4),
        "These are probabilities. Return the logits, with -inf for the tokens that may not be drawn.",
        given=given,
        yours=result,
    )
    if torch.equal(left, p >= top_p * p.amax(-1, keepdim=True)):  # not right; min-p, or the crossing token left out?
        four = torch.tensor([[0.3, 0.25, 0.2, 0.15, 0.1]])
        expect.that(
            not torch.equal(torch.isfinite(candidate(four.log(), 0.4)), four >= 0.4 * 0.3),
            "Compared with the likeliest token: that is min-p. Here the *sum* of the likeliest ones reaches top_p.",
            given=given,
            expected=cut(keep),
            yours=result,
        )
    if bool(left.all()):  # nothing is cut off here; are the unlikeliest tokens kept elsewhere?
        four = torch.tensor([[0.3, 0.25, 0.2, 0.15, 0.1]])
        expect.that(
            bool(torch.isfinite(candidate(four.log(), 0.4))[0, 0]),
            "The unlikeliest tokens are kept: sort from the likeliest down.",
            given={"probabilities": four, "top_p": 0.4},
        )
    named = {
        "The token that crosses top_p is left out; it belongs to the nucleus: 0.5 alone is below 0.7, 0.5 + 0.27 "
        "reaches it.": [[0, 1, 0, 0], [0, 0, 1, 0]],
        "One token too many: 0.5 + 0.27 has reached 0.7 already.": [[0, 1, 1, 1], [1, 0, 1, 0]],
        "The mask is still in sorted order: bring it back to the vocabulary's with the places that `sort` returned.": [
            [1, 1, 0, 0],
            [1, 0, 0, 0],
        ],
        "The sum runs over the vocabulary in its own order; sort by probability first.": [[1, 1, 1, 0], [1, 1, 1, 0]],
        "The same tokens are kept in every row; each row has its own nucleus.": [[0, 1, 1, 0], [0, 1, 1, 0]],
        "Every row keeps as many tokens as the first; each row has its own nucleus.": [[0, 1, 1, 0], [1, 0, 1, 0]],
        "Nothing is cut off.": [[1, 1, 1, 1], [1, 1, 1, 1]],
    }
    mistakes = {message: cut(kept) for message, kept in named.items()}
    mistakes["The tokens outside get 0. As a logit, 0 is no small number: use -inf."] = logits.masked_fill(~keep, 0.0)
    mistakes["These are probabilities. Return logits, with -inf for the tokens that may not be drawn."] = p * keep
    mistakes["These are probabilities, made to sum to 1 again. Return logits, with -inf outside."] = (
        p * keep / (p * keep).sum(-1, keepdim=True)
    )
    for wrong in (cut(keep).log_softmax(-1), logits.log_softmax(-1).masked_fill(~keep, float("-inf"))):
        expect.that(
            not torch.allclose(result, wrong),
            "These are log-probabilities. Return the logits as they were given, with -inf outside of the nucleus.",
            given=given,
            expected=cut(keep),
            yours=result,
        )
    expect.close(
        result,
        cut(keep),
        "Not the smallest set of likeliest tokens that reaches top_p.",
        given=given,
        mistakes=mistakes,
    )
    equal = torch.zeros(1, 4)
    found = candidate(equal.clone(), 0.5)
    many = int(torch.isfinite(found).sum())
    message = {
        3: "One token too many: 0.25 + 0.25 is 0.5, and *at least* top_p is reached.",
        4: "All tokens that are as likely as the last one stay; of equal ones only as many stay as are needed.",
    }.get(many, "Of four equal tokens two reach 0.5.")
    given = {"logits": equal, "top_p": 0.5}
    expect.that(many == 2, message, given=given, expected="two of the four tokens", yours=found)
    expect.close(
        candidate(logits.clone(), 1.0),
        logits,
        "With top_p = 1 nothing is cut off.",
        given={"probabilities": p, "top_p": 1.0},
        rtol=1e-4,
    )
    generator = torch.Generator().manual_seed(5)
    many = 3 * torch.randn(40, 6, generator=generator).T
    for limit in (0.05, 0.5, 0.95):
        expect.close(
            strided(lambda limit=limit: candidate(many, limit)),  # type: ignore[misc]
            nucleus(many, limit),
            "Right on the small case, but not on 6 rows of 40 tokens.",
            given={"logits": "6 x 40, random, a transposed view", "top_p": limit},
        )


@check(
    "05.2",
    title="A step of beam search",
    reference="course_utils.models.beam_search:beam_step",
    difficulty=2,
    minutes=8,
    points=2,
    asked="write one step of beam search",
    hints=[
        "The log-probability of a longer beam is the sum: `scores[:, None] + logprobs`, (beams, vocab).",
        "The k best are taken over all beams together: `.flatten().topk(k)`.",
        "A place in the flat list is `beam * vocab + token`: divide with `//` and `%` by `logprobs.shape[1]`.",
    ],
)
def check_beam_step(candidate: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]) -> None:
    scores = torch.tensor([-1.0, -1.5, -6.0])
    p = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.02, 0.9, 0.05, 0.03], [0.5, 0.46, 0.01, 0.03]])
    logprobs = p.log()
    given = {"scores": scores, "exp(logprobs)": p, "k": 3}
    result = candidate(scores.clone(), logprobs.clone(), 3)
    expect.that(
        isinstance(result, tuple | list) and len(result) == 3,
        "Three tensors are wanted: `return scores, beams, tokens`.",
        given=given,
    )
    new, beams, tokens = result
    for name, part in zip(("scores", "beams", "tokens"), result, strict=True):
        expect.kind(part, Tensor, given=given)
        expect.that(
            name == "scores" or not part.is_floating_point(),
            f"`{name}` are places: whole numbers. Divide with `//`, not `/`.",
            given=given,
            yours=part,
        )
        message = f"`{name}` must have k = 3 entries."
        expect.that(part.shape == (3,), message, given=given, expected=(3,), yours=tuple(part.shape))
    total = scores[:, None] + logprobs
    want = beam_search.beam_step(scores, logprobs, 3)
    alone = logprobs.flatten().topk(3)
    each = total.max(1)
    product = (scores[:, None] * logprobs).flatten().topk(3)
    expect.close(
        new.float(),
        want[0],
        "Not the three largest sums of a beam's score and a token's log-probability.",
        given=given,
        mistakes={
            "The beams' own scores are forgotten: an unlikely beginning with a sure next token must not win.": alone.values,
            "Chosen by the token's log-probability alone; add the beam's score before the choice, not after it.": (
                total.flatten()[alone.indices]
            ),
            "These are the log-probabilities of the last tokens alone; add the score of the beam.": logprobs[
                want[1], want[2]
            ],
            "The best token of each beam is taken; the k best are chosen over all beams together, and one beam may have "
            "two.": each.values,
            "That order is not best first.": want[0].flip(0),
            "Those are the k best, but in the order of the beams; the best comes first.": want[0][
                (want[1] * 4 + want[2]).argsort()
            ],
            "The best tokens of each beam, sorted: still one from each beam; choose over all beams together.": each.values.sort(
                descending=True
            ).values,
            "Log-probabilities are multiplied; the product of probabilities is the sum of their logarithms.": product.values,
            "Probabilities are added; it is log-probabilities that add up.": (scores[:, None] + p)
            .flatten()
            .topk(3)
            .values,
            "These are the least likely: the largest sum is the best.": total.flatten().topk(3, largest=False).values,
            "All continuations come from the first beam; look at every beam.": total[0].topk(3).values,
        },
        rtol=1e-4,
    )
    expect.equal(
        beams.long(),
        want[1],
        "The scores are right; the beams that they continue are not.",
        given=given,
        mistakes={
            "Divided by the number of beams; a flat place is `beam * vocab + token`.": total.flatten().topk(3).indices
            // 3,
            "The remainder by the number of beams is taken; the beam is the place divided by the size of the vocabulary.": (
                total.flatten().topk(3).indices % 3
            ),
            "`beams` and `tokens` are swapped.": want[2],
            "These are places in the flat list; divide by the size of the vocabulary.": total.flatten().topk(3).indices,
        },
    )
    expect.equal(
        tokens.long(),
        want[2],
        "The scores and beams are right; the tokens are not.",
        given=given,
        mistakes={
            "The remainder is taken by the number of beams; a flat place is `beam * vocab + token`.": total.flatten()
            .topk(3)
            .indices
            % 3,
            "These are places in the flat list; the token is the remainder by the size of the vocabulary.": total.flatten()
            .topk(3)
            .indices,
        },
    )
    one = torch.tensor([0.0])
    first, right = candidate(one.clone(), logprobs[:1].clone(), 2), beam_search.beam_step(one, logprobs[:1], 2)
    given = {"scores": one, "exp(logprobs)": p[:1], "k": 2}
    expect.that(
        all(isinstance(part, Tensor) and len(part) == 2 for part in first),
        "k = 2 continuations are wanted, also of a single beam. Is `k` used?",
        given=given,
        yours=first,
    )
    message = "With a single beam the k likeliest tokens are the answer, and all continue beam 0."
    expect.close(first[0].float(), right[0], message, given=given, rtol=1e-4)
    for yours, wanted in zip(first[1:], right[1:], strict=True):
        expect.equal(yours.long(), wanted, message, given=given)
    _check_wide_beams(candidate)


def _check_wide_beams(candidate: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]) -> None:
    """Another vocabulary, more continuations than beams, and all of them from the first beam."""
    scores = torch.tensor([-0.5, -6.0, -7.0])
    logprobs = (2 * torch.randn(3, 7, generator=torch.Generator().manual_seed(3))).log_softmax(-1)
    logprobs = logprobs.T.contiguous().T  # the same numbers, column by column: no `view(-1)` of them exists
    given = {"scores": scores, "logprobs": logprobs, "k": 5}
    new, beams, tokens = strided(lambda: candidate(scores.clone(), logprobs, 5))
    total = scores[:, None] + logprobs
    want = beam_search.beam_step(scores, logprobs, 5)

    def only(best: int) -> Tensor:
        return total.topk(best).values.flatten().topk(min(5, 3 * best)).values

    expect.close(
        new.float(),
        want[0],
        "Right for 4 tokens and k = 3, but not for 7 tokens and k = 5.",
        given=given,
        mistakes={
            f"Of each beam only the best {n} are looked at; all k may come from one beam.": only(n) for n in (2, 3)
        },
        rtol=1e-4,
    )
    places = total.flatten().topk(5).indices
    for yours, wanted, name, wrong in (
        (beams, want[1], "beams", places // 4),
        (tokens, want[2], "tokens", places % 4),
    ):
        expect.equal(
            yours.long(),
            wanted,
            f"The scores are right for 7 tokens and k = 5; the {name} are not.",
            given=given,
            mistakes={"You divide by 4; the vocabulary has `logprobs.shape[1]` tokens, here 7.": wrong},
        )
    for k in (1, 9, 21):  # more continuations than tokens, and all there are
        given = {"scores": scores, "logprobs": logprobs, "k": k}
        message = "k may be larger than the vocabulary: take the k best of all sums, not k of each beam."
        if k == 1:
            message = "Right for k = 5, but not for k = 1."
        want = beam_search.beam_step(scores, logprobs, k)
        try:
            found = candidate(scores.clone(), logprobs.clone(), k)
        except (RuntimeError, IndexError, ValueError) as error:
            raise Mistake(message, given=given, yours=f"{type(error).__name__}: {error}") from None
        expect.close(found[0].float(), want[0], message, given=given, rtol=1e-4)
        for yours, wanted in zip(found[1:], want[1:], strict=True):
            expect.equal(yours.long(), wanted, message, given=given)


def few_shot_prompt(examples: list[tuple[str, str]], question: str, between: str, after: str) -> str:
    """Finished examples, then the question, ending where the answer's first token begins."""
    shots = "".join(f"{asked}{between}{answer}{after}" for asked, answer in examples)
    return shots + question + between.rstrip(" ")


@check(
    "05.3",
    title="A few-shot prompt",
    reference=few_shot_prompt,
    difficulty=1,
    minutes=6,
    points=1,
    asked="what does a few-shot prompt look like, to the character?",
    hints=[
        "Each example is `question + between + answer + after`; keep their order.",
        "The last line is the question and `between`, and nothing else: no answer, no `after`.",
        "Take the spaces off the end, `.rstrip(' ')`: the space belongs to the first token of the answer.",
    ],
)
def check_few_shot_prompt(candidate: Callable[[list[tuple[str, str]], str, str, str], str]) -> None:
    shots = [("Ada Reed", "stew"), ("Bram Vale", "custard")]
    given = {"examples": shots, "question": "Noor Finch", "between": ": ", "after": "\n"}
    lines = "Ada Reed: stew\nBram Vale: custard\n"
    expect.equal(
        candidate(list(shots), "Noor Finch", ": ", "\n"),
        lines + "Noor Finch:",
        "Not the examples, one after the other, and the open question.",
        given=given,
        mistakes={
            "The prompt ends in a space. The space belongs to the answer's first token: take it off.": lines
            + "Noor Finch: ",
            "`between` is missing after the question.": lines + "Noor Finch",
            "`after` comes after the last line; the answer must follow there.": lines + "Noor Finch:\n",
            "The examples are in reverse order.": "Bram Vale: custard\nAda Reed: stew\nNoor Finch:",
            "`after` is missing before the question.": lines[:-1] + "Noor Finch:",
            "The question stands first; it comes last.": "Noor Finch:\n" + lines,
            "The examples are missing.": "Noor Finch:",
            "There is an empty line before the question.": lines + "\nNoor Finch:",
            "The answers of the examples are missing.": "Ada Reed: \nBram Vale: \nNoor Finch:",
            "Question and answer of the examples are swapped.": "stew: Ada Reed\ncustard: Bram Vale\nNoor Finch:",
            "The spaces of `between` are gone in the examples; only the prompt's end loses them.": "Ada Reed:stew\nBram "
            "Vale:custard\nNoor Finch:",
        },
    )
    expect.equal(
        candidate(shots[:1], "Noor Finch", " = ", "; "),
        "Ada Reed = stew; Noor Finch =",
        "Right for ': ' and a new line, but not for ' = ' and '; '. Use `between` and `after` as they are given.",
        given={"examples": shots[:1], "question": "Noor Finch", "between": " = ", "after": "; "},
        mistakes={
            "The prompt ends in a space. The space belongs to the answer's first token: take it off.": "Ada Reed = stew; "
            "Noor Finch = ",
            "': ' and a new line stand in your code; `between` and `after` say what is wanted.": "Ada Reed: stew\nNoor Finch:",
            "The space before the mark is gone, too; only the prompt's end loses its spaces.": "Ada Reed = stew; Noor "
            "Finch=",
        },
    )
    for between, mistake in (
        (":", "The last character of `between` is cut off, whatever it is."),
        ("\n", "Only spaces are taken off, not new lines: `.rstrip(' ')`."),
        (":\t", "Only spaces are taken off, not tabs: `.rstrip(' ')`."),
    ):
        expect.equal(
            candidate(shots[:1], "Noor Finch", between, "; "),
            f"Ada Reed{between}stew; Noor Finch{between}",  # no space at its end
            "Right where `between` ends in a space, but not where it does not.",
            given={"examples": shots[:1], "question": "Noor Finch", "between": between, "after": "; "},
            mistakes={mistake: f"Ada Reed{between}stew; Noor Finch"},
        )
    same = [("Ada Reed", "stew"), ("Ada Reed", "custard")]
    expect.equal(
        candidate(list(same), "Noor Finch", ":   ", "\n"),
        "Ada Reed:   stew\nAda Reed:   custard\nNoor Finch:",
        "Right with one space after the mark, but not with three.",
        given={"examples": same, "question": "Noor Finch", "between": ":   ", "after": "\n"},
        mistakes={
            "Only one space is taken off the end; all of them go.": "Ada Reed:   stew\nAda Reed:   custard\nNoor Finch:  ",
            "Of two examples with the same question one is lost.": "Ada Reed:   custard\nNoor Finch:",
        },
    )
    expect.equal(
        candidate(same, "Noor Finch", "  ", ""),
        "Ada Reed  stewAda Reed  custardNoor Finch",
        "`between` may be nothing but spaces, and `after` nothing at all.",
        given={"examples": same, "question": "Noor Finch", "between": "  ", "after": ""},
    )
    expect.equal(
        candidate([], "Noor Finch", ": ", "\n"),
        "Noor Finch:",
        "Zero-shot: without examples the prompt is the open question alone.",
        given={"examples": [], "question": "Noor Finch", "between": ": ", "after": "\n"},
    )


def bm25_scores(query: list[str], passages: list[list[str]], k1: float, b: float) -> list[float]:
    """The score of each passage (a list of words) for a query (a list of words)."""
    count, mean = len(passages), sum(map(len, passages)) / len(passages)
    scores = [0.0] * count
    for word in query:
        n = sum(word in passage for passage in passages)
        weight = math.log(1 + (count - n + 0.5) / (n + 0.5))
        for i, passage in enumerate(passages):
            f = passage.count(word)
            scores[i] += weight * f / (f + k1 * (1 - b + b * len(passage) / mean))
    return scores


def _bm25(query, passages, k1, b, *, idf=None, tf=None, length=None, inside="", holding=None) -> list[float]:
    """BM25 with parts replaced: what a mistake gives. ``inside``: n, f or both are counted inside of words, too;
    ``holding``: what is counted as n."""
    count, mean = len(passages), sum(map(len, passages)) / len(passages)
    out = []
    for passage in passages:
        score = 0.0
        for word in query:
            n = sum(word in (" ".join(other) if "n" in inside else other) for other in passages)
            n = holding(word) if holding else n
            f = (" ".join(passage) if "f" in inside else passage).count(word)
            weight = idf(n, count) if idf else math.log(1 + (count - n + 0.5) / (n + 0.5))
            relative = length(len(passage), mean) if length else len(passage) / mean
            part = tf(f, relative) if tf else f / (f + k1 * (1 - b + b * relative)) if f else 0.0
            score += weight * part
        out.append(score)
    return out


@check(
    "05.4",
    title="BM25",
    reference=bm25_scores,
    difficulty=3,
    minutes=12,
    points=3,
    asked="write BM25; what do k1 and b do?",
    hints=[
        "Two loops: for each passage, add up over the words of the query.",
        "`n = sum(word in passage for passage in passages)` passages hold the word: the weight is "
        "`math.log(1 + (N - n + 0.5) / (n + 0.5))`.",
        "`f = passage.count(word)`; the other factor is `f / (f + k1 * (1 - b + b * len(passage) / mean_length))`.",
    ],
)
def check_bm25_scores(candidate: Callable[[list[str], list[list[str]], float, float], list[float]]) -> None:
    passages = [
        row.split() for row in ("ada ada lives in brine by the old tidemill", "bram likes stew", "ada keeps a goose")
    ]
    query, k1, b = ["ada", "goose"], 1.2, 0.4
    given = {"query": query, "passages": [" ".join(row) for row in passages], "k1": k1, "b": b}
    result = candidate(list(query), [list(row) for row in passages], k1, b)
    expect.that(
        hasattr(result, "__len__") and len(result) == 3,
        "One score for each passage is wanted.",
        given=given,
        yours=result,
    )

    def scores(**parts) -> Tensor:
        return torch.tensor(_bm25(query, passages, k1, b, **parts), dtype=torch.float64)

    def norm(r: float) -> float:
        return k1 * (1 - b + b * r)

    expect.close(
        torch.as_tensor(result, dtype=torch.float64),
        scores(),
        "Not the sum over the query's words of log(1 + (N - n + 1/2) / (n + 1/2)) * f / (f + k1 (1 - b + b length / mean)).",
        given=given,
        mistakes={
            "The rarity of the words is forgotten: each counts the same.": scores(idf=lambda n, N: 1.0),
            "The length is forgotten: b has no effect.": scores(length=lambda size, mean: 1.0),
            "The quotient of the lengths is upside down: a long passage must score less.": scores(
                length=lambda size, mean: mean / size
            ),
            "n counts how often the word occurs; it is the number of passages that hold it.": scores(
                holding=lambda word: sum(passage.count(word) for passage in passages)
            ),
            "The mean length is rounded; it need not be a whole number.": scores(
                length=lambda size, mean: size / int(mean)
            ),
            "The scores are sorted; they stand in the order of the passages.": scores().sort(descending=True).values,
            "The length is not divided by the mean length.": scores(length=lambda size, mean: size),
            "b and 1 - b are swapped.": scores(tf=lambda f, r: f / (f + k1 * (b + (1 - b) * r))),
            "The 1 inside of the logarithm is missing: a word that most passages hold gets a negative weight.": scores(
                idf=lambda n, N: math.log((N - n + 0.5) / (n + 0.5))
            ),
            "That is log(N / n), the weight of tf-idf; BM25's is log(1 + (N - n + 1/2) / (n + 1/2)).": scores(
                idf=lambda n, N: math.log(N / n)
            ),
            "The factor k1 + 1 belongs to another variant; ours, Lucene's, leaves it out.": scores(
                tf=lambda f, r: f * (k1 + 1) / (f + norm(r))
            ),
            "Only whether a word is there counts in yours; how often it is there does too, as f.": scores(
                tf=lambda f, r: min(f, 1) / (min(f, 1) + norm(r))
            ),
            "The term frequency is not damped: that is f * idf; divide by f + k1 (...).": scores(tf=lambda f, r: f),
            "`f` is missing in the denominator.": scores(tf=lambda f, r: f / norm(r)),
            "k1 is missing.": scores(tf=lambda f, r: f / (f + 1 - b + b * r)),
            "k1 stands before 1 - b only; it multiplies the whole bracket.": scores(
                tf=lambda f, r: f / (f + k1 * (1 - b) + b * r)
            ),
            "The logarithm is to the base 2 (or 10); the natural one is wanted.": scores(
                idf=lambda n, N: math.log2(1 + (N - n + 0.5) / (n + 0.5))
            ),
            "The logarithm is missing.": scores(idf=lambda n, N: 1 + (N - n + 0.5) / (n + 0.5)),
        },
        rtol=1e-4,
    )
    expect.close(
        torch.as_tensor(candidate(["ada", "heron"], [list(row) for row in passages], k1, b), dtype=torch.float64),
        torch.tensor(_bm25(["ada", "heron"], passages, k1, b), dtype=torch.float64),
        "A word that no passage holds must add nothing.",
        given={**given, "query": ["ada", "heron"]},
        rtol=1e-4,
    )
    letters = "Letters inside of other words are counted ('a' in 'ada'); compare whole words."
    for words in (["a", "old"], ["ada", "ada"]):
        mistakes = [(letters, _bm25(words, passages, k1, b, inside=inside)) for inside in ("n", "f", "nf")]
        mistakes.append(("A word that the question has twice counts twice.", _bm25(words[:1], passages, k1, b)))
        yours = torch.as_tensor(candidate(list(words), [list(row) for row in passages], k1, b), dtype=torch.float64)
        wanted = torch.tensor(_bm25(words, passages, k1, b), dtype=torch.float64)
        for name, wrong in mistakes:
            wrong = torch.tensor(wrong, dtype=torch.float64)
            expect.that(
                torch.allclose(wrong, wanted) or not torch.allclose(yours, wrong, rtol=1e-4),
                name,
                given={**given, "query": words},
                expected=wanted,
                yours=yours,
            )
        expect.close(yours, wanted, f"Not the score for the words {words}.", given={**given, "query": words}, rtol=1e-4)
    for other_b in (0.0, 0.75, 1.0):
        expect.close(
            torch.as_tensor(candidate(list(query), [list(row) for row in passages], 0.9, other_b), dtype=torch.float64),
            torch.tensor(_bm25(query, passages, 0.9, other_b), dtype=torch.float64),
            "Right for k1 = 1.2 and b = 0.4, not for others.",
            given={**given, "k1": 0.9, "b": other_b},
            rtol=1e-4,
        )
    for some in (passages[:1], [*passages, passages[0], ["owl"]]):
        yours = torch.as_tensor(candidate(list(query), [list(row) for row in some], k1, b), dtype=torch.float64)
        wanted = torch.tensor(_bm25(query, some, k1, b), dtype=torch.float64)
        message = f"Right for three passages, not for {len(some)}."
        expect.close(yours, wanted, message, given={**given, "passages": [" ".join(row) for row in some]}, rtol=1e-4)


@check(
    "05.5",
    title="Vectors before the text",
    reference="course_utils.models.prompt_tuning:prepend",
    difficulty=2,
    minutes=8,
    points=2,
    asked="write the forward pass of prompt tuning",
    hints=[
        "The same vectors for every row: `vectors.expand(batch, -1, -1)` makes (batch, n, hidden) without a copy.",
        "`torch.cat((..., embeddings), dim=1)`: dimension 1 is the length.",
        "The vectors are no padding: n ones before every row of the mask, `attention_mask.new_ones(batch, n)`.",
    ],
)
def check_prepend(candidate: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    vectors = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    embeddings = -torch.arange(1.0, 25).view(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    given = {"vectors": "(2, 3)", "embeddings": "(2, 4, 3)", "attention_mask": mask}
    result = candidate(vectors.clone(), embeddings.clone(), mask.clone())
    expect.that(
        isinstance(result, tuple | list) and len(result) == 2,
        "Two tensors are wanted: `return embeddings, attention_mask`.",
        given=given,
    )
    x, m = result
    expect.kind(x, Tensor, given=given)
    expect.kind(m, Tensor, given=given)
    expect.that(
        x.shape == (2, 6, 3),
        "The embeddings have another shape: batch, n + length, hidden. The vectors stand before each text, along dimension 1.",
        given=given,
        expected=(2, 6, 3),
        yours=tuple(x.shape),
    )
    tiled = vectors.expand(2, -1, -1)
    expect.close(
        x,
        torch.cat((tiled, embeddings), 1),
        "Not the vectors, then the text, in every row.",
        given=given,
        mistakes={
            "The vectors come after the text; a causal model would read the text before them.": torch.cat(
                (embeddings, tiled), 1
            ),
            "The order of the vectors is turned.": torch.cat((tiled.flip(1), embeddings), 1),
            "The first vector fills all places.": torch.cat((tiled[:, :1].expand(-1, 2, -1), embeddings), 1),
            "Each row has a vector of its own; every row gets all of them.": torch.cat(
                (vectors[:, None].expand(-1, 2, -1), embeddings), 1
            ),
            "Zeros stand where the vectors belong.": torch.cat((torch.zeros_like(tiled), embeddings), 1),
        },
    )
    expect.that(
        m.shape == (2, 6),
        "The mask is as long as before. It needs a 1 for each vector."
        if m.shape == mask.shape
        else "The mask has another shape: (batch, n + length), a 1 for each of the n vectors, whatever their number.",
        given=given,
        expected=(2, 6),
        yours=tuple(m.shape),
    )
    ones = torch.ones(2, 2, dtype=torch.long)
    expect.equal(
        m.long(),
        torch.cat((ones, mask), 1),
        "Not ones for the vectors, then the mask of the text.",
        given=given,
        mistakes={
            "The mask has zeros for the vectors: then nobody may look at them.": torch.cat((0 * ones, mask), 1),
            "The ones come after the mask; the vectors come first.": torch.cat((mask, ones), 1),
            "All places are visible: the padding of the text must stay hidden.": torch.ones(2, 6, dtype=torch.long),
        },
    )
    leaf = vectors.clone().requires_grad_()
    x, _ = candidate(leaf, embeddings, mask)
    expect.that(
        x.requires_grad, "No gradient flows to the vectors. Is there a `.detach()`, `no_grad` or `.data`?", given=given
    )
    (slope,) = torch.autograd.grad(x.sum(), leaf)
    expect.close(
        slope,
        torch.full_like(slope, 2.0),
        "Each vector is read once in every row, so the gradient of the sum is 2.",
        given=given,
    )
    more, short, hidden = torch.arange(10.0).view(5, 2), torch.ones(3, 2, 2), torch.tensor([[1, 1], [1, 0], [1, 1]])
    given = {"vectors": "(5, 2)", "embeddings": "(3, 2, 2)", "attention_mask": hidden}
    turned = short.transpose(0, 1).contiguous().transpose(0, 1), hidden.T.contiguous().T  # no `view` of them exists
    x, m = strided(lambda: candidate(more.clone(), *turned))
    expect.close(
        x,
        torch.cat((more.expand(3, -1, -1), short), 1),
        "Right for two vectors before two texts, but not for five vectors before three.",
        given=given,
    )
    expect.that(
        m.shape == (3, 7),
        "The mask has the wrong length where there are more vectors than tokens. It needs a 1 for each vector.",
        given=given,
        expected=(3, 7),
        yours=tuple(m.shape),
    )
    wanted = torch.cat((torch.ones(3, 5, dtype=torch.long), hidden), 1)
    expect.equal(m.long(), wanted, "Not ones for the vectors, then the mask of the text.", given=given)
