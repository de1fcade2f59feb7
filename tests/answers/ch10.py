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


# %% 10.1 wrong: a tiny floor under the absmax, so that a block of zeros has a step above 0
def quantize_absmax(weight, bits, block_size):
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1).clamp_min(1e-5) / n
    return (blocks / steps[:, None]).round().to(torch.int8), steps


# %% 10.1 wrong: the largest number instead of the largest magnitude
def quantize_absmax(weight, bits, block_size):
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.amax(1).abs() / n
    safe = torch.where(steps == 0, 1, steps)[:, None]
    return (blocks / safe).round().clamp(-n, n).to(torch.int8), steps


# %% 10.1 wrong: cut off towards zero instead of rounded
def quantize_absmax(weight, bits, block_size):
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps == 0, torch.ones_like(steps), steps)
    return (blocks / safe[:, None]).to(torch.int8), steps


# %% 10.1 wrong: knows only 8 bits and 4
def quantize_absmax(weight, bits, block_size):
    n = 127 if bits == 8 else 7
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    codes = torch.nan_to_num(torch.round(blocks / steps[:, None]), nan=0.0)
    return codes.to(torch.int8), steps


# %% 10.1 wrong: the blocks of a transposed view are taken in the order of the memory
def quantize_absmax(weight, bits, block_size):
    n = 2 ** (bits - 1) - 1
    blocks = torch.as_strided(weight, (weight.numel() // block_size, block_size), (block_size, 1))
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps == 0, torch.ones_like(steps), steps)
    return (blocks / safe[:, None]).round().to(torch.int8), steps


# %% 10.1 right: all blocks at once
def quantize_absmax(weight, bits, block_size):
    n, blocks = 2 ** (bits - 1) - 1, weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1) / n
    return (blocks / steps.masked_fill(steps == 0, 1)[:, None]).round().clamp(-n, n).to(torch.int8), steps


# %% 10.1 right: number by number
def quantize_absmax(weight, bits, block_size):
    numbers = weight.detach().flatten().tolist()
    n = 2 ** (bits - 1) - 1
    codes, steps = [], []
    for begin in range(0, len(numbers), block_size):
        block = numbers[begin : begin + block_size]
        largest = max(abs(number) for number in block)
        step = largest / n
        row = []
        for number in block:
            row.append(0 if largest == 0 else round(number / largest * n))
        codes.append(row)
        steps.append(step)
    codes = torch.tensor(codes, dtype=torch.int8, device=weight.device)
    return codes, torch.tensor(steps, dtype=torch.float32, device=weight.device)


# %% 10.2 wrong: p is the middle of the last of 16 pieces alone
def nf4_codebook():
    from statistics import NormalDist

    q, p = NormalDist().inv_cdf, 1 - 1 / 32
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor(sorted([*down, 0.0, *up])) / max(up)


# %% 10.2 wrong: 8 values downwards and 7 upwards
def nf4_codebook():
    from statistics import NormalDist

    q, p = NormalDist().inv_cdf, 1 - (1 / 32 + 1 / 30) / 2
    up = [q(0.5 + (p - 0.5) * i / 7) for i in range(1, 8)]
    down = [q(0.5 - (p - 0.5) * i / 8) for i in range(1, 9)]
    return torch.tensor(sorted([*down, 0.0, *up])) / max(up)


# %% 10.2 wrong: the values have 64 bits
def nf4_codebook():
    import numpy as np
    from statistics import NormalDist

    q, p = NormalDist().inv_cdf, 1 - 0.5 * (1 / 32 + 1 / 30)
    up = np.array([q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)])
    down = np.array([q(0.5 - (p - 0.5) * i / 7) for i in range(7, 0, -1)])
    return torch.from_numpy(np.concatenate([down, [0.0], up]) / up[-1])


# %% 10.2 wrong: learned by heart with four digits
def nf4_codebook():
    down = [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911]
    up = [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]
    return torch.tensor([*down, 0.0, *up])


# %% 10.2 wrong: the middles of 16 equal pieces, with the one nearest to 0 set to 0
def nf4_codebook():
    from statistics import NormalDist

    values = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)])
    values = values / values.abs().max()
    values[7] = 0.0
    return values


