# %% 12.1 wrong: the reference model is forgotten
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 16 * (policy + value) + 2 * reward

# %% 12.1 wrong: the value model is taken for frozen
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 16 * policy + 2 * (value + reward + reference)

# %% 12.1 wrong: only one of Adam's averages is counted
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return (2 + 2 + 4 + 4) * (policy + value) + 2 * (reward + reference)

# %% 12.1 wrong: the gradients are counted in 32 bits
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return (2 + 4 + 4 + 8) * (policy + value) + 2 * (reward + reference)

# %% 12.1 wrong: the gradients are forgotten
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return (2 + 4 + 8) * (policy + value) + 2 * (reward + reference)

# %% 12.1 wrong: frozen models in 32 bits
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 16 * (policy + value) + 4 * (reward + reference)

# %% 12.1 wrong: all four models are taken to be as large as the policy
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 36 * policy

# %% 12.1 wrong: it calls itself
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return rlhf_bytes(policy, value, reward, reference)

# %% 12.1 right: one expression
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 16 * (policy + value) + 2 * (reward + reference)

# %% 12.1 right: a loop over what is kept, in bits
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    total = 0.0
    for size, trained in ((policy, True), (value, True), (reward, False), (reference, False)):
        bits = [16]
        if trained:
            bits += [16, 32, 32, 32]
        for width in bits:
            total += size * width / 8
    return total

# %% 12.1 right: a product of vectors
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    sizes = torch.tensor([policy, value, reward, reference], dtype=torch.float64)
    kept = torch.tensor([2 + 2 + 4 + 4 + 4, 2 + 2 + 4 + 4 + 4, 2, 2], dtype=torch.float64)
    return torch.dot(sizes, kept).item()

# %% 12.2 wrong: the score comes at the last place of the row, padding or not
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    rewards[:, -1] += scores
    return rewards

# %% 12.2 wrong: distance is rewarded
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = coefficient * (logprobs - ref_logprobs) * mask
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(mask), device=mask.device), last] += scores
    return rewards * mask

# %% 12.2 wrong: every token gets the score
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    return (scores[:, None] - coefficient * (logprobs - ref_logprobs)) * mask

# %% 12.2 wrong: the last place is the length of the answer minus 1, without the prompt
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(mask), device=mask.device), last] += scores
    return rewards

# %% 12.2 wrong: the prompt and the padding pay too
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs)
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(mask), device=mask.device), last] += scores
    return rewards

# %% 12.2 wrong: at the last token the score stands in the place of the penalty
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(mask), device=mask.device), last] = scores
    return rewards

# %% 12.2 wrong: the whole penalty is paid at the last token
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = torch.zeros_like(logprobs)
    penalty = ((logprobs - ref_logprobs) * mask).sum(1)
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(mask), device=mask.device), last] = scores - coefficient * penalty
    return rewards

# %% 12.2 wrong: the logprobs are overwritten
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = logprobs.sub_(ref_logprobs).mul_(-coefficient).mul_(mask)
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(mask), device=mask.device), last] += scores
    return rewards

# %% 12.2 right: the last token is where one is left, counted from behind
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    paid = scores[:, None] * (mask.flip(1).cumsum(1).flip(1) == 1) - coefficient * (logprobs - ref_logprobs)
    return paid.masked_fill(mask == 0, 0.0)

# %% 12.2 right: two loops
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = torch.zeros_like(logprobs)
    for b in range(logprobs.shape[0]):
        last = None
        for t in range(logprobs.shape[1]):
            if mask[b, t] == 1:
                rewards[b, t] = -coefficient * (logprobs[b, t] - ref_logprobs[b, t])
                last = t
        if last is not None:
            rewards[b, last] += scores[b]
    return rewards

# %% 12.2 right: the neighbour on the right is shifted in, and where puts the parts together
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    inside = mask.bool()
    behind = torch.nn.functional.pad(inside[:, 1:], (0, 1), value=False)
    zero = torch.zeros_like(logprobs)
    penalty = torch.where(inside, coefficient * (ref_logprobs - logprobs), zero)
    return penalty + torch.where(inside & ~behind, scores.unsqueeze(1), zero)

# %% 12.3 wrong: behind the last token the value of the padding is believed
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask.bool()
    advantages, after = torch.zeros_like(values), torch.zeros_like(values[:, 0])
    length = values.shape[1]
    for t in range(length - 1, -1, -1):
        following = values[:, t + 1] if t + 1 < length else torch.zeros_like(values[:, 0])
        delta = rewards[:, t] + gamma * following - values[:, t]
        after = torch.where(inside[:, t], delta + gamma * lam * after, 0.0)
        advantages[:, t] = after
    return advantages, (advantages + values).masked_fill(~inside, 0.0)

# %% 12.3 wrong: the rewards of the padding leak into the answer
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask.bool()
    clean = values.masked_fill(~inside, 0.0)
    advantages, after = torch.zeros_like(values), torch.zeros_like(values[:, 0])
    following = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        after = rewards[:, t] + gamma * following - clean[:, t] + gamma * lam * after
        following = clean[:, t]
        advantages[:, t] = after
    advantages = advantages.masked_fill(~inside, 0.0)
    return advantages, advantages + clean

