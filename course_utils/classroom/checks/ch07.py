"""Checks of chapter 07: a split by groups, gradual unfreezing, an adapter, attention with a prefix, early stopping."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake, expect
from course_utils.models.prefix_tuning import prefix_attention

# 07.1


def split_by_group(labels: list, groups: list, shares: tuple, seed: int = 0) -> list[list[int]]:
    """Row numbers of each part, in rising order: whole groups, and of every label the same share of its groups."""
    rng, part_of = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(group for group, its in zip(groups, labels, strict=True) if its == label))
        ends = [round(sum(shares[: part + 1]) * len(own)) for part in range(len(shares))]
        for place, index in enumerate(rng.permutation(len(own))):
            part_of[own[index]] = sum(place >= end for end in ends)
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


def _groups(sizes: dict[Hashable, Sequence[int]], shares: tuple, message: str = "", name=str) -> Case:
    """Rows of groups, label by label with so many rows each, every second row first: no part is a piece of the data."""
    rows = [(label, name(f"{label}{i}")) for label, own in sizes.items() for i, n in enumerate(own) for _ in range(n)]
    labels, groups = (list(column) for column in zip(*rows[::2], *rows[1::2], strict=True))
    return Case(labels, groups, shares, message=message)


def _parts(found: Any, count: int) -> list[list[int]]:
    expect.that(
        isinstance(found, list | tuple) and len(found) == count,
        f"A list of {count} parts is wanted, one for each share.",
        expected=f"a list of {count} lists of row numbers",
        yours=found,
    )
    message = "Each part is a list of row numbers."
    expect.that(all(hasattr(p, "__iter__") and not isinstance(p, str) for p in found), message, yours=found)
    return [[row.item() if hasattr(row, "item") else row for row in part] for part in found]


def _split(candidate, labels: list, groups: list, shares: tuple, seed: int = 0) -> dict[str, list[int]]:
    """How many groups of each label the parts hold; that they are parts at all is asked first."""
    parts = _parts(candidate(labels, groups, shares, seed), len(shares))
    rows = [row for part in parts for row in part]
    expect.that(
        all(isinstance(row, int) and 0 <= row < len(groups) for row in rows),
        "The parts hold something else than row numbers. Return positions in `labels` and `groups`, not the groups themselves.",
        yours=parts,
    )
    if twice := [row for row in rows if rows.count(row) > 1]:
        raise Mistake(f"A row stands in two places, here row {twice[0]}; each row belongs to one part.", yours=parts)
    expect.that(
        len(rows) == len(groups),
        f"Some rows are in no part, here {len(groups) - len(rows)} of {len(groups)}. Do the cuts reach the end? Do all rows of a "
        "group go along?",
        yours=parts,
    )
    held = [{groups[row]: labels[row] for row in part} for part in parts]
    for part, own in enumerate(held):
        for other in range(part):
            if both := sorted(own.keys() & held[other].keys()):
                raise Mistake(
                    f"A group stands in two parts, here {both[0]} in {other} and in {part}: a leak. All rows of a group go to one "
                    "part.",
                    yours=parts,
                )
    return {
        f"groups of {label!r} in each part": [list(own.values()).count(label) for own in held]
        for label in dict.fromkeys(labels)
    }


_UNEVEN = [6, 6, 1, 1, 1, 1, 1, 1, 1, 1]  # rows of ten groups
split = Exercise(
    "07.1",
    title="Split without a leak",
    reference=split_by_group,
    observe=_split,
    cases=[
        _groups(
            {"a": [2, 3] * 3, "b": [2, 3] * 3},
            (1 / 2, 1 / 6, 1 / 3),
            "The parts do not have their share of each label's groups: of 6, (1/2, 1/6, 1/3) are 3, 1, 2. Cut the groups "
            "of every label for itself.",
        ),
        _groups({"x": [2] * 8}, (0.2, 0.2, 0.6)),
        _groups({"x": _UNEVEN}, (1 / 3, 1 / 3, 1 / 3)),
        _groups({"x": _UNEVEN[::-1]}, (1 / 3, 1 / 3, 1 / 3)),
        _groups({"x": [1] * 6, "y": [2] * 10, "z": [3, 1]}, (0.5, 0.5)),
        _groups({0: [1, 1], 1: [1, 3]}, (0.5, 0.5), name=lambda group: -int(group)),
        _groups({"x": [2, 1], "y": [1]}, (0.1, 0.3, 0.6)),
    ],
    general="The cuts are not at the rounded sums of the shares, counted in groups of each label.",
    rtol=0,
    atol=0,
    difficulty=3,
    minutes=12,
    points=3,
    asked="how do you split rows that come from the same people?",
    hints=[
        "Decide about groups, not about rows: first collect the groups of each label, then say which part each group goes to.",
        "For one label: shuffle its groups with `numpy.random.default_rng(seed).permutation(...)`, and cut the list at "
        "`round(len(groups) * (shares[0] + ... + shares[i]))`.",
        "At the end one pass over the rows: row i goes to the part of `groups[i]`. The parts are lists of row numbers, in order.",
    ],
)


def _cut(labels: list, groups: list, shares: tuple, seed: int, part_at: Callable[..., int]) -> list[list[int]]:
    """Like ``split_by_group``; ``part_at(place, n, before, rows)`` is the part of the group at a place of n, with so
    many of the label's rows before it."""
    rng, part_of = np.random.default_rng(seed), {}
    for label in dict.fromkeys(labels):
        own = list(dict.fromkeys(group for group, its in zip(groups, labels, strict=True) if its == label))
        before = 0
        for place, index in enumerate(rng.permutation(len(own))):
            part_of[own[index]] = part_at(place, len(own), before, labels.count(label))
            before += groups.count(own[index])
    return [[row for row, group in enumerate(groups) if part_of[group] == part] for part in range(len(shares))]