# %% 10.2 right: down, zero, up
def nf4_codebook():
    from statistics import NormalDist

    q, p = NormalDist().inv_cdf, 1 - (1 / 32 + 1 / 30) / 2
    down, up = ([q(0.5 + (p - 0.5) * i / n) for i in range(abs(n) + 1)] for n in (-7, 8))
    return torch.tensor([*down[:0:-1], *up]) / q(p)


# %% 10.2 right: by a loop, sorted at the end
def nf4_codebook():
    from statistics import NormalDist

    normal = NormalDist(mu=0.0, sigma=1.0)
    last = 1.0 - 0.5 * (1.0 / 32.0 + 1.0 / 30.0)
    values = [0.0]
    for i in range(8):
        values.append(normal.inv_cdf(0.5 + (last - 0.5) * (i + 1) / 8))
    for i in range(7):
        values.append(-normal.inv_cdf(0.5 + (last - 0.5) * (i + 1) / 7))
    values.sort()
    largest = values[-1]
    for i in range(len(values)):
        values[i] = values[i] / largest
    return torch.tensor(values, dtype=torch.float32)


# %% 10.3 wrong: searchsorted gives the next entry above, not the nearest
def quantize_blocks(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / torch.where(absmax == 0, torch.ones_like(absmax), absmax)[:, None]
    places = torch.searchsorted(codebook, scaled.contiguous()).clamp(max=len(codebook) - 1)
    return places.to(torch.uint8), absmax


# %% 10.3 wrong: in a block of zeros 0 / 0 finds the first entry
def quantize_blocks(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax[:, None]
    return (scaled[..., None] - codebook).abs().argmin(-1).to(torch.uint8), absmax


# %% 10.3 wrong: zeros get place 7, as in NF4, whatever the codebook
def quantize_blocks(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    codes = (blocks[..., None] / absmax[:, None, None] - codebook).abs().argmin(-1)
    codes[absmax == 0] = 7
    return codes.to(torch.uint8), absmax


# %% 10.3 wrong: distances in 16 bits, too coarse for 256 entries
def quantize_blocks(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = (blocks / absmax.clamp_min(torch.finfo(absmax.dtype).tiny)[:, None]).bfloat16()
    distances = (scaled[..., None] - codebook.bfloat16()).abs()
    return distances.argmin(-1).to(torch.uint8), absmax


# %% 10.3 wrong: only the first sixteen entries are looked at
def quantize_blocks(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1)[:, None]
    codes, nearest = torch.zeros(scaled.shape, dtype=torch.uint8), torch.full(scaled.shape, torch.inf)
    for place in range(16):
        if place < len(codebook):
            distance = (scaled - codebook[place]).abs()
            codes[distance < nearest] = place
            nearest = torch.minimum(distance, nearest)
    return codes, absmax


# %% 10.3 right: bucketed by the middles between entries
def quantize_blocks(weight, codebook, block_size):
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled, book = (blocks / absmax.masked_fill(absmax == 0, 1)[:, None]).double(), codebook.double()
    return torch.bucketize(scaled, (book[1:] + book[:-1]) / 2).to(torch.uint8), absmax


# %% 10.3 right: block by block, entry by entry
def quantize_blocks(weight, codebook, block_size):
    numbers = weight.detach().flatten()
    codes, scales = [], []
    for begin in range(0, numbers.numel(), block_size):
        block = numbers[begin : begin + block_size]
        largest = block.abs().max()
        scaled = block.double() / (largest.double() if largest > 0 else 1.0)
        best = torch.zeros(block_size, dtype=torch.uint8, device=weight.device)
        nearest = (scaled - codebook[0].double()).abs()
        for place in range(1, len(codebook)):
            distance = (scaled - codebook[place].double()).abs()
            best[distance < nearest] = place
            nearest = torch.minimum(nearest, distance)
        codes.append(best)
        scales.append(largest)
    return torch.stack(codes), torch.stack(scales)


# %% 10.4 wrong: the second scale is shared by the scales of a block only, not by their numbers
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    if not double:
        return bits + scale_bits / block_size
    return bits + 8 / block_size + scale_bits / scale_block / scale_block


# %% 10.4 wrong: the second scale always has 32 bits (another)
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    if double:
        return bits + 8 / block_size + 32 / (block_size * scale_block)
    return bits + scale_bits / block_size


# %% 10.4 wrong: always 256 scales share a second one
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    per_scale = 8 + scale_bits / 256 if double else scale_bits
    return bits + per_scale / block_size


# %% 10.4 wrong: divided as whole numbers
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    if double:
        return bits + 8 / block_size + scale_bits // (block_size * scale_block)
    return bits + scale_bits // block_size


# %% 10.4 wrong: it calls itself without an end
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    if double:
        scale_bits = bits_per_parameter(8, scale_block, scale_bits, double, scale_block)
    return bits + scale_bits / block_size


# %% 10.4 right: the bits of a scale first
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    return bits + (8 + scale_bits / scale_block if double else scale_bits) / block_size


# %% 10.4 right: the bits of one second block are counted
def bits_per_parameter(bits, block_size, scale_bits, double=False, scale_block=256):
    if not double:
        total = scale_bits
        for _ in range(block_size):
            total = total + bits
        return total / block_size
    total = scale_bits
    for _ in range(scale_block):
        total = total + 8 + block_size * bits
    return total / (scale_block * block_size)


# %% 10.5 wrong: no gradient goes through the frozen matrix to x
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    with torch.no_grad():
        weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
        base = x @ weight.T
    return base + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 10.5 wrong: the numbers are read as a matrix (in, out)
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    numbers = codebook[codes.int()] * absmax[:, None]
    base = x @ numbers.reshape(lora_A.shape[1], lora_B.shape[0])
    return base + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 10.5 wrong: a row is taken for a whole number of blocks
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    out, size_in = lora_B.shape[0], lora_A.shape[1]
    size = codes.shape[1]
    in_a_row = max(1, size_in // size)
    rows = torch.arange(out, device=x.device)[:, None] * in_a_row
    which = rows + torch.arange(size_in, device=x.device) // size
    scales = absmax[which.clamp(max=len(absmax) - 1)]
    weight = codebook[codes.long()].reshape(out, size_in) * scales
    return x @ weight.T + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 10.5 wrong: the adapter gives no gradient to x
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codebook[codes.long()] * absmax[:, None]).view(len(lora_B), -1)
    update = x.detach() @ lora_A.T @ lora_B.T
    return x @ weight.T + alpha / len(lora_A) * update


# %% 10.5 wrong: the scale is 2, as for rank 8 and alpha 16
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    weight = (codebook[codes.long()] * absmax[:, None]).reshape(lora_B.shape[0], lora_A.shape[1])
    return x @ weight.T + 2 * (x @ lora_A.T) @ lora_B.T


# %% 10.5 right: look up, scale, multiply
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    w = (codebook[codes.int()] * absmax[:, None]).reshape(len(lora_B), -1)
    return x @ w.T.to(x.dtype) + alpha / len(lora_A) * (x @ lora_A.T @ lora_B.T)


# %% 10.5 right: one output number after the other
def qlora_forward(x, codes, absmax, codebook, lora_A, lora_B, alpha):
    size_out, size_in, r = lora_B.shape[0], lora_A.shape[1], lora_A.shape[0]
    values = []
    for block, scale in zip(codes, absmax):
        values.append(codebook.index_select(0, block.long()) * scale)
    weight = torch.cat(values).detach().to(x.dtype)
    narrow = torch.nn.functional.linear(x, lora_A)
    outputs = []
    for i in range(size_out):
        row = weight[i * size_in : (i + 1) * size_in]
        outputs.append((x * row).sum(-1) + (narrow * lora_B[i]).sum(-1) * (alpha / r))
    return torch.stack(outputs, -1)

# %% 10.1 wrong: the step never falls below a small number, for blocks of zeros and of tiny numbers too
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(1).clamp(min=1e-5) / n
    return (blocks / steps[:, None]).round().clamp(-n, n).to(torch.int8), steps

# %% 10.1 wrong: the cast cuts off the fraction instead of rounding
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size).float()
    steps = blocks.abs().amax(1) / n
    safe = torch.where(steps == 0, 1.0, steps)
    return (blocks / safe[:, None]).to(torch.int8), steps

# %% 10.1 wrong: view does not take a transposed matrix
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.view(-1, block_size)
    steps = blocks.abs().amax(1) / n
    codes = torch.nan_to_num(blocks / steps[:, None]).round()
    return codes.to(torch.int8), steps

# %% 10.1 right: block by block in a loop
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    all_codes, all_steps = [], []
    for block in weight.detach().flatten().split(block_size):
        largest = block.abs().max()
        share = block / largest if largest > 0 else torch.zeros_like(block)
        all_codes.append((share * n).round().to(torch.int8))
        all_steps.append(largest / n)
    return torch.stack(all_codes), torch.stack(all_steps)

# %% 10.2 wrong: seven values above zero and eight below
def nf4_codebook() -> Tensor:
    p, q = 1 - (1 / 32 + 1 / 30) / 2, NormalDist().inv_cdf
    up = [q(0.5 + (p - 0.5) * i / 7) for i in range(1, 8)]
    down = [q(0.5 - (p - 0.5) * i / 8) for i in range(1, 9)]
    values = torch.tensor(sorted([*up, 0.0, *down]), dtype=torch.float32)
    return values / values.abs().max()

# %% 10.2 wrong: the last probability is that of fifteen pieces alone
def nf4_codebook() -> Tensor:
    p, q = 1 - 1 / 30, NormalDist().inv_cdf
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor(sorted([*down, 0.0, *up])) / up[-1]

# %% 10.2 wrong: the values are 64-bit floats
def nf4_codebook() -> Tensor:
    p, q = 1 - (1 / 32 + 1 / 30) / 2, NormalDist().inv_cdf
    steps = [-i / 7 for i in range(7, 0, -1)] + [i / 8 for i in range(9)]
    values = torch.tensor([q(0.5 + (p - 0.5) * s) for s in steps], dtype=torch.float64)
    return values / values.max()

# %% 10.2 right: linspace for both sides
from statistics import NormalDist


def nf4_codebook() -> Tensor:
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    up = torch.linspace(0.5, p, 9, dtype=torch.float64)[1:].tolist()
    down = torch.linspace(1 - p, 0.5, 8, dtype=torch.float64)[:-1].tolist()
    q = NormalDist().inv_cdf
    return torch.tensor([*(q(x) / q(p) for x in down), 0.0, *(q(x) / q(p) for x in up)]).float()

# %% 10.3 wrong: a block of zeros gets the place 7, right for NF4 alone
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax[:, None]
    codes = (scaled[..., None] - codebook.to(scaled)).abs().argmin(-1)
    codes[absmax == 0] = 7
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: bucketize by the entries themselves finds the next one above, not the nearest
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / torch.where(absmax > 0, absmax, torch.ones_like(absmax))[:, None]
    codes = torch.bucketize(scaled, codebook.to(scaled)).clamp(max=len(codebook) - 1)
    return codes.to(torch.uint8), absmax

# %% 10.3 wrong: the scale keeps the sign of the largest number
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    scale = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scaled = blocks / torch.where(scale == 0, torch.ones_like(scale), scale)
    codes = (scaled.unsqueeze(-1) - codebook.to(scaled)).abs().argmin(-1)
    return codes.to(torch.uint8), scale[:, 0]

# %% 10.3 right: the borders half way between entries, and searchsorted
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.detach().contiguous().view(-1, block_size)
    absmax = blocks.abs().max(dim=1).values
    borders = (codebook[:-1] + codebook[1:]) / 2
    scaled = (blocks / absmax.masked_fill(absmax == 0, 1)[:, None]).to(borders.dtype)
    return torch.searchsorted(borders.contiguous(), scaled.contiguous()).byte(), absmax

# %% 10.4 wrong: 256 scales share a second scale whatever scale_block says
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 / block_size + scale_bits / (block_size * 256)
    return bits + scale_bits / block_size

# %% 10.4 wrong: the second scale has 32 bits whatever scale_bits says
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    per_scale = 8 + 32 / scale_block if double else scale_bits
    return bits + per_scale / block_size

# %% 10.4 wrong: it only calls itself
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    return bits_per_parameter(bits, block_size, scale_bits, double, scale_block)

# %% 10.4 right: one line
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    return bits + (8 + scale_bits / scale_block if double else scale_bits) / block_size

# %% 10.5 wrong: the frozen product is made without gradients, so none reach x through it
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    with torch.no_grad():
        weight = (codebook[codes.long()] * absmax[:, None]).view(lora_B.shape[0], lora_A.shape[1])
        base = x @ weight.T
    return base + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: each row is taken to hold whole blocks
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    size_out, size_in = lora_B.shape[0], lora_A.shape[1]
    scales = absmax.view(size_out, -1).repeat_interleave(codes.shape[1], dim=1)[:, :size_in]
    weight = codebook[codes.long()].view(size_out, size_in) * scales
    return x @ weight.T + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)

# %% 10.5 wrong: the rank is always 8
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.int()] * absmax.unsqueeze(1)).reshape(-1, x.shape[-1])
    adapter = torch.nn.functional.linear(torch.nn.functional.linear(x, lora_A), lora_B)
    return torch.nn.functional.linear(x, weight) + alpha / 8 * adapter

