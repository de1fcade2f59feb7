# %% 00.1 wrong: an empty answer matches an empty reference
def is_exact_match(answer: str, reference: str) -> bool:
    def plain(text):
        return " ".join(text.lower().split()).removesuffix(".").strip()

    return plain(answer) == plain(reference)


# %% 00.1 wrong: runs of spaces inside the text are not made one
def is_exact_match(answer: str, reference: str) -> bool:
    def plain(text):
        return text.strip().lower().removesuffix(".").strip()

    return bool(plain(answer)) and plain(answer) == plain(reference)


# %% 00.1 wrong: line breaks do not count as spaces
def is_exact_match(answer: str, reference: str) -> bool:
    import re

    def plain(text):
        return re.sub(" +", " ", text.lower()).strip(" ").removesuffix(".").strip(" ")

    return plain(answer) != "" and plain(answer) == plain(reference)


# %% 00.1 wrong: only the answer loses its final stop
def is_exact_match(answer: str, reference: str) -> bool:
    said = " ".join(answer.lower().split()).removesuffix(".").strip()
    wanted = " ".join(reference.lower().split())
    return len(said) > 0 and said == wanted


# %% 00.1 wrong: all punctuation is taken away
def is_exact_match(answer: str, reference: str) -> bool:
    import string

    def plain(text):
        return text.lower().translate(str.maketrans("", "", string.punctuation)).split()

    return len(plain(answer)) > 0 and plain(answer) == plain(reference)


# %% 00.1 wrong: stops inside the text are taken away too
def is_exact_match(answer: str, reference: str) -> bool:
    said, wanted = (" ".join(text.lower().replace(".", "").split()) for text in (answer, reference))
    return said != "" and said == wanted


# %% 00.1 wrong: the order of the words does not count
def is_exact_match(answer: str, reference: str) -> bool:
    def words(text):
        return sorted(" ".join(text.lower().split()).removesuffix(".").split())

    return bool(words(answer)) and words(answer) == words(reference)


# %% 00.1 wrong: it calls itself for ever
def is_exact_match(answer: str, reference: str) -> bool:
    if not answer.strip():
        return False
    return is_exact_match(answer.strip().lower().removesuffix("."), reference.strip().lower().removesuffix("."))


# %% 00.1 right: tersely with split and join
def is_exact_match(answer: str, reference: str) -> bool:
    a, b = (" ".join(text.lower().split()).removesuffix(".").strip() for text in (answer, reference))
    return a == b != ""


# %% 00.1 right: sign by sign in a loop
def is_exact_match(answer: str, reference: str) -> bool:
    cleaned = []
    for text in (answer, reference):
        kept = ""
        for sign in text:
            if sign.isspace():
                if kept != "" and kept[-1] != " ":
                    kept += " "
            else:
                kept += sign.lower()
        if kept.endswith(" "):
            kept = kept[:-1]
        if kept.endswith("."):
            kept = kept[:-1]
        if kept.endswith(" "):
            kept = kept[:-1]
        cleaned.append(kept)
    if cleaned[0] == "":
        return False
    return cleaned[0] == cleaned[1]


# %% 00.1 right: with regular expressions
def is_exact_match(answer: str, reference: str) -> bool:
    import re

    def plain(text):
        return re.sub(r"\s+", " ", re.sub(r"\s*\.?\s*\Z", "", text)).lstrip().casefold()

    said = plain(answer)
    return bool(said) and said == plain(reference)


# %% 00.2 wrong: natural logarithm
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log

    if drawn < 0 or drawn > items:
        raise ValueError("impossible draw")
    return float(sum(log(items - i) for i in range(drawn)))


# %% 00.2 wrong: each thing is put back
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn < 0 or drawn > items:
        raise ValueError("impossible draw")
    return drawn * log2(items) if drawn else 0.0