# %% 12.3 wrong: later advantages are weighed with lambda alone
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    outside = mask == 0
    r, v = rewards.masked_fill(outside, 0.0), values.masked_fill(outside, 0.0)
    advantages, after, following = torch.zeros_like(v), torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0])
    for t in reversed(range(v.shape[1])):
        after = r[:, t] + gamma * following - v[:, t] + lam * after
        following = v[:, t]
        advantages[:, t] = after
    advantages = advantages.masked_fill(outside, 0.0)
    return advantages, advantages + v

# %% 12.3 wrong: the returns are the discounted rewards to the end
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    outside = mask == 0
    r, v = rewards.masked_fill(outside, 0.0), values.masked_fill(outside, 0.0)
    advantages, returns = torch.zeros_like(v), torch.zeros_like(v)
    after, following, total = torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0])
    for t in reversed(range(v.shape[1])):
        after = r[:, t] + gamma * following - v[:, t] + gamma * lam * after
        following = v[:, t]
        total = r[:, t] + gamma * total
        advantages[:, t], returns[:, t] = after, total
    return advantages.masked_fill(outside, 0.0), returns.masked_fill(outside, 0.0)

# %% 12.3 wrong: the returns outside of the answer are the values there
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    outside = mask == 0
    r, v = rewards.masked_fill(outside, 0.0), values.masked_fill(outside, 0.0)
    advantages, after, following = torch.zeros_like(v), torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0])
    for t in reversed(range(v.shape[1])):
        after = r[:, t] + gamma * following - v[:, t] + gamma * lam * after
        following = v[:, t]
        advantages[:, t] = after
    advantages = advantages.masked_fill(outside, 0.0)
    return advantages, advantages + values

# %% 12.3 wrong: masks by multiplication, so a NaN in the padding survives
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    r, v = rewards * mask, values * mask
    advantages, after, following = torch.zeros_like(v), torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0])
    for t in reversed(range(v.shape[1])):
        after = (r[:, t] + gamma * following - v[:, t] + gamma * lam * after) * mask[:, t]
        following = v[:, t]
        advantages[:, t] = after
    return advantages, (advantages + v) * mask

# %% 12.3 wrong: rewards and values outside of the answer are set to 0 in the inputs
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    outside = mask == 0
    r, v = rewards.masked_fill_(outside, 0.0), values.masked_fill_(outside, 0.0)
    advantages, after, following = torch.zeros_like(v), torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0])
    for t in reversed(range(v.shape[1])):
        after = (r[:, t] + gamma * following - v[:, t] + gamma * lam * after) * mask[:, t]
        following = v[:, t]
        advantages[:, t] = after
    return advantages, advantages + v

# %% 12.3 wrong: the loop stops before the first place
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    outside = mask == 0
    r, v = rewards.masked_fill(outside, 0.0), values.masked_fill(outside, 0.0)
    advantages, after, following = torch.zeros_like(v), torch.zeros_like(v[:, 0]), torch.zeros_like(v[:, 0])
    for t in range(v.shape[1] - 1, 0, -1):
        after = (r[:, t] + gamma * following - v[:, t] + gamma * lam * after) * mask[:, t]
        following = v[:, t]
        advantages[:, t] = after
    return advantages, advantages + v

# %% 12.3 right: cleaned first, then backwards
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask.bool()
    r, v = rewards.where(inside, torch.zeros_like(rewards)), values.where(inside, torch.zeros_like(values))
    delta = r + gamma * torch.nn.functional.pad(v[:, 1:], (0, 1)) - v
    after, found = torch.zeros_like(v[:, 0]), []
    for d in reversed(delta.unbind(1)):
        after = d + gamma * lam * after
        found.append(after)
    advantages = torch.stack(found[::-1], 1).masked_fill(~inside, 0.0)
    return advantages, advantages + v

# %% 12.3 right: row by row, token by token
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    advantages, returns = torch.zeros_like(values), torch.zeros_like(values)
    for b in range(values.shape[0]):
        next_value, next_advantage = 0.0, 0.0
        for t in range(values.shape[1] - 1, -1, -1):
            if mask[b, t] == 0:
                continue
            value = values[b, t].item()
            delta = rewards[b, t].item() + gamma * next_value - value
            next_advantage = delta + gamma * lam * next_advantage
            next_value = value
            advantages[b, t] = next_advantage
            returns[b, t] = next_advantage + value
    return advantages, returns

# %% 12.3 right: one product with a triangle of powers
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    outside = mask == 0
    r, v = rewards.masked_fill(outside, 0.0), values.masked_fill(outside, 0.0)
    delta = r - v
    delta[:, :-1] += gamma * v[:, 1:]
    delta = delta.masked_fill(outside, 0.0)
    t = torch.arange(v.shape[1], device=v.device)
    apart = (t[:, None] - t[None, :]).clamp(min=0).to(v.dtype)
    powers = torch.full_like(apart, gamma * lam).pow(apart).tril()
    advantages = (delta @ powers).masked_fill(outside, 0.0)
    return advantages, advantages + v

# %% 12.4 wrong: the minus is missing
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return (gain * mask).sum() / mask.sum()

