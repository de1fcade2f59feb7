# %% 09.1 wrong: alpha is not divided by r
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha * (x @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: alpha is divided by r without remainder
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + (alpha // len(lora_A)) * (x @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: r is read from the rows of B, which are the outputs
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha / lora_B.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: no gradient flows through the adapter
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        update = alpha / lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)
    return torch.nn.functional.linear(x, weight) + update


# %% 09.1 wrong: the update is written into the frozen matrix
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    update = alpha / lora_A.shape[0] * lora_B @ lora_A
    with torch.no_grad():
        weight += update
    return torch.nn.functional.linear(x, weight.detach() + update - update.detach())


# %% 09.1 wrong: the scale is applied to the frozen part too
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return alpha / lora_A.shape[0] * (x @ weight.T + x @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: x is taken to be a single matrix, (tokens, in)
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    return (weight @ rows.T + alpha / lora_A.shape[0] * (lora_B @ (lora_A @ rows.T))).T


# %% 09.1 wrong: the narrow part is computed in half precision
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    narrow = x.to(torch.bfloat16) @ lora_A.to(torch.bfloat16).T
    update = narrow @ lora_B.to(torch.bfloat16).T
    return x @ weight.T + alpha / lora_A.shape[0] * update.to(x.dtype)


# %% 09.1 right: three products, through the narrow place
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha / len(lora_A) * (x @ lora_A.T @ lora_B.T)


# %% 09.1 right: a naive loop over the r directions
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    r = lora_A.shape[0]
    y = torch.nn.functional.linear(x, weight)
    for i in range(r):
        share = (x * lora_A[i]).sum(dim=-1, keepdim=True)
        y = y + alpha / r * share * lora_B[:, i]
    return y


# %% 09.1 right: einsum with all axes named
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    frozen = torch.einsum("...i,oi->...o", x, weight)
    narrow = torch.einsum("...i,ri->...r", x, lora_A)
    return frozen + torch.einsum("...r,or->...o", narrow, lora_B) * (alpha / lora_B.shape[1])


# %% 09.2 wrong: only A is counted
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(r * size_in for _, size_in in shapes)


# %% 09.2 wrong: equal shapes are counted once
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(r * (size_out + size_in) for size_out, size_in in set(shapes))


# %% 09.2 wrong: an r by r matrix between the two is counted too
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(r * size_out + r * r + r * size_in for size_out, size_in in shapes)


# %% 09.2 wrong: a bias for each output is counted too
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(r * (size_out + size_in) + size_out for size_out, size_in in shapes)


# %% 09.2 wrong: all matrices are taken to be square
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(2 * r * shape[0] for shape in shapes)


# %% 09.2 wrong: the sum is kept in single precision and loses the last digits of large models
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    sides = torch.tensor(shapes, dtype=torch.float32).reshape(-1)
    total = torch.zeros((), dtype=torch.float32)
    for side in sides:
        total = total + r * side
    return int(total)


# %% 09.2 wrong: the list of shapes is emptied while it is read
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    total = 0
    while shapes:
        total += r * sum(shapes.pop())
    return total


# %% 09.2 wrong: all matrices are taken to have the first one's shape
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return len(shapes) * r * sum(shapes[0]) if shapes else 0


# %% 09.2 right: r times all sides
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return r * sum(map(sum, shapes))


# %% 09.2 right: a naive loop that counts A and B
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    total = 0
    for size_out, size_in in shapes:
        numbers_of_a = r * size_in
        numbers_of_b = size_out * r
        total = total + numbers_of_a + numbers_of_b
    return total


# %% 09.2 right: recursion over the list
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    def count(low: int, high: int) -> int:
        if high - low == 0:
            return 0
        if high - low == 1:
            size_out, size_in = shapes[low]
            return r * size_in + size_out * r
        middle = (low + high) // 2
        return count(low, middle) + count(middle, high)

    return int(count(0, len(shapes)))


# %% 09.3 wrong: A is drawn from a normal distribution
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(r, size_in, generator=generator) / size_in**0.5, torch.zeros(size_out, r)


# %% 09.3 wrong: only the positive half of the range is drawn
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(r, size_in, generator=generator) / size_in**0.5, torch.zeros(size_out, r)


# %% 09.3 wrong: the bound is made of the rank instead of the size of the input
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = 1 / r**0.5
    return torch.empty(r, size_in).uniform_(-bound, bound, generator=generator), torch.zeros(size_out, r)


# %% 09.3 wrong: the generator is ignored
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = 1 / size_in**0.5
    return torch.empty(r, size_in).uniform_(-bound, bound), torch.zeros(size_out, r)


# %% 09.3 wrong: A is zero and B is random
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = 1 / size_in**0.5
    return torch.zeros(r, size_in), torch.empty(size_out, r).uniform_(-bound, bound, generator=generator)


# %% 09.3 wrong: kaiming_uniform_ without a = sqrt(5) has a bound that is too wide
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    a = torch.empty(r, size_in)
    torch.nn.init.kaiming_uniform_(a, generator=generator)
    return a, torch.zeros(size_out, r)


# %% 09.3 wrong: all rows of A are the same, so that the rank is one
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    row = (2 * torch.rand(1, size_in, generator=generator) - 1) / size_in**0.5
    return row.repeat(r, 1), torch.zeros(size_out, r)


# %% 09.3 wrong: the generator is set back to its seed first, so that every layer gets the same A
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    generator.manual_seed(generator.initial_seed())
    bound = 1 / size_in**0.5
    return torch.empty(r, size_in).uniform_(-bound, bound, generator=generator), torch.zeros(size_out, r)


# %% 09.3 right: rand, stretched and shifted
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return (2 * torch.rand(r, size_in, generator=generator) - 1) / size_in**0.5, torch.zeros(size_out, r)


# %% 09.3 right: a naive loop, row by row
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = size_in**-0.5
    a = torch.zeros(r, size_in)
    for i in range(r):
        a[i] = torch.empty(size_in).uniform_(-bound, bound, generator=generator)
    b = torch.zeros(size_out, r)
    return a, b


# %% 09.3 right: kaiming_uniform_ with a = sqrt(5), as peft writes it
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    a = torch.nn.init.kaiming_uniform_(torch.empty(r, size_in), a=5**0.5, generator=generator)
    b = torch.nn.init.zeros_(torch.empty(size_out, r))
    return a, b


# %% 09.4 wrong: the update is added to the given matrix in place
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        weight += alpha / lora_A.shape[0] * lora_B @ lora_A
    return weight.clone()


# %% 09.4 wrong: the update is multiplied by alpha alone
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight + alpha * lora_B @ lora_A


# %% 09.4 wrong: it calls itself
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return merge(weight, lora_A, lora_B, alpha)


# %% 09.4 wrong: r is read from the wrong axis of A
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight + alpha / lora_A.shape[1] * (lora_B @ lora_A)


# %% 09.4 wrong: the new matrix is rounded to half precision on the way
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    scale = alpha / lora_A.shape[0]
    return (weight.bfloat16() + scale * (lora_B.bfloat16() @ lora_A.bfloat16())).to(weight.dtype)


# %% 09.4 wrong: alpha is taken to be twice the rank, whatever was asked for
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight + 2.0 * (lora_B @ lora_A)


# %% 09.4 wrong: the scale is divided by the root of r
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight + alpha / lora_A.shape[0] ** 0.5 * (lora_B @ lora_A)


# %% 09.4 wrong: the product is made the wrong way round and reshaped until it fits
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight + alpha / lora_A.shape[0] * (lora_A.T @ lora_B.T).reshape(weight.shape)


# %% 09.4 right: the sum of the matrix and the scaled product
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight + alpha / len(lora_A) * lora_B @ lora_A


# %% 09.4 right: a naive loop over outer products
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    r = lora_A.shape[0]
    merged = weight.clone()
    for i in range(r):
        merged = merged + (alpha / r) * torch.outer(lora_B[:, i], lora_A[i])
    return merged


# %% 09.4 right: addmm, which adds and multiplies at once
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return torch.addmm(weight, lora_B, lora_A, alpha=alpha / lora_B.shape[1])


# %% 09.5 wrong: singular values count without their squares
def effective_rank(matrix: Tensor, share: float) -> int:
    held = torch.linalg.svdvals(matrix.double()).cumsum(0)
    return int((held < share * held[-1]).sum()) + 1


# %% 09.5 wrong: the place is counted from 0
def effective_rank(matrix: Tensor, share: float) -> int:
    held = torch.linalg.svdvals(matrix.double()).square().cumsum(0)
    return int((held < share * held[-1]).sum())


# %% 09.5 wrong: more than the share must be held, so that the whole is never reached
def effective_rank(matrix: Tensor, share: float) -> int:
    held = torch.linalg.svdvals(matrix.double()).square().cumsum(0)
    return int((held <= share * held[-1]).sum()) + 1


# %% 09.5 wrong: the matrix is centred first, as for principal components
def effective_rank(matrix: Tensor, share: float) -> int:
    centred = matrix.double() - matrix.double().mean(0, keepdim=True)
    held = torch.linalg.svdvals(centred).square().cumsum(0)
    return int((held < share * held[-1]).sum()) + 1


# %% 09.5 wrong: the rows' lengths stand in for the singular values
def effective_rank(matrix: Tensor, share: float) -> int:
    held = matrix.double().square().sum(1).sort(descending=True).values.cumsum(0)
    return int((held < share * held[-1]).sum()) + 1


# %% 09.5 wrong: the matrix is scaled to length 1 in place
def effective_rank(matrix: Tensor, share: float) -> int:
    with torch.no_grad():
        matrix /= matrix.norm()
    held = torch.linalg.svdvals(matrix.double()).square().cumsum(0)
    return int((held < share * held[-1]).sum()) + 1


# %% 09.5 wrong: the share is asked of the lengths, the roots of the sums
def effective_rank(matrix: Tensor, share: float) -> int:
    held = torch.linalg.svdvals(matrix.double()).square().cumsum(0).sqrt()
    return int((held < share * held[-1]).sum()) + 1


# %% 09.5 wrong: it counts the singular values above a share of the largest
def effective_rank(matrix: Tensor, share: float) -> int:
    squares = torch.linalg.svdvals(matrix.double()).square()
    return max(1, int((squares >= (1 - share) * squares[0]).sum()))


# %% 09.5 right: cumulated squares, counted as far as they fall short
def effective_rank(matrix: Tensor, share: float) -> int:
    held = torch.linalg.svdvals(matrix.detach().double()).square().cumsum(0)
    return int((held < (share - 1e-14) * held[-1]).sum()) + 1


# %% 09.5 right: a naive loop over numpy's singular values
def effective_rank(matrix: Tensor, share: float) -> int:
    import numpy as np

    values = np.linalg.svd(matrix.detach().cpu().double().numpy(), compute_uv=False)
    total = 0.0
    for value in values:
        total += value * value
    held = 0.0
    k = 0
    for value in values:
        held += value * value
        k += 1
        if held >= share * total * (1 - 1e-14):
            break
    return k


# %% 09.5 right: eigenvalues of the smaller product with the transpose
def effective_rank(matrix: Tensor, share: float) -> int:
    m = matrix.detach().to(torch.float64)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    squares = torch.linalg.eigvalsh(gram).clamp(min=0).flip(0)
    held = squares.cumsum(0) / squares.sum()
    return 1 + next(i for i, h in enumerate(held.tolist()) if h >= share - 1e-13)


# %% 09.1 wrong: the update is added to the frozen matrix itself
def lora_forward(x, weight, lora_A, lora_B, alpha):
    scale = alpha / lora_A.shape[0]
    result = x @ weight.T + scale * (x @ lora_A.T) @ lora_B.T
    weight.data += scale * (lora_B @ lora_A).detach()
    return result


# %% 09.1 wrong: the axes before the last are flattened and not put back
def lora_forward(x, weight, lora_A, lora_B, alpha):
    rows = x.reshape(-1, x.shape[-1])
    return rows @ weight.T + alpha / len(lora_A) * (rows @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: alpha is divided by r as whole numbers
def lora_forward(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + alpha // lora_A.shape[0] * (x @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: computed and returned in 32 bits, whatever comes in
def lora_forward(x, weight, lora_A, lora_B, alpha):
    x = x.float()
    return x @ weight.float().T + alpha / lora_A.shape[0] * (x @ lora_A.float().T) @ lora_B.float().T


# %% 09.1 wrong: only lora_B learns, the way to lora_A is cut
def lora_forward(x, weight, lora_A, lora_B, alpha):
    with torch.no_grad():
        base, narrow = x @ weight.T, x @ lora_A.T
    return base + alpha / lora_A.shape[0] * (narrow @ lora_B.T)


# %% 09.1 right: one line
def lora_forward(x, weight, lora_A, lora_B, alpha):
    return x @ weight.T + alpha / len(lora_A) * (x @ lora_A.T @ lora_B.T)


# %% 09.1 right: direction by direction
def lora_forward(x, weight, lora_A, lora_B, alpha):
    result = torch.nn.functional.linear(x, weight)
    r = lora_A.shape[0]
    update = 0
    for i in range(r):
        along = (x * lora_A[i]).sum(-1)
        update = update + along.unsqueeze(-1) * lora_B[:, i]
    return result + (alpha / r) * update


# %% 09.2 wrong: equal shapes are counted once (another)
def lora_parameters(shapes, r):
    return sum(r * (out + into) for out, into in set(shapes))


# %% 09.2 wrong: the rank is cut to the matrix's smaller side
def lora_parameters(shapes, r):
    return sum(min(r, out, into) * (out + into) for out, into in shapes)


# %% 09.2 wrong: fails where there is no matrix
def lora_parameters(shapes, r):
    outs, ins = zip(*shapes)
    return r * (sum(outs) + sum(ins))


# %% 09.2 wrong: right for square matrices only
def lora_parameters(shapes, r):
    return sum(2 * r * out for out, _ in shapes)


# %% 09.2 wrong: a share of the product in floats, not exact for large models
def lora_parameters(shapes, r):
    return float(sum(out * into * (r / out + r / into) for out, into in shapes))


# %% 09.2 right: r times the sum of all sides
def lora_parameters(shapes, r):
    return r * sum(map(sum, shapes))


# %% 09.2 right: A and B counted one after the other
def lora_parameters(shapes, r):
    numbers = 0
    for size_out, size_in in shapes:
        numbers = numbers + r * size_in
        numbers = numbers + size_out * r
    return numbers


# %% 09.3 wrong: the bound is taken from the rank
def init_lora(size_in, size_out, r, generator):
    bound = r**-0.5
    return torch.empty(r, size_in).uniform_(-bound, bound, generator=generator), torch.zeros(size_out, r)


# %% 09.3 wrong: the global generator draws
def init_lora(size_in, size_out, r, generator):
    bound = size_in**-0.5
    return torch.empty(r, size_in).uniform_(-bound, bound), torch.zeros(size_out, r)


# %% 09.3 wrong: begins again at the generator's first seed each time
def init_lora(size_in, size_out, r, generator):
    own = torch.Generator().manual_seed(generator.initial_seed())
    bound = size_in**-0.5
    return (2 * torch.rand(r, size_in, generator=own) - 1) * bound, torch.zeros(size_out, r)


# %% 09.3 wrong: numbers from 0 upwards only
def init_lora(size_in, size_out, r, generator):
    return torch.rand(r, size_in, generator=generator) / size_in**0.5, torch.zeros(size_out, r)


# %% 09.3 wrong: a normal distribution, cut at the bounds
def init_lora(size_in, size_out, r, generator):
    bound = size_in**-0.5
    return (torch.randn(r, size_in, generator=generator) * bound).clamp(-bound, bound), torch.zeros(size_out, r)


# %% 09.3 right: by uniform_
def init_lora(size_in, size_out, r, generator):
    b = 1 / size_in**0.5
    return torch.empty(r, size_in).uniform_(-b, b, generator=generator), torch.zeros(size_out, r)


# %% 09.3 right: row by row
def init_lora(size_in, size_out, r, generator):
    rows = []
    for _ in range(r):
        numbers = torch.rand(size_in, generator=generator)
        rows.append((numbers - 0.5) * 2 / size_in**0.5)
    lora_B = torch.full((size_out, r), 0.0)
    return torch.stack(rows), lora_B


# %% 09.4 wrong: the frozen matrix itself is changed
def merge(weight, lora_A, lora_B, alpha):
    with torch.no_grad():
        weight += (alpha / lora_A.shape[0] * (lora_B @ lora_A)).to(weight.dtype)
    return weight


# %% 09.4 wrong: a 16-bit matrix comes back in the adapter's 32 bits
def merge(weight, lora_A, lora_B, alpha):
    return weight + alpha / lora_A.shape[0] * (lora_B.float() @ lora_A.float())


# %% 09.4 wrong: only the first direction, right for r = 1
def merge(weight, lora_A, lora_B, alpha):
    update = torch.outer(lora_B[:, 0], lora_A[0])
    return (weight + alpha / lora_A.shape[0] * update).to(weight.dtype)


# %% 09.4 wrong: the scale is applied to A and again to B
def merge(weight, lora_A, lora_B, alpha):
    scale = alpha / lora_A.shape[0]
    return (weight + (scale * lora_B) @ (scale * lora_A)).to(weight.dtype)


# %% 09.4 wrong: it calls itself (another)
def merge(weight, lora_A, lora_B, alpha):
    return merge(weight.detach().clone(), lora_A, lora_B, alpha).to(weight.dtype)


# %% 09.4 right: one line, in 64 bits on the way
def merge(weight, lora_A, lora_B, alpha):
    return (weight.double() + alpha / len(lora_A) * lora_B.double() @ lora_A.double()).to(weight.dtype)


# %% 09.4 right: a loop over the directions
def merge(weight, lora_A, lora_B, alpha):
    r = lora_A.shape[0]
    update = torch.zeros(weight.shape, dtype=torch.float64, device=weight.device)
    for i in range(r):
        update = update + torch.outer(lora_B[:, i].detach().double(), lora_A[i].detach().double())
    merged = weight.detach().double() + update * (alpha / r)
    return merged.to(weight.dtype)


# %% 09.5 wrong: the singular values count without their square
def effective_rank(matrix, share):
    values = torch.linalg.svdvals(matrix.double())
    held = values.cumsum(0) / values.sum()
    return int((held < share - 1e-6).sum()) + 1


# %% 09.5 wrong: the mean of each column is taken off first, as for principal components
def effective_rank(matrix, share):
    centred = matrix.double() - matrix.double().mean(0)
    squares = torch.linalg.svdvals(centred).square()
    held = squares.cumsum(0) / squares.sum()
    return int((held < share - 1e-6).sum()) + 1


# %% 09.5 wrong: always 90 per cent
def effective_rank(matrix, share):
    squares = torch.linalg.svdvals(matrix.double()).square()
    held = squares.cumsum(0) / squares.sum()
    return int((held < 0.9 - 1e-6).sum()) + 1


# %% 09.5 wrong: the caller's matrix is divided by its norm
def effective_rank(matrix, share):
    matrix /= matrix.norm()
    held = torch.linalg.svdvals(matrix.double()).square().cumsum(0)
    return int((held < share - 1e-6).sum()) + 1


# %% 09.5 wrong: a share that is reached exactly asks for one direction more
def effective_rank(matrix, share):
    squares = torch.linalg.svdvals(matrix.double()).square()
    held = squares.cumsum(0) / squares.sum()
    return min(int((held <= share + 1e-6).sum()) + 1, len(squares))


# %% 09.5 right: squares, added up
def effective_rank(matrix, share):
    s = torch.linalg.svdvals(matrix.detach().double()).square()
    return 1 + int((s.cumsum(0) < (share - 1e-7) * s.sum()).sum())


# %% 09.5 right: with numpy and a loop
def effective_rank(matrix, share):
    import numpy as np

    numbers = matrix.detach().cpu().double().numpy()
    values = np.linalg.svd(numbers, compute_uv=False)
    wanted = (share - 1e-7) * float((numbers**2).sum())
    held, k = 0.0, 0
    for value in sorted(values.tolist(), reverse=True):
        held += value**2
        k += 1
        if held >= wanted:
            break
    return k

# %% 09.1 wrong: the update is divided by the root of the rank
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha / lora_A.shape[0] ** 0.5 * (x @ lora_A.T @ lora_B.T)

# %% 09.1 wrong: the axes before the last are flattened and stay so
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    rows = x.reshape(-1, weight.shape[1])
    scale = alpha / lora_A.shape[0]
    return rows @ weight.T + (rows @ lora_A.T) @ lora_B.T * scale

# %% 09.1 wrong: the update is added into the frozen matrix
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    weight += alpha / lora_A.shape[0] * (lora_B @ lora_A)
    return torch.nn.functional.linear(x, weight)

# %% 09.1 right: einsum over the last axis
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    narrow = torch.einsum("...i,ri->...r", x, lora_A)
    update = torch.einsum("...r,or->...o", narrow, lora_B) * (alpha / len(lora_A))
    return torch.einsum("...i,oi->...o", x, weight) + update

# %% 09.2 wrong: matrices of equal shape count once
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(r * (out + into) for out, into in dict.fromkeys(shapes))

# %% 09.2 wrong: added up in 32-bit floats, which are not exact for large models
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return int(r * torch.tensor(shapes, dtype=torch.float32).sum())

# %% 09.2 wrong: it only calls itself
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return lora_parameters(shapes, r)

# %% 09.2 right: the shortest sum
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return r * sum(map(sum, shapes))

# %% 09.3 wrong: kaiming_uniform_ without its a, so the numbers reach too far
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    A = torch.empty(r, size_in)
    torch.nn.init.kaiming_uniform_(A, generator=generator)
    return A, torch.zeros(size_out, r)

# %% 09.3 wrong: the generator is set back to its seed first
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    generator.manual_seed(generator.initial_seed())
    A = (2 * torch.rand(r, size_in, generator=generator) - 1) / size_in**0.5
    return A, torch.zeros(size_out, r)

# %% 09.3 wrong: a normal distribution of the same spread, not an even one
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    A = torch.randn(r, size_in, generator=generator) * (3 * size_in) ** -0.5
    return A, torch.zeros(size_out, r)

# %% 09.3 right: uniform_ row by row
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = 1 / size_in**0.5
    lora_A = torch.empty((r, size_in), device=generator.device)
    for row in lora_A:
        row.uniform_(-bound, bound, generator=generator)
    return lora_A, torch.zeros((size_out, r), device=generator.device)

# %% 09.4 wrong: alpha is divided by the rank in whole numbers
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return weight.detach() + (alpha // lora_A.shape[0]) * (lora_B.detach() @ lora_A.detach())

# %% 09.4 wrong: the frozen matrix itself is changed and given back
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        return weight.addmm_(lora_B, lora_A, alpha=alpha / lora_A.shape[0])

# %% 09.4 wrong: computed in 32 bits and left there
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        return weight.float() + lora_B.float() @ lora_A.float() * (alpha / lora_A.shape[0])

# %% 09.4 right: one outer product per rank, in 64 bits
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    r = lora_A.shape[0]
    merged = weight.detach().to(torch.float64, copy=True)
    for i in range(r):
        merged += alpha / r * torch.outer(lora_B[:, i].detach().double(), lora_A[i].detach().double())
    return merged.to(weight.dtype)

# %% 09.5 wrong: the singular values count without their square (a third)
def effective_rank(matrix: Tensor, share: float) -> int:
    values = torch.linalg.svdvals(matrix.double())
    held = values.cumsum(0) / values.sum()
    return min(int((held < share - 1e-9).sum()) + 1, len(values))

# %% 09.5 wrong: if rounding keeps the sum below the share, argmax finds nothing and says 1
def effective_rank(matrix: Tensor, share: float) -> int:
    values = torch.linalg.svdvals(matrix.float())
    held = values.square().cumsum(0) / matrix.float().square().sum()
    return int((held >= share).int().argmax()) + 1

# %% 09.5 wrong: the given matrix is scaled to norm 1 in place
def effective_rank(matrix: Tensor, share: float) -> int:
    matrix /= matrix.norm()
    held = torch.linalg.svdvals(matrix).square().cumsum(0)
    return min(int((held < share - 1e-6).sum()) + 1, len(held))

# %% 09.5 right: eigenvalues of the smaller product, added up in a loop
def effective_rank(matrix: Tensor, share: float) -> int:
    m = matrix.detach().double()
    m = m / m.abs().max()
    squares = torch.linalg.eigvalsh(m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m).clamp(min=0)
    whole, held = squares.sum().item(), 0.0
    for k, square in enumerate(squares.flip(0).tolist(), 1):
        held += square
        if held >= (share - 1e-9) * whole:
            return k
    return len(squares)


# %% 09.1 wrong: whole-number division of alpha by r
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    r = lora_A.shape[0]
    return x @ weight.T + (alpha // r) * (x @ lora_A.T @ lora_B.T)


# %% 09.1 wrong: works with exactly one axis before the last
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    frozen = torch.einsum("bi,oi->bo", x, weight)
    narrow = torch.einsum("bi,ri->br", x, lora_A)
    return frozen + alpha / len(lora_A) * torch.einsum("br,or->bo", narrow, lora_B)


# %% 09.1 wrong: adds the update into the frozen matrix
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    weight += alpha / lora_A.shape[0] * (lora_B @ lora_A)
    return torch.nn.functional.linear(x, weight)


# %% 09.1 wrong: computes in 32 bits and does not come back to the dtype
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    x, weight, a, b = x.float(), weight.float(), lora_A.float(), lora_B.float()
    return x @ weight.T + alpha / a.shape[0] * ((x @ a.T) @ b.T)


# %% 09.1 wrong: takes the size of the input for r
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    scale = alpha / lora_A.shape[1]
    linear = torch.nn.functional.linear
    return linear(x, weight) + scale * linear(linear(x, lora_A), lora_B)


# %% 09.1 right: two thin products
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    return x @ weight.T + alpha / lora_A.shape[0] * ((x @ lora_A.T) @ lora_B.T)


# %% 09.1 right: einsum with dots, the update apart
def lora_forward(x: Tensor, weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    frozen = torch.einsum("...i,oi->...o", x, weight)
    narrow = torch.einsum("...i,ri->...r", x, lora_A)
    update = torch.einsum("...r,or->...o", narrow, lora_B)
    return torch.add(frozen, update, alpha=float(alpha) / lora_B.shape[1])


# %% 09.2 wrong: equal shapes are counted once, again
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(r * (size_out + size_in) for size_out, size_in in set(shapes))


# %% 09.2 wrong: takes both thin matrices to be as long as the input
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    total = 0
    for _, size_in in shapes:
        total += 2 * r * size_in
    return total


# %% 09.2 wrong: adds in 32-bit floats, which is not exact for large models
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return int(r * torch.tensor(shapes, dtype=torch.float32).sum())


# %% 09.2 wrong: the rank is cut to the smaller side
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return sum(min(r, size_out, size_in) * (size_out + size_in) for size_out, size_in in shapes)


# %% 09.2 wrong: all matrices are taken to have the first one's shape, and there must be one
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    size_out, size_in = shapes[0]
    return len(shapes) * r * (size_out + size_in)


# %% 09.2 right: a sum
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    return r * sum(size_out + size_in for size_out, size_in in shapes)


# %% 09.2 right: a loop over A and B apart
def lora_parameters(shapes: list[tuple[int, int]], r: int) -> int:
    total = 0
    for shape in shapes:
        numbers_in_a = r * shape[1]
        numbers_in_b = shape[0] * r
        total += numbers_in_a + numbers_in_b
    return total


# %% 09.3 wrong: draws from torch's own generator
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = 1 / size_in**0.5
    a = torch.empty(r, size_in).uniform_(-bound, bound)
    return a, torch.zeros(size_out, r)


# %% 09.3 wrong: sets the generator back to its seed first
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    generator.manual_seed(generator.initial_seed())
    bound = size_in**-0.5
    a = (2 * torch.rand(r, size_in, generator=generator) - 1) * bound
    return a, torch.zeros(size_out, r)


# %% 09.3 wrong: kaiming_uniform_ with its default, whose range is wider
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    a, b = torch.empty(r, size_in), torch.empty(size_out, r)
    torch.nn.init.kaiming_uniform_(a, generator=generator)
    torch.nn.init.zeros_(b)
    return a, b


# %% 09.3 wrong: only from 0 up
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    a = torch.rand(r, size_in, generator=generator) / size_in**0.5
    b = torch.zeros(size_out, r)
    return a, b


# %% 09.3 wrong: the range comes from the rank
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = 1 / r**0.5
    lora_A = torch.empty(r, size_in).uniform_(-bound, bound, generator=generator)
    lora_B = torch.zeros(size_out, r)
    return lora_A, lora_B


# %% 09.3 right: uniform_
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = size_in**-0.5
    a = torch.empty(r, size_in, device=generator.device).uniform_(-bound, bound, generator=generator)
    return a, torch.zeros(size_out, r, device=generator.device)


# %% 09.3 right: rand, moved and stretched
def init_lora(size_in: int, size_out: int, r: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    import math

    from_zero_to_one = torch.rand((r, size_in), generator=generator, device=generator.device)
    lora_A = (from_zero_to_one * 2 - 1) / math.sqrt(size_in)
    lora_B = lora_A.new_zeros((size_out, r))
    return lora_A, lora_B


# %% 09.4 wrong: detach is no copy, so the frozen matrix changes
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    merged = weight.detach()
    with torch.no_grad():
        merged += alpha / lora_A.shape[0] * (lora_B @ lora_A)
    return merged


# %% 09.4 wrong: the result is in 32 bits
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        update = lora_B.float() @ lora_A.float()
        return weight.float() + alpha / lora_A.shape[0] * update


# %% 09.4 wrong: divides by the root of r
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    scale = alpha / lora_A.shape[0] ** 0.5
    update = (scale * (lora_B.double() @ lora_A.double())).detach()
    return (weight.detach().double() + update).to(weight.dtype)


# %% 09.4 wrong: the product is transposed
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        update = lora_A.T @ lora_B.T
        return (weight + alpha / len(lora_A) * update).to(weight.dtype)


# %% 09.4 wrong: both factors are scaled, so the scale counts twice
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        scale = alpha / lora_A.shape[0]
        update = (scale * lora_B.double()) @ (scale * lora_A.double())
        return (weight.double() + update).to(weight.dtype)


# %% 09.4 right: in 64 bits, and back
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    with torch.no_grad():
        update = lora_B.double() @ lora_A.double()
        return (weight.double() + alpha / lora_A.shape[0] * update).to(weight.dtype)


# %% 09.4 right: one direction after the other
def merge(weight: Tensor, lora_A: Tensor, lora_B: Tensor, alpha: float) -> Tensor:
    wide = torch.promote_types(weight.dtype, torch.float32)
    merged = weight.detach().to(wide, copy=True)
    a, b = lora_A.detach().to(wide), lora_B.detach().to(wide)
    r = len(a)
    for i in range(r):
        merged += (alpha / r) * torch.outer(b[:, i], a[i])
    return merged.to(weight.dtype)


# %% 09.5 wrong: singular values are not squared
def effective_rank(matrix: Tensor, share: float) -> int:
    s = torch.linalg.svdvals(matrix.double())
    held = s.cumsum(0) / s.sum()
    return int((held < share - 1e-6).sum()) + 1


# %% 09.5 wrong: a share that is just reached does not count, and 1 gives one too many
def effective_rank(matrix: Tensor, share: float) -> int:
    squares = torch.linalg.svdvals(matrix.double()) ** 2
    held = squares.cumsum(0) / squares.sum()
    return int((held <= share).sum()) + 1


# %% 09.5 wrong: eigenvalues in rising order, so it counts from the smallest
def effective_rank(matrix: Tensor, share: float) -> int:
    m = matrix.double()
    squares = torch.linalg.eigvalsh(m @ m.T).clamp(min=0)
    held = squares.cumsum(0) / squares.sum()
    return min(int((held < share - 1e-6).sum()) + 1, min(matrix.shape))


# %% 09.5 wrong: scales the given matrix in place
def effective_rank(matrix: Tensor, share: float) -> int:
    matrix /= matrix.norm()
    held = (torch.linalg.svdvals(matrix) ** 2).cumsum(0)
    return int((held < share - 1e-6).sum()) + 1


# %% 09.5 wrong: takes off the mean of each column first, as in a principal component analysis
def effective_rank(matrix: Tensor, share: float) -> int:
    centred = matrix.double() - matrix.double().mean(0, keepdim=True)
    squares = torch.linalg.svdvals(centred).square()
    kept, total = 0.0, squares.sum().item()
    for k, value in enumerate(squares.tolist(), start=1):
        kept += value
        if kept >= (share - 1e-6) * total:
            return k
    return len(squares)


# %% 09.5 right: cumulated squares
def effective_rank(matrix: Tensor, share: float) -> int:
    squares = torch.linalg.svdvals(matrix.detach().double()).square()
    held = squares.cumsum(0) / squares.sum()
    return int((held < share - 1e-7).sum()) + 1


# %% 09.5 right: numpy, taking one direction after the other
def effective_rank(matrix: Tensor, share: float) -> int:
    import numpy as np

    array = matrix.detach().cpu().double().numpy()
    values = np.linalg.svd(array, compute_uv=False)
    total = float((array**2).sum())
    kept, k = 0.0, 0
    for value in values:
        kept += float(value) ** 2
        k += 1
        if kept >= share * total - 1e-7 * total:
            break
    return k
