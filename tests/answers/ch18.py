# %% 18.1 wrong: the temperature's square is forgotten
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    mask = labels != -100
    ce = torch.nn.functional.cross_entropy(student_logits[mask], labels[mask])
    p = (teacher_logits[mask].detach() / temperature).softmax(-1)
    q = (student_logits[mask] / temperature).log_softmax(-1)
    kl = torch.nn.functional.kl_div(q, p, reduction="batchmean")
    return alpha * ce + (1 - alpha) * kl


# %% 18.1 wrong: kl_div's default reduction
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    mask = labels != -100
    ce = torch.nn.functional.cross_entropy(student_logits[mask], labels[mask])
    p = (teacher_logits[mask].detach() / temperature).softmax(-1)
    q = (student_logits[mask] / temperature).log_softmax(-1)
    kl = torch.nn.functional.kl_div(q, p)
    return alpha * ce + (1 - alpha) * temperature**2 * kl


# %% 18.1 wrong: batchmean on three axes, and padding in it
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    ce = torch.nn.functional.cross_entropy(student_logits.flatten(0, 1), labels.flatten())
    p = (teacher_logits.detach() / temperature).softmax(-1)
    q = (student_logits / temperature).log_softmax(-1)
    kl = torch.nn.functional.kl_div(q, p, reduction="batchmean")
    return alpha * ce + (1 - alpha) * temperature**2 * kl


# %% 18.1 wrong: arguments of the divergence swapped
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    m = labels != -100
    q = torch.softmax(student_logits[m] / temperature, -1)
    p = torch.softmax(teacher_logits[m].detach() / temperature, -1)
    soft = (q * (q.log() - p.log())).sum(-1).mean() * temperature**2
    return alpha * torch.nn.functional.cross_entropy(student_logits[m], labels[m]) + (1 - alpha) * soft


# %% 18.1 wrong: the student is not softened
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    m = labels != -100
    p = torch.softmax(teacher_logits[m].detach() / temperature, -1)
    log_q = torch.log_softmax(student_logits[m], -1)
    soft = (p * (p.log() - log_q)).sum(-1).mean() * temperature * temperature
    return alpha * torch.nn.functional.cross_entropy(student_logits[m], labels[m]) + (1 - alpha) * soft


# %% 18.1 wrong: the teacher gets a gradient
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    m = labels != -100
    p = torch.softmax(teacher_logits[m] / temperature, -1)
    log_q = torch.log_softmax(student_logits[m] / temperature, -1)
    soft = (p * (p.log() - log_q)).sum(-1).mean() * temperature**2
    return alpha * torch.nn.functional.cross_entropy(student_logits[m], labels[m]) + (1 - alpha) * soft


# %% 18.1 right: kl_div with batchmean over the chosen places
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    F = torch.nn.functional
    m = labels != -100
    s, t = student_logits[m], teacher_logits[m].detach()
    kl = F.kl_div(F.log_softmax(s / temperature, -1), F.softmax(t / temperature, -1), reduction="batchmean")
    return alpha * F.cross_entropy(s, labels[m]) + (1 - alpha) * temperature**2 * kl


# %% 18.1 right: a mask as weights
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    mask = (labels != -100).to(student_logits.dtype)
    log_q = torch.log_softmax(student_logits / temperature, -1)
    with torch.no_grad():
        log_p = torch.log_softmax(teacher_logits / temperature, -1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    nll = -torch.log_softmax(student_logits, -1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    each = alpha * nll + (1 - alpha) * temperature**2 * kl
    return (each * mask).sum() / mask.sum()


# %% 18.1 right: torch.distributions
def soft_label_loss(student_logits, teacher_logits, labels, alpha, temperature):
    m = labels != -100
    p = torch.distributions.Categorical(logits=teacher_logits[m].detach() / temperature)
    q = torch.distributions.Categorical(logits=student_logits[m] / temperature)
    kl = torch.distributions.kl_divergence(p, q).mean()
    hard = torch.distributions.Categorical(logits=student_logits[m]).log_prob(labels[m]).mean().neg()
    return alpha * hard + (1 - alpha) * kl * temperature**2


# %% 18.2 wrong: beta from the wrong end
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).log_softmax(-1)
    q = (student_logits / temperature).log_softmax(-1)
    kl = lambda a, b: (a.exp() * (a - b).masked_fill(a.exp() == 0, 0)).sum(-1)
    if beta == 1:
        return kl(p, q)
    if beta == 0:
        return kl(q, p)
    m = (beta * p.exp() + (1 - beta) * q.exp()).log()
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


# %% 18.2 wrong: no lines for the ends
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).softmax(-1)
    q = (student_logits / temperature).softmax(-1)
    m = beta * p + (1 - beta) * q
    kl = lambda a, b: torch.nn.functional.kl_div(b.log(), a, reduction="none").sum(-1)
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


