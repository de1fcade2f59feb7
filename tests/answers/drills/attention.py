# %% online_softmax wrong: the running maximum starts at 0, and never falls below
def online_softmax(blocks):
    top, total, out = torch.tensor(0.0), torch.tensor(0.0), 0.0
    for scores, values in blocks:
        new = torch.maximum(top, scores.max())
        w = (scores - new).exp()
        total = total * (top - new).exp() + w.sum()
        out = out + w @ values
        top = new
    return out / total

# %% online_softmax wrong: each block is normalised before it is added
def online_softmax(blocks):
    top, total, out = torch.tensor(-torch.inf), torch.tensor(0.0), 0.0
    for scores, values in blocks:
        if scores.max() == -torch.inf:
            continue
        new = torch.maximum(top, scores.max())
        w = (scores - new).exp()
        shrink = (top - new).exp()
        total = total * shrink + w.sum()
        out = out * shrink + (w / w.sum()) @ values
        top = new
    return out / total

# %% online_softmax wrong: shrinks by the difference turned round
def online_softmax(blocks):
    top, total, out = torch.tensor(-1e30), torch.tensor(0.0), 0.0
    for scores, values in blocks:
        new = torch.maximum(top, scores.max())
        w = (scores - new).exp()
        shrink = (new - top).exp() if top > -1e29 else 0.0
        total = total * shrink + w.sum()
        out = out * shrink + w @ values
        top = new
    return out / total

# %% online_softmax wrong: the maximum is that of the newest block
def online_softmax(blocks):
    top, total, out = torch.tensor(-1e30), torch.tensor(0.0), 0.0
    for scores, values in blocks:
        new = scores.max()
        total = total + (scores - new).exp().sum()
        out = out + (scores - new).exp() @ values
    return out / total

# %% online_softmax right: a mean that is kept normalised
def online_softmax(blocks):
    mean, logsum = None, None
    for scores, values in blocks:
        m = scores.max()
        if m == -torch.inf:
            continue
        w = (scores - m).exp()
        own_log, own_mean = m + w.sum().log(), (w @ values) / w.sum()
        if mean is None:
            mean, logsum = own_mean, own_log
        else:
            share = torch.sigmoid(own_log - logsum)
            mean = mean + share * (own_mean - mean)
            logsum = torch.logaddexp(logsum, own_log)
    return mean

# %% online_softmax right: number by number, with a large negative number to begin with
def online_softmax(blocks):
    top, total, out = -1e30, 0.0, None
    for scores, values in blocks:
        out = torch.zeros(values.shape[1]) if out is None else out
        for s, v in zip(scores.tolist(), values):
            if s == -math.inf:
                continue
            new = max(top, s)
            shrink, w = math.exp(top - new), math.exp(s - new)
            total, out, top = total * shrink + w, out * shrink + w * v, new
    return out / total

