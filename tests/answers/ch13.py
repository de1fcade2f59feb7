# %% 13.1 wrong: the logits are not shifted
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    logs = logits.log_softmax(-1).gather(2, input_ids[:, :, None])[:, :, 0]
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    inside = (places >= prompt_lengths[:, None]) & (places < lengths[:, None])
    return (logs * inside).sum(1)

# %% 13.1 wrong: the prompt is counted
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    logs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[:, :, 0]
    places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
    return (logs * (places < lengths[:, None])).sum(1)

# %% 13.1 wrong: the padding is counted
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    logs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[:, :, 0]
    places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
    return (logs * (places >= prompt_lengths[:, None])).sum(1)

# %% 13.1 wrong: the end token is dropped
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    total = []
    for row in range(len(input_ids)):
        logs = logits[row].log_softmax(-1)
        start, stop = int(prompt_lengths[row]), int(lengths[row]) - 1
        total.append(sum((logs[t - 1, input_ids[row, t]] for t in range(start, stop)), logits.new_zeros(())))
    return torch.stack(total)

# %% 13.1 wrong: a mean per token
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    logs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[:, :, 0]
    places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
    inside = (places >= prompt_lengths[:, None]) & (places < lengths[:, None])
    return (logs * inside).sum(1) / inside.sum(1)

# %% 13.1 wrong: the logarithm of a softmax
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    logs = logits[:, :-1].softmax(-1).log().gather(2, input_ids[:, 1:, None])[:, :, 0]
    places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
    outside = (places < prompt_lengths[:, None]) | (places >= lengths[:, None])
    return logs.masked_fill(outside, 0.0).sum(1)

# %% 13.1 wrong: no gradient
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    with torch.no_grad():
        logs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[:, :, 0]
        places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
        outside = (places < prompt_lengths[:, None]) | (places >= lengths[:, None])
        return logs.masked_fill(outside, 0.0).sum(1)

# %% 13.1 right: shifted, gathered, masked
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    logs = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[:, :, 0]
    places = torch.arange(1, input_ids.shape[1], device=input_ids.device)
    outside = (places < prompt_lengths[:, None]) | (places >= lengths[:, None])
    return logs.masked_fill(outside, 0.0).sum(1)

# %% 13.1 right: row by row
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    total = []
    for row in range(len(input_ids)):
        logs = logits[row].log_softmax(-1)
        start, stop = int(prompt_lengths[row]), int(lengths[row])
        total.append(sum((logs[t - 1, input_ids[row, t]] for t in range(start, stop)), logits.new_zeros(())))
    return torch.stack(total)

