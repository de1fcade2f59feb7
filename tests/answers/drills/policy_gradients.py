# %% gae wrong: returns are discounted rewards
def gae(rewards, values, done, gamma, lam):
    adv, ret = torch.zeros_like(rewards), torch.zeros_like(rewards)
    a, g = 0.0, 0.0
    for t in range(len(rewards) - 1, -1, -1):
        m = 1 - done[t].float()
        a = rewards[t] + gamma * m * values[t + 1] - values[t] + gamma * lam * m * a
        g = rewards[t] + gamma * m * g
        adv[t], ret[t] = a, g
    return adv, ret

# %% gae wrong: whitened
def gae(rewards, values, done, gamma, lam):
    adv, a = torch.zeros_like(rewards), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        m = 1 - done[t].float()
        a = rewards[t] + gamma * m * values[t + 1] - values[t] + gamma * lam * m * a
        adv[t] = a
    return (adv - adv.mean()) / adv.std(), adv + values[:-1]

# %% gae wrong: lam and gamma exchanged in delta
def gae(rewards, values, done, gamma, lam):
    adv, a = torch.zeros_like(rewards), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        m = 1 - done[t].float()
        a = rewards[t] + lam * m * values[t + 1] - values[t] + gamma * lam * m * a
        adv[t] = a
    return adv, adv + values[:-1]

# %% gae wrong: the reward of the last step of an episode is dropped
def gae(rewards, values, done, gamma, lam):
    adv, a = torch.zeros_like(rewards), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        m = 1 - done[t].float()
        a = m * (rewards[t] + gamma * values[t + 1]) - values[t] + gamma * lam * m * a
        adv[t] = a
    return adv, adv + values[:-1]

# %% gae right: the sum of deltas
def gae(rewards, values, done, gamma, lam):
    alive = 1 - done.float()
    delta = rewards + gamma * values[1:] * alive - values[:-1]
    out = []
    for t in range(len(rewards)):
        total, weight = torch.tensor(0.0), 1.0
        for k in range(t, len(rewards)):
            total = total + weight * delta[k]
            weight = weight * gamma * lam * float(alive[k])
        out.append(total)
    adv = torch.stack(out)
    return adv, adv + values[:-1]

# %% gae right: the returns by their own recursion
def gae(rewards, values, done, gamma, lam):
    ret, g = [], values[-1]
    for t in range(len(rewards) - 1, -1, -1):
        m = 0.0 if done[t] else 1.0
        g = rewards[t] + gamma * m * ((1 - lam) * values[t + 1] + lam * g)
        ret.insert(0, g)
    ret = torch.stack(ret)
    return ret - values[:-1], ret

# %% ppo_loss wrong: the ratio is clipped to plus and minus clip
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    r = (logprobs - old_logprobs).exp()
    return -(torch.min(r * advantages, r.clamp(-clip, clip) * advantages) * mask).sum() / mask.sum()

# %% ppo_loss wrong: advantages normalised on the way
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    a = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    r = (logprobs - old_logprobs).exp()
    return -(torch.min(r * a, r.clamp(1 - clip, 1 + clip) * a) * mask).sum() / mask.sum()

# %% ppo_loss wrong: the old log-probabilities are the new ones, detached
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    r = (logprobs - logprobs.detach()).exp()
    return -(torch.min(r * advantages, r.clamp(1 - clip, 1 + clip) * advantages) * mask).sum() / mask.sum()

# %% ppo_loss wrong: masked before exp only, the ones still count
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    r = ((logprobs - old_logprobs) * mask).exp()
    return -torch.min(r * advantages, r.clamp(1 - clip, 1 + clip) * advantages).mean()

# %% ppo_loss wrong: one ratio for each row
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    r = ((logprobs - old_logprobs) * mask).sum(1, keepdim=True).exp()
    return -(torch.min(r * advantages, r.clamp(1 - clip, 1 + clip) * advantages) * mask).sum() / mask.sum()

# %% ppo_loss right: the maximum of losses
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    r = torch.exp(logprobs - old_logprobs)
    loss = torch.max(-advantages * r, -advantages * torch.clamp(r, 1 - clip, 1 + clip))
    return loss[mask.bool()].mean()

# %% ppo_loss right: by the sign of the advantage
def ppo_loss(logprobs, old_logprobs, advantages, mask, clip):
    r = torch.exp(logprobs - old_logprobs)
    bound = torch.where(advantages > 0, r.clamp(max=1 + clip), r.clamp(min=1 - clip))
    return -(bound * advantages * mask).sum() / mask.sum()

# %% grpo_loss wrong: the mean and std of all tokens' advantages
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    w = rewards[:, None] * mask
    a = (w - w.mean()) / (w.std() + 1e-4)
    r = (logprobs - old_logprobs).exp()
    g = ref_logprobs - logprobs
    o = torch.min(r * a, r.clamp(1 - clip, 1 + clip) * a) - beta * (g.exp() - g - 1)
    return -((o * mask).sum(1) / mask.sum(1)).mean()

# %% grpo_loss wrong: divided by the row's length
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    a = ((rewards - rewards.mean()) / (rewards.std() + 1e-4))[:, None]
    r = (logprobs - old_logprobs).exp()
    g = ref_logprobs - logprobs
    o = torch.min(r * a, r.clamp(1 - clip, 1 + clip) * a) - beta * (g.exp() - g - 1)
    return -(o * mask).sum(1).mean() / mask.shape[1]