# %% 18.2 wrong: the two KL mixed
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).softmax(-1)
    q = (student_logits / temperature).softmax(-1)
    kl = lambda a, b: torch.nn.functional.kl_div(b.log(), a, reduction="none").sum(-1)
    if beta == 0:
        return kl(p, q)
    if beta == 1:
        return kl(q, p)
    return (1 - beta) * kl(p, q) + beta * kl(q, p)


# %% 18.2 wrong: the logits are mixed
def divergence(student_logits, teacher_logits, beta, temperature):
    s, t = student_logits / temperature, teacher_logits / temperature
    kl = lambda a, b: torch.nn.functional.kl_div(
        b.log_softmax(-1), a.softmax(-1), reduction="none"
    ).sum(-1)
    if beta == 0:
        return kl(t, s)
    if beta == 1:
        return kl(s, t)
    m = beta * t + (1 - beta) * s
    return beta * kl(t, m) + (1 - beta) * kl(s, m)


# %% 18.2 wrong: one mean over everything
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).softmax(-1)
    q = (student_logits / temperature).softmax(-1)
    kl = lambda a, b: torch.nn.functional.kl_div(b.log(), a, reduction="batchmean")
    if beta == 0:
        return kl(p, q)
    if beta == 1:
        return kl(q, p)
    m = beta * p + (1 - beta) * q
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


# %% 18.2 wrong: NaN where the teacher forbids a token
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).log_softmax(-1)
    q = (student_logits / temperature).log_softmax(-1)
    kl = lambda a, b: (a.exp() * (a - b)).sum(-1)
    if beta == 0:
        return kl(p, q)
    if beta == 1:
        return kl(q, p)
    m = torch.logaddexp(p + torch.tensor(beta).log(), q + torch.tensor(1 - beta).log())
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


# %% 18.2 right: logaddexp, and where for the forbidden
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).log_softmax(-1)
    q = (student_logits / temperature).log_softmax(-1)

    def kl(a, b):
        weight = a.exp()
        return torch.where(weight > 0, weight * (a - b), torch.zeros_like(a)).sum(-1)

    if beta == 0:
        return kl(p, q)
    if beta == 1:
        return kl(q, p)
    m = torch.logaddexp(p + torch.tensor(beta).log(), q + torch.tensor(1 - beta).log())
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


# %% 18.2 right: kl_div, which knows 0 log 0
def divergence(student_logits, teacher_logits, beta, temperature):
    p = (teacher_logits / temperature).softmax(-1)
    q = (student_logits / temperature).softmax(-1)
    kl = lambda a, b: torch.nn.functional.kl_div(b.log(), a, reduction="none").sum(-1)
    if beta == 0:
        return kl(p, q)
    if beta == 1:
        return kl(q, p)
    m = beta * p + (1 - beta) * q
    return beta * kl(p, m) + (1 - beta) * kl(q, m)


# %% 18.2 right: entropies
def divergence(student_logits, teacher_logits, beta, temperature):
    log_p = torch.log_softmax(teacher_logits / temperature, dim=-1)
    log_q = torch.log_softmax(student_logits / temperature, dim=-1)
    p, q = log_p.exp(), log_q.exp()
    entropy = lambda x: -torch.xlogy(x, x).sum(-1)
    if beta == 0:
        return -(p * log_q).sum(-1) - entropy(p)
    if beta == 1:
        return -(q * log_p).sum(-1) - entropy(q)
    return entropy(beta * p + (1 - beta) * q) - beta * entropy(p) - (1 - beta) * entropy(q)


