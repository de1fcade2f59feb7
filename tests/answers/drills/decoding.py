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

# %% beam_search wrong: each hypothesis keeps its own best width
def beam_search(next_logprobs, width, steps, end):
    beam = [((), 0.0)]
    for _ in range(steps):
        new = []
        for tokens, s in beam:
            if tokens and tokens[-1] == end:
                new.append((tokens, s))
                continue
            lp = next_logprobs(tokens)
            best = max(range(len(lp)), key=lp.__getitem__)
            new.append((tokens + (best,), s + lp[best]))
        beam = sorted(new, key=lambda x: -x[1])[:width]
    return beam[0]

# %% beam_search wrong: probabilities are added
def beam_search(next_logprobs, width, steps, end):
    beam = [((), 0.0)]
    for _ in range(steps):
        new = []
        for tokens, s in beam:
            if tokens and tokens[-1] == end:
                new.append((tokens, s))
            else:
                new += [(tokens + (t,), s + math.exp(x)) for t, x in enumerate(next_logprobs(tokens))]
        beam = sorted(new, key=lambda x: -x[1])[:width]
    return beam[0]

# %% beam_search wrong: only finished ones may win
def beam_search(next_logprobs, width, steps, end):
    beam = [((), 0.0)]
    for _ in range(steps):
        new = []
        for tokens, s in beam:
            if tokens and tokens[-1] == end:
                new.append((tokens, s))
            else:
                new += [(tokens + (t,), s + x) for t, x in enumerate(next_logprobs(tokens))]
        beam = sorted(new, key=lambda x: -x[1])[:width]
    done = [b for b in beam if b[0][-1] == end]
    return (done or beam)[0]

# %% beam_search wrong: sorted upwards
def beam_search(next_logprobs, width, steps, end):
    beam = [((), 0.0)]
    for _ in range(steps):
        new = []
        for tokens, s in beam:
            if tokens and tokens[-1] == end:
                new.append((tokens, s))
            else:
                new += [(tokens + (t,), s + x) for t, x in enumerate(next_logprobs(tokens))]
        beam = sorted(new, key=lambda x: x[1])[:width]
    return beam[0]

# %% beam_search right: a heap
def beam_search(next_logprobs, width, steps, end):
    import heapq
    beam = [(0.0, ())]
    for _ in range(steps):
        pool = []
        for score, tokens in beam:
            if tokens and tokens[-1] == end:
                pool.append((score, tokens))
                continue
            pool.extend((score + lp, tokens + (t,)) for t, lp in enumerate(next_logprobs(tokens)))
        beam = heapq.nlargest(width, pool)
        if all(t[-1] == end for _, t in beam):
            break
    return beam[0][1], beam[0][0]

# %% beam_search right: finished ones apart
def beam_search(next_logprobs, width, steps, end):
    live, done = [((), 0.0)], []
    for _ in range(steps):
        more = [(h + (t,), s + lp) for h, s in live for t, lp in enumerate(next_logprobs(h))]
        both = sorted(more + done, key=lambda x: x[1], reverse=True)[:width]
        live = [x for x in both if x[0][-1] != end]
        done = [x for x in both if x[0][-1] == end]
        if not live:
            break
    return max(live + done, key=lambda x: x[1])

# %% speculative_acceptance wrong: the rest of the wrong place
def speculative_acceptance(draft_probs, target_probs, tokens, uniforms):
    for i, t in enumerate(tokens.tolist()):
        if uniforms[i] >= target_probs[i, t] / draft_probs[i, t]:
            r = (target_probs[i + 1] - draft_probs[i]).clamp(min=0)
            return i, r / r.sum()
    return len(tokens), target_probs[-1]

# %% speculative_acceptance wrong: the rejected one is counted
def speculative_acceptance(draft_probs, target_probs, tokens, uniforms):
    for i, t in enumerate(tokens.tolist()):
        if uniforms[i] >= target_probs[i, t] / draft_probs[i, t]:
            r = (target_probs[i] - draft_probs[i]).clamp(min=0)
            return i + 1, r / r.sum()
    return len(tokens), target_probs[-1]

# %% speculative_acceptance wrong: accepted by greedy agreement
def speculative_acceptance(draft_probs, target_probs, tokens, uniforms):
    for i, t in enumerate(tokens.tolist()):
        if int(target_probs[i].argmax()) != t:
            r = (target_probs[i] - draft_probs[i]).clamp(min=0)
            return i, r / r.sum()
    return len(tokens), target_probs[-1]

# %% speculative_acceptance wrong: softmax of the rest
def speculative_acceptance(draft_probs, target_probs, tokens, uniforms):
    for i, t in enumerate(tokens.tolist()):
        if uniforms[i] >= target_probs[i, t] / draft_probs[i, t]:
            return i, (target_probs[i] - draft_probs[i]).clamp(min=0).softmax(-1)
    return len(tokens), target_probs[-1]

# %% speculative_acceptance right: all at once
def speculative_acceptance(draft_probs, target_probs, tokens, uniforms):
    n = len(tokens)
    i = torch.arange(n)
    ok = uniforms < (target_probs[i, tokens] / draft_probs[i, tokens]).clamp(max=1)
    k = int(ok.long().cumprod(0).sum())
    if k == n:
        return k, target_probs[n]
    r = torch.relu(target_probs[k] - draft_probs[k])
    return k, r / r.sum()

# %% speculative_acceptance right: the minimum of both
def speculative_acceptance(draft_probs, target_probs, tokens, uniforms):
    k = 0
    while k < len(tokens):
        q, p = target_probs[k, tokens[k]], draft_probs[k, tokens[k]]
        if uniforms[k] * p >= q:
            left = target_probs[k] - torch.minimum(target_probs[k], draft_probs[k])
            return k, left / left.sum()
        k += 1
    return k, target_probs[k].clone()
