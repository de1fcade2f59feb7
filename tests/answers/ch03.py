# %% 03.1 wrong: the labels are not shifted
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


# %% 03.1 wrong: the sum is divided by all places, also those nobody asks for
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    guesses, targets = logits[:, :-1], labels[:, 1:]
    total = F.cross_entropy(guesses.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    return total / targets.numel()


# %% 03.1 wrong: the mean of the rows' means
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:]
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none")
    asked = targets != -100
    return (losses.sum(1) / asked.sum(1).clamp(min=1)).mean()


# %% 03.1 wrong: shifted after flattening, so that rows run into each other
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:])


# %% 03.1 wrong: -100 in the labels is overwritten
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:]
    asked = targets != -100
    targets[~asked] = 0
    picked = logits[:, :-1].log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return -(picked * asked).sum() / asked.sum()


# %% 03.1 wrong: the mask is taken from the labels before the shift
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:].clamp(min=0)
    asked = labels[:, :-1] != -100
    picked = logits[:, :-1].log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return -(picked * asked).sum() / asked.sum()


# %% 03.1 wrong: the logarithm of a softmax is infinite for unlikely tokens
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:]
    asked = targets != -100
    shares = logits[:, :-1].softmax(-1)[asked]
    return -shares.gather(-1, targets[asked][:, None]).log().mean()


# %% 03.1 wrong: no gradient flows
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])
    return torch.tensor(loss.item())


# %% 03.1 right: tersely
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% 03.1 right: by loops over rows and places
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    total, count = logits.new_zeros(()), 0
    for row in range(labels.shape[0]):
        for place in range(labels.shape[1] - 1):
            token = int(labels[row, place + 1])
            if token == -100:
                continue
            scores = logits[row, place]
            total = total + torch.logsumexp(scores, dim=0) - scores[token]
            count += 1
    return total / count


# %% 03.1 right: with log-softmax and the places that are asked for
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    rows, places = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    log_probs = torch.log_softmax(logits[rows, places], dim=-1)
    return -log_probs[torch.arange(len(rows), device=logits.device), labels[rows, places + 1]].mean()


# %% 03.2 wrong: the mean of the documents' perplexities
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    nats = losses.masked_fill(~inside, 0.0).sum(1)
    return nats / math.log(2), (nats / lengths).exp().mean().item()


# %% 03.2 wrong: each document has the same weight in the perplexity
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    nats = losses.masked_fill(~inside, 0.0).sum(1)
    return nats / math.log(2), (nats / lengths).mean().exp().item()


# %% 03.2 wrong: nats are returned as bits
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    nats = losses.masked_fill(~inside, 0.0).sum(1)
    return nats, (nats.sum() / lengths.sum()).exp().item()


# %% 03.2 wrong: e is raised to bits instead of nats
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    bits = losses.masked_fill(~inside, 0.0).sum(1) / math.log(2)
    return bits, math.exp(bits.sum().item() / lengths.sum().item())


# %% 03.2 wrong: the padding is overwritten in the given losses
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    for row, n in zip(losses, lengths.tolist()):
        row[n:] = 0.0
    nats = losses.sum(1)
    return nats / math.log(2), (nats.sum() / lengths.sum()).exp().item()


# %% 03.2 wrong: the perplexity's mean counts the padding as tokens
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    kept = torch.where(inside, losses, torch.zeros_like(losses))
    return kept.sum(1) / math.log(2), kept.mean().exp().item()


# %% 03.2 wrong: one place too many in each row
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) <= lengths[:, None]
    nats = losses.masked_fill(~inside, 0.0).sum(1)
    return nats / math.log(2), (nats.sum() / lengths.sum()).exp().item()


# %% 03.2 wrong: what is not 0 is taken for a token
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = losses != 0
    return losses.sum(1) / math.log(2), losses[inside].mean().exp().item()


# %% 03.2 right: tersely
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    nats = losses.masked_fill(torch.arange(losses.shape[1]).to(lengths) >= lengths[:, None], 0).sum(1)
    return nats / math.log(2), float((nats.sum() / lengths.sum()).exp())


# %% 03.2 right: by naive loops
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    bits = []
    total, tokens = 0.0, 0
    for row in range(losses.shape[0]):
        document = 0.0
        for place in range(int(lengths[row])):
            document += losses[row, place].item()
        bits.append(document / math.log(2))
        total += document
        tokens += int(lengths[row])
    return torch.tensor(bits, dtype=losses.dtype, device=losses.device), math.exp(total / tokens)


# %% 03.2 right: cut out, joined, and 2 to the bits per token
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    in_bits = [row[:n] / math.log(2) for row, n in zip(losses, lengths.tolist(), strict=True)]
    per_token = torch.cat(in_bits).mean()
    return torch.stack([row.sum() for row in in_bits]), (2**per_token).item()


# %% 03.3 wrong: the climb begins at 0
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


# %% 03.3 wrong: the climb has one part too many
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    return peak * (steps - step) / (steps - warmup_steps)


# %% 03.3 wrong: the climb goes on for one step too long
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step <= warmup_steps:
        return peak * (step + 1) / max(1, warmup_steps)
    return peak * (steps - step) / (steps - warmup_steps)


