# %% 02.1 wrong: the sum of the squares instead of their mean
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt(x.pow(2).sum(dim=-1, keepdim=True) + eps) * weight


# %% 02.1 wrong: eps stands outside the root
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(dim=-1, keepdim=True).sqrt() + eps) * weight


# %% 02.1 wrong: the mean is subtracted as in LayerNorm
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred * torch.rsqrt(centred.pow(2).mean(dim=-1, keepdim=True) + eps) * weight


# %% 02.1 wrong: the mean goes over dimension 1 instead of the last
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(dim=min(1, x.dim() - 1), keepdim=True) + eps) * weight


# %% 02.1 wrong: x is changed in place
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    with torch.no_grad():
        x *= torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps)
    return x * weight


# %% 02.1 wrong: computed in bfloat16
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    low = x.bfloat16()
    low = low * torch.rsqrt(low.pow(2).mean(dim=-1, keepdim=True) + eps)
    return low.to(x.dtype) * weight


# %% 02.1 wrong: eps is fixed at 1e-6
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6) * weight


# %% 02.1 wrong: it calls itself for ever
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    if x.dim() > 1:
        return torch.stack([rms_norm(row, weight, eps) for row in x])
    return rms_norm(x, weight, eps) * torch.ones_like(x)


# %% 02.1 right: tersely
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


# %% 02.1 right: by naive loops
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    size = x.shape[-1]
    rows = x.reshape(-1, size)
    out = torch.zeros_like(rows)
    for r in range(rows.shape[0]):
        root = ((rows[r] * rows[r]).sum() / size + eps) ** 0.5
        for j in range(size):
            out[r, j] = rows[r, j] / root * weight[j]
    return out.reshape(x.shape)


# %% 02.1 right: with the library
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


# %% 02.2 wrong: neighbours are paired
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


# %% 02.2 wrong: turned the other way round
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


# %% 02.2 wrong: the sine has a minus in both lines
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos - a * sin), dim=-1)


# %% 02.2 wrong: the second half uses the first after it was turned
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    a = a * cos - b * sin
    b = a * sin + b * cos
    return torch.cat((a, b), dim=-1)


# %% 02.2 wrong: x is changed in place
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half].clone(), x[..., half:].clone()
    with torch.no_grad():
        x[..., :half] = a * cos - b * sin
        x[..., half:] = a * sin + b * cos
    return x


# %% 02.2 wrong: the turned halves are put together alternately
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).reshape(x.shape)


# %% 02.2 wrong: batch and length are mixed, right for a batch of one only
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    rows = x.reshape(x.shape[1], -1, x.shape[-1])
    a, b = rows.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).reshape(x.shape)


