# %% stable_softmax wrong: the minimum is subtracted
def stable_softmax(x, dim):
    e = (x - x.amin(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)

# %% stable_softmax wrong: numbers are clamped
def stable_softmax(x, dim):
    e = x.clamp(-80, 80).exp()
    return e / e.sum(dim, keepdim=True)

# %% stable_softmax wrong: divided by the sum before the exponential
def stable_softmax(x, dim):
    s = x - x.amax(dim, keepdim=True)
    return s.exp() / s.sum(dim, keepdim=True).exp()

# %% stable_softmax wrong: a small number below the line
def stable_softmax(x, dim):
    e = (x - x.amax(dim, keepdim=True)).exp()
    return e / (e.sum(dim, keepdim=True) + 1e-2)

# %% stable_softmax right: through the logarithm of the sum
def stable_softmax(x, dim):
    m = x.max(dim, keepdim=True).values
    return (x - m - (x - m).exp().sum(dim, keepdim=True).log()).exp()

# %% stable_softmax right: with the axis at the end
def stable_softmax(x, dim):
    y = x.movedim(dim, -1)
    rows = []
    for row in y.reshape(-1, y.shape[-1]).tolist():
        top = max(row)
        e = [math.exp(v - top) for v in row]
        rows.append([v / sum(e) for v in e])
    return torch.tensor(rows).view(y.shape).movedim(-1, dim)

# %% cross_entropy wrong: the ignored are zero logits in the mean of all
def cross_entropy(logits, labels, ignore_index=-100):
    keep = labels != ignore_index
    x = logits - logits.amax(-1, keepdim=True)
    lp = x - x.exp().sum(-1, keepdim=True).log()
    picked = lp.gather(1, labels.masked_fill(~keep, 0)[:, None])[:, 0]
    return -(picked * keep).mean()

# %% cross_entropy wrong: base two
def cross_entropy(logits, labels, ignore_index=-100):
    keep = labels != ignore_index
    x = logits[keep] - logits[keep].amax(-1, keepdim=True)
    lp = x - x.exp().sum(-1, keepdim=True).log()
    return -lp.gather(1, labels[keep][:, None]).mean() / math.log(2)

# %% cross_entropy wrong: labels below 0 are ignored, whatever ignore_index says
def cross_entropy(logits, labels, ignore_index=-100):
    keep = labels >= 0
    x = logits[keep] - logits[keep].amax(-1, keepdim=True)
    lp = x - x.exp().sum(-1, keepdim=True).log()
    return -lp.gather(1, labels[keep][:, None]).mean()

# %% cross_entropy wrong: a small number inside the logarithm
def cross_entropy(logits, labels, ignore_index=-100):
    keep = labels != ignore_index
    x = (logits[keep] - logits[keep].amax(-1, keepdim=True)).exp()
    p = x / x.sum(-1, keepdim=True)
    return -(p.gather(1, labels[keep][:, None]) + 1e-8).log().mean()

# %% cross_entropy wrong: all labels at every place
def cross_entropy(logits, labels, ignore_index=-100):
    keep = labels != ignore_index
    x = logits[keep] - logits[keep].amax(-1, keepdim=True)
    lp = x - x.exp().sum(-1, keepdim=True).log()
    return -lp[:, labels[keep]].mean()

# %% cross_entropy right: gather and a sum
def cross_entropy(logits, labels, ignore_index=-100):
    keep = (labels != ignore_index).float()
    x = logits - logits.max(-1, keepdim=True).values
    nll = x.exp().sum(-1).log() - x.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return (nll * keep).sum() / keep.sum()

# %% cross_entropy right: a loop in Python numbers
def cross_entropy(logits, labels, ignore_index=-100):
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist()):
        if label != ignore_index:
            top = max(row)
            losses.append(top + math.log(sum(math.exp(v - top) for v in row)) - row[label])
    return torch.tensor(sum(losses) / len(losses))

# %% rms_norm wrong: divided by the length of the vector
def rms_norm(x, weight, eps):
    return (x.float() / (x.float().norm(dim=-1, keepdim=True) + eps)).to(x.dtype) * weight

# %% rms_norm wrong: the mean runs over the first axis
def rms_norm(x, weight, eps):
    w = x.float()
    return (w * torch.rsqrt(w.pow(2).mean(0, keepdim=True) + eps)).to(x.dtype) * weight