@split.bug("The sums of the shares are rounded down; round them to the nearest number.")
def split_rounded_down(labels, groups, shares, seed=0):
    ends = np.cumsum(shares[:-1])
    return _cut(labels, groups, shares, seed, lambda place, n, *_: sum(place >= int(end * n) for end in ends))


@split.bug("Each share is rounded for itself, and a group is left over. Round the *sums* of the shares.")
def split_each_share_rounded(labels, groups, shares, seed=0):
    def part(place: int, n: int, *_: int) -> int:
        return sum(place >= end for end in np.cumsum([round(share * n) for share in shares[:-1]]))

    return _cut(labels, groups, shares, seed, part)


@split.bug("The second share is taken of what the first left over; each share is of all groups of a label.")
def split_share_of_the_rest(labels, groups, shares, seed=0):
    def part(place: int, n: int, *_: int) -> int:
        ends = [0]
        for share in shares[:-1]:
            ends.append(ends[-1] + round(share * (n - ends[-1])))
        return sum(place >= end for end in ends[1:])

    return _cut(labels, groups, shares, seed, part)


@split.bug("Groups are counted, not rows: a group with many rows is one group.")
def split_by_share_of_rows(labels, groups, shares, seed=0):
    def part(place: int, n: int, before: int, rows: int) -> int:
        return sum(before >= end * rows - 1e-9 for end in np.cumsum(shares[:-1]))

    return _cut(labels, groups, shares, seed, part)


@split.bug("A part gets a group that its share does not give; few groups may leave a part without any.")
def split_none_goes_without(labels, groups, shares, seed=0):
    def part(place: int, n: int, *_: int) -> int:
        ends = [0]
        for end in np.cumsum(shares[:-1]):
            ends.append(max(ends[-1] + 1, round(end * n)))
        return sum(place >= end for end in ends[1:])

    return _cut(labels, groups, shares, seed, part)


@split.bug("The groups are dealt in turn, one to each part: the shares are not used.")
def split_in_turn(labels, groups, shares, seed=0):
    return _cut(labels, groups, shares, seed, lambda place, *_: place % len(shares))


@split.bug("A group stands in two parts")
def split_by_rows(labels, groups, shares, seed=0):
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    ends = [0, *(round(sum(shares[: i + 1]) * len(labels)) for i in range(len(shares)))]
    return [sorted(order[a:b]) for a, b in zip(ends, ends[1:], strict=False)]


@split.bug("The parts hold something else than row numbers.")
def split_names_of_groups(labels, groups, shares, seed=0):
    return [[groups[row] for row in part] for part in split_by_group(labels, groups, shares, seed)]


@split.bug("Some rows are in no part, here 2 of 30.")
def split_tail_lost(labels, groups, shares, seed=0):
    *parts, last = split_by_group(labels, groups, shares, seed)
    return [*parts, last[:-2]]


@split.bug("Some rows are in no part, here 18 of 30.")
def split_one_row_each(labels, groups, shares, seed=0):
    parts = split_by_group(labels, groups, shares, seed)
    return [[row for row in part if row == groups.index(groups[row])] for part in parts]


@split.bug("A row stands in two places")
def split_overlapping(labels, groups, shares, seed=0):
    first, second, *rest = split_by_group(labels, groups, shares, seed)
    return [first, sorted(first + second), *rest]


@split.also
def split_depends_on_the_seed_alone(candidate) -> None:
    """The same parts for the same seed, others for others, in rising order, and whatever the hashes of the names."""
    labels, groups, shares = split.cases[0].args

    def parts(seed: int = 0, name=str) -> list[list[int]]:
        return _parts(candidate([name(n) for n in labels], [name(n) for n in groups], shares, seed), len(shares))

    first = parts()
    expect.that(
        parts() == first,
        "Twice the same seed gave two different splits. Draw from `numpy.random.default_rng(seed)`, and walk through lists, not "
        "through a set, whose order may change.",
    )
    expect.that(
        any(parts(seed) != first for seed in range(1, 6)),
        "The split does not depend on the seed: six seeds gave the same parts. Shuffle the groups before the cut.",
    )
    met = [set() for _ in labels]  # the parts that each row's group came to
    for seed in range(100):
        for number, part in enumerate(parts(seed)):
            for row in part:
                met[row].add(number)
    expect.that(
        all(len(own) == len(shares) for own in met),
        "A group never comes to some part, though a hundred seeds were tried. Shuffle all groups of a label, the first and "
        "the last too.",
    )
    expect.that(
        all(part == sorted(part) for part in first),
        "The row numbers of a part are to stand in rising order, as in the data.",
        yours=first,
    )
    found = []
    for _Salted.salt in range(6):
        found.append([sorted(part) for part in parts(name=_Salted)])
    expect.that(
        all(other == found[0] for other in found),
        "The split hangs on the order of a set, which is another one each time Python starts: the same seed would deal the groups "
        "anew. Collect the groups in a list or a dictionary, or sort them.",
    )


class _Salted(str):
    """A name whose hash, and with it its place in a set, can be changed, as it changes when Python starts anew."""

    salt = 0

    def __hash__(self) -> int:
        return hash((_Salted.salt, str(self)))