# %% 10.5 right: index_select and one merged matrix
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    values = codebook.detach().index_select(0, codes.flatten().long())
    frozen = values * absmax.detach().repeat_interleave(codes.shape[1])
    merged = frozen.view(len(lora_B), -1) + (alpha / len(lora_A)) * (lora_B @ lora_A)
    return torch.nn.functional.linear(x, merged)


# %% 10.1 wrong: n is 2 ** (bits - 1), so the largest number gets the code 128
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1)
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(dim=1) / n
    divisor = torch.where(steps == 0, torch.ones_like(steps), steps)
    codes = torch.round(blocks / divisor[:, None]).to(torch.int8)
    return codes, steps


# %% 10.1 wrong: cast to int8 cuts the fraction off where it should round
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.abs().amax(dim=1) / n
    divisor = torch.where(steps == 0, torch.ones_like(steps), steps)
    codes = (blocks / divisor[:, None]).clamp(-n, n).to(torch.int8)
    return codes, steps


# %% 10.1 wrong: a block of zeros is given back with the step 1
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(dim=1)
    steps = torch.where(absmax > 0, absmax / n, torch.ones_like(absmax))
    codes = torch.round(blocks / steps[:, None]).to(torch.int8)
    return codes, steps


# %% 10.1 wrong: largest number of the block, not the largest magnitude
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.reshape(-1, block_size)
    steps = blocks.max(dim=1).values / n
    divisor = torch.where(steps == 0, torch.ones_like(steps), steps)
    codes = torch.round(blocks / divisor[:, None]).clamp(-n, n).to(torch.int8)
    return codes, steps