# %% 03.3 wrong: without warm-up it divides by zero
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    climb = (step + 1) / warmup_steps
    fall = (steps - step) / (steps - warmup_steps)
    return peak * min(climb, fall)


# %% 03.3 wrong: the fall is one part too low everywhere
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step - 1) / (steps - warmup_steps)


# %% 03.3 wrong: the fall reaches 0 at the last step already
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - (step - warmup_steps) / max(1, steps - 1 - warmup_steps))


# %% 03.3 wrong: the fall is spread over all steps, the warm-up included
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - (step - warmup_steps) / steps)


# %% 03.3 wrong: it calls itself for ever
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return learning_rate_at(step - 1, peak, steps, warmup_steps) + peak / warmup_steps
    return learning_rate_at(step - 1, peak, steps, warmup_steps) - peak / (steps - warmup_steps)


# %% 03.3 right: tersely as the lower of two lines
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    return peak * min((step + 1) / max(warmup_steps, 1), (steps - step) / (steps - warmup_steps))


# %% 03.3 right: by a loop that walks to the step
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    rates = []
    for i in range(warmup_steps):
        rates.append(peak * ((i + 1) / warmup_steps))
    for i in range(warmup_steps, steps):
        rates.append(peak - peak * (i - warmup_steps) / (steps - warmup_steps))
    return float(rates[step])


# %% 03.3 right: by interpolation with numpy
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    import numpy as np

    if step < warmup_steps:
        return float(np.linspace(0.0, peak, warmup_steps + 1)[step + 1])
    return float(np.interp(step, [warmup_steps, steps], [peak, 0.0]))


# %% 03.4 wrong: each tensor is clipped by its own norm
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    clipped = []
    for g in gradients:
        own = g.norm().item()
        clipped.append(g * (max_norm / own) if own > max_norm else g.clone())
    return clipped, norm


# %% 03.4 wrong: the gradients are scaled in place
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    if norm > max_norm:
        for g in gradients:
            g.mul_(max_norm / norm)
    return list(gradients), norm


# %% 03.4 wrong: the norms of the tensors are added up
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = float(sum(g.norm().item() for g in gradients))
    factor = max_norm / norm if norm > max_norm else 1.0
    return [g * factor for g in gradients], norm


# %% 03.4 wrong: small gradients are made longer
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    factor = max_norm / norm if norm > 0 else 1.0
    return [g * factor for g in gradients], norm


# %% 03.4 wrong: the norm after clipping comes back
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    factor = max_norm / norm if norm > max_norm else 1.0
    return [g * factor for g in gradients], min(norm, float(max_norm))


# %% 03.4 wrong: gradients of zeros divide by zero
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    factor = min(1.0, max_norm / norm)
    return [g * factor for g in gradients], norm


# %% 03.4 wrong: the given list gets the clipped tensors
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    if norm > max_norm:
        for i, g in enumerate(gradients):
            gradients[i] = g * (max_norm / norm)
    return gradients, norm


# %% 03.4 wrong: the view fails for tensors that are not contiguous
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = torch.cat([g.view(-1) for g in gradients]).norm().item()
    factor = max_norm / norm if norm > max_norm else 1.0
    return [g * factor for g in gradients], norm


# %% 03.4 right: tersely
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.hypot(*(g.norm().item() for g in gradients))
    return [g * (max_norm / norm if norm > max_norm else 1.0) for g in gradients], norm


# %% 03.4 right: by loops over all numbers
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    total = 0.0
    for g in gradients:
        for number in g.flatten().tolist():
            total += number * number
    norm = total**0.5
    new = []
    for g in gradients:
        if norm > max_norm:
            new.append(g * max_norm / norm)
        else:
            new.append(g.clone())
    return new, norm


# %% 03.4 right: one long vector, scaled and cut up again
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    if not gradients:
        return [], 0.0
    line = torch.cat([g.reshape(-1) for g in gradients])
    norm = torch.linalg.vector_norm(line)
    if norm > max_norm:
        line = line * (max_norm / norm)
    parts = line.split([g.numel() for g in gradients])
    return [part.reshape(g.shape) for part, g in zip(parts, gradients, strict=True)], norm.item()


# %% 03.5 wrong: a tenth of the rest becomes random instead of half of it
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels = input_ids.masked_fill(~asked, -100)
    masked = asked & (torch.rand(input_ids.shape, generator=generator) < 0.8)
    random = asked & ~masked & (torch.rand(input_ids.shape, generator=generator) < 0.1)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    return torch.where(random, others, input_ids.masked_fill(masked, mask_id)), labels


# %% 03.5 wrong: id 5 is not taken for a special token
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids >= 5)
    labels = input_ids.masked_fill(~asked, -100)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (fate < 0.9), others, input_ids)
    return corrupted.masked_fill(asked & (fate < 0.8), mask_id), labels


# %% 03.5 wrong: the given ids are changed
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    labels = input_ids.clone()
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels[~asked] = -100
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    input_ids[asked & (fate < 0.8)] = mask_id
    random = asked & (fate >= 0.8) & (fate < 0.9)
    input_ids[random] = others[random]
    return input_ids, labels


