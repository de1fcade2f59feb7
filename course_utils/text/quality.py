"""Is this a text worth reading? Cheap signals of one document, and a small model of the language that it is in.

Each signal is a hypothesis about what bad text looks like, and each has good text that looks so too: always count what
a threshold throws away, by kind (Dodge et al., arXiv 2104.08758, section 5, count whom C4's word list removed).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log

PUNCTUATION = set(".,;:!?'\"()-+=/{}[]")


@dataclass(frozen=True)
class Signals:
    """What can be counted about a text. Shares lie between 0 and 1."""

    words: int
    wordlike: float  # share of words with a letter in them (Gopher asks for 0.8: arXiv 2112.11446, appendix A.1.1)
    odd_signs: float  # share of characters that are no letters, digits, spaces or usual punctuation
    repeated: float  # share of sentences that stood in the same text before
    sentences: int


def signals(text: str) -> Signals:
    """The signals of one text. Raises ValueError for a blank one, which has none."""
    words = text.split()
    if not words:
        raise ValueError(f"the text {text!r} is blank; drop such documents first.")
    sentences = [part.strip().lower() for part in re.split(r"(?<=[.!?])\s+|\n", text) if part.strip()]
    odd = sum(not (letter.isalnum() or letter.isspace() or letter in PUNCTUATION) for letter in text)
    return Signals(
        words=len(words),
        wordlike=sum(any(letter.isalpha() for letter in word) for word in words) / len(words),
        odd_signs=odd / len(text),
        repeated=1 - len(set(sentences)) / len(sentences),
        sentences=len(sentences),
    )


def trigrams(text: str) -> Counter[str]:
    """How often each run of three letters or spaces occurs; digits and signs count as spaces."""
    line = " " + " ".join(re.findall(r"[^\W\d_]+", text.lower())) + " "
    return Counter(line[i : i + 3] for i in range(len(line) - 2))


class LanguageGuesser:
    """Tell languages apart by their runs of three letters (Cavnar and Trenkle 1994; here with naive Bayes)."""

    def __init__(self, samples: Mapping[str, Iterable[str]]) -> None:
        """``samples``: some texts of each language. Raises ValueError for fewer than two languages."""
        if len(samples) < 2:
            raise ValueError(f"there are samples of {len(samples)} languages; two or more are needed to choose from.")
        self.counts = {name: sum((trigrams(text) for text in texts), Counter()) for name, texts in samples.items()}
        self.known = set().union(*self.counts.values())
        self.total = {name: counts.total() + 0.5 * len(self.known) for name, counts in self.counts.items()}

    def scores(self, text: str) -> dict[str, float]:
        """Mean log-probability of a trigram, in nats, under each language. Trigrams that no sample holds say nothing
        and are left out; if all are, the scores are equal."""
        found = {trigram: count for trigram, count in trigrams(text).items() if trigram in self.known}
        return {
            name: sum(k * log((counts[t] + 0.5) / self.total[name]) for t, k in found.items())
            / max(1, sum(found.values()))
            for name, counts in self.counts.items()
        }

    def guess(self, text: str) -> str:
        """The likeliest language; the first one, if nothing speaks for any."""
        scores = self.scores(text)
        return max(scores, key=scores.__getitem__)

    def margin(self, text: str, language: str) -> float:
        """By how many nats per trigram ``language`` is likelier than the best other one; below 0 if it is not."""
        scores = self.scores(text)
        return scores.pop(language) - max(scores.values())


class WordPairModel:
    """A bigram model of words: how surprising is a text? The perplexity filter of CCNet (arXiv 1911.00359) in its
    smallest form. All numbers are one word, and so are all words that the sample holds only once."""

    def __init__(self, texts: Sequence[str], weight: float = 0.8) -> None:
        """``texts``: a sample that somebody has looked through. ``weight``: of the pair, beside the single word."""
        if not texts or not 0 <= weight < 1:
            raise ValueError(
                f"{len(texts)} texts and weight {weight}; a text or more and a weight from 0 to 1 are expected."
            )
        self.weight = weight
        single = Counter(word for text in texts for word in _words(text))
        self.vocabulary = {word for word, count in single.items() if count > 1}
        self.single: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        for text in texts:
            line = self._line(text)
            self.single.update(line[1:])
            self.pairs.update(zip(line, line[1:], strict=False))
        self.before: Counter[str] = Counter()
        for (left, _), count in self.pairs.items():
            self.before[left] += count
        self.total = self.single.total()

    def _line(self, text: str) -> list[str]:
        return ["<start>", *(w if w in self.vocabulary else "<rare>" for w in _words(text))]

    def loss(self, text: str) -> float:
        """Nats per word. Raises ValueError for a text without one."""
        line = self._line(text)
        if len(line) == 1:
            raise ValueError(f"the text {text!r} has no word; drop such documents first.")
        nats = 0.0
        for left, right in zip(line, line[1:], strict=False):
            alone = (self.single[right] + 0.5) / (self.total + 0.5 * (len(self.vocabulary) + 1))
            after = self.pairs[left, right] / self.before[left] if self.before[left] else alone
            nats -= log(self.weight * after + (1 - self.weight) * alone)
        return nats / (len(line) - 1)

    def order_gain(self, text: str, tries: int = 3) -> float:
        """Nats per word that the order of the words saves: the mean loss of ``tries`` shuffled copies, minus the loss.

        About 0 for words in no order. It asks a text about itself, so short lists with rare names are not punished for
        being unlike the sample, as they are by the loss.
        """
        words = _words(text)
        generator = random.Random(text)  # the same text gives the same copies
        shuffled = (" ".join(generator.sample(words, len(words))) for _ in range(tries))
        return sum(self.loss(copy) for copy in shuffled) / tries - self.loss(text)


def _words(text: str) -> list[str]:
    """Words and signs of their own, in lower case; each number is ``0``."""
    return ["0" if w.isdigit() else w for w in re.findall(r"[^\W\d_]+|\d+|[^\w\s]", text.lower())]