# %% 02.2 wrong: the view fails when x is not contiguous
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    batch, length, heads, size = x.shape
    points = x.view(batch, length * heads, 2, size // 2)
    a, b = points[:, :, 0], points[:, :, 1]
    c, s = (t.repeat(1, heads, 1).reshape(length * heads, size // 2) for t in (cos, sin))
    return torch.stack((a * c - b * s, a * s + b * c), dim=2).reshape(x.shape)


# %% 02.2 right: tersely
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


# %% 02.2 right: by naive loops over places and pairs
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    half = x.shape[-1] // 2
    for t in range(x.shape[1]):
        for i in range(half):
            c, s = cos[t, 0, i], sin[t, 0, i]
            a, b = x[:, t, :, i], x[:, t, :, i + half]
            out[:, t, :, i] = c * a - s * b
            out[:, t, :, i + half] = s * a + c * b
    return out


# %% 02.2 right: by an einsum with rotation matrices
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    c, s = cos[:, 0], sin[:, 0]
    turn = torch.stack((torch.stack((c, -s)), torch.stack((s, c))))  # (2, 2, length, half)
    points = x.unflatten(-1, (2, -1))
    return torch.einsum("optj,bthpj->bthoj", turn, points).flatten(-2)


# %% 02.3 wrong: key and value heads are repeated in the order 0 1 0 1
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, groups, 1, 1), v.repeat(1, groups, 1, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


# %% 02.3 wrong: only the value heads are repeated in the order 0 1 0 1
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat(1, groups, 1, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


# %% 02.3 wrong: the mask lets each place see the next one
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(2)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


# %% 02.3 wrong: hidden scores are set to 0 before the softmax
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).tril()
    return scores.softmax(-1) @ v


# %% 02.3 wrong: masked after the softmax, and the shares do not add up to 1
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return shares.tril() @ v


# %% 02.3 wrong: divided by the root of the numbers of all heads together
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(-1, -2) / (q.shape[1] * q.shape[-1]) ** 0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


# %% 02.3 wrong: the queries are scaled in place
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    with torch.no_grad():
        q /= q.shape[-1] ** 0.5
    scores = q @ k.transpose(-1, -2)
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


# %% 02.3 wrong: the exponentials overflow for large scores
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    powers = torch.exp(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).tril()
    return powers / powers.sum(-1, keepdim=True) @ v


# %% 02.3 right: tersely with the fused kernel
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


# %% 02.3 right: by loops over heads and places
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, length, size = q.shape
    group = heads // k.shape[1]
    out = torch.zeros_like(q)
    for row in range(batch):
        for head in range(heads):
            keys, values = k[row, head // group], v[row, head // group]
            for t in range(length):
                scores = (keys[: t + 1] * q[row, head, t]).sum(-1) / size**0.5
                shares = torch.softmax(scores, dim=0)
                out[row, head, t] = (shares[:, None] * values[: t + 1]).sum(0)
    return out


# %% 02.3 right: by einsum over groups, nothing repeated
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    length = q.shape[2]
    grouped = q.unflatten(1, (k.shape[1], -1))
    scores = torch.einsum("bkgid,bkjd->bkgij", grouped, k) * q.shape[-1] ** -0.5
    place = torch.arange(length, device=q.device)
    scores = torch.where(place[None, :] > place[:, None], -torch.inf, scores)
    return torch.einsum("bkgij,bkjd->bkgid", scores.softmax(-1), v).flatten(1, 2)


# %% 02.4 wrong: gate and up are exchanged
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.linear(x, gate) * F.silu(F.linear(x, up)), down)


# %% 02.4 wrong: a sigmoid instead of the silu
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(torch.sigmoid(F.linear(x, gate)) * F.linear(x, up), down)


# %% 02.4 wrong: GELU instead of the silu
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.gelu(F.linear(x, gate)) * F.linear(x, up), down)


# %% 02.4 wrong: the silu of the product
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, gate) * F.linear(x, up)), down)


# %% 02.4 wrong: the residual is added
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return x + F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


# %% 02.4 wrong: the weights are transposed in place
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    with torch.no_grad():
        for matrix in (gate, up, down):
            matrix.t_()
    return (F.silu(x @ gate) * (x @ up)) @ down


# %% 02.4 wrong: only for an x of three dimensions
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    batch, length, hidden = x.shape
    inner = F.silu(torch.einsum("blh,ih->bli", x, gate)) * torch.einsum("blh,ih->bli", x, up)
    return torch.einsum("bli,hi->blh", inner, down)


# %% 02.4 wrong: the silu is not a number for large inputs
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    z = x @ gate.T
    opened = z * z.exp() / (1 + z.exp())
    return (opened * (x @ up.T)) @ down.T


# %% 02.4 right: tersely
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


# %% 02.4 right: by a loop over the inner numbers
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for i in range(gate.shape[0]):
        opened = (x * gate[i]).sum(-1)
        opened = opened * torch.sigmoid(opened)
        number = opened * (x * up[i]).sum(-1)
        out = out + number.unsqueeze(-1) * down[:, i]
    return out


# %% 02.4 right: both wide matrices in one product, by einsum
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    wide = torch.einsum("...h,ih->...i", x, torch.cat((gate, up)))
    z, content = wide.split([gate.shape[0], up.shape[0]], dim=-1)
    return torch.einsum("...i,hi->...h", z * torch.sigmoid(z) * content, down)


# %% 02.5 wrong: the last norm is forgotten
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer


# %% 02.5 wrong: one norm in each layer
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    layer = attention + 3 * h * config.intermediate_size + h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 wrong: keys and values are counted as wide as queries
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 4 * h * config.num_attention_heads * d
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 wrong: the head counts even when it is tied
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    return 2 * config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 wrong: the head is never counted
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    return config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 wrong: two matrices in the feed-forward network
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    layer = attention + 2 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 wrong: the output matrix of attention is forgotten
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = h * d * (config.num_attention_heads + 2 * config.num_key_value_heads)
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 wrong: the number comes back as a float
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    query = h * config.num_attention_heads * d
    attention = 2 * query + 2 * query * config.num_key_value_heads / config.num_attention_heads
    layer = attention + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * layer + h


