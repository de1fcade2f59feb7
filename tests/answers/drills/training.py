# %% accumulated_gradient wrong: divided by the size of the first micro-batch
def accumulated_gradient(weight, micro_batches):
    w = weight.detach().clone().requires_grad_()
    for x, y in micro_batches:
        (F.cross_entropy(x @ w, y, reduction="sum") / len(micro_batches[0][1])).backward()
    return w.grad

# %% accumulated_gradient wrong: weighted by places, not by labels
def accumulated_gradient(weight, micro_batches):
    w = weight.detach().clone().requires_grad_()
    n = sum(len(y) for _, y in micro_batches)
    for x, y in micro_batches:
        if (y != -100).any():
            (F.cross_entropy(x @ w, y) * len(y) / n).backward()
    return w.grad

# %% accumulated_gradient wrong: steps between the micro-batches
def accumulated_gradient(weight, micro_batches):
    w, total = weight.detach().clone(), torch.zeros_like(weight)
    n = sum(int((y != -100).sum()) for _, y in micro_batches)
    for x, y in micro_batches:
        w.requires_grad_()
        g = torch.autograd.grad(F.cross_entropy(x @ w, y, reduction="sum") / n, w)[0]
        total, w = total + g, (w - 0.1 * g).detach()
    return total

# %% accumulated_gradient wrong: -100 taken as the last class
def accumulated_gradient(weight, micro_batches):
    w = weight.detach().clone().requires_grad_()
    n = sum(len(y) for _, y in micro_batches)
    for x, y in micro_batches:
        y = y.masked_fill(y == -100, weight.shape[1] - 1)
        (F.cross_entropy(x @ w, y, reduction="sum") / n).backward()
    return w.grad

# %% accumulated_gradient right: divided at the end
def accumulated_gradient(weight, micro_batches):
    w = weight.detach().clone().requires_grad_()
    n = 0
    for x, y in micro_batches:
        F.cross_entropy(x @ w, y, reduction="sum").backward()
        n += (y != -100).sum().item()
    return w.grad / n

# %% accumulated_gradient right: the gradient by hand
def accumulated_gradient(weight, micro_batches):
    total, n = torch.zeros_like(weight), 0
    for x, y in micro_batches:
        keep = y != -100
        p = (x[keep] @ weight).softmax(-1) - F.one_hot(y[keep], weight.shape[1])
        total = total + x[keep].T @ p
        n += int(keep.sum())
    return total / n

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

# %% wsd_lr wrong: the stable part ends one step early
def wsd_lr(step, warmup, decay, total, peak):
    if step < warmup:
        return peak * step / warmup
    if step < total - decay - 1 or not decay:
        return peak
    return peak * (total - step) / (decay + 1)

# %% wsd_lr wrong: the square root, one minus
def wsd_lr(step, warmup, decay, total, peak):
    if step < warmup:
        return peak * step / warmup
    if step < total - decay or not decay:
        return peak
    return peak * (1 - math.sqrt((step - total + decay) / decay))

# %% wsd_lr wrong: warm-up by a cosine
def wsd_lr(step, warmup, decay, total, peak):
    if step < warmup:
        return peak * (1 - math.cos(math.pi * step / warmup)) / 2
    return peak * min(1.0, (total - step) / decay) if decay else peak

# %% wsd_lr right: the smallest of three
def wsd_lr(step, warmup, decay, total, peak):
    up = step / warmup if warmup else 1.0
    down = (total - step) / decay if decay else 1.0
    return peak * min(1.0, up, down)

# %% wsd_lr right: cases
def wsd_lr(step, warmup, decay, total, peak):
    begin = total - decay
    if warmup > 0 and step <= warmup:
        return step * peak / warmup
    if step <= begin:
        return float(peak)
    return peak - peak * (step - begin) / decay

# %% cosine_lr wrong: the floor twice
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * step / warmup
    t = (step - warmup) / (total - warmup)
    return floor + peak * (1 + math.cos(math.pi * t)) / 2 - floor / 2

# %% cosine_lr wrong: degrees of a sine
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * step / warmup
    t = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 - math.sin(math.pi / 2 * t))

# %% cosine_lr wrong: counted over the total, from the warm-up on
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * step / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (step - warmup) / total)) / 2

# %% cosine_lr wrong: warm-up from the floor
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return floor + (peak - floor) * step / warmup
    t = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * t)) / 2

# %% cosine_lr right: a square
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * (step / warmup)
    return floor + (peak - floor) * math.cos(math.pi / 2 * (step - warmup) / (total - warmup)) ** 2

# %% cosine_lr right: the middle and the swing
def cosine_lr(step, warmup, total, peak, floor):
    if warmup and step < warmup:
        return step * peak / warmup
    middle, swing = (peak + floor) / 2, (peak - floor) / 2
    return middle + swing * math.cos((step - warmup) * math.pi / (total - warmup))

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

# %% scaled_step wrong: the mean of the gradients is looked at
def scaled_step(grads, scale, good_steps, interval):
    if any(torch.isinf(g.mean()) for g in grads):
        return None, scale / 2, 0
    true = [g / scale for g in grads]
    return (true, scale * 2, 0) if good_steps + 1 == interval else (true, scale, good_steps + 1)

# %% scaled_step wrong: large values count as overflow
def scaled_step(grads, scale, good_steps, interval):
    if any(not (g.abs() < 5).all() for g in grads):
        return None, scale / 2, 0
    true = [g / scale for g in grads]
    return (true, scale * 2, 0) if good_steps + 1 == interval else (true, scale, good_steps + 1)

