"""Checks of chapter 01: shingles and Jaccard, MinHash, groups of copies, byte-pair encoding, and packing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.text import bpe, deduplication


def _runs(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def similarity(first: list[str], second: list[str], n: int) -> float:
    """Jaccard similarity of the sets of runs of n words: those in both over those in either."""
    ours, theirs = ({tuple(words[i : i + n]) for i in range(len(words) - n + 1)} for words in (first, second))
    return len(ours & theirs) / len(ours | theirs)


@check(
    "01.1",
    title="Shingles and Jaccard similarity",
    reference=similarity,
    difficulty=1,
    minutes=6,
    points=1,
    asked="how similar are two documents?",
    hints=[
        "A list of k words has k - n + 1 shingles: `words[i : i + n]` for i from 0 to k - n.",
        "Lists cannot be members of a set; `tuple(words[i : i + n])` can.",
        "`len(ours & theirs) / len(ours | theirs)`.",
    ],
)
def check_similarity(candidate: Callable[[list[str], list[str], int], float]) -> None:
    texts = [
        ("a b c d", "a b c x", 2),
        ("a b c", "c b a", 1),
        ("a b c d", "d c b a", 2),
        ("the fog the fog the sea", "the fog the bay", 2),
        ("a b c d e f", "a b c", 2),
        ("a b c", "b c d e f", 2),
        ("a a b", "b a b", 3),
        ("a b a b a b", "a b", 2),
        ("a b c", "a b c", 3),
        ("a b c d", "b c d e", 3),
        ("a bc", "ab c", 2),
        ("The fog", "the fog", 1),
        ("the fog, the sea.", "the fog the sea", 2),
        ("a b c d e f", "f a b c d", 4),
    ]
    cases, results = [(one.split(), other.split(), n) for one, other, n in texts], []
    for first, second, n in cases:
        results.append(candidate(first, second, n))
    wrongs = [_wrong_similarities(*case) for case in cases]
    agreed = {
        name: [_equal(yours, wrong[name]) for yours, wrong in zip(results, wrongs, strict=True)] for name in wrongs[0]
    }
    for number, ((first, second, n), result) in enumerate(zip(cases, results, strict=True)):
        likely = max(agreed, key=lambda name: sum(agreed[name]))  # the mistake that explains most of the results
        named = likely if agreed[likely][number] and sum(agreed[likely]) >= len(cases) - 2 else ""
        expect.close(
            result,
            similarity(first, second, n),
            named or "Not shared shingles over all different shingles.",
            given={"first": first, "second": second, "n": n},
        )


def _equal(yours: object, value: float) -> bool:
    try:
        return abs(float(yours) - value) < 1e-6  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return False


def _wrong_similarities(first: list[str], second: list[str], n: int) -> dict[str, float]:
    """What each mistake gives for one case."""

    def shared(make: Callable[[list[str]], set]) -> float:
        one, other = make(first), make(second)
        return len(one & other) / max(1, len(one | other))

    ours, theirs = set(_runs(first, n)), set(_runs(second, n))
    both, bags = len(ours & theirs), (Counter(_runs(first, n)), Counter(_runs(second, n)))
    return {
        "Divided by the shingles of the first text; divide by those that occur in either (the union).": both / len(ours),
        "Divided by the shingles of the second text; divide by those that occur in either (the union).": both / len(theirs),
        "Divided by the shingles of both texts counted one after the other; a shared one counts once.": both / (len(ours) + len(theirs)),
        "That is the Dice coefficient, 2 |A and B| / (|A| + |B|); Jaccard divides by the union.": 2 * both / (len(ours) + len(theirs)),
        "That is the overlap coefficient: divided by the smaller set, not by the union.": both / min(len(ours), len(theirs)),
        "Repeated shingles are counted several times; take sets.": (bags[0] & bags[1]).total() / (bags[0] | bags[1]).total(),
        "The last shingle of each text is left out: it begins at len(words) - n.": shared(lambda words: set(_runs(words[:-1], n))),
        "Single words are compared; a shingle is a run of n words.": shared(set),
        "Runs of two words are compared, whatever n is.": shared(lambda words: set(_runs(words, 2))),
        "Your shingles forget the order of their words: use a tuple, not a set.": shared(lambda words: {frozenset(run) for run in _runs(words, n)}),
        "Your shingles forget the order of their words: do not sort them.": shared(lambda words: {tuple(sorted(run)) for run in _runs(words, n)}),
        "Your shingles do not overlap; one begins at every word.": shared(lambda words: set(_runs(words, n)[::n])),
        "The words of a shingle are glued together: `a bc` and `ab c` become the same. Use a tuple, or join with a space.": shared(lambda words: {"".join(run) for run in _runs(words, n)}),
        "Runs shorter than n are counted at the end of the texts: the last shingle begins at len(words) - n.": shared(lambda words: {tuple(words[i : i + n]) for i in range(len(words))}),
        "Runs of n characters are compared; the shingles are runs of n words.": shared(lambda words: {" ".join(words)[i : i + n] for i in range(len(" ".join(words)) - n + 1)}),
        "That is the distance; the similarity is 1 minus it.": 1 - both / len(ours | theirs),
        "The words are lowered; compare them as they stand.": shared(lambda words: set(_runs([word.lower() for word in words], n))),
        "Punctuation is taken off; compare the words as they stand.": shared(lambda words: set(_runs([word.strip(".,") for word in words], n))),
        "The number of shared shingles is not divided by that of all different ones.": float(both),
    }  # fmt: skip


def minhash_signature(hashes: Tensor, a: Tensor, b: Tensor, prime: int) -> Tensor:
    """For each of the K functions the smallest value that it gives to any of the items: (K,) int64."""
    values = (hashes[:, None] * a + b) % prime  # (items, K): each function applied to each item
    return values.min(0).values


@check(
    "01.2",
    title="The MinHash signature",
    reference=minhash_signature,
    difficulty=2,
    minutes=10,
    points=2,
    asked="explain MinHash; write the signature",
    hints=[
        "`hashes[:, None] * a + b` has the shape (items, K): each function applied to each item.",
        "The remainder by `prime` comes before the minimum: `% prime`.",
        "The smallest over the *items*: `.min(0).values`, or `.amin(0)`, with the shape (K,).",
    ],
)
def check_minhash_signature(candidate: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    big = deduplication.PRIME
    cases = [
        (torch.tensor([3, 10, 8]), torch.tensor([2, 5]), torch.tensor([1, 4]), 13),
        (torch.tensor([6]), torch.tensor([3, 1, 4]), torch.tensor([0, 12, 7]), 13),
        (
            torch.tensor([6, 0, 2, 0, 6, 0])[::2],
            torch.tensor([5]),
            torch.tensor([9]),
            11,
        ),  # every second number, 6 twice
        (torch.tensor([1, 5, 9, 12, 2]), torch.tensor([7, 11, 3, 5, 2]), torch.tensor([3, 0, 9, 1, 8]), 13),
        (torch.tensor([4, 0, 9]), torch.tensor([7, 0, 3, 1])[::2], torch.tensor([3, 1, 0, 1])[::2], 11),
        (
            torch.randint(0, big, (40,), generator=generator),
            torch.randint(1, big, (16,), generator=generator),
            torch.randint(0, big, (16,), generator=generator),
            big,
        ),
    ]
    for hashes, a, b, prime in cases:
        values = (hashes[:, None] * a + b) % prime
        wanted = values.min(0).values
        wrong = {
            "The largest value is taken; MinHash takes the smallest.": values.max(0).values,
            "The remainder by prime is missing: `(a * x + b) % prime`. (Or is another number than `prime` written in?)": (hashes[:, None] * a + b).min(0).values,
            "Under each of your functions the smallest item wins, so nothing is shuffled. The remainder changes their order: first `% prime` for every item, then the minimum.": (hashes.min() * a + b) % prime,
            "The remainder is taken before b is added: it is that of the sum, `(a * x + b) % prime`.": (hashes[:, None] * a % prime + b).min(0).values,
            "That is one number for each item; take the smallest over the items, for each function.": values.min(1).values,
            "That is the place of the smallest value; its value is wanted.": values.min(0).indices,
            "The item with the smallest value is returned; the value that the function gives to it is wanted.": hashes[values.min(0).indices],
            "The offset b is left out.": ((hashes[:, None] * a) % prime).min(0).values,
            "a and b are swapped: h(x) = a x + b.": ((hashes[:, None] * b + a) % prime).min(0).values,
            "The values of the items are averaged or added up; the smallest one is wanted.": values.sum(0),
            "Floating-point numbers lose the last digits of products of two 31-bit numbers; compute in int64.": ((hashes[:, None].double() * a + b) % prime).min(0).values.long(),
            "Single-precision numbers lose the last digits of products of two 31-bit numbers; compute in int64.": ((hashes[:, None].float() * a + b) % prime).min(0).values.long(),
            "Products of two 31-bit numbers do not fit into 32 bits; compute in int64.": ((hashes[:, None].int() * a.int() + b.int()) % prime).min(0).values.long(),
        }  # fmt: skip
        result = candidate(hashes, a, b, prime)
        given = (
            {"hashes": hashes, "a": a, "b": b, "prime": prime} if prime < 100 else f"{len(hashes)} items, K = {len(a)}"
        )
        if isinstance(result, tuple) and hasattr(result, "values"):
            raise Mistake("`.min(0)` returns values and places; take `.values`.", given=given)
        expect.kind(result, Tensor, given=given)  # later cells compare signatures place by place: `one == other`
        if result.shape == values.shape and len(hashes) > 1:
            raise Mistake("The smallest over the items is missing: (K,) is expected, yours is (items, K).", given=given)
        if result.shape == (1, len(a)) and len(hashes) > 1:
            raise Mistake("One row too many: (K,) is expected, yours is (1, K).", given=given)
        if result.is_floating_point():
            raise Mistake(
                "Your signature holds floating-point numbers; products of two 31-bit numbers need whole ones (int64), or the "
                "last digits are lost.",
                given=given,
            )
        for name, other in wrong.items():
            if (
                result.shape == other.shape
                and not (other.shape == wanted.shape and other.equal(wanted))
                and result.long().equal(other)
            ):
                raise Mistake(name, given=given, expected=wanted, yours=result)
        expect.equal(result, wanted, "Not the smallest (a x + b) mod prime over the items.", given=given)


@check(
    "01.3",
    title="Which copies to drop",
    reference="course_utils.text.deduplication:drop_copies",
    difficulty=3,
    minutes=10,
    points=3,
    asked="you have pairs of duplicates; which documents do you drop?",
    hints=[
        "These are the connected components of a graph; union-find keeps for each document a pointer to an earlier one of its group.",
        "`head(i)` follows the pointers until a document points to itself. For a pair, let the larger head point to the smaller one.",
        "At the end drop each i with `head(i) != i`.",
    ],
)
def check_drop_copies(candidate: Callable[[list[tuple[int, int]], int], list[int]]) -> None:
    cases = [
        ([(0, 2)], 4),
        ([], 3),
        ([(0, 3), (3, 5)], 6),
        ([(5, 3), (3, 0)], 6),
        ([(2, 4), (1, 4)], 5),
        ([(0, 4), (3, 4)], 5),
        ([(0, 4), (1, 3), (3, 4)], 6),
        ([(4, 5), (2, 3), (3, 4), (0, 1)], 7),
        ([(1, 2), (1, 2), (2, 1)], 3),
        ([(3, 6), (5, 6), (0, 5), (2, 4)], 8),
        ([(i, i + 1) for i in range(8, -1, -1)], 10),
        ([(1, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 0)], 10),  # 1 hears of 0 over five others
        ([], 0),
    ]
    results: list = []
    for pairs, count in cases:
        given = {"pairs": pairs, "count": count}
        result = candidate(pairs, count)
        if hasattr(result, "tolist"):
            result = result.tolist()
        result = list(result) if isinstance(result, tuple | range) else result
        if isinstance(result, set | frozenset) or (
            isinstance(result, list)
            and result != sorted(set(result))
            and sorted(set(result)) == deduplication.drop_copies(pairs, count)
        ):
            raise Mistake("Each number once, in rising order, as a list: `sorted(...)`.", given=given, yours=result)
        results.append(result)
    wrongs = [_wrong_drops(*case) for case in cases]
    named = [name for name in wrongs[0] if results == [wrong[name] for wrong in wrongs]]
    if not named and all(_one_stays(*case, result) for case, result in zip(cases, results, strict=True)):
        named = ["One of each group stays, but not always the one with the lowest number."]
    for (pairs, count), result in zip(cases, results, strict=True):
        expect.equal(
            result,
            deduplication.drop_copies(pairs, count),
            named[0] if named else "All but the first of each group are dropped.",
            given={"pairs": pairs, "count": count},
        )
    chain = [(i, i + 1) for i in range(1_998, -1, -1)]
    given = "pairs = [(1998, 1999), (1997, 1998), ..., (0, 1)]\ncount = 2000"
    try:
        dropped = candidate(chain, 2_000)
    except RecursionError:
        message = "A chain of 2,000 copies is too long for recursion: Python stops at 1,000 calls. Walk in a loop."
        raise Mistake(message, given=given) from None
    right = list(dropped) == list(range(1, 2_000))
    expect.that(right, "In a long chain of copies all but document 0 are dropped.", given=given, yours=dropped)


def _one_stays(pairs: list[tuple[int, int]], count: int, dropped: object) -> bool:
    """Whether exactly one document of each group is left, whichever it is."""
    if not isinstance(dropped, list):
        return False
    first = list(range(count))  # the lowest number of each document's group
    for one, other in pairs * count:
        first[one] = first[other] = min(first[one], first[other])
    return sorted(first[i] for i in range(count) if i not in dropped) == sorted(set(first))


def _wrong_drops(pairs: list[tuple[int, int]], count: int) -> dict[str, list[int]]:
    """What each mistake gives for one case."""
    wanted = deduplication.drop_copies(pairs, count)
    passes = "The labels are passed on a fixed number of times; a chain may be longer. Repeat until nothing changes."
    return {
        "The last document, number count - 1, is never looked at.": [i for i in wanted if i != count - 1],
        "Both documents of a pair are dropped: the text is lost altogether. One of each group stays.": sorted({i for pair in pairs for i in pair}),
        "The documents to keep are returned; those to drop are wanted.": [i for i in range(count) if i not in wanted],
        "Exactly the larger number of each pair goes. That misses groups whose first document is reached over another: with (2, 4) and (1, 4), 2 is a copy of 1. Join the *heads* of the two groups.": sorted({max(pair) for pair in pairs}),
        "The second entry of each pair is dropped as it stands; pairs may come in any order.": sorted({pair[1] for pair in pairs}),
        "Pairs are looked at one by one, and skipped if one of them is gone already: a copy of a copy stays.": _one_by_one(pairs),
        "Two groups that meet are not joined: a pair between them must make one group of both.": _never_joined(pairs, count),
        "Only the two documents of a pair get a new label, not the groups that they stand for. Label whole groups, or repeat until nothing changes.": _passed_on(pairs, count, 1),
        f"{passes} Twice is not enough.": _passed_on(pairs, count, 2),
        f"{passes} Three times is not enough.": _passed_on(pairs, count, 3),
        "The first of each pair is dropped; the one with the lowest number stays.": sorted({min(pair) for pair in pairs}),
    }  # fmt: skip


def _never_joined(pairs: list[tuple[int, int]], count: int) -> list[int]:
    """Groups as sets: a pair goes into the first group that holds one of it, and two groups never become one."""
    groups: list[set[int]] = []
    for pair in pairs:
        next((group for group in groups if group & set(pair)), groups.append(set()) or groups[-1]).update(pair)
    return sorted({i for group in groups if group for i in group - {min(group)}})


def _passed_on(pairs: list[tuple[int, int]], count: int, passes: int) -> list[int]:
    label = list(range(count))
    for _ in range(passes):
        for one, other in pairs:
            label[one] = label[other] = min(label[one], label[other])
    return [i for i in range(count) if label[i] != i]


def _one_by_one(pairs: list[tuple[int, int]]) -> list[int]:
    gone: set[int] = set()
    for one, other in pairs:
        if one not in gone and other not in gone:
            gone.add(max(one, other))
    return sorted(gone)


def _words_counted_once(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    return bpe.train_bpe(dict.fromkeys(words, 1), merges, min_frequency=1)


def _merged_otherwise(words: dict[str, int], merges: int, *, once: bool = False, replace: bool = False) -> list:
    """BPE that counts a pair once per word, or joins by `str.replace` on the tokens with spaces between."""
    split, done = {tuple(word): count for word, count in words.items()}, []
    vocabulary = sorted({letter for word in words for letter in word})
    while len(done) < merges:
        pairs: Counter = Counter()
        for tokens, count in split.items():
            found = list(zip(tokens, tokens[1:], strict=False))
            for pair in set(found) if once else found:
                pairs[pair] += count
        age = {token: i for i, token in enumerate(vocabulary)}
        new = len(age)
        best = min(pairs, key=lambda p: (-pairs[p], age.get(p[0], new), age.get(p[1], new)), default=None)  # noqa: B023
        if best is None or pairs[best] < 2:
            break
        done.append(best)
        vocabulary += [] if "".join(best) in age else ["".join(best)]
        joined: Counter = Counter()
        for tokens, count in split.items():
            by_text = " ".join(tokens).replace(" ".join(best), "".join(best)).split()
            joined[tuple(by_text) if replace else bpe.merge(tokens, best)] += count
        split = joined
    return done


def _never_recounted(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    counts = bpe.pair_counts({tuple(word): count for word, count in words.items()})
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:merges]


def train_bpe(words: dict[str, int], merges: int) -> list[tuple[str, str]]:
    """The first merges of byte-pair encoding (Sennrich et al. 2016): count pairs, take the best, join it everywhere."""
    split = {word: list(word) for word in words}
    age = {character: i for i, character in enumerate(sorted({c for word in words for c in word}))}
    made: list[tuple[str, str]] = []
    while len(made) < merges:
        counts: Counter = Counter()
        for word, tokens in split.items():
            for pair in zip(tokens, tokens[1:], strict=False):
                counts[pair] += words[word]
        most = max(counts.values(), default=0)
        if most < 2:
            break
        ties = [pair for pair, count in counts.items() if count == most]
        best = min(ties, key=lambda pair: (age[pair[0]], age[pair[1]]))
        made.append(best)
        age.setdefault(best[0] + best[1], len(age))  # two ways to the same token: it keeps its first age
        for tokens in split.values():
            i = 0
            while i < len(tokens) - 1:
                if (tokens[i], tokens[i + 1]) == best:
                    tokens[i : i + 2] = [best[0] + best[1]]
                i += 1
    return made


@check(
    "01.4",
    title="Train a byte-pair encoding",
    reference=train_bpe,
    difficulty=3,
    minutes=14,
    points=3,
    asked="write the training of a BPE tokenizer",
    hints=[
        "Keep each word as a tuple of tokens, `tuple(word)`, with its count. A step: count pairs, choose one, join it everywhere.",
        "`Counter` over `zip(tokens, tokens[1:])`, each pair with the count of its *word*. Choose with "
        "`min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]))`.",
        "`age` is the place in the vocabulary: `sorted` characters, then each new token at the end. To join, walk from left to right: "
        "if `tokens[i : i + 2] == pair`, append the joined token and go on by two places, else by one.",
    ],
)
def check_train_bpe(candidate: Callable[[dict[str, int], int], list[tuple[str, str]]]) -> None:
    cases = [
        ({"aab": 3, "ab": 2}, 1),
        ({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 4),
        ({"abc": 2, "xbc": 3, "ab": 4}, 2),
        ({"ba": 4, "ab": 4, "cd": 4}, 3),
        ({"zz": 2, "ay": 2, "azz": 3, "aya": 3}, 3),
        ({"aaaa": 3, "aaa": 2}, 3),
        ({"abab": 5, "abc": 3, "cab": 2, "bab": 1}, 4),
        ({"ab": 3, "xy": 1}, 5),
        ({"abcd": 4, "bcd": 3, "cd": 5, "dcd": 2, "dab": 2}, 6),
        ({"ĠThe": 7, "Ġthe": 9, "Ġthen": 4, "Ġhen": 4, "Ġten": 4}, 6),
        ({"xa": 9, "xab": 2, "ab": 6}, 3),
        ({"ccccc": 3}, 3),
        ({"aaa": 2, "bc": 3}, 2),
        ({"bbb": 1}, 4),
        ({"ab": 1, "cab": 1, "d": 5}, 3),  # no word twice, and yet a pair
        ({"ab": 3}, 5),
        ({"ab": 3}, 0),
        ({}, 2),
    ]
    for words, merges in cases:
        wanted = bpe.train_bpe(words, merges)
        given = {"words": dict(words), "merges": merges}
        try:
            result = candidate(words, merges)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            if len(wanted) == merges:
                raise
            message = "There is no pair left to be merged, and your code goes on. Stop there, with fewer merges."
            yours = f"{type(error).__name__}: {error}"
            raise Mistake(message, given=given, expected=wanted, yours=yours) from None
        expect.that(
            isinstance(result, list | tuple),
            "A list of pairs is wanted, the merges in order: `[(left, right), ...]`.",
            given=given,
            yours=type(result).__name__,
        )
        if result and all(isinstance(pair, str) for pair in result):
            raise Mistake(
                "The new tokens are returned; the pairs that were joined are wanted.", given=given, yours=result
            )
        result = [tuple(pair) for pair in result]
        if result == wanted:
            continue
        mistakes = {
            "A pair that occurs only once is not merged: stop before it.": bpe.train_bpe(words, merges, min_frequency=1),
            "Each word counts once; a pair counts as often as its word occurs.": _words_counted_once(words, merges),
            "A pair counts once for each word in yours; within one word it may stand several times, and each counts.": _merged_otherwise(words, merges, once=True),
            "`str.replace` also joins the end of one token with the next: in `xa b` the pair (a, b) does not stand.": _merged_otherwise(words, merges, replace=True),
            "The pairs are counted only once; after each merge the words look different, so count again.": _never_recounted(words, merges),
            "One merge too many or too few.": bpe.train_bpe(words, merges + 1),
            "Of equally frequent pairs yours takes another one than the oldest.": None,
        }  # fmt: skip
        for name, wrong in mistakes.items():
            if wrong is not None and wrong != wanted and result == wrong:
                raise Mistake(name, given=given, expected=wanted, yours=result)
        _explain_merges(words, merges, result, wanted, given)


def _explain_merges(
    words: dict[str, int], merges: int, yours: list[tuple[str, ...]], wanted: list[tuple[str, str]], given: object
) -> None:
    """Find the first merge that is wrong, and say why it is."""
    shown = {"given": given, "expected": wanted, "yours": yours}
    split = {tuple(word): count for word, count in words.items()}
    vocabulary = sorted({letter for word in words for letter in word})
    for step, right in enumerate(wanted):
        counts = bpe.pair_counts(split)
        if step >= len(yours):
            raise Mistake(
                f"There are only {len(yours)} merges; the next pair, {right}, occurs {counts[right]} times.", **shown
            )
        mine = yours[step]
        if mine != right:
            if len(mine) != 2 or mine not in counts:
                raise Mistake(
                    f"Merge {step + 1} joins {mine}, which are no neighbours by then. Were earlier merges made in every word, "
                    "from left to right, each token used once? (`aaa` becomes `aa a`.)",
                    **shown,
                )
            if counts[mine] == counts[right]:
                raise Mistake(
                    f"Merge {step + 1}: {mine} and {right} both occur {counts[right]} times, and {right} is older: compare the "
                    f"places in the vocabulary {vocabulary}, the left tokens first.",
                    **shown,
                )
            fewest = min(counts.values())
            if step == 0 and counts[mine] == fewest:
                raise Mistake(f"{mine} is the rarest pair ({fewest} times); the most frequent is joined.", **shown)
            raise Mistake(
                f"Merge {step + 1} joins {mine}, which occurs {counts[mine]} times; {right} occurs {counts[right]} times. Is "
                "each pair counted with the count of its word, also twice within one, and anew after each merge?",
                **shown,
            )
        split = _joined(split, right)
        if right[0] + right[1] not in vocabulary:
            vocabulary.append(right[0] + right[1])
    if len(wanted) < merges:
        raise Mistake("A pair that occurs only once is not merged: stop before it.", **shown)
    raise Mistake(f"There are {len(yours)} merges; {merges} were asked for.", **shown)


def _joined(split: dict[tuple[str, ...], int], pair: tuple[str, str]) -> dict[tuple[str, ...], int]:
    return {bpe.merge(tokens, pair): count for tokens, count in split.items()}


def pack_whole(lengths: list[int], row_length: int) -> list[list[int]]:
    """Rows of whole documents by best-fit decreasing: the longest first, each into the fullest row with room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r in range(len(rows)) if room[r] >= lengths[i]]
        if fitting:
            r = min(fitting, key=lambda r: room[r])
            rows[r].append(i)
            room[r] -= lengths[i]
        else:
            rows.append([i])
            room.append(row_length - lengths[i])
    return rows