# %% causal_multi_head_attention wrong: keys take the columns of wq
def causal_multi_head_attention(x, wq, wk, wv, wo, heads):
    b, t, d = x.shape
    q, k, v = ((x @ w).view(b, t, heads, d // heads).transpose(1, 2) for w in (wq, wq, wv))
    s = q @ k.transpose(-1, -2) / (d // heads) ** 0.5
    s = s + torch.full((t, t), -torch.inf).triu(1)
    return (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d) @ wo

# %% causal_multi_head_attention wrong: the mask hides earlier places
def causal_multi_head_attention(x, wq, wk, wv, wo, heads):
    b, t, d = x.shape
    q, k, v = ((x @ w).view(b, t, heads, d // heads).transpose(1, 2) for w in (wq, wk, wv))
    s = q @ k.transpose(-1, -2) / (d // heads) ** 0.5
    s = s.masked_fill(torch.ones(t, t).tril(-1).bool(), -torch.inf)
    return (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d) @ wo

# %% causal_multi_head_attention wrong: hidden scores become 0
def causal_multi_head_attention(x, wq, wk, wv, wo, heads):
    b, t, d = x.shape
    q, k, v = ((x @ w).view(b, t, heads, d // heads).transpose(1, 2) for w in (wq, wk, wv))
    s = (q @ k.transpose(-1, -2) / (d // heads) ** 0.5).tril()
    return (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d) @ wo

# %% causal_multi_head_attention wrong: weights are applied as a linear layer has them
def causal_multi_head_attention(x, wq, wk, wv, wo, heads):
    b, t, d = x.shape
    q, k, v = ((x @ w.T).view(b, t, heads, d // heads).transpose(1, 2) for w in (wq, wk, wv))
    s = (q @ k.transpose(-1, -2) / (d // heads) ** 0.5).masked_fill(torch.ones(t, t).triu(1).bool(), -torch.inf)
    return (s.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d) @ wo.T

# %% causal_multi_head_attention right: einsum
def causal_multi_head_attention(x, wq, wk, wv, wo, heads):
    b, t, d = x.shape
    q, k, v = (torch.einsum("btd,dhe->bhte", x, w.view(d, heads, d // heads)) for w in (wq, wk, wv))
    s = torch.einsum("bhqe,bhke->bhqk", q, k) * (d // heads) ** -0.5
    a = (s + torch.full((t, t), -torch.inf).triu(1)).softmax(-1)
    return torch.einsum("bhqk,bhke,hed->bqd", a, v, wo.view(heads, d // heads, d))

# %% causal_multi_head_attention right: a loop over heads
def causal_multi_head_attention(x, wq, wk, wv, wo, heads):
    e, t, out = x.shape[-1] // heads, x.shape[1], []
    for h in range(heads):
        q, k, v = (x @ w[:, h * e : (h + 1) * e] for w in (wq, wk, wv))
        s = q @ k.mT / math.sqrt(e)
        s = torch.where(torch.arange(t)[:, None] >= torch.arange(t), s, torch.tensor(-1e9))
        out.append(s.softmax(-1) @ v)
    return torch.cat(out, -1) @ wo

# %% grouped_query_attention wrong: the group is a stride over kv heads
def grouped_query_attention(q, k, v):
    out = []
    for h in range(q.shape[1]):
        g = h % k.shape[1]
        s = q[:, h] @ k[:, g].mT / q.shape[-1] ** 0.5
        s = s.masked_fill(torch.ones(s.shape[-2:]).triu(1).bool(), -torch.inf)
        out.append(s.softmax(-1) @ v[:, g])
    return torch.stack(out, 1)

# %% grouped_query_attention wrong: the group size is the number of kv heads
def grouped_query_attention(q, k, v):
    out = []
    for h in range(q.shape[1]):
        g = min(h // k.shape[1], k.shape[1] - 1)
        s = q[:, h] @ k[:, g].mT / q.shape[-1] ** 0.5
        s = s.masked_fill(torch.ones(s.shape[-2:]).triu(1).bool(), -torch.inf)
        out.append(s.softmax(-1) @ v[:, g])
    return torch.stack(out, 1)

# %% grouped_query_attention wrong: keys are shared, values are tiled
def grouped_query_attention(q, k, v):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat(1, n, 1, 1)
    s = q @ k.mT / q.shape[-1] ** 0.5
    s = s.masked_fill(torch.ones(s.shape[-2:]).triu(1).bool(), -torch.inf)
    return s.softmax(-1) @ v

# %% grouped_query_attention wrong: the query heads of a group are averaged
def grouped_query_attention(q, k, v):
    b, h, t, d = q.shape
    n = h // k.shape[1]
    q = q.view(b, k.shape[1], n, t, d).mean(2)
    s = q @ k.mT / d ** 0.5
    s = s.masked_fill(torch.ones(t, t).triu(1).bool(), -torch.inf)
    return (s.softmax(-1) @ v).repeat_interleave(n, 1)

# %% grouped_query_attention right: repeat_interleave
def grouped_query_attention(q, k, v):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    s = q @ k.mT / math.sqrt(q.shape[-1]) + torch.full((q.shape[2],) * 2, -torch.inf).triu(1)
    return s.softmax(-1) @ v

# %% grouped_query_attention right: a loop over heads
def grouped_query_attention(q, k, v):
    n, out = q.shape[1] // k.shape[1], torch.empty_like(q)
    for h in range(q.shape[1]):
        s = q[:, h] @ k[:, h // n].transpose(1, 2) / q.shape[-1] ** 0.5
        s = s.masked_fill(torch.ones_like(s).triu(1) == 1, -torch.inf)
        out[:, h] = s.softmax(-1) @ v[:, h // n]
    return out

# %% cross_attention wrong: the mask hides queries
def cross_attention(q, k, v, key_mask):
    s = q @ k.mT / q.shape[-1] ** 0.5
    out = s.softmax(-1) @ v
    n = min(out.shape[2], key_mask.shape[1])
    out[:, :, :n] = out[:, :, :n] * key_mask[:, None, :n, None]
    return out

# %% cross_attention wrong: the padding's values are set to 0
def cross_attention(q, k, v, key_mask):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ (v * key_mask[:, None, :, None])

# %% cross_attention wrong: the padding's keys are set to 0
def cross_attention(q, k, v, key_mask):
    m = key_mask[:, None, :, None]
    return (q @ (k * m).mT / q.shape[-1] ** 0.5).softmax(-1) @ (v * m)

# %% cross_attention wrong: divided by the number of keys
def cross_attention(q, k, v, key_mask):
    s = q @ k.mT / k.shape[2] ** 0.5
    return s.masked_fill(~key_mask[:, None, None], -torch.inf).softmax(-1) @ v

# %% cross_attention right: a mask that is added
def cross_attention(q, k, v, key_mask):
    add = torch.zeros(key_mask.shape).masked_fill(~key_mask, -1e30)
    return torch.softmax(torch.einsum("bhtd,bhsd->bhts", q, k) / math.sqrt(q.shape[-1]) + add[:, None, None], -1) @ v

# %% cross_attention right: weights by hand, each row on its own
def cross_attention(q, k, v, key_mask):
    rows = []
    for i in range(len(q)):
        keep = key_mask[i]
        s = q[i] @ k[i][:, keep].mT / q.shape[-1] ** 0.5
        w = (s - s.amax(-1, keepdim=True)).exp()
        rows.append(w @ v[i][:, keep] / w.sum(-1, keepdim=True))
    return torch.stack(rows)

# %% rope wrong: the angle is for the head, not for the place
def rope(x, positions, base):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1]).float()[:, None] * base ** (-torch.arange(half).float() / half)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

# %% rope wrong: the first half is overwritten before it is used
def rope(x, positions, base):
    half = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-torch.arange(half) / half)
    x = x.clone()
    x[..., :half] = x[..., :half] * angle.cos() - x[..., half:] * angle.sin()
    x[..., half:] = x[..., half:] * angle.cos() + x[..., :half] * angle.sin()
    return x

# %% rope wrong: angles are added instead of turned
def rope(x, positions, base):
    half = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-torch.arange(half) / half)
    return x + torch.cat([angle.cos(), angle.sin()], -1)

# %% rope wrong: exponent by half - 1
def rope(x, positions, base):
    half = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-torch.arange(half) / max(half - 1, 1))
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

# %% rope right: rotate_half
def rope(x, positions, base):
    half = x.shape[-1] // 2
    inv = 1.0 / base ** (torch.arange(0, x.shape[-1], 2).float() / x.shape[-1])
    emb = torch.cat([torch.outer(positions.float(), inv)] * 2, -1)
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * emb.cos() + turned * emb.sin()

# %% rope right: complex numbers
def rope(x, positions, base):
    half = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-torch.arange(half) / half)
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], -1)

# %% kv_cache wrong: always writes at the front
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k, self.v = torch.zeros(2, batch, kv_heads, max_length, width)
        self.length = 0
    def append(self, k, v):
        n = k.shape[2]
        if self.length + n > self.k.shape[2]:
            raise ValueError("full")
        self.k[:, :, :n], self.v[:, :, :n] = k, v
        self.length += n
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

# %% kv_cache wrong: the store belongs to the class
class KVCache:
    parts, length = [], 0
    def __init__(self, batch, kv_heads, max_length, width):
        self.room = max_length
    def append(self, k, v):
        if KVCache.length + k.shape[2] > self.room:
            raise ValueError("full")
        KVCache.parts.append((k.clone(), v.clone()))
        KVCache.length += k.shape[2]
        return tuple(torch.cat([p[i] for p in self.parts], 2) for i in (0, 1))

# %% kv_cache wrong: one place too few
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k, self.v = torch.zeros(2, batch, kv_heads, max_length, width)
        self.length = 0
    def append(self, k, v):
        end = self.length + k.shape[2]
        if end >= self.k.shape[2]:
            raise ValueError("full")
        self.k[:, :, self.length : end], self.v[:, :, self.length : end] = k, v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

# %% kv_cache wrong: counts pieces, not places
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k = self.v = None
        self.length, self.room = 0, max_length
    def append(self, k, v):
        if (0 if self.k is None else self.k.shape[2]) + k.shape[2] > self.room:
            raise ValueError("full")
        self.k = k.clone() if self.k is None else torch.cat([self.k, k], 2)
        self.v = v.clone() if self.v is None else torch.cat([self.v, v], 2)
        self.length += 1
        return self.k, self.v

# %% kv_cache right: concatenation
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k, self.v = torch.empty(2, batch, kv_heads, 0, width)
        self.room = max_length
    @property
    def length(self):
        return self.k.shape[2]
    def append(self, k, v):
        if self.length + k.shape[2] > self.room:
            raise ValueError("no room")
        self.k, self.v = torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
        return self.k, self.v

# %% kv_cache right: one store for both
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.store, self.length = torch.empty(2, batch, kv_heads, max_length, width), 0
    def append(self, k, v):
        room = self.store.shape[3]
        if k.shape[2] > room - self.length:
            raise ValueError("no room")
        self.store[:, :, :, self.length : self.length + k.shape[2]] = torch.stack([k, v])
        self.length += k.shape[2]
        return tuple(self.store[:, :, :, : self.length])