# %% 10.1 wrong: view raises for a transposed view
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.view(-1, block_size)
    steps = blocks.abs().amax(dim=1) / n
    divisor = steps.masked_fill(steps == 0, 1.0)
    codes = torch.round(blocks / divisor[:, None]).clamp(-n, n).to(torch.int8)
    return codes, steps


# %% 10.1 right: all blocks at once, again
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = 2 ** (bits - 1) - 1
    blocks = weight.detach().reshape(-1, block_size).float()
    steps = blocks.abs().amax(dim=1) / n
    divisor = steps.masked_fill(steps == 0, 1.0)
    codes = (blocks / divisor.unsqueeze(1)).round().clamp(-n, n).to(torch.int8)
    return codes, steps


# %% 10.1 right: a loop over the blocks
def quantize_absmax(weight: Tensor, bits: int, block_size: int) -> tuple[Tensor, Tensor]:
    n = (1 << (bits - 1)) - 1
    codes, steps = [], []
    for block in weight.detach().float().flatten().split(block_size):
        largest = max(block.max().item(), -block.min().item())
        if largest == 0:
            steps.append(0.0)
            codes.append(torch.zeros(block_size, dtype=torch.int8, device=weight.device))
            continue
        step = largest / n
        steps.append(step)
        codes.append((block / step).round().clamp(-n, n).to(torch.int8))
    return torch.stack(codes), torch.tensor(steps, device=weight.device)


