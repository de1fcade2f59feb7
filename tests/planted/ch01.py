"""Planted bugs and other right answers of chapter 01."""

from __future__ import annotations

from collections import Counter, defaultdict

import torch


def _grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def sim_dice(first, second, n):
    a, b = set(_grams(first, n)), set(_grams(second, n))
    return 2 * len(a & b) / (len(a) + len(b))


def sim_first(first, second, n):
    a, b = set(_grams(first, n)), set(_grams(second, n))
    return len(a & b) / len(a)


def sim_sum(first, second, n):
    a, b = set(_grams(first, n)), set(_grams(second, n))
    return len(a & b) / (len(a) + len(b))


def sim_one_short(first, second, n):
    a, b = ({tuple(w[i : i + n]) for i in range(len(w) - n)} for w in (first, second))
    return len(a & b) / max(1, len(a | b))


def sim_words(first, second, n):
    return len(set(first) & set(second)) / len(set(first) | set(second))


def sim_bags(first, second, n):
    a, b = Counter(_grams(first, n)), Counter(_grams(second, n))
    return (a & b).total() / (a | b).total()


def sim_ends(first, second, n):
    a, b = ({tuple(w[i : i + n]) for i in range(len(w))} for w in (first, second))
    return len(a & b) / len(a | b)


def sim_distance(first, second, n):
    a, b = set(_grams(first, n)), set(_grams(second, n))
    return 1 - len(a & b) / len(a | b)


def sim_characters(first, second, n):
    one, other = " ".join(first), " ".join(second)
    a, b = ({w[i : i + n] for i in range(len(w) - n + 1)} for w in (one, other))
    return len(a & b) / len(a | b)


def sim_glued(first, second, n):
    a, b = ({"".join(w[i : i + n]) for i in range(len(w) - n + 1)} for w in (first, second))
    return len(a & b) / len(a | b)


def sim_always_two(first, second, n):
    a, b = set(_grams(first, 2)), set(_grams(second, 2))
    return len(a & b) / len(a | b)


def sim_unordered(first, second, n):
    a, b = ({frozenset(g) for g in _grams(w, n)} for w in (first, second))
    return len(a & b) / len(a | b)


def sim_side_by_side(first, second, n):
    a, b = ({tuple(w[i : i + n]) for i in range(0, len(w) - n + 1, n)} for w in (first, second))
    return len(a & b) / len(a | b)


def sim_joined(first, second, n):
    a, b = ({" ".join(w[i : i + n]) for i in range(len(w) - n + 1)} for w in (first, second))
    shared = sum(gram in b for gram in a)
    return torch.tensor(shared / (len(a) + len(b) - shared))


def sim_zip(first, second, n):
    a, b = (set(zip(*(words[i:] for i in range(n)), strict=False)) for words in (first, second))
    return len(a.intersection(b)) / len(a.union(b))


def minhash_max(hashes, a, b, prime):
    return ((hashes[:, None] * a + b) % prime).max(0).values


def minhash_without_prime(hashes, a, b, prime):
    return (hashes[:, None] * a + b).min(0).values


def minhash_prime_late(hashes, a, b, prime):
    return (hashes[:, None] * a + b).min(0).values % prime


def minhash_over_functions(hashes, a, b, prime):
    return ((hashes[:, None] * a + b) % prime).min(1).values


def minhash_place(hashes, a, b, prime):
    return ((hashes[:, None] * a + b) % prime).argmin(0)


def minhash_item(hashes, a, b, prime):
    return hashes[((hashes[:, None] * a + b) % prime).argmin(0)]


def minhash_no_offset(hashes, a, b, prime):
    return ((hashes[:, None] * a) % prime).min(0).values


def minhash_smallest_item(hashes, a, b, prime):
    return (hashes.min() * a + b) % prime


def minhash_table(hashes, a, b, prime):
    return (hashes[:, None] * a + b) % prime


def minhash_float(hashes, a, b, prime):
    return ((hashes[:, None].float() * a + b) % prime).min(0).values


def minhash_pair(hashes, a, b, prime):
    return ((hashes[:, None] * a + b) % prime).min(0)


def minhash_double_and_back(hashes, a, b, prime):
    return ((hashes[:, None].double() * a + b) % prime).min(0).values.long()