# %% 13.1 right: cross-entropy with labels
def answer_logprobs(logits: Tensor, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> Tensor:
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    outside = (places < prompt_lengths[:, None]) | (places >= lengths[:, None])
    labels = input_ids.masked_fill(outside, -100)[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels, reduction="none", ignore_index=-100)
    return -losses.sum(1)

# %% 13.2 wrong: the reward times beta
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    return (ref_logprobs + beta * rewards).log_softmax(-1)

# %% 13.2 wrong: Z is forgotten
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    return ref_logprobs + rewards / beta

# %% 13.2 wrong: the reference is forgotten
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    return torch.log_softmax(rewards / beta, dim=-1)

# %% 13.2 wrong: probabilities
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    return torch.softmax(ref_logprobs + rewards / beta, dim=-1)

# %% 13.2 wrong: exponentials that overflow
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    weights = ref_logprobs.exp() * (rewards / beta).exp()
    return (weights / weights.sum(-1, keepdim=True)).log()

# %% 13.2 wrong: Z over the batch
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    x = ref_logprobs + rewards / beta
    return x - torch.logsumexp(x, dim=0, keepdim=True)

# %% 13.2 right: log_softmax
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    return (ref_logprobs + rewards / beta).log_softmax(-1)

# %% 13.2 right: logsumexp
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    x = ref_logprobs + rewards / beta
    return x - torch.logsumexp(x, dim=-1, keepdim=True)

# %% 13.2 right: the largest is taken off first
def best_policy(ref_logprobs: Tensor, rewards: Tensor, beta: float) -> Tensor:
    x = ref_logprobs + rewards / beta
    x = x - x.amax(-1, keepdim=True)
    log_z = x.exp().sum(-1, keepdim=True).log()
    return x - log_z

# %% 13.3 wrong: no reference
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    return -torch.nn.functional.logsigmoid(beta * (chosen - rejected))

# %% 13.3 wrong: the sign
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    margin = (rejected - ref_rejected) - (chosen - ref_chosen)
    return -torch.nn.functional.logsigmoid(beta * margin)

# %% 13.3 wrong: the mean
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return -torch.nn.functional.logsigmoid(beta * margin).mean()

# %% 13.3 wrong: log of sigmoid
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return -torch.log(torch.sigmoid(beta * margin))

# %% 13.3 wrong: beta outside
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    return -beta * torch.nn.functional.logsigmoid(margin)

# %% 13.3 wrong: the references are mixed up
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    margin = (chosen - ref_rejected) - (rejected - ref_chosen)
    return -torch.nn.functional.logsigmoid(beta * margin)

# %% 13.3 wrong: the rejected side gets no gradient
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    margin = (chosen - ref_chosen) - (rejected - ref_rejected).detach()
    return -torch.nn.functional.logsigmoid(beta * margin)

# %% 13.3 right: two log-ratios
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    good, bad = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    return -torch.nn.functional.logsigmoid(good - bad)

# %% 13.3 right: policy's preference minus the reference's, softplus
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    policy, reference = chosen - rejected, ref_chosen - ref_rejected
    return torch.nn.functional.softplus(-beta * (policy - reference))

# %% 13.3 right: a cross-entropy over two implicit rewards
def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    rewards = beta * torch.stack([chosen - ref_chosen, rejected - ref_rejected], 1)
    first = torch.zeros(len(rewards), dtype=torch.long, device=rewards.device)
    return torch.nn.functional.cross_entropy(rewards, first, reduction="none")

# %% 13.4 wrong: ties stay in
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        order = sorted(range(len(texts)), key=lambda i: -scores[row, i].item())
        if texts[order[0]] != texts[order[-1]]:
            pairs.append((row, texts[order[0]], texts[order[-1]]))
    return pairs

# %% 13.4 wrong: equal texts stay in
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        best, worst = int(scores[row].argmax()), int(scores[row].argmin())
        if scores[row, best] > scores[row, worst]:
            pairs.append((row, texts[best], texts[worst]))
    return pairs

# %% 13.4 wrong: the worst is chosen
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        best, worst = int(scores[row].argmax()), int(scores[row].argmin())
        if scores[row, best] > scores[row, worst] and texts[best] != texts[worst]:
            pairs.append((row, texts[worst], texts[best]))
    return pairs

# %% 13.4 wrong: numbered by what was kept
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        best, worst = int(scores[row].argmax()), int(scores[row].argmin())
        if scores[row, best] > scores[row, worst] and texts[best] != texts[worst]:
            pairs.append((len(pairs), texts[best], texts[worst]))
    return pairs

# %% 13.4 wrong: all pairs of a question
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        for i in range(len(texts)):
            for j in range(len(texts)):
                if scores[row, i] > scores[row, j] and texts[i] != texts[j]:
                    pairs.append((row, texts[i], texts[j]))
    return pairs

# %% 13.4 wrong: the second best
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        first, second = sorted(range(len(texts)), key=lambda i: -scores[row, i].item())[:2]
        if scores[row, first] > scores[row, second] and texts[first] != texts[second]:
            pairs.append((row, texts[first], texts[second]))
    return pairs

# %% 13.4 right: argmax and argmin
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, texts in enumerate(answers):
        best, worst = int(scores[row].argmax()), int(scores[row].argmin())
        if scores[row, best] > scores[row, worst] and texts[best] != texts[worst]:
            pairs.append((row, texts[best], texts[worst]))
    return pairs

# %% 13.4 right: lists and index
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    pairs = []
    for row, (texts, marks) in enumerate(zip(answers, scores.tolist(), strict=True)):
        high, low = max(marks), min(marks)
        chosen, rejected = texts[marks.index(high)], texts[marks.index(low)]
        if high == low or chosen == rejected:
            continue
        pairs.append((row, chosen, rejected))
    return pairs

# %% 13.4 right: max and min with a key
def best_and_worst(answers: list[list[str]], scores: Tensor) -> list[tuple[int, str, str]]:
    found = []
    for row, texts in enumerate(answers):
        places = range(len(texts))
        best = max(places, key=lambda i: float(scores[row, i]))
        worst = min(places, key=lambda i: float(scores[row, i]))
        found.append((row, best, worst))
    return [
        (row, answers[row][b], answers[row][w])
        for row, b, w in found
        if scores[row, b] != scores[row, w] and answers[row][b] != answers[row][w]
    ]

# %% 13.5 wrong: sums
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    return -torch.nn.functional.logsigmoid(beta * (chosen - rejected) - gamma)

# %% 13.5 wrong: gamma is added
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    return -torch.nn.functional.logsigmoid(beta * (chosen / chosen_length - rejected / rejected_length) + gamma)

# %% 13.5 wrong: gamma within beta
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    margin = chosen / chosen_length - rejected / rejected_length
    return -torch.nn.functional.logsigmoid(beta * (margin - gamma))

# %% 13.5 wrong: one length for both
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    return -torch.nn.functional.logsigmoid(beta * (chosen - rejected) / (chosen_length + rejected_length) - gamma)

# %% 13.5 wrong: the mean over pairs
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    margin = chosen / chosen_length - rejected / rejected_length
    return -torch.nn.functional.logsigmoid(beta * margin - gamma).mean()

# %% 13.5 wrong: gamma is not used
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    return -torch.nn.functional.logsigmoid(beta * (chosen / chosen_length - rejected / rejected_length))

# %% 13.5 right: means, margin, logsigmoid
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    margin = chosen / chosen_length - rejected / rejected_length
    return -torch.nn.functional.logsigmoid(beta * margin - gamma)

# %% 13.5 right: softplus
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    good, bad = beta * chosen / chosen_length, beta * rejected / rejected_length
    return torch.nn.functional.softplus(bad - good + gamma)

# %% 13.5 right: in double precision
def simpo_loss(
    chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor, beta: float, gamma: float
) -> Tensor:
    good = chosen.double() / chosen_length
    bad = rejected.double() / rejected_length
    return -torch.nn.functional.logsigmoid(beta * (good - bad) - gamma).to(chosen.dtype)