# 07.2


def unfrozen(names: list[str], epoch: int) -> list[str]:
    """The names of the parameters that train in this epoch of gradual unfreezing."""
    block = {name: int(name.split("layers.")[1].split(".")[0]) for name in names if "layers." in name}
    order = sorted(set(block.values()), reverse=True)  # the highest block is nearest to the head

    def depth(name: str) -> int:
        if name in block:
            return order.index(block[name]) + 1
        return len(order) + 1 if "embed_tokens" in name else 0

    return [name for name in names if depth(name) <= epoch]


def _free(candidate, names: list[str], epoch: int) -> list[str]:
    """The names in order: in which they come is left open."""
    found = candidate(names, epoch)
    expect.that(isinstance(found, list | tuple | set), "A list of names is wanted.", yours=found)
    expect.that(
        len(found) == len(set(found)),
        "A name stands in the list twice; its numbers would be counted twice.",
        yours=list(found),
    )
    return sorted(found)


def _unfreezing_cases() -> list[Case]:
    parts = ("self_attn.q_proj", "input_layernorm")
    blocks = [f"model.layers.{i}.{part}.weight" for i in range(3) for part in parts]
    small = ["model.embed_tokens.weight", *blocks, "model.norm.weight", "score.weight"]
    many = [f"model.layers.{i}.mlp.up_proj.weight" for i in (3, 11, 0, 9, 1, 10, 2, 8, 4, 7, 5, 6)]
    mixed = ["score.bias", *many[:5], "model.embed_tokens.weight", *many[5:], "model.norm.weight", "score.weight"]
    return [Case(small, epoch) for epoch in range(6)] + [Case(mixed, epoch) for epoch in (0, 2, 3, 12, 13)]


free = Exercise(
    "07.2",
    title="Gradual unfreezing",
    reference=unfrozen,
    observe=_free,
    cases=_unfreezing_cases(),
    general="These are not the head, the last norm and the `epoch` highest blocks (the embedding comes last).",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=10,
    points=2,
    asked="you unfreeze step by step: which parameters train when?",
    hints=[
        "The highest block has the largest number. Which names hold `layers.`? The number comes after it: "
        "`int(name.split('layers.')[1].split('.')[0])`.",
        "Give every name a depth: 0 for the head and the last norm, 1 for the last block, 2 for the one below, and so on; the "
        "embedding is deepest of all.",
        "A parameter trains if its depth is at most `epoch`: `[name for name in names if depth(name) <= epoch]`.",
    ],
)


def _block(name: str) -> int | None:
    return int(name.split("layers.")[1].split(".")[0]) if "layers." in name else None


def _by_depth(names: list[str], epoch: int, order: list, block=_block, embedding: int = 1) -> list[str]:
    """Names that are free if the blocks come in this order, and the embedding so many epochs after the last."""

    def depth(name: str) -> int:
        if block(name) is not None:
            return order.index(block(name)) + 1
        return len(order) + embedding if "embed_tokens" in name else 0

    return [name for name in names if depth(name) <= epoch]


def _blocks(names: list[str]) -> list[int]:
    """The numbers of the blocks, in the order of the names."""
    return list(dict.fromkeys(_block(name) for name in names if _block(name) is not None))


@free.bug("Only the newest group trains. What was set free stays free: each epoch adds a group.")
def free_only_newest(names, epoch):
    before = unfrozen(names, epoch - 1)
    return [name for name in unfrozen(names, epoch) if name not in before]


@free.bug("A block that was set free is frozen again in the next epoch. What was set free stays free.")
def free_head_and_newest(names, epoch):
    return sorted({*unfrozen(names, 0), *free_only_newest(names, epoch)})


@free.bug("Blocks are set free from the bottom; the highest number is nearest to the head and comes first.")
def free_from_the_bottom(names, epoch):
    return _by_depth(names, epoch, sorted(_blocks(names)))


@free.bug("One group too many: in epoch 0 the head and the last norm train alone.")
def free_too_early(names, epoch):
    return unfrozen(names, epoch + 1)


@free.bug("One group too few: epoch 1 adds the last block.")
def free_too_late(names, epoch):
    return unfrozen(names, max(0, epoch - 1))


@free.bug("The number of blocks is fixed in your code. Read it from the names.")
def free_four_blocks(names, epoch):
    return _by_depth(names, epoch, list(range(11, -1, -1)) if len(_blocks(names)) > 4 else [3, 2, 1, 0])


@free.bug("The embedding trains from the start; it is the deepest of all and comes last.")
def free_with_embedding(names, epoch):
    return [name for name in names if "embed" in name or name in unfrozen(names, epoch)]


@free.bug("The embedding trains too early, together with the first block; it comes one epoch later.")
def free_embedding_with_first_block(names, epoch):
    return _by_depth(names, epoch, sorted(_blocks(names), reverse=True), embedding=0)


@free.bug("The embedding never trains; after the first block it is set free too.")
def free_without_embedding(names, epoch):
    return [name for name in unfrozen(names, epoch) if "embed" not in name]


@free.bug("The last norm is missing: it stands above the blocks, and belongs to the head.")
def free_without_last_norm(names, epoch):
    return [name for name in unfrozen(names, epoch) if name != "model.norm.weight"]


@free.bug("No norm trains: the last one belongs to the head, those of the blocks to their blocks.")
def free_without_norms(names, epoch):
    return [name for name in unfrozen(names, epoch) if "norm" not in name]