# %% 12.4 wrong: the maximum of the two gains
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.max(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()

# %% 12.4 wrong: the mean is over all places, those with mask 0 included
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).mean()

# %% 12.4 wrong: a mean for each answer, then the mean of these
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -((gain * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()

# %% 12.4 wrong: only the clipped term, without the minimum
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp().clamp(1 - clip, 1 + clip)
    return -(ratio * advantages * mask).sum() / mask.sum()

# %% 12.4 wrong: clips at 0.2 whatever clip says
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    return -(gain * mask).sum() / mask.sum()

# %% 12.4 wrong: clips from above only
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(max=1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()

# %% 12.4 wrong: the ratio is upside down
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = (old_logprobs - logprobs).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()

# %% 12.4 right: choose the tokens first, then the mean
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    inside = mask.bool()
    a, ratio = advantages[inside], (logprobs[inside] - old_logprobs[inside]).exp()
    return -torch.minimum(ratio * a, ratio.clip(1 - clip, 1 + clip) * a).mean()

# %% 12.4 right: a loop over tokens
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    gains = []
    for b in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            if mask[b, t] == 0:
                continue
            a = advantages[b, t]
            ratio = torch.exp(logprobs[b, t] - old_logprobs[b, t])
            plain = ratio * a
            clipped = torch.clamp(ratio, 1 - clip, 1 + clip) * a
            gains.append(plain if plain <= clipped else clipped)
    return -sum(gains) / len(gains)

# %% 12.4 right: the limit depends on the sign of the advantage
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    change = torch.where(mask > 0, logprobs - old_logprobs, torch.zeros_like(logprobs))
    ratio = torch.exp(change)
    good = ratio.clamp(max=1 + clip)
    bad = ratio.clamp(min=1 - clip)
    weighed = torch.where(advantages >= 0, good, bad) * advantages.masked_fill(mask == 0, 0.0)
    return weighed.sum() / mask.sum() * -1.0

# %% 12.5 wrong: r is the policy over the reference
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = logprobs - ref_logprobs
    return log_r.exp() - 1 - log_r

# %% 12.5 wrong: the second estimator
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    return 0.5 * (ref_logprobs - logprobs) ** 2

# %% 12.5 wrong: the 1 is forgotten
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs - logprobs
    return log_r.exp() - log_r

# %% 12.5 wrong: the logarithm is added
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs - logprobs
    return log_r.exp() - 1 + log_r

# %% 12.5 wrong: the first estimator without its sign
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    return (logprobs - ref_logprobs).abs()

# %% 12.5 wrong: divides probabilities, and 0 / 0 for unlikely tokens
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    r = ref_logprobs.exp() / logprobs.exp()
    return (r - 1) - r.log()

# %% 12.5 wrong: the mean over all tokens
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs - logprobs
    return (log_r.exp() - 1 - log_r).mean()

# %% 12.5 wrong: the reference's logprobs are overwritten
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    ref_logprobs -= logprobs
    return ref_logprobs.exp() - 1 - ref_logprobs

# %% 12.5 right: expm1
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    return torch.expm1(ref_logprobs - logprobs) - (ref_logprobs - logprobs)

# %% 12.5 right: in double precision, never below 0
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs.double() - logprobs.double()
    k3 = (torch.exp(log_r) - 1) - log_r
    return torch.clamp(k3, min=0).to(logprobs.dtype)

# %% 12.5 right: number by number
import math

def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    found = []
    for p, q in zip(logprobs.flatten().tolist(), ref_logprobs.flatten().tolist()):
        found.append(math.expm1(q - p) - (q - p))
    return torch.tensor(found, dtype=logprobs.dtype, device=logprobs.device).reshape(logprobs.shape)


# %% 12.1 wrong: all four are taken to be as large as the policy
def rlhf_bytes(policy, value, reward, reference):
    return (16 + 16 + 2 + 2) * policy


# %% 12.1 wrong: the 32-bit copy is counted in the place of the 16-bit weights
def rlhf_bytes(policy, value, reward, reference):
    return (2 + 4 + 8) * (policy + value) + 2 * (reward + reference)


# %% 12.1 wrong: the reference is the policy's size, whatever is said
def rlhf_bytes(policy, value, reward, reference):
    return 16 * policy + 16 * value + 2 * reward + 2 * policy


# %% 12.1 wrong: Adam keeps one average only
def rlhf_bytes(policy, value, reward, reference):
    trained = 2 + 2 + 4 + 4
    return trained * (policy + value) + 2 * (reward + reference)


# %% 12.1 wrong: the value model is frozen like the reward model
def rlhf_bytes(policy, value, reward, reference):
    return 16 * policy + 2 * (value + reward + reference)


# %% 12.1 right: one line
def rlhf_bytes(policy, value, reward, reference):
    return 16 * (policy + value) + 2 * (reward + reference)


# %% 12.1 right: part by part
def rlhf_bytes(policy, value, reward, reference):
    total = 0
    for size, trained in ((policy, True), (value, True), (reward, False), (reference, False)):
        total += 2 * size
        if trained:
            for bits in (16, 32, 32, 32):
                total += size * bits / 8
    return total


# %% 12.2 wrong: the number of answer tokens is taken for the place of the last one
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores)), last] += scores
    return rewards