# %% 02.5 right: tersely
def count_parameters(config: DecoderConfig) -> int:
    c, h = config, config.hidden_size
    heads = 2 * c.head_dim * (c.num_attention_heads + c.num_key_value_heads)
    layers = c.num_hidden_layers * (heads + 3 * c.intermediate_size + 2)
    return h * ((2 - bool(c.tie_word_embeddings)) * c.vocab_size + layers + 1)


# %% 02.5 right: by a loop over the layers
def count_parameters(config: DecoderConfig) -> int:
    total = config.vocab_size * config.hidden_size
    for _ in range(config.num_hidden_layers):
        total += config.hidden_size  # the norm before attention
        for _ in range(config.num_attention_heads):
            total += config.hidden_size * config.head_dim  # queries
            total += config.head_dim * config.hidden_size  # output
        for _ in range(config.num_key_value_heads):
            total += config.hidden_size * config.head_dim  # keys
            total += config.hidden_size * config.head_dim  # values
        total += config.hidden_size  # the norm before the feed-forward network
        total += config.intermediate_size * config.hidden_size  # gate
        total += config.intermediate_size * config.hidden_size  # up
        total += config.hidden_size * config.intermediate_size  # down
    total += config.hidden_size  # the last norm
    if not config.tie_word_embeddings:
        total += config.vocab_size * config.hidden_size
    return total


# %% 02.5 right: from a table of shapes
def count_parameters(config: DecoderConfig) -> int:
    from math import prod

    h, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    in_layer = {
        "q": (queries, h), "k": (keys, h), "v": (keys, h), "o": (h, queries),
        "gate": (inner, h), "up": (inner, h), "down": (h, inner), "norm1": (h,), "norm2": (h,),
    }  # fmt: skip
    outside = [(config.vocab_size, h), (h,)]
    if not config.tie_word_embeddings:
        outside.append((config.vocab_size, h))
    return sum(map(prod, outside)) + config.num_hidden_layers * sum(map(prod, in_layer.values()))


# %% 02.1 wrong: eps is added outside the root
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return (wide / (wide.square().mean(-1, keepdim=True).sqrt() + eps) * weight).to(x.dtype)

# %% 02.1 wrong: divides by n - 1
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    n = x.shape[-1]
    mean = x.square().sum(-1, keepdim=True) / max(n - 1, 1)
    return (x * torch.rsqrt(mean + eps) * weight).to(x.dtype)

# %% 02.1 wrong: x is changed in place (another)
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x /= torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps)
    return (x * weight).to(x.dtype)

# %% 02.1 wrong: half precision comes back as float32
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps) * weight.float()

# %% 02.1 wrong: one root mean square for each text instead of each place
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    dims = tuple(range(1, x.dim())) or (-1,)
    return (x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps) * weight).to(x.dtype)

# %% 02.1 wrong: always Llama's eps
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight).to(x.dtype)

# %% 02.1 right: the library's function in double precision
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x.double(), x.shape[-1:], weight.double(), eps).to(x.dtype)

# %% 02.1 right: vector by vector
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    out = []
    for vector in x.reshape(-1, x.shape[-1]):
        vector = vector.double()
        size = 0.0
        for number in vector.tolist():
            size += number * number
        size = (size / len(vector) + eps) ** 0.5
        out.append((vector / size * weight.double()).to(x.dtype))
    return torch.stack(out).reshape(x.shape)

# %% 02.2 wrong: neighbours are paired (another)
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)

# %% 02.2 wrong: turned the other way
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)

# %% 02.2 wrong: the second half is computed from the turned first half
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out, half = x.clone(), x.shape[-1] // 2
    out[..., :half] = out[..., :half] * cos - out[..., half:] * sin
    out[..., half:] = out[..., :half] * sin + out[..., half:] * cos
    return out

# %% 02.2 wrong: x itself is turned
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    new_a, new_b = a * cos - b * sin, a * sin + b * cos
    a.copy_(new_a)
    b.copy_(new_b)
    return x

# %% 02.2 wrong: right halves, but put together number by number
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).reshape(x.shape)