# %% 18.3 wrong: the end is not learned
def answer_labels(input_ids, prompt_lengths, stop_id):
    labels = input_ids.clone()
    for i, n in enumerate(prompt_lengths.tolist()):
        labels[i, :n] = -100
        where = (input_ids[i, n:] == stop_id).nonzero()
        if len(where):
            labels[i, n + where[0].item() :] = -100
    return labels


# %% 18.3 wrong: the first stop of the whole row
def answer_labels(input_ids, prompt_lengths, stop_id):
    stop = input_ids == stop_id
    behind = stop.cumsum(1) - stop.long() > 0
    labels = input_ids.masked_fill(behind, -100)
    labels[torch.arange(input_ids.shape[1])[None] < prompt_lengths[:, None]] = -100
    return labels


# %% 18.3 wrong: hidden by id
def answer_labels(input_ids, prompt_lengths, stop_id):
    labels = input_ids.clone()
    labels[input_ids == stop_id] = -100
    for i, n in enumerate(prompt_lengths.tolist()):
        labels[i, :n] = -100
    return labels


# %% 18.3 wrong: argmax is 0 where there is no stop
def answer_labels(input_ids, prompt_lengths, stop_id):
    places = torch.arange(input_ids.shape[1])[None]
    stops = (input_ids == stop_id) & (places >= prompt_lengths[:, None])
    end = stops.int().argmax(1)
    keep = (places >= prompt_lengths[:, None]) & (places <= end[:, None])
    return input_ids.masked_fill(~keep, -100)


# %% 18.3 wrong: one token of the prompt too many
def answer_labels(input_ids, prompt_lengths, stop_id):
    labels = torch.full_like(input_ids, -100)
    for i, n in enumerate(prompt_lengths.tolist()):
        for t in range(max(n - 1, 0), input_ids.shape[1]):
            labels[i, t] = input_ids[i, t]
            if t >= n and input_ids[i, t] == stop_id:
                break
    return labels


# %% 18.3 wrong: shifted for the loss
def answer_labels(input_ids, prompt_lengths, stop_id):
    places = torch.arange(input_ids.shape[1])
    inside = places >= prompt_lengths[:, None]
    stop = (input_ids == stop_id) & inside
    labels = input_ids.masked_fill(~inside | (stop.cumsum(1) - stop.long() > 0), -100)
    return torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1)


# %% 18.3 right: a loop that breaks
def answer_labels(input_ids, prompt_lengths, stop_id):
    labels = torch.full_like(input_ids, -100)
    for i, n in enumerate(prompt_lengths.tolist()):
        for t in range(n, input_ids.shape[1]):
            labels[i, t] = input_ids[i, t]
            if input_ids[i, t] == stop_id:
                break
    return labels


# %% 18.3 right: cumulative product of not yet stopped
def answer_labels(input_ids, prompt_lengths, stop_id):
    inside = torch.arange(input_ids.shape[1], device=input_ids.device)[None] >= prompt_lengths[:, None]
    going = (~((input_ids == stop_id) & inside)).long().cumprod(1)
    alive = torch.cat([torch.ones_like(going[:, :1]), going[:, :-1]], 1).bool()
    return torch.where(inside & alive, input_ids, -100)


# %% 18.3 right: the index of the first stop, or the end of the row
def answer_labels(input_ids, prompt_lengths, stop_id):
    labels = input_ids.clone()
    for i, n in enumerate(prompt_lengths.tolist()):
        answer = input_ids[i, n:].tolist()
        end = n + answer.index(stop_id) + 1 if stop_id in answer else input_ids.shape[1]
        labels[i, :n] = -100
        labels[i, end:] = -100
    return labels


