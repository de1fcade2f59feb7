"""Optimizers: AdamW for everything, or Muon for the matrices inside the network and AdamW for the rest.

Muon (Jordan and others, https://kellerjordan.github.io/posts/muon/) for one matrix W with gradient G:

    M = momentum * M + (1 - momentum) * G
    U = orthogonalize(momentum * M + (1 - momentum) * G)        Nesterov's look ahead
    W = (1 - lr * weight_decay) * W - lr * scale * U

AdamW gives every number a step of about the same size. Muon gives every *direction* one: the singular values of U are
all about 1, so directions that the gradient hardly shows move as far as the loud ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.training import distributed
from course_utils.training.config import TrainConfig
from course_utils.training.micro_batches import TrainingError

# a s + b s^3 + c s^5, five times over, brings every singular value s in (0, 1] to between 0.7 and 1.2 or near it. The
# numbers are those of Jordan's post: the steepest start, at the price of never settling on 1.
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrix: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32, eps: float = 1e-7) -> Tensor:
    """The nearest matrix with singular values about 1: U V^T of the decomposition U S V^T, by Newton-Schulz.

    matrix: (..., rows, columns), each of the last two axes' matrices for itself. Each step is an odd polynomial, which
    acts on the singular values alone: X (a + b X^T X + c (X^T X)^2). It needs nothing but matrix products, so it runs
    where a singular value decomposition would not, in ``dtype``. Returns ``matrix``'s shape in ``dtype``.
    """
    x = matrix.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:  # the products below are of the smaller side
        x = x.mT
    # The Frobenius norm is no less than the largest singular value, which must not be above 1.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    product = torch.addmm if x.ndim == 2 else torch.baddbmm  # beta * first + alpha * second @ third
    flat = x if x.ndim == 2 else x.reshape(-1, *x.shape[-2:])
    for _ in range(steps):
        gram = flat @ flat.mT
        polynomial = product(gram, gram, gram, beta=B, alpha=C)
        flat = product(flat, polynomial, flat, beta=A)
    x = flat.view(x.shape)
    return x.mT if tall else x


def step_scale(shape: torch.Size, adjust_lr_fn: str = "match_rms_adamw") -> float:
    """What the learning rate is multiplied with for a matrix of this shape.

    ``match_rms_adamw``: 0.2 sqrt(larger side), so that the numbers of a step have the root mean square of AdamW's, and
    one learning rate serves both (Moonlight, arXiv 2502.16982, section 2.2). ``original``: sqrt(max(1, rows/columns)).
    """
    rows, columns = shape
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    if adjust_lr_fn == "original":
        return math.sqrt(max(1.0, rows / columns))
    raise ValueError(f'adjust_lr_fn is {adjust_lr_fn!r}; expected "match_rms_adamw" or "original".')


class Muon(torch.optim.Optimizer):
    """Muon over matrices; the arguments are those of ``torch.optim.Muon``, which it equals.

    dtype: what the orthogonalization is computed in; torch's own always takes bfloat16. Raises ValueError for a
    parameter that is no matrix of 32-bit (or 64-bit) numbers, with its shape.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("momentum", momentum)):
            if not 0 <= value < math.inf:
                raise ValueError(f"Muon: {name} is {value!r}; expected a finite number of 0 or more.")
        if not momentum < 1:
            raise ValueError(f"Muon: momentum is {momentum!r}; with 1 or more no gradient would ever count.")
        step_scale(torch.Size((1, 1)), adjust_lr_fn)
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "dtype": dtype,
        }
        super().__init__(params, defaults)
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.ndim != 2 or parameter.dtype not in (torch.float32, torch.float64):
                raise ValueError(
                    f"Muon takes matrices in 32 bits; one parameter has the shape {tuple(parameter.shape)} and the "
                    f"type {parameter.dtype}. Leave norms, biases, embeddings and heads to AdamW (`make_optimizer` "
                    "does), and train 16-bit weights under autocast."
                )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step. Matrices of one shape are orthogonalized together: a small model has many, and each is short."""
        if closure is not None:
            raise TypeError("Muon.step takes no closure: compute the gradients first, then call step().")
        for group in self.param_groups:
            same: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
                whole = distributed.full_tensor(ahead)  # a part of a matrix has other singular values
                same[whole.shape].append((parameter, whole))
            for shape, pairs in same.items():
                wholes, how = [whole for _, whole in pairs], (group["ns_steps"], group["dtype"])
                if wholes[0].device.type == "cpu" and group["dtype"] == torch.bfloat16:
                    # there a stack of small products rounds otherwise than each alone, and than torch's Muon
                    steps = [orthogonalize(whole, *how) for whole in wholes]
                else:
                    steps = list(orthogonalize(torch.stack(wholes), *how))
                scale = group["lr"] * step_scale(shape, group["adjust_lr_fn"])
                for (parameter, _), step in zip(pairs, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(distributed.shard_like(step.to(parameter.dtype), parameter), alpha=-scale)


class Together:
    """Several optimizers, each for its own parameters, as one: step, zero_grad, param_groups, state."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for optimizer in optimizers:
            optimizer.state = self.state

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)


def matrices_inside(model: nn.Module) -> list[nn.Parameter]:
    """What Muon takes: the trainable matrices of the blocks (of every ``nn.ModuleList``), embeddings left out.

    Embedding and head stay with AdamW: a row of theirs is a token, most get no gradient in a step, and their directions
    are not what the network mixes.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    inside = {
        id(p): p
        for blocks in model.modules()
        if isinstance(blocks, nn.ModuleList)
        for p in blocks.parameters()
        if p.requires_grad and p.ndim == 2 and id(p) not in tables
    }
    return list(inside.values())


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer | Together:
    """The optimizer that ``config.optimizer`` names, over the trainable parameters; weight decay on matrices only.

    ``adamw``: fused AdamW (arXiv 1711.05101). ``muon``: Muon for the matrices inside the blocks, in bfloat16 where the
    run computes in it, and AdamW for the rest.
    Raises TrainingError if nothing trains, or nothing that Muon could take.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise TrainingError("the model has no trainable parameter (all have requires_grad=False).")
    matrices = matrices_inside(model) if config.optimizer == "muon" else []
    if config.optimizer == "muon" and not matrices:
        raise TrainingError(
            "Muon takes the trainable matrices inside the blocks (of an nn.ModuleList), and this model has none. Train "
            'it with optimizer="adamw".'
        )
    taken = {id(p) for p in matrices}
    rest = [p for p in trainable if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    how: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "eps": config.eps, "fused": True}
    if not matrices:
        return torch.optim.AdamW(groups, **how)
    try:
        dtype = torch.bfloat16 if config.autocasts(matrices[0].device.type) else torch.float32
        muon = Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay, dtype=dtype)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    return Together(muon, torch.optim.AdamW(groups, **how)) if groups else muon