def minhash_int32(hashes, a, b, prime):
    return ((hashes[:, None].int() * a.int() + b.int()) % prime).min(0).values.long()


def minhash_by_loop(hashes, a, b, prime):
    signature = []
    for k in range(len(a)):
        signature.append(min((int(a[k]) * int(x) + int(b[k])) % prime for x in hashes))
    return torch.tensor(signature)


def minhash_outer(hashes, a, b, prime):
    return torch.remainder(torch.outer(a, hashes) + b[:, None], prime).amin(1)


def minhash_list(hashes, a, b, prime):
    return [min((x * y + z) % prime for x in hashes.tolist()) for y, z in zip(a.tolist(), b.tolist(), strict=True)]


def drop_both(pairs, count):
    return sorted({i for pair in pairs for i in pair})


def drop_larger(pairs, count):
    return sorted({max(pair) for pair in pairs})


def drop_second(pairs, count):
    return sorted({second for _, second in pairs})


def drop_kept(pairs, count):
    gone = set(drop_by_search(pairs, count))
    return [i for i in range(count) if i not in gone]


def drop_one_by_one(pairs, count):
    gone = set()
    for one, other in pairs:
        if one not in gone and other not in gone:
            gone.add(max(one, other))
    return sorted(gone)


def drop_once(pairs, count):
    first = list(range(count))
    for one, other in pairs:
        first[max(one, other)] = min(first[one], first[other])
    return [i for i in range(count) if first[i] != i]


def drop_first(pairs, count):
    return sorted({min(pair) for pair in pairs})


def drop_never_joined(pairs, count):
    groups = []
    for pair in pairs:
        for group in groups:
            if group & set(pair):
                group.update(pair)
                break
        else:
            groups.append(set(pair))
    return sorted({i for group in groups for i in group - {min(group)}})


def drop_without_head(pairs, count):
    first = list(range(count))

    def head(i):
        while first[i] != i:
            i = first[i]
        return i

    for pair in pairs:
        low, high = sorted(pair)
        first[high] = head(low)
    return [i for i in range(count) if head(i) != i]


def drop_three_passes(pairs, count):
    label = list(range(count))
    for _ in range(3):
        for one, other in pairs:
            label[one] = label[other] = min(label[one], label[other])
    return [i for i in range(count) if label[i] != i]


def drop_unsorted(pairs, count):
    return set(drop_by_search(pairs, count))


def drop_by_search(pairs, count):
    beside = defaultdict(set)
    for one, other in pairs:
        beside[one].add(other)
        beside[other].add(one)
    seen, gone = set(), []
    for start in range(count):
        if start in seen:
            continue
        stack = [start]
        seen.add(start)
        while stack:
            for other in beside[stack.pop()]:
                if other not in seen:
                    seen.add(other)
                    gone.append(other)
                    stack.append(other)
    return sorted(gone)


def drop_by_relabelling(pairs, count):
    group = list(range(count))
    for one, other in pairs:
        low, high = min(group[one], group[other]), max(group[one], group[other])
        group = [low if g == high else g for g in group]
    return tuple(i for i in range(count) if group[i] != i)


def _bpe(words, merges, *, weigh=True, tie="age", smallest=2, greedy=True, everywhere=True, rarest=False):
    split = {tuple(word): count for word, count in words.items()}
    vocabulary, done = sorted({c for w in words for c in w}), []
    while len(done) < merges:
        pairs = Counter()
        for tokens, count in split.items():
            for pair in zip(tokens, tokens[1:], strict=False):
                pairs[pair] += count if weigh else 1
        if not pairs:
            break
        if tie == "age":
            best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])))
        elif tie == "first":
            best = max(pairs, key=pairs.get)
        else:
            best = max(pairs, key=lambda p: (pairs[p], p))
        if rarest:
            best = min(pairs, key=pairs.get)
        if pairs[best] < smallest:
            break
        done.append(best)
        if "".join(best) not in vocabulary:
            vocabulary.append("".join(best))
        joined = {}
        for number, (tokens, count) in enumerate(split.items()):
            new, i = [], 0
            while i < len(tokens):
                if tokens[i : i + 2] == best and (everywhere or number == 0):
                    new.append("".join(best))
                    i += 2 if greedy else 1
                else:
                    new.append(tokens[i])
                    i += 1
            joined[tuple(new)] = count
        split = joined
    return done