# %% 12.2 wrong: the policy's log-probabilities are overwritten
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = logprobs.detach()
    rewards.sub_(ref_logprobs).mul_(-coefficient).mul_(mask)
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(scores)), last] += scores
    return rewards


# %% 12.2 wrong: a token that the reference likes better is not rewarded, the difference ends at 0
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs).clamp(min=0) * mask
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[torch.arange(len(scores)), last] += scores
    return rewards


# %% 12.2 wrong: the score stands where the longest answer of the batch ends
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs)
    last = int(mask.nonzero()[:, 1].max())
    rewards[:, last] = rewards[:, last] + scores
    return rewards * mask


# %% 12.2 wrong: the price is paid at the prompt and the padding too
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = -coefficient * (logprobs - ref_logprobs)
    behind = mask.flip(1).cumsum(1).flip(1)
    return rewards + scores[:, None] * (behind == 1) * mask


# %% 12.2 right: the last token has one 1 from itself to the end
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    last = (mask.flip(1).cumsum(1).flip(1) == 1) * mask
    return mask * coefficient * (ref_logprobs - logprobs) + last * scores[:, None]


# %% 12.2 right: token by token
def kl_rewards(scores, logprobs, ref_logprobs, mask, coefficient):
    rewards = torch.zeros_like(logprobs, requires_grad=False)
    with torch.no_grad():
        for row in range(mask.shape[0]):
            last = None
            for t in range(mask.shape[1]):
                if mask[row, t] > 0:
                    rewards[row, t] = -coefficient * (logprobs[row, t] - ref_logprobs[row, t])
                    last = t
            rewards[row, last] += scores[row]
    return rewards


# %% 12.3 wrong: NaN times a mask of 0 stays NaN
def gae(rewards, values, mask, gamma, lam):
    advantages, carry = torch.zeros_like(rewards), torch.zeros_like(rewards[:, 0])
    rewards, values = rewards * mask, values * mask
    following = torch.zeros_like(carry)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        carry = (delta + gamma * lam * carry) * mask[:, t]
        advantages[:, t], following = carry, values[:, t]
    return advantages, (advantages + values) * mask


# %% 12.3 wrong: behind the last token the value of the padding is expected
def gae(rewards, values, mask, gamma, lam):
    live = mask.bool()
    r, v = rewards.nan_to_num(), values.nan_to_num()
    advantages, carry = torch.zeros_like(r), torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        following = v[:, t + 1] if t + 1 < r.shape[1] else torch.zeros_like(carry)
        delta = r[:, t] + gamma * following - v[:, t]
        carry = torch.where(live[:, t], delta + gamma * lam * carry, torch.zeros_like(carry))
        advantages[:, t] = carry
    return advantages, torch.where(live, advantages + v, torch.zeros_like(v))


# %% 12.3 wrong: the returns are all rewards to come, right for lambda 1 only
def gae(rewards, values, mask, gamma, lam):
    live = mask.bool()
    r, v = rewards.masked_fill(~live, 0), values.masked_fill(~live, 0)
    advantages, returns = torch.zeros_like(r), torch.zeros_like(r)
    carry = following = total = torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        carry = (r[:, t] + gamma * following - v[:, t] + gamma * lam * carry) * mask[:, t]
        total = (r[:, t] + gamma * total) * mask[:, t]
        following = v[:, t]
        advantages[:, t], returns[:, t] = carry, total
    return advantages, returns


# %% 12.3 wrong: gamma is forgotten in the recursion
def gae(rewards, values, mask, gamma, lam):
    live = mask.bool()
    r, v = rewards.masked_fill(~live, 0), values.masked_fill(~live, 0)
    advantages, carry, following = torch.zeros_like(r), torch.zeros_like(r[:, 0]), torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        delta = r[:, t] + gamma * following - v[:, t]
        carry = (delta + lam * carry).masked_fill(~live[:, t], 0)
        advantages[:, t], following = carry, v[:, t]
    return advantages, advantages + v


# %% 12.3 wrong: the caller's rewards and values are set to 0 outside of the answer
def gae(rewards, values, mask, gamma, lam):
    outside = mask == 0
    rewards[outside] = 0
    values[outside] = 0
    advantages, carry, following = torch.zeros_like(rewards), 0.0, 0.0
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        carry = (delta + gamma * lam * carry) * mask[:, t]
        advantages[:, t] = carry
        following = values[:, t]
    return advantages, advantages + values


# %% 12.3 right: one matrix of powers
def gae(rewards, values, mask, gamma, lam):
    r, v = (x.detach().masked_fill(mask == 0, 0) for x in (rewards, values))
    delta = (r + gamma * torch.nn.functional.pad(v, (0, 1))[:, 1:] - v) * mask
    t = torch.arange(r.shape[1], device=r.device)
    later = t[:, None] - t
    powers = torch.where(later >= 0, torch.as_tensor(gamma * lam, dtype=r.dtype) ** later.clamp(min=0).to(r.dtype), 0)
    advantages = delta @ powers.to(r.dtype) * mask
    return advantages, advantages + v