@check(
    "01.5",
    title="Pack whole documents",
    reference=pack_whole,
    difficulty=2,
    minutes=8,
    points=2,
    asked="pack documents into rows without cutting any",
    hints=[
        "Go through the documents by falling length: `sorted(range(len(lengths)), key=lambda i: -lengths[i])`.",
        "Keep a second list with the room that is left in each row. Rows that fit: `room[r] >= lengths[i]`.",
        "Of those take the one with the least room, `min(fitting, key=lambda r: room[r])`; if there is none, open a new row.",
    ],
)
def check_pack_whole(candidate: Callable[[list[int], int], list[list[int]]]) -> None:
    generator = torch.Generator().manual_seed(5)
    long = torch.randint(3, 60, (60,), generator=generator).tolist()
    cases = [
        ([4, 6], 10),
        ([7, 7, 3], 10),
        ([10, 10], 10),
        ([3, 3, 7, 7], 10),
        ([2, 3, 4, 6, 5], 10),
        ([8, 7, 3, 2], 10),
        ([7, 6, 4, 3], 10),
        (long, 64),
        ([], 10),
    ]
    results = []
    for lengths, row_length in cases:
        given = {"lengths": lengths, "row_length": row_length}
        result = candidate(lengths, row_length)
        results.append(result)
        expect.that(
            isinstance(result, list | tuple) and all(isinstance(row, list | tuple) for row in result),
            "A list of rows is wanted, each a list of numbers of documents.",
            given=given,
            yours=result,
        )
        placed = sorted(i for row in result for i in row)
        shown = {"given": given, "yours": result}
        if placed != list(range(len(lengths))):
            if sorted(placed) == sorted(lengths) and placed != list(range(len(lengths))):
                raise Mistake(
                    "The rows hold lengths; the numbers of the documents are wanted (their places in the list).",
                    **shown,
                )
            if placed == sorted(lengths.index(length) for length in lengths):
                raise Mistake(
                    "Documents of the same length all get the number of the first: `lengths.index` finds no other. Sort "
                    "the numbers, not the lengths.",
                    **shown,
                )
            if len(placed) < len(lengths):
                raise Mistake(
                    "A document is missing. Is the last row kept, and does a document that fits nowhere open a new row?",
                    **shown,
                )
            raise Mistake("A document is in two rows, or does not exist; each is in exactly one row.", **shown)
        expect.that(all(len(row) for row in result), "There is an empty row; it wastes row_length tokens.", **shown)
        for row in result:
            filled = sum(lengths[i] for i in row)
            if filled > row_length:
                raise Mistake(f"A row holds {filled} tokens; at most {row_length} fit.", **shown)
    rows = [len(result) for result in results]
    named = [name for name, count in _OTHER_WAYS if rows == [count(*case) for case in cases]]
    # The shortest first, and the longest first into the last row only, need as many rows; the first row tells them apart.
    longest_first = max(range(len(long)), key=long.__getitem__) in results[cases.index((long, 64))][0]
    named = [name for name in named if not (longest_first and name.startswith("The shortest"))]
    for (lengths, row_length), result in zip(cases, results, strict=True):
        fewest = len(pack_whole(lengths, row_length))
        if len(result) > fewest:
            reason = (
                named[0]
                if named
                else "The longest documents first, and each into the fullest row that has room for it: "
                "small ones fill the gaps at the end."
            )
            raise Mistake(
                f"{len(result)} rows, and {fewest} are enough. {reason}",
                given={"lengths": lengths, "row_length": row_length},
                yours=result,
            )