# %% 03.5 wrong: the labels are taken from the corrupted ids
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    corrupted = input_ids.clone()
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted[asked & (fate < 0.8)] = mask_id
    random = asked & (fate >= 0.8) & (fate < 0.9)
    corrupted[random] = others[random]
    labels = torch.where(asked, corrupted, torch.full_like(corrupted, -100))
    return corrupted, labels


# %% 03.5 wrong: the last id is never drawn
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels = input_ids.masked_fill(~asked, -100)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size - 1, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (fate < 0.9), others, input_ids)
    return corrupted.masked_fill(asked & (fate < 0.8), mask_id), labels


# %% 03.5 wrong: the random ids do not come from the generator
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels = input_ids.masked_fill(~asked, -100)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint_like(input_ids, 6, vocab_size)
    corrupted = torch.where(asked & (fate < 0.9), others, input_ids)
    return corrupted.masked_fill(asked & (fate < 0.8), mask_id), labels


# %% 03.5 wrong: the mask token is always 4
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels = input_ids.masked_fill(~asked, -100)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (fate < 0.9), others, input_ids)
    return corrupted.masked_fill(asked & (fate < 0.8), 4), labels


# %% 03.5 wrong: none of those asked for stays
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels = input_ids.masked_fill(~asked, -100)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    masked = torch.rand(input_ids.shape, generator=generator) < 0.8
    replaced = others.masked_fill(masked, mask_id)
    return torch.where(asked, replaced, input_ids), labels


# %% 03.5 right: tersely, with one draw for both decisions
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    draw = torch.rand(input_ids.shape, generator=generator).masked_fill(input_ids < 6, 2.0)
    new = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    new = torch.where(draw < 0.9 * share, new, input_ids).masked_fill(draw < 0.8 * share, mask_id)
    return new, input_ids.masked_fill(draw >= share, -100)


# %% 03.5 right: by loops over rows and places
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    corrupted = input_ids.clone()
    labels = torch.full_like(input_ids, -100)
    for row in range(input_ids.shape[0]):
        for place in range(input_ids.shape[1]):
            token = int(input_ids[row, place])
            if token <= 5:
                continue
            if torch.rand(1, generator=generator).item() >= share:
                continue
            labels[row, place] = token
            fate = torch.rand(1, generator=generator).item()
            if fate < 0.8:
                corrupted[row, place] = mask_id
            elif fate < 0.9:
                corrupted[row, place] = torch.randint(6, vocab_size, (1,), generator=generator).item()
    return corrupted, labels


# %% 03.5 right: by the places asked for, with a die of ten sides
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    corrupted, labels = input_ids.clone(), torch.full_like(input_ids, -100)
    chosen = torch.rand(input_ids.shape, generator=generator) < share
    rows, places = (chosen & (input_ids >= 6)).nonzero(as_tuple=True)
    original = input_ids[rows, places]
    labels[rows, places] = original
    die = torch.randint(0, 10, (len(rows),), generator=generator)
    others = torch.randint(6, vocab_size, (len(rows),), generator=generator)
    fates = torch.stack((torch.full_like(original, mask_id), others, original))
    which = (die >= 8).long() + (die >= 9).long()
    corrupted[rows, places] = fates.gather(0, which[None])[0]
    return corrupted, labels


# %% 03.1 wrong: flattened before the shift, so that rows run into each other
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    flat, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    return F.cross_entropy(flat[:-1], wanted[1:], ignore_index=-100)

# %% 03.1 wrong: the mean of the rows' means (another)
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    rows = []
    for scores, wanted in zip(logits[:, :-1], labels[:, 1:], strict=True):
        if (wanted != -100).any():
            rows.append(F.cross_entropy(scores, wanted))
    return torch.stack(rows).mean()

# %% 03.1 wrong: divides by all labels that count, also those of the first place
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    total = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="sum")
    return total / (labels != -100).sum()

# %% 03.1 wrong: exponentials of large scores overflow
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    scores, wanted = logits[:, :-1], labels[:, 1:]
    asked = wanted != -100
    p = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return -p[asked].gather(1, wanted[asked][:, None]).log().mean()

# %% 03.1 wrong: a new tensor through which no gradient flows
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    return torch.tensor(loss.item())

# %% 03.1 wrong: shifted the wrong way
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten(), ignore_index=-100)

# %% 03.1 wrong: unasked places count in the mean
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none").mean()

# %% 03.1 right: the library on transposed scores
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].mT, labels[:, 1:])

# %% 03.1 right: place by place
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    batch, length = labels.shape
    total, count = 0.0, 0
    for row in range(batch):
        for place in range(length - 1):
            token = int(labels[row, place + 1])
            if token == -100:
                continue
            scores = logits[row, place]
            total = total + scores.logsumexp(0) - scores[token]
            count += 1
    return total / count

# %% 03.2 wrong: padding is multiplied by 0, and NaN stays NaN
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1])[None] < lengths[:, None]
    nats = (losses * mask).sum(1)
    return nats / math.log(2), math.exp(nats.sum().item() / lengths.sum().item())

# %% 03.2 wrong: padding is what is NaN, not what the lengths say
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    nats = losses.nansum(1)
    return nats / math.log(2), math.exp(losses.nanmean().item())

# %% 03.2 wrong: each document has the same weight in the perplexity (another)
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    nats = torch.stack([row[:n].sum() for row, n in zip(losses, lengths, strict=True)])
    return nats / math.log(2), math.exp((nats / lengths).mean().item())

