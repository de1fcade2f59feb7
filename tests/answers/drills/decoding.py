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
