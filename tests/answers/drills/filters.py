# %% top_k_filter wrong: one more is kept
def top_k_filter(logits, k):
    n = min(k + 1, logits.shape[-1])
    return logits.masked_fill(logits < logits.topk(n).values[:, -1:], -torch.inf)

# %% top_k_filter wrong: the limit of the first row
def top_k_filter(logits, k):
    n = min(k, logits.shape[-1])
    return logits.masked_fill(logits < logits.topk(n).values[0, -1], -torch.inf)

# %% top_k_filter wrong: a large negative number
def top_k_filter(logits, k):
    n = min(k, logits.shape[-1])
    return logits.masked_fill(logits < logits.topk(n).values[:, -1:], -10.0)

# %% top_k_filter wrong: along the batch
def top_k_filter(logits, k):
    n = min(k, logits.shape[0])
    return logits.masked_fill(logits < logits.topk(n, 0).values[-1:], -torch.inf)

# %% top_k_filter right: scatter
def top_k_filter(logits, k):
    top, places = logits.topk(min(k, logits.size(-1)), dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, top)

# %% top_k_filter right: ranks
def top_k_filter(logits, k):
    rank = logits.argsort(-1, descending=True).argsort(-1)
    return torch.where(rank < k, logits, torch.tensor(float("-inf")))

# %% top_p_filter wrong: softmax of the whole batch
def top_p_filter(logits, p):
    s, o = logits.sort(-1, descending=True)
    q = s.flatten().softmax(0).view_as(s)
    return logits.masked_fill(torch.zeros_like(s).bool().scatter(-1, o, q.cumsum(-1) - q >= p), -torch.inf)

# %% top_p_filter wrong: one token more than needed
def top_p_filter(logits, p):
    s, o = logits.sort(-1, descending=True)
    q = s.softmax(-1)
    gone = q.cumsum(-1) - q >= p
    gone[:, 1:] = gone[:, :-1].clone()
    gone[:, 0] = False
    return logits.masked_fill(torch.zeros_like(gone).scatter(-1, o, gone), -torch.inf)

# %% top_p_filter wrong: the sum of logits
def top_p_filter(logits, p):
    s, o = logits.sort(-1, descending=True)
    gone = s.cumsum(-1) - s >= p
    return logits.masked_fill(torch.zeros_like(gone).scatter(-1, o, gone), -torch.inf)

# %% top_p_filter wrong: the same number in every row
def top_p_filter(logits, p):
    s, o = logits.sort(-1, descending=True)
    q = s.softmax(-1)
    n = int((q.cumsum(-1) - q < p).sum(-1).max())
    return logits.masked_fill(logits < s[:, n - 1 : n], -torch.inf)

# %% top_p_filter right: upwards, as some libraries do
def top_p_filter(logits, p):
    s, o = logits.sort(-1)
    gone = s.softmax(-1).cumsum(-1) <= 1 - p
    gone[:, -1] = False
    return logits.masked_fill(gone.scatter(1, o, gone), -torch.inf)

# %% top_p_filter right: a loop
def top_p_filter(logits, p):
    out = torch.full_like(logits, -torch.inf)
    for i, row in enumerate(logits.softmax(-1)):
        total = 0.0
        for t in row.argsort(descending=True).tolist():
            out[i, t] = logits[i, t]
            total += float(row[t])
            if total >= p:
                break
    return out

# %% min_p_filter wrong: the limit squared
def min_p_filter(logits, p):
    q = logits.softmax(-1)
    return logits.masked_fill(q < p * q.amax(-1, keepdim=True) ** 2, -torch.inf)

# %% min_p_filter wrong: one minus p
def min_p_filter(logits, p):
    q = logits.softmax(-1)
    return logits.masked_fill(q < (1 - p) * q.amax(-1, keepdim=True), -torch.inf)

# %% min_p_filter wrong: p times the second
def min_p_filter(logits, p):
    q = logits.softmax(-1)
    return logits.masked_fill(q < p * q.topk(2).values[:, 1:], -torch.inf)

# %% min_p_filter wrong: the maximum over the batch
def min_p_filter(logits, p):
    q = logits.softmax(-1)
    return logits.masked_fill(q < p * q.amax(0, keepdim=True), -torch.inf)

# %% min_p_filter right: probabilities
def min_p_filter(logits, p):
    q = torch.softmax(logits, -1)
    return torch.where(q >= p * q.max(-1, keepdim=True).values, logits, torch.tensor(-torch.inf))

# %% min_p_filter right: the gap to the best logit
def min_p_filter(logits, p):
    gap = (logits - logits.max(-1, keepdim=True)[0]).exp()
    out = logits.clone()
    out[gap < p] = -torch.inf
    return out
