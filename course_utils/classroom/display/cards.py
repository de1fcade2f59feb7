"""Cards: what the classroom shows, as HTML for people with a browser and as text for everything else.

Only inline styles are used, and each colour is mixed with that of the text around it, so a card reads well on light and
dark pages, in print, and, where a viewer strips styles, as plain paragraphs. A card holds no clock and no random id:
the same event gives the same bytes.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# tone -> (mark, colour of heading and edge, tint of the background)
_TONES = {
    "right": ("✓", "color-mix(in srgb, #2e7d32 60%, currentColor)", "rgba(46, 160, 67, 0.10)"),
    "wrong": ("✗", "color-mix(in srgb, #c62828 60%, currentColor)", "rgba(229, 57, 53, 0.09)"),
    "neutral": ("○", "currentColor", "rgba(128, 128, 128, 0.10)"),
    "note": ("◆", "color-mix(in srgb, #1565c0 60%, currentColor)", "rgba(33, 118, 210, 0.09)"),
    "hint": ("➤", "color-mix(in srgb, #b26a00 60%, currentColor)", "rgba(245, 166, 35, 0.12)"),
}
_FONT = "font-family: var(--jp-content-font-family, system-ui, sans-serif); font-size: 14px; line-height: 1.5"
_MONO = "font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 13px"


@dataclass
class Card:
    """One card. ``rows`` are (name, text) pairs shown in a monospaced table; ``folded`` are (summary, text) pairs."""

    tone: str
    title: str
    message: str = ""
    rows: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    folded: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def text(self) -> str:
        """The plain-text form."""
        lines = [f"{_TONES[self.tone][0]} {self.title}"]
        lines += [f"  {line}" for line in self.message.splitlines()]
        width = max((len(name) for name, _ in self.rows), default=0)
        for name, value in self.rows:
            first, *rest = value.splitlines() or [""]
            lines.append(f"  {name.ljust(width)}  {first}")
            lines += [f"  {' ' * width}  {line}" for line in rest]
        lines += [f"  {note}" for note in self.notes]
        for summary, body in self.folded:
            lines += [f"  {summary}", *(f"    {line}" for line in body.splitlines())]
        return "\n".join(lines)

    def html(self) -> str:
        """The HTML form; all text is escaped, `code` between back-ticks is set as code."""
        mark, colour, tint = _TONES[self.tone]
        parts = [f'<div style="color: {colour}; font-weight: 600">{mark}&ensp;{inline(self.title)}</div>']
        if self.message:
            paragraphs = "<br>".join(inline(line) for line in self.message.splitlines())
            parts.append(f'<div style="margin-top: 4px">{paragraphs}</div>')
        if self.rows:
            cells = "".join(
                '<tr style="background: none"><td style="text-align: left; vertical-align: top; white-space: nowrap; '
                f'padding: 3px 18px 3px 0; opacity: 0.75">{html.escape(name)}</td>'
                f'<td style="text-align: left; padding: 3px 0">{_pre(value, "0")}</td></tr>'
                for name, value in self.rows
            )
            parts.append(f'<table style="margin: 8px 0 2px 0; border: none">{cells}</table>')
        for note in self.notes:
            parts.append(f'<div style="margin-top: 4px; opacity: 0.8; font-size: 13px">{inline(note)}</div>')
        for summary, body in self.folded:
            parts.append(
                f'<details style="margin-top: 6px"><summary style="cursor: pointer">{inline(summary)}</summary>'
                f"{_pre(body, '6px 0 0 0')}</details>"
            )
        return frame("".join(parts), colour, tint)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def _pre(text: str, margin: str) -> str:
    # JupyterLab breaks lines inside words in a <pre>; here a line breaks between words wherever it can
    wrap = "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere"
    style = f"margin: {margin}; padding: 0; {_MONO}; {wrap}; background: none"
    return f'<pre style="{style}">{html.escape(text)}</pre>'


def frame(body: str, colour: str = _TONES["note"][1], tint: str = _TONES["note"][2]) -> str:
    """``body`` (HTML) inside the card's frame."""
    return (
        f'<div style="border-left: 4px solid {colour}; background-color: {tint}; border-radius: 4px; '
        f'padding: 10px 16px; margin: 4px 0; max-width: 60em; {_FONT}">{body}</div>'
    )


def inline(text: str) -> str:
    """Escaped text with `code` between back-ticks and **bold** set as such."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", rf'<code style="{_MONO}">\1</code>', escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


def bar(done: int, total: int, width: int = 10) -> str:
    """A small text bar: ``bar(2, 4, 4)`` is '■■□□'."""
    filled = round(width * done / total) if total else 0
    return "■" * filled + "□" * (width - filled)


def dots(level: int, of: int = 4) -> str:
    """Difficulty as dots: ``dots(2)`` is '●●○○'."""
    return "●" * level + "○" * (of - level)


def show(card: Any) -> None:
    """Display a card (anything with ``_repr_mimebundle_``) in a notebook; elsewhere print its text."""
    if in_notebook():
        from IPython.display import display

        display(card._repr_mimebundle_(), raw=True)
    else:
        print(card.text())


def in_notebook() -> bool:
    """True inside a Jupyter kernel."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")


def has_person() -> bool:
    """True where a button makes sense: in JupyterLab, say, and not under nbval, nbconvert or nbgrader.

    Headless runs tell the kernel that nobody is there to answer `input()`.
    """
    if not in_notebook():
        return False
    kernel = sys.modules["IPython"].get_ipython().kernel
    return bool(getattr(kernel, "_allow_stdin", False))
