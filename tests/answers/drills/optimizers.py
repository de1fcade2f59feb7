# %% adamw_step wrong: beta2 corrects m
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    u = (m / (1 - beta2**step)) / ((v / (1 - beta1**step)).sqrt() + eps)
    return param - lr * u - lr * weight_decay * param, m, v

# %% adamw_step wrong: the old averages are used
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    u = (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps)
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    return param * (1 - lr * weight_decay) - lr * u, m, v

# %% adamw_step wrong: only v is corrected
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    return param * (1 - lr * weight_decay) - lr * m / ((v / (1 - beta2**step)).sqrt() + eps), m, v

# %% adamw_step wrong: in place
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m.mul_(beta1).add_(grad, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    u = (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps)
    return param * (1 - lr * weight_decay) - lr * u, m, v

# %% adamw_step wrong: decay after the step
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    p = param - lr * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps)
    return p * (1 - lr * weight_decay), m, v

# %% adamw_step right: lerp
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m, v = torch.lerp(m, grad, 1 - beta1), torch.lerp(v, grad * grad, 1 - beta2)
    size = lr / (1 - beta1**step)
    down = v.sqrt() / math.sqrt(1 - beta2**step) + eps
    return param - lr * weight_decay * param - size * m / down, m, v

# %% adamw_step right: clones changed in place
def adamw_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay):
    param, m, v = param.clone(), m.clone(), v.clone()
    m.mul_(beta1).add_(grad, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    param.mul_(1 - lr * weight_decay)
    param.addcdiv_(m / (1 - beta1**step), (v / (1 - beta2**step)).sqrt().add(eps), value=-lr)
    return param, m, v

# %% muon_step wrong: never transposed, and the wrong product
def muon_step(weight, grad, momentum, lr, beta):
    momentum = beta * momentum + (1 - beta) * grad
    x = beta * momentum + (1 - beta) * grad
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x.T @ x
        x = 3.4445 * x + x @ (-4.775 * s + 2.0315 * s)
    return weight - lr * max(1, weight.shape[0] / weight.shape[1]) ** 0.5 * x, momentum

# %% muon_step wrong: the root of the larger side
def muon_step(weight, grad, momentum, lr, beta):
    momentum = beta * momentum + (1 - beta) * grad
    x = beta * momentum + (1 - beta) * grad
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.T
        x = 3.4445 * x + (-4.775 * s + 2.0315 * s @ s) @ x
    return weight - lr * max(weight.shape) ** 0.5 * x, momentum

# %% muon_step wrong: exactly orthogonal by qr
def muon_step(weight, grad, momentum, lr, beta):
    momentum = beta * momentum + (1 - beta) * grad
    x = beta * momentum + (1 - beta) * grad
    tall = x.shape[0] >= x.shape[1]
    q = torch.linalg.qr(x if tall else x.T)[0]
    x = q if tall else q.T
    return weight - lr * max(1, weight.shape[0] / weight.shape[1]) ** 0.5 * x, momentum

# %% muon_step wrong: the gradient is made orthogonal before the momentum
def muon_step(weight, grad, momentum, lr, beta):
    x = grad / (grad.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.T
        x = 3.4445 * x + (-4.775 * s + 2.0315 * s @ s) @ x
    momentum = beta * momentum + (1 - beta) * x
    u = beta * momentum + (1 - beta) * x
    return weight - lr * max(1, weight.shape[0] / weight.shape[1]) ** 0.5 * u, momentum

# %% muon_step right: products from the right
def muon_step(weight, grad, momentum, lr, beta):
    momentum = torch.lerp(grad, momentum, beta)
    x = torch.lerp(grad, momentum, beta)
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x.T @ x
        x = 3.4445 * x - 4.775 * x @ s + 2.0315 * x @ s @ s
    return weight - lr * math.sqrt(max(1, weight.size(0) / weight.size(1))) * x, momentum

# %% muon_step right: the polynomial on singular values
def muon_step(weight, grad, momentum, lr, beta):
    momentum = beta * momentum + (1 - beta) * grad
    u = (1 - beta) * grad + beta * momentum
    v, w = torch.linalg.eigh((u.T @ u).double() / (u.norm().double() + 1e-7) ** 2)
    x = u.double() / (u.norm().double() + 1e-7)
    s2, gain = v.clamp(min=0), torch.ones_like(v)
    for _ in range(5):
        t = s2 * gain**2
        gain = gain * (3.4445 - 4.775 * t + 2.0315 * t**2)
    x = (x @ w @ torch.diag(gain) @ w.T).float()
    return weight - lr * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5 * x, momentum

# %% clip_gradients wrong: the mean of squares
def clip_gradients(grads, max_norm):
    n = sum(g.numel() for g in grads)
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads) / n)
    return [g * min(1.0, max_norm / max(norm, 1e-9)) for g in grads], norm

# %% clip_gradients wrong: the largest of the tensors' norms
def clip_gradients(grads, max_norm):
    norm = max(float(g.norm()) for g in grads)
    return [g * min(1.0, max_norm / max(norm, 1e-9)) for g in grads], norm

# %% clip_gradients wrong: the sum of the tensors' norms
def clip_gradients(grads, max_norm):
    norm = sum(float(g.norm()) for g in grads)
    return [g * min(1.0, max_norm / max(norm, 1e-9)) for g in grads], norm

# %% clip_gradients wrong: in place
def clip_gradients(grads, max_norm):
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
    for g in grads:
        g *= min(1.0, max_norm / max(norm, 1e-9))
    return grads, norm

# %% clip_gradients right: one long vector
def clip_gradients(grads, max_norm):
    norm = torch.cat([g.flatten() for g in grads]).norm().item()
    return [g.clone() if norm <= max_norm else g / norm * max_norm for g in grads], norm

# %% clip_gradients right: the norm of norms, with a small number below the line
def clip_gradients(grads, max_norm):
    norm = torch.stack([g.norm() for g in grads]).norm()
    return [g * (max_norm / (norm + 1e-6)).clamp(max=1.0) for g in grads], float(norm)