# %% 02.2 wrong: a view over all rows that transposed tensors do not allow
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    batch, length, heads, size = x.shape
    rows = x.view(batch * length * heads, 2, size // 2)
    c = cos.expand(length, heads, size // 2).repeat(batch, 1, 1).reshape(-1, size // 2)
    s = sin.expand(length, heads, size // 2).repeat(batch, 1, 1).reshape(-1, size // 2)
    a, b = rows[:, 0], rows[:, 1]
    return torch.stack((a * c - b * s, a * s + b * c), dim=1).view(batch, length, heads, size)

# %% 02.2 wrong: only the first text of the batch is turned
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out, half = x.clone(), x.shape[-1] // 2
    a, b = x[0, ..., :half], x[0, ..., half:]
    out[0] = torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
    return out

# %% 02.2 right: both halves at once
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

# %% 02.2 right: pair by pair
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out = torch.empty_like(x)
    half = x.shape[-1] // 2
    for i in range(half):
        for place in range(x.shape[1]):
            c, s = cos[place, 0, i], sin[place, 0, i]
            a, b = x[:, place, :, i], x[:, place, :, i + half]
            out[:, place, :, i] = a * c - b * s
            out[:, place, :, i + half] = a * s + b * c
    return out

# %% 02.3 wrong: kv heads are tiled, so that neighbours do not share
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, group, 1, 1), v.repeat(1, group, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)

# %% 02.3 wrong: the mask is -1000, too little for large scores
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).triu(1)
    return (scores + future * -1000.0).softmax(-1) @ v

# %% 02.3 wrong: plain exponentials overflow
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp().tril()
    return weights / weights.sum(-1, keepdim=True) @ v

# %% 02.3 wrong: q is scaled in place
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    q /= q.shape[-1] ** 0.5
    scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ v.repeat_interleave(group, 1)

# %% 02.3 wrong: divides by the root of the whole width
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=(q.shape[1] * q.shape[-1]) ** -0.5)

# %% 02.3 wrong: views that need contiguous tensors
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, length, size = q.shape
    group = heads // k.shape[1]
    rows = q.view(batch * k.shape[1], group, length, size)
    keys, values = k.view(-1, 1, length, size), v.view(-1, 1, length, v.shape[-1])
    scores = torch.matmul(rows, keys.transpose(-1, -2)) * size**-0.5
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
    return (scores.softmax(-1) @ values).view(batch, heads, length, -1)

# %% 02.3 wrong: the future is cut off behind the softmax
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).tril() @ v

# %% 02.3 right: the library's kernel with repeated heads
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)

# %% 02.3 right: each query alone, over the keys up to its own
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = torch.zeros_like(q)
    group = q.shape[1] // k.shape[1]
    for row in range(q.shape[0]):
        for head in range(q.shape[1]):
            for place in range(q.shape[2]):
                keys = k[row, head // group, : place + 1]
                values = v[row, head // group, : place + 1]
                scores = keys @ q[row, head, place] / q.shape[3] ** 0.5
                out[row, head, place] = scores.softmax(0) @ values
    return out

# %% 02.4 wrong: the other branch is gated
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.linear(x, gate) * F.silu(F.linear(x, up)), down)

# %% 02.4 wrong: silu by exponentials that overflow for large numbers
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    z = x @ gate.T
    return (z * z.exp() / (1 + z.exp()) * (x @ up.T)) @ down.T

# %% 02.4 wrong: the residual is added (another)
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return x + (F.silu(x @ gate.T) * (x @ up.T)) @ down.T

# %% 02.4 wrong: a sigmoid gate
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(torch.sigmoid(F.linear(x, gate)) * F.linear(x, up), down)

# %% 02.4 wrong: silu of the product
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, gate) * F.linear(x, up)), down)

# %% 02.4 wrong: weights are reshaped instead of transposed
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    inner, hidden = gate.shape
    return (F.silu(x @ gate.reshape(hidden, inner)) * (x @ up.reshape(hidden, inner))) @ down.reshape(inner, hidden)

# %% 02.4 wrong: calls itself
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return swiglu(x.reshape(-1, x.shape[-1]), gate, up, down).reshape(x.shape)

# %% 02.4 right: three linear maps
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

# %% 02.4 right: vector by vector, the gate by its formula
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    out = torch.zeros_like(x).reshape(-1, x.shape[-1])
    for i, vector in enumerate(x.reshape(-1, x.shape[-1])):
        z = gate @ vector
        inner = z / (1 + (-z).exp()) * (up @ vector)
        out[i] = down @ inner
    return out.reshape(x.shape)