@free.bug("The norms of the blocks train from the start; only the last norm, `model.norm`, is above the blocks.")
def free_with_all_norms(names, epoch):
    return [name for name in names if "norm" in name or name in unfrozen(names, epoch)]


@free.bug("That is what is frozen. The names that train are wanted.")
def free_what_is_frozen(names, epoch):
    return [name for name in names if name not in unfrozen(names, epoch)]


@free.bug("Everything trains in every epoch.")
def free_all(names, epoch):
    return names


@free.bug(
    "`score.bias` does not train. All that is in no block and is no embedding belongs to the head, whatever its name."
)
def free_head_by_name(names, epoch):
    return [name for name in unfrozen(names, epoch) if name != "score.bias"]


@free.bug("Only the first digit of a block's number is read: block 11 is not block 1.")
def free_by_first_digit(names, epoch):
    def digit(name: str) -> int | None:
        return int(name.split("layers.")[1][0]) if "layers." in name else None

    return _by_depth(names, epoch, sorted({digit(n) for n in names} - {None}, reverse=True), digit)


@free.bug("Block numbers are compared as text, where 9 stands above 11. Make them numbers: `int(...)`.")
def free_by_text(names, epoch):
    return _by_depth(names, epoch, sorted(_blocks(names), key=str, reverse=True))


@free.bug("Blocks are taken by their place in the list. The names come in any order: the numbers count.")
def free_by_place(names, epoch):
    return _by_depth(names, epoch, _blocks(names)[::-1])


@free.bug("A name is found by the beginning of its number: `layers.1` is also the beginning of `layers.10`.")
def free_by_beginning(names, epoch):
    frozen = [f"layers.{number}" for number in _blocks(names) if number <= max(_blocks(names)) - epoch]
    late = ["embed"] * (epoch <= len(_blocks(names)))
    return [name for name in names if not any(part in name for part in (*frozen, *late))]


# 07.3


