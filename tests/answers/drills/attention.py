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
