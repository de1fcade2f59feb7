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
