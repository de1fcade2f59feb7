# %% lora_linear wrong: A and B exchanged in their roles, rank from the wrong axis
def lora_linear(x, weight, a, b, alpha):
    return x @ weight.detach().T + (x @ a.T) @ b.T * (alpha / a.shape[1])

# %% lora_linear wrong: the scale is inside twice
def lora_linear(x, weight, a, b, alpha):
    s = alpha / len(a)
    return x @ weight.detach().T + (s * (x @ a.T)) @ (s * b.T)

# %% lora_linear wrong: the side path is multiplied on
def lora_linear(x, weight, a, b, alpha):
    return (x @ weight.detach().T) * (1 + (x @ a.T) @ b.T * alpha / len(a))

# %% lora_linear wrong: everything under no_grad
def lora_linear(x, weight, a, b, alpha):
    with torch.no_grad():
        return x @ weight.T + (x @ a.T) @ b.T * (alpha / len(a))

# %% lora_linear right: F.linear
def lora_linear(x, weight, a, b, alpha):
    return F.linear(x, weight.detach()) + alpha / a.size(0) * F.linear(F.linear(x, a), b)

# %% lora_linear right: no_grad for the frozen part
def lora_linear(x, weight, a, b, alpha):
    with torch.no_grad():
        frozen = torch.einsum("...i,oi->...o", x, weight)
    return frozen + torch.einsum("...i,ri,or->...o", x, a, b) * alpha / b.shape[-1]

# %% lora_merge wrong: in place
def lora_merge(weight, a, b, alpha):
    weight += (b @ a * (alpha / a.shape[0])).to(weight.dtype)
    return weight

# %% lora_merge wrong: rank from the wrong axis
def lora_merge(weight, a, b, alpha):
    return (weight.float() + b @ a * (alpha / a.shape[1])).to(weight.dtype)

# %% lora_merge wrong: the update is rounded before it is scaled
def lora_merge(weight, a, b, alpha):
    return weight + (b @ a).to(weight.dtype) * (alpha / a.shape[0])

# %% lora_merge wrong: transposed twice
def lora_merge(weight, a, b, alpha):
    u = (a.T @ b.T).reshape(weight.shape)
    return (weight.float() + u * (alpha / a.shape[0])).to(weight.dtype)

# %% lora_merge right: addmm
def lora_merge(weight, a, b, alpha):
    return torch.addmm(weight.float(), b.float(), a.float(), alpha=alpha / a.shape[0]).to(weight.dtype)

# %% lora_merge right: a sum of outer products
def lora_merge(weight, a, b, alpha):
    out = weight.to(torch.float32).clone()
    for r in range(a.shape[0]):
        out += alpha / a.shape[0] * torch.outer(b[:, r], a[r])
    return out.to(weight.dtype)
