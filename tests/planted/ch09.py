"""Planted bugs and other right answers of chapter 09."""

from __future__ import annotations

import math

import torch


def forward_without_scale(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.T @ lora_B.T


def forward_scaled_by_alpha(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.T @ lora_B.T * alpha


def forward_rslora(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.T @ lora_B.T * alpha / math.sqrt(len(lora_A))


def forward_without_base(x, weight, lora_A, lora_B, alpha):
    return x @ lora_A.T @ lora_B.T * alpha / len(lora_A)


def forward_in_place(x, weight, lora_A, lora_B, alpha):
    weight += lora_B @ lora_A * (alpha / len(lora_A))
    return x @ weight.T


def forward_divided_by_hidden(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.T @ lora_B.T * alpha / lora_A.shape[1]


@torch.no_grad()
def forward_without_gradient(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.T @ lora_B.T * alpha / len(lora_A)


def forward_detached(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + (x @ lora_A.T @ lora_B.T).detach() * alpha / len(lora_A)


def forward_half_detached(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.detach().T @ lora_B.T * alpha / len(lora_A)


def forward_rounded(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha // len(lora_A))


def forward_by_merging(x, weight, lora_A, lora_B, alpha):
    return torch.nn.functional.linear(x, weight + alpha / lora_A.size(0) * lora_B.mm(lora_A))


def forward_by_einsum(x, weight, lora_A, lora_B, alpha):
    low = torch.einsum("...i,ri,or->...o", x, lora_A, lora_B)
    return torch.einsum("...i,oi->...o", x, weight) + low.mul(alpha / lora_A.shape[0])


def init_both_random(size_in, size_out, r, generator):
    bound = size_in**-0.5
    return torch.empty(r, size_in).uniform_(-bound, bound, generator=generator), torch.randn(
        size_out, r, generator=generator
    )


def init_both_zero(size_in, size_out, r, generator):
    return torch.zeros(r, size_in), torch.zeros(size_out, r)


def init_swapped(size_in, size_out, r, generator):
    bound = size_in**-0.5
    return torch.zeros(size_out, r), torch.empty(r, size_in).uniform_(-bound, bound, generator=generator)


def init_a_zero(size_in, size_out, r, generator):
    return torch.zeros(r, size_in), torch.rand(size_out, r, generator=generator)


def init_normal(size_in, size_out, r, generator):
    return torch.randn(r, size_in, generator=generator) / size_in**0.5, torch.zeros(size_out, r)


def init_positive(size_in, size_out, r, generator):
    return torch.rand(r, size_in, generator=generator) / size_in**0.5, torch.zeros(size_out, r)


def init_without_generator(size_in, size_out, r, generator):
    bound = size_in**-0.5
    return torch.empty(r, size_in).uniform_(-bound, bound), torch.zeros(size_out, r)


def init_by_rank(size_in, size_out, r, generator):
    bound = r**-0.5
    return torch.empty(r, size_in).uniform_(-bound, bound, generator=generator), torch.zeros(size_out, r)


def init_repeated(size_in, size_out, r, generator):
    bound = size_in**-0.5
    row = torch.empty(1, size_in).uniform_(-bound, bound, generator=generator)
    return row.repeat(r, 1), torch.zeros(size_out, r)


def init_triangular(size_in, size_out, r, generator):
    bound = size_in**-0.5
    halves = [torch.empty(r, size_in).uniform_(-bound, bound, generator=generator) for _ in range(2)]
    return sum(halves) / 2, torch.zeros(size_out, r)


def init_by_rand(size_in, size_out, r, generator):
    return (2 * torch.rand(r, size_in, generator=generator) - 1) / math.sqrt(size_in), torch.zeros(size_out, r)


def init_by_kaiming(size_in, size_out, r, generator):
    a = torch.empty(r, size_in)
    torch.nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
    return [a, torch.zeros(size_out, r)]


def count_frozen(shapes, r):
    return sum(a * b for a, b in shapes)


def count_only_a(shapes, r):
    return sum(r * b for _, b in shapes)


def count_sizes(shapes, r):
    return sum(a + b for a, b in shapes)


def count_first(shapes, r):
    return r * sum(shapes[0]) if shapes else 0


def count_with_base(shapes, r):
    return sum(r * (a + b) + a * b for a, b in shapes)


def count_by_tensor(shapes, r):
    return r * torch.tensor(shapes).sum()


def count_by_loop(shapes, r):
    total = 0
    for size_out, size_in in shapes:
        total += torch.zeros(r, size_in).numel() + torch.zeros(size_out, r).numel()
    return total


def merge_without_scale(weight, lora_A, lora_B, alpha):
    return weight + lora_B @ lora_A


def merge_by_alpha(weight, lora_A, lora_B, alpha):
    return weight + alpha * lora_B @ lora_A


def merge_in_place(weight, lora_A, lora_B, alpha):
    weight += alpha / len(lora_A) * lora_B @ lora_A
    return weight


def merge_transposed(weight, lora_A, lora_B, alpha):
    update = alpha / len(lora_A) * lora_B @ lora_A
    return weight + (update.T if update.shape[0] == update.shape[1] else update)


def merge_update_only(weight, lora_A, lora_B, alpha):
    return alpha / len(lora_A) * lora_B @ lora_A


def merge_by_addmm(weight, lora_A, lora_B, alpha):
    return torch.addmm(weight, lora_B, lora_A, alpha=alpha / lora_A.shape[0])


def merge_by_einsum(weight, lora_A, lora_B, alpha):
    return weight + torch.einsum("or,ri->oi", lora_B, lora_A) * alpha / lora_A.shape[0]


def rank_of_columns(matrix, share):
    squares = matrix.square().sum(0).sort(descending=True).values
    return int((squares.cumsum(0) / squares.sum() < share - 1e-6).sum()) + 1


def rank_without_counting(matrix, share):
    return torch.linalg.svdvals(matrix).square().sum() * share


def rank_by_loop(matrix, share):
    squares = torch.linalg.svdvals(matrix.double()) ** 2
    total, k = 0.0, 0
    while total < share * float(squares.sum()) - 1e-9:
        total += float(squares[k])
        k += 1
    return k


def rank_by_searchsorted(matrix, share):
    squares = torch.linalg.svdvals(matrix).square()
    return torch.searchsorted(squares.cumsum(0) / squares.sum(), share - 1e-6) + 1


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "09.1": {
        forward_without_scale: "alpha / r is missing: the update is not scaled.",
        forward_scaled_by_alpha: "Scaled by alpha; it is alpha / r, so that the size of the update does not grow with the rank.",
        forward_rslora: "Divided by sqrt(r): that is rsLoRA (arXiv 2312.03732); plain LoRA divides by r.",
        forward_without_base: "The frozen matrix's part is missing: the adapter is added to it.",
        forward_in_place: "Your code changes its input `weight` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        forward_divided_by_hidden: "alpha is divided by the number of inputs; r is the number of rows of lora_A.",
        forward_without_gradient: "No gradient flows to A and B. Is there a `.detach()` or `no_grad` in the way?",
        forward_detached: "No gradient flows to A and B. Is there a `.detach()` or `no_grad` in the way?",
        forward_half_detached: "No gradient flows to lora_A. Is there a `.detach()`?",
        forward_rounded: "alpha // r rounds down; write alpha / r.",
    },
    "09.3": {
        init_both_random: "B is not zero. Then B A is not zero either, and the model is changed before it has learned anything.",
        init_both_zero: "A is zero like B: then no gradient ever reaches either of them.",
        init_swapped: "A and B are swapped: A (r, in) comes first.",
        init_a_zero: "A is zero and B is drawn: it is the other way round, A is drawn and B zero.",
        init_normal: "A is drawn from a normal distribution; it is drawn evenly between two bounds.",
        init_positive: "A has numbers of one sign only; half of the range is missing.",
        init_without_generator: "The numbers do not come from `generator`: the same seed must give the same A, another seed another.",
        init_by_rank: "The bound is 1 / sqrt(r); it is 1 / sqrt(size_in).",
        init_repeated: "Rows of A repeat: A would have a lower rank than r. Draw all r * size_in numbers.",
        init_triangular: "The numbers are not drawn evenly between the bounds: their standard deviation should be bound / sqrt(3).",
    },
    "09.2": {
        count_frozen: "These are the numbers of the frozen matrix.",
        count_only_a: "Only A is counted.",
        count_sizes: "The rank is counted once; both A and B have it.",
        count_first: "Only the first matrix is counted.",
        count_with_base: "The frozen matrix is counted too; it is not trained.",
    },
    "09.4": {
        merge_without_scale: "alpha / r is missing: the update is not scaled.",
        merge_by_alpha: "Scaled by alpha without dividing by r.",
        merge_in_place: "Your code changes its input `weight` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        merge_transposed: "The update is transposed; a square matrix does not complain.",
        merge_update_only: "This is the update alone, without the frozen matrix.",
    },
    "09.5": {
        rank_of_columns: "A turned matrix has the same singular values, and so the same rank.",
        rank_without_counting: "Not the smallest number of singular values whose squares hold the share.",
    },
}
RIGHT = {
    "09.1": [forward_by_merging, forward_by_einsum],
    "09.3": [init_by_rand, init_by_kaiming],
    "09.2": [count_by_tensor, count_by_loop],
    "09.4": [merge_by_addmm, merge_by_einsum],
    "09.5": [rank_by_loop, rank_by_searchsorted],
}
