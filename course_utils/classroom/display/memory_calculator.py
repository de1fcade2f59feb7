"""A calculator: what training a model of some size keeps on each device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from course_utils.classroom.display.plots import COLOURS

if TYPE_CHECKING:
    from course_utils.training.memory import Memory

PARTS = ("weights", "gradients", "optimizer", "activations")
TEXT = "font-family: system-ui, sans-serif; font-size: 13px"
DASHED = "border-left: 2px dashed black"


def memory_calculator() -> Any:
    """Choices of model, ranks, ZeRO stage, tokens and checkpointing; below them the bill of one device as a bar.

    Mixed precision with AdamW, by the formulas of ``course_utils.training.memory``. Returns an ipywidgets box, which
    also has ``controls`` (name -> widget) and ``picture`` (the HTML widget that they change).
    """
    import ipywidgets as widgets

    from course_utils.classroom.display.controls import panel
    from course_utils.models.counting import LLAMA2
    from course_utils.models.decoder import DecoderConfig
    from course_utils.training.memory import training_memory

    sizes = {"1 M": DecoderConfig(vocab_size=1536), **LLAMA2}  # the course's own, and those of Llama 2
    wide = {"style": {"description_width": "9em"}, "layout": widgets.Layout(width="32em")}
    controls = {
        "model": widgets.Dropdown(options=list(sizes), value="7 B", description="model", **wide),
        "ranks": widgets.Dropdown(options=[1, 2, 4, 8, 16, 64, 512], description="devices", **wide),
        "stage": widgets.Dropdown(options=[0, 1, 2, 3], description="ZeRO stage", **wide),
        "tokens": widgets.Dropdown(
            options=[512, 1024, 2048, 4096, 8192, 16_384, 32_768], value=4096, description="tokens on each", **wide
        ),
        "checkpointing": widgets.Checkbox(False, description="activation checkpointing", **wide),
    }
    picture = widgets.HTML()

    def draw(_: object = None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        picture.value = memory_bar(training_memory(sizes[chosen.pop("model")], chosen.pop("tokens"), **chosen))

    for control in controls.values():
        control.observe(draw, "value")
    draw()
    box = panel(controls, picture)
    box.controls, box.picture = controls, picture
    return box


def memory_bar(memory: Memory, device: float = 80e9) -> str:
    """HTML: the four parts as one bar, a dashed line at a device of ``device`` bytes, and the figures in words."""
    tiny = memory.total < device / 100  # to scale it would be a thin line: then the bar shows the shares alone
    full = memory.total if tiny else max(memory.total, device)
    pieces = "".join(
        f'<div title="{part}" style="width: {100 * getattr(memory, part) / full:.3f}%; background: {colour}"></div>'
        for part, colour in zip(PARTS, COLOURS, strict=False)
    )
    words = ", ".join(
        f'<span style="color: {colour}">&#9632;</span> {part} {_amount(getattr(memory, part))}'
        for part, colour in zip(PARTS, COLOURS, strict=False)
    )
    where = f"position: absolute; left: calc({100 * device / full:.3f}% - 2px); top: -4px; height: 38px"
    line = "" if tiny else f'<div style="{where}; {DASHED}"></div>'
    verdict = "fits on" if memory.total <= device else "does not fit on"
    legend = "bar not to scale" if tiny else "dashed line"
    return (
        f'<div style="{TEXT}; max-width: 46em; margin: 6px">'
        '<div style="position: relative; height: 30px; background: #eeeeee; border: 1px solid #888888">'
        f'<div style="display: flex; height: 100%">{pieces}</div>'
        f"{line}"
        f"</div><div>{words}</div>"
        f"<div><b>{_amount(memory.total)}</b> on each device: {verdict} one of {_amount(device)} ({legend}).</div>"
        "</div>"
    )


def _amount(size: float) -> str:
    """1,610,000,000 bytes are "1.61 GB"."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"