# %% 02.5 wrong: the last norm is forgotten (another)
def count_parameters(config: DecoderConfig) -> int:
    h, wide = config.hidden_size, config.num_attention_heads * config.head_dim
    narrow = config.num_key_value_heads * config.head_dim
    layer = 2 * h * wide + 2 * h * narrow + 3 * h * config.intermediate_size + 2 * h
    heads = 1 if config.tie_word_embeddings else 2
    return heads * config.vocab_size * h + config.num_hidden_layers * layer

# %% 02.5 wrong: keys and values as wide as queries
def count_parameters(config: DecoderConfig) -> int:
    h = config.hidden_size
    layer = 4 * h * h + 3 * h * config.intermediate_size + 2 * h
    tables = config.vocab_size * h * (2 - bool(config.tie_word_embeddings))
    return tables + config.num_hidden_layers * layer + h

# %% 02.5 wrong: the head always counts
def count_parameters(config: DecoderConfig) -> int:
    h, narrow = config.hidden_size, config.num_key_value_heads * config.head_dim
    layer = 2 * h * h + 2 * h * narrow + 3 * h * config.intermediate_size + 2 * h
    return 2 * config.vocab_size * h + config.num_hidden_layers * layer + h

# %% 02.5 wrong: a float comes back
def count_parameters(config: DecoderConfig) -> int:
    h = config.hidden_size
    narrow = h / config.num_attention_heads * config.num_key_value_heads
    layer = 2 * h * h + 2 * h * narrow + 3 * h * config.intermediate_size + 2 * h
    tables = config.vocab_size * h * (1 if config.tie_word_embeddings else 2)
    return tables + config.num_hidden_layers * layer + h

# %% 02.5 wrong: inner width by the rule of 8/3, not by the config
def count_parameters(config: DecoderConfig) -> int:
    h, narrow = config.hidden_size, config.num_key_value_heads * config.head_dim
    inner = -(-8 * h // 3 // 32) * 32
    layer = 2 * h * h + 2 * h * narrow + 3 * h * inner + 2 * h
    return config.vocab_size * h * (1 if config.tie_word_embeddings else 2) + config.num_hidden_layers * layer + h

# %% 02.5 wrong: one norm for each layer
def count_parameters(config: DecoderConfig) -> int:
    h, narrow = config.hidden_size, config.num_key_value_heads * config.head_dim
    layer = 2 * h * h + 2 * h * narrow + 3 * h * config.intermediate_size + h
    return config.vocab_size * h * (1 if config.tie_word_embeddings else 2) + config.num_hidden_layers * layer + h

# %% 02.5 right: one expression
def count_parameters(config: DecoderConfig) -> int:
    c, h = config, config.hidden_size
    layer = 2 * c.head_dim * (c.num_attention_heads + c.num_key_value_heads) + 3 * c.intermediate_size + 2
    return h * (c.vocab_size * (2 - bool(c.tie_word_embeddings)) + c.num_hidden_layers * layer + 1)

# %% 02.5 right: shape by shape
def count_parameters(config: DecoderConfig) -> int:
    hidden = config.hidden_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    shapes = [(config.vocab_size, hidden), (hidden,)]
    if not config.tie_word_embeddings:
        shapes.append((config.vocab_size, hidden))
    for _ in range(config.num_hidden_layers):
        shapes += [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries)]
        shapes += [(config.intermediate_size, hidden)] * 2 + [(hidden, config.intermediate_size)]
        shapes += [(hidden,), (hidden,)]
    total = 0
    for shape in shapes:
        numbers = 1
        for size in shape:
            numbers *= size
        total += numbers
    return total

