"""Checks of chapter 19: the roofline, the bytes of a cache, blocks with holders, one decision of a scheduler, one rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from course_utils.classroom.exercises.cases import Case, Exercise
from course_utils.classroom.exercises.exercise import Mistake

# --- 19.1


def roofline_seconds(
    tokens: int, inputs: int, outputs: int, bytes_per_number: float, peak: float, bandwidth: float
) -> float:
    """The longer of what the arithmetic takes and what the memory takes."""
    flop = 2 * tokens * inputs * outputs
    moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))
    return max(flop / peak, moved / bandwidth)


def _number(answer: Callable, *arguments: Any) -> float:
    result = answer(*arguments)
    result = result.item() if hasattr(result, "item") else result
    if isinstance(result, bool) or not isinstance(result, int | float):
        raise Mistake(f"One number is wanted; yours is a {type(result).__name__}.")
    return float(result)


roofline = Exercise(
    "19.1",
    title="The least time of a layer",
    reference=roofline_seconds,
    cases=[
        Case(1, 10, 20, 2, 1e3, 1e1),
        Case(100, 10, 20, 2, 1e3, 1e6),
        Case(1, 4096, 4096, 2, 1e14, 1e12, note="one token through 4,096 x 4,096, 16 bits"),
        Case(512, 4096, 1024, 2, 1e14, 1e12, note="512 tokens through 4,096 x 1,024, 16 bits"),
        Case(64, 3, 500, 4, 2e3, 1e2, note="tokens * (inputs + outputs) is larger than the weights"),
        Case(7, 30, 20, 0.5, 1e4, 1e3, note="4-bit numbers: half a byte each"),
    ],
    general="Not max(FLOP / peak, bytes / bandwidth).",
    observe=_number,
    rtol=1e-6,
    atol=0.0,
    difficulty=1,
    minutes=7,
    points=2,
    asked="is decoding bound by compute or by memory? Show it",
    hints=[
        "Arithmetic: each token meets each weight once, with a product and a sum.",
        "Memory: the weights are read once for all tokens; each token brings `inputs` numbers and takes `outputs` away.",
        "`flop = 2 * tokens * inputs * outputs`\n"
        "`moved = bytes_per_number * (inputs * outputs + tokens * (inputs + outputs))`\n"
        "`return max(flop / peak, moved / bandwidth)`",
    ],
)


def _roofline(
    tokens,
    inputs,
    outputs,
    bytes_per_number,
    peak,
    bandwidth,
    flop=lambda n, i, o: 2 * n * i * o,
    moved=lambda n, i, o, size: size * (i * o + n * (i + o)),
    join=max,
):
    return join(flop(tokens, inputs, outputs) / peak, moved(tokens, inputs, outputs, bytes_per_number) / bandwidth)


for _sentence, _wrong in {
    "A multiplication and an addition are two operations; yours counts one.": {"flop": lambda n, i, o: n * i * o},
    "The operations of one token are counted; there are `tokens` of them.": {"flop": lambda n, i, o: 2 * i * o},
    "The weights are counted anew for each token; they are read once for all of them, which is why batches pay.": {
        "moved": lambda n, i, o, size: size * n * (i * o + i + o)
    },
    "Only the weights are moved in your count; the tokens' inputs and outputs are too.": {
        "moved": lambda n, i, o, size: size * i * o
    },
    "The weights are missing from the bytes.": {"moved": lambda n, i, o, size: size * n * (i + o)},
    "Inputs and outputs of one token are counted; there are `tokens` of them.": {
        "moved": lambda n, i, o, size: size * (i * o + i + o)
    },
    "The outputs are missing from the bytes: they are written.": {
        "moved": lambda n, i, o, size: size * (i * o + n * i)
    },
    "The inputs are missing from the bytes: they are read.": {"moved": lambda n, i, o, size: size * (i * o + n * o)},
    "Numbers are counted in place of bytes: times `bytes_per_number`.": {
        "moved": lambda n, i, o, size: i * o + n * (i + o)
    },
    "The two times are added; arithmetic and memory work at the same time, so the longer one counts.": {
        "join": lambda a, b: a + b
    },
    "The shorter of the two times is returned; both must be over, so the longer one counts.": {"join": min},
    "Only the arithmetic is timed.": {"join": lambda a, b: a},
    "Only the memory is timed.": {"join": lambda a, b: b},
}.items():
    roofline.bug(_sentence)(partial(_roofline, **cast("dict[str, Any]", _wrong)))


@roofline.bug("That is the arithmetic intensity, FLOP per byte; seconds are wanted.")
def intensity(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    return 2 * tokens * inputs * outputs / (bytes_per_number * (inputs * outputs + tokens * (inputs + outputs)))


@roofline.bug("Peak and bandwidth are exchanged: operations go with `peak`, bytes with `bandwidth`.")
def exchanged(tokens, inputs, outputs, bytes_per_number, peak, bandwidth):
    return _roofline(tokens, inputs, outputs, bytes_per_number, bandwidth, peak)


# --- 19.2


def kv_bytes(
    layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_number: float, window: int | None = None
) -> float:
    """Keys and values, of each layer and key/value head, for each token that is kept."""
    kept = tokens if window is None else min(tokens, window)
    return 2 * layers * kv_heads * head_dim * kept * bytes_per_number


cache_size = Exercise(
    "19.2",
    title="The bytes of a cache",
    reference=kv_bytes,
    cases=[
        Case(2, 1, 4, 3, 2),
        Case(80, 8, 128, 4096, 2),
        Case(4, 2, 32, 100, 4),
        Case(4, 2, 32, 100, 1, 30),
        Case(4, 2, 32, 20, 1, 30, message="Wrong where fewer tokens are there than the window holds."),
        Case(32, 8, 128, 1000, 0.5, note="4 bits: half a byte"),
    ],
    general="Not 2 * layers * kv_heads * head_dim * kept tokens * bytes_per_number.",
    observe=_number,
    rtol=1e-6,
    atol=0.0,
    difficulty=1,
    minutes=5,
    points=2,
    asked="how large is the KV cache of a 70 B model?",
    hints=[
        "Each layer keeps, for each token and key/value head, one key and one value of `head_dim` numbers.",
        "With a window only the last tokens are kept: `min(tokens, window)`, if there is a window.",
        "`kept = tokens if window is None else min(tokens, window)`\n"
        "`return 2 * layers * kv_heads * head_dim * kept * bytes_per_number`",
    ],
)


def _kv(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None, kinds=2, kept=None, of=None):
    kept = kept or (lambda tokens, window: tokens if window is None else min(tokens, window))
    product = of or (lambda a, b, c, d, e: a * b * c * d * e)
    return product(layers, kv_heads, head_dim, kept(tokens, window), bytes_per_number) * kinds


for _sentence, _wrong in {
    "A key and a value are kept: yours counts one of them.": {"kinds": 1},
    "Four kinds are counted; only keys and values are kept, not queries or outputs.": {"kinds": 4},
    "The layers are missing: each one has keys and values of its own.": {"of": lambda a, b, c, d, e: b * c * d * e},
    "The heads are missing.": {"of": lambda a, b, c, d, e: a * c * d * e},
    "`head_dim` is missing: a key is a vector.": {"of": lambda a, b, c, d, e: a * b * d * e},
    "Numbers are counted in place of bytes: times `bytes_per_number`.": {"of": lambda a, b, c, d, e: a * b * c * d},
    "The bytes of one token are returned; there are more.": {"kept": lambda tokens, window: 1},
    "The window is ignored: older tokens are dropped.": {"kept": lambda tokens, window: tokens},
    "The window is counted even where fewer tokens are there.": {
        "kept": lambda tokens, window: tokens if window is None else window
    },
    "The larger of tokens and window is taken; at most `window` tokens are kept.": {
        "kept": lambda tokens, window: tokens if window is None else max(tokens, window)
    },
    "The tokens after the window are counted; those inside of it are kept.": {
        "kept": lambda tokens, window: tokens if window is None else max(tokens - window, 0)
    },
    "The tokens are squared: the cache grows with the length, only the arithmetic of attention with its square.": {
        "kept": lambda tokens, window: (tokens if window is None else min(tokens, window)) ** 2
    },
}.items():
    cache_size.bug(_sentence)(partial(_kv, **cast("dict[str, Any]", _wrong)))


@cache_size.bug("Bits are taken for bytes: `bytes_per_number` is in bytes already.")
def kv_bits(layers, kv_heads, head_dim, tokens, bytes_per_number, window=None):
    return _kv(layers, kv_heads, head_dim, tokens, bytes_per_number, window) / 8


# --- 19.3


class Blocks:
    """A free list and, for each block, how many hold it."""

    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.holders = [0] * count

    def take(self) -> int | None:
        if not self.free:
            return None
        block = self.free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        self.holders[block] += 1

    def release(self, block: int) -> None:
        if self.holders[block] == 0:
            raise ValueError(f"block {block} is released, but nobody holds it")
        self.holders[block] -= 1
        if self.holders[block] == 0:
            self.free.append(block)


def _played(answer: Any, count: int, script: str) -> list[Any]:
    """What a script of operations shows. t: take; sN, rN: share, release the N-th block that was taken.

    Blocks may be handed out in any order: a block that is taken is shown as its place among those held at that moment
    ("new" if nobody holds it), and at the end it is asked how many blocks can still be taken.
    """
    pool = answer(count)
    taken: list[int] = []
    held: dict[int, int] = {}
    seen: list[Any] = []
    for word in script.split():
        if word == "t":
            block = pool.take()
            block = block.item() if hasattr(block, "item") else block
            if block is None:
                seen.append("none left")
                taken.append(-1)
                continue
            if isinstance(block, bool) or not isinstance(block, int):
                raise Mistake(f"`take` returns the number of a block, or None; yours is a {type(block).__name__}.")
            known = "held by somebody else" if held.get(block, 0) else "free"
            seen.append(known if 0 <= block < count else "no block of this pool")
            held[block] = 1
            taken.append(block)
            continue
        block = taken[int(word[1:])]
        if block < 0:
            seen.append("there was none")
            continue
        if word[0] == "s":
            pool.share(block)
            held[block] += 1
            seen.append("shared")
            continue
        try:
            pool.release(block)
        except (ValueError, KeyError, AssertionError, RuntimeError, IndexError) as error:
            seen.append("refused" if isinstance(error, ValueError) else type(error).__name__)
        else:
            seen.append("released")
            held[block] = max(held[block] - 1, 0)
    left = 0
    while left <= count and pool.take() is not None:
        left += 1
    return [*seen, left]


blocks = Exercise(
    "19.3",
    title="Blocks with holders",
    reference=Blocks,
    cases=[
        Case(2, "t", note="2 blocks; take", message="Wrong after one block was taken."),
        Case(2, "t t t", note="2 blocks; take three times"),
        Case(3, "t t r0 t t", note="3 blocks; take a, take b, release a, take, take"),
        Case(2, "t s0 r0 t t", note="2 blocks; take a, share a, release a once, take, take"),
        Case(2, "t s0 r0 r0 t t", note="2 blocks; take a, share a, release a twice, take, take"),
        Case(2, "t r0 r0 t t", note="2 blocks; take a, release a, release a again, take, take"),
        Case(
            1, "t s0 s0 r0 r0 t r0 t s2 r2 t", note="1 block with three holders, released one by one, then taken anew"
        ),
        Case(4, "t t t t t r2 r0 t s5 t r5 t", note="4 blocks; all taken, two released, taken anew, one shared"),
    ],
    general="The blocks are not handed out, shared and given back as described.",
    observe=_played,
    rtol=0.0,
    atol=0.0,
    difficulty=2,
    minutes=10,
    points=3,
    asked="write the block allocator of a paged KV cache",
    hints=[
        "Two things to keep: a list of free blocks, and a list of how many hold each block.",
        "`release` takes one holder away; only when none is left does the block go back to the free list.",
        "`__init__`: `self.free = list(range(count)); self.holders = [0] * count`\n"
        "`take`: `if not self.free: return None; block = self.free.pop(); self.holders[block] = 1; return block`\n"
        "`share`: `self.holders[block] += 1`\n"
        "`release`: `if self.holders[block] == 0: raise ValueError(f'nobody holds block {block}')`, then "
        "`self.holders[block] -= 1`, and `if self.holders[block] == 0: self.free.append(block)`",
    ],
)


@blocks.bug(
    "After `share` the first `release` frees the block; another request still holds it, and would be overwritten."
)
class FreedTooSoon(Blocks):
    def release(self, block):
        if self.holders[block] == 0:
            raise ValueError("nobody holds it")
        self.holders[block] = 0
        self.free.append(block)


@blocks.bug("A block that nobody holds can be released again: it would then be handed out twice. Raise a ValueError.")
class TwiceFree(Blocks):
    def release(self, block):
        self.holders[block] -= 1
        if self.holders[block] <= 0:
            self.holders[block] = 0
            self.free.append(block)


@blocks.bug(
    "Releasing a block that nobody holds is passed over in silence; it is a mistake of the caller: raise a ValueError."
)
class SilentRelease(Blocks):
    def release(self, block):
        if self.holders[block] > 0:
            super().release(block)


@blocks.bug("A released block never comes back: it does not go to the free list.")
class Lost(Blocks):
    def release(self, block):
        if self.holders[block] == 0:
            raise ValueError("nobody holds it")
        self.holders[block] -= 1


@blocks.bug(
    "After `share` the first `release` frees the block; another request still holds it, and would be overwritten."
)
class NotShared(Blocks):
    def share(self, block):
        pass


@blocks.bug("`take` hands out a block that is still held.")
class HandedOutTwice(Blocks):
    def take(self):
        if not self.free:
            return None
        block = self.free[0]
        self.holders[block] = 1
        if len(self.free) > 1:
            self.free.append(self.free.pop(0))
        else:
            self.free.clear()
        return block


@blocks.bug("A block is taken with no holder: `take` makes one, the caller.")
class NoHolder(Blocks):
    def take(self):
        return self.free.pop() if self.free else None

    def release(self, block):
        if self.holders[block] == 0:
            raise ValueError("nobody holds it")
        super().release(block)


@blocks.bug("All blocks but one can be taken: the pool has `count` of them, numbered from 0.")
class OneTooFew(Blocks):
    def __init__(self, count):
        super().__init__(count)
        self.free = self.free[1:]


# --- 19.4

one_pass = Exercise(
    "19.4",
    title="One decision of continuous batching",
    reference="course_utils.serving.scheduler:plan_pass",
    cases=[
        Case([1, 1], [], 4, 8, 16),
        Case([1], [(2, 20)], 4, 8, 64),
        Case([1, 30, 1], [(2, 20), (1, 9)], 2, 8, 16),
        Case([], [(3, 40)], 2, 8, 16, message="Wrong where the first in the queue does not fit."),
        Case(
            [],
            [(9, 5), (1, 5)],
            4,
            8,
            16,
            message="Wrong where the second in the queue would fit and the first does not.",
        ),
        Case([1, 1], [(1, 5)] * 5, 9, 3, 16, message="Wrong where `max_running` is reached."),
        Case([1, 1, 1, 1], [(1, 5)], 9, 4, 16, message="Wrong where as many run already as may."),
        Case([10, 10, 1, 10], [], 4, 8, 16, message="Wrong where three prompts share the chunk."),
        Case([40, 1, 1], [(2, 7)], 2, 8, 8, message="Wrong where the chunk is used up before the end."),
        Case([1] * 20, [(1, 3)], 1, 32, 4, message="Wrong where more requests generate than the chunk has tokens."),
        Case([1], [(0, 1), (1, 1)], 1, 8, 4, message="Wrong for a prompt of which one token is missing."),
        Case([], [], 4, 8, 16),
        Case([], [(2, 9), (2, 9), (2, 9)], 4, 8, 12),
    ],
    general="Admission or shares differ: in order, while places and blocks last; those who generate read 1, prompts share the chunk.",
    observe=lambda answer, *arguments: _plan(answer(*arguments)),
    rtol=0.0,
    atol=0.0,
    difficulty=3,
    minutes=12,
    points=3,
    asked="write one step of a continuous batching scheduler",
    hints=[
        "Admission: go along the queue; stop at the first that does not fit or finds no place. Take its blocks off.",
        "Then shares: `running` followed by the tokens of those admitted. 1 reads 1. Others get what is left of `chunk`.",
        "`admitted = 0`\n"
        "`while admitted < len(waiting) and len(running) + admitted < max_running and waiting[admitted][0] <= free_blocks:`\n"
        "`    free_blocks -= waiting[admitted][0]; admitted += 1`\n"
        "`reads = []`\n"
        "`for missing in running + [tokens for _, tokens in waiting[:admitted]]:`\n"
        "`    read = 1 if missing == 1 else min(missing, chunk)`\n"
        "`    chunk -= read if missing > 1 else 0; reads.append(read)`\n"
        "`return admitted, reads`",
    ],
)


def _plan(result: Any) -> Any:
    if not isinstance(result, tuple | list) or len(result) != 2 or not hasattr(result[1], "__len__"):
        raise Mistake("Two things are wanted: how many are admitted, and the list of tokens that each reads.")
    admitted, reads = result
    reads = reads.tolist() if hasattr(reads, "tolist") else list(reads)
    return [int(admitted), [int(n) for n in reads]]


def _pass(
    running,
    waiting,
    free_blocks,
    max_running,
    chunk,
    fits=lambda cost, free: cost <= free,
    spend=lambda cost: cost,
    place=lambda running, admitted, most: running + admitted < most,
    overtake=False,
    read=None,
    budget=None,
    joined=True,
):
    waiting = list(waiting)
    chosen = []
    for cost, tokens in waiting:
        if not place(len(running), len(chosen), max_running) or not fits(cost, free_blocks):
            if overtake:
                continue
            break
        free_blocks -= spend(cost)
        chosen.append(tokens)
    read = read or (lambda missing, chunk: 1 if missing == 1 else min(missing, chunk))
    budget = budget or (lambda missing, share: share if missing > 1 else 0)
    reads = []
    for missing in list(running) + (chosen if joined else []):
        share = read(missing, chunk)
        chunk -= budget(missing, share)
        reads.append(share)
    return len(chosen), reads


for _sentence, _wrong in {
    "A request that needs exactly the blocks that are free is not admitted; it fits.": {
        "fits": lambda cost, free: cost < free
    },
    "Blocks are not looked at: a request is admitted that does not fit.": {"fits": lambda cost, free: True},
    "The blocks of an admitted request are not taken off, so the next one counts on them too.": {
        "spend": lambda cost: 0
    },
    "`max_running` is not looked at.": {"place": lambda running, admitted, most: True},
    "`max_running` counts those admitted alone; those who run already have places too.": {
        "place": lambda running, admitted, most: admitted < most
    },
    "Those admitted in this pass are not counted against `max_running`.": {
        "place": lambda running, admitted, most: running < most
    },
    "One more is admitted than `max_running` allows.": {
        "place": lambda running, admitted, most: running + admitted <= most
    },
    "A small request overtakes a large one that waits at the head; large ones could then wait for ever. Stop at the first.": {
        "overtake": True
    },
    "Prompts are read whole; at most `chunk` tokens of prompts go into a pass.": {
        "read": lambda missing, chunk: missing
    },
    "Each prompt gets the whole chunk; they share it.": {"budget": lambda missing, share: 0},
    "Those who generate are taken off the chunk; it is for prompts alone.": {"budget": lambda missing, share: share},
    "Those who generate stop when the chunk is used up; they always read their token.": {
        "read": lambda missing, chunk: min(missing, chunk)
    },
    "Those who have just been admitted are missing from the list of reads.": {"joined": False},
    "Prompts wait while somebody generates; both go into the same pass.": {
        "read": lambda missing, chunk: 1 if missing == 1 else 0
    },
    "Every request reads one token; a prompt is read in chunks.": {"read": lambda missing, chunk: min(1, missing)},
}.items():
    one_pass.bug(_sentence)(partial(_pass, **cast("dict[str, Any]", _wrong)))


# --- 19.5

verified = Exercise(
    "19.5",
    title="The rule of speculative decoding",
    reference="course_utils.serving.speculative:verify",
    cases=lambda: [
        Case(torch.tensor([[0.5, 0.5], [0.3, 0.7]]), torch.tensor([[0.25, 0.75]]), [0], [0.99]),
        Case(torch.tensor([[0.2, 0.8, 0.0], [0.3, 0.3, 0.4]]), torch.tensor([[0.8, 0.1, 0.1]]), [0], [0.3]),
        Case(torch.tensor([[0.2, 0.8, 0.0], [0.3, 0.3, 0.4]]), torch.tensor([[0.8, 0.1, 0.1]]), [0], [0.2]),
        Case(
            torch.tensor([[0.0, 1.0], [0.5, 0.5]]),
            torch.tensor([[0.5, 0.5]]),
            [0],
            [0.0],
            message="A token that the model never says was kept.",
        ),
        Case(*_verification(4, 6, 0, accepted=True), note="4 proposals over 6 tokens, small u"),
        Case(*_verification(4, 6, 1), note="4 proposals over 6 tokens"),
        Case(*_verification(6, 9, 2), note="6 proposals over 9 tokens"),
        Case(*_verification(3, 5, 3, certain=True), note="proposals of a text: q is certain"),
        Case(
            torch.tensor([[0.1, 0.9]]),
            torch.zeros(0, 2),
            [],
            [],
            message="No proposals: the next token comes from the model's own row.",
        ),
    ],
    general="Number kept or distribution differ: keep x while u < p(x) / q(x); then max(p - q, 0), normalized, or the last row.",
    observe=lambda answer, *arguments: _verdict(answer(*arguments)),
    rtol=1e-4,
    atol=1e-5,
    difficulty=3,
    minutes=12,
    points=3,
    asked="write the rule of speculative sampling; why is it exact?",
    hints=[
        "Go through the places in order; p is the model's row, q the draft's. Keep the token if u < p[token] / q[token].",
        "At the first that is not kept, stop: the next token comes from what p has more than q, `(p - q).clamp(min=0)`, "
        "divided by its sum. If all were kept, `target` has one row more: return it.",
        "`for place, (token, u) in enumerate(zip(tokens, uniforms)):`\n"
        "`    p, q = target[place], draft[place]`\n"
        "`    if u * q[token] >= p[token]:`\n"
        "`        rest = (p - q).clamp(min=0)`\n"
        "`        return place, rest / rest.sum()`\n"
        "`return len(tokens), target[len(tokens)]`",
    ],
)


def _verification(k: int, vocab: int, seed: int, accepted: bool = False, certain: bool = False) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(k + 1, vocab, generator=generator).softmax(-1)
    draft = (2 * torch.rand(k, vocab, generator=generator)).softmax(-1)
    tokens = torch.randint(vocab, (k,), generator=generator).tolist()
    if certain:
        draft = torch.zeros(k, vocab).scatter_(1, torch.tensor(tokens)[:, None], 1.0)
    uniforms = [0.05 * i / k if accepted else 0.35 + 0.3 * i for i in range(k)]
    return target, draft, tokens, uniforms


def _verdict(result: Any) -> Any:
    try:
        kept, following = result
    except (TypeError, ValueError):
        raise Mistake("Two things are wanted: how many are kept, and the distribution of the next token.") from None
    following = torch.as_tensor(following)
    if following.dim() != 1:
        raise Mistake(f"The distribution has one number for each token, (vocab,); yours is {tuple(following.shape)}.")
    return [int(kept), following.double()]


def _rule(
    target,
    draft,
    tokens,
    uniforms,
    keep=lambda p, q, x, u: u * q[x] < p[x],
    rest=lambda p, q: (p - q).clamp(min=0),
    scale=True,
    bonus=lambda target, draft, k: target[k],
    stop=True,
):
    kept, first = 0, None
    for place, (x, u) in enumerate(zip(tokens, uniforms, strict=True)):
        p, q = target[place], draft[place]
        if keep(p, q, x, u):
            kept += 1
        elif first is None:
            first = place
            if stop:
                break
    if first is None:
        return kept, bonus(target, draft, len(tokens))
    left = rest(target[first], draft[first])
    return kept, left / left.sum() if scale else left


def _likeliest(p: Tensor, q: Tensor, x: int, u: float) -> bool:
    return bool(p.argmax() == x)


for _sentence, _wrong in {
    "The ratio is turned: keep the token if u < p / q, with p the model's probability.": {
        "keep": lambda p, q, x, u: u * p[x] < q[x]
    },
    "The token is kept with the model's probability p; that forgets how often the draft proposes it.": {
        "keep": lambda p, q, x, u: u < p[x]
    },
    "The token is kept if it is the model's likeliest: the distribution would become a greedy one.": {
        "keep": _likeliest
    },
    "The token is kept wherever p >= q and never else; u decides in between.": {
        "keep": lambda p, q, x, u: bool(p[x] >= q[x])
    },
    "Each token is kept: that is the draft's distribution.": {"keep": lambda p, q, x, u: True},
    "After a refusal the next token comes from p; tokens that the draft likes would then come too often. Take max(p - q, 0).": {
        "rest": lambda p, q: p
    },
    "After a refusal the next token comes from q, the draft.": {"rest": lambda p, q: q},
    "The rest is not cut at 0: a distribution has no negative numbers.": {"rest": lambda p, q: p - q},
    "The rest is |p - q|; only what p has more counts.": {"rest": lambda p, q: (p - q).abs()},
    "The rest is max(q - p, 0), turned: what the model has more than the draft is wanted.": {
        "rest": lambda p, q: (q - p).clamp(min=0)
    },
    "The rest is not divided by its sum.": {"scale": False},
    "If all are kept, the next token comes from the last row of `target`, which sees all of them; yours is the row before.": {
        "bonus": lambda target, draft, k: target[max(k - 1, 0)]
    },
    "Tokens after the first refusal are judged too; they were proposed after a token that is not there.": {
        "stop": False
    },
}.items():
    verified.bug(_sentence)(partial(_rule, **cast("dict[str, Any]", _wrong)))
