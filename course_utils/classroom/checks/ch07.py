"""Checks of chapter 07: a split by groups, gradual unfreezing, an adapter, attention with a prefix, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils.classroom.exercises.exercise import Mistake, check, expect
from course_utils.models import prefix_tuning
from course_utils.training import early_stopping, freezing


@check(
    "07.1",
    title="Split without a leak",
    reference="course_utils.text.splits:split_by_group",
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
def check_split_by_group(candidate: Callable[..., list[list[int]]]) -> None:
    groups = [f"{label}{number}" for label in "ab" for number in range(6) for _ in range(2 + number % 2)]
    # neighbours are mixed, so that a cut through the rows is no split by groups
    groups = groups[::2] + groups[1::2]
    labels = [group[0] for group in groups]
    shares = (0.5, 1 / 6, 1 / 3)
    given = {"labels": labels, "groups": groups, "shares": "(1/2, 1/6, 1/3)", "seed": 0}
    found = candidate(list(labels), list(groups), shares, 0)
    parts = _parts(found, 3, given)
    rows = [row for part in parts for row in part]
    expect.that(
        all(isinstance(row, int) and 0 <= row < len(groups) for row in rows),
        "The parts hold something else than row numbers. Return positions in `labels` and `groups`, not the groups themselves.",
        given=given,
        yours=parts,
    )
    if len(rows) != len(set(rows)):
        twice = next(row for row in rows if rows.count(row) > 1)
        raise Mistake(f"Row {twice} stands in two places; each row belongs to one part.", given=given, yours=parts)
    expect.that(
        len(rows) == len(groups),
        f"{len(groups) - len(rows)} of {len(groups)} rows are in no part. Do the cuts reach the end? Do all rows of a group go along?",
        given=given,
        yours=parts,
    )
    held = [{groups[row] for row in part} for part in parts]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if both := sorted(held[i] & held[j]):
            raise Mistake(
                f"Group {both[0]} stands in part {i} and in part {j}: a leak. All rows of a group go to one part.",
                given=given,
                yours=parts,
            )
    counts = [{label: sum(group[0] == label for group in part) for label in "ab"} for part in held]
    wanted = [3, 1, 2]
    if [sum(count.values()) for count in counts] == [6, 2, 4] and counts != [{"a": n, "b": n} for n in wanted]:
        raise Mistake(
            "The parts have the right number of groups, but not of each label. Cut the groups of every label for itself.",
            given=given,
            expected="groups of a and of b in each part: 3, 1, 2",
            yours=counts,
        )
    expect.that(
        counts == [{"a": n, "b": n} for n in wanted],
        "A label has the wrong number of groups in a part. The shares are of each label's groups: of 6, (1/2, 1/6, 1/3) are 3, 1, 2.",
        given=given,
        expected="groups of a and of b in each part: 3, 1, 2",
        yours=counts,
    )
    expect.that(
        _parts(candidate(list(labels), list(groups), shares, 0), 3, given) == parts,
        "Twice the same seed gave two different splits. Draw from `numpy.random.default_rng(seed)`, and walk through lists, not "
        "through a set, whose order may change.",
        given=given,
    )
    others = [_parts(candidate(list(labels), list(groups), shares, seed), 3, given) for seed in range(1, 6)]
    expect.that(
        any(other != parts for other in others),
        "The split does not depend on the seed: six seeds gave the same parts. Shuffle the groups before the cut.",
        given=given,
    )
    expect.that(
        all(part == sorted(part) for part in parts),
        "The row numbers of a part are to stand in rising order, as in the data.",
        given=given,
        yours=parts,
    )
    _cuts_are_rounded_sums(candidate)
    expect.that(
        len({repr(_with_hashes(candidate, labels, groups, shares, salt)) for salt in range(6)}) == 1,
        "The split hangs on the order of a set, which is another one each time Python starts: the same seed would deal the groups "
        "anew. Collect the groups in a list or a dictionary, or sort them.",
        given=given,
    )
    two = _parts(
        candidate([0, 0, 1, 1], ["p", "q", "r", "s"], (0.5, 0.5), 3), 2, "four rows, each a group; labels 0 0 1 1"
    )
    expect.that(
        sorted(map(len, two)) == [2, 2] and all({row // 2 for row in part} == {0, 1} for part in two),
        "Right for three parts and letters as labels, wrong for two parts with labels 0 and 1.",
        given={"labels": [0, 0, 1, 1], "groups": ["p", "q", "r", "s"], "shares": (0.5, 0.5)},
        yours=two,
    )


def _cuts_are_rounded_sums(candidate: Callable[..., list[list[int]]]) -> None:
    """Ten groups in thirds are 3, 4, 3, however many rows each has."""
    sizes = [6, 6, 1, 1, 1, 1, 1, 1, 1, 1]
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    given = {"labels": ["x"] * len(groups), "groups": groups, "shares": "(1/3, 1/3, 1/3)"}
    for seed in range(3):
        parts = _parts(candidate(["x"] * len(groups), list(groups), (1 / 3, 1 / 3, 1 / 3), seed), 3, given)
        found = [len({groups[row] for row in part}) for part in parts]
        if found == [3, 4, 3]:
            continue
        message = "Ten groups in thirds: the sums 3.3, 6.7 and 10 are rounded to the cuts 3, 7 and 10."
        if found == [3, 3, 4]:
            message = "The cuts are rounded down; round them: the sums 3.3, 6.7 and 10 give the cuts 3, 7 and 10."
        elif sum(found) < 10 or found == [3, 3, 3]:
            message = "Each share is rounded for itself, and three times 3 leaves a group out. Round the *sums* of the shares."
        elif sum(found) == 10:
            message += " Count groups, not rows: a group with many rows is one group."
        raise Mistake(message, given=given, expected="groups in the parts: 3, 4, 3", yours=found)


class _Salted(str):
    """A name whose hash, and with it its place in a set, can be changed, as it changes when Python starts anew."""

    salt = 0

    def __hash__(self) -> int:
        return hash((_Salted.salt, str(self)))


def _with_hashes(
    candidate: Callable[..., list[list[int]]], labels: list[str], groups: list[str], shares: tuple, salt: int
) -> list[list[int]]:
    _Salted.salt = salt
    named = {name: _Salted(name) for name in {*labels, *groups}}
    found = candidate([named[label] for label in labels], [named[group] for group in groups], shares, 0)
    return [sorted(part) for part in _parts(found, len(shares), "names with another hash")]


def _parts(found: object, count: int, given: object) -> list[list[int]]:
    if not isinstance(found, list | tuple) or len(found) != count:
        raise Mistake(
            f"A list of {count} parts is wanted, one for each share.",
            given=given,
            expected=f"a list of {count} lists of row numbers",
            yours=found,
        )
    parts = []
    for part in found:
        if isinstance(part, str) or not hasattr(part, "__iter__"):
            raise Mistake("Each part is a list of row numbers.", given=given, yours=found)
        parts.append([row.item() if hasattr(row, "item") else row for row in part])
    return parts


def unfrozen(names: Sequence[str], epoch: int) -> list[str]:
    """The names of the parameters that train in this epoch of gradual unfreezing."""
    return freezing.unfrozen(names, epoch)


@check(
    "07.2",
    title="Gradual unfreezing",
    reference=unfrozen,
    difficulty=2,
    minutes=10,
    points=2,
    asked="you unfreeze step by step: which parameters train when?",
    hints=[
        "The highest block has the largest number. Which names hold `layers.`? The number stands behind it: "
        "`int(name.split('layers.')[1].split('.')[0])`.",
        "Give every name a depth: 0 for the head and the last norm, 1 for the last block, 2 for the one below, and so on; the "
        "embedding is deepest of all.",
        "A parameter trains if its depth is at most `epoch`: `[name for name in names if depth(name) <= epoch]`.",
    ],
)
def check_unfrozen(candidate: Callable[[list[str], int], list[str]]) -> None:
    blocks = [f"model.layers.{i}.{part}.weight" for i in range(3) for part in ("self_attn.q_proj", "input_layernorm")]
    names = ["model.embed_tokens.weight", *blocks, "model.norm.weight", "score.weight"]
    depth = dict(zip(names, [4, 3, 3, 2, 2, 1, 1, 0, 0], strict=True))

    def choose(rule: Callable[[str], bool]) -> list[str]:
        return [name for name in names if rule(name)]

    def number(name: str) -> int:
        return int(name.split("layers.")[1].split(".")[0]) if "layers." in name else -1

    for epoch in range(6):
        found = candidate(list(names), epoch)
        expect.that(
            isinstance(found, list | tuple | set),
            "A list of names is wanted.",
            given={"names": names, "epoch": epoch},
            yours=found,
        )
        right = choose(lambda name, epoch=epoch: depth[name] <= epoch)
        up = {n: -1 if depth[n] == 0 else number(n) for n in names}
        wrong = {
            "Only the newest group trains. What was set free stays free: each epoch adds a group.": choose(
                lambda n, e=epoch: depth[n] == e
            ),
            "Blocks are set free from the bottom; the highest number is nearest to the head and comes first.": choose(
                lambda n, e=epoch, up=up: depth[n] == 0 or (0 <= up[n] < e) or (depth[n] == 4 and e >= 4)
            ),
            "The embedding trains too early; it is the deepest of all and comes last.": choose(
                lambda n, e=epoch: depth[n] <= e or n == names[0]
            ),
            "One group too many: in epoch 0 the head and the last norm train alone.": choose(
                lambda n, e=epoch: depth[n] <= e + 1
            ),
            "The norms of the blocks train from the start; only the last norm, `model.norm`, is above the blocks.": choose(
                lambda n, e=epoch: depth[n] <= e or "norm" in n
            ),
            "The embedding never trains; after the first block it is set free too.": choose(
                lambda n, e=epoch: depth[n] <= e and n != names[0]
            ),
            "One group too few: epoch 1 adds the last block. Is the number of blocks fixed? Read it from the names.": choose(
                lambda n, e=epoch: depth[n] <= max(0, e - 1)
            ),
            "The last norm is missing: it stands above the blocks, and belongs to the head.": choose(
                lambda n, e=epoch: depth[n] <= e and n != "model.norm.weight"
            ),
            "That is what is frozen. The names that train are wanted.": choose(lambda n, e=epoch: depth[n] > e),
            "Everything trains in every epoch.": list(names),
        }
        expect.that(
            len(found) == len(set(found)),
            "A name stands in the list twice; its numbers would be counted twice.",
            given={"names": names, "epoch": epoch},
            yours=list(found),
        )
        if set(found) != set(right):
            message = next((text for text, value in wrong.items() if set(found) == set(value)), None)
            raise Mistake(
                message
                or "These are not the head, the last norm and the `epoch` highest blocks (the embedding comes last).",
                given={"names": names, "epoch": epoch},
                expected=right,
                yours=list(found),
            )
    many = [f"model.layers.{i}.mlp.up_proj.weight" for i in (3, 11, 0, 9, 1, 10, 2, 8, 4, 7, 5, 6)] + ["score.bias"]
    found = candidate(list(many), 2)
    expect.that(
        "score.bias" in found,
        "`score.bias` does not train. All that is in no block and is no embedding belongs to the head, whatever its name.",
        given={"names": "twelve blocks and score.bias", "epoch": 2},
        yours=list(found),
    )
    expect.that(
        set(found) == {many[1], many[5], "score.bias"},
        "Wrong for 12 blocks in mixed order: block 11 is above block 9. Compare the numbers, not the strings or the places, and "
        "read all digits.",
        given={"names": many, "epoch": 2},
        expected=[many[1], many[5], "score.bias"],
        yours=list(found),
    )


@check(
    "07.3",
    title="A bottleneck adapter",
    reference="course_utils.models.adapters:BottleneckAdapter",
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
def check_adapter(candidate: Callable[[int, int], nn.Module]) -> None:
    torch.manual_seed(7)
    adapter = candidate(6, 3)
    given = "Adapter(hidden=6, bottleneck=3)"
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
        expect.that(
            layer.bias is not None, f"`{name}` has no bias; the paper's adapters have one in both layers.", given=given
        )
    extra = sum(p.numel() for p in adapter.parameters())
    expect.that(
        extra == 2 * 6 * 3 + 6 + 3,
        f"The adapter holds {extra} numbers; two layers with biases hold 2 * 6 * 3 + 6 + 3 = 45. Is there a layer too many?",
        given=given,
    )
    x = torch.randn(2, 4, 6)
    out = adapter(x)
    overwritten = (
        "The adapter overwrites what it gets (`x += ...`); others still need it. Return a new tensor: `x + ...`."
    )
    expect.that(not x.requires_grad, overwritten, given=given)
    expect.shape(out, (2, 4, 6), given="x (2, 4, 6)")
    down, up = adapter.down, adapter.up
    start = {"x": x[0, :1], "yours": "at the start, before any training"}
    if not torch.equal(out, x):
        if torch.equal(out, torch.zeros_like(x)):
            raise Mistake(
                "The adapter gives zero: what comes in is not passed on. Add it to the output of `up`.",
                given=start,
                expected=x[0, :1],
                yours=out[0, :1],
            )
        raise Mistake(
            "At the start the adapter changes what comes in. It should pass it on exactly: weight and bias of `up` are zero.",
            given=start,
            expected=x[0, :1],
            yours=out[0, :1],
        )
    expect.that(
        bool(down.weight.any()),
        "Both layers start at zero. Then neither gets a gradient, and the adapter never learns: leave `down` random.",
        given=given,
    )
    expect.that(
        len({tuple(row.tolist()) for row in down.weight}) == 3,
        "The rows of `down` are equal. They get equal gradients and stay equal, so the narrow place holds one number, not three: "
        "leave `down` random.",
        given=given,
        yours=down.weight,
    )
    learning = out.square().sum()
    if learning.requires_grad:
        learning.backward()
    learns = up.weight.grad is not None and bool(up.weight.grad.any())
    adapter.zero_grad()
    with torch.no_grad():
        for parameter in (*down.parameters(), *up.parameters()):
            parameter.copy_(torch.randn(parameter.shape))
    kept, again = x.clone(), adapter(x)
    expect.that(torch.equal(x, kept), overwritten, given=given)
    expect.that(
        torch.equal(adapter(x), again), "Two calls with the same x differ; no dropout is asked for.", given=given
    )
    inner = torch.nn.functional.linear(x, down.weight, down.bias)
    raised = lambda h: torch.nn.functional.linear(h, up.weight, up.bias)  # noqa: E731
    expect.close(
        adapter(x),
        x + raised(inner.relu()),
        "Not x + up(relu(down(x))).",
        given={"x": x, "down, up": "random weights and biases, as after training"},
        mistakes={
            "The nonlinearity is missing: down and up are then one thin matrix, as in LoRA.": x + raised(inner),
            "What comes in is not added: without it the model's own output is lost.": raised(inner.relu()),
            "GELU stands in the narrow place; ReLU is asked for.": x + raised(torch.nn.functional.gelu(inner)),
            "The nonlinearity stands behind `up`; it belongs in the narrow place, between the two.": x
            + raised(inner).relu(),
            "The nonlinearity stands before `down`; it belongs between the two.": x
            + raised(torch.nn.functional.linear(x.relu(), down.weight, down.bias)),
            "Sigmoid stands in the narrow place; ReLU is asked for.": x + raised(inner.sigmoid()),
            "Tanh stands in the narrow place; ReLU is asked for.": x + raised(inner.tanh()),
            "ReLU is applied to the sum as well: the stream may be negative.": (x + raised(inner.relu())).relu(),
            "SiLU stands in the narrow place; ReLU is asked for.": x + raised(torch.nn.functional.silu(inner)),
        },
        rtol=1e-4,
        atol=1e-5,
    )
    expect.that(
        learns,
        "At the start `up` gets no gradient, so the adapter never learns. Is something frozen or detached, or is every ReLU shut?",
        given=given,
    )
    _gradients_pass(adapter, x, given)


def _gradients_pass(adapter: nn.Module, x: Tensor, given: str) -> None:
    """With random weights everything learns, and so does what lies below."""
    below = x.clone().requires_grad_()
    adapter(below).square().sum().backward()
    for name in ("down", "up"):
        gradient = getattr(adapter, name).weight.grad
        expect.that(
            gradient is not None and bool(gradient.any()),
            f"`{name}` gets no gradient after the start. Is it frozen, or detached?",
            given=given,
        )
    expect.that(
        below.grad is not None and bool(torch.isfinite(below.grad).all()) and bool(below.grad.any()),
        "No gradient reaches what comes in: the adapters below would not learn. Nothing is to be detached.",
        given=given,
    )


def prefix_attention(q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor) -> Tensor:
    """Causal attention over (batch, heads, length, head_dim); every token also sees the prefix (heads, n, head_dim)."""
    return prefix_tuning.prefix_attention(q, k, v, prefix_k, prefix_v)


@check(
    "07.4",
    title="Attention with a prefix",
    reference=prefix_attention,
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
def check_prefix_attention(candidate: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(4)
    q, k, v = (torch.randn(2, 3, 4, 6, generator=generator) for _ in range(3))
    pk, pv = (torch.randn(3, 2, 6, generator=generator) for _ in range(2))

    def attend(
        mask: Tensor,
        scale: float = 6**0.5,
        keys: Tensor | None = None,
        values: Tensor | None = None,
        after: bool = False,
    ) -> Tensor:
        parts = [[pk if keys is None else keys, k], [pv if values is None else values, v]]
        both = [
            torch.cat([p.expand(2, *p.shape[-3:]) for p in (part[::-1] if after else part)], dim=2) for part in parts
        ]
        weights = (q @ both[0].transpose(-1, -2) / scale).masked_fill(~mask, -torch.inf).softmax(-1)
        return weights @ both[1]

    causal = torch.ones(4, 6, dtype=torch.bool).tril(2)
    alone = torch.ones(4, 4, dtype=torch.bool).tril()
    plain = (q @ k.transpose(-1, -2) / 6**0.5).masked_fill(~alone, -torch.inf).softmax(-1) @ v
    to_prefix = (q @ pk.transpose(-1, -2) / 6**0.5).softmax(-1) @ pv
    zero_left = torch.cat((torch.zeros(4, 2, dtype=torch.bool), alone), dim=1)
    given = "q, k, v (2, 3, 4, 6), prefix_k and prefix_v (3, 2, 6): 2 places of prefix, 4 tokens"
    out = candidate(q.clone(), k.clone(), v.clone(), pk.clone(), pv.clone())
    expect.shape(out, (2, 3, 4, 6), given=given)
    expect.that(
        not bool(out.isnan().any()),
        "NaN: for some token all places are forbidden. `masked_fill` fills where the mask is True; is the mask turned round?",
        given=given,
        yours=out,
    )
    scores = q @ torch.cat((pk.expand(2, -1, -1, -1), k), dim=2).transpose(-1, -2) / 6**0.5
    both = torch.cat((pv.expand(2, -1, -1, -1), v), dim=2)
    expect.close(
        out,
        attend(causal),
        "Not the attention of each token to the whole prefix and to the tokens up to itself.",
        given=given,
        mistakes={
            "The prefix is not seen at all.": plain,
            "The mask hides the prefix: its columns are forbidden.": attend(zero_left),
            "The mask was not moved: token i sees i + 1 of all n + length places, so the first tokens see a piece of the prefix "
            "and no text. Use `tril(n)`.": attend(torch.ones(4, 6, dtype=torch.bool).tril()),
            "No mask: tokens see the text to their right.": attend(torch.ones(4, 6, dtype=torch.bool)),
            "The mask is one place too wide: each token sees its right neighbour.": attend(
                torch.ones(4, 6, dtype=torch.bool).tril(3)
            ),
            "A token does not see itself; the mask is one place too narrow.": attend(
                torch.ones(4, 6, dtype=torch.bool).tril(1)
            ),
            "The scores are not divided by the root of head_dim.": attend(causal, 1.0),
            "The scores are divided by head_dim; its root is meant.": attend(causal, 6.0),
            "The prefix stands behind the text, and the mask is made for one before it.": attend(causal, after=True),
            "Keys and values of the prefix are exchanged.": attend(causal, keys=pv, values=pk),
            "The keys of the prefix are used as its values too.": attend(causal, values=pk),
            "Forbidden scores are set to 0, which softmax still gives weight; set them to -inf.": scores.masked_fill(
                ~causal, 0.0
            ).softmax(-1)
            @ both,
            "The mask comes after the softmax, so the weights of a token no longer sum to 1; mask the scores.": (
                scores.softmax(-1) * causal
            )
            @ both,
            "The softmax runs over the tokens that look; over the places looked at (the last axis) each token's weights sum to 1.": (
                scores.masked_fill(~causal, -1e9).softmax(-2)
            )
            @ both,
            "The mean of two attentions is taken: prefix and text share one softmax, so that they compete.": (
                plain + to_prefix
            )
            / 2,
            "Two softmaxes were added: prefix and text share one softmax, so that they compete.": plain + to_prefix,
        },
        rtol=1e-4,
        atol=1e-5,
    )
    long = torch.randn(3, 5, 6, generator=generator)
    more = candidate(q[:1, :, :1].clone(), k[:1, :, :1].clone(), v[:1, :, :1].clone(), long.clone(), long.clone())
    expect.close(
        more,
        prefix_attention(q[:1, :, :1], k[:1, :, :1], v[:1, :, :1], long, long),
        "Right for 2 places before 4 tokens, wrong for 5 places before 1 token: is a size fixed?",
        given="q, k, v (1, 3, 1, 6), prefix (3, 5, 6)",
        rtol=1e-4,
        atol=1e-5,
    )


def early_stop(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    """(the evaluation after which training stops, the evaluation whose weights are kept), counted from 0."""
    return early_stopping.early_stop(losses, patience, min_delta)


@check(
    "07.5",
    title="Early stopping",
    reference=early_stop,
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
def check_early_stop(candidate: Callable[..., tuple[int, int]]) -> None:
    def run(losses: list[float], patience: int, min_delta: float, *, how: str = "") -> tuple[int, int]:
        best, waited, previous = 0, 0, losses[0]
        for step, loss in enumerate(losses):
            if how == "previous":
                better = step == 0 or loss < previous - min_delta
            elif how == "no delta":
                better = step == 0 or loss < losses[best]
            elif how == "plus":
                better = step == 0 or loss < losses[best] + min_delta
            elif how == "equal":
                better = step == 0 or loss <= losses[best] - min_delta
            elif how == "relative":
                better = step == 0 or loss < losses[best] * (1 - min_delta)
            elif how == "higher":
                better = step == 0 or loss > losses[best] + min_delta
            else:
                better = step == 0 or loss < losses[best] - min_delta
            previous = loss
            if better:
                best = step
                waited = waited if how == "no reset" else 0
            else:
                waited += 1
            if waited >= patience + (how == "late") - (how == "soon"):
                return step, best
        return len(losses) - 1, best

    told = {
        "relative": "min_delta is taken as a share of the best loss; it is an amount, in the losses' own unit.",
        "previous": "Each loss is compared with the one before; compare it with the best so far. A slow rise passes unseen else.",
        "no delta": "min_delta is not used: a smaller gain than that counts as none.",
        "plus": "min_delta is added; the loss must lie *below* the best by more than min_delta.",
        "equal": "A gain of exactly min_delta counts here (with 0: an equal loss). It must be more than that.",
        "higher": "Turned round: these are losses, and lower is better.",
        "no reset": "The count of evaluations without improvement is never set back to 0 after an improvement.",
        "late": "Stopped one evaluation too late: after `patience` evaluations without improvement it is over.",
        "soon": "Stopped one evaluation too early: `patience` evaluations without improvement are allowed.",
    }
    cases = [
        ([3.0, 2, 1], 2, 0.0),
        ([3.0, 2, 2.25, 2.5, 2.75, 3], 2, 0.0),
        ([3.0, 2, 2.5, 2.25, 1, 0.5], 2, 0.0),
        ([3.0, 2, 2.5, 1, 1.5, 0.5, 0.75, 0.875, 0.25], 2, 0.0),
        ([3.0, 2, 2, 2, 1, 0.5], 2, 0.0),
        ([4.0, 3.5, 3.0], 2, 0.25),
        ([3.0, 2.96875, 2.9375, 2.984375, 2.9921875, 2.99], 3, 0.5),
        ([3.0, 2.875, 2.75, 2.5, 2.375, 2.25], 3, 0.25),
        ([3.0, 2.9375, 2.875, 2.8125, 2], 3, 0.5),
        ([1.0, 2, 1.5, 1.25, 1.125], 3, 0.0),
        ([2.0], 1, 0.0),
    ]
    for losses, patience, min_delta in cases:
        given = {"losses": losses, "patience": patience, "min_delta": min_delta}
        found = candidate(list(losses), patience, min_delta)
        expect.that(
            isinstance(found, list | tuple) and len(found) == 2,
            "Two numbers are wanted: `return stop, best`.",
            given=given,
            yours=found,
        )
        right = run(losses, patience, min_delta)
        if tuple(found) == right:
            continue
        if tuple(found) == right[::-1]:
            message = "The two are exchanged: first where training stops, then which weights are kept."
        elif found[0] is None or found[1] is None:
            message = (
                "None is no position. If training never stops early, the first is the position of the last evaluation."
            )
        elif tuple(found) == (right[0] + 1, right[1] + 1):
            message = "Counted from 1; evaluations are counted from 0."
        elif found[0] == len(losses):
            message = "Training stops after the last evaluation at the latest; counted from 0 that is len(losses) - 1."
        elif tuple(found) in ((losses[right[0]], losses[right[1]]), (right[0], losses[right[1]])):
            message = "A loss is returned; both are positions."
        elif found[1] > found[0]:
            message = "The best one lies behind the stop; what comes after it is never evaluated."
        elif tuple(found) == (patience - 1, 0) and right[1] > 0:
            message = "No evaluation counts as an improvement. Does the best loss start at 0? Let it start at infinity, or at losses[0]."
        elif tuple(found) == (right[0], losses.index(min(losses[: right[0] + 1]))) and min_delta:
            message = (
                "The lowest loss is kept, though it lay below the best by min_delta or less: that is no improvement."
            )
        elif tuple(found) == (right[0], right[0]) and right[0] != right[1]:
            message = "The weights of the last evaluation are kept. Go back to the best: the last ones are already overfitted."
        elif found[0] == len(losses) - 1 != right[0]:
            message = (
                "It never stops early: after `patience` evaluations without improvement nothing more is looked at."
            )
            message = next(
                (told[how] for how in told if run(losses, patience, min_delta, how=how) == tuple(found)), message
            )
        else:
            message = next(
                (told[how] for how in told if run(losses, patience, min_delta, how=how) == tuple(found)), None
            )
        raise Mistake(
            message or "Not the evaluation after which it stops, and the best one up to there.",
            given=given,
            expected=right,
            yours=tuple(found),
        )