# %% grpo_loss wrong: variance instead of std
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    a = ((rewards - rewards.mean()) / (rewards.var() + 1e-4))[:, None]
    r = (logprobs - old_logprobs).exp()
    g = ref_logprobs - logprobs
    o = torch.min(r * a, r.clamp(1 - clip, 1 + clip) * a) - beta * (g.exp() - g - 1)
    return -((o * mask).sum(1) / mask.sum(1)).mean()

# %% grpo_loss wrong: the KL of the sampling policy, not of the new one
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    a = ((rewards - rewards.mean()) / (rewards.std() + 1e-4))[:, None]
    r = (logprobs - old_logprobs).exp()
    g = ref_logprobs - old_logprobs
    o = torch.min(r * a, r.clamp(1 - clip, 1 + clip) * a) - beta * (g.exp() - g - 1)
    return -((o * mask).sum(1) / mask.sum(1)).mean()

# %% grpo_loss wrong: only the clipped product
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    a = ((rewards - rewards.mean()) / (rewards.std() + 1e-4))[:, None]
    r = (logprobs - old_logprobs).exp().clamp(1 - clip, 1 + clip)
    g = ref_logprobs - logprobs
    return -(((r * a - beta * (g.exp() - g - 1)) * mask).sum(1) / mask.sum(1)).mean()

# %% grpo_loss right: answer by answer
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    adv = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    losses = []
    for i in range(len(rewards)):
        keep = mask[i] == 1
        new, old, ref = logprobs[i][keep], old_logprobs[i][keep], ref_logprobs[i][keep]
        ratio = torch.exp(new - old)
        surrogate = torch.minimum(ratio * adv[i], torch.clamp(ratio, 1 - clip, 1 + clip) * adv[i])
        k3 = torch.exp(ref - new) - 1 + (new - ref)
        losses.append((beta * k3 - surrogate).mean())
    return sum(losses) / len(losses)

# %% grpo_loss right: std by hand
def grpo_loss(logprobs, old_logprobs, ref_logprobs, rewards, mask, clip, beta):
    c = rewards - rewards.sum() / rewards.numel()
    a = (c / ((c @ c / (len(c) - 1)).sqrt() + 1e-4)).unsqueeze(1)
    r = torch.exp(logprobs - old_logprobs)
    loss = torch.maximum(-r * a, -r.clamp(1 - clip, 1 + clip) * a)
    g = ref_logprobs - logprobs
    loss = (loss + beta * (torch.expm1(g) - g)).masked_fill(mask == 0, 0.0)
    return (loss.sum(-1) / mask.sum(-1)).mean()

# %% gspo_ratio wrong: a root of the product of clamped ratios
def gspo_ratio(logprobs, old_logprobs, mask):
    r = ((logprobs - old_logprobs).exp().clamp(0.5, 2) * mask + (1 - mask)).prod(1)
    return r ** (1 / mask.sum(1))

# %% gspo_ratio wrong: the quotient of mean probabilities
def gspo_ratio(logprobs, old_logprobs, mask):
    return (logprobs.exp() * mask).sum(1) / (old_logprobs.exp() * mask).sum(1)

# %% gspo_ratio wrong: the last token's ratio
def gspo_ratio(logprobs, old_logprobs, mask):
    last = (mask * torch.arange(mask.shape[1])).argmax(1)
    i = torch.arange(len(mask))
    return (logprobs - old_logprobs)[i, last].exp()

# %% gspo_ratio wrong: no gradient
def gspo_ratio(logprobs, old_logprobs, mask):
    return ((((logprobs - old_logprobs) * mask).sum(1) / mask.sum(1)).exp()).detach()

# %% gspo_ratio right: a root of the product
def gspo_ratio(logprobs, old_logprobs, mask):
    r = torch.where(mask == 1, (logprobs - old_logprobs).exp(), torch.ones(()))
    return r.prod(1) ** (1 / mask.sum(1))

# %% gspo_ratio right: row by row
def gspo_ratio(logprobs, old_logprobs, mask):
    return torch.stack([(n - o)[m.bool()].mean().exp() for n, o, m in zip(logprobs, old_logprobs, mask)])

# %% kl_estimates wrong: k2 and k3 exchanged
def kl_estimates(logprobs, ref_logprobs):
    g = ref_logprobs - logprobs
    return -g, g.exp() - 1 - g, g**2 / 2

# %% kl_estimates wrong: the other order throughout
def kl_estimates(logprobs, ref_logprobs):
    g = logprobs - ref_logprobs
    return -g, g**2 / 2, g.exp() - 1 - g

# %% kl_estimates wrong: base two
def kl_estimates(logprobs, ref_logprobs):
    g = (ref_logprobs - logprobs) / math.log(2)
    return -g, g**2 / 2, g.exp() - 1 - g

# %% kl_estimates wrong: k3 weighted by the ratio
def kl_estimates(logprobs, ref_logprobs):
    g = ref_logprobs - logprobs
    return -g, g**2 / 2, g.exp() * (g.exp() - 1 - g)

# %% kl_estimates right: expm1
def kl_estimates(logprobs, ref_logprobs):
    d = logprobs - ref_logprobs
    return d, 0.5 * d * d, torch.expm1(-d) + d

# %% kl_estimates right: ratios
def kl_estimates(logprobs, ref_logprobs):
    r = (ref_logprobs - logprobs).exp()
    return -r.log(), r.log().square().div(2), r - 1 - r.log()
