# %% 10.1 wrong: n is one too large, 2 to the power of bits - 1
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1)
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (blocks / safe[:, None]).round().to(torch.int8), steps

# %% 10.1 wrong: the largest number of the block is taken, not the largest magnitude
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.amax(1) / n
    safe = torch.where(steps != 0, steps, torch.ones_like(steps))
    return (blocks / safe[:, None]).round().clamp(-n, n).to(torch.int8), steps

# %% 10.1 wrong: the codes are cut off towards zero, not rounded
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (blocks / safe[:, None]).to(torch.int8), steps

# %% 10.1 wrong: the steps keep a second axis of size 1
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(dim=1, keepdim=True) / n
    safe = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (blocks / safe).round().to(torch.int8), steps

# %% 10.1 wrong: a block of zeros gets a tiny step, not the step 0
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = (blocks.abs().amax(1) / n).clamp(min=1e-8)
    return (blocks / steps[:, None]).round().to(torch.int8), steps

# %% 10.1 wrong: the numbers are cut into blocks column after column
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.transpose(0, -1).reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (blocks / safe[:, None]).round().to(torch.int8), steps

# %% 10.1 wrong: it knows 8 bits and 4 bits only
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 127 if bits == 8 else 7
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (blocks / safe[:, None]).round().to(torch.int8), steps

# %% 10.1 wrong: the weight itself is divided in place
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    blocks /= torch.where(steps > 0, steps, torch.ones_like(steps))[:, None]
    return blocks.round().to(torch.int8), steps

# %% 10.1 right: in three lines
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / (2 ** (bits - 1) - 1)
    return (blocks / steps.where(steps > 0, torch.ones_like(steps))[:, None]).round().to(torch.int8), steps

# %% 10.1 right: a loop over lists
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    numbers = weight.flatten().tolist()
    codes, steps = [], []
    for start in range(0, len(numbers), block_size):
        block = numbers[start : start + block_size]
        step = max(abs(w) for w in block) / n
        row = []
        for w in block:
            row.append(round(w / step) if step > 0 else 0)
        codes.append(row)
        steps.append(step)
    return torch.tensor(codes, dtype=torch.int8, device=weight.device), torch.tensor(steps, device=weight.device)

# %% 10.1 right: multiplies by n first, and turns 0 / 0 into 0 afterwards
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = (1 << (bits - 1)) - 1
    blocks = weight.detach().float().flatten().unflatten(0, (-1, block_size))
    absmax = torch.linalg.vector_norm(blocks, ord=float("inf"), dim=1)
    codes = torch.nan_to_num(blocks * n / absmax.unsqueeze(1), nan=0.0)
    return torch.round(codes).type(torch.int8), absmax / n

# %% 10.2 wrong: eight values below zero and seven above
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    q, p = NormalDist().inv_cdf, 1 - 0.5 * (1 / 32 + 1 / 30)
    up = [q(0.5 + (p - 0.5) * i / 7) for i in range(1, 8)]
    down = [q(0.5 - (p - 0.5) * i / 8) for i in range(1, 9)]
    values = torch.tensor(sorted([*down, 0.0, *up]))
    return values / values.max()

# %% 10.2 wrong: sixteen equally likely pieces, so no exact 0
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    values = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)])
    return values / values.max()

# %% 10.2 wrong: the last probability is 1 - 1/32, not the mean of the two
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    q, p = NormalDist().inv_cdf, 1 - 1 / 32
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    values = torch.tensor(sorted([*down, 0.0, *up]))
    return values / values.max()

# %% 10.2 wrong: the values are not divided by the largest
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    q, p = NormalDist().inv_cdf, 1 - 0.5 * (1 / 32 + 1 / 30)
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor(sorted([*down, 0.0, *up]), dtype=torch.float32)

# %% 10.2 wrong: the seven steps downwards are eighths, so -1 is not reached
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    q, p = NormalDist().inv_cdf, 1 - 0.5 * (1 / 32 + 1 / 30)
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 8) for i in range(1, 8)]
    values = torch.tensor(sorted([*down, 0.0, *up]))
    return values / values.max()

# %% 10.2 wrong: the downward values stand in the order of i, so the book is not ascending
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    q, p = NormalDist().inv_cdf, 1 - 0.5 * (1 / 32 + 1 / 30)
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    values = torch.tensor([*down, 0.0, *up])
    return values / values.max()

# %% 10.2 wrong: a table with three digits
def nf4_codebook() -> Tensor:
    below = [-1.0, -0.696, -0.525, -0.395, -0.284, -0.185, -0.091]
    return torch.tensor([*below, 0.0, 0.080, 0.161, 0.246, 0.338, 0.441, 0.563, 0.723, 1.0])

