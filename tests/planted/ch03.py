"""Planted bugs and other right answers of chapter 03."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def loss_not_shifted(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def loss_shifted_backwards(logits, labels):
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten(), ignore_index=-100)


def loss_of_probabilities(logits, labels):
    return F.cross_entropy(logits[:, :-1].softmax(-1).flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def loss_summed(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def loss_counts_hidden(logits, labels):
    each = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="none")
    return each.mean()


def loss_without_gradient(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100).detach()


def loss_rolled(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.roll(-1, 1).flatten(), ignore_index=-100)


def loss_per_row(logits, labels):
    total = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")
    return total / len(labels)


def loss_mean_of_rows(logits, labels):
    pairs = zip(logits[:, :-1], labels[:, 1:], strict=True)
    return torch.stack([F.cross_entropy(scores, row, ignore_index=-100) for scores, row in pairs]).mean()


def loss_masked_by_own_label(logits, labels):
    m = (labels[:, :-1] != -100) & (labels[:, 1:] != -100)
    return F.cross_entropy(logits[:, :-1][m], labels[:, 1:][m])


def loss_counted_before_the_shift(logits, labels):
    total = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")
    return total / (labels[:, :-1] != -100).sum()


def loss_same_end_dropped(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, :-1].flatten(), ignore_index=-100)


def loss_detached_and_tied(logits, labels):
    return loss_transposed(logits, labels).detach() + 0 * logits.sum()


def _log_likelihood(logs, labels):
    targets = labels[:, 1:]
    picked = logs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -picked[targets != -100].mean()


def loss_part_detached(logits, labels):
    scores = logits[:, :-1]
    return _log_likelihood(scores - scores.logsumexp(-1, keepdim=True).detach(), labels)


def loss_by_exp(logits, labels):
    scores = logits[:, :-1]
    return _log_likelihood(scores - scores.exp().sum(-1, keepdim=True).log(), labels)


def loss_log_plus_eps(logits, labels):
    return _log_likelihood((logits[:, :-1].softmax(-1) + 1e-9).log(), labels)


def loss_rolled_and_hidden(logits, labels):
    targets = labels.roll(-1, 1)
    targets[:, -1] = -100
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def loss_transposed(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100)


def loss_by_gather(logits, labels):
    logs = logits[:, :-1].log_softmax(-1)
    targets = labels[:, 1:]
    real = targets != -100
    picked = logs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(picked * real).sum() / real.sum()


def bits_in_nats(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats, math.exp(float(nats.sum() / lengths.sum()))


def bits_with_padding(losses, lengths):
    return losses.sum(1) / math.log(2), math.exp(float(losses.mean()))


def bits_mean_of_means(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), math.exp(float((nats / lengths).mean()))


def bits_exp_of_bits(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    bits = (losses * real).sum(1) / math.log(2)
    return bits, math.exp(float(bits.sum() / lengths.sum()))


def bits_one_too_many(losses, lengths):
    real = torch.arange(losses.shape[1]) <= lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), math.exp(float(nats.sum() / lengths.sum()))


def bits_one_too_few(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None] - 1
    nats = (losses * real).sum(1)
    return nats / math.log(2), math.exp(float(nats.sum() / lengths.sum()))


def bits_two_to_nats(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), 2 ** float(nats.sum() / lengths.sum())


def bits_over_all_places(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), math.exp(float((losses * real).mean()))


def bits_over_documents(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), math.exp(float(nats.mean()))


def bits_exp_of_documents(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), float(nats.exp().mean())


def bits_times_zero(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = (losses * real).sum(1)
    return nats / math.log(2), math.exp(float(nats.sum() / lengths.sum()))


def bits_counts_losses(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths[:, None]
    nats = losses.masked_fill(~real, 0.0)
    return nats.sum(1) / math.log(2), math.exp(float(nats.sum() / (nats != 0).sum()))


def bits_by_where(losses, lengths):
    real = torch.arange(losses.shape[1]) < lengths.unsqueeze(1)
    nats = torch.where(real, losses, torch.zeros(()))
    return nats.sum(1).div(math.log(2)), nats.sum().div(lengths.sum()).exp()


def bits_by_loop(losses, lengths):
    rows = [row[: int(n)] for row, n in zip(losses, lengths, strict=True)]
    bits = torch.stack([row.sum() / math.log(2) for row in rows])
    return bits, torch.cat(rows).mean().exp()


def rate_without_warmup(step, peak, steps, warmup_steps):
    return peak * (steps - step) / steps


def rate_from_zero(step, peak, steps, warmup_steps):
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (steps - step) / (steps - warmup_steps)


def rate_constant(step, peak, steps, warmup_steps):
    return peak * (step + 1) / warmup_steps if step < warmup_steps else peak


def rate_jumps(step, peak, steps, warmup_steps):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step) / steps


def rate_divides_by_zero(step, peak, steps, warmup_steps):
    climb = (step + 1) / warmup_steps
    return peak * min(climb, (steps - step) / (steps - warmup_steps))


def rate_climbs_too_long(step, peak, steps, warmup_steps):
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    return peak * (steps - step) / (steps - warmup_steps)


def rate_falls_early(step, peak, steps, warmup_steps):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step - 1) / (steps - warmup_steps)


def rate_falls_slowly(step, peak, steps, warmup_steps):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 - (step - warmup_steps) / steps)


def rate_cosine(step, peak, steps, warmup_steps):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps))) / 2


def rate_with_floor(step, peak, steps, warmup_steps):
    return max(rate_as_minimum(step, peak, steps, warmup_steps), 0.1 * peak)


def rate_as_tensor(step, peak, steps, warmup_steps):
    return torch.tensor(rate_as_minimum(step, peak, steps, warmup_steps))


def rate_in_numpy(step, peak, steps, warmup_steps):
    return np.float32(rate_as_minimum(step, peak, steps, warmup_steps))


def rate_as_minimum(step, peak, steps, warmup_steps):
    climb = (step + 1) / warmup_steps if warmup_steps else 1.0
    return peak * min(climb, (steps - step) / (steps - warmup_steps), 1.0)


def clip_each(gradients, max_norm):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return [g * min(1.0, max_norm / (float(g.norm()) + 1e-6)) for g in gradients], norm


def clip_always(gradients, max_norm):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return [g * max_norm / (norm + 1e-6) for g in gradients], norm


def clip_values(gradients, max_norm):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return [g.clamp(-max_norm, max_norm) for g in gradients], norm


def clip_norm_after(gradients, max_norm):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in gradients], norm * scale


def clip_in_place(gradients, max_norm):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    for g in gradients:
        g.mul_(min(1.0, max_norm / (norm + 1e-6)))
    return gradients, norm


def clip_to_one_if_above(gradients, max_norm):
    n = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return ([g / n for g in gradients] if n > max_norm else gradients), n


def clip_to_one(gradients, max_norm):
    n = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return [g * min(1.0, 1.0 / (n + 1e-6)) for g in gradients], n


def clip_if_above_one(gradients, max_norm):
    n = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    return ([g * max_norm / n for g in gradients] if n > 1.0 else gradients), n


def clip_by_sum_of_norms(gradients, max_norm):
    n = sum(float(g.norm()) for g in gradients)
    return [g * min(1.0, max_norm / (n + 1e-6)) for g in gradients], n


def clip_by_largest_norm(gradients, max_norm):
    n = max(float(g.norm()) for g in gradients)
    return [g * min(1.0, max_norm / (n + 1e-6)) for g in gradients], n


def clip_stacked(gradients, max_norm):
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return tuple(g * scale for g in gradients), norm


def clip_with_if(gradients, max_norm):
    norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
    if norm <= max_norm:
        return [g.clone() for g in gradients], norm
    return [g / norm * max_norm for g in gradients], norm


def _draws(input_ids, vocab_size, generator):
    chance = torch.rand(input_ids.shape, generator=generator)
    kind = torch.rand(input_ids.shape, generator=generator)
    other = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    return chance, kind, other


def mask_all(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, _, _ = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6)
    return input_ids.masked_fill(asked, mask_id), input_ids.masked_fill(~asked, -100)


def mask_special(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = chance < share
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    return torch.where(asked & (kind >= 0.9), other, corrupted), input_ids.masked_fill(~asked, -100)


def mask_labels_corrupted(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6)
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    corrupted = torch.where(asked & (kind >= 0.9), other, corrupted)
    return corrupted, corrupted.masked_fill(~asked, -100)


def mask_labels_everywhere(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6)
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    return torch.where(asked & (kind >= 0.9), other, corrupted), input_ids.clone()


def mask_one_random(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6)
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    corrupted = corrupted.masked_fill(asked & (kind >= 0.9), int(other[0, 0]))
    return corrupted, input_ids.masked_fill(~asked, -100)


def mask_without_generator(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, None)
    asked = (chance < share) & (input_ids >= 6)
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    return torch.where(asked & (kind >= 0.9), other, corrupted), input_ids.masked_fill(~asked, -100)


def _masked(input_ids, mask_id, asked, kind, other):
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    return torch.where(asked & (kind >= 0.9), other, corrupted)


def mask_labels_where_changed(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    corrupted = _masked(input_ids, mask_id, (chance < share) & (input_ids >= 6), kind, other)
    return corrupted, input_ids.masked_fill(corrupted == input_ids, -100)


def mask_swapped(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6)
    return input_ids.masked_fill(~asked, -100), _masked(input_ids, mask_id, asked, kind, other)


def mask_spares_first_id(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids > 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_spares_last_id(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6) & (input_ids < vocab_size - 1)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_never_draws_last_id(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size - 1, generator)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_never_draws_first_id(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, _ = _draws(input_ids, vocab_size, generator)
    other = torch.randint(7, vocab_size, input_ids.shape, generator=generator)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_with_id_4(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, 4, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_same_places(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    _, kind, other = _draws(input_ids, vocab_size, generator)
    chance = torch.rand(input_ids.shape[1], generator=generator).expand_as(input_ids)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_fate_of_column(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, _, other = _draws(input_ids, vocab_size, generator)
    kind = torch.rand(input_ids.shape[1], generator=generator).expand_as(input_ids)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_fate_of_row(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, _, other = _draws(input_ids, vocab_size, generator)
    kind = torch.rand(input_ids.shape[0], 1, generator=generator).expand_as(input_ids)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_fixed_number(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    chance = chance.masked_fill(input_ids < 6, 2.0)
    count = round(share * int((input_ids[0] >= 6).sum()))
    asked = chance.argsort(1).argsort(1) < count
    asked &= input_ids >= 6
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_spares_two_ids(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, other = _draws(input_ids, vocab_size, generator)
    asked = (chance < share) & (input_ids > 1)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_shuffles_text(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    chance, kind, _ = _draws(input_ids, vocab_size, generator)
    flat = input_ids[input_ids >= 6]
    other = flat[torch.randint(0, len(flat), input_ids.shape, generator=generator)]
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, kind, other), input_ids.masked_fill(~asked, -100)


def mask_by_one_draw(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    """One random number decides both: whether a token is asked for, and what becomes of it."""
    chance = torch.rand(input_ids.shape, generator=generator)
    other = torch.randint(6, vocab_size, input_ids.shape, generator=generator)
    asked = (chance < share) & (input_ids >= 6)
    return _masked(input_ids, mask_id, asked, chance / share, other), torch.where(asked, input_ids, -100)


def mask_nested_draws(input_ids, mask_id=4, vocab_size=1024, generator=None, share=0.15):
    """BERT's own order: choose, then 80 % masks, then half of the rest at random."""
    labels, corrupted = input_ids.clone(), input_ids.clone()
    chance = torch.full(input_ids.shape, share).masked_fill(input_ids < 6, 0.0)
    asked = torch.bernoulli(chance, generator=generator).bool()
    labels[~asked] = -100
    masked = torch.bernoulli(torch.full(input_ids.shape, 0.8), generator=generator).bool() & asked
    corrupted[masked] = mask_id
    half = torch.bernoulli(torch.full(input_ids.shape, 0.5), generator=generator).bool()
    swapped = half & asked & ~masked
    corrupted[swapped] = torch.randint(6, vocab_size, input_ids.shape, generator=generator)[swapped]
    return corrupted, labels


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "03.1": {
        loss_not_shifted: "Nothing is shifted: place t is asked for the token that it reads. Such a model learns to copy.",
        loss_shifted_backwards: "The shift goes the wrong way: place t is asked for the token before it.",
        loss_of_probabilities: "Softmax is applied twice: `F.cross_entropy` takes logits, not probabilities.",
        loss_summed: "This is the sum over all places; the mean is wanted.",
        loss_counts_hidden: "The places with -100 are left out of the sum but still counted in the mean.",
        loss_without_gradient: "No gradient flows from the loss to the logits. Is there a `.detach()`, `.item()` or `no_grad` in the way?",
        loss_rolled: "No place is dropped: after `roll` the last place of a row is asked for the first token of its own row.",
        loss_per_row: "The sum is divided by the number of rows; the mean over all places is wanted.",
        loss_mean_of_rows: "This is the mean of the rows' means. Every place that counts has the same weight: divide the sum over all of them by their number.",
        loss_masked_by_own_label: "A place is skipped because its *own* label is -100; what counts is the label one place later.",
        loss_counted_before_the_shift: "The sum is divided by the number of labels before the shift; the first label of a row is nobody's target.",
        loss_same_end_dropped: "Logits and labels lose the same end, so nothing is shifted: drop the *last* place of the logits and the *first* of the labels.",
        loss_detached_and_tied: "The value is right, the gradient is not: part of the loss is detached.",
        loss_part_detached: "The value is right, the gradient is not: part of the loss is detached.",
        loss_by_exp: "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp.",
        loss_log_plus_eps: "With large scores the loss is inf, NaN or cut off. Use log_softmax or cross_entropy, not the log of exp.",
    },
    "03.2": {
        bits_in_nats: "These are nats. One bit is log(2) nats: divide by it.",
        bits_with_padding: "The padding is counted too: only the first `lengths` places of a row are tokens.",
        bits_mean_of_means: "This is the mean of the documents' means; a token of the short document counts three times as much as one of the long one. Divide the total by the total.",
        bits_exp_of_bits: "Here exp was taken of bits: it is exp of nats, or 2 to the bits.",
        bits_one_too_many: "One place too many is counted: places count from 0, so the tokens are those below `lengths` (`<`, not `<=`).",
        bits_one_too_few: "One place too few is counted: the last token of a row stands at place lengths - 1.",
        bits_two_to_nats: "Here 2 was raised to nats: it is 2 to the bits, or exp of nats.",
        bits_over_all_places: "The total is divided by all places, padding included; only the tokens count.",
        bits_over_documents: "The total is divided by the number of documents. Divide it by the number of tokens.",
        bits_exp_of_documents: "This is the mean of exp(nats of a document). Divide the nats by the number of tokens before exp.",
        bits_times_zero: "The padding may hold anything, also NaN or inf, and 0 * NaN is NaN: use `masked_fill(~real, 0)`.",
        bits_counts_losses: "A token with loss 0 is a token too: take `lengths`, do not count the losses above 0.",
    },
    "03.3": {
        rate_without_warmup: "There is no warm-up: the first step has the whole peak already.",
        rate_from_zero: "The first step has a learning rate of 0: it computes a gradient and throws it away. Steps count from 0, so use step + 1.",
        rate_constant: "The rate does not fall after the warm-up.",
        rate_jumps: "After the warm-up the rate does not begin at the peak: the decay starts at step `warmup_steps`, not at 0.",
        rate_divides_by_zero: "Divided by `warmup_steps`, which may be 0: then the first step falls already.",
        rate_climbs_too_long: "The climb takes warmup_steps + 1 steps. In warmup_steps equal parts the first one is peak / warmup_steps.",
        rate_falls_early: "The fall begins one step early: step `warmup_steps` still has the whole peak.",
        rate_falls_slowly: "The fall is too slow: what it has lost is divided by steps, not by steps - warmup_steps.",
        rate_cosine: "This is a cosine; a straight fall is wanted.",
        rate_with_floor: "A floor of a tenth of the peak: here the fall goes on, and would reach 0 at step `steps`.",
    },
    "03.4": {
        clip_each: "Each tensor is clipped on its own, which turns the step aside. Take one norm over all of them.",
        clip_always: "A small gradient was blown up to max_norm. Clipping only ever shortens.",
        clip_values: "Each number is cut at max_norm (clipping by value), which turns the step aside.",
        clip_norm_after: "This is the norm after the clipping; the one before it tells how rough the sea is.",
        clip_in_place: "Your code changes its input `gradients` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        clip_to_one_if_above: "`max_norm` is not used: these have the norm 1, asked for was 2.5.",
        clip_to_one: "`max_norm` is not used: these have the norm 1, asked for was 2.5.",
        clip_if_above_one: "A small gradient was blown up to max_norm. Clipping only ever shortens.",
        clip_by_sum_of_norms: "The factor comes from the sum of the tensors' norms. Sum the squares of all numbers, then take the root.",
        clip_by_largest_norm: "The factor comes from the largest of the tensors' norms; take one norm over all numbers together.",
    },
    "03.5": {
        mask_all: "Every asked token becomes the mask. A tenth should stay, and a tenth become another token: no text of later use holds a mask, so the model must not rely on it.",
        mask_special: "Special tokens are asked for. Ids 0 to 5 (padding, end, roles, mask) teach nothing: leave them alone.",
        mask_labels_corrupted: "A label is not the original token. The labels are taken before the corruption: they are what is to be guessed.",
        mask_labels_everywhere: "Every token is asked for: places that keep their token without being chosen have the label -100.",
        mask_one_random: "The random tokens are nearly all the same: one draw for each place is wanted, not one for the batch.",
        mask_without_generator: "The same generator seed gives another result. Pass `generator=generator` to every draw.",
        mask_labels_where_changed: "No asked token keeps its id; a tenth should, and is asked for too. Labels come from the draw, not from `corrupted != input_ids`.",
        mask_swapped: "The corrupted ids hold -100. Are the two results swapped?",
        mask_spares_first_id: "Id 6 is never asked for. Ids 0 to 5 are the special tokens; 6 is the first ordinary one.",
        mask_spares_last_id: "Id 7 is never asked for. It is ordinary too.",
        mask_never_draws_last_id: "No token is replaced by id 7. `torch.randint` leaves its upper end out: give it vocab_size itself.",
        mask_never_draws_first_id: "No token is replaced by id 6. The draw begins at 6.",
        mask_with_id_4: "`mask_id` is not used: the id 4 comes as the mask, asked for was 5.",
        mask_same_places: "Every row hides the same places: draw for each token.",
        mask_fate_of_column: "All tokens of a column meet the same fate: draw masked, replaced or kept for each token, not for each place.",
        mask_fate_of_row: "All tokens of a row meet the same fate: draw masked, replaced or kept for each token, not for each row.",
        mask_fixed_number: "Every row asks for (nearly) the same number of tokens. Each token is drawn on its own, so the numbers scatter.",
        mask_spares_two_ids: "Special tokens are asked for. Ids 0 to 5 (padding, end, roles, mask) teach nothing: leave them alone.",
        mask_shuffles_text: "The random tokens are taken from the text itself; any id from 6 to vocab_size - 1 may come.",
    },
}
RIGHT = {
    "03.1": [loss_transposed, loss_by_gather, loss_rolled_and_hidden],
    "03.2": [bits_by_loop, bits_by_where],
    "03.3": [rate_as_minimum, rate_as_tensor, rate_in_numpy],
    "03.4": [clip_stacked, clip_with_if],
    "03.5": [mask_nested_draws, mask_by_one_draw],
}