class Adapter(nn.Module):
    """h + up(relu(down(h))); up starts at zero, so that at first what comes in is passed on as it is."""

    def __init__(self, hidden: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(torch.relu(self.down(x)))


_OVERWRITES = "The adapter overwrites what it gets (`x += ...`); others still need it. Return a new tensor: `x + ...`."
_AS_GIVEN = (
    "At the start the adapter changes what comes in. It should pass it on exactly: weight and bias of `up` are zero."
)


def _adapted(candidate, hidden: int, bottleneck: int, x: Tensor, trained: bool) -> Tensor:
    """What the adapter makes of x: as it starts, or with random numbers in all its places, as after training."""
    torch.manual_seed(7)
    adapter = candidate(hidden, bottleneck)
    if trained:
        generator = torch.Generator().manual_seed(8)
        with torch.no_grad():
            for part in (adapter.down.weight, adapter.down.bias, adapter.up.weight, adapter.up.bias):
                part.copy_(torch.randn(part.shape, generator=generator))
    before, out = x.clone(), adapter(x)
    expect.that(not x.requires_grad and torch.equal(x, before), _OVERWRITES)
    expect.that(torch.equal(adapter(x), out), "Two calls with the same x differ; no dropout is asked for.")
    return out


def _adapter_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(7)
    x, wide = torch.randn(2, 4, 6, generator=generator), torch.randn(5, 4, generator=generator)
    return [
        Case(6, 3, x, False, note="Adapter(6, 3) at the start, x (2, 4, 6)", message=_AS_GIVEN),
        Case(6, 3, x, True, note="Adapter(6, 3) with random weights and biases, as after training; x (2, 4, 6)"),
        Case(4, 7, wide, True, note="Adapter(4, 7) with random weights and biases, as after training; x (5, 4)"),
        Case(4, 7, wide[0], True, note="Adapter(4, 7) with random weights and biases, as after training; x (4,)"),
        Case(6, 3, x.transpose(0, 1), True, note="Adapter(6, 3) with random weights; x (4, 2, 6), a transposed view"),
    ]


adapters = Exercise(
    "07.3",
    title="A bottleneck adapter",
    reference=Adapter,
    observe=_adapted,
    cases=_adapter_cases,
    general="Not x + up(relu(down(x))).",
    atol=1e-5,
    difficulty=2,
    minutes=8,
    points=2,
    asked="write an adapter; why is it harmless at the start?",
    hints=[
        "Two layers: `self.down = nn.Linear(hidden, bottleneck)` and `self.up = nn.Linear(bottleneck, hidden)`.",
        "`x + self.up(torch.relu(self.down(x)))`: what comes in is passed on, and the adapter adds to it.",
        "If `up` gives zero for everything, the sum is x: `nn.init.zeros_(self.up.weight)` and the same for `self.up.bias`. "
        "Leave `down` random, or nothing ever moves.",
    ],
)


@adapters.first
def adapter_has_its_two_layers(candidate: type[nn.Module]) -> None:
    adapter, given = candidate(6, 3), "Adapter(hidden=6, bottleneck=3)"
    for name, size_in, size_out in (("down", 6, 3), ("up", 3, 6)):
        layer = getattr(adapter, name, None)
        expect.that(
            isinstance(layer, nn.Linear),
            f"The adapter has no `nn.Linear` called `{name}`. Set `self.{name}` in `__init__`.",
            given=given,
            yours=[n for n, _ in adapter.named_children()],
        )
        expect.that(
            (layer.in_features, layer.out_features) == (size_in, size_out),
            f"`{name}` goes from {layer.in_features} to {layer.out_features} numbers; from {size_in} to {size_out} is wanted.",
            given=given,
        )
        message = f"`{name}` has no bias; the paper's adapters have one in both layers."
        expect.that(layer.bias is not None, message, given=given)
    extra = sum(p.numel() for p in adapter.parameters())
    expect.that(
        extra == 2 * 6 * 3 + 6 + 3,
        f"The adapter holds {extra} numbers; two layers with biases hold 2 * 6 * 3 + 6 + 3 = 45. A third layer, or a gate, is not "
        "asked for.",
        given=given,
    )


@adapters.also
def adapter_starts_as_nothing_and_learns(candidate: type[nn.Module]) -> None:
    torch.manual_seed(7)
    adapter, given = candidate(6, 3), "Adapter(hidden=6, bottleneck=3), at the start"
    x = torch.randn(2, 4, 6)
    expect.that(torch.equal(adapter(x), x), _AS_GIVEN, given=given)
    down = adapter.down.weight
    expect.that(
        bool(down.any()),
        "Both layers start at zero. Then neither gets a gradient, and the adapter never learns: leave `down` random.",
        given=given,
    )
    expect.that(
        len({tuple(row.tolist()) for row in down}) == len(down),
        "The rows of `down` are equal. They get equal gradients and stay equal, so the narrow place holds one number, not three: "
        "leave `down` random.",
        given=given,
        yours=down,
    )
    expect.that(
        _gradients(adapter, x)["up"],
        "At the start `up` gets no gradient, so the adapter never learns. Is something frozen or detached, or is every ReLU shut?",
        given=given,
    )
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    reached = _gradients(adapter, x)
    for name in ("down", "up"):
        message = f"`{name}` gets no gradient after the start. Is it frozen, or detached?"
        expect.that(reached[name], message, given=given)
    expect.that(
        reached["below"],
        "No gradient reaches what comes in: the adapters below would not learn. Nothing is to be detached.",
        given=given,
    )
    leaf = x.clone().requires_grad_()
    tensors = [leaf, *adapter.parameters()]
    hidden = F.linear(leaf, adapter.down.weight, adapter.down.bias).relu()
    wanted = leaf + F.linear(hidden, adapter.up.weight, adapter.up.bias)
    slopes = [torch.autograd.grad(out.square().sum(), tensors) for out in (wanted, adapter(leaf))]
    for name, right, found in zip(("what comes in", *dict(adapter.named_parameters())), *slopes, strict=True):
        expect.close(
            found,
            right,
            f"The gradient of {name} is not the whole one: one of its ways is cut off. Nothing is to be detached.",
            atol=1e-4,
        )


def _gradients(adapter: nn.Module, x: Tensor) -> dict[str, bool]:
    """Whether a gradient reaches the two matrices, and what comes in from below."""
    below = x.clone().requires_grad_()
    out = adapter(below).square().sum()
    tensors = {"down": adapter.down.weight, "up": adapter.up.weight, "below": below}
    asking = [tensor for tensor in tensors.values() if tensor.requires_grad]
    found = torch.autograd.grad(out, asking, allow_unused=True) if out.requires_grad else [None] * len(asking)
    alive = [tensor for tensor, slope in zip(asking, found, strict=True) if slope is not None and slope.any()]
    return {name: any(tensor is other for other in alive) for name, tensor in tensors.items()}


@adapters.bug(
    "What comes in is not passed on: without it the model's own output is lost. Add it to the output of `up`."
)
class AdapterWithoutSkip(Adapter):
    def forward(self, x):
        return self.up(torch.relu(self.down(x)))


@adapters.bug("The nonlinearity is missing: down and up are then one thin matrix, as in LoRA.")
class AdapterLinear(Adapter):
    def forward(self, x):
        return x + self.up(self.down(x))


@adapters.bug("The nonlinearity comes after `up`; it belongs in the narrow place, between the two.")
class AdapterReluLast(Adapter):
    def forward(self, x):
        return x + torch.relu(self.up(self.down(x)))


@adapters.bug("The nonlinearity stands before `down`; it belongs between the two.")
class AdapterReluFirst(Adapter):
    def forward(self, x):
        return x + self.up(self.down(torch.relu(x)))


@adapters.bug("ReLU is applied to the sum as well: the stream may be negative.")
class AdapterReluOfSum(Adapter):
    def forward(self, x):
        return torch.relu(super().forward(x))


def _with(activation: Callable[[Tensor], Tensor]) -> type[nn.Module]:
    class Wrong(Adapter):
        def forward(self, x):
            return x + self.up(activation(self.down(x)))

    return Wrong


for name, activation in {"GELU": F.gelu, "SiLU": F.silu, "Tanh": torch.tanh, "Sigmoid": torch.sigmoid}.items():
    adapters.bug(f"{name} stands in the narrow place; ReLU is asked for.")(_with(activation))


@adapters.bug(_OVERWRITES)
class AdapterOverwrites(Adapter):
    def forward(self, x):
        x += self.up(torch.relu(self.down(x)))
        return x


@adapters.bug("Two calls with the same x differ; no dropout is asked for.")
class AdapterDropout(Adapter):
    def forward(self, x):
        return x + F.dropout(self.up(torch.relu(self.down(x))), 0.1)


@adapters.bug("Both layers start at zero.")
class AdapterBothZero(Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        nn.init.zeros_(self.down.weight)


@adapters.bug("The rows of `down` are equal.")
class AdapterEqualRows(Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        nn.init.constant_(self.down.weight, 0.02)


@adapters.bug("At the start `up` gets no gradient, so the adapter never learns.")
class AdapterFrozen(Adapter):
    def __init__(self, hidden, bottleneck):
        super().__init__(hidden, bottleneck)
        self.up.requires_grad_(False)


@adapters.bug("No gradient reaches what comes in")
class AdapterDetached(Adapter):
    def forward(self, x):
        return super().forward(x.detach())


# 07.4


def _attention_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(4)

    def case(batch: int, heads: int, length: int, size: int, n: int) -> Case:
        q, k, v = torch.randn(3, batch, length, heads, size, generator=generator).transpose(2, 3)  # as a projection's
        prefix = torch.randn(2, n, heads, size, generator=generator).transpose(1, 2)
        shape = f"({batch}, {heads}, {length}, {size})"
        return Case(q, k, v, *prefix, note=f"q, k, v {shape}, prefix_k and prefix_v ({heads}, {n}, {size})")

    return [case(2, 3, 4, 6, n=2), case(1, 3, 1, 6, n=5), case(3, 2, 5, 4, n=1)]


attention = Exercise(
    "07.4",
    title="Attention with a prefix",
    reference="course_utils.models.prefix_tuning:prefix_attention",
    cases=_attention_cases,
    general="Not the attention of each token to the whole prefix and to the tokens up to itself.",
    atol=1e-5,
    difficulty=3,
    minutes=12,
    points=3,
    asked="prefix or prompt tuning? Write a prefix's attention",
    hints=[
        "Give the prefix a batch axis, `prefix_k.expand(len(q), -1, -1, -1)`, and put it before the keys along the third axis "
        "(`torch.cat((...), dim=2)`). The same with the values.",
        "The scores are (batch, heads, length, n + length). Token i may see all n places of the prefix, and tokens 0 to i.",
        "`torch.ones(length, n + length, dtype=torch.bool).tril(n)` is that mask; then softmax of "
        "`scores.masked_fill(~mask, -torch.inf)`, with scores divided by the root of head_dim.",
    ],
)


def _joined(prefix: Tensor, part: Tensor, behind: bool = False) -> Tensor:
    parts = (prefix.expand(len(part), -1, -1, -1), part)
    return torch.cat(parts[::-1] if behind else parts, dim=2)


def _seen(q: Tensor, prefix: Tensor, shift: int = 0) -> Tensor:
    """The mask (length, n + length), moved to the right by ``shift``."""
    n, length = prefix.shape[1], q.shape[2]
    return torch.ones(length, n + length, dtype=torch.bool).tril(n + shift)


def _scores(q: Tensor, keys: Tensor, scale: float | None = None) -> Tensor:
    return q @ keys.transpose(-1, -2) / (q.shape[-1] ** 0.5 if scale is None else scale)


def _attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float | None = None) -> Tensor:
    return _scores(q, keys, scale).masked_fill(~mask, -torch.inf).softmax(-1) @ values


def _apart(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention to the text alone, and to the prefix alone."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True), _scores(q, prefix_k).softmax(-1) @ prefix_v


@attention.bug("The prefix is not seen at all.")
def prefix_unseen(q, k, v, prefix_k, prefix_v):
    return _apart(q, k, v, prefix_k, prefix_v)[0]


@attention.bug(
    "The mask was not moved: token i sees i + 1 of all n + length places, so the first tokens see a piece of the prefix and "
    "no text. Use `tril(n)`."
)
def prefix_mask_not_moved(q, k, v, prefix_k, prefix_v):
    mask = _seen(q, prefix_k, shift=-prefix_k.shape[1])
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), mask)


@attention.bug("No mask: tokens see the text to their right.")
def prefix_without_mask(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), torch.ones(1, 1, dtype=torch.bool))