# %% 12.3 right: row by row, from the last token
def gae(rewards, values, mask, gamma, lam):
    advantages = torch.zeros(rewards.shape, dtype=rewards.dtype, device=rewards.device)
    returns = torch.zeros(rewards.shape, dtype=rewards.dtype, device=rewards.device)
    with torch.no_grad():
        for row in range(rewards.shape[0]):
            next_value = next_advantage = 0.0
            for t in range(rewards.shape[1] - 1, -1, -1):
                if mask[row, t] == 0:
                    continue
                value = values[row, t]
                delta = rewards[row, t] + gamma * next_value - value
                next_advantage = delta + gamma * lam * next_advantage
                next_value = value
                advantages[row, t] = next_advantage
                returns[row, t] = next_advantage + value
    return advantages, returns


# %% 12.4 wrong: each answer has its own mean, so tokens of short answers weigh more
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    ratio = ((logprobs - old_logprobs) * mask).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -((gain * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


# %% 12.4 wrong: the range is always 0.2
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    ratio = ((logprobs - old_logprobs) * mask).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    return -(gain * mask).sum() / mask.sum()


# %% 12.4 wrong: clipped above only, so that a bad token is pushed down without end
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    ratio = ((logprobs - old_logprobs) * mask).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(max=1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()


# %% 12.4 wrong: the difference of the logarithms is clipped, not the ratio
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    apart = (logprobs - old_logprobs) * mask
    gain = torch.minimum(apart.exp() * advantages, apart.clamp(-clip, clip).exp() * advantages)
    return -(gain * mask).sum() / mask.sum()


# %% 12.4 wrong: a ratio that is infinite at the padding times a mask of 0 is NaN
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    ratio = (logprobs - old_logprobs).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()


# %% 12.4 right: only the tokens of the answers are looked at
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    new, old, a = (x[mask.bool()] for x in (logprobs, old_logprobs, advantages))
    ratio = (new - old).exp()
    return -torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a).mean()


# %% 12.4 right: token by token
def policy_loss(logprobs, old_logprobs, advantages, mask, clip):
    total, count = 0, 0
    for row in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            if mask[row, t] == 0:
                continue
            ratio = torch.exp(logprobs[row, t] - old_logprobs[row, t])
            advantage = advantages[row, t]
            clipped = torch.clamp(ratio, 1 - clip, 1 + clip)
            total = total + torch.minimum(ratio * advantage, clipped * advantage)
            count += 1
    return -total / count


# %% 12.5 wrong: policy and reference are exchanged
def kl_k3(logprobs, ref_logprobs):
    log_r = logprobs - ref_logprobs
    return log_r.exp() - 1 - log_r


# %% 12.5 wrong: the ratio of the probabilities themselves, 0 / 0 where they round to 0
def kl_k3(logprobs, ref_logprobs):
    r = ref_logprobs.exp() / logprobs.exp()
    return r - 1 - r.log()


# %% 12.5 wrong: the logarithm of the ratio is clamped to 5
def kl_k3(logprobs, ref_logprobs):
    log_r = (ref_logprobs - logprobs).clamp(-5, 5)
    return torch.expm1(log_r) - log_r


# %% 12.5 wrong: the reference's numbers are overwritten
def kl_k3(logprobs, ref_logprobs):
    log_r = ref_logprobs.detach().sub_(logprobs)
    return log_r.expm1() - log_r


# %% 12.5 wrong: it calls itself
def kl_k3(logprobs, ref_logprobs):
    return kl_k3(logprobs.detach(), ref_logprobs.detach()).clamp(min=0)


# %% 12.5 right: expm1 (another)
def kl_k3(logprobs, ref_logprobs):
    return torch.expm1(ref_logprobs - logprobs) + (logprobs - ref_logprobs)


# %% 12.5 right: number by number (another)
def kl_k3(logprobs, ref_logprobs):
    estimates = []
    for ours, theirs in zip(logprobs.detach().flatten(), ref_logprobs.detach().flatten()):
        log_r = theirs - ours
        estimates.append(torch.exp(log_r) - 1 - log_r)
    return torch.stack(estimates).reshape(logprobs.shape)

# %% 12.1 wrong: Adam keeps one average only (a third)
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    trained = 2 + 2 + 4 + 4
    return trained * (policy + value) + 2 * (reward + reference)

# %% 12.1 wrong: a reference of 0 parameters is taken for a copy of the policy
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 16 * (policy + value) + 2 * (reward + (reference or policy))

# %% 12.1 wrong: the value model is counted as frozen
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return (2 + 2 + 4 + 2 * 4) * policy + 2 * (value + reward + reference)

# %% 12.1 right: two for all, fourteen more for what is trained
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 2 * sum((policy, value, reward, reference)) + 14 * sum((policy, value))

# %% 12.2 wrong: the number of answer tokens is taken for the last place, as if no prompt stood before
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores)), last] += scores
    return rewards * mask

# %% 12.2 wrong: the difference is made in the given logprobs
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    with torch.no_grad():
        rewards = logprobs.sub_(ref_logprobs).mul(-coefficient) * mask
        places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        last = (mask * places).argmax(1, keepdim=True)
        return rewards.scatter_add(1, last, scores[:, None])