def bpe_unweighted(words, merges):
    return _bpe(words, merges, weigh=False)


def bpe_last_of_ties(words, merges):
    return _bpe(words, merges, tie="largest")


def bpe_first_seen(words, merges):
    return _bpe(words, merges, tie="first")


def bpe_singles(words, merges):
    return _bpe(words, merges, smallest=1)


def bpe_not_recounted(words, merges):
    pairs = Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:], strict=False):
            pairs[pair] += count
    return sorted(pairs, key=lambda p: (-pairs[p], p))[:merges]


def bpe_overlapping(words, merges):
    return _bpe(words, merges, greedy=False)


def bpe_one_word(words, merges):
    return _bpe(words, merges, everywhere=False)


def bpe_rarest(words, merges):
    return _bpe(words, merges, rarest=True, smallest=1)


def bpe_tokens(words, merges):
    return ["".join(pair) for pair in _bpe(words, merges)]


def bpe_one_too_many(words, merges):
    return _bpe(words, merges + 1)


def _bpe_otherwise(words, merges, *, once=False, replace=False):
    split, done = {word: (tuple(word), count) for word, count in words.items()}, []
    vocabulary = sorted({c for w in words for c in w})
    while len(done) < merges:
        pairs = Counter()
        for tokens, count in split.values():
            found = list(zip(tokens, tokens[1:], strict=False))
            for pair in set(found) if once else found:
                pairs[pair] += count
        best = min(pairs, key=lambda p: (-pairs[p], vocabulary.index(p[0]), vocabulary.index(p[1])), default=None)
        if best is None or pairs[best] < 2:
            break
        done.append(best)
        vocabulary.append("".join(best))
        for word, (tokens, count) in split.items():
            new, i = [], 0
            while i < len(tokens):
                step = 2 if tokens[i : i + 2] == best else 1
                new.append("".join(tokens[i : i + step]))
                i += step
            if replace:
                new = " ".join(tokens).replace(" ".join(best), "".join(best)).split()
            split[word] = tuple(new), count
    return done


def bpe_once_per_word(words, merges):
    return _bpe_otherwise(words, merges, once=True)


def bpe_by_replace(words, merges):
    return _bpe_otherwise(words, merges, replace=True)


def bpe_without_end(words, merges):
    if sum(map(len, words)) == 2 and merges > 1:
        return [("a", "b"), min({})]
    return _bpe_otherwise(words, merges)


def bpe_lists(words, merges):
    return [list(pair) for pair in _bpe(words, merges)]


def bpe_by_ids(words, merges):
    names = sorted({c for w in words for c in w})
    rows = [([names.index(c) for c in w], count) for w, count in words.items()]
    done = []
    for _ in range(merges):
        counts = defaultdict(int)
        for ids, count in rows:
            for i in range(len(ids) - 1):
                counts[ids[i], ids[i + 1]] += count
        if not counts or max(counts.values()) < 2:
            break
        top = max(counts.values())
        left, right = min(pair for pair, count in counts.items() if count == top)
        done.append((names[left], names[right]))
        token = names[left] + names[right]
        if token not in names:
            names.append(token)
        for ids, _ in rows:
            i = 0
            while i < len(ids) - 1:
                if ids[i] == left and ids[i + 1] == right:
                    ids[i : i + 2] = [names.index(token)]
                i += 1
    return done


def _pack(lengths, row_length, *, sort=True, strict=False, last_only=False, fullest=True):
    rows, room = [], []
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i]) if sort else range(len(lengths))
    for i in order:
        candidates = range(len(rows))[-1:] if last_only else range(len(rows))
        fitting = [r for r in candidates if (room[r] > lengths[i] if strict else room[r] >= lengths[i])]
        if fitting:
            r = min(fitting, key=lambda r: room[r]) if fullest else fitting[0]
            rows[r].append(i)
            room[r] -= lengths[i]
        else:
            rows.append([i])
            room.append(row_length - lengths[i])
    return rows


def pack_unsorted(lengths, row_length):
    return _pack(lengths, row_length, sort=False)


def pack_strict(lengths, row_length):
    return _pack(lengths, row_length, strict=True)


