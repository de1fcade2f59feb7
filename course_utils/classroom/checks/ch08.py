"""Checks of chapter 08: fertility, rows for new tokens, replay, the pull to the start, and averages over classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from course_utils.classroom.checks.layout import strided
from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.evaluation import classification


def fertility(texts: list[str], encode: Callable[[str], list[int]]) -> float:
    """All tokens of the texts, each encoded whole, over all words; words are what stands between white space."""
    words = sum(len(text.split()) for text in texts)
    if not words:
        raise ValueError("the texts hold no word; give at least one.")
    return sum(len(encode(text)) for text in texts) / words


@check(
    "08.1",
    title="Fertility",
    reference=fertility,
    difficulty=1,
    minutes=5,
    points=1,
    asked="a customer's texts are full of trade terms: how do you see whether the tokenizer fits?",
    hints=[
        "Two sums over all texts: the tokens, `len(encode(text))`, and the words, `len(text.split())`.",
        "Divide once, at the end: `sum(...) / sum(...)`. Without a word: `raise ValueError(...)`.",
    ],
)
def check_fertility(candidate: Callable[[list[str], Callable[[str], list[int]]], float]) -> None:
    def encode(text: str) -> list[int]:  # a word goes with the space before it; other white space is a token
        parts = re.findall(r" ?\S+|\s+", text)
        return [len(part[i : i + 3]) for part in parts for i in range(0, len(part), 3)]

    texts = ["wet, wet fogcough", "tea,\nat dawn - at sea", "the healer's fog-cough\t", "fogcough", "fogcough"]
    about = "encode cuts a word, with the space before it, into tokens of three characters"
    given = f"texts = {texts}; {about}"
    tokens, words = [len(encode(text)) for text in texts], [len(text.split()) for text in texts]
    every = [word for text in texts for word in text.split()]
    kinds = sorted(set(every))
    letters = sum(map(len, every))
    right = sum(tokens) / sum(words)

    def alone(words: Sequence[str]) -> list[int]:
        return [len(encode(word)) for word in words]

    def of_words(words: Sequence[str]) -> float:
        return sum(alone(words)) / len(words)

    runs = [word for text in texts for word in re.findall(r"\w+", text)]
    expect.close(
        candidate(list(texts), encode),
        right,
        "Not all tokens divided by all words.",
        given=given,
        mistakes={
            "The ratios of the texts are averaged; a short text then counts as much as a long one. Add up first.": float(
                np.mean([t / w for t, w in zip(tokens, words, strict=True)])
            ),
            "That is words per token; fertility is tokens per word.": 1 / right,
            "Each word is encoded by itself, so the space before it is lost. Encode each text whole.": of_words(every),
            "The texts are joined before they are encoded, and are cut otherwise where they meet. Encode each by itself.": len(
                encode(" ".join(texts))
            )
            / sum(words),
            "Every kind of word is counted once; frequent words must count as often as they occur.": of_words(kinds),
            "Only single spaces divide words in yours; a new line does too. `text.split()` takes any white space.": sum(
                tokens
            )
            / sum(len(text.split(" ")) for text in texts),
            "Punctuation cuts words in yours; only white space does.": sum(tokens) / len(runs),
            "Punctuation is left out; here it belongs to its word.": of_words(runs),
            "That is tokens per letter.": sum(tokens) / letters,
            "That is letters per token, the compression.": letters / sum(tokens),
            "Only the first text is counted.": tokens[0] / words[0],
            "Equal texts are counted once; each counts.": sum(tokens[:-1]) / sum(words[:-1]),
            "That is letters per word; the tokenizer is not used.": letters / sum(words),
            "That is tokens per text.": sum(tokens) / len(texts),
            "The division is missing: those are all tokens.": sum(tokens),
            "That is the share of words that are split, not tokens per word.": float(
                np.mean(np.array(alone(every)) > 1)
            ),
            "Those are the pieces beyond the first; a whole word counts as 1.": right - 1,
            "The result is a whole number, rounded or divided by `//`; return the quotient.": right // 1,
        }
        | {
            f"The result is rounded to {places} places; return the quotient.": round(right, places)
            for places in (1, 2, 3)
        },
        rtol=1e-6,
        atol=1e-7,
    )
    message = "One empty text among others is no error; only texts without any word at all are."
    texts = ["tea at dawn", " "]
    given = f"texts = {texts}; {about}"
    try:
        value = candidate(list(texts), encode)
    except (ValueError, ZeroDivisionError) as error:
        raise Mistake(message, given=given, expected=sum(alone(texts)) / 3, yours=error) from error
    expect.close(
        value,
        sum(alone(texts)) / 3,
        "Right for texts with words, wrong when one of them has none.",
        given=given,
        mistakes={"A text without words still has its tokens; they belong to all tokens.": alone(texts)[0] / 3},
    )
    for texts in ([" ", "\n"], []):
        expect.raises(ValueError, candidate, texts, encode, message="Texts without any word must raise ValueError.")


@check(
    "08.2",
    title="Rows for new words",
    reference="course_utils.models.embeddings:mean_of_pieces",
    difficulty=2,
    minutes=8,
    points=2,
    asked="you add tokens to a model: what do their embeddings start from?",
    hints=[
        "`weight[ids]` with a list of ids gives the rows of a word's pieces, (pieces, hidden).",
        "Their mean over the pieces is `weight[ids].mean(0)`. `torch.stack` makes one matrix of such rows.",
        "`torch.cat([weight, new_rows])` puts them below the old ones, in a new tensor.",
    ],
)
def check_mean_of_pieces(candidate: Callable[[Tensor, list[list[int]]], Tensor]) -> None:
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(8))
    pieces = [[1, 3], [4], [0, 2, 2]]
    rows = torch.stack([weight[ids].mean(0) for ids in pieces])
    given = {"weight": weight, "pieces": pieces}
    kept = weight.clone()
    result = candidate(kept, [list(ids) for ids in pieces])
    expect.that(torch.equal(kept, weight), "`weight` was changed; the old rows stay as they are.", given=given)

    def below(new: Tensor) -> Tensor:
        return torch.cat([weight, new])

    expect.close(
        result,
        below(rows),
        "Not the old rows, and below them the mean of each word's pieces.",
        given=given,
        mistakes={
            "Only the new rows are returned; the old ones belong above them.": rows,
            "The new rows stand above the old ones: then every old id names another token.": torch.cat([rows, weight]),
            "The pieces are added up; divide by how many there are.": below(
                torch.stack([weight[ids].sum(0) for ids in pieces])
            ),
            "That is the mean of all old rows; take the pieces of this word only.": below(
                weight.mean(0).expand(len(pieces), -1)
            ),
            "The new rows are in reverse order; word number i belongs at row vocab + i.": below(rows.flip(0)),
            "The sum is divided by the same number for every word; divide by this word's pieces.": below(
                torch.stack([weight[ids].sum(0) / max(map(len, pieces)) for ids in pieces])
            ),
            "A running average gives the last piece half of the weight; add up, and divide once.": below(
                torch.stack([weight[[1, 3]].mean(0), weight[4], (weight[0] + 3 * weight[2]) / 4])
            ),
            "Short words are filled up with id 0, and its row is averaged in.": below(
                torch.stack([weight[ids + [0] * (3 - len(ids))].mean(0) for ids in pieces])
            ),
            "The means are rounded to half precision; keep the dtype of `weight`.": below(
                torch.stack([weight[ids].bfloat16().mean(0).float() for ids in pieces])
            ),
            "The means are taken in half precision; keep the dtype of `weight`.": below(
                torch.stack([weight[ids].half().mean(0).float() for ids in pieces])
            ),
            "Only the first piece is copied.": below(weight[[ids[0] for ids in pieces]]),
            "Only the last piece is copied.": below(weight[[ids[-1] for ids in pieces]]),
            "A piece that occurs twice in a word counts twice.": below(
                torch.stack([weight[sorted(set(ids))].mean(0) for ids in pieces])
            ),
            "The new rows are zero: all new words are then the same to the model, and stay so until they differ in training.": below(
                torch.zeros(3, 3)
            ),
            "All new words got the same row, the mean over all their pieces together.": below(
                weight[[i for ids in pieces for i in ids]].mean(0).expand(3, -1)
            ),
            "The mean is taken over the wrong axis: over the numbers of a row, not over the pieces.": below(
                torch.stack([weight[ids].mean().expand(3) for ids in pieces])
            ),
        },
    )
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        found = candidate(weight.to(dtype), [list(ids) for ids in pieces])
        name = str(dtype).removeprefix("torch.")
        expect.that(
            found.dtype == dtype, f"The matrix comes back as {found.dtype}; keep the dtype of `weight`, {name}."
        )
        message = f"Right in float32, wrong in {name}."
        expect.close(found.float(), below(rows), message, given=f"weight in {name}", rtol=2e-2, atol=2e-2)
    weight = torch.randn(2, 7, generator=torch.Generator().manual_seed(82)).T
    pieces = [[6, 0, 6, 6], [0, 1], [5], [2, 4]]
    expect.close(
        candidate(weight, [list(ids) for ids in pieces]),
        torch.cat([weight, *[weight[ids].mean(0, keepdim=True) for ids in pieces]]),
        "Right for the first sizes, wrong for others. Is a size or a number of words written in?",
        given={"weight": weight, "pieces": pieces},
    )


@check(
    "08.3",
    title="A share of old text",
    reference="course_utils.training.replay:replay_plan",
    difficulty=3,
    minutes=10,
    points=3,
    asked="how would you mix five per cent of old data into every run, so that a resumed run sees the same batches?",
    hints=[
        "How many old rows are among the first m rows of the run? `int(share * m)`. Call it for m before this step and after it.",
        "`before, after = int(share * step * batch_size), int(share * (step + 1) * batch_size)`: the old rows of this step are "
        "`range(before, after)`.",
        "All other rows are new: `range(step * batch_size - before, (step + 1) * batch_size - after)`.",
    ],
)
def check_replay_plan(candidate: Callable[[int, int, float], tuple[Sequence[int], Sequence[int]]]) -> None:
    far = 100_000

    def plan(step: int, size: int, share: float) -> tuple[list[int], list[int]]:
        result = candidate(step, size, share)
        given = f"step = {step}, batch_size = {size}, share = {share}"
        expect.that(
            isinstance(result, tuple | list)
            and len(result) == 2
            and all(isinstance(part, Sequence | np.ndarray) for part in result),
            "Two ranges (or lists) of places are wanted: `return new, old`.",
            given=given,
            yours=result,
        )
        new, old = ([int(place) for place in part] for part in result)
        expect.that(
            len(new) + len(old) == size,
            f"New and old rows together are {len(new) + len(old)}; a batch has {size}.",
            given=given,
            yours=result,
        )
        expect.that(
            min([*new, *old], default=0) >= 0,
            "A place below 0: steps are counted from 0, and step 0 begins at place 0.",
            given=given,
            yours=result,
        )
        return new, old

    steps = range(60)
    for size, share in ((8, 0.05), (20, 0.25), (8, 0.3), (3, 0.5), (5, 0.93), (8, 0.0), (8, 1.0), (7, 1 / 3), (1, 0.1)):
        first = [plan(step, size, share) for step in steps]
        given = f"batch_size = {size}, share = {share}, steps 0 to {steps[-1]}"
        if share == 0.05:
            expect.that(
                all(plan(step, size, share) == first[step] for step in (7, 41, 19, 0, 33, 2, 58, 11, 26, 50)),
                "The same step gives other places when it is asked again: a resumed run would see other batches. Compute "
                "them from the step alone.",
                given=given,
            )
        counts = [len(old) for _, old in first]
        _expect_share(counts, size, share, given)
        for name, column in (("new", 0), ("old", 1)):
            places = [place for step in first for place in step[column]]
            wanted = list(range(len(places)))
            if places != wanted:
                if sum(bool(step[column]) for step in first) > 1 and all(
                    step[column][:1] in ([], [0]) for step in first
                ):
                    message = f"Every step starts at {name} row 0 again: the others are never seen."
                elif sorted(places) == wanted:
                    message = f"The {name} rows are not taken in their order, one step after the other."
                elif len(set(places)) < len(places):
                    message = f"Some {name} rows are taken twice. Each step goes on where the one before it stopped."
                else:
                    message = f"Some {name} rows are left out. Each step goes on where the one before it stopped."
                expect.that(False, message, given=given, expected=f"{wanted[:12]} ...", yours=f"{places[:12]} ...")
    _, old = plan(far, 8, 0.3)
    rows = 0.3 * 8 * (far + 1)
    expect.that(
        bool(old) and abs(old[-1] + 1 - rows) < 1.001,
        "Far on in the run the old rows are no longer those of that share.",
        given=f"step = {far}, batch_size = 8, share = 0.3",
        expected=f"places up to about {rows:.0f}",
        yours=old,
    )


def _expect_share(counts: list[int], size: int, share: float, given: str) -> None:
    """Raise a Mistake unless the old rows so far are about ``share`` of all rows, after every step.

    counts: the old rows of each step. A whole row is allowed, so that rounding of floats decides nothing.
    """
    total, count = len(counts) * size, sum(counts)
    always = counts[0] if len(set(counts)) == 1 else None
    if abs(count - share * total) >= 1.001:
        if abs(count - (1 - share) * total) < 1.001:
            message = "New and old are exchanged: return the new places first, and `share` is the share of the old."
        elif always is not None and always in (round(share * size), int(share * size)):
            message = (
                f"The share is rounded in every batch: {always} old rows of {size}, always. Count over the whole run: of "
                "the first m rows share * m are old."
            )
        elif always is not None and always - 1 < share * size < always:
            message = f"Every batch has {always} of {size}, as if the share were rounded up in each. Count over the whole run."
        elif abs(count - share / (1 + share) * total) < 1.001:
            message = "The share is taken of the new rows; it is the share of all rows."
        elif share and abs(count - total / round(1 / share)) < 1.001:
            message = "Every n-th row is old, with a whole n: that fits a share like 1/4 only. Count share * m instead."
        else:
            message = "Over a long run the share of old rows is not the one that was asked for."
        expect.that(False, message, given=given, expected=f"{share * total:g} old rows of {total}", yours=count)
    sofar = [sum(counts[: n + 1]) for n in range(len(counts))]
    away = [abs(n - share * size * (step + 1)) for step, n in enumerate(sofar)]
    if max(away) >= 1.001:
        late = all(abs(n - share * size * step) < 1.001 for step, n in enumerate(sofar))
        message = (
            "The old rows are one step late: after step s the run has (s + 1) * batch_size rows."
            if late
            else "The share is right only at the end: after each step the old rows may be less than one row from "
            "share * rows."
        )
        step = next(i for i, gap in enumerate(away) if gap >= 1.001)
        expected = f"about {share * size * (step + 1):g} old rows after {step + 1} steps"
        expect.that(False, message, given=given, expected=expected, yours=sofar[step])


@check(
    "08.4",
    title="A pull to the start",
    reference="course_utils.training.l2_sp:distance_penalty",
    difficulty=2,
    minutes=7,
    points=2,
    asked="weight decay pulls to zero. Write the penalty that pulls to the pretrained weights",
    hints=[
        "Go over `start.items()`, not over the parameters: what has no start (new rows, a new head) is free.",
        "`(parameters[name] - old).square().sum()` for each name; add them up; times `strength / 2`.",
        "No `detach`, no `.data`, no `no_grad`: the penalty must have a gradient, `strength * (w - start)`.",
    ],
)
def check_distance_penalty(candidate: Callable[[Mapping[str, Tensor], Mapping[str, Tensor], float], Tensor]) -> None:
    generator = torch.Generator().manual_seed(84)
    parameters = {
        name: torch.randn(size, generator=generator)
        for name, size in (("a", (2, 3)), ("b", (3,)), ("c", (1, 3)), ("new", (2, 3)))
    }
    start = {name: parameters[name] + torch.randn(parameters[name].shape, generator=generator) for name in "bca"}
    live = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    given = {"parameters": parameters, "start": start, "strength": 0.6}
    penalty = candidate(live, {name: value.clone() for name, value in start.items()}, 0.6)
    gaps = {name: parameters[name] - start[name] for name in start}
    squares = sum(gap.square().sum() for gap in gaps.values())
    count = sum(gap.numel() for gap in gaps.values())
    expect.close(
        penalty,
        0.3 * squares,
        "Not strength / 2 times the sum of all squared differences.",
        given=given,
        mistakes={
            "The half is missing: the gradient would be twice strength * (w - start).": 0.6 * squares,
            "That is the mean of the squares; the formula has their sum.": 0.3 * squares / count,
            "Each parameter's squares are averaged before they are added; a bias then weighs as much as a matrix.": 0.3
            * sum(gap.square().mean() for gap in gaps.values()),
            "That is the distance, the root; the penalty is its square.": 0.3 * squares.sqrt(),
            "The roots of the parameters are added; the penalty adds squares.": 0.3
            * sum(g.norm() for g in gaps.values()),
            "That pulls to zero: plain weight decay. Subtract the start.": 0.3
            * sum(parameters[name].square().sum() for name in start),
            "That pulls to zero, and holds what has no start as well.": 0.3
            * sum(value.square().sum() for value in parameters.values()),
            "The parameter without a start is pulled to zero; it is free.": 0.3
            * (squares + parameters["new"].square().sum()),
            "Absolute differences instead of squares.": 0.3 * sum(gap.abs().sum() for gap in gaps.values()),
            "Differences are not squared: they cancel.": 0.3 * sum(gap.sum() for gap in gaps.values()),
            "The sign is turned: the optimizer would run away from the start.": -0.3 * squares,
            "The strength is missing.": squares / 2,
            "The sum is divided by the number of parameters; nothing is averaged.": 0.6 * squares / len(start),
            "Those are differences of squares; take the square of the difference.": 0.3
            * sum((parameters[name].square() - old.square()).sum() for name, old in start.items()),
            "Tensors are paired by their order; pair them by name: `start` may have another order.": 0.3
            * sum((now - old).square().sum() for now, old in zip(parameters.values(), start.values(), strict=False)),
            "Only the last parameter counts; add them up.": 0.3 * list(gaps.values())[-1].square().sum(),
            "Only the first parameter counts; is the `return` inside of the loop?": 0.3
            * next(iter(gaps.values())).square().sum(),
        },
    )
    expect.that(
        isinstance(penalty, Tensor) and penalty.requires_grad,
        "The penalty has no gradient, so it pulls at nothing. Leave out detach, .data, item() and no_grad.",
        given=given,
    )
    penalty.sum().backward()
    for name in start:
        expect.that(live[name].grad is not None, f"`{name}` gets no gradient from your penalty.", given=given)
        expect.close(
            live[name].grad, 0.6 * gaps[name], f"The gradient of `{name}` is not strength * (w - start).", given=given
        )
    expect.that(
        live["new"].grad is None or not bool(live["new"].grad.any()),
        "The parameter without a start gets a gradient; it is free.",
        given=given,
    )
    turned = torch.arange(6.0).view(2, 3).T
    expect.close(
        strided(lambda: candidate({"w": turned.requires_grad_()}, {"w": torch.ones(3, 2)}, 2.0)),
        torch.tensor(31.0),
        "Wrong for a transposed parameter.",
        given={"parameters": {"w": turned}, "start": "ones", "strength": 2.0},
    )
    parameters, start = {"w": torch.tensor(3.0, requires_grad=True)}, {"w": torch.tensor(1.0)}
    expect.close(
        candidate(parameters, start, 5.0),
        torch.tensor(10.0),
        "Right for the first tensors, wrong for others. Is `strength` or a name written in?",
        given={"parameters": parameters, "start": start, "strength": 5.0},
    )


def class_averages(truth: list[int], predicted: list[int], classes: int) -> tuple[float, float]:
    """(mean recall of the classes that occur in ``truth``, mean F1 of those in ``truth`` or ``predicted``)."""
    recalls, f1s = [], []
    for c in range(classes):
        hits = sum(t == p == c for t, p in zip(truth, predicted, strict=True))
        there, called = truth.count(c), predicted.count(c)
        if there:
            recalls.append(hits / there)
        if there + called:
            f1s.append(2 * hits / (there + called))
    return sum(recalls) / len(recalls), sum(f1s) / len(f1s)


@check(
    "08.5",
    title="Every class counts alike",
    reference=class_averages,
    difficulty=3,
    minutes=10,
    points=3,
    asked="one case in twenty is urgent and your classifier has 95 % accuracy: what do you ask next?",
    hints=[
        "Count three numbers for each class c: hits (truth and prediction are c), called (predictions that are c), there (truths "
        "that are c).",
        "Recall is hits / there, F1 is 2 * hits / (called + there). Means over classes, not over examples.",
        "Balanced accuracy averages only classes with there > 0; macro F1 only those with called + there > 0.",
    ],
)
def check_class_averages(candidate: Callable[[list[int], list[int], int], tuple[float, float]]) -> None:
    cases = (
        ([0, 0, 0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2, 1, 0, 2, 2], 3, "three classes, all there"),
        ([0] * 19 + [1], [0] * 20, 2, "nineteen of class 0, one of class 1, and only 0 is ever said"),
        ([0, 0, 0, 1, 1, 1, 1], [0, 0, 2, 1, 1, 0, 0], 4, "class 2 is said but never there, class 3 is neither"),
        ([4, 1, 4, 3, 4, 1, 0], [4, 4, 1, 3, 4, 0, 5], 7, "seven classes, of which 2 and 6 are neither"),
    )
    for truth, predicted, classes, words in cases:
        given = f"truth = {truth}\npredicted = {predicted}\nclasses = {classes}  ({words})"
        result = candidate(list(truth), list(predicted), classes)
        expect.that(
            isinstance(result, tuple | list) and len(result) == 2,
            "Two numbers are wanted: `return balanced_accuracy, macro_f1`.",
            given=given,
            yours=result,
        )
        matrix = classification.confusion_matrix(truth, predicted, classes)
        figures = classification.by_class(matrix)
        balanced, macro = class_averages(truth, predicted, classes)
        plain = classification.accuracy(matrix)
        seen = [f for f, n in zip(figures, matrix.sum(0) + matrix.sum(1), strict=True) if n]
        there = [f for f in figures if f.support]
        precision, recall = (float(np.mean([getattr(f, name) for f in seen])) for name in ("precision", "recall"))
        wrong = {
            "That is plain accuracy: the frequent class decides it.": plain,
            "That is macro F1; balanced accuracy comes first.": macro,
            "A class that is never hit counts with recall 0; yours leaves it out.": float(
                np.mean([f.recall for f in there if f.recall])
            ),
            "Class 0 is left out; every class counts alike.": float(
                np.mean([f.recall for f in figures[1:] if f.support] or [0])
            ),
            "Only the first two classes are counted; `classes` says how many there are.": float(
                np.mean([f.recall for f in figures[:2] if f.support])
            ),
            "A class that never occurs is counted with recall 0; leave it out.": float(
                np.mean([f.recall for f in figures])
            ),
            "A class that never occurs is counted with recall 1; leave it out.": float(
                np.mean([f.recall if f.support else 1 for f in figures])
            ),
            "A class that is only predicted has no recall; leave it out of balanced accuracy.": recall,
            "That is the mean precision; balanced accuracy is the mean recall.": float(
                np.mean([f.precision for f in there])
            ),
        }
        expect.close(
            result[0],
            balanced,
            "Balanced accuracy is not the mean recall of the classes that occur.",
            given=given,
            mistakes={text: value for text, value in wrong.items() if abs(value - balanced) > 1e-6},
        )
        wrong = {
            "That is plain accuracy (micro F1): the frequent class decides it.": plain,
            "A class that neither occurs nor is predicted is counted with F1 0; leave it out.": float(
                np.mean([f.f1 for f in figures])
            ),
            "A class that is predicted but never occurs must count with F1 0; yours leaves it out.": float(
                np.mean([f.f1 for f in there])
            ),
            "A class that is never hit counts with F1 0; yours leaves it out.": float(
                np.mean([f.f1 for f in figures if f.f1])
            ),
            "The factor 2 is missing: F1 is 2 * hits / (there + called).": macro / 2,
            "That is hits / (there + called - hits), the Jaccard index; F1 is 2 * hits / (there + called).": float(
                np.mean([f.f1 / (2 - f.f1) for f in seen])
            ),
            "Classes are weighted by their size; in a macro mean each counts alike.": float(
                np.average([f.f1 for f in figures], weights=[f.support for f in figures])
            ),
            "That is the F1 of the mean precision and the mean recall; take F1 per class first, then the mean.": 2
            * precision
            * recall
            / (precision + recall),
            "That is balanced accuracy once more.": balanced,
            "That is the arithmetic mean of precision and recall; F1 is the harmonic one.": (precision + recall) / 2,
        }
        expect.close(
            result[1],
            macro,
            "Macro F1 is not the mean F1 of the classes that occur or are predicted.",
            given=given,
            mistakes={text: value for text, value in wrong.items() if abs(value - macro) > 1e-6},
        )
