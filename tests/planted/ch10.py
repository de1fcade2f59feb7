"""Planted bugs and other right answers of chapter 10."""

from __future__ import annotations

from statistics import NormalDist

import torch


def _safe(scale):
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def absmax_with_sign(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / _safe(steps)[:, None]).round().to(torch.int8), steps


def absmax_by_power(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / 2 ** (bits - 1)
    return (blocks / _safe(steps)[:, None]).round().to(torch.int8), steps


def absmax_unsigned(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2**bits - 1)
    return (blocks / _safe(steps)[:, None]).round().to(torch.int8), steps


def absmax_cut_off(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / _safe(steps)[:, None]).to(torch.int8), steps


def absmax_floating(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / _safe(steps)[:, None]).round(), steps


def absmax_not_divided(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    n = 2 ** (bits - 1) - 1
    return (blocks / _safe(absmax)[:, None] * n).round().to(torch.int8), absmax


def absmax_one_scale(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = (weight.abs().max() / (2 ** (bits - 1) - 1)).expand(len(blocks))
    return (blocks / steps[:, None]).round().to(torch.int8), steps


def absmax_nan(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / (steps + 1e-8 * steps / steps)[:, None]).round().to(torch.int8), steps * (steps / steps)


def absmax_zero_by_zero(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / steps[:, None]).round().to(torch.int8), steps


def absmax_shifted(weight, bits, block_size):
    codes, steps = absmax_clamped(weight, bits, block_size)
    return codes + (2 ** (bits - 1) - 1), steps


def absmax_by_view(weight, bits, block_size):
    return absmax_clamped(weight.view(-1), bits, block_size)


def absmax_two_sizes(weight, bits, block_size):
    return absmax_clamped(weight, 8 if bits > 4 else 4, block_size)


def absmax_always_127(weight, bits, block_size):
    return absmax_clamped(weight, 8, block_size)


def absmax_by_range(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = (blocks.amax(1) - blocks.amin(1)) / (2**bits - 1)
    return (blocks / _safe(steps)[:, None]).round().to(torch.int8), steps


def absmax_in_columns(weight, bits, block_size):
    blocks = weight.T.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / _safe(steps)[:, None]).round().to(torch.int8), steps


def absmax_by_loop(weight, bits, block_size):
    n = 2 ** (bits - 1) - 1
    codes, steps = [], []
    for block in weight.flatten().split(block_size):
        step = block.abs().max() / n
        steps.append(step)
        codes.append((block / step).round() if step > 0 else torch.zeros(block_size))
    return torch.stack(codes).to(torch.int8), torch.stack(steps)


def absmax_multiplied(weight, bits, block_size):
    blocks, n = weight.reshape(-1, block_size), 2 ** (bits - 1) - 1
    most = blocks.abs().amax(1, keepdim=True)
    return (blocks * n / _safe(most)).round().to(torch.int8), most[:, 0] / n


def absmax_in_double(weight, bits, block_size):
    codes, steps = absmax_multiplied(weight.double(), bits, block_size)
    return codes, steps.float()


def absmax_nan_replaced(weight, bits, block_size):
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / steps[:, None]).nan_to_num().round().to(torch.int8), steps


def absmax_clamped(weight, bits, block_size):
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().max(dim=1).values / n
    return torch.clamp(torch.round(blocks / steps.clamp(min=1e-12).unsqueeze(1)), -n, n).to(torch.int8), steps


P = 1 - (1 / 32 + 1 / 30) / 2
Q = NormalDist().inv_cdf


def _book(up, down, p=P):
    values = [Q(0.5 + (p - 0.5) * i / up) for i in range(1, up + 1)]
    values += [0.0] + [Q(0.5 - (p - 0.5) * i / down) for i in range(1, down + 1)]
    return torch.tensor(sorted(values))


def nf4_not_divided():
    return _book(8, 7)


def nf4_other_way():
    book = _book(7, 8)
    return book / book.max()


def nf4_equal_pieces():
    book = torch.tensor([Q((i + 0.5) / 16) for i in range(16)])
    return book / book.max()


def nf4_even():
    return torch.linspace(-1, 1, 16)


def nf4_symmetric():
    book = _book(7, 7)
    return book / book.max()


def nf4_one_p():
    book = _book(8, 7, 1 - 1 / 32)
    return book / book.max()


def nf4_from_zero():
    up = [Q(0.5 + (P - 0.5) * i / 8) for i in range(8)]
    down = [Q(0.5 - (P - 0.5) * i / 7) for i in range(7)]
    return torch.tensor(sorted([*down, 0.0, *up])) / max(up)


def nf4_rounded_p():
    book = _book(8, 7, 0.9677)
    return book / book.max()


def nf4_one_run():
    book = torch.tensor([Q(1 - P + (2 * P - 1) * i / 15) for i in range(16)])
    return book / book.max()


def nf4_unsorted():
    book = _book(8, 7)
    return (book / book.max()).flip(0)


def nf4_by_scipy():
    from scipy.stats import norm

    up = norm.ppf(torch.linspace(P, 0.5, 9)[:-1].double().numpy()).tolist()
    down = (-norm.ppf(torch.linspace(P, 0.5, 8)[:-1].double().numpy())).tolist()
    book = torch.tensor(sorted(up + [0.0] + down))
    return book / book.max()


def nf4_by_torch():
    upper, lower = torch.linspace(0.5, P, 9)[1:].double(), torch.linspace(0.5, P, 8)[1:].double()
    quantile = lambda p: 2**0.5 * torch.special.erfinv(2 * p - 1)  # noqa: E731
    book = torch.cat((-quantile(lower).flip(0), torch.zeros(1).double(), quantile(upper)))
    return (book / book[-1]).float()


def _nearest(scaled, codebook):
    return (scaled[..., None] - codebook).abs().argmin(-1)


def blocks_largest(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.amax(1)
    return _nearest(blocks / _safe(absmax)[:, None], codebook).to(torch.uint8), absmax


def blocks_below(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    below = torch.searchsorted(codebook, blocks / _safe(absmax)[:, None], right=True) - 1
    return below.to(torch.uint8), absmax


def blocks_above(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    return torch.bucketize(blocks / _safe(absmax)[:, None], codebook).to(torch.uint8), absmax


def blocks_not_scaled(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    return _nearest(blocks, codebook).to(torch.uint8), blocks.abs().amax(1)


def blocks_one_scale(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().max().expand(len(blocks))
    return _nearest(blocks / absmax[:, None], codebook).to(torch.uint8), absmax


def blocks_evenly(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / _safe(absmax)[:, None]
    return ((scaled + 1) / 2 * (len(codebook) - 1)).round().to(torch.uint8), absmax


def blocks_values(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    return codebook[_nearest(blocks / _safe(absmax)[:, None], codebook)], absmax


def blocks_of_zeros(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    return _nearest(blocks / absmax[:, None], codebook).to(torch.uint8), absmax


def blocks_in_signed_bytes(weight, codebook, block_size):
    codes, absmax = blocks_by_distance(weight, codebook, block_size)
    return codes.clamp(max=127), absmax


def blocks_wide(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    return _nearest(blocks / _safe(absmax)[:, None], codebook), absmax


def blocks_by_distance(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    return _nearest(blocks / _safe(absmax)[:, None], codebook).to(torch.uint8), absmax


def blocks_by_loop(weight, codebook, block_size):
    codes, absmax = [], []
    for block in weight.flatten().split(block_size):
        most = block.abs().max()
        absmax.append(most)
        scaled = block / most if most > 0 else block
        codes.append(torch.tensor([int((codebook - number).abs().argmin()) for number in scaled]))
    return torch.stack(codes).to(torch.uint8), torch.stack(absmax)


def bits_without_scales(bits, block_size, scale_bits, double=False, scale_block=256):
    return float(bits)


def bits_in_bytes(bits, block_size, scale_bits, double=False, scale_block=256):
    return (bits + scale_bits / block_size) / 8


def bits_without_second(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits + (8 if double else scale_bits) / block_size


def bits_second_per_scale(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits + (8 / block_size + scale_bits / scale_block if double else scale_bits / block_size)


def bits_both_in_full(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits + scale_bits / block_size + double * scale_bits / (block_size * scale_block)


def bits_never_double(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits + scale_bits / block_size


def bits_four(bits, block_size, scale_bits, double=False, scale_block=256):
    return 4 + (8 / block_size + scale_bits / (block_size * scale_block) if double else scale_bits / block_size)


def bits_always_256(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits + (8 / block_size + scale_bits / (block_size * 256) if double else scale_bits / block_size)


def bits_of_a_block(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits * block_size + scale_bits


def bits_by_counting(bits, block_size, scale_bits, double=False, scale_block=256):
    numbers = block_size * scale_block
    scales = scale_block * (8 if double else scale_bits) + (scale_bits if double else 0)
    return (bits * numbers + scales) / numbers


def bits_by_share(bits, block_size, scale_bits, double=False, scale_block=256):
    scale = 8 + scale_bits / scale_block if double else scale_bits
    return bits + scale / block_size


def _matrix(codes, absmax, codebook, lora_A, lora_B):
    return (codebook[codes.long()] * absmax[:, None]).reshape(len(lora_B), lora_A.shape[1])


def qlora_no_scales(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = codebook[codes.long()].reshape(len(lora_B), lora_A.shape[1])
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_codes_as_numbers(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codes.float() * absmax[:, None]).reshape(len(lora_B), lora_A.shape[1])
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_by_columns(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_A.shape[1], len(lora_B))
    return x @ weight + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_no_adapter(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    return x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T


def qlora_by_alpha(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    return x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T + x @ lora_A.T @ lora_B.T * alpha


def qlora_frozen_x(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    with torch.no_grad():
        frozen = x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T
    return frozen + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_all_detached(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    y = x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))
    return y.detach()


def qlora_divided(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codebook[codes.long()] / absmax[:, None]).reshape(len(lora_B), lora_A.shape[1])
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_as_mask(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codebook[codes] * absmax[:, None]).reshape(len(lora_B), lora_A.shape[1])
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_by_two(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    return x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T + x @ lora_A.T @ lora_B.T * (alpha / 2)


def qlora_by_three(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    return x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T + x @ lora_A.T @ lora_B.T * (alpha / 3)


def qlora_by_out(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    return x @ _matrix(codes, absmax, codebook, lora_A, lora_B).T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_B))


def qlora_sizes_written_in(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codebook[codes.long()].reshape(-1, 6) * absmax[:, None]).reshape(6, 8)
    return x @ weight.T + x @ lora_A.T @ lora_B.T * (alpha / len(lora_A))


def qlora_always_nf4(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    book = _book(8, 7)
    return qlora_merged(x, codes.clamp(max=15), absmax, book / book.max(), lora_A, lora_B, alpha)


def qlora_merged(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = _matrix(codes, absmax, codebook, lora_A, lora_B)
    return torch.nn.functional.linear(x, weight + lora_B @ lora_A * (alpha / len(lora_A)))


def qlora_by_einsum(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    with torch.no_grad():
        weight = _matrix(codes, absmax, codebook, lora_A, lora_B)
    low = torch.einsum("...i,ri->...r", x, lora_A)
    return torch.einsum("...i,oi->...o", x, weight) + torch.einsum("...r,or->...o", low, lora_B) * alpha / len(lora_A)


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "10.1": {
        absmax_with_sign: "The step is made of the largest number. A block's largest *magnitude* may be negative: take `abs()` first.",
        absmax_by_power: "Divided by 2 ** (bits - 1): the largest positive code would be 8, and does not fit into 4 bits.",
        absmax_unsigned: "Divided by 2 ** bits - 1, the number of steps from end to end; the range goes from -absmax to absmax.",
        absmax_cut_off: "The numbers are cut off, not rounded; `.to(torch.int8)` alone goes towards 0.",
        absmax_floating: "The codes are floating numbers. They are whole, and stored as such: that is what saves memory.",
        absmax_not_divided: "That is absmax. A step is absmax / (2 ** (bits - 1) - 1).",
        absmax_one_scale: "One scale for all: each block has its own.",
        absmax_nan: "0 / 0 is NaN, and which whole number a NaN becomes depends on the machine. Where the step is 0, divide by 1.",
        absmax_zero_by_zero: "0 / 0 is NaN, and which whole number a NaN becomes depends on the machine. Where the step is 0, divide by 1.",
        absmax_shifted: "The codes are shifted to 0 ... 14; here they have a sign, and 0 keeps the code 0.",
        absmax_always_127: "127 is written in; with 4 bits n is 2 ** 3 - 1 = 7.",
        absmax_by_range: "That is (max - min) / 15, for codes with a zero point. Here 0 keeps the code 0: the step is absmax / 7.",
        absmax_by_view: "`.view` fails on a transposed matrix, whose rows do not lie one after the other; `.reshape` copies it.",
        absmax_two_sizes: "Right for 8 and 4 bits, wrong for 2: n is 2 ** (bits - 1) - 1 for all, 1 here.",
        absmax_in_columns: "The blocks are cut down the columns; they are cut from the numbers row after row.",
    },
    "10.2": {
        nf4_not_divided: "The values are not divided by the largest: they must end at -1 and 1.",
        nf4_other_way: "8 below and 7 above 0: it is the other way round.",
        nf4_equal_pieces: "These are 16 equally likely pieces of the normal distribution; 0 is not among them. NF4 goes from the middle outwards, 8 steps up and 7 down.",
        nf4_even: "These are even steps: no quantile is taken.",
        nf4_symmetric: "4 bits name 16 values.",
        nf4_one_p: "p is 1 - 1/32 here: it is the mean of 1 - 1/32 and 1 - 1/30.",
        nf4_from_zero: "A value is there twice: i runs from 1, and the 0 stands once.",
        nf4_rounded_p: "p is rounded to 0.9677; take 1 - (1/32 + 1/30) / 2 in full.",
        nf4_one_run: "One even run of 16 from 1 - p to p has no 0. NF4 goes from the middle outwards, 8 steps up and 7 down.",
        nf4_unsorted: "The values are not in ascending order; the search for the nearest needs that.",
    },
    "10.3": {
        blocks_largest: "The largest number is taken; in the second block the largest *magnitude* is negative.",
        blocks_below: "That is the entry below; the nearest may be the one above. Compare with the middles between entries.",
        blocks_above: "That is the entry above: `bucketize` got the codebook; give it the middles between entries.",
        blocks_not_scaled: "The numbers are not divided by their block's absmax before the search.",
        blocks_one_scale: "One scale for all: each block has its own.",
        blocks_evenly: "The codebook is taken as evenly spaced. Its entries are not; look for the nearest one.",
        blocks_values: "The codes are floating numbers. They are whole, and stored as such: that is what saves memory.",
        blocks_of_zeros: "A block of zeros: the nearest entry is the exact 0, place 7 in this codebook. (0 / 0 is NaN: divide by 1 there.)",
        blocks_in_signed_bytes: "Right for 5 entries, wrong for 256. Is a number of entries written in?",
        blocks_wide: "Places up to 255 are stored as `torch.uint8`, one byte each; int64 takes eight, and int8 ends at 127.",
    },
    "10.4": {
        bits_without_scales: "The scales are missing, or their share is cut off by `//`; a share is `/`.",
        bits_in_bytes: "That is bytes: 8 bits are a byte.",
        bits_without_second: "The second scales are missing, or cut off by `//`.",
        bits_second_per_scale: "A second scale is shared by scale_block scales, and so by block_size * scale_block numbers.",
        bits_both_in_full: "The first scales are still counted in full; they are stored in 8 bits now.",
        bits_never_double: "`double` makes no difference.",
        bits_four: "4 bits are written in; `bits` says how many.",
        bits_always_256: "256 is written in; `scale_block` says how many scales share a second one.",
        bits_of_a_block: "These are the bits of a whole block.",
    },
    "10.5": {
        qlora_no_scales: "The scales are missing: each block is multiplied by its absmax.",
        qlora_codes_as_numbers: "The codes are used as numbers; they are places in the codebook.",
        qlora_by_columns: "The matrix is filled column by column; its numbers stand row after row.",
        qlora_no_adapter: "The adapter's part is missing.",
        qlora_by_alpha: "Scaled by alpha; it is alpha / r.",
        qlora_frozen_x: "The gradient to x does not go through the frozen matrix: adapters in lower layers would learn from a part of the model only. No `no_grad` around x @ W.T.",
        qlora_all_detached: "No gradient flows. Is there a `.detach()` or `no_grad` around more than the matrix?",
        qlora_divided: "Divided by the scales; quantizing divided, so this multiplies.",
        qlora_as_mask: "A uint8 tensor indexes as a mask in PyTorch, not as places: `codebook[codes.long()]`.",
        qlora_by_two: "alpha is divided by 2; r is the number of rows of lora_A.",
        qlora_by_three: "Right for the first sizes, wrong for others. Is a size, r or a codebook written in? Take sizes from the shapes of `lora_A` and `lora_B`.",
        qlora_by_out: "alpha is divided by the number of outputs; r is the number of rows of lora_A.",
        qlora_sizes_written_in: "Right for the first sizes, wrong for others. Is a size, r or a codebook written in? Take sizes from the shapes of `lora_A` and `lora_B`.",
        qlora_always_nf4: "Right for the first sizes, wrong for others. Is a size, r or a codebook written in? Take sizes from the shapes of `lora_A` and `lora_B`.",
    },
}
RIGHT = {
    "10.1": [absmax_by_loop, absmax_clamped, absmax_multiplied, absmax_in_double, absmax_nan_replaced],
    "10.2": [nf4_by_scipy, nf4_by_torch],
    "10.3": [blocks_by_distance, blocks_by_loop],
    "10.4": [bits_by_counting, bits_by_share],
    "10.5": [qlora_merged, qlora_by_einsum],
}