# %% 10.2 wrong: it calls itself
def nf4_codebook() -> Tensor:
    return nf4_codebook()

# %% 10.2 right: the two formulas, sorted
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    q, p = NormalDist().inv_cdf, 1 - (1 / 32 + 1 / 30) / 2
    ups, downs = [q(0.5 + (p - 0.5) * i / 8) for i in range(9)], [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor([v / q(p) for v in sorted(ups + downs)], dtype=torch.float32)

# %% 10.2 right: torch's own quantile function in double precision
def nf4_codebook() -> Tensor:
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    up = torch.special.ndtri(torch.linspace(0.5, p, 9, dtype=torch.float64))[1:]
    down = -torch.special.ndtri(torch.linspace(0.5, p, 8, dtype=torch.float64))[1:].flip(0)
    values = torch.cat([down, torch.zeros(1, dtype=torch.float64), up])
    return (values / up[-1]).float()

# %% 10.2 right: a loop that appends on both sides
from statistics import NormalDist

def nf4_codebook() -> Tensor:
    normal = NormalDist()
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    largest = normal.inv_cdf(p)
    values = [0.0]
    for i in range(1, 9):
        values.append(normal.inv_cdf(0.5 + (p - 0.5) * i / 8) / largest)
        if i <= 7:
            values.insert(0, normal.inv_cdf(0.5 - (p - 0.5) * i / 7) / largest)
    return torch.tensor(values)

# %% 10.3 wrong: scaled by the largest number, not by the largest magnitude
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.amax(1)
    safe = torch.where(absmax != 0, absmax, torch.ones_like(absmax))
    codes = ((blocks / safe[:, None])[..., None] - codebook).abs().argmin(-1)
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: the next entry above is taken, not the nearest
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    safe = torch.where(absmax > 0, absmax, torch.ones_like(absmax))
    codes = torch.searchsorted(codebook, blocks / safe[:, None]).clamp(max=len(codebook) - 1)
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: it takes the entries for evenly spaced
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    safe = torch.where(absmax > 0, absmax, torch.ones_like(absmax))
    codes = ((blocks / safe[:, None] + 1) / 2 * (len(codebook) - 1)).round()
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: a block of zeros is divided by 0, and its codes are those of -1
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    codes = ((blocks / absmax[:, None])[..., None] - codebook).abs().argmin(-1)
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: a block of zeros always gets the place 7, as in NF4
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    codes = ((blocks / absmax[:, None])[..., None] - codebook).abs().argmin(-1)
    codes[absmax == 0] = 7
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: the codes are left as int64
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    safe = torch.where(absmax > 0, absmax, torch.ones_like(absmax))
    return ((blocks / safe[:, None])[..., None] - codebook).abs().argmin(-1), absmax

# %% 10.3 wrong: the distances are measured in bfloat16
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    safe = torch.where(absmax > 0, absmax, torch.ones_like(absmax))
    scaled = (blocks / safe[:, None]).bfloat16()
    codes = (scaled[..., None] - codebook.bfloat16()).abs().argmin(-1)
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: the weight is scaled in place
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    blocks.div_(torch.where(absmax > 0, absmax, torch.ones_like(absmax))[:, None])
    codes = (blocks[..., None] - codebook).abs().argmin(-1)
    return codes.to(torch.uint8), absmax

# %% 10.3 right: between the middles of neighbours
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.where(absmax > 0, torch.ones_like(absmax))[:, None]
    return torch.bucketize(scaled, ((codebook[1:] + codebook[:-1]) / 2).to(scaled)).to(torch.uint8), absmax

# %% 10.3 right: a loop over all numbers
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    numbers, book = weight.flatten().tolist(), codebook.tolist()
    codes, largest = [], []
    for start in range(0, len(numbers), block_size):
        block = numbers[start : start + block_size]
        top = max(abs(w) for w in block)
        row = []
        for w in block:
            share = w / top if top > 0 else 0.0
            best = 0
            for k in range(1, len(book)):
                if abs(book[k] - share) < abs(book[best] - share):
                    best = k
            row.append(best)
        codes.append(row)
        largest.append(top)
    codes = torch.tensor(codes, dtype=torch.uint8, device=weight.device)
    return codes, torch.tensor(largest, dtype=weight.dtype, device=weight.device)

# %% 10.3 right: all distances at once, with the zeros put in afterwards
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.contiguous().view(-1, block_size)
    absmax = torch.maximum(blocks.max(dim=1).values, -blocks.min(dim=1).values)
    distance = torch.stack([(blocks / absmax.unsqueeze(1) - entry).abs() for entry in codebook])
    codes = distance.argmin(0)
    codes[absmax == 0] = int((codebook == 0).nonzero()[0])
    return codes.byte(), absmax

# %% 10.4 wrong: with double the first scale is still counted in full
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    cost = bits + scale_bits / block_size
    if double:
        cost += 8 / block_size + scale_bits / (block_size * scale_block)
    return cost

# %% 10.4 wrong: the second scale is shared by scale_block numbers, not scales
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 / block_size + scale_bits / scale_block
    return bits + scale_bits / block_size

# %% 10.4 wrong: the second scale is forgotten
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    return bits + (8 if double else scale_bits) / block_size

# %% 10.4 wrong: scale_block is ignored, always 256
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 / block_size + scale_bits / (block_size * 256)
    return bits + scale_bits / block_size

# %% 10.4 wrong: the second scale always has 32 bits
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 / block_size + 32 / (block_size * scale_block)
    return bits + scale_bits / block_size

# %% 10.4 wrong: a quantized scale has a quarter of scale_bits, which is 8 for 32 only
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + scale_bits / 4 / block_size + scale_bits / block_size / scale_block
    return bits + scale_bits / block_size

# %% 10.4 wrong: the scales are quantized to the bits of the numbers
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + bits / block_size + scale_bits / (block_size * scale_block)
    return bits + scale_bits / block_size

# %% 10.4 wrong: the divisions are whole-number divisions
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 // block_size + scale_bits // (block_size * scale_block)
    return bits + scale_bits // block_size

# %% 10.4 right: one expression
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    return bits + (8 + scale_bits / scale_block if double else scale_bits) / block_size

# %% 10.4 right: counts all bits of one large block and divides
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    numbers, total = block_size * scale_block, 0.0
    for _ in range(scale_block):
        total += bits * block_size
        total += 8 if double else scale_bits
    if double:
        total += scale_bits
    return total / numbers

# %% 10.4 right: one helper, used for the scales and for the numbers
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    def cost(own, size, above):
        return own + above / size

    scale = cost(8, scale_block, scale_bits) if double else scale_bits
    return float(cost(bits, block_size, scale))

# %% 10.5 wrong: the update is scaled by alpha alone
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
    return x @ weight.T + alpha * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: the base runs without gradients, so none reach x through the frozen matrix
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    with torch.no_grad():
        weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
        base = x @ weight.T
    return base + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: the matrix is read as (in, out)
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_A.shape[1], lora_B.shape[0])
    return x @ weight + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: the scales are repeated as a whole, not each for its block
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    numbers = codebook[codes.long()].flatten() * absmax.repeat(codes.shape[1])
    weight = numbers.view(lora_B.shape[0], lora_A.shape[1])
    return x @ weight.T + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: every row is taken to begin a new block
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    out, width, size = lora_B.shape[0], lora_A.shape[1], codes.shape[1]
    rows = torch.arange(out, device=codes.device)[:, None]
    columns = torch.arange(width, device=codes.device)
    scales = absmax[rows * (width // size) + columns // size]
    weight = codebook[codes.long()].reshape(out, width) * scales
    return x @ weight.T + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: divided by the root of r
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
    return x @ weight.T + alpha / lora_A.shape[0] ** 0.5 * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: the leading axes of x are flattened and not restored
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
    rows = x.reshape(-1, x.shape[-1])
    return rows @ weight.T + alpha / lora_A.shape[0] * (rows @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: lora_B itself is scaled in place
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
    lora_B.data *= alpha / lora_A.shape[0]
    return x @ weight.T + x @ lora_A.T @ lora_B.T

# %% 10.5 right: one matrix product with the sum of base and update
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    update = lora_B @ lora_A * (alpha / len(lora_A))
    return x @ ((codebook[codes.int()] * absmax[:, None]).view_as(update) + update).T

# %% 10.5 right: einsum, and take for the look-up
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    r, width = lora_A.shape
    with torch.no_grad():
        entries = torch.take(codebook, codes.to(torch.int64))
        weight = torch.einsum("bs,b->bs", entries, absmax).reshape(-1, width)
    base = torch.einsum("...i,oi->...o", x, weight)
    return base + torch.einsum("...i,ri,or->...o", x, lora_A, lora_B) * alpha / r

# %% 10.5 right: a loop over blocks and over outputs
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    pieces = []
    for block, scale in zip(codes, absmax):
        pieces.append(codebook[block.long()] * scale)
    weight = torch.cat(pieces).view(lora_B.shape[0], lora_A.shape[1])
    inner = [(x * row).sum(-1) for row in lora_A]
    columns = []
    for row, factors in zip(weight, lora_B):
        y = (x * row).sum(-1)
        for factor, h in zip(factors, inner):
            y = y + alpha / len(inner) * factor * h
        columns.append(y)
    return torch.stack(columns, dim=-1)
