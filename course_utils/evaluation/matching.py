"""Exact match of two texts, the simplest judge of an answer."""

from __future__ import annotations

from course_utils.world.oracle import normalise


def is_exact_match(answer: str, reference: str) -> bool:
    """True if two texts are the same but for capitals, spaces and a final stop. An empty answer matches nothing.

    Question answering has been scored so since SQuAD (arXiv 1606.05250, section 6.1), whose rule also drops articles
    and all punctuation.
    """
    return bool(normalise(answer)) and normalise(answer) == normalise(reference)
