"""Bugs of chapter 18 that its checks do not list, and other right answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _places(student, teacher, labels):
    places = labels != -100
    return student[places], teacher[places].detach(), labels[places]


def loss_by_kl_div_turned(student_logits, teacher_logits, labels, alpha, temperature):
    s, t, y = _places(student_logits, teacher_logits, labels)
    q, p = (s / temperature).log_softmax(-1), (t / temperature).log_softmax(-1)
    soft = F.kl_div(p, q, reduction="batchmean", log_target=True)
    return alpha * F.cross_entropy(s, y) + (1 - alpha) * temperature**2 * soft


def loss_by_elements(student_logits, teacher_logits, labels, alpha, temperature):
    s, t, y = _places(student_logits, teacher_logits, labels)
    soft = F.kl_div((s / temperature).log_softmax(-1), (t / temperature).softmax(-1), reduction="none").mean()
    return alpha * F.cross_entropy(s, y) + (1 - alpha) * temperature**2 * soft


def loss_with_labels_only(student_logits, teacher_logits, labels, alpha, temperature):
    s, t, y = _places(student_logits, teacher_logits, labels)
    return F.cross_entropy(s, y)


def loss_of_every_place(student_logits, teacher_logits, labels, alpha, temperature):
    s, _, y = _places(student_logits, teacher_logits, labels)
    q, p = ((x / temperature).log_softmax(-1) for x in (student_logits, teacher_logits.detach()))
    soft = F.kl_div(q, p, reduction="none", log_target=True).sum(-1).mean()
    return alpha * F.cross_entropy(s, y) + (1 - alpha) * temperature**2 * soft


def loss_by_kl_div(student_logits, teacher_logits, labels, alpha, temperature):
    s, t, y = _places(student_logits, teacher_logits, labels)
    q, p = (s / temperature).log_softmax(-1), (t / temperature).softmax(-1)
    soft = F.kl_div(q, p, reduction="batchmean")
    return alpha * F.cross_entropy(s, y) + (1 - alpha) * soft * temperature**2


def loss_by_loop(student_logits, teacher_logits, labels, alpha, temperature):
    total, count = 0.0, 0
    for row, place in (labels != -100).nonzero().tolist():
        s, t = student_logits[row, place], teacher_logits[row, place].detach()
        q = torch.log_softmax(s / temperature, -1)
        p = torch.softmax(t / temperature, -1)
        soft = (p * (p.log() - q)).sum() * temperature**2
        hard = -torch.log_softmax(s, -1)[labels[row, place]]
        total, count = total + alpha * hard + (1 - alpha) * soft, count + 1
    return total / count


def _logs(student, teacher, temperature):
    return (student / temperature).log_softmax(-1), (teacher / temperature).log_softmax(-1)


def _kl(a, b):
    return torch.xlogy(a.exp(), a.exp()).sub(a.exp() * b).sum(-1)


def divergence_turned(student_logits, teacher_logits, beta, temperature):
    return divergence_by_xlogy(teacher_logits, student_logits, beta, temperature)


def divergence_symmetric(student_logits, teacher_logits, beta, temperature):
    q, p = _logs(student_logits, teacher_logits, temperature)
    if beta in (0, 1):
        return _kl(q, p) if beta else _kl(p, q)
    m = ((p.exp() + q.exp()) / 2).log()
    return (_kl(p, m) + _kl(q, m)) / 2


def divergence_mean_over_vocabulary(student_logits, teacher_logits, beta, temperature):
    return divergence_by_xlogy(student_logits, teacher_logits, beta, temperature) / student_logits.shape[-1]


def divergence_by_xlogy(student_logits, teacher_logits, beta, temperature):
    q, p = _logs(student_logits, teacher_logits, temperature)
    if beta == 0:
        return _kl(p, q)
    if beta == 1:
        return _kl(q, p)
    m = torch.logsumexp(torch.stack([p + torch.log(torch.tensor(beta)), q + torch.log1p(-torch.tensor(beta))]), dim=0)
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


def divergence_by_kl_div(student_logits, teacher_logits, beta, temperature):
    q, p = ((x / temperature).softmax(-1) for x in (student_logits, teacher_logits))

    def kl(a, b):
        return F.kl_div(b.log(), a, reduction="none").sum(-1)

    if beta == 0:
        return kl(p, q)
    if beta == 1:
        return kl(q, p)
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


def labels_without_a_stop(input_ids, prompt_lengths, stop_id):
    out = torch.full_like(input_ids, -100)
    for row, n in enumerate(prompt_lengths.tolist()):
        for place in range(n, input_ids.shape[1]):
            if input_ids[row, place] == stop_id:
                break
            out[row, place] = input_ids[row, place]
    return out


def labels_by_position_of_any_stop(input_ids, prompt_lengths, stop_id):
    out = input_ids.clone()
    for row, n in enumerate(prompt_lengths.tolist()):
        out[row, :n] = -100
        stops = (input_ids[row] == stop_id).nonzero()[:, 0]
        if len(stops):
            out[row, int(stops[0]) + 1 :] = -100
    return out


def labels_to_the_end(input_ids, prompt_lengths, stop_id):
    out = input_ids.clone()
    for row, n in enumerate(prompt_lengths.tolist()):
        out[row, :n] = -100
    return out


def labels_by_loop(input_ids, prompt_lengths, stop_id):
    out = torch.full_like(input_ids, -100)
    for row, n in enumerate(prompt_lengths.tolist()):
        for place in range(n, input_ids.shape[1]):
            out[row, place] = input_ids[row, place]
            if input_ids[row, place] == stop_id:
                break
    return out


def labels_by_argmax(input_ids, prompt_lengths, stop_id):
    places = torch.arange(input_ids.shape[1])[None]
    stops = (input_ids == stop_id) & (places >= prompt_lengths[:, None])
    end = torch.where(stops.any(1), stops.int().argmax(1), input_ids.shape[1])
    inside = (places >= prompt_lengths[:, None]) & (places <= end[:, None])
    return torch.where(inside, input_ids, torch.tensor(-100))


def _rows(heads, size):
    return [row for h in heads for row in range(h * size, (h + 1) * size)]


def prune_rows_of_all(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    times = len(q_proj) // len(k_proj)
    wide, narrow = _rows(sorted(keep), times * head_dim), _rows(sorted(keep), head_dim)
    return q_proj[wide], k_proj[narrow], v_proj[narrow], o_proj[[w % len(o_proj) for w in wide]]


def prune_without_groups(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    narrow = _rows(sorted(keep), head_dim)
    return q_proj[narrow], k_proj[narrow], v_proj[narrow], o_proj[:, narrow]


def prune_in_given_order(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    times = len(q_proj) // len(k_proj)
    wide, narrow = _rows(keep, times * head_dim), _rows(keep, head_dim)
    return q_proj[wide], k_proj[narrow], v_proj[narrow], o_proj[:, wide]


def prune_by_view(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    kv, kept = len(k_proj) // head_dim, sorted(keep)
    hidden = q_proj.shape[1]
    q = q_proj.view(kv, -1, hidden)[kept].flatten(0, 1)
    k, v = (x.view(kv, head_dim, hidden)[kept].flatten(0, 1) for x in (k_proj, v_proj))
    return q, k, v, o_proj.view(len(o_proj), kv, -1)[:, kept].flatten(1)


def prune_by_mask(q_proj, k_proj, v_proj, o_proj, keep, head_dim):
    stays = torch.tensor([h in keep for h in range(len(k_proj) // head_dim)])
    narrow = stays.repeat_interleave(head_dim)
    wide = stays.repeat_interleave(len(q_proj) // len(stays))
    return [q_proj[wide], k_proj[narrow], v_proj[narrow], o_proj[:, wide]]


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "18.1": {
        loss_by_kl_div_turned: "That is KL(student || teacher)",
        loss_by_elements: "The divergence is averaged over the vocabulary too",
        loss_with_labels_only: "The teacher's part is missing",
        loss_of_every_place: "The divergence counts places without a label too",
    },
    "18.2": {
        divergence_turned: "Student and teacher have changed places",
        divergence_symmetric: "Mixture and weights are one half",
        divergence_mean_over_vocabulary: "Not KL(teacher || student)",
    },
    "18.3": {
        labels_without_a_stop: "The stop token itself is left out",
        labels_by_position_of_any_stop: "A stop token of the prompt",
        labels_to_the_end: "What comes after the end",
    },
    "18.4": {
        prune_rows_of_all: "o_proj loses rows",
        prune_without_groups: "q_proj keeps one query head",
        prune_in_given_order: "The heads are put in the order of `keep`",
    },
}
RIGHT = {
    "18.1": [loss_by_kl_div, loss_by_loop],
    "18.2": [divergence_by_xlogy, divergence_by_kl_div],
    "18.3": [labels_by_loop, labels_by_argmax],
    "18.4": [prune_by_view, prune_by_mask],
}