# %% 00.2 wrong: the order is not counted
def bits_of_draw(items: int, drawn: int) -> float:
    from math import comb, log2

    if not 0 <= drawn <= items:
        raise ValueError("impossible draw")
    return log2(comb(items, drawn))


# %% 00.2 wrong: one draw too few
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if not 0 <= drawn <= items:
        raise ValueError("impossible draw")
    bits = 0.0
    for i in range(1, drawn):
        bits += log2(items - i + 1)
    return bits


# %% 00.2 wrong: fewer than none counts as none
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn > items:
        raise ValueError("not so many things")
    return sum((log2(items - i) for i in range(drawn)), 0.0)


# %% 00.2 wrong: to draw all of them is refused
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn < 0 or drawn >= items:
        raise ValueError("impossible draw")
    return sum((log2(items - i) for i in range(drawn)), 0.0)


# %% 00.2 wrong: the product overflows when many are drawn
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if not 0 <= drawn <= items:
        raise ValueError("impossible draw")
    ways = 1.0
    for i in range(drawn):
        ways *= items - i
    return log2(ways)


# %% 00.2 wrong: an assertion instead of a ValueError
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    assert 0 <= drawn <= items, "impossible draw"
    return sum((log2(items - i) for i in range(drawn)), 0.0)


# %% 00.2 right: tersely by the number of ways
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2, perm

    return log2(perm(items, drawn))  # perm refuses negative numbers, log2 refuses 0 ways


# %% 00.2 right: by a loop
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn < 0 or drawn > items:
        raise ValueError(f"cannot draw {drawn} of {items}")
    bits, left = 0.0, items
    for _ in range(drawn):
        bits += log2(left)
        left -= 1
    return bits


# %% 00.2 right: with numpy
def bits_of_draw(items: int, drawn: int) -> float:
    import numpy as np

    if drawn < 0 or drawn > items:
        raise ValueError(f"cannot draw {drawn} of {items}")
    return float(np.log2(np.arange(items - drawn + 1, items + 1, dtype=float)).sum())


# %% 00.3 wrong: seconds instead of minutes
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization)


# %% 00.3 wrong: the backward pass is forgotten
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return 2 * parameters * tokens / (flops_per_second * utilization) / 60


# %% 00.3 wrong: multiplied by the utilization for lack of brackets
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / flops_per_second * utilization / 60


# %% 00.3 wrong: a percentage is converted instead of refused
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if utilization > 1:
        utilization /= 100
    if utilization <= 0:
        raise ValueError("utilization must be above 0")
    return 6 * parameters * tokens / (flops_per_second * utilization * 60)


# %% 00.3 wrong: full utilization is refused
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization < 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization * 60)


# %% 00.3 wrong: utilization 0 divides by zero
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if utilization < 0 or utilization > 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization * 60)


# %% 00.3 wrong: a utilization that is not a number passes
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if utilization <= 0 or utilization > 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization * 60)