# %% 12.2 wrong: at the last token the score takes the place of the price
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    for row in range(len(scores)):
        rewards[row, mask[row].nonzero()[-1, 0]] = scores[row]
    return rewards

# %% 12.2 right: the last place is where the tokens still to come are one
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    left = mask.flip(1).cumsum(1).flip(1)
    last = (left == 1) & (mask == 1)
    priced = coefficient * (ref_logprobs - logprobs) + last * scores.unsqueeze(1)
    return torch.where(mask == 1, priced, torch.zeros_like(priced)).detach()

# %% 12.3 wrong: the advantage to come is weighed by lambda alone, without gamma
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask.bool()
    r, v = rewards.masked_fill(~inside, 0), values.masked_fill(~inside, 0)
    advantages, later, after = torch.zeros_like(r), torch.zeros_like(r[:, 0]), torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        later = (r[:, t] + gamma * after - v[:, t] + lam * later) * mask[:, t]
        advantages[:, t], after = later, v[:, t]
    return advantages, (advantages + v) * mask

# %% 12.3 wrong: NaN is cleared, but other numbers behind the last token pass for its expectation
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    r, v = torch.nan_to_num(rewards) * mask, torch.nan_to_num(values)
    following = torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], 1)
    delta = (r + gamma * following - v) * mask
    advantages, running = torch.zeros_like(r), torch.zeros_like(r[:, 0])
    for t in range(r.shape[1] - 1, -1, -1):
        running = delta[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages * mask, (advantages + v) * mask

# %% 12.3 wrong: the return is the sum of the rewards to come, which is right for lambda = 1 alone
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    zero = torch.zeros_like(rewards)
    r, v = torch.where(mask > 0, rewards, zero), torch.where(mask > 0, values, zero)
    advantages, returns = zero.clone(), zero.clone()
    a = total = after = zero[:, 0]
    for t in reversed(range(r.shape[1])):
        a = (r[:, t] + gamma * after - v[:, t] + gamma * lam * a) * mask[:, t]
        total = r[:, t] + gamma * total
        advantages[:, t], returns[:, t], after = a, total, v[:, t]
    return advantages, returns * mask

# %% 12.3 right: plain numbers, row by row
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    advantages, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
    for row in range(mask.shape[0]):
        ahead = expected = 0.0
        for t in reversed(mask[row].nonzero().flatten().tolist()):
            r, v = rewards[row, t].item(), values[row, t].item()
            ahead = r + gamma * expected - v + gamma * lam * ahead
            expected = v
            advantages[row, t], returns[row, t] = ahead, ahead + v
    return advantages.detach(), returns.detach()

# %% 12.4 wrong: the lower bound of the clip is 1 / (1 + clip)
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = ((logprobs - old_logprobs) * mask).exp()
    kept = torch.min(ratio * advantages, ratio.clamp(1 / (1 + clip), 1 + clip) * advantages)
    return -(kept * mask).sum() / mask.sum()

# %% 12.4 wrong: a mean for each answer first, then the mean of these
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = torch.exp((logprobs - old_logprobs).masked_fill(mask == 0, 0))
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    rows = (gain * mask).sum(1)[mask.sum(1) > 0] / mask.sum(1)[mask.sum(1) > 0]
    return -rows.mean()

# %% 12.4 wrong: the ratio is masked after exp, so that gradients are NaN where it overflows
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = torch.where(mask > 0, (logprobs - old_logprobs).exp(), torch.ones_like(logprobs))
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()

# %% 12.4 right: only the tokens of the answer are picked out
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    new, old, a = (x[mask.bool()] for x in (logprobs, old_logprobs, advantages))
    ratio = (new - old).exp()
    return torch.max(-a * ratio, -a * ratio.clamp(1 - clip, 1 + clip)).mean()

# %% 12.5 wrong: the ratio is turned round, policy over reference
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_ratio = logprobs - ref_logprobs
    return log_ratio.exp() - 1 - log_ratio

# %% 12.5 wrong: the probabilities are divided, which may both be 0
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    ratio = ref_logprobs.exp() / logprobs.exp()
    return ratio - 1 - ratio.log()

# %% 12.5 wrong: it only calls itself
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    return kl_k3(logprobs, ref_logprobs)

# %% 12.5 right: expm1 (a third)
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    return torch.expm1(ref_logprobs - logprobs) + (logprobs - ref_logprobs)


# %% 12.1 wrong: the value model counts as frozen
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    trained = 2 + 2 + 4 + 4 + 4
    return trained * policy + 2 * (value + reward + reference)


# %% 12.1 wrong: Adam's two averages in 16 bits
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    weights, gradients, copy, adam = 2, 2, 4, 2 * 2
    return (weights + gradients + copy + adam) * (policy + value) + weights * (reward + reference)


# %% 12.1 wrong: gigabytes for bytes
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return (16 * (policy + value) + 2 * (reward + reference)) / 1e9


# %% 12.1 wrong: the reference is taken to be as large as the policy, the value model as the reward model
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    trained = 16 * policy + 16 * reward
    frozen = 2 * policy + 2 * reward
    return trained + frozen


# %% 12.1 wrong: frozen models get gradients too
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    everything = policy + value + reward + reference
    trained = policy + value
    return 2 * everything + 2 * everything + 12 * trained


# %% 12.1 right: sixteen bytes and two
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    return 16 * (policy + value) + 2 * (reward + reference)


# %% 12.1 right: each item in bits, summed in a loop
def rlhf_bytes(policy: float, value: float, reward: float, reference: float) -> float:
    items = {"weights": 16, "gradients": 16, "copy": 32, "average": 32, "average of squares": 32}
    total_bits = 0.0
    for count, trained in ((policy, True), (value, True), (reward, False), (reference, False)):
        for name, bits in items.items():
            if trained or name == "weights":
                total_bits += count * bits
    return total_bits / 8


# %% 12.2 wrong: the score stands at the number of answer tokens, the prompt is forgotten
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs) * mask
    last = mask.sum(1).long() - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


