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