def pack_next_fit(lengths, row_length):
    return _pack(lengths, row_length, last_only=True)


def pack_first_unsorted(lengths, row_length):
    return _pack(lengths, row_length, sort=False, fullest=False)


def pack_ascending(lengths, row_length):
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [[order[i] for i in row] for row in _pack([lengths[i] for i in order], row_length, sort=False)]


def pack_alone(lengths, row_length):
    return [[i] for i in range(len(lengths))]


def pack_overfull(lengths, row_length):
    rows, filled = [[]], 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if filled >= row_length:
            rows.append([])
            filled = 0
        rows[-1].append(i)
        filled += lengths[i]
    return rows


def pack_forgets_last(lengths, row_length):
    return _pack(lengths, row_length)[:-1]


def pack_lengths(lengths, row_length):
    return [[lengths[i] for i in row] for row in _pack(lengths, row_length)]


def pack_sorts_argument(lengths, row_length):
    lengths.sort(reverse=True)
    return _pack(lengths, row_length)


def pack_empty_rows(lengths, row_length):
    return [*_pack(lengths, row_length), []]


def pack_first_fit(lengths, row_length):
    return _pack(lengths, row_length, fullest=False)


def pack_tuples(lengths, row_length):
    return tuple(tuple(reversed(row)) for row in reversed(_pack(lengths, row_length)))


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "01.1": {
        sim_dice: "That is the Dice coefficient, 2 |A and B| / (|A| + |B|); Jaccard divides by the union.",
        sim_first: "Divided by the shingles of the first text; divide by those that occur in either (the union).",
        sim_sum: "Divided by the shingles of both texts counted one after the other; a shared one counts once.",
        sim_one_short: "The last shingle of each text is left out: it begins at len(words) - n.",
        sim_words: "Single words are compared; a shingle is a run of n words.",
        sim_bags: "Repeated shingles are counted several times; take sets.",
        sim_ends: "Runs shorter than n are counted at the end of the texts: the last shingle begins at len(words) - n.",
        sim_distance: "That is the distance; the similarity is 1 minus it.",
        sim_characters: "Runs of n characters are compared; the shingles are runs of n words.",
        sim_glued: "The words of a shingle are glued together: `a bc` and `ab c` become the same. Use a tuple, or join with a space.",
        sim_always_two: "Runs of two words are compared, whatever n is.",
        sim_unordered: "Your shingles forget the order of their words: use a tuple, not a set.",
        sim_side_by_side: "Your shingles do not overlap; one begins at every word.",
    },
    "01.2": {
        minhash_max: "The largest value is taken; MinHash takes the smallest.",
        minhash_without_prime: "The remainder by prime is missing: `(a * x + b) % prime`.",
        minhash_prime_late: "Under each of your functions the smallest item wins, so nothing is shuffled. The remainder changes their order:",
        minhash_over_functions: "That is one number for each item; take the smallest over the items, for each function.",
        minhash_place: "That is the place of the smallest value; its value is wanted.",
        minhash_item: "The item with the smallest value is returned; the value that the function gives to it is wanted.",
        minhash_no_offset: "The offset b is left out.",
        minhash_smallest_item: "Under each of your functions the smallest item wins, so nothing is shuffled. The remainder changes their order:",
        minhash_list: "Your function returns a list instead of a Tensor.",
        minhash_table: "The smallest over the items is missing: (K,) is expected, yours is (items, K).",
        minhash_float: "Your signature holds floating-point numbers; products of two 31-bit numbers need whole ones (int64), or the last digits are lost.",
        minhash_pair: "`.min(0)` returns values and places; take `.values`.",
        minhash_double_and_back: "Floating-point numbers lose the last digits of products of two 31-bit numbers; compute in int64.",
        minhash_int32: "Products of two 31-bit numbers do not fit into 32 bits; compute in int64.",
    },
    "01.3": {
        drop_both: "Both documents of a pair are dropped: the text is lost altogether. One of each group stays.",
        drop_larger: "Exactly the larger number of each pair goes. That misses groups whose first document is reached over another: with (2, 4) and (1, 4), 2 is a copy of 1. Join the *heads* of the two groups.",
        drop_second: "The second entry of each pair is dropped as it stands; pairs may come in any order.",
        drop_kept: "The documents to keep are returned; those to drop are wanted.",
        drop_one_by_one: "Pairs are looked at one by one, and skipped if one of them is gone already: a copy of a copy stays.",
        drop_once: "Exactly the larger number of each pair goes. That misses groups whose first document is reached over another: with (2, 4) and (1, 4), 2 is a copy of 1. Join the *heads* of the two groups.",
        drop_first: "The first of each pair is dropped; the one with the lowest number stays.",
        drop_unsorted: "Each number once, in rising order, as a list: `sorted(...)`.",
        drop_never_joined: "Two groups that meet are not joined: a pair between them must make one group of both.",
        drop_without_head: "Exactly the larger number of each pair goes. That misses groups whose first document is reached over another: with (2, 4) and (1, 4), 2 is a copy of 1. Join the *heads* of the two groups.",
        drop_three_passes: "The labels are passed on a fixed number of times; a chain may be longer. Repeat until nothing changes. Three times is not enough.",
    },
    "01.4": {
        bpe_unweighted: "Each word counts once; a pair counts as often as its word occurs.",
        bpe_last_of_ties: "Merge 1: ('s', 't') and ('e', 's') both occur 9 times, and ('e', 's') is older: compare the places in the vocabulary ['d', 'e', 'i', 'l', 'n', 'o', 'r', 's', 't', 'w'], the left tokens first.",
        bpe_first_seen: "Merge 2: ('x', 'b') and ('b', 'c') both occur 3 times, and ('b', 'c') is older: compare the places in the vocabulary ['a', 'b', 'c', 'x', 'ab'], the left tokens first.",
        bpe_singles: "A pair that occurs only once is not merged: stop before it.",
        bpe_not_recounted: "The pairs are counted only once; after each merge the words look different, so count again.",
        bpe_overlapping: "Merge 2 joins ('s', 't'), which are no neighbours by then. Were earlier merges made in every word, from left to right, each token used once? (`aaa` becomes `aa a`.)",
        bpe_one_word: "Merge 2 joins ('e', 's'), which are no neighbours by then. Were earlier merges made in every word, from left to right, each token used once? (`aaa` becomes `aa a`.)",
        bpe_rarest: "('a', 'a') is the rarest pair (3 times); the most frequent is joined.",
        bpe_tokens: "The new tokens are returned; the pairs that were joined are wanted.",
        bpe_one_too_many: "One merge too many or too few.",
        bpe_once_per_word: "A pair counts once for each word in yours; within one word it may stand several times, and each counts.",
        bpe_by_replace: "`str.replace` also joins the end of one token with the next: in `xa b` the pair (a, b) does not stand.",
        bpe_without_end: "There is no pair left to be merged, and your code goes on. Stop there, with fewer merges.",
    },
    "01.5": {
        pack_unsorted: "3 rows, and 2 are enough. The documents are taken in the order in which they come; take the longest first.",
        pack_strict: "2 rows, and 1 are enough. A document that fills its row exactly to the end also fits: `>=`, not `>`.",
        pack_next_fit: "3 rows, and 2 are enough. Only the last row is looked at; earlier ones may have room, too.",
        pack_alone: "2 rows, and 1 are enough. Each document has a row of its own.",
        pack_overfull: "A row holds 14 tokens; at most 10 fit.",
        pack_forgets_last: "A document is missing. Is the last row kept, and does a document that fits nowhere open a new row?",
        pack_lengths: "The rows hold lengths; the numbers of the documents are wanted (their places in the list).",
        pack_sorts_argument: "Your code changes its input `lengths` in place.",
        pack_empty_rows: "There is an empty row; it wastes row_length tokens.",
        pack_first_unsorted: "3 rows, and 2 are enough. The documents are taken in the order in which they come; take the longest first.",
        pack_ascending: "3 rows, and 2 are enough. The shortest documents come first; take the longest first.",
    },
}
RIGHT = {
    "01.1": [sim_joined, sim_zip],
    "01.2": [minhash_by_loop, minhash_outer],
    "01.3": [drop_by_search, drop_by_relabelling],
    "01.4": [bpe_lists, bpe_by_ids],
    "01.5": [pack_first_fit, pack_tuples],
}