# %% 18.4 wrong: rows of o_proj
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    r = q_proj.shape[0] // k_proj.shape[0]
    kv = [i for h in sorted(keep) for i in range(h * head_dim, (h + 1) * head_dim)]
    q = [i for h in sorted(keep) for i in range(h * r * head_dim, (h + 1) * r * head_dim)]
    return q_proj[q], k_proj[kv], v_proj[kv], o_proj[[i % o_proj.shape[0] for i in q]]


# %% 18.4 wrong: as if there were no groups
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    rows = torch.cat([torch.arange(h * head_dim, (h + 1) * head_dim) for h in sorted(keep)])
    return q_proj[rows], k_proj[rows], v_proj[rows], o_proj[:, rows]


# %% 18.4 wrong: interleaved groups
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    n_kv = k_proj.shape[0] // head_dim
    n_q = q_proj.shape[0] // head_dim
    rows = torch.cat([torch.arange(h * head_dim, (h + 1) * head_dim) for h in sorted(keep)])
    heads = [h for h in range(n_q) if h % n_kv in keep]
    wide = torch.cat([torch.arange(h * head_dim, (h + 1) * head_dim) for h in heads])
    return q_proj[wide], k_proj[rows], v_proj[rows], o_proj[:, wide]


# %% 18.4 wrong: zeros in place of a cut
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    n_kv = k_proj.shape[0] // head_dim
    r = q_proj.shape[0] // k_proj.shape[0]
    on = torch.tensor([float(h in keep) for h in range(n_kv)])
    narrow, wide = on.repeat_interleave(head_dim), on.repeat_interleave(r * head_dim)
    return q_proj * wide[:, None], k_proj * narrow[:, None], v_proj * narrow[:, None], o_proj * wide


# %% 18.4 wrong: the order of keep
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    r = q_proj.shape[0] // k_proj.shape[0]
    rows = torch.cat([torch.arange(h * head_dim, (h + 1) * head_dim) for h in keep])
    wide = torch.cat([torch.arange(h * r * head_dim, (h + 1) * r * head_dim) for h in keep])
    return q_proj[wide], k_proj[rows], v_proj[rows], o_proj[:, wide]


# %% 18.4 wrong: keep is taken for what goes
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    n_kv = k_proj.shape[0] // head_dim
    r = q_proj.shape[0] // k_proj.shape[0]
    stays = torch.tensor([h not in keep for h in range(n_kv)])
    narrow, wide = stays.repeat_interleave(head_dim), stays.repeat_interleave(r * head_dim)
    return q_proj[wide], k_proj[narrow], v_proj[narrow], o_proj[:, wide]


# %% 18.4 right: boolean masks
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    n_kv = k_proj.shape[0] // head_dim
    r = q_proj.shape[0] // k_proj.shape[0]
    stays = torch.tensor([h in keep for h in range(n_kv)])
    narrow, wide = stays.repeat_interleave(head_dim), stays.repeat_interleave(r * head_dim)
    return q_proj[wide], k_proj[narrow], v_proj[narrow], o_proj[:, wide]


# %% 18.4 right: views by head
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    kept = sorted(keep)
    n_kv = k_proj.shape[0] // head_dim
    hidden = q_proj.shape[1]
    q = q_proj.reshape(n_kv, -1, hidden)[kept].reshape(-1, hidden)
    k = k_proj.reshape(n_kv, head_dim, hidden)[kept].reshape(-1, hidden)
    v = v_proj.reshape(n_kv, head_dim, hidden)[kept].reshape(-1, hidden)
    o = o_proj.reshape(o_proj.shape[0], n_kv, -1)[:, kept].reshape(o_proj.shape[0], -1)
    return q, k, v, o


# %% 18.4 right: slices put together
def prune_heads(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    r = q_proj.shape[0] // k_proj.shape[0]
    d, g = head_dim, head_dim * r
    kept = sorted(keep)
    return (
        torch.cat([q_proj[h * g : (h + 1) * g] for h in kept]),
        torch.cat([k_proj[h * d : (h + 1) * d] for h in kept]),
        torch.cat([v_proj[h * d : (h + 1) * d] for h in kept]),
        torch.cat([o_proj[:, h * g : (h + 1) * g] for h in kept], dim=1),
    )