# %% 10.2 wrong: seven values above zero and eight below, again
def nf4_codebook() -> Tensor:
    from statistics import NormalDist

    q = NormalDist().inv_cdf
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    up = [q(0.5 + (p - 0.5) * i / 7) for i in range(1, 8)]
    down = [q(0.5 - (p - 0.5) * i / 8) for i in range(1, 9)]
    values = torch.tensor(sorted([*down, 0.0, *up]), dtype=torch.float32)
    return values / values.max()


# %% 10.2 wrong: the half in front of the last probability is forgotten
def nf4_codebook() -> Tensor:
    from statistics import NormalDist

    q = NormalDist().inv_cdf
    p = 1 - (1 / 32 + 1 / 30)
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    values = torch.tensor(sorted([*down, 0.0, *up]), dtype=torch.float32)
    return values / values.max()


# %% 10.2 wrong: the quantiles are not divided by the largest
def nf4_codebook() -> Tensor:
    from statistics import NormalDist

    q = NormalDist().inv_cdf
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    values = [0.0]
    values += [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    values += [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    return torch.tensor(sorted(values), dtype=torch.float32)


# %% 10.2 wrong: downwards in eighths too, so that -1 is not reached
def nf4_codebook() -> Tensor:
    from statistics import NormalDist

    q = NormalDist().inv_cdf
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    values = [q(0.5 + (p - 0.5) * i / 8) for i in range(-7, 9)]
    values = torch.tensor(values, dtype=torch.float32)
    return values / values.abs().max()


# %% 10.2 wrong: the lower half stands from zero outwards, so the values do not ascend
def nf4_codebook() -> Tensor:
    from statistics import NormalDist

    q = NormalDist().inv_cdf
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    up = [q(0.5 + (p - 0.5) * i / 8) for i in range(1, 9)]
    down = [q(0.5 - (p - 0.5) * i / 7) for i in range(1, 8)]
    values = torch.tensor([*down, 0.0, *up], dtype=torch.float32)
    return values / values.max()


# %% 10.2 right: lists and NormalDist
def nf4_codebook() -> Tensor:
    from statistics import NormalDist

    quantile = NormalDist().inv_cdf
    p = 1 - (1 / 32 + 1 / 30) / 2
    largest = quantile(p)
    up = [quantile(0.5 + (p - 0.5) * i / 8) / largest for i in range(1, 9)]
    down = [quantile(0.5 - (p - 0.5) * i / 7) / largest for i in range(7, 0, -1)]
    return torch.tensor([*down, 0.0, *up], dtype=torch.float32)


# %% 10.2 right: linspace and ndtri in 64 bits
def nf4_codebook() -> Tensor:
    p = 1 - 0.5 * (1 / 32 + 1 / 30)
    up = torch.special.ndtri(torch.linspace(0.5, p, 9, dtype=torch.float64)[1:])
    down = -torch.special.ndtri(torch.linspace(0.5, p, 8, dtype=torch.float64)[1:])
    both = torch.cat([down, torch.zeros(1, dtype=torch.float64), up])
    both = both / both.max()
    return both.sort().values.float()


# %% 10.3 wrong: places as if the entries were evenly spaced
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1.0)[:, None]
    codes = ((scaled + 1) / 2 * (len(codebook) - 1)).round().to(torch.uint8)
    return codes, absmax


# %% 10.3 wrong: searchsorted finds the next larger entry, not the nearest
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1.0)[:, None]
    codes = torch.searchsorted(codebook, scaled).clamp(max=len(codebook) - 1)
    return codes.to(torch.uint8), absmax


