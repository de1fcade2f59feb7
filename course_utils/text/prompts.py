"""Prompts written by hand: examples, one to a line, and a last line that stops where the answer begins."""

from __future__ import annotations

from collections.abc import Sequence


def few_shot_prompt(
    examples: Sequence[tuple[str, str]], question: str, between: str = ": ", after: str = "\n", instruction: str = ""
) -> str:
    """A few-shot prompt (Brown et al., arXiv 2005.14165, section 2): k finished examples, then the question.

    examples: (question, answer) pairs, in the order in which they are to be read; none for zero-shot. ``between``
    stands between a question and its answer, ``after`` after each answer; ``instruction`` is a line before all.
    The prompt ends after the question with ``between``, its spaces at the end taken off: in most tokenizers the
    space belongs to the answer's first token, and a prompt that ends with one asks for a word without it.
    Raises ValueError for a question that is blank.
    """
    if not question.strip():
        raise ValueError("the question is blank; a few-shot prompt ends with the question that is to be answered.")
    head = instruction + after if instruction else ""
    shots = "".join(f"{asked}{between}{answer}{after}" for asked, answer in examples)
    return head + shots + question + between.rstrip(" ")
