"""Planted bugs and other right answers of chapter 08."""

from __future__ import annotations

import random
import re
from collections import Counter

import numpy as np
import torch


def fertility_mean_of_ratios(texts, encode):
    if not any(text.split() for text in texts):
        raise ValueError("no word")
    return sum(len(encode(text)) / len(text.split()) for text in texts) / len(texts)


def fertility_upside_down(texts, encode):
    if not any(text.split() for text in texts):
        raise ValueError("no word")
    return sum(len(text.split()) for text in texts) / sum(len(encode(text)) for text in texts)


def fertility_of_kinds(texts, encode):
    kinds = {word for text in texts for word in text.split()}
    if not kinds:
        raise ValueError("no word")
    return sum(len(encode(word)) for word in kinds) / len(kinds)


def fertility_single_spaces(texts, encode):
    if not any(text.split() for text in texts):
        raise ValueError("no word")
    return sum(len(encode(text)) for text in texts) / sum(len(text.split(" ")) for text in texts)


def fertility_per_letter(texts, encode):
    letters = sum(len(word) for text in texts for word in text.split())
    if not letters:
        raise ValueError("no word")
    return sum(len(encode(text)) for text in texts) / letters


def fertility_without_words(texts, encode):
    words = sum(len(text.split()) for text in texts)
    return sum(len(encode(text)) for text in texts) / words if words else 0.0


def fertility_continued(texts, encode):
    words = [word for text in texts for word in text.split()]
    if not words:
        raise ValueError("no word")
    return sum(len(encode(word)) > 1 for word in words) / len(words)


def fertility_first_text(texts, encode):
    if not texts[0].split():
        raise ValueError("no word")
    return len(encode(texts[0])) / len(texts[0].split())


def fertility_of_letters(texts, encode):
    words = [word for text in texts for word in re.findall(r"\w+", text)]
    if not words:
        raise ValueError("no word")
    return sum(len(encode(word)) for word in words) / len(words)


def fertility_refuses_blanks(texts, encode):
    if not all(text.split() for text in texts):
        raise ValueError("no word")
    return sum(len(encode(text)) for text in texts) / sum(len(text.split()) for text in texts)


def fertility_joined(texts, encode):
    whole = " ".join(texts)
    if not whole.split():
        raise ValueError("no word")
    return len(encode(whole)) / len(whole.split())


def fertility_word_by_word(texts, encode):
    words = [word for text in texts for word in text.split()]
    if not words:
        raise ValueError("no word")
    return float(np.mean([len(encode(word)) for word in words]))


def fertility_without_blank_texts(texts, encode):
    texts = [text for text in texts if text.split()]
    if not texts:
        raise ValueError("no word")
    return sum(len(encode(text)) for text in texts) / sum(len(text.split()) for text in texts)


def fertility_by_white_space(texts, encode):
    words = sum(len(re.findall(r"\S+", text)) for text in texts)
    if words == 0:
        raise ValueError("no word")
    return float(np.sum([len(encode(text)) for text in texts]) / words)


def fertility_by_loop(texts, encode):
    tokens = words = 0
    for text in texts:
        tokens += len(encode(text))
        words += len(text.split())
    if not words:
        raise ValueError("no word")
    return tokens / words


def rows_only_new(weight, pieces):
    return torch.stack([weight[ids].mean(0) for ids in pieces])


def rows_above(weight, pieces):
    return torch.cat([torch.stack([weight[ids].mean(0) for ids in pieces]), weight])


def rows_summed(weight, pieces):
    return torch.cat([weight, torch.stack([weight[ids].sum(0) for ids in pieces])])


def rows_mean_of_all(weight, pieces):
    return torch.cat([weight, weight.mean(0).expand(len(pieces), -1)])


def rows_first_piece(weight, pieces):
    return torch.cat([weight, weight[[ids[0] for ids in pieces]]])


def rows_as_sets(weight, pieces):
    return torch.cat([weight, torch.stack([weight[list(set(ids))].mean(0) for ids in pieces])])


def rows_zero(weight, pieces):
    return torch.cat([weight, torch.zeros(len(pieces), weight.shape[1])])


def rows_reversed(weight, pieces):
    return torch.cat([weight, torch.stack([weight[ids].mean(0) for ids in reversed(pieces)])])


def rows_padded_mean(weight, pieces):
    return torch.cat([weight, torch.stack([weight[ids].sum(0) / max(map(len, pieces)) for ids in pieces])])


def rows_in_place(weight, pieces):
    new = torch.stack([weight[ids].mean(0) for ids in pieces])
    weight -= weight.mean(0)
    return torch.cat([weight, new])


def rows_by_loop(weight, pieces):
    grown = weight.new_empty(len(weight) + len(pieces), weight.shape[1])
    grown[: len(weight)] = weight
    for place, ids in enumerate(pieces, start=len(weight)):
        grown[place] = sum(weight[i] for i in ids) / len(ids)
    return grown