# %% 03.2 wrong: two to the power of nats
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1])[None] < lengths[:, None]
    nats = losses.masked_fill(~mask, 0.0).sum(1)
    return nats / math.log(2), 2 ** (nats.sum().item() / lengths.sum().item())

# %% 03.2 wrong: bits per token instead of bits per document
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1])[None] < lengths[:, None]
    nats = torch.where(mask, losses, 0.0).sum(1)
    return nats / lengths / math.log(2), math.exp(nats.sum().item() / lengths.sum().item())

# %% 03.2 wrong: the mean of the tokens' perplexities
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1])[None] < lengths[:, None]
    bits = torch.where(mask, losses, torch.zeros_like(losses)).sum(1) / math.log(2)
    return bits, losses[mask].exp().mean().item()

# %% 03.2 right: padding by torch.where
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    nats = torch.where(torch.arange(losses.shape[1]) < lengths[:, None], losses, 0.0).sum(1)
    return nats / math.log(2), (nats.sum() / lengths.sum()).exp().item()

# %% 03.2 right: numbers in two loops
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    bits, nats, tokens = [], 0.0, 0
    for row, length in zip(losses.tolist(), lengths.tolist(), strict=True):
        document = 0.0
        for place in range(length):
            document += row[place]
        bits.append(document / math.log(2))
        nats += document
        tokens += length
    return torch.tensor(bits, dtype=losses.dtype), math.exp(nats / tokens)

# %% 03.3 wrong: the first step has rate 0
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)

# %% 03.3 wrong: the last step has rate 0
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - 1 - step) / max(steps - 1 - warmup_steps, 1)

# %% 03.3 wrong: falls as if it had begun at step 0
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - step / steps)

# %% 03.3 wrong: the climb goes one step too far
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if warmup_steps and step <= warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)

# %% 03.3 wrong: no warm-up means a division by zero
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    return peak * min((step + 1) / warmup_steps, (steps - step) / (steps - warmup_steps))

# %% 03.3 wrong: the fall has already begun at the step behind the climb
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step - 1) / (steps - warmup_steps)

# %% 03.3 wrong: calls itself for the step before without an end
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return learning_rate_at(step - 1, peak, steps, warmup_steps) + peak / warmup_steps
    return learning_rate_at(step - 1, peak, steps, warmup_steps) - peak / (steps - warmup_steps)

# %% 03.3 right: the lower of two lines
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    return peak * min((step + 1) / max(warmup_steps, 1), (steps - step) / (steps - warmup_steps))

# %% 03.3 right: part by part
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        parts = 0
        for _ in range(step + 1):
            parts += 1
        return peak * parts / warmup_steps
    left = steps - warmup_steps
    for _ in range(warmup_steps, step):
        left -= 1
    return peak * left / (steps - warmup_steps)

# %% 03.4 wrong: each tensor by its own norm
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(float(g.norm()) ** 2 for g in gradients) ** 0.5
    return [g * min(1.0, max_norm / max(float(g.norm()), 1e-12)) for g in gradients], norm

# %% 03.4 wrong: the norms are added without squares
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(float(g.norm()) for g in gradients)
    factor = max_norm / norm if norm > max_norm else 1.0
    return [g * factor for g in gradients], norm

# %% 03.4 wrong: the given tensors are scaled
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(float(g.square().sum()) for g in gradients) ** 0.5
    if norm > max_norm:
        for g in gradients:
            g.mul_(max_norm / norm)
    return list(gradients), norm

# %% 03.4 wrong: short gradients are made longer
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(float(g.square().sum()) for g in gradients) ** 0.5
    return [g * (max_norm / norm) if norm > 0 else g for g in gradients], norm

# %% 03.4 wrong: tells the norm behind the clipping
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = float(torch.cat([g.flatten() for g in gradients]).norm())
    if norm <= max_norm:
        return [g.clone() for g in gradients], norm
    clipped = [g * (max_norm / norm) for g in gradients]
    return clipped, float(torch.cat([g.flatten() for g in clipped]).norm())

# %% 03.4 wrong: the numbers are cut, the direction turns
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = float(torch.cat([g.flatten() for g in gradients]).norm())
    if norm <= max_norm:
        return list(gradients), norm
    limit = max_norm / sum(g.numel() for g in gradients) ** 0.5
    return [g.clamp(-limit, limit) for g in gradients], norm

# %% 03.4 wrong: the norm of the largest tensor instead of all together
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = max(float(g.norm()) for g in gradients)
    factor = min(1.0, max_norm / norm) if norm else 1.0
    return [g * factor for g in gradients], norm

# %% 03.4 right: the norm of the norms
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = float(torch.stack([g.norm() for g in gradients]).norm())
    return [g * (max_norm / max(norm, max_norm)) if norm > max_norm else g for g in gradients], norm

# %% 03.4 right: squares added number by number
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    squares = 0.0
    for gradient in gradients:
        for number in gradient.flatten().tolist():
            squares += number**2
    norm = math.sqrt(squares)
    clipped = []
    for gradient in gradients:
        copied = gradient.clone()
        if norm > max_norm:
            copied = copied * (max_norm / norm)
        clipped.append(copied)
    return clipped, norm

