"""Learning-rate schedules: a linear warm-up, then a decay that reaches its floor just behind the last step."""

from __future__ import annotations

import math

SCHEDULES = ("linear", "cosine", "constant")


def learning_rate(
    step: int, *, peak: float, steps: int, warmup_steps: int = 0, schedule: str = "linear", min_lr_ratio: float = 0.0
) -> float:
    """The learning rate of optimizer step ``step`` (0 is the first one) in a run of ``steps``.

    During warm-up it is ``peak * (step + 1) / warmup_steps``, so the first step already moves and the peak is reached
    exactly at the end of warm-up. After it, with ``p = (step - warmup_steps) / (steps - warmup_steps)`` in [0, 1):

    - ``linear``    ``peak * (min_lr_ratio + (1 - min_lr_ratio) * (1 - p))``
    - ``cosine``    ``peak * (min_lr_ratio + (1 - min_lr_ratio) * (1 + cos(pi p)) / 2)``  (arXiv 1608.03983, equation 5)
    - ``constant``  ``peak``

    ``min_lr_ratio``, the floor as a share of the peak, is reached at ``step == steps``, where ``p = 1``: one step after
    the last, which is ``steps - 1``, so that no step of a decay to 0 is wasted. From there on the rate stays.
    Raises ValueError for an unknown schedule or a negative step.
    """
    if step < 0:
        raise ValueError(f"step is {step}; steps count from 0, the first one.")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}.")
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    shape = 1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return peak * (min_lr_ratio + (1 - min_lr_ratio) * shape)