# %% 02.1 wrong: float() makes no copy of a float32 tensor, so the division changes the input
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    dtype = x.dtype
    if dtype != torch.float64:
        x = x.float()
    x /= (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return (x * weight).to(dtype)


# %% 02.1 wrong: eps is added outside the root (a third)
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.double()
    return (wide / (wide.square().mean(-1, keepdim=True).sqrt() + eps) * weight.double()).to(x.dtype)


# %% 02.1 right: by the length of the vector, in double precision
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide, size = x.double(), x.shape[-1]
    mean_square = torch.einsum("...i,...i->...", wide, wide) / size
    return torch.einsum("...i,...,i->...i", wide, (mean_square + eps) ** -0.5, weight.double()).to(x.dtype)


# %% 02.2 wrong: the halves are views of the output, so the second one is made from numbers turned already
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out, half = x.clone(), x.shape[-1] // 2
    a, b = out[..., :half], out[..., half:]
    out[..., :half] = a * cos - b * sin
    out[..., half:] = a * sin + b * cos
    return out


# %% 02.2 wrong: flattens batch and length with view, which transposed inputs do not allow
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    batch, length, heads, size = x.shape
    a, b = x.view(batch * length, heads, size).chunk(2, -1)
    c, s = cos.repeat(batch, 1, 1), sin.repeat(batch, 1, 1)
    return torch.cat((a * c - b * s, a * s + b * c), -1).view(batch, length, heads, size)


# %% 02.2 wrong: reads the right pairs and writes them back as neighbours
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


# %% 02.2 right: one pair after the other
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out, half = torch.zeros_like(x), x.shape[-1] // 2
    for i in range(half):
        a, b, c, s = x[..., i], x[..., i + half], cos[..., i], sin[..., i]
        out[..., i] = a * c - b * s
        out[..., i + half] = a * s + b * c
    return out


# %% 02.3 wrong: the mask takes only a thousand away, which large scores outweigh
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    later = torch.ones_like(scores[0, 0]).triu(1)
    return (scores - 1000.0 * later).softmax(-1) @ v


# %% 02.3 wrong: scales the queries in place
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    q *= q.shape[-1] ** -0.5
    scores = q @ k.transpose(-1, -2)
    later = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1) @ v


# %% 02.3 wrong: the mask is laid on the shares after the softmax, so they do not add up to 1
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return shares.tril() @ v


# %% 02.3 right: place by place with einsum, so that no mask is needed
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    grouped, gathered = q.unflatten(1, (k.shape[1], -1)), []
    for t in range(q.shape[2]):
        scores = torch.einsum("bkgd,bksd->bkgs", grouped[:, :, :, t], k[:, :, : t + 1]) / q.shape[-1] ** 0.5
        gathered.append(torch.einsum("bkgs,bksd->bkgd", scores.softmax(-1), v[:, :, : t + 1]))
    return torch.stack(gathered, 3).flatten(1, 2)


# %% 02.4 wrong: silu by a formula that gives NaN for large numbers
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    z = x @ gate.T
    opened = z * torch.exp(z) / (1 + torch.exp(z))
    return (opened * (x @ up.T)) @ down.T


# %% 02.4 wrong: flattens with view, which a transposed input does not allow
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    flat = x.view(-1, x.shape[-1])
    out = (F.silu(flat @ gate.T) * (flat @ up.T)) @ down.T
    return out.view(x.shape)


# %% 02.4 wrong: the gate is a sigmoid alone, without its factor z
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(torch.sigmoid(F.linear(x, gate)) * F.linear(x, up), down)


# %% 02.4 right: in one line
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


# %% 02.5 wrong: the norm behind the last block is forgotten
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    block = attention + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * block


# %% 02.5 wrong: divides to get the size of a head, and so returns a float
def count_parameters(config: DecoderConfig) -> int:
    h = config.hidden_size
    kv_width = h / config.num_attention_heads * config.num_key_value_heads
    block = 2 * h * h + 2 * h * kv_width + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * block + h


# %% 02.5 wrong: without tying it calls itself with the same sizes, without end
def count_parameters(config: DecoderConfig) -> int:
    h = config.hidden_size
    if not config.tie_word_embeddings:
        return count_parameters(config) + config.vocab_size * h
    kv_width = config.num_key_value_heads * config.head_dim
    block = 2 * h * h + 2 * h * kv_width + 3 * h * config.intermediate_size + 2 * h
    return config.vocab_size * h + config.num_hidden_layers * block + h


# %% 02.5 right: adds up a list of shapes
from math import prod


def count_parameters(config: DecoderConfig) -> int:
    h, inner = config.hidden_size, config.intermediate_size
    wide, narrow = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
    shapes = [(config.vocab_size, h), (h,)]
    if not config.tie_word_embeddings:
        shapes.append((config.vocab_size, h))
    for _ in range(config.num_hidden_layers):
        shapes += [(wide, h), (narrow, h), (narrow, h), (h, wide), (inner, h), (inner, h), (h, inner), (h,), (h,)]
    return sum(prod(shape) for shape in shapes)


# %% 02.1 wrong: eps is added outside of the root
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.double() if x.dtype == torch.float64 else x.float()
    rms = wide.square().mean(dim=-1, keepdim=True).sqrt()
    return (wide / (rms + eps) * weight).to(x.dtype)