# %% scaled_step wrong: the scale doubles at every good step
def scaled_step(grads, scale, good_steps, interval):
    if not all(torch.isfinite(g).all() for g in grads):
        return None, scale / 2, 0
    return [g / scale for g in grads], scale * 2, good_steps + 1

# %% scaled_step wrong: the counter goes on after growing
def scaled_step(grads, scale, good_steps, interval):
    if not all(torch.isfinite(g).all() for g in grads):
        return None, scale / 2, 0
    n = good_steps + 1
    return [g / scale for g in grads], scale * 2 if n % interval == 0 else scale, n

# %% scaled_step right: a sum that stays finite
def scaled_step(grads, scale, good_steps, interval):
    total = sum(float((g * 0).sum()) for g in grads)
    if math.isnan(total):
        return None, scale * 0.5, 0
    n = (good_steps + 1) % interval
    return [g * (1 / scale) for g in grads], scale * (2 if n == 0 else 1), n

# %% scaled_step right: flat
def scaled_step(grads, scale, good_steps, interval):
    flat = torch.cat([g.flatten() for g in grads])
    if flat.isnan().any() or flat.isinf().any():
        return None, scale / 2, 0
    out = [torch.div(g, scale) for g in grads]
    good_steps += 1
    if good_steps >= interval:
        return out, scale * 2, 0
    return out, scale, good_steps

# %% ring_all_reduce wrong: chunks numbered the other way
def ring_all_reduce(buffers):
    n = len(buffers)
    h = [list(b) for b in buffers]
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w + s) % n] += h[w][(w + s) % n]
    first = [list(b) for b in h]
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w + 1 + s) % n] = h[w][(w + 1 + s) % n]
    return first, h

# %% ring_all_reduce wrong: the given lists are added to
def ring_all_reduce(buffers):
    n = len(buffers)
    h = buffers
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w - s) % n] += h[w][(w - s) % n]
    first = [list(b) for b in h]
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w + 1 - s) % n] = h[w][(w + 1 - s) % n]
    return first, h

# %% ring_all_reduce wrong: the first state is not copied
def ring_all_reduce(buffers):
    n = len(buffers)
    h = [list(b) for b in buffers]
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w - s) % n] += h[w][(w - s) % n]
    first = h
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w + 1 - s) % n] = h[w][(w + 1 - s) % n]
    return first, h

# %% ring_all_reduce wrong: the last step of the gather is missing
def ring_all_reduce(buffers):
    n = len(buffers)
    h = [list(b) for b in buffers]
    for s in range(n - 1):
        for w in range(n):
            h[(w + 1) % n][(w - s) % n] += h[w][(w - s) % n]
    first = [list(b) for b in h]
    for s in range(n - 2):
        for w in range(n):
            h[(w + 1) % n][(w + 1 - s) % n] = h[w][(w + 1 - s) % n]
    return first, h

# %% ring_all_reduce right: messages first
def ring_all_reduce(buffers):
    import copy
    n, h = len(buffers), copy.deepcopy(buffers)
    for s in range(n - 1):
        mail = [((w + 1) % n, (w - s) % n, h[w][(w - s) % n]) for w in range(n)]
        for to, c, v in mail:
            h[to][c] += v
    first = copy.deepcopy(h)
    for s in range(n - 1):
        mail = [((w + 1) % n, (w + 1 - s) % n, h[w][(w + 1 - s) % n]) for w in range(n)]
        for to, c, v in mail:
            h[to][c] = v
    return first, h

# %% ring_all_reduce right: from the receiver's side
def ring_all_reduce(buffers):
    n = len(buffers)
    held = [b[:] for b in buffers]
    for part in (0, 1):
        for s in range(n - 1):
            new = [b[:] for b in held]
            for w in range(n):
                c = (w - 1 + part - s) % n
                new[w][c] = held[w - 1][c] + (held[w][c] if part == 0 else 0)
            held = new
        if part == 0:
            first = [b[:] for b in held]
    return first, held

# %% distillation_loss wrong: the hard label of the teacher
def distillation_loss(student, teacher, labels, temperature, alpha):
    hard = F.cross_entropy(student / temperature, teacher.detach().argmax(-1))
    return alpha * temperature**2 * hard + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss wrong: T squared before both parts
def distillation_loss(student, teacher, labels, temperature, alpha):
    t = temperature
    kl = F.kl_div((student / t).log_softmax(-1), (teacher.detach() / t).softmax(-1), reduction="batchmean")
    return t**2 * (alpha * kl + (1 - alpha) * F.cross_entropy(student, labels))

# %% distillation_loss wrong: mean squared error of the logits
def distillation_loss(student, teacher, labels, temperature, alpha):
    mse = F.mse_loss(student / temperature, teacher.detach() / temperature)
    return alpha * temperature**2 * mse + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss wrong: divided by T twice
def distillation_loss(student, teacher, labels, temperature, alpha):
    t = temperature
    kl = F.kl_div((student / t).log_softmax(-1), (teacher.detach() / t).softmax(-1), reduction="batchmean")
    return alpha * kl / t**2 + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss right: kl_div
def distillation_loss(student, teacher, labels, temperature, alpha):
    t = temperature
    with torch.no_grad():
        target = torch.log_softmax(teacher / t, -1)
    kl = F.kl_div(torch.log_softmax(student / t, -1), target, reduction="batchmean", log_target=True)
    return alpha * t * t * kl + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss right: cross-entropy less entropy
def distillation_loss(student, teacher, labels, temperature, alpha):
    p = torch.softmax(teacher.detach() / temperature, -1)
    cross = F.cross_entropy(student / temperature, p)
    own = -(p * p.log()).sum(-1).mean()
    return alpha * temperature**2 * (cross - own) + (1 - alpha) * F.nll_loss(student.log_softmax(-1), labels)