# %% 03.5 wrong: random ids replace a tenth of what the masks left over
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    masked = asked & (torch.rand(input_ids.shape, generator=generator) < 0.8)
    other = asked & ~masked & (torch.rand(input_ids.shape, generator=generator) < 0.1)
    words = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    hidden = torch.where(masked, mask_id, torch.where(other, words, input_ids))
    return hidden, input_ids.masked_fill(~asked, -100)

# %% 03.5 wrong: all rows are asked at the same places
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape[-1], generator=generator) < share) & (input_ids >= 6)
    luck = torch.rand(input_ids.shape, generator=generator)
    hidden = input_ids.clone()
    hidden[asked & (luck < 0.8)] = mask_id
    other = asked & (luck >= 0.9)
    hidden[other] = torch.randint(6, vocab_size, (int(other.sum()),), generator=generator)
    return hidden, torch.where(asked, input_ids, -100)

# %% 03.5 wrong: exactly the share of each row is asked for
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    draws = torch.rand(input_ids.shape, generator=generator).masked_fill(input_ids < 6, 2.0)
    count = round(share * input_ids.shape[1])
    asked = draws.argsort(1).argsort(1) < count
    asked &= input_ids >= 6
    luck = torch.rand(input_ids.shape, generator=generator)
    words = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    hidden = input_ids.clone()
    hidden[asked & (luck < 0.8)] = mask_id
    other = asked & (luck >= 0.8) & (luck < 0.9)
    hidden[other] = words[other]
    return hidden, torch.where(asked, input_ids, -100)

# %% 03.5 wrong: the random ids do not come from the generator (another)
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids >= 6)
    luck = torch.rand(input_ids.shape, generator=generator)
    words = torch.randint_like(input_ids, 6, vocab_size)
    hidden = torch.where(asked & (luck < 0.8), mask_id, input_ids)
    hidden = torch.where(asked & (luck >= 0.8) & (luck < 0.9), words, hidden)
    return hidden, torch.where(asked, input_ids, -100)

# %% 03.5 wrong: the last id of the vocabulary is never drawn
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids >= 6)
    luck = torch.rand(input_ids.shape, generator=generator)
    words = torch.randint(6, max(vocab_size - 1, 7), input_ids.shape, generator=generator)
    hidden = torch.where(asked & (luck < 0.8), mask_id, input_ids)
    hidden = torch.where(asked & (luck >= 0.8) & (luck < 0.9), words, hidden)
    return hidden, torch.where(asked, input_ids, -100)

# %% 03.5 wrong: the batch is changed in place
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    labels = input_ids.clone()
    asked = (torch.rand(labels.shape, generator=generator) < share) & (labels >= 6)
    labels[~asked] = -100
    luck = torch.rand(labels.shape, generator=generator)
    words = torch.randint(6, vocab_size, labels.shape, generator=generator)
    input_ids[asked & (luck < 0.8)] = mask_id
    other = asked & (luck >= 0.8) & (luck < 0.9)
    input_ids[other] = words[other]
    return input_ids, labels

# %% 03.5 wrong: one random id for the whole batch
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids >= 6)
    luck = torch.rand(input_ids.shape, generator=generator)
    word = int(torch.randint(6, vocab_size, (1,), generator=generator))
    hidden = input_ids.masked_fill(asked & (luck < 0.8), mask_id)
    hidden = hidden.masked_fill(asked & (luck >= 0.8) & (luck < 0.9), word)
    return hidden, input_ids.masked_fill(~asked, -100)

# %% 03.5 right: one draw decides all
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    u = torch.rand(input_ids.shape, generator=generator).masked_fill(input_ids < 6, 2.0)
    words = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    hidden = torch.where(u < 0.9 * share, words, input_ids).masked_fill(u < 0.8 * share, mask_id)
    return hidden, input_ids.masked_fill(u >= share, -100)

# %% 03.5 right: token by token
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    ask = torch.rand(input_ids.shape, generator=generator).tolist()
    how = torch.rand(input_ids.shape, generator=generator).tolist()
    words = torch.randint(6, vocab_size, input_ids.shape, generator=generator).tolist()
    hidden, labels = input_ids.tolist(), []
    for row, ids in enumerate(hidden):
        labels.append([])
        for place, token in enumerate(ids):
            if token <= 5 or ask[row][place] >= share:
                labels[-1].append(-100)
                continue
            labels[-1].append(token)
            if how[row][place] < 0.8:
                ids[place] = mask_id
            elif how[row][place] < 0.9:
                ids[place] = words[row][place]
    shape = input_ids.shape
    return torch.tensor(hidden).long().view(shape), torch.tensor(labels).long().view(shape)

# %% 03.1 wrong: flattens first and shifts then, so a row's end must name the next row's beginning
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:], ignore_index=-100)


# %% 03.1 wrong: only labels above 0 count, so the token with id 0 is left out
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    scores, targets = logits[:, :-1], labels[:, 1:]
    counts = targets > 0
    each = -scores.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return each[counts].mean()


# %% 03.1 wrong: a small number inside the logarithm caps the loss of an improbable token
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    scores, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    p = scores.softmax(-1)[counts].gather(1, targets[counts][:, None])
    return -(p + 1e-9).log().mean()


