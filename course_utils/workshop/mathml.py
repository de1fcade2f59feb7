"""A Sphinx extension: formulas as MathML, drawn by the browser or the reader without any script."""

from __future__ import annotations

from typing import Any

_SAID_OTHERWISE = {  # what latex2mathml 3.81 would leave as it is
    "&&": "&",
    r"\arg": r"\operatorname{arg}",
    r"\begin{aligned}": r"\begin{array}{rll}",
    r"\end{aligned}": r"\end{array}",
    r"\textstyle": "",
}


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
    from latex2mathml.converter import convert
    from sphinx.util import logging

    text = node.astext()
    for known, instead in _SAID_OTHERWISE.items():
        text = text.replace(known, instead)
    try:
        written = convert(text, display=display)
    except Exception as error:
        written = f"\\ {error!r}"
    if "\\" in written or "<mi>&</mi>" in written:  # a command that it left as it was
        logging.getLogger(__name__).warning(f"no MathML for {text!r}: {written[-300:]}", location=node)
    translator.body.append(written + end)
    raise nodes.SkipNode