# %% 02.1 wrong: the mean goes over everything behind the batch, not over the last axis
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.double() if x.dtype == torch.float64 else x.float()
    axes = tuple(range(1, x.dim())) or (-1,)
    mean = wide.pow(2).mean(dim=axes, keepdim=True)
    return (wide * torch.rsqrt(mean + eps) * weight).to(x.dtype)


# %% 02.1 wrong: changes x in place if it is float32 already
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    wide *= torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return (wide * weight).to(x.dtype)


# %% 02.1 wrong: comes back in float32, whatever x was
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.to(torch.float32)
    root = torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return wide / root * weight.to(torch.float32)


# %% 02.1 right: in float32 or more, and back
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    normed = wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + eps)
    return weight * normed.to(x.dtype)


# %% 02.1 right: one vector after the other
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    size = x.shape[-1]
    rows = x.reshape(-1, size).double()
    scale = weight.double()
    out = torch.empty(rows.shape, dtype=torch.float64, device=x.device)
    for i in range(len(rows)):
        mean = (rows[i] @ rows[i]) / size
        out[i] = rows[i] / (mean + eps) ** 0.5 * scale
    return out.reshape(x.shape).to(x.dtype)


# %% 02.2 wrong: pairs neighbours, as the paper does
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


# %% 02.2 wrong: turns the other way round
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


# %% 02.2 wrong: the second half is computed from the new first half
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    out = x.clone()
    out[..., :half] = out[..., :half] * cos - out[..., half:] * sin
    out[..., half:] = out[..., :half] * sin + out[..., half:] * cos
    return out


# %% 02.2 wrong: angles laid out for neighbours, numbers paired by halves
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    turned = torch.cat((-b, a), dim=-1)
    return x * cos.repeat_interleave(2, dim=-1) + turned * sin.repeat_interleave(2, dim=-1)


# %% 02.2 wrong: right numbers, but x itself is changed on the way
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    first = a * cos - b * sin
    second = b.mul_(cos).add_(a * sin)
    return torch.cat((first, second), dim=-1)


# %% 02.2 right: two halves, put together again
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


# %% 02.2 right: a loop over the pairs
def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    out = torch.empty_like(x)
    for i in range(half):
        c, s = cos[..., i], sin[..., i]  # (length, 1)
        out[..., i] = x[..., i] * c - x[..., i + half] * s
        out[..., i + half] = x[..., i] * s + x[..., i + half] * c
    return out


# %% 02.3 wrong: kv heads are repeated in turn, 0 1 0 1, not as neighbours
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1)
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    length = q.shape[2]
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1) @ v


# %% 02.3 wrong: hides with -1000, which is not low enough for scores in the thousands
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(groups, dim=1)
    v = v.repeat_interleave(groups, dim=1)
    scores = torch.matmul(q, k.mT) / q.shape[-1] ** 0.5
    visible = torch.tril(torch.ones(q.shape[2], q.shape[2], device=q.device))
    scores = scores.masked_fill(visible == 0, -1e3)
    return torch.softmax(scores, dim=-1) @ v


# %% 02.3 wrong: masks the shares after the softmax, so they no longer add up to 1
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    shares = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return shares.tril() @ v


# %% 02.3 wrong: a softmax by hand that overflows
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, length, size = q.shape
    groups = heads // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    powers = torch.exp(torch.einsum("bhid,bhjd->bhij", q, k) / size**0.5).tril()
    return (powers / powers.sum(dim=-1, keepdim=True)) @ v


# %% 02.3 wrong: divides q in place
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    q /= q.shape[-1] ** 0.5
    scores = q @ k.transpose(-2, -1)
    later = torch.ones_like(scores[0, 0]).triu(1).bool()
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1) @ v