@attention.bug("The mask is one place too wide: each token sees its right neighbour.")
def prefix_mask_too_wide(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), _seen(q, prefix_k, shift=1))


@attention.bug("A token does not see itself; the mask is one place too narrow.")
def prefix_mask_too_narrow(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), _seen(q, prefix_k, shift=-1))


@attention.bug(
    "NaN: for some token all places are forbidden. `masked_fill` fills where the mask is True; is it turned round?"
)
def prefix_mask_turned(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), ~_seen(q, prefix_k))


@attention.bug("The scores are not divided by the root of head_dim.")
def prefix_unscaled(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), _seen(q, prefix_k), scale=1.0)


@attention.bug("The scores are divided by head_dim; its root is meant.")
def prefix_scaled_without_root(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), _seen(q, prefix_k), scale=q.shape[-1])


@attention.bug("The scores are divided by the root of all heads' numbers; one head's, head_dim, are meant.")
def prefix_scaled_by_all_heads(q, k, v, prefix_k, prefix_v):
    scale = (q.shape[1] * q.shape[-1]) ** 0.5
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v), _seen(q, prefix_k), scale)


@attention.bug("The prefix comes after the text, and the mask is made for one before it.")
def prefix_behind(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k, behind=True), _joined(prefix_v, v, behind=True), _seen(q, prefix_k))


@attention.bug(
    "The prefix stands before the keys but after the values: each weight then meets the value of another place."
)
def prefix_behind_the_values(q, k, v, prefix_k, prefix_v):
    return _attend(q, _joined(prefix_k, k), _joined(prefix_v, v, behind=True), _seen(q, prefix_k))


@attention.bug("Keys and values of the prefix are exchanged.")
def prefix_exchanged(q, k, v, prefix_k, prefix_v):
    return prefix_attention(q, k, v, prefix_v, prefix_k)


