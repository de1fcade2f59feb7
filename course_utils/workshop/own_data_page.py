"""What ``course data check`` found, on one page and on a model card. The page needs nothing but a browser."""

from __future__ import annotations

import html

import numpy as np

from course_utils.recipes.own_data import Trial
from course_utils.text.data_check import DataCheck

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2em auto; padding: 0 1em; color: #1c1c1c }
table { border-collapse: collapse } td, th { padding: 2px 16px 2px 0; text-align: left; vertical-align: top }
img { max-width: 100% } code { background: #f2f2f2; padding: 0 3px }
"""


def page(found: DataCheck, lengths: np.ndarray, trial: Trial | None = None) -> str:
    """The page as HTML. lengths: tokens of each sequence."""
    title = f"Data check: {html.escape(found.source)}"
    facts = {
        "format": found.format,
        "layout": found.layout,
        "rows": f"{found.rows:,}: {found.good:,} good, {found.bad:,} that cannot be used",
        "tokens": f"{found.tokens:,}, counted with {found.tokenizer}",
        "lengths": ", ".join(f"{name} {value:,}" for name, value in found.lengths.items()),
        "digest of the tokens": found.digest,
    }
    body = [f"<h1>{title}</h1>", _table(facts), "<h2>Lengths</h2>", lengths_picture(lengths, found.limit)]
    body += [f"<p>{html.escape(text)}</p>" for text in (found.truncation(), found.sides())]
    body.append(f"<h2>{found.bad:,} rows that cannot be used</h2>")
    if found.bad:
        more = "" if found.bad <= len(found.problems) else f" The first {len(found.problems)}:"
        body.append(
            f"<p>All are in <code>problems.jsonl</code>, unchanged in <code>rejected/</code>.{more}</p>"
            f"<ul>{''.join(f'<li>{html.escape(problem)}</li>' for problem in found.problems)}</ul>"
        )
    body += [f"<p>Note: {html.escape(note)}</p>" for note in found.notes]
    if trial is not None:
        body += ["<h2>Trained</h2>", _table(_trained(trial)), before_after(trial), f"<p>{html.escape(_limits())}</p>"]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def card(found: DataCheck, trial: Trial) -> str:
    """The model card, in Markdown."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in _trained(trial).items())
    return f"""# Model card

Trained on {found.source} ({found.layout}): {trial.rows:,} of {found.train:,} rows, by {trial.recipe.method}.

| | |
|---|---|
{rows}
| rows checked | {found.rows:,}, of which {found.bad:,} could not be used |
| digest of the tokens | {found.digest} |

{found.truncation()}

{found.sides()}

{_limits()}
"""


def _trained(trial: Trial) -> dict[str, str]:
    recipe = trial.recipe
    return {
        "method": f"{recipe.method}, {recipe.steps} steps of {recipe.batch_size} rows, learning rate "
        f"{recipe.learning_rate:g}, seed {recipe.seed}",
        "figure": trial.figure,
        "before": str(trial.before),
        "after": str(trial.after),
        "change": str(trial.change),
        "over": f"{trial.held_out} held-out rows in {trial.groups} groups",
        "verdict": trial.verdict(),
    } | ({"left out": "; ".join(trial.notes)} if trial.notes else {})


def _limits() -> str:
    return (
        "The intervals say how much the figures would move with other rows of this kind, drawn by groups. They say "
        "nothing about another training run, about questions of another kind, or about what the model can no longer "
        "do: measure that with questions of your own."
    )


def _table(rows: dict[str, str]) -> str:
    lines = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<table>{lines}</table>"


def lengths_picture(lengths: np.ndarray, limit: int) -> str:
    """How many sequences have how many tokens, with a line at the limit, as an img tag with its alt text."""
    edges = 2 ** np.arange(0, max(2, int(lengths.max()).bit_length() + 1))
    counts, _ = np.histogram(lengths, edges)
    names = [f"{low} to {high - 1}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return _bars(
        dict(zip(names, counts.tolist(), strict=True)), f"Lengths; the model reads {limit} tokens", "sequences"
    )


def before_after(trial: Trial) -> str:
    """The figure before and after training with its intervals, as an img tag with its alt text."""
    return _bars({"before": trial.before.as_bar(), "after": trial.after.as_bar()}, "On held-out rows", trial.figure)


def _bars(bars: dict, title: str, y: str) -> str:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from course_utils.classroom.display.alt_text import figure_html
    from course_utils.classroom.display.plots import use_style

    use_style()
    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    middles = [value[0] if isinstance(value, tuple) else value for value in bars.values()]
    spans = [(v[0] - v[1], v[2] - v[0]) if isinstance(v, tuple) else None for v in bars.values()]
    errors = np.abs(np.array(spans, dtype=float)).T if None not in spans else None
    axes.bar(list(bars), middles, yerr=errors, capsize=4)
    axes.set_title(title)
    axes.set_ylabel(y)
    axes.tick_params(axis="x", rotation=30 if len(bars) > 4 else 0)
    picture = figure_html(figure)
    plt.close(figure)
    return picture