# %% 02.3 right: an axis for the groups, and einsum
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, length, size = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(batch, kv_heads, heads // kv_heads, length, size)
    scores = torch.einsum("bkgid,bkjd->bkgij", grouped, k) / size**0.5
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    shares = scores.masked_fill(later, float("-inf")).softmax(dim=-1)
    return torch.einsum("bkgij,bkjd->bkgid", shares, v).reshape(batch, heads, length, size)


# %% 02.3 right: loops over heads and places, without any mask
def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, length, size = q.shape
    group = heads // k.shape[1]
    rows = []
    for head in range(heads):
        keys, values = k[:, head // group], v[:, head // group]  # (batch, length, size)
        places = []
        for t in range(length):
            scores = (keys[:, : t + 1] * q[:, head, t, None]).sum(-1) / size**0.5
            shares = scores.softmax(dim=-1)
            places.append((shares[..., None] * values[:, : t + 1]).sum(1))
        rows.append(torch.stack(places, dim=1))
    return torch.stack(rows, dim=1)


# %% 02.4 wrong: silu stands on the other branch
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.linear(x, gate) * F.silu(F.linear(x, up)), down)


# %% 02.4 wrong: silu with e to the z above and below, NaN for large numbers
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    z = x @ gate.T
    opened = z * torch.exp(z) / (1 + torch.exp(z))
    return (opened * (x @ up.T)) @ down.T


# %% 02.4 wrong: adds the residual, too
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    inner = F.silu(x @ gate.T) * (x @ up.T)
    return x + inner @ down.T


# %% 02.4 wrong: flattens with view, which fails for a transposed x
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    flat = x.view(-1, x.shape[-1])
    inner = F.silu(flat @ gate.T) * (flat @ up.T)
    return (inner @ down.T).view(x.shape)


# %% 02.4 wrong: a plain sigmoid as the gate, GLU
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    shut_or_open = torch.sigmoid(F.linear(x, gate))
    return F.linear(shut_or_open * F.linear(x, up), down)


# %% 02.4 right: F.linear and F.silu
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


# %% 02.4 right: einsum, and the silu of the formula
def swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    z = torch.einsum("...h,ih->...i", x, gate)
    wide = torch.einsum("...h,ih->...i", x, up)
    opened = z / (1 + torch.exp(-z))
    return torch.einsum("...i,hi->...h", opened * wide, down)


# %% 02.5 wrong: the last norm is forgotten, again
def count_parameters(config: DecoderConfig) -> int:
    h, d = config.hidden_size, config.head_dim
    attention = 2 * h * config.num_attention_heads * d + 2 * h * config.num_key_value_heads * d
    block = attention + 3 * h * config.intermediate_size + 2 * h
    tables = config.vocab_size * h * (1 if config.tie_word_embeddings else 2)
    return tables + config.num_hidden_layers * block


# %% 02.5 wrong: keys and values as wide as the queries
def count_parameters(config: DecoderConfig) -> int:
    h = config.hidden_size
    block = 4 * h * h + 3 * h * config.intermediate_size + 2 * h
    total = config.vocab_size * h + config.num_hidden_layers * block + h
    if not config.tie_word_embeddings:
        total += config.vocab_size * h
    return total


# %% 02.5 wrong: tied and untied are mixed up
def count_parameters(config: DecoderConfig) -> int:
    h, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    total = config.vocab_size * h
    for _ in range(config.num_hidden_layers):
        total += h * h + h * kv + h * kv + h * h
        total += 3 * h * config.intermediate_size
        total += 2 * h
    total += h
    if config.tie_word_embeddings:
        total += config.vocab_size * h
    return total


# %% 02.5 wrong: one norm for each block
def count_parameters(config: DecoderConfig) -> int:
    h, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    block = 2 * h * h + 2 * h * kv + 3 * h * config.intermediate_size + h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * block + h


# %% 02.5 wrong: a true division makes the count a float
def count_parameters(config: DecoderConfig) -> int:
    h, inner = config.hidden_size, config.intermediate_size
    share = config.num_key_value_heads / config.num_attention_heads
    block = 2 * h * h + 2 * h * h * share + 3 * h * inner + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * block + h


# %% 02.5 right: one formula
def count_parameters(config: DecoderConfig) -> int:
    h, kv = config.hidden_size, config.num_key_value_heads * config.head_dim
    queries = config.num_attention_heads * config.head_dim
    block = 2 * h * queries + 2 * h * kv + 3 * h * config.intermediate_size + 2 * h
    tables = 1 if config.tie_word_embeddings else 2
    return tables * config.vocab_size * h + config.num_hidden_layers * block + h


# %% 02.5 right: a list of shapes, summed up
def count_parameters(config: DecoderConfig) -> int:
    import math

    h, inner, d = config.hidden_size, config.intermediate_size, config.head_dim
    shapes = [(config.vocab_size, h), (h,)]
    if not config.tie_word_embeddings:
        shapes.append((config.vocab_size, h))
    for _ in range(config.num_hidden_layers):
        shapes += [(h,), (h,)]
        shapes += [(config.num_attention_heads * d, h), (h, config.num_attention_heads * d)]
        shapes += [(config.num_key_value_heads * d, h)] * 2
        shapes += [(inner, h), (inner, h), (h, inner)]
    return sum(math.prod(shape) for shape in shapes)