# %% 12.2 wrong: the whole KL is paid at the last token
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    kl = ((logprobs - ref_logprobs) * mask).sum(1)
    rewards = torch.zeros_like(logprobs)
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last = (mask * places).argmax(1)
    rewards[torch.arange(len(scores), device=scores.device), last] = scores - coefficient * kl
    return rewards


# %% 12.2 wrong: the reference's log-probabilities are subtracted in place
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = logprobs.detach().sub_(ref_logprobs).mul(-coefficient) * mask
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last = (mask * places).argmax(1)
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


# %% 12.2 wrong: prompt and padding pay as well
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = -coefficient * (logprobs - ref_logprobs)
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last = (mask * places).argmax(1)
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


# %% 12.2 wrong: the score is multiplied by beta too
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = (ref_logprobs - logprobs) * mask
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last = (mask * places).argmax(1)
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return coefficient * rewards


# %% 12.2 right: the last token is the one behind which the mask has nothing more
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    inside = mask > 0
    behind = inside.long().flip(1).cumsum(1).flip(1)  # answer tokens from here on
    last = inside & (behind == 1)
    rewards = -coefficient * (logprobs - ref_logprobs).detach()
    rewards = torch.where(last, rewards + scores.detach()[:, None], rewards)
    return torch.where(inside, rewards, torch.zeros_like(rewards))


# %% 12.2 right: a loop over rows and tokens
def kl_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    rewards = torch.zeros_like(logprobs)
    with torch.no_grad():
        for row in range(len(scores)):
            places = mask[row].nonzero().flatten().tolist()
            for t in places:
                rewards[row, t] = -coefficient * (logprobs[row, t] - ref_logprobs[row, t])
            rewards[row, places[-1]] += scores[row]
    return rewards


# %% 12.3 wrong: behind the last token the value of the padding is expected, again
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    r, v = torch.nan_to_num(rewards.detach()), torch.nan_to_num(values.detach())
    advantages = torch.zeros_like(r)
    carry = torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        after = v[:, t + 1] if t + 1 < r.shape[1] else torch.zeros_like(carry)
        delta = r[:, t] + gamma * after - v[:, t]
        carry = torch.where(mask[:, t] > 0, delta + gamma * lam * carry, torch.zeros_like(carry))
        advantages[:, t] = carry
    returns = torch.where(mask > 0, advantages + v, torch.zeros_like(v))
    return advantages, returns


# %% 12.3 wrong: masked by multiplication, NaN stays NaN
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    r, v = rewards.detach() * mask, values.detach() * mask
    advantages = torch.zeros_like(r)
    carry = torch.zeros_like(r[:, 0])
    after = torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        delta = r[:, t] + gamma * after - v[:, t]
        carry = (delta + gamma * lam * carry) * mask[:, t]
        advantages[:, t] = carry
        after = v[:, t]
    return advantages, (advantages + v) * mask


# %% 12.3 wrong: returns are the discounted sums of the rewards
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask > 0
    r = torch.where(inside, rewards.detach(), torch.zeros_like(rewards))
    v = torch.where(inside, values.detach(), torch.zeros_like(values))
    advantages, returns = torch.zeros_like(r), torch.zeros_like(r)
    carry, after, total = (torch.zeros_like(r[:, 0]) for _ in range(3))
    for t in reversed(range(r.shape[1])):
        carry = r[:, t] + gamma * after - v[:, t] + gamma * lam * carry
        total = r[:, t] + gamma * total
        after = v[:, t]
        advantages[:, t], returns[:, t] = carry, total
    zero = torch.zeros_like(r)
    return torch.where(inside, advantages, zero), torch.where(inside, returns, zero)


# %% 12.3 wrong: the next advantage is weighed by lambda without gamma
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask > 0
    zero = torch.zeros_like(rewards)
    r, v = torch.where(inside, rewards.detach(), zero), torch.where(inside, values.detach(), zero)
    advantages = torch.zeros_like(r)
    carry, after = torch.zeros_like(r[:, 0]), torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        carry = r[:, t] + gamma * after - v[:, t] + lam * carry
        after = v[:, t]
        advantages[:, t] = carry
    advantages = torch.where(inside, advantages, zero)
    return advantages, torch.where(inside, advantages + v, zero)