# %% 00.3 wrong: only whole minutes
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return float(6 * parameters * tokens / (flops_per_second * utilization) // 60)


# %% 00.3 right: tersely
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError(utilization)
    return parameters * tokens / flops_per_second / utilization / 10


# %% 00.3 right: step by step in a loop
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if utilization > 0 and utilization <= 1:
        operations = 1.0
        for factor in (6, parameters, tokens):
            operations *= factor
        for divisor in (flops_per_second, utilization, 60):
            operations /= divisor
        return operations
    raise ValueError(f"utilization must be above 0 and at most 1, not {utilization}; 40 % is 0.4")


# %% 00.3 right: forward and backward apart, with the clock of the library
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    from math import prod

    if not (0 < utilization and utilization <= 1):
        raise ValueError("a share above 0, at most 1")
    forward = prod((2.0, parameters, tokens))
    backward = 2 * forward
    reached = flops_per_second * utilization
    seconds = (forward + backward) / reached
    return seconds / 60


# %% 00.1 wrong: every stop is removed, not only the final one
def is_exact_match(answer: str, reference: str) -> bool:
    def clean(text):
        return " ".join(text.lower().replace(".", "").split())

    return clean(answer) != "" and clean(answer) == clean(reference)

# %% 00.1 wrong: all spaces are removed, so that two words match one
def is_exact_match(answer: str, reference: str) -> bool:
    def clean(text):
        return "".join(text.lower().split()).removesuffix(".")

    return bool(clean(answer)) and clean(answer) == clean(reference)

# %% 00.1 wrong: tabs and line breaks inside the text do not count as spaces
def is_exact_match(answer: str, reference: str) -> bool:
    import re

    def clean(text):
        return re.sub(" +", " ", text.strip().lower()).removesuffix(".").strip()

    return len(clean(answer)) > 0 and clean(answer) == clean(reference)

# %% 00.1 wrong: a lone stop or nothing matches an empty reference
def is_exact_match(answer: str, reference: str) -> bool:
    def clean(text):
        return " ".join(text.casefold().split()).rstrip(" .")

    if not answer:
        return False
    return clean(answer) == clean(reference)

# %% 00.1 wrong: the reference keeps its final stop
def is_exact_match(answer: str, reference: str) -> bool:
    said = " ".join(answer.lower().split()).removesuffix(".").rstrip()
    return said != "" and said == " ".join(reference.lower().split())

# %% 00.1 wrong: other signs at the ends are stripped too
def is_exact_match(answer: str, reference: str) -> bool:
    import string

    def clean(text):
        return " ".join(text.lower().split()).strip(string.punctuation + " ")

    return clean(answer) != "" and clean(answer) == clean(reference)

# %% 00.1 right: cleaned in one expression
def is_exact_match(answer: str, reference: str) -> bool:
    a, b = (" ".join(t.lower().split()).removesuffix(".").rstrip() for t in (answer, reference))
    return a != "" and a == b

# %% 00.1 right: letter by letter into lists of words
def is_exact_match(answer: str, reference: str) -> bool:
    cleaned = []
    for text in (answer, reference):
        words, word = [], ""
        for sign in text.lower():
            if sign.isspace():
                if word:
                    words.append(word)
                word = ""
            else:
                word = word + sign
        if word:
            words.append(word)
        if words and words[-1][-1] == ".":
            words[-1] = words[-1][:-1]
            if words[-1] == "":
                words.pop()
        cleaned.append(words)
    if len(cleaned[0]) == 0:
        return False
    return cleaned[0] == cleaned[1]

# %% 00.2 wrong: everything is put back
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if not 0 <= drawn <= items:
        raise ValueError("cannot draw so many")
    return float(drawn * log2(items)) if drawn else 0.0

# %% 00.2 wrong: the order is not counted (another)
def bits_of_draw(items: int, drawn: int) -> float:
    from math import comb, log2

    if drawn < 0 or drawn > items:
        raise ValueError("cannot draw so many")
    return log2(comb(items, drawn))

# %% 00.2 wrong: the quotient of factorials is too large for a float
def bits_of_draw(items: int, drawn: int) -> float:
    from math import factorial, log2

    if drawn < 0 or drawn > items:
        raise ValueError("cannot draw so many")
    return log2(factorial(items) / factorial(items - drawn))

# %% 00.2 wrong: fewer than none gives 0 bits instead of an error
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn > items:
        raise ValueError("more are drawn than there are")
    return float(sum(log2(items - i) for i in range(drawn)))

# %% 00.2 wrong: drawing all of them is refused
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn == 0:
        return 0.0
    if drawn < 0 or drawn >= items:
        raise ValueError("cannot draw so many")
    return sum(log2(items - i) for i in range(drawn))

# %% 00.2 wrong: calls itself for one draw less, without a first case
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn > items or drawn < 0:
        raise ValueError("cannot draw so many")
    return bits_of_draw(items, drawn - 1) + log2(items - drawn + 1)

# %% 00.2 right: permutations, whose logarithm raises the error by itself
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2, perm

    return log2(perm(items, drawn))

# %% 00.2 right: one draw after the other
def bits_of_draw(items: int, drawn: int) -> float:
    from math import log2

    if drawn < 0:
        raise ValueError(f"{drawn} is fewer than none")
    if drawn > items:
        raise ValueError(f"only {items} things, not {drawn}")
    bits, left = 0.0, items
    while left > items - drawn:
        bits += log2(left)
        left -= 1
    return bits

# %% 00.3 wrong: NaN passes both comparisons
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    if utilization <= 0 or utilization > 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60

# %% 00.3 wrong: full utilization is refused (another)
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    if not 0 < utilization < 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60

# %% 00.3 wrong: a percentage is silently made a share
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    if utilization > 1:
        utilization /= 100
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return parameters * tokens * 6 / flops_per_second / utilization / 60

# %% 00.3 wrong: rounded down to whole minutes
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens // (60 * flops_per_second * utilization)

# %% 00.3 wrong: an assertion instead of a ValueError
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    assert 0 < utilization <= 1, "utilization is a share"
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60

# %% 00.3 wrong: the seconds are returned
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization)