def rows_by_matrix(weight, pieces):
    shares = torch.zeros(len(pieces), len(weight), dtype=weight.dtype)
    for row, ids in enumerate(pieces):
        for i in ids:
            shares[row, i] += 1 / len(ids)
    return torch.cat([weight, shares @ weight], dim=0)


def plan_rounded(step, batch_size, share):
    old = round(batch_size * share)
    return range(step * (batch_size - old), (step + 1) * (batch_size - old)), range(step * old, (step + 1) * old)


def plan_rounded_up(step, batch_size, share):
    old = int(np.ceil(batch_size * share))
    return range(step * (batch_size - old), (step + 1) * (batch_size - old)), range(step * old, (step + 1) * old)


def plan_from_zero(step, batch_size, share):
    old = int(share * (step + 1) * batch_size) - int(share * step * batch_size)
    return range(batch_size - old), range(old)


def plan_exchanged(step, batch_size, share):
    before, after = int(share * step * batch_size), int(share * (step + 1) * batch_size)
    return range(before, after), range(step * batch_size - before, (step + 1) * batch_size - after)


def plan_from_one(step, batch_size, share):
    before, after = int(share * (step - 1) * batch_size + 1e-9), int(share * step * batch_size + 1e-9)
    return range((step - 1) * batch_size - before, step * batch_size - after), range(before, after)


def plan_in_addition(step, batch_size, share):
    before, after = int(share * step * batch_size + 1e-9), int(share * (step + 1) * batch_size + 1e-9)
    return range(step * batch_size, (step + 1) * batch_size), range(before, after)


def plan_by_chance(step, batch_size, share):
    old = sum(random.random() < share for _ in range(batch_size))
    return range(step * batch_size, (step + 1) * batch_size - old), range(old)


def plan_with_gaps(step, batch_size, share):
    before, after = int(share * step * batch_size), int(share * (step + 1) * batch_size)
    return range(step * batch_size, (step + 1) * batch_size - (after - before)), range(before, after)