# %% 03.1 right: logsumexp minus the score of the token that came
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    counts = labels[:, 1:] != -100
    scores, tokens = logits[:, :-1][counts], labels[:, 1:][counts]
    return (scores.logsumexp(1) - scores[torch.arange(len(tokens), device=tokens.device), tokens]).mean()


# %% 03.2 wrong: takes only NaN for padding, so other padding is counted
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    nats = losses.nansum(1)
    return nats / math.log(2), math.exp(nats.sum().item() / lengths.sum().item())


# %% 03.2 wrong: averages the documents' means, so tokens of short documents weigh more
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    nats = losses.masked_fill(~inside, 0.0).sum(1)
    return nats / math.log(2), (nats / lengths).mean().exp().item()


# %% 03.2 wrong: raises e to the mean of the bits
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    bits = torch.where(inside, losses, torch.zeros_like(losses)).sum(1) / math.log(2)
    return bits, math.exp(bits.sum().item() / lengths.sum().item())


# %% 03.2 right: one document after the other
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    bits, all_nats, all_tokens = [], 0.0, 0
    for row, length in zip(losses, lengths.tolist()):
        nats = row[:length].sum()
        bits.append(nats / math.log(2))
        all_nats += nats.item()
        all_tokens += length
    return torch.stack(bits), math.exp(all_nats / all_tokens)


# %% 03.3 wrong: calls itself for the step before, too deep for a run of thousands of steps
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if step == warmup_steps:
        return peak
    return learning_rate_at(step - 1, peak, steps, warmup_steps) - peak / (steps - warmup_steps)


# %% 03.3 wrong: divides by zero when there is no warm-up
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    return peak * min((step + 1) / warmup_steps, (steps - step) / (steps - warmup_steps))


# %% 03.3 wrong: the fall is counted over all steps, so it begins below the peak
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - step / steps)


# %% 03.3 right: the lower of two lines (a third)
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    return peak * min((step + 1) / max(warmup_steps, 1), (steps - step) / (steps - warmup_steps))


# %% 03.4 wrong: scales the given tensors in place
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(g.square().sum().item() for g in gradients) ** 0.5
    if norm > max_norm:
        for g in gradients:
            g.mul_(max_norm / norm)
    return list(gradients), norm


# %% 03.4 wrong: short gradients are made longer (a third)
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(g.square().sum().item() for g in gradients) ** 0.5
    factor = max_norm / norm if norm > 0 else 1.0
    return [g * factor for g in gradients], norm


# %% 03.4 wrong: tells the norm after clipping
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = torch.stack([g.norm() for g in gradients]).norm().item()
    factor = max_norm / norm if norm > max_norm else 1.0
    return [g * factor for g in gradients], norm * factor


# %% 03.4 right: as one long vector, cut up again
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    whole = torch.cat([g.reshape(-1) for g in gradients])
    norm = whole.norm().item()
    if norm > max_norm:
        whole = whole * (max_norm / norm)
    parts = whole.split([g.numel() for g in gradients])
    return [part.reshape(g.shape) for part, g in zip(parts, gradients)], norm


# %% 03.5 wrong: tokens that were asked for and stayed have no label
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    how = torch.rand(input_ids.shape, generator=generator)
    other = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (how < 0.8), mask_id, input_ids)
    corrupted = torch.where(asked & (how >= 0.8) & (how < 0.9), other, corrupted)
    return corrupted, torch.where(corrupted != input_ids, input_ids, -100)


# %% 03.5 wrong: one row of draws serves all rows of the batch
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    length = input_ids.shape[1]
    asked = (torch.rand(length, generator=generator) < share) & (input_ids > 5)
    how = torch.rand(length, generator=generator)
    other = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (how < 0.8), mask_id, input_ids)
    corrupted = torch.where(asked & (how >= 0.8) & (how < 0.9), other, corrupted)
    return corrupted, torch.where(asked, input_ids, -100)


# %% 03.5 wrong: the random ids do not come from the generator (a third)
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    draw = torch.rand(2, *input_ids.shape, generator=generator)
    asked = (draw[0] < share) & (input_ids > 5)
    corrupted, labels = input_ids.clone(), input_ids.masked_fill(~asked, -100)
    corrupted[asked & (draw[1] < 0.8)] = mask_id
    swap = asked & (draw[1] >= 0.9)
    corrupted[swap] = torch.randint(6, vocab_size, (int(swap.sum()),))
    return corrupted, labels


# %% 03.5 right: one draw for each token decides everything
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    where = input_ids.device if generator is None else generator.device
    draw = torch.rand(input_ids.shape, generator=generator, device=where, dtype=torch.float64).to(input_ids.device)
    other = torch.randint(6, vocab_size, input_ids.shape, generator=generator, device=where).to(input_ids.device)
    draw = draw.masked_fill(input_ids < 6, 2.0)
    corrupted = input_ids.clone()
    corrupted[draw < 0.8 * share] = mask_id
    swap = (draw >= 0.8 * share) & (draw < 0.9 * share)
    corrupted[swap] = other[swap]
    return corrupted, input_ids.masked_fill(draw >= share, -100)