# %% 00.3 right: two lines
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    if not 0 < utilization <= 1: raise ValueError(utilization)  # noqa: E701
    return parameters * tokens / flops_per_second / utilization / 10

# %% 00.3 right: forward and backward pass added in a loop
def training_minutes(parameters: float, tokens: float, flops_per_second: float, utilization: float) -> float:
    import math

    if math.isnan(utilization) or utilization <= 0 or utilization > 1:
        raise ValueError("utilization must be above 0 and at most 1")
    operations = 0.0
    for per_parameter in (2, 4):  # forward, backward
        operations += per_parameter * float(parameters) * float(tokens)
    seconds = operations / (flops_per_second * utilization)
    return seconds / 60

# %% 00.1 wrong: a stop at the beginning is taken away as well
def is_exact_match(answer: str, reference: str) -> bool:
    def plain(text):
        return " ".join(text.lower().split()).strip(". ")

    return plain(answer) != "" and plain(answer) == plain(reference)


# %% 00.1 wrong: looks for an empty answer before the stop is gone, so a lone stop matches a lone stop
def is_exact_match(answer: str, reference: str) -> bool:
    if not answer.strip():
        return False
    mine, theirs = (" ".join(text.split()).lower().removesuffix(".").strip() for text in (answer, reference))
    return mine == theirs


# %% 00.1 wrong: only the answer loses its final stop, the reference keeps it
def is_exact_match(answer: str, reference: str) -> bool:
    mine = " ".join(answer.lower().split())
    if mine.endswith("."):
        mine = mine[:-1].strip()
    return bool(mine) and mine == " ".join(reference.lower().split())


# %% 00.1 right: with regular expressions (a third)
import re


def is_exact_match(answer: str, reference: str) -> bool:
    clean = [re.sub(r"\s+", " ", re.sub(r"\s*\.?\s*$", "", text)).strip().lower() for text in (answer, reference)]
    return clean[0] != "" and clean[0] == clean[1]


# %% 00.2 wrong: drawing everything is refused
from math import log2


def bits_of_draw(items: int, drawn: int) -> float:
    if drawn < 0 or drawn >= items:
        raise ValueError("cannot draw so many")
    return float(sum(log2(items - i) for i in range(drawn)))


# %% 00.2 wrong: divides factorials in floating point, which overflows when hundreds are drawn
from math import factorial, log2


def bits_of_draw(items: int, drawn: int) -> float:
    if not 0 <= drawn <= items:
        raise ValueError("cannot draw so many")
    return log2(factorial(items) / factorial(items - drawn))


# %% 00.2 wrong: fewer than none gives 0 bits and no error
from math import log2