def plan_blocks(step, batch_size, share):
    """All the old rows of twenty steps at once, in the last of them."""

    def upto(n):
        return int(share * (n // 20 * 20) * batch_size)

    before, after = upto(step), upto(step + 1)
    return range(step * batch_size - before, (step + 1) * batch_size - after), range(before, after)


def plan_rounded_total(step, batch_size, share):
    before, after = (int(share * n * batch_size + 1e-9) for n in (step, step + 1))
    return list(range(step * batch_size - before, (step + 1) * batch_size - after)), list(range(before, after))


def plan_nearest(step, batch_size, share):
    before, after = round(share * step * batch_size), round(share * (step + 1) * batch_size)
    return range(step * batch_size - before, (step + 1) * batch_size - after), range(before, after)


def plan_by_rows(step, batch_size, share):
    places = range(step * batch_size, (step + 1) * batch_size)
    old = [int(share * (place + 1)) > int(share * place) for place in places]
    before = int(share * step * batch_size)
    first = step * batch_size - before
    return range(first, first + old.count(False)), range(before, before + old.count(True))


def penalty_without_half(parameters, start, strength):
    return strength * sum((parameters[n] - old).square().sum() for n, old in start.items())


def penalty_mean(parameters, start, strength):
    gaps = torch.cat([(parameters[n] - old).flatten() for n, old in start.items()])
    return strength / 2 * gaps.square().mean()


def penalty_to_zero(parameters, start, strength):
    return strength / 2 * sum(parameters[n].square().sum() for n in start)


def penalty_holds_all(parameters, start, strength):
    return strength / 2 * sum((value - start.get(n, 0)).square().sum() for n, value in parameters.items())


def penalty_root(parameters, start, strength):
    return strength / 2 * sum((parameters[n] - old).square().sum() for n, old in start.items()).sqrt()


def penalty_detached(parameters, start, strength):
    return strength / 2 * sum((parameters[n].detach() - old).square().sum() for n, old in start.items())


def penalty_first_only(parameters, start, strength):
    name, old = next(iter(start.items()))
    return strength / 2 * (parameters[name] - old).square().sum()


def penalty_sign(parameters, start, strength):
    return -strength / 2 * sum((parameters[n] - old).square().sum() for n, old in start.items())


def penalty_by_count(parameters, start, strength):
    return strength * sum((parameters[n] - old).square().sum() for n, old in start.items()) / len(start)


def penalty_of_squares(parameters, start, strength):
    return strength / 2 * sum((parameters[n].square() - old.square()).sum() for n, old in start.items())


def penalty_flat(parameters, start, strength):
    gaps = torch.cat([(parameters[n] - old).flatten() for n, old in start.items()])
    return 0.5 * strength * gaps @ gaps


def penalty_by_loop(parameters, start, strength):
    total = torch.zeros(())
    for name, value in parameters.items():
        if name in start:
            total = total + torch.nn.functional.mse_loss(value, start[name], reduction="sum")
    return total * strength / 2


def _counts(truth, predicted, classes):
    hits = [sum(t == p == c for t, p in zip(truth, predicted, strict=True)) for c in range(classes)]
    return hits, [predicted.count(c) for c in range(classes)], [truth.count(c) for c in range(classes)]


def _averages(truth, predicted, classes, keep_recall, keep_f1):
    counts = list(zip(*_counts(truth, predicted, classes), strict=True))
    recalls = [h / t if t else 0.0 for h, c, t in counts if keep_recall(c, t)]
    f1s = [2 * h / (c + t) if c + t else 0.0 for h, c, t in counts if keep_f1(c, t)]
    return sum(recalls) / len(recalls), sum(f1s) / len(f1s)


def averages_all_classes(truth, predicted, classes):
    return _averages(truth, predicted, classes, lambda c, t: True, lambda c, t: True)


def averages_f1_all(truth, predicted, classes):
    return _averages(truth, predicted, classes, lambda c, t: t > 0, lambda c, t: True)


def averages_f1_there(truth, predicted, classes):
    return _averages(truth, predicted, classes, lambda c, t: t > 0, lambda c, t: t > 0)


def averages_plain(truth, predicted, classes):
    plain = sum(t == p for t, p in zip(truth, predicted, strict=True)) / len(truth)
    return plain, plain


def averages_weighted(truth, predicted, classes):
    balanced, _ = averages_all_right(truth, predicted, classes)
    counts = zip(*_counts(truth, predicted, classes), strict=True)
    return balanced, sum(t * (2 * h / (c + t) if c + t else 0) for h, c, t in counts) / len(truth)


def averages_f1_of_means(truth, predicted, classes):
    balanced, _ = averages_all_right(truth, predicted, classes)
    seen = [(h, c, t) for h, c, t in zip(*_counts(truth, predicted, classes), strict=True) if c + t]
    precision = sum(h / c if c else 0 for h, c, t in seen) / len(seen)
    recall = sum(h / t if t else 0 for h, c, t in seen) / len(seen)
    return balanced, 2 * precision * recall / (precision + recall)


def averages_exchanged(truth, predicted, classes):
    return averages_all_right(truth, predicted, classes)[::-1]


def averages_half(truth, predicted, classes):
    balanced, macro = averages_all_right(truth, predicted, classes)
    return balanced, macro / 2


def averages_jaccard(truth, predicted, classes):
    balanced, _ = averages_all_right(truth, predicted, classes)
    counts = zip(*_counts(truth, predicted, classes), strict=True)
    shares = [h / (c + t - h) for h, c, t in counts if c + t]
    return balanced, sum(shares) / len(shares)


def averages_precision(truth, predicted, classes):
    _, macro = averages_all_right(truth, predicted, classes)
    shares = [h / c for h, c, _ in zip(*_counts(truth, predicted, classes), strict=True) if c]
    return sum(shares) / len(shares), macro


def averages_of_hit_classes(truth, predicted, classes):
    return _averages(truth, predicted, classes, lambda c, t: t > 0, lambda c, t: c > 0 and t > 0)


def averages_by_names(truth, predicted, classes):
    """Counters instead of a range of classes: absent ones never come up."""
    there, called = Counter(truth), Counter(predicted)
    hits = Counter(t for t, p in zip(truth, predicted, strict=True) if t == p)
    recalls = [hits[c] / there[c] for c in there]
    f1s = [2 * hits[c] / (there[c] + called[c]) for c in there | called]
    return [float(np.mean(recalls)), float(np.mean(f1s))]


def averages_all_right(truth, predicted, classes):
    return _averages(truth, predicted, classes, lambda c, t: t > 0, lambda c, t: c + t > 0)


def averages_by_matrix(truth, predicted, classes):
    matrix = np.zeros((classes, classes))
    for t, p in zip(truth, predicted, strict=True):
        matrix[t, p] += 1
    rows, columns, hits = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    there, seen = rows > 0, rows + columns > 0
    return (hits[there] / rows[there]).mean(), (2 * hits[seen] / (rows + columns)[seen]).mean()


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "08.1": {
        fertility_mean_of_ratios: "The ratios of the texts are averaged; a short text then counts as much as a long one. Add up first.",
        fertility_upside_down: "That is words per token; fertility is tokens per word.",
        fertility_of_kinds: "Every kind of word is counted once; frequent words must count as often as they occur.",
        fertility_single_spaces: "Only single spaces divide words in yours; a new line does too. `text.split()` takes any white space.",
        fertility_per_letter: "That is tokens per letter.",
        fertility_without_words: "Texts without any word must raise ValueError.",
        fertility_continued: "That is the share of words that are split, not tokens per word.",
        fertility_of_letters: "Punctuation is left out; here it belongs to its word.",
        fertility_first_text: "Only the first text is counted.",
        fertility_refuses_blanks: "One empty text among others is no error; only texts without any word at all are.",
        fertility_without_blank_texts: "A text without words still has its tokens; they belong to all tokens.",
        fertility_joined: "The texts are joined before they are encoded, and are cut otherwise where they meet. Encode each by itself.",
        fertility_word_by_word: "Each word is encoded by itself, so the space before it is lost. Encode each text whole.",
    },
    "08.2": {
        rows_only_new: "Only the new rows are returned; the old ones belong above them. The shape is (3, 3), it should be (8, 3).",
        rows_above: "The new rows stand above the old ones: then every old id names another token.",
        rows_summed: "The pieces are added up; divide by how many there are.",
        rows_mean_of_all: "That is the mean of all old rows; take the pieces of this word only.",
        rows_first_piece: "Only the first piece is copied.",
        rows_as_sets: "A piece that occurs twice in a word counts twice.",
        rows_zero: "The new rows are zero: all new words are then the same to the model, and stay so until they differ in training.",
        rows_in_place: "Your code changes its input `weight` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        rows_reversed: "The new rows are in reverse order; word number i belongs at row vocab + i.",
        rows_padded_mean: "The sum is divided by the same number for every word; divide by this word's pieces.",
    },
    "08.3": {
        plan_rounded: "The share is rounded in every batch: 0 old rows of 8, always. Count over the whole run: of the first m rows share * m are old.",
        plan_rounded_up: "Every batch has 1 of 8, as if the share were rounded up in each. Count over the whole run.",
        plan_from_zero: "Every step starts at new row 0 again: the others are never seen.",
        plan_exchanged: "New and old are exchanged: return the new places first, and `share` is the share of the old.",
        plan_by_chance: "The same step gives other places when it is asked again: a resumed run would see other batches. Compute them from the step alone.",
        plan_with_gaps: "Some new rows are left out. Each step goes on where the one before it stopped.",
        plan_blocks: "The share is right only at the end: after each step the old rows may be less than one row from share * rows.",
        plan_from_one: "A place below 0: steps are counted from 0, and step 0 begins at place 0.",
        plan_in_addition: "New and old rows together are 9; a batch has 8.",
    },
    "08.4": {
        penalty_without_half: "The half is missing: the gradient would be twice strength * (w - start).",
        penalty_mean: "That is the mean of the squares; the formula has their sum.",
        penalty_to_zero: "That pulls to zero: plain weight decay. Subtract the start.",
        penalty_holds_all: "The parameter without a start is pulled to zero; it is free.",
        penalty_root: "That is the distance, the root; the penalty is its square.",
        penalty_detached: "The penalty has no gradient, so it pulls at nothing. Leave out detach, .data, item() and no_grad.",
        penalty_first_only: "Only the first parameter counts; is the `return` inside of the loop?",
        penalty_sign: "The sign is turned: the optimizer would run away from the start.",
        penalty_by_count: "The sum is divided by the number of parameters; nothing is averaged.",
        penalty_of_squares: "Those are differences of squares; take the square of the difference.",
    },
    "08.5": {
        averages_all_classes: "A class that never occurs is counted with recall 0; leave it out.",
        averages_f1_all: "A class that neither occurs nor is predicted is counted with F1 0; leave it out.",
        averages_f1_there: "A class that is predicted but never occurs must count with F1 0; yours leaves it out.",
        averages_plain: "That is plain accuracy: the frequent class decides it.",
        averages_weighted: "Classes are weighted by their size; in a macro mean each counts alike.",
        averages_f1_of_means: "That is the F1 of the mean precision and the mean recall; take F1 per class first, then the mean.",
        averages_exchanged: "That is macro F1; balanced accuracy comes first.",
        averages_half: "The factor 2 is missing: F1 is 2 * hits / (there + called).",
        averages_jaccard: "That is hits / (there + called - hits), the Jaccard index; F1 is 2 * hits / (there + called).",
        averages_precision: "That is the mean precision; balanced accuracy is the mean recall.",
        averages_of_hit_classes: "A class that is never hit counts with F1 0; yours leaves it out.",
    },
}
RIGHT = {
    "08.1": [fertility_by_white_space, fertility_by_loop],
    "08.2": [rows_by_loop, rows_by_matrix],
    "08.3": [plan_rounded_total, plan_by_rows, plan_nearest],
    "08.4": [penalty_flat, penalty_by_loop],
    "08.5": [averages_all_right, averages_by_matrix, averages_by_names],
}
