"""Formulas as MathML, which browsers and readers draw themselves, without a script; and the Sphinx extension for it."""

from __future__ import annotations

from typing import Any

_SAID_OTHERWISE = {  # what latex2mathml 3.81 would leave as it is
    "&&": "&",
    r"\arg": r"\operatorname{arg}",
    r"\begin{aligned}": r"\begin{array}{rll}",
    r"\end{aligned}": r"\end{array}",
    r"\textstyle": "",
}


def to_mathml(tex: str, display: str = "inline") -> str:
    """``tex`` as a ``<math>`` element. display: 'inline' or 'block'. ValueError for an unknown command."""
    from latex2mathml.converter import convert

    text = tex
    for known, instead in _SAID_OTHERWISE.items():
        text = text.replace(known, instead)
    try:
        written = convert(text, display=display)
    except Exception as error:
        raise ValueError(f"no MathML for {tex!r}: {error!r}") from error
    if "\\" in written or "<mi>&</mi>" in written:  # a command that it left as it was
        raise ValueError(f"no MathML for {tex!r}: a command in it is unknown.")
    return written


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: Any) -> None:
    _write(translator, node, "inline")


def _block(translator: Any, node: Any) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    _write(translator, node, "block", "</div>")


def _write(translator: Any, node: Any, display: str, end: str = "") -> None:
    from docutils import nodes
    from sphinx.util import logging

    try:
        translator.body.append(to_mathml(node.astext(), display) + end)
    except ValueError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
        translator.body.append(end)
    raise nodes.SkipNode
