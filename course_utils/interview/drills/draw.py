"""Seeded tensors for the cases of drills, and the gradient of a loss for those where it tells more than the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from course_utils.interview.drills.lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers of this shape, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(seed: int, *shape: int) -> Tensor:
    """Numbers from 0 to 1 of this shape, the same for the same seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def integers(seed: int, high: int, *shape: int) -> Tensor:
    """Whole numbers from 0 to ``high`` - 1 of this shape, the same for the same seed."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def with_slope(answer: Callable[..., Any], first: Tensor, *rest: Any) -> dict[str, Any]:
    """The loss that ``answer`` gives, and its gradient by the first argument."""
    leaf = first.clone().requires_grad_()
    loss = answer(leaf, *rest)
    if not getattr(loss, "requires_grad", False):
        return {"loss": loss, "its gradient": "none"}
    slope = torch.autograd.grad(loss, leaf, allow_unused=True)[0]
    return {"loss": loss.detach(), "its gradient": "none" if slope is None else slope}
