"""Planted bugs and other right answers of chapter 00."""

import math
import re

import numpy as np


def exact_plain(answer, reference):
    return answer == reference


def exact_inside(answer, reference):
    answer, reference = (" ".join(text.lower().split()).rstrip(".") for text in (answer, reference))
    return bool(answer) and reference in answer


def exact_one_side(answer, reference):
    answer = " ".join(answer.lower().split()).rstrip(".")
    return bool(answer) and answer == reference.lower()


def exact_words(answer, reference):
    return bool(answer) and set(re.findall(r"\w+", answer.lower())) == set(re.findall(r"\w+", reference.lower()))


def exact_all_signs(answer, reference):
    clean = [" ".join(re.sub(r"[^\w\s]", "", text.lower()).split()) for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_empty(answer, reference):
    clean = [" ".join(text.lower().split()).rstrip(".") for text in (answer, reference)]
    return clean[0] == clean[1]


def exact_number(answer, reference):
    clean = [" ".join(text.lower().split()).rstrip(".") for text in (answer, reference)]
    return float(bool(clean[0]) and clean[0] == clean[1])


def exact_single_spaces_kept(answer, reference):
    clean = [text.lower().strip().rstrip(".") for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_stop_in_front(answer, reference):
    clean = [" ".join(text.lower().split()).strip(".") for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_more_signs(answer, reference):
    clean = [" ".join(text.lower().split()).rstrip(".!?,") for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_no_spaces(answer, reference):
    clean = ["".join(text.lower().split()).rstrip(".") for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_stop_is_an_answer(answer, reference):
    clean = [" ".join(text.lower().split()).rstrip(".") for text in (answer, reference)]
    return bool(answer) and clean[0] == clean[1]


def _clean(text):
    return " ".join(text.lower().split()).rstrip(".")


def exact_first_letter(answer, reference):
    clean = [
        " ".join((text.strip()[:1].lower() + text.strip()[1:]).split()).rstrip(".") for text in (answer, reference)
    ]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_first_letters_of_words(answer, reference):
    clean = [" ".join(w[0].lower() + w[1:] for w in text.split()).rstrip(".") for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_without_articles(answer, reference):
    clean = [" ".join(w for w in _clean(text).split() if w not in ("a", "an", "the")) for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_stop_of_each_word(answer, reference):
    clean = [" ".join(word.rstrip(".") for word in text.lower().split()).strip() for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_spaces_only(answer, reference):
    clean = [re.sub("[ \n]+", " ", text).strip().lower().rstrip(".") for text in (answer, reference)]
    return bool(clean[0]) and clean[0] == clean[1]


def exact_by_numpy(answer, reference):
    clean = np.array([" ".join(text.lower().split()).rstrip(".") for text in (answer, reference)])
    return (clean[0] == clean[1]) & np.not_equal(clean[0], "")  # an np.bool_


def exact_one_stop(answer, reference):
    def form(text):
        return " ".join(text.casefold().strip().removesuffix(".").split())

    return form(answer) != "" and form(answer) == form(reference)


def exact_by_regex(answer: str, reference: str) -> bool:
    first, second = (re.sub(r"\s+", " ", text).strip().lower() for text in (answer, reference))
    first, second = (re.sub(r"\.$", "", text) for text in (first, second))
    return len(first) > 0 and first == second


def bits_replaced(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return drawn * math.log2(items)


def bits_in_nats(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return sum(math.log(items - i) for i in range(drawn))


def bits_without_order(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return math.log2(math.comb(items, drawn))


def bits_one_off(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return sum(math.log2(items - i) for i in range(1, drawn + 1) if items > i)


def bits_of_sum(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return math.log2(sum(items - i for i in range(drawn)) or 1)


def bits_rounded_up(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return sum(math.ceil(math.log2(items - i)) for i in range(drawn))


def bits_unchecked(items, drawn):
    return sum(math.log2(max(items - i, 1)) for i in range(drawn))


def bits_below_none(items, drawn):
    if drawn > items:
        raise ValueError("too many")
    return float(sum(math.log2(items - i) for i in range(drawn)))


def bits_by_permutations(items, drawn):
    return math.log2(math.perm(items, drawn))  # log2(0) raises the ValueError


def bits_recursive(items: int, drawn: int) -> float:
    if drawn == 0:
        return 0.0
    if items < 1:
        raise ValueError(f"nothing left to draw {drawn} from")
    return math.log2(items) + bits_recursive(items - 1, drawn - 1)


def bits_by_gamma(items, drawn):
    if drawn > items or drawn < 0:
        raise ValueError(drawn)
    return (math.lgamma(items + 1) - math.lgamma(items - drawn + 1)) / math.log(2)


def minutes_in_seconds(parameters, tokens, flops_per_second, utilization):
    if not 0 < utilization <= 1:
        raise ValueError(utilization)
    return 6 * parameters * tokens / (flops_per_second * utilization)


def minutes_forward(parameters, tokens, flops_per_second, utilization):
    if not 0 < utilization <= 1:
        raise ValueError(utilization)
    return 2 * parameters * tokens / (flops_per_second * utilization) / 60


def minutes_times_share(parameters, tokens, flops_per_second, utilization):
    if not 0 < utilization <= 1:
        raise ValueError(utilization)
    return 6 * parameters * tokens / flops_per_second * utilization / 60


def minutes_at_peak(parameters, tokens, flops_per_second, utilization):
    if not 0 < utilization <= 1:
        raise ValueError(utilization)
    return 6 * parameters * tokens / flops_per_second / 60


def minutes_unchecked(parameters, tokens, flops_per_second, utilization):
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


def minutes_check_percent(parameters, tokens, flops_per_second, utilization):
    if not 0 < utilization <= 2:
        raise ValueError("a share is expected")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


def minutes_rounded(parameters, tokens, flops_per_second, utilization):
    return round(minutes_in_steps(parameters, tokens, flops_per_second, utilization))


def minutes_cut_off(parameters, tokens, flops_per_second, utilization):
    return minutes_in_steps(parameters, tokens, flops_per_second, utilization) // 1


def minutes_by_assert(parameters, tokens, flops_per_second, utilization):
    assert 0 < utilization <= 1
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


def minutes_lets_nan_pass(parameters, tokens, flops_per_second, utilization):
    if utilization <= 0 or utilization > 1:
        raise ValueError("the utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


def minutes_in_steps(parameters, tokens, flops_per_second, utilization):
    if not 0 < utilization <= 1:
        raise ValueError("the utilization is a share")
    forward = 2 * parameters * tokens
    work = forward + 2 * forward
    return work / flops_per_second / utilization / 60


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "00.1": {
        exact_plain: "Only the capitals differ. Compare lower-case texts.",
        exact_inside: "The answer contains the reference and says more. Exact match is `==`, not `in`: who names every town would always be right.",
        exact_one_side: "The stop stands in the reference this time. Clean both texts, not one.",
        exact_words: "The same words in another order say another thing.",
        exact_all_signs: "Only a final stop is forgiven. Other signs count: JSON is made of them.",
        exact_empty: "An empty answer matches nothing, not even an empty reference.",
        exact_number: "Your function returns a float instead of a bool.",
        exact_single_spaces_kept: "Runs of spaces should count as one space.",
        exact_stop_in_front: "A stop at the front counts. `rstrip` takes from the end alone, `strip` from both.",
        exact_more_signs: "An exclamation mark counts; only the full stop at the end is forgiven.",
        exact_no_spaces: "A space between letters counts: make runs of spaces one space, not none.",
        exact_stop_is_an_answer: "A stop alone is an empty answer: look whether anything is left *after* cleaning.",
        exact_first_letter: "Capitals differ all over. Lower the whole text.",
        exact_first_letters_of_words: "Capitals differ all over. Lower the whole text.",
        exact_without_articles: "An article is a word: it counts here (SQuAD drops it).",
        exact_stop_of_each_word: "A stop inside the text counts, also at the end of a word.",
        exact_spaces_only: "A tab is a space too: `split()` without an argument knows them all.",
    },
    "00.2": {
        bits_replaced: "You draw with replacement. A thing that was drawn is gone: the next choice is among one fewer.",
        bits_in_nats: "That is the natural logarithm: nats, not bits. Use `math.log2`.",
        bits_without_order: "You leave out the order. The things come one after the other, and each order is another result.",
        bits_one_off: "The first choice is among all the things, not among one fewer.",
        bits_of_sum: "This is the logarithm of a sum. Possibilities multiply from choice to choice; logarithms add.",
        bits_rounded_up: "Each choice is rounded up to whole bits. Bits are a measure and no count: a choice among 6 has 2.58.",
        bits_unchecked: "Four things cannot be drawn from three: raise a ValueError.",
        bits_below_none: "Fewer than no things cannot be drawn: raise a ValueError for -1.",
    },
    "00.3": {
        minutes_in_seconds: "These are seconds; minutes are wanted.",
        minutes_forward: "That is the forward pass alone (2 operations per parameter). The backward pass costs 4 more.",
        minutes_times_share: "You multiply by the utilization. A machine that reaches half its speed takes twice as long.",
        minutes_at_peak: "The utilization is left out.",
        minutes_unchecked: "A utilization of 40 is a percentage in the place of a share: raise a ValueError.",
        minutes_by_assert: "A utilization of 40 is a percentage in the place of a share: raise a ValueError.",
        minutes_check_percent: "No machine reaches one and a half times what it can do: raise a ValueError above 1.",
        minutes_rounded: "The minutes are rounded to a whole number; return them as they are.",
        minutes_lets_nan_pass: "A utilization of NaN passes, because every comparison with NaN is false.",
        minutes_cut_off: "The part after the point is cut off; return the minutes as they are, with `/`, not `//` or `int`.",
    },
}
RIGHT = {
    "00.1": [exact_one_stop, exact_by_regex, exact_by_numpy],
    "00.2": [bits_by_permutations, bits_recursive, bits_by_gamma],
    "00.3": [minutes_in_steps],
}