# %% rms_norm wrong: weight plus one, as Gemma has it
def rms_norm(x, weight, eps):
    w = x.float()
    return (w * torch.rsqrt(w.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * (1 + weight)

# %% rms_norm wrong: eps squared
def rms_norm(x, weight, eps):
    w = x.float()
    return (w * torch.rsqrt(w.pow(2).mean(-1, keepdim=True) + eps**2)).to(x.dtype) * weight

# %% rms_norm right: through the norm
def rms_norm(x, weight, eps):
    w = x.to(torch.float32)
    scale = (w.square().sum(-1, keepdim=True) / x.shape[-1] + eps).sqrt()
    return (w / scale * weight.float()).to(x.dtype)

# %% rms_norm right: an einsum
def rms_norm(x, weight, eps):
    w = x.double()
    return (w / (torch.einsum("...i,...i->...", w, w)[..., None] / w.shape[-1] + eps) ** 0.5).to(x.dtype) * weight

# %% swiglu wrong: silu over the product
def swiglu(x, w_gate, w_up, w_down):
    h = (x @ w_gate) * (x @ w_up)
    return (h * torch.sigmoid(h)) @ w_down

# %% swiglu wrong: the sigmoid of the way up
def swiglu(x, w_gate, w_up, w_down):
    return ((x @ w_gate) * torch.sigmoid(x @ w_up)) @ w_down

# %% swiglu wrong: silu with the sign turned
def swiglu(x, w_gate, w_up, w_down):
    g = x @ w_gate
    return (g * torch.sigmoid(-g) * (x @ w_up)) @ w_down

# %% swiglu wrong: silu at both
def swiglu(x, w_gate, w_up, w_down):
    return (F.silu(x @ w_gate) * F.silu(x @ w_up)) @ w_down

# %% swiglu right: with silu of the library
def swiglu(x, w_gate, w_up, w_down):
    return (F.silu(x @ w_gate) * (x @ w_up)) @ w_down

# %% swiglu right: both at once
def swiglu(x, w_gate, w_up, w_down):
    g, u = (x @ torch.cat([w_gate, w_up], 1)).chunk(2, -1)
    return torch.matmul(u * g / (1 + torch.exp(-g)), w_down)

# %% moe_gate wrong: softmax over the tokens
def moe_gate(logits, k):
    p = logits.softmax(0)
    w, e = p.topk(k, -1)
    f = torch.bincount(e.flatten(), minlength=logits.shape[1]) / e.numel()
    return w / w.sum(-1, keepdim=True), e, logits.shape[1] * (f * p.mean(0)).sum()

# %% moe_gate wrong: the product of the means is summed over tokens
def moe_gate(logits, k):
    p = logits.softmax(-1)
    w, e = p.topk(k, -1)
    f = torch.bincount(e.flatten(), minlength=logits.shape[1]) / e.numel()
    return w / w.sum(-1, keepdim=True), e, logits.shape[1] * (f * p.sum(0)).sum()

# %% moe_gate wrong: times k instead of the number of experts
def moe_gate(logits, k):
    p = logits.softmax(-1)
    w, e = p.topk(k, -1)
    f = torch.bincount(e.flatten(), minlength=logits.shape[1]) / e.numel()
    return w / w.sum(-1, keepdim=True), e, k * (f * p.mean(0)).sum()

# %% moe_gate wrong: the smallest k
def moe_gate(logits, k):
    p = logits.softmax(-1)
    w, e = p.topk(k, -1, largest=False)
    f = torch.bincount(e.flatten(), minlength=logits.shape[1]) / e.numel()
    return w / w.sum(-1, keepdim=True), e, logits.shape[1] * (f * p.mean(0)).sum()

# %% moe_gate right: softmax of the kept logits
def moe_gate(logits, k):
    top, e = logits.topk(k, -1)
    p = logits.softmax(-1)
    hits = F.one_hot(e, logits.shape[1]).float()
    return top.softmax(-1), e, logits.shape[1] * (hits.mean((0, 1)) @ p.mean(0))

# %% moe_gate right: sorted
def moe_gate(logits, k):
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    s, i = p.sort(-1, descending=True)
    w, e = s[:, :k], i[:, :k]
    loss = sum((e == j).float().mean() * p[:, j].mean() for j in range(p.shape[1])) * p.shape[1]
    return w / w.sum(-1, keepdim=True), e, loss
