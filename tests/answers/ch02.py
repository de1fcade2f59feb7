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
