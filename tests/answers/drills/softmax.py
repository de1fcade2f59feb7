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