# %% 03.1 wrong: rolls the labels, so the last place is asked for the row's first token
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    targets = torch.roll(labels, -1, dims=1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


# %% 03.1 wrong: places that nobody asks for count in the mean
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    predicted, targets = logits[:, :-1], labels[:, 1:]
    each = F.cross_entropy(predicted.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    return each.mean()


# %% 03.1 wrong: a mean of the rows' means
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    predicted, targets = logits[:, :-1], labels[:, 1:]
    each = F.cross_entropy(predicted.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    counts = (targets != -100).sum(dim=1)
    rows = each.sum(dim=1)[counts > 0] / counts[counts > 0]
    return rows.mean()


# %% 03.1 wrong: logarithm of a softmax, infinite for large scores
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    predicted, targets = logits[:, :-1].softmax(dim=-1), labels[:, 1:]
    asked = targets != -100
    picked = predicted[asked].gather(1, targets[asked][:, None])
    return -picked.log().mean()


# %% 03.1 wrong: the mask is not shifted with the labels
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    log_probs = logits[:, :-1].log_softmax(dim=-1)
    targets = labels[:, 1:]
    picked = log_probs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    asked = (labels[:, :-1] != -100).to(picked.dtype)
    return -(picked * asked).sum() / asked.sum()


# %% 03.1 right: cross_entropy with ignore_index
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    predicted = logits[:, :-1].reshape(-1, logits.shape[-1])
    return F.cross_entropy(predicted, labels[:, 1:].reshape(-1), ignore_index=-100)


# %% 03.1 right: logsumexp by hand, row by row
def next_word_loss(logits: Tensor, labels: Tensor) -> Tensor:
    total, count = 0.0, 0
    for scores, tokens in zip(logits, labels):
        places = (tokens[1:] != -100).nonzero()[:, 0]
        if len(places) == 0:
            continue
        chosen = scores[places, tokens[places + 1]]
        total = total + (torch.logsumexp(scores[places], dim=-1) - chosen).sum()
        count += len(places)
    return total / count


# %% 03.2 wrong: multiplies by the mask, and NaN times 0 is NaN
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = (torch.arange(losses.shape[1]) < lengths[:, None]).to(losses.dtype)
    nats = (losses * mask).sum(dim=1)
    return nats / math.log(2), math.exp(nats.sum().item() / lengths.sum().item())


# %% 03.2 wrong: every document has the same weight in the perplexity
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = losses.masked_fill(~mask, 0.0).sum(dim=1)
    return nats / math.log(2), (nats / lengths).mean().exp().item()


# %% 03.2 wrong: e to the power of bits
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1]) < lengths[:, None]
    bits = torch.where(mask, losses, torch.zeros_like(losses)).sum(dim=1) / math.log(2)
    return bits, math.exp(bits.sum().item() / lengths.sum().item())


# %% 03.2 wrong: one place too many of each row
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    mask = torch.arange(losses.shape[1])[None] <= lengths[:, None]
    nats = losses.masked_fill(~mask, 0.0).sum(dim=1)
    return nats / math.log(2), math.exp(float(nats.sum()) / int(lengths.sum()))


# %% 03.2 wrong: trusts that all padding is NaN
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    nats = losses.nansum(dim=1)
    return nats / math.log(2), math.exp(nats.sum().item() / lengths.sum().item())


# %% 03.2 right: where, then sums
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    inside = torch.arange(losses.shape[1], device=losses.device) < lengths[:, None]
    nats = torch.where(inside, losses, torch.zeros_like(losses)).sum(dim=1)
    return nats / math.log(2), math.exp(nats.sum().item() / lengths.sum().item())


# %% 03.2 right: cuts each row at its length
def bits_and_perplexity(losses: Tensor, lengths: Tensor) -> tuple[Tensor, float]:
    bits, kept = [], []
    for row, n in zip(losses, lengths.tolist()):
        kept.append(row[:n])
        bits.append(row[:n].sum() / math.log(2))
    return torch.stack(bits), torch.cat(kept).mean().exp().item()


# %% 03.3 wrong: step 0 has a rate of 0
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


# %% 03.3 wrong: falls as if the fall had begun at step 0, with a leap behind the warm-up
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - step / steps)


# %% 03.3 wrong: divides by zero without a warm-up
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    climb = (step + 1) / warmup_steps
    fall = (steps - step) / (steps - warmup_steps)
    return peak * min(climb, fall)


# %% 03.3 wrong: the climb lasts one step too long and passes the peak
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if warmup_steps and step <= warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


# %% 03.3 wrong: reaches 0 at the last step already
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    last = steps - 1
    return peak * (last - step) / max(1, last - warmup_steps)


# %% 03.3 right: two branches
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


# %% 03.3 right: writes the whole schedule down and looks it up
def learning_rate_at(step: int, peak: float, steps: int, warmup_steps: int) -> float:
    parts = steps - warmup_steps
    table = [peak * part / warmup_steps for part in range(1, warmup_steps + 1)]
    table += [peak * part / parts for part in range(parts, 0, -1)]
    return table[step]


# %% 03.4 wrong: every tensor is clipped by its own norm
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
    clipped = []
    for g in gradients:
        own = g.norm().item()
        clipped.append(g * (max_norm / own) if own > max_norm else g.clone())
    return clipped, norm


