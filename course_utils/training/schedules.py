"""Learning-rate schedules: a linear warm-up, then a decay that reaches its floor just after the last step."""

from __future__ import annotations

import math

SCHEDULES = ("linear", "cosine", "wsd", "constant")


def learning_rate(
    step: int,
    *,
    peak: float,
    steps: int,
    warmup_steps: int = 0,
    schedule: str = "linear",
    decay_steps: int | None = None,
    min_lr_ratio: float = 0.0,
) -> float:
    """The learning rate of optimizer step ``step`` (0 is the first one) in a run of ``steps``.

    During warm-up it is ``peak * (step + 1) / warmup_steps``, so the first step already moves and the peak is reached
    exactly at the end of warm-up. After it, with ``p = (step - warmup_steps) / (steps - warmup_steps)`` in [0, 1):

    - ``linear``    ``peak * (min_lr_ratio + (1 - min_lr_ratio) * (1 - p))``
    - ``cosine``    ``peak * (min_lr_ratio + (1 - min_lr_ratio) * (1 + cos(pi p)) / 2)``  (arXiv 1608.03983, equation 5)
    - ``wsd``       ``peak`` until ``decay_steps`` before the end, then ``linear`` over these (warm-up, stable, decay:
      arXiv 2404.06395, section 4). Until the decay begins the rate does not depend on ``steps``: one stable run can be
      decayed at several places.
    - ``constant``  ``peak``

    ``min_lr_ratio``, the floor as a share of the peak, is reached at ``step == steps``, where ``p = 1``: one step after
    the last, which is ``steps - 1``, so that no step of a decay to 0 is wasted. From there on the rate stays.
    ``decay_steps`` belongs to ``wsd`` alone; None is a fifth of the steps. Raises ValueError for an unknown schedule, a
    negative step, or parts of ``wsd`` that are longer than the run.
    """
    if step < 0:
        raise ValueError(f"step is {step}; steps count from 0, the first one.")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}.")
    begin = decay_begin(steps, warmup_steps, decay_steps) if schedule == "wsd" else warmup_steps
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant" or step < begin:
        return peak
    progress = min(1.0, (step - begin) / max(1, steps - begin))
    shape = (1 + math.cos(math.pi * progress)) / 2 if schedule == "cosine" else 1 - progress
    return peak * (min_lr_ratio + (1 - min_lr_ratio) * shape)


def decay_begin(steps: int, warmup_steps: int = 0, decay_steps: int | None = None) -> int:
    """The first step of a ``wsd`` run whose rate is below the peak's. Raises ValueError if the parts do not fit."""
    decay = max(1, round(steps / 5)) if decay_steps is None else decay_steps
    if decay < 1 or warmup_steps + decay > steps:
        raise ValueError(
            f"a wsd schedule of {steps} steps cannot hold {warmup_steps} steps of warm-up and {decay} of decay. Give "
            "decay_steps of 1 or more, and steps for both and the stable part between them."
        )
    return steps - decay