@attention.bug("The keys of the prefix are used as its values too.")
def prefix_keys_as_values(q, k, v, prefix_k, prefix_v):
    return prefix_attention(q, k, v, prefix_k, prefix_k)


@attention.bug("Every row of the batch sees the text of the first row. Each has its own: the prefix alone is shared.")
def prefix_before_one_text(q, k, v, prefix_k, prefix_v):
    return prefix_attention(q, k[:1].expand_as(k), v[:1].expand_as(v), prefix_k, prefix_v)


@attention.bug("Forbidden scores are set to 0, which softmax still gives weight; set them to -inf.")
def prefix_zero_scores(q, k, v, prefix_k, prefix_v):
    scores = _scores(q, _joined(prefix_k, k)).masked_fill(~_seen(q, prefix_k), 0.0)
    return scores.softmax(-1) @ _joined(prefix_v, v)


@attention.bug("The mask comes after the softmax, so the weights of a token no longer sum to 1; mask the scores.")
def prefix_masked_too_late(q, k, v, prefix_k, prefix_v):
    return _scores(q, _joined(prefix_k, k)).softmax(-1) * _seen(q, prefix_k) @ _joined(prefix_v, v)


@attention.bug(
    "The softmax runs over the tokens that look; over the places looked at (the last axis) each token's weights sum to 1."
)
def prefix_wrong_axis(q, k, v, prefix_k, prefix_v):
    scores = _scores(q, _joined(prefix_k, k)).masked_fill(~_seen(q, prefix_k), -1e9)
    return scores.softmax(-2) @ _joined(prefix_v, v)


@attention.bug("The mean of two attentions is taken: prefix and text share one softmax, so that they compete.")
def prefix_mean_of_two(q, k, v, prefix_k, prefix_v):
    return sum(_apart(q, k, v, prefix_k, prefix_v)) / 2


@attention.bug("Two softmaxes were added: prefix and text share one softmax, so that they compete.")
def prefix_two_softmaxes(q, k, v, prefix_k, prefix_v):
    return sum(_apart(q, k, v, prefix_k, prefix_v))


@attention.also
def prefix_is_trained(candidate: Callable[..., Tensor]) -> None:
    tensors = [tensor.clone().requires_grad_() for tensor in attention.cases[0].args]
    out = candidate(*tensors).square().sum()
    slopes = torch.autograd.grad(out, tensors, allow_unused=True) if out.requires_grad else [None] * len(tensors)
    without = [
        name
        for name, slope in zip(("q", "k", "v", "prefix_k", "prefix_v"), slopes, strict=True)
        if slope is None or not slope.any()
    ]
    message = f"No gradient reaches {' and '.join(without)}. Is there a `.detach()`, `no_grad` or `.data`?"
    expect.that(not without, message)
    again = [tensor.clone().requires_grad_() for tensor in attention.cases[0].args]
    wanted = torch.autograd.grad(attention.reference(*again).square().sum(), again)
    for name, slope, right in zip(("q", "k", "v", "prefix_k", "prefix_v"), slopes, wanted, strict=True):
        message = f"The gradient of {name} is not the whole one: one of its ways is cut off. Nothing is to be detached."
        expect.close(slope, right, message, atol=1e-4)


# 07.5