# %% 10.3 wrong: a block of zeros is divided by zero and gets place 0
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax[:, None]
    codes = (scaled[..., None] - codebook).abs().argmin(-1)
    return codes.to(torch.uint8), absmax


# %% 10.3 wrong: codes are int8, places above 127 turn negative
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(-1, block_size)
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1.0)[:, None]
    codes = (scaled[..., None] - codebook).abs().argmin(-1)
    return codes.to(torch.int8), absmax


# %% 10.3 wrong: blocks are taken with a stride and not row after row
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.reshape(block_size, -1).T
    absmax = blocks.abs().amax(1)
    scaled = blocks / absmax.masked_fill(absmax == 0, 1.0)[:, None]
    codes = (scaled[..., None] - codebook).abs().argmin(-1)
    return codes.to(torch.uint8), absmax


# %% 10.3 right: distance to every entry, then argmin
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.detach().reshape(-1, block_size)
    absmax = blocks.abs().amax(dim=1)
    scaled = blocks / torch.where(absmax == 0, torch.ones_like(absmax), absmax).unsqueeze(1)
    distance = (scaled.unsqueeze(-1) - codebook).abs()
    return distance.argmin(dim=-1).to(torch.uint8), absmax


# %% 10.3 right: count the middles that lie below
def quantize_blocks(weight: Tensor, codebook: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    blocks = weight.detach().flatten().view(-1, block_size)
    absmax = blocks.abs().max(dim=1).values
    scaled = torch.zeros_like(blocks)
    filled = absmax > 0
    scaled[filled] = blocks[filled] / absmax[filled][:, None]
    middles = ((codebook[1:] + codebook[:-1]) / 2).to(scaled).contiguous()
    return torch.bucketize(scaled, middles).to(torch.uint8), absmax


# %% 10.4 wrong: the second scale is shared by scale_block numbers, not scales, again
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if not double:
        return bits + scale_bits / block_size
    return bits + 8 / block_size + scale_bits / scale_block


# %% 10.4 wrong: double comes on top of the full scales
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    cost = bits + scale_bits / block_size
    if double:
        cost += 8 / block_size + scale_bits / (block_size * scale_block)
    return cost


# %% 10.4 wrong: the second scale always has 32 bits, again
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 / block_size + 32 / (block_size * scale_block)
    return bits + scale_bits / block_size


# %% 10.4 wrong: with double a scale has as many bits as a code
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    per_scale = bits + scale_bits / scale_block if double else scale_bits
    return bits + per_scale / block_size


# %% 10.4 wrong: whole bits only, by integer division
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    if double:
        return bits + 8 // block_size + scale_bits // (block_size * scale_block)
    return bits + scale_bits // block_size


# %% 10.4 right: what a scale costs, shared by its block
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    per_scale = 8 + scale_bits / scale_block if double else scale_bits
    return bits + per_scale / block_size


# %% 10.4 right: count all bits of one large group and divide
def bits_per_parameter(
    bits: float, block_size: int, scale_bits: float, double: bool = False, scale_block: int = 256
) -> float:
    scales = scale_block if double else 1
    numbers = scales * block_size
    total = numbers * bits
    if double:
        total += scales * 8
        total += scale_bits
    else:
        total += scales * scale_bits
    return total / numbers


# %% 10.5 wrong: uint8 codes index the codebook as a mask
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes] * absmax[:, None]).view(lora_B.shape[0], lora_A.shape[1])
    return x @ weight.T + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 10.5 wrong: alpha is divided by the number of inputs, not by r
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    weight = (codebook[codes.long()] * absmax[:, None]).view(lora_B.shape[0], lora_A.shape[1])
    scale = alpha / lora_A.shape[1]
    return x @ weight.T + scale * (x @ lora_A.T @ lora_B.T)