# %% 03.4 wrong: adds up the norms instead of the squares
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = float(sum(torch.linalg.vector_norm(g) for g in gradients))
    if norm <= max_norm:
        return list(gradients), norm
    return [g * (max_norm / norm) for g in gradients], norm


# %% 03.4 wrong: small gradients are stretched to max_norm
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = float(torch.cat([g.flatten() for g in gradients]).norm())
    if norm == 0:
        return [g.clone() for g in gradients], 0.0
    return [g * (max_norm / norm) for g in gradients], norm


# %% 03.4 wrong: gradients of zeros divide by zero, again
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = sum(g.square().sum().item() for g in gradients) ** 0.5
    factor = min(1.0, max_norm / norm)
    return [g * factor for g in gradients], norm


# %% 03.4 wrong: scales the given tensors in place, again
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    norm = torch.stack([g.norm() for g in gradients]).norm().item()
    if norm > max_norm:
        for g in gradients:
            g.mul_(max_norm / norm)
    return gradients, norm


# %% 03.4 right: sum of squares in a loop, copies returned
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    squares = 0.0
    for g in gradients:
        squares += g.double().square().sum().item()
    norm = math.sqrt(squares)
    factor = max_norm / norm if norm > max_norm else 1.0
    return [g * factor for g in gradients], norm


# %% 03.4 right: one long vector, returned as it is if short enough
def clip_by_norm(gradients: list[Tensor], max_norm: float) -> tuple[list[Tensor], float]:
    whole = torch.cat([g.reshape(-1) for g in gradients])
    norm = torch.linalg.vector_norm(whole).item()
    if norm <= max_norm:
        return list(gradients), norm
    pieces = (whole * (max_norm / norm)).split([g.numel() for g in gradients])
    return [piece.reshape(g.shape) for piece, g in zip(pieces, gradients)], norm


# %% 03.5 wrong: a tenth of what is left becomes random, not a tenth of all asked for
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    labels = torch.where(asked, input_ids, -100)
    masked = asked & (torch.rand(input_ids.shape, generator=generator) < 0.8)
    changed = asked & ~masked & (torch.rand(input_ids.shape, generator=generator) < 0.1)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = torch.where(masked, mask_id, torch.where(changed, others, input_ids))
    return corrupted, labels


# %% 03.5 wrong: the random ids do not come from the generator, again
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    fate = torch.rand(input_ids.shape, generator=generator)
    corrupted, labels = input_ids.clone(), torch.full_like(input_ids, -100)
    labels[asked] = input_ids[asked]
    corrupted[asked & (fate < 0.8)] = mask_id
    changed = asked & (fate >= 0.8) & (fate < 0.9)
    corrupted[changed] = torch.randint_like(input_ids, 6, vocab_size)[changed]
    return corrupted, labels


# %% 03.5 wrong: the labels are read from the corrupted ids
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    ids = input_ids.clone()
    asked = (torch.rand(ids.shape, generator=generator) < share) & (ids > 5)
    fate = torch.rand(ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, ids.shape, generator=generator)
    ids = torch.where(asked & (fate < 0.8), mask_id, ids)
    ids = torch.where(asked & (fate >= 0.9), others, ids)
    labels = ids.masked_fill(~asked, -100)
    return ids, labels


# %% 03.5 wrong: special tokens end at 4, so id 5 is asked for
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    special = input_ids < 5
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & ~special
    labels = torch.where(asked, input_ids, torch.full_like(input_ids, -100))
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = input_ids.clone()
    corrupted[asked & (fate < 0.8)] = mask_id
    changed = asked & (fate >= 0.8) & (fate < 0.9)
    corrupted[changed] = others[changed]
    return corrupted, labels


# %% 03.5 wrong: takes randint's end as included, the last id of the vocabulary never comes
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids >= 6)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size - 1, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (fate < 0.8), mask_id, input_ids)
    corrupted = torch.where(asked & (fate >= 0.8) & (fate < 0.9), others, corrupted)
    return corrupted, torch.where(asked, input_ids, -100)


# %% 03.5 right: a draw for the choice, a draw for the fate
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    asked = (torch.rand(input_ids.shape, generator=generator) < share) & (input_ids > 5)
    fate = torch.rand(input_ids.shape, generator=generator)
    others = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    corrupted = torch.where(asked & (fate < 0.8), mask_id, input_ids)
    corrupted = torch.where(asked & (fate >= 0.8) & (fate < 0.9), others, corrupted)
    return corrupted, torch.where(asked, input_ids, -100)


# %% 03.5 right: a list of the places asked for, corrupted one by one
def mask_tokens(
    input_ids: Tensor,
    mask_id: int = 4,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    corrupted, labels = input_ids.clone(), torch.full_like(input_ids, -100)
    ordinary = (input_ids > 5).nonzero()
    chosen = ordinary[torch.rand(len(ordinary), generator=generator) < share].tolist()
    fates = torch.rand(len(chosen), generator=generator).tolist()
    others = torch.randint(6, vocab_size, (len(chosen),), generator=generator).tolist()
    for (row, place), fate, other in zip(chosen, fates, others):
        labels[row, place] = input_ids[row, place]
        if fate < 0.8:
            corrupted[row, place] = mask_id
        elif fate < 0.9:
            corrupted[row, place] = other
    return corrupted, labels
