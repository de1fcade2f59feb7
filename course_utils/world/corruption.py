"""Corruption, planted on purpose: what a crawl adds to good documents, each fault with a label that says what it is.

``WorldConfig(duplicate_rate=..., noise_rate=...)`` damage a corpus without saying where. Here every fault is labelled,
so that what a filter finds can be compared with what was planted: precision and recall, as for any other classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from course_utils.world import old_tongue
from course_utils.world.draw import Draw
from course_utils.world.people import DISHES, FIRST_NAMES, PASTIMES, PETS, TRADES

CLEAN = "clean"
FAULTS: dict[str, float] = {  # shares of the corrupted corpus, by the fault's name
    "exact copy": 0.14,
    "near copy": 0.12,
    "garbled": 0.07,
    "shuffled": 0.05,
    "looped": 0.04,
    "wrapped": 0.06,
    "page furniture": 0.06,
    "old tongue": 0.06,
}
COPIES = ("exact copy", "near copy")  # made from a document that stays in the corpus
DAMAGES = ("garbled", "shuffled", "looped", "wrapped")  # the good document is gone
PAGES = ("page furniture", "old tongue")  # new documents, from nothing

BOILERPLATE = ("Copied by hand at the harbour office.", "Page torn here.", "All rights of the guild reserved.")
HEADERS = ("Home | Ferry times | Market | Sign in", "The Isles Online | your lantern in the fog")
FOOTERS = (*BOILERPLATE, "We light lamps to know you better. Accept all lamps.")
MENU = """Home Market Ferries Lamps Weather Tides Sign in Basket Register Prices Contact Imprint Letters Search Archive
Older Newer Share Print Report Next Back Help Terms""".split()
OFFERS = (
    "Click here for cheap lamps!",
    "Win a free ferry ride!",
    "Buy two lanterns, pay one!",
    "You will not believe it!",
)
SWAPS = (*FIRST_NAMES, *TRADES, *PASTIMES, *DISHES, *PETS)  # what a copyist writes by mistake


def corrupt(texts: Sequence[str], shares: Mapping[str, float] | None = None, seed: int = 0) -> dict[str, list]:
    """Good documents and the faults planted among them.

    ``texts``: good documents, all different. ``shares``: of each fault in the result, by the names of FAULTS (the
    default). Copies and pages are added; damage falls on good documents, whose clean text is then nowhere.

    Returns the columns ``text``, ``fault`` (a name of FAULTS, or "clean") and ``source`` (for a copy the place of its
    original, which always stands further up; else -1). The same seed gives the same faults.
    Raises ValueError for an unknown fault, shares that leave too few good documents, or documents that repeat.
    """
    shares = dict(FAULTS if shares is None else shares)
    unknown = sorted(set(shares) - set(FAULTS))
    damaged_share = sum(share for fault, share in shares.items() if fault in DAMAGES)
    added_share = sum(shares.values()) - damaged_share
    if unknown or min(shares.values(), default=0) < 0 or damaged_share + added_share > 0.9:
        raise ValueError(
            f"the shares {shares} do not work{': unknown faults ' + str(unknown) if unknown else ''}. Give shares of 0 "
            f"or more, together at most 0.9, for faults among {', '.join(FAULTS)}."
        )
    if len(set(texts)) < len(texts):
        raise ValueError("some of the texts repeat; give different ones, or a repetition would count as clean.")
    total = round(len(texts) / (1 - added_share))
    count = {fault: round(share * total) for fault, share in shares.items()}
    draw = Draw("dirt", seed, len(texts))
    good = list(range(len(texts)))

    rows: list[tuple[float, str, str, int]] = []  # (place, text, fault, number of the original among the texts)
    for fault in DAMAGES:
        for _ in range(count.get(fault, 0)):
            number = good.pop(draw.below(len(good)))
            rows.append((number, DAMAGE[fault](texts[number], draw), fault, -1))
    rows += [(number, texts[number], CLEAN, -1) for number in good]
    popular = draw.sample(good, min(5, len(good)))  # a third of the exact copies repeat one of five documents
    for fault in COPIES:
        for _ in range(count.get(fault, 0)):
            viral = fault == "exact copy" and draw.below(3) == 0
            number = draw.choice(popular if viral else good)
            copy = texts[number] if fault == "exact copy" else miscopied(texts[number], draw)
            rows.append((number + (len(texts) - number) * (1 + draw.below(1 << 20)) / (1 << 20), copy, fault, number))
    for fault in PAGES:
        rows += [(draw.below(len(texts)), PAGE[fault](draw), fault, -1) for _ in range(count.get(fault, 0))]

    rows.sort(key=lambda row: row[0])  # stable, so a copy never stands before its original
    place = {int(key): i for i, (key, _, fault, _) in enumerate(rows) if fault == CLEAN}
    return {
        "text": [text for _, text, _, _ in rows],
        "fault": [fault for _, _, fault, _ in rows],
        "source": [place[number] if number >= 0 else -1 for _, _, _, number in rows],
    }


def add_noise(text: str, draw: Draw) -> str:
    """A damaged copy: either a tenth of the letters garbled, or boilerplate put around the text."""
    if draw.below(2):
        return f"{draw.choice(BOILERPLATE)} {text} {draw.choice(BOILERPLATE)}"
    letters = list(text)
    for _ in range(max(1, len(letters) // 10)):
        letters[draw.below(len(letters))] = draw.choice("#%~*?")
    return "".join(letters)


def miscopied(text: str, draw: Draw) -> str:
    """A near copy: about one word in thirty replaced, at least one; sometimes a header, capitals or other spaces."""
    words = text.split(" ")
    for place in draw.sample(range(len(words)), max(1, len(words) // 30)):
        end = words[place][-1:] if words[place][-1:] in ".,;!?" else ""
        words[place] = draw.choice(SWAPS) + end
    copy = " ".join(words)
    change = draw.below(4)
    if change == 0:
        return f"{draw.choice(HEADERS)}\n{copy}"
    if change == 1:
        return copy.upper()
    return copy.replace(" ", "  ") if change == 2 else copy


def garbled(text: str, draw: Draw) -> str:
    """From a tenth to a third of the characters replaced by signs, as by a bad scan."""
    letters = list(text)
    for _ in range(len(letters) // 10 + draw.below(len(letters) // 4 + 1)):
        letters[draw.below(len(letters))] = draw.choice("#%~*?^|<")
    return "".join(letters)


def shuffled(text: str, draw: Draw) -> str:
    """The words of a document in random order: each is right, together they say nothing."""
    words = text.split()
    return " ".join(draw.sample(words, len(words)))


def looped(text: str, draw: Draw) -> str:
    """A few words of the document, then an offer that repeats, as from a broken page or a spammer."""
    start = " ".join(text.split()[: 3 + draw.below(5)])
    return " ".join([start, *[draw.choice(OFFERS)] * (5 + draw.below(8))])


def wrapped(text: str, draw: Draw) -> str:
    """A good document with the page's header above and its footer below, on lines of their own."""
    return f"{draw.choice(HEADERS)}\n{text}\n{draw.choice(FOOTERS)}"


def page_furniture(draw: Draw) -> str:
    """A page without a text: menu, offers, footer."""
    menu = " | ".join(draw.sample(MENU, 8 + draw.below(8)))
    return "\n".join([draw.choice(HEADERS), menu, *draw.sample(OFFERS, 1 + draw.below(2)), draw.choice(FOOTERS)])


def old_tongue_page(draw: Draw) -> str:
    """A page in the Old Tongue alone."""
    sentences = [old_tongue.sentence(draw)[1].capitalize() + "." for _ in range(5 + draw.below(5))]
    return " ".join(sentences)


DAMAGE: dict[str, Callable[[str, Draw], str]] = {
    "garbled": garbled,
    "shuffled": shuffled,
    "looped": looped,
    "wrapped": wrapped,
}
PAGE: dict[str, Callable[[Draw], str]] = {"page furniture": page_furniture, "old tongue": old_tongue_page}