# %% 10.5 wrong: the codes are laid out as (in, out)
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    r, n_in = lora_A.shape
    n_out = lora_B.shape[0]
    weight = (codebook[codes.long()] * absmax[:, None]).view(n_in, n_out)
    return x @ weight + (alpha / r) * (x @ lora_A.T) @ lora_B.T


# %% 10.5 wrong: every row begins a new block of scales
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    r, n_in = lora_A.shape
    n_out, size = lora_B.shape[0], codes.shape[1]
    rows = torch.arange(n_out, device=codes.device)[:, None]
    columns = torch.arange(n_in, device=codes.device)
    scales = absmax[rows * (n_in // size) + columns // size]
    weight = codebook[codes.long()].view(n_out, n_in) * scales
    return x @ weight.T + (alpha / r) * (x @ lora_A.T) @ lora_B.T


# %% 10.5 wrong: the frozen path is computed without gradients, so x gets none through it
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    with torch.no_grad():  # the base is frozen
        weight = (codebook[codes.long()] * absmax[:, None]).view(lora_B.shape[0], lora_A.shape[1])
        frozen = x @ weight.T
    return frozen + alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 10.5 right: dequantize, and the adapter beside it
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    with torch.no_grad():
        numbers = codebook[codes.long()] * absmax.unsqueeze(1)
        weight = numbers.reshape(lora_B.shape[0], lora_A.shape[1])
    update = (x @ lora_A.T) @ lora_B.T
    return x @ weight.T + (alpha / lora_A.shape[0]) * update


# %% 10.5 right: one matrix with the update added, by F.linear
def qlora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, codebook: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float
) -> Tensor:
    import torch.nn.functional as F

    entries = torch.index_select(codebook, 0, codes.flatten().int())
    scales = absmax.repeat_interleave(codes.shape[1])
    update = torch.einsum("or,ri->oi", lora_B, lora_A) * (alpha / lora_B.shape[1])
    return F.linear(x, (entries * scales).view_as(update) + update)