def bits_of_draw(items: int, drawn: int) -> float:
    if drawn > items:
        raise ValueError("more drawn than there are")
    bits = 0.0
    for left in range(items, items - drawn, -1):
        bits += log2(left)
    return bits


# %% 00.2 right: in one line, since perm and log2 raise the ValueError themselves
from math import log2, perm


def bits_of_draw(items: int, drawn: int) -> float:
    return log2(perm(items, drawn))


# %% 00.3 wrong: NaN passes, as no comparison with it is true
def training_minutes(
    parameters: float,  # N
    tokens: float,  # D
    flops_per_second: float,  # R, what the machine can do
    utilization: float,  # U, the share of R that is reached
) -> float:
    if utilization <= 0 or utilization > 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


# %% 00.3 wrong: a utilization of exactly 1 is refused
def training_minutes(
    parameters: float,  # N
    tokens: float,  # D
    flops_per_second: float,  # R, what the machine can do
    utilization: float,  # U, the share of R that is reached
) -> float:
    if not 0 < utilization < 1:
        raise ValueError("utilization is a share")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


# %% 00.3 wrong: checks, and then calls itself for the arithmetic without end
def training_minutes(
    parameters: float,  # N
    tokens: float,  # D
    flops_per_second: float,  # R, what the machine can do
    utilization: float,  # U, the share of R that is reached
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share")
    return training_minutes(parameters, tokens, flops_per_second * utilization, 1.0)


# %% 00.3 right: seconds for one token first
def training_minutes(
    parameters: float,  # N
    tokens: float,  # D
    flops_per_second: float,  # R, what the machine can do
    utilization: float,  # U, the share of R that is reached
) -> float:
    if utilization > 0 and utilization <= 1:
        for_one_token = (2 + 4) * parameters / flops_per_second / utilization
        return for_one_token * tokens / 60
    raise ValueError(f"utilization must lie above 0 and be at most 1, not {utilization}")


# %% 00.1 wrong: takes stops away at both ends, so that ".5" equals "5"
def is_exact_match(answer: str, reference: str) -> bool:
    def tidy(text: str) -> str:
        return " ".join(text.lower().split()).strip(".")

    mine, theirs = tidy(answer), tidy(reference)
    return bool(mine) and mine == theirs


# %% 00.1 wrong: removes every stop, not only the final one
def is_exact_match(answer: str, reference: str) -> bool:
    def tidy(text: str) -> str:
        return " ".join(text.lower().replace(".", "").split())

    return tidy(answer) != "" and tidy(answer) == tidy(reference)


# %% 00.1 wrong: only the answer loses its final stop, the reference keeps it, again
def is_exact_match(answer: str, reference: str) -> bool:
    answer = " ".join(answer.lower().split())
    reference = " ".join(reference.lower().split())
    if answer.endswith("."):
        answer = answer[:-1].rstrip()
    if not answer:
        return False
    return answer == reference


# %% 00.1 wrong: looks for emptiness before the stop is gone, so "." matches "."
def is_exact_match(answer: str, reference: str) -> bool:
    if not answer.strip():
        return False
    words = [" ".join(text.split()).lower().removesuffix(".") for text in (answer, reference)]
    return words[0] == words[1]


# %% 00.1 wrong: only blanks are collapsed, tabs and line breaks inside stay
def is_exact_match(answer: str, reference: str) -> bool:
    import re

    def tidy(text: str) -> str:
        text = re.sub(" +", " ", text.strip().lower())
        return text[:-1].strip() if text.endswith(".") else text

    a, b = tidy(answer), tidy(reference)
    return len(a) > 0 and a == b


# %% 00.1 right: split, join, removesuffix
def is_exact_match(answer: str, reference: str) -> bool:
    def tidy(text: str) -> str:
        return " ".join(text.lower().split()).removesuffix(".")

    mine = tidy(answer)
    return mine != "" and mine == tidy(reference)


# %% 00.1 right: sign by sign, in a loop
def is_exact_match(answer: str, reference: str) -> bool:
    cleaned = []
    for text in (answer, reference):
        words, word = [], ""
        for sign in text.lower():
            if sign.isspace():
                if word:
                    words.append(word)
                word = ""
            else:
                word += sign
        if word:
            words.append(word)
        if words and words[-1].endswith("."):
            words[-1] = words[-1][:-1]
            if not words[-1]:
                words.pop()
        cleaned.append(words)
    if not cleaned[0]:
        return False
    return cleaned[0] == cleaned[1]


# %% 00.2 wrong: puts things back
def bits_of_draw(items: int, drawn: int) -> float:
    if drawn < 0 or drawn > items:
        raise ValueError("cannot draw so many")
    if drawn == 0:
        return 0.0
    return drawn * log2(items)


# %% 00.2 wrong: the order is forgotten, combinations instead of permutations
def bits_of_draw(items: int, drawn: int) -> float:
    from math import comb

    if not 0 <= drawn <= items:
        raise ValueError(f"{drawn} of {items}?")
    return log2(comb(items, drawn))


# %% 00.2 wrong: a product of floats, which overflows to infinity for hundreds
def bits_of_draw(items: int, drawn: int) -> float:
    if drawn < 0 or drawn > items:
        raise ValueError("drawn must lie between 0 and items")
    ways = 1.0
    for i in range(drawn):
        ways *= items - i
    return log2(ways)


# %% 00.2 wrong: a negative number of draws is not refused
def bits_of_draw(items: int, drawn: int) -> float:
    if drawn > items:
        raise ValueError("more things are drawn than there are")
    return float(sum(log2(items - i) for i in range(drawn)))


# %% 00.2 wrong: refuses to draw everything
def bits_of_draw(items: int, drawn: int) -> float:
    if drawn < 0 or drawn >= items:
        raise ValueError("not enough items")
    total = 0.0
    for left in range(items, items - drawn, -1):
        total += log2(left)
    return total


# %% 00.2 right: logarithm of the exact number of permutations
def bits_of_draw(items: int, drawn: int) -> float:
    import math

    if drawn < 0 or drawn > items:
        raise ValueError("drawn must be from 0 to items")
    return math.log2(math.perm(items, drawn))


# %% 00.3 wrong: seconds, not minutes
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization is a share, above 0 and at most 1")
    return 6 * parameters * tokens / (flops_per_second * utilization)


# %% 00.3 wrong: NaN passes the check
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if utilization <= 0 or utilization > 1:
        raise ValueError("utilization must be above 0 and at most 1")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


# %% 00.3 wrong: precedence, multiplies by the utilization
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError("utilization must be above 0 and at most 1")
    return 6 * parameters * tokens / flops_per_second * utilization / 60


# %% 00.3 wrong: a utilization of exactly 1 is refused, again
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization < 1:
        raise ValueError("utilization must lie between 0 and 1")
    seconds = 6 * parameters * tokens / (flops_per_second * utilization)
    return seconds / 60


# %% 00.3 wrong: quietly takes 40 for 40 %
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if utilization > 1:
        utilization = utilization / 100
    if not 0 < utilization <= 1:
        raise ValueError("utilization must be a share or a percentage")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


# %% 00.3 right: the formula in one line
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    if not 0 < utilization <= 1:
        raise ValueError(f"utilization is a share above 0 and at most 1, not {utilization}")
    return 6 * parameters * tokens / (flops_per_second * utilization) / 60


# %% 00.3 right: step by step, forward and backward counted apart
def training_minutes(
    parameters: float,
    tokens: float,
    flops_per_second: float,
    utilization: float,
) -> float:
    import math

    if math.isnan(utilization) or utilization <= 0 or utilization > 1:
        raise ValueError("utilization out of range")
    forward = 2 * parameters
    backward = 2 * forward
    operations = (forward + backward) * tokens
    per_minute = flops_per_second * utilization * 60
    return operations / per_minute