# %% 12.3 wrong: the advantages come back whitened
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask > 0
    zero = torch.zeros_like(rewards)
    r, v = torch.where(inside, rewards.detach(), zero), torch.where(inside, values.detach(), zero)
    advantages = torch.zeros_like(r)
    carry, after = torch.zeros_like(r[:, 0]), torch.zeros_like(r[:, 0])
    for t in reversed(range(r.shape[1])):
        carry = r[:, t] + gamma * after - v[:, t] + gamma * lam * carry
        after = v[:, t]
        advantages[:, t] = carry
    returns = torch.where(inside, advantages + v, zero)
    chosen = advantages[inside]
    white = (advantages - chosen.mean()) / (chosen.std(unbiased=False) + 1e-8)
    return torch.where(inside, white, zero), returns


# %% 12.3 right: backwards over the columns, masked by where
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside = mask.bool()
    r = rewards.detach().masked_fill(~inside, 0.0)
    v = values.detach().masked_fill(~inside, 0.0)
    advantages = torch.zeros_like(r)
    carry, after = torch.zeros_like(r[:, 0]), torch.zeros_like(r[:, 0])
    for t in range(r.shape[1] - 1, -1, -1):
        carry = r[:, t] + gamma * after - v[:, t] + gamma * lam * carry
        after = v[:, t]
        advantages[:, t] = carry
    advantages = advantages.masked_fill(~inside, 0.0)
    return advantages, advantages + v


# %% 12.3 right: one triangular matrix of powers
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    inside, zero = mask > 0, torch.zeros_like(rewards.detach())
    r, v = torch.where(inside, rewards.detach(), zero), torch.where(inside, values.detach(), zero)
    following = torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], dim=1)
    delta = torch.where(inside, r + gamma * following - v, zero)
    places = torch.arange(r.shape[1], device=r.device)
    ahead = (places[:, None] - places[None, :]).clamp(min=0)  # how far the row lies behind the column
    weights = torch.tril((gamma * lam) ** ahead.to(r.dtype))
    advantages = torch.where(inside, delta @ weights, zero)
    return advantages, torch.where(inside, advantages + v, zero)


# %% 12.4 wrong: the maximum for the minimum
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = torch.where(mask > 0, logprobs - old_logprobs, torch.zeros_like(logprobs)).exp()
    gain = torch.maximum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()


# %% 12.4 wrong: a mean for each answer, then the mean of these, again
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = torch.where(mask > 0, logprobs - old_logprobs, torch.zeros_like(logprobs)).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    per_answer = (gain * mask).sum(1) / mask.sum(1).clamp(min=1)
    return -per_answer.mean()


# %% 12.4 wrong: masked only after the exponential, infinity times zero
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    ratio = torch.exp(logprobs - old_logprobs)
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(gain * mask).sum() / mask.sum()


# %% 12.4 wrong: always clipped, without the minimum
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    keep = mask > 0
    ratio = (logprobs[keep] - old_logprobs[keep]).exp()
    return -(ratio.clamp(1 - clip, 1 + clip) * advantages[keep]).mean()


# %% 12.4 wrong: epsilon clips the logarithm of the ratio
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    keep = mask > 0
    log_ratio = logprobs[keep] - old_logprobs[keep]
    free = log_ratio.exp() * advantages[keep]
    clipped = log_ratio.clamp(-clip, clip).exp() * advantages[keep]
    return -torch.minimum(free, clipped).mean()


# %% 12.4 right: log-ratio zeroed outside of the mask, sum over number of tokens
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    log_ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)
    ratio = log_ratio.exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -gain.masked_fill(mask == 0, 0.0).sum() / mask.sum()


# %% 12.4 right: token by token, the two signs of the advantage apart
def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
    losses = []
    for row, t in mask.nonzero().tolist():
        a = advantages[row, t].item()
        ratio = torch.exp(logprobs[row, t] - old_logprobs[row, t].item())
        if a >= 0:
            ratio = ratio.clamp(max=1 + clip)
        else:
            ratio = ratio.clamp(min=1 - clip)
        losses.append(-a * ratio)
    return torch.stack(losses).mean()


# %% 12.5 wrong: the ratio is turned round
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = logprobs - ref_logprobs
    return log_r.exp() - 1 - log_r


# %% 12.5 wrong: the probabilities are divided, 0 by 0
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    r = ref_logprobs.exp() / logprobs.exp()
    return (r - 1) - r.log()


# %% 12.5 wrong: the logarithm of the ratio is held between -20 and 20
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = (ref_logprobs - logprobs).clamp(-20, 20)
    return torch.expm1(log_r) - log_r


# %% 12.5 wrong: one mean for all tokens
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs - logprobs
    return (log_r.exp() - 1 - log_r).mean()


# %% 12.5 wrong: the reference's log-probabilities are overwritten
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs.detach()
    log_r -= logprobs.detach()
    return log_r.exp() - 1 - log_r


# %% 12.5 right: expm1 of the difference
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    log_r = ref_logprobs - logprobs
    return torch.expm1(log_r) - log_r


# %% 12.5 right: the formula as it stands, in 64 bits
def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    with torch.no_grad():
        log_r = ref_logprobs.double() - logprobs.double()
        r = log_r.exp()
        return ((r - 1) - log_r).to(logprobs.dtype)