def _rows(
    lengths: list[int], row_length: int, *, order: int = -1, strict: bool = False, choose: str = "fullest"
) -> int:
    """How many rows another way needs. order: -1 longest first, 1 shortest first, 0 as they come."""
    room: list[int] = []
    for length in sorted(lengths, key=lambda n: order * n):
        fitting = [r for r in range(len(room)) if (room[r] > length if strict else room[r] >= length)]
        if choose == "newest":
            fitting = [r for r in fitting if r == len(room) - 1]
        if not fitting:
            room.append(row_length - length)
            continue
        pick = {"first": fitting[0], "emptiest": max(fitting, key=room.__getitem__), "last": fitting[-1]}
        room[pick.get(choose, min(fitting, key=room.__getitem__))] -= length
    return len(room)


_CHOICES = ("fullest", "first", "emptiest", "last")
_OTHER_WAYS: list[tuple[str, Callable[[list[int], int], int]]] = [
    ("Each document has a row of its own.", lambda lengths, row_length: len(lengths)),
    *(
        (message, partial(_rows, order=order, choose=choose))
        for message, order in (
            ("The documents are taken in the order in which they come; take the longest first.", 0),
            ("The shortest documents come first; take the longest first.", 1),
        )
        for choose in _CHOICES
    ),
    (
        "Each goes into the emptiest row; take the fullest that has room: large gaps are kept for large documents.",
        partial(_rows, choose="emptiest"),
    ),
    *(
        (
            "A document that fills its row exactly to the end also fits: `>=`, not `>`.",
            partial(_rows, strict=True, choose=c),
        )
        for c in _CHOICES
    ),
    *(
        (
            "Only the last row is looked at; earlier ones may have room, too.",
            partial(_rows, order=order, choose="newest"),
        )
        for order in (-1, 0, 1)
    ),
]