def early_stop(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    """(the evaluation after which training stops, the evaluation whose weights are kept), counted from 0."""
    if not losses:
        raise ValueError("losses is empty; at least one evaluation is needed.")
    if patience < 1 or min_delta < 0:
        raise ValueError(f"patience is {patience} and min_delta {min_delta}; give 1 or more, and 0 or more.")
    best = 0
    for step, loss in enumerate(losses):
        if loss < losses[best] - min_delta:
            best = step
        if step - best >= patience:
            return step, best
    return len(losses) - 1, best


def _stop_and_best(candidate, *arguments) -> list[int | None]:
    found = candidate(*arguments)
    expect.that(
        isinstance(found, list | tuple) and len(found) == 2, "Two numbers are wanted: `return stop, best`.", yours=found
    )
    expect.that(
        not any(isinstance(value, float) for value in found),
        "A loss is returned; both are positions, whole numbers.",
        yours=found,
    )
    return [None if value is None else operator.index(value) for value in found]


def _curve(*losses: float, patience: int, min_delta: float = 0.0) -> Case:
    return Case([float(loss) for loss in losses], patience, min_delta)


stopping = Exercise(
    "07.5",
    title="Early stopping",
    reference=early_stop,
    observe=_stop_and_best,
    cases=[
        Case([3.0, 2.0, 1.0], 2),
        _curve(3, 2, 2.25, 2.5, 2.75, 3, patience=2),
        _curve(3, 2, 2.5, 2.25, 1, 0.5, patience=2),
        _curve(3, 2, 2.5, 1, 1.5, 0.5, 0.75, 0.875, 0.25, patience=2),
        _curve(3, 2, 2, 2, 1, 0.5, patience=2),
        _curve(4, 3.5, 3, patience=2, min_delta=0.25),
        _curve(3, 2.96875, 2.9375, 2.984375, 2.9921875, 2.99, patience=3, min_delta=0.5),
        _curve(3, 2.875, 2.75, 2.5, 2.375, 2.25, patience=3, min_delta=0.25),
        _curve(3, 2.9375, 2.875, 2.8125, 2, patience=3, min_delta=0.5),
        _curve(1, 2, 1.5, 1.25, 1.125, patience=3),
        _curve(2, patience=1),
        _curve(8, 7.5, 6.5, 6.75, 7, patience=4, min_delta=0.125),
        _curve(-1, -2, -1.5, -2.25, -3, patience=3, min_delta=0.5),
    ],
    general="Not the evaluation after which it stops, and the best one up to there.",
    rtol=0,
    atol=0,
    difficulty=2,
    minutes=10,
    points=2,
    asked="write early stopping with patience and a minimal improvement",
    hints=[
        "Keep the index of the best evaluation so far, and compare each loss with `losses[best] - min_delta`.",
        "Stop as soon as `step - best >= patience`: so many evaluations in a row have brought nothing.",
        "Return the step at which you stop and the best one, two numbers. If it never stops early, the first is the last index.",
    ],
)


def _stop(losses, patience: int, better: Callable[[int, int], bool], reset: bool = True) -> tuple[int, int]:
    """Early stopping with ``better(step, best)`` for the improvement, perhaps without setting the count back."""
    best = waited = 0
    for step in range(1, len(losses)):
        if better(step, best):
            best, waited = step, 0 if reset else waited
        else:
            waited += 1
        if waited >= patience:
            return step, best
    return len(losses) - 1, best


@stopping.bug(
    "Each loss is compared with the one before; compare it with the best so far. A slow rise passes unseen else."
)
def stop_by_previous(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda step, best: losses[step] < losses[step - 1] - min_delta)


@stopping.bug("min_delta is not used: a smaller gain than that counts as none.")
def stop_without_delta(losses, patience, min_delta=0.0):
    return early_stop(losses, patience)


@stopping.bug("min_delta is added; the loss must lie *below* the best by more than min_delta.")
def stop_with_delta_added(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda step, best: losses[step] < losses[best] + min_delta)


@stopping.bug("A gain of exactly min_delta counts here (with 0: an equal loss). It must be more than that.")
def stop_equal(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda step, best: losses[step] <= losses[best] - min_delta)


@stopping.bug("min_delta is taken as a share of the best loss; it is an amount, in the losses' own unit.")
def stop_relative(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda step, best: losses[step] < losses[best] * (1 - min_delta))


@stopping.bug("A gain of min_delta or less lowers the mark here; what must be beaten is the best, which stays.")
def stop_lowered_mark(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda step, best: losses[step] < min(losses[:step]) - min_delta)


@stopping.bug("Turned round: these are losses, and lower is better.")
def stop_higher(losses, patience, min_delta=0.0):
    return early_stop([-loss for loss in losses], patience, min_delta)


@stopping.bug("Stopped one evaluation too late: after `patience` evaluations without improvement it is over.")
def stop_late(losses, patience, min_delta=0.0):
    return early_stop(losses, patience + 1, min_delta)


@stopping.bug("Stopped one evaluation too early: `patience` evaluations without improvement are allowed.")
def stop_soon(losses, patience, min_delta=0.0):
    return _stop(losses, patience - 1, lambda step, best: losses[step] < losses[best] - min_delta)


@stopping.bug("The count of evaluations without improvement is never set back to 0 after an improvement.")
def stop_no_reset(losses, patience, min_delta=0.0):
    return _stop(losses, patience, lambda step, best: losses[step] < losses[best] - min_delta, reset=False)


@stopping.bug("It never stops early: after `patience` evaluations without improvement nothing more is looked at.")
def stop_never(losses, patience, min_delta=0.0):
    return early_stop(losses, len(losses), min_delta)


@stopping.bug("The weights of the last evaluation are kept. Go back to the best: the last ones are already overfitted.")
def stop_last_weights(losses, patience, min_delta=0.0):
    step, _ = early_stop(losses, patience, min_delta)
    return step, step


@stopping.bug("The lowest loss is kept, though it lay below the best by min_delta or less: that is no improvement.")
def stop_lowest_kept(losses, patience, min_delta=0.0):
    step, _ = early_stop(losses, patience, min_delta)
    return step, min(range(step + 1), key=losses.__getitem__)


@stopping.bug("The best one lies past the stop; what comes after that is never evaluated.")
def stop_best_of_all(losses, patience, min_delta=0.0):
    return early_stop(losses, patience, min_delta)[0], min(range(len(losses)), key=losses.__getitem__)


@stopping.bug("The two are exchanged: first where training stops, then which weights are kept.")
def stop_exchanged(losses, patience, min_delta=0.0):
    return early_stop(losses, patience, min_delta)[::-1]


@stopping.bug("Counted from 1; evaluations are counted from 0.")
def stop_from_one(losses, patience, min_delta=0.0):
    return tuple(position + 1 for position in early_stop(losses, patience, min_delta))


@stopping.bug("Training stops after the last evaluation at the latest; counted from 0 that is len(losses) - 1.")
def stop_behind_the_last(losses, patience, min_delta=0.0):
    step, best = early_stop(losses, patience, min_delta)
    return step if step - best >= patience else len(losses), best


@stopping.bug("None is no position. If training never stops early, the first is the position of the last evaluation.")
def stop_none(losses, patience, min_delta=0.0):
    step, best = early_stop(losses, patience, min_delta)
    return step if step - best >= patience else None, best


@stopping.bug(
    "No evaluation counts as an improvement: the best loss starts at 0. Let it start at infinity, or at losses[0]."
)
def stop_from_zero(losses, patience, min_delta=0.0):
    step, best = early_stop([0.0, *losses], patience, min_delta)
    return step - 1, max(best - 1, 0)
