"""Planted bugs and other right answers of chapter 02."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from course_utils.models.decoder import Decoder


def norm_centred(x, weight, eps):
    return F.layer_norm(x, weight.shape, weight, None, eps)


def norm_by_deviation(x, weight, eps):
    return x / (x.var(-1, keepdim=True, correction=0) + eps).sqrt() * weight


def norm_without_root(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps) * weight


def norm_eps_outside(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True).sqrt() + eps) * weight


def norm_without_weight(x, weight, eps):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def norm_by_length(x, weight, eps):
    return x / (x.norm(dim=-1, keepdim=True) ** 2 + eps).sqrt() * weight


def norm_of_everything(x, weight, eps):
    return x * (x.square().mean() + eps).rsqrt() * weight


def norm_in_place(x, weight, eps):
    x /= (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return x * weight


def norm_over_second_axis(x, weight, eps):
    return x * (x.square().mean(1, keepdim=True) + eps).rsqrt() * weight


def norm_fixed_eps(x, weight, eps):
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight


def norm_by_var(x, weight, eps):
    return x / (x.var(-1, keepdim=True) + eps).sqrt() * weight


def norm_by_std(x, weight, eps):
    return x / (x.std(-1, keepdim=True) + eps) * weight


def norm_like_gemma(x, weight, eps):
    return F.rms_norm(x, weight.shape, 1 + weight, eps)


def norm_by_pow(x, weight, eps):
    return weight * (x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps))


def norm_by_module(x, weight, eps):
    norm = nn.RMSNorm(x.shape[-1], eps)
    norm.weight = nn.Parameter(weight)
    return norm(x)


def norm_by_length_right(x, weight, eps):
    return x / (x.norm(dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps).sqrt() * weight


def rope_neighbours(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


def rope_backwards(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), -1)


def rope_without_minus(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos + a * sin), -1)


def rope_exchanged(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * sin - b * cos, b * sin + a * cos), -1)


def rope_overwritten(x, cos, sin):
    a, b = (part.clone() for part in x.chunk(2, dim=-1))
    a = a * cos - b * sin
    b = b * cos + a * sin
    return torch.cat((a, b), -1)


def rope_halves_exchanged(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((b * cos + a * sin, a * cos - b * sin), -1)


def rope_nothing(x, cos, sin):
    return x


def rope_sizes_written_in(x, cos, sin):
    a, b = x[..., :2], x[..., 2:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def rope_two_conventions(x, cos, sin):
    cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
    return x * cos + torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2) * sin


def rope_second_half_negative(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, a * sin - b * cos), -1)


def rope_each_with_itself(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - a * sin, b * cos + b * sin), -1)


def rope_by_complex(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    turned = torch.complex(a.contiguous(), b.contiguous()) * torch.complex(cos, sin)
    return torch.cat((turned.real, turned.imag), -1)


def rope_like_transformers(x, cos, sin):
    cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _attention(q, k, v, *, mask="lower", scale=None, dim=-1, spread=None, fill=-torch.inf, after=False):
    group = q.shape[1] // k.shape[1]
    spread = spread or (lambda x: x.repeat_interleave(group, 1))
    k, v = spread(k), spread(v)
    length = q.shape[2]
    scores = q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5 if scale is None else scale)
    allowed = torch.ones(length, length, dtype=torch.bool)
    allowed = {"lower": allowed.tril(), "upper": allowed.triu(), "none": allowed, "strict": allowed.tril(-1),
               "one more": allowed.tril(1)}[mask]  # fmt: skip
    if after:
        return scores.softmax(dim).masked_fill(~allowed, 0) @ v
    return scores.masked_fill(~allowed, fill).softmax(dim) @ v


def attention_unmasked(q, k, v):
    return _attention(q, k, v, mask="none")


def attention_upper(q, k, v):
    return _attention(q, k, v, mask="upper")


def attention_not_itself(q, k, v):
    return _attention(q, k, v, mask="strict")


def attention_unscaled(q, k, v):
    return _attention(q, k, v, scale=1)


def attention_by_size(q, k, v):
    return _attention(q, k, v, scale=q.shape[-1])


def attention_filled_with_zero(q, k, v):
    return _attention(q, k, v, fill=0.0)


def attention_masked_after(q, k, v):
    return _attention(q, k, v, after=True)


def attention_over_queries(q, k, v):
    return _attention(q, k, v, dim=-2, fill=-1e9)


def attention_in_turn(q, k, v):
    return _attention(q, k, v, spread=lambda x: x.repeat(1, q.shape[1] // k.shape[1], 1, 1))


def attention_first_head(q, k, v):
    return _attention(q, k, v, spread=lambda x: x[:, :1])


def attention_weights_alone(q, k, v):
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf).softmax(-1)


def attention_places_first(q, k, v):
    return _attention(q, k, v).transpose(1, 2)


def attention_zero_times_infinity(q, k, v):
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    mask = torch.ones(q.shape[2], q.shape[2]).triu(1) * -torch.inf
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + mask).softmax(-1) @ v


def attention_one_more(q, k, v):
    return _attention(q, k, v, mask="one more")


def attention_by_root_of_length(q, k, v):
    return _attention(q, k, v, scale=q.shape[2] ** 0.5)


def attention_scaled_after(q, k, v):
    return _attention(q, k, v, scale=1) / q.shape[-1] ** 0.5


def attention_keys_in_turn(q, k, v):
    group = q.shape[1] // k.shape[1]
    return _attention(q, k.repeat(1, group, 1, 1), v.repeat_interleave(group, 1), spread=lambda x: x)


def attention_minus_ten(q, k, v):
    return _attention(q, k, v, fill=-10.0)


def attention_minus_hundred(q, k, v):
    return _attention(q, k, v, fill=-100.0)


def attention_by_exp(q, k, v):
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp().tril()
    return weights / weights.sum(-1, keepdim=True) @ v


def attention_by_kernel(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def attention_by_loop(q, k, v):
    out, group = torch.zeros_like(q), q.shape[1] // k.shape[1]
    for head in range(q.shape[1]):
        for i in range(q.shape[2]):
            seen = k[:, head // group, : i + 1], v[:, head // group, : i + 1]
            weights = ((q[:, head, i, None] * seen[0]).sum(-1) / q.shape[-1] ** 0.5).softmax(-1)
            out[:, head, i] = (weights[..., None] * seen[1]).sum(1)
    return out


def attention_by_einsum(q, k, v):
    batch, heads, length, size = q.shape
    q = q.view(batch, k.shape[1], -1, length, size)
    scores = torch.einsum("bghid,bgjd->bghij", q, k) * size**-0.5
    scores = scores + torch.full((length, length), -torch.inf).triu(1)
    return torch.einsum("bghij,bgjd->bghid", scores.softmax(-1), v).reshape(batch, heads, length, size)


def swiglu_on_up(x, gate, up, down):
    return (x @ gate.T * F.silu(x @ up.T)) @ down.T


def swiglu_on_both(x, gate, up, down):
    return (F.silu(x @ gate.T) * F.silu(x @ up.T)) @ down.T


def swiglu_sigmoid(x, gate, up, down):
    return ((x @ gate.T).sigmoid() * (x @ up.T)) @ down.T


def swiglu_linear(x, gate, up, down):
    return (x @ gate.T * (x @ up.T)) @ down.T


def swiglu_gelu(x, gate, up, down):
    return (F.gelu(x @ gate.T) * (x @ up.T)) @ down.T


def swiglu_sum(x, gate, up, down):
    return (F.silu(x @ gate.T) + x @ up.T) @ down.T


def swiglu_without_up(x, gate, up, down):
    return F.silu(x @ gate.T) @ down.T


def swiglu_residual(x, gate, up, down):
    return x + F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


def swiglu_wrong_sign(x, gate, up, down):
    z = x @ gate.T
    return (z / (1 + z.exp()) * (x @ up.T)) @ down.T


def swiglu_by_glu(x, gate, up, down):
    return F.glu(torch.cat((x @ gate.T, x @ up.T), -1)) @ down.T


def swiglu_after_down(x, gate, up, down):
    return F.silu((x @ gate.T * (x @ up.T)) @ down.T)


def swiglu_not_transposed(x, gate, up, down):
    return (F.silu(x @ gate) * (x @ up)) @ down


def swiglu_by_hand(x, gate, up, down):
    z = x @ gate.T
    return (z / (1 + (-z).exp()) * (x @ up.T)) @ down.T


def swiglu_by_einsum(x, gate, up, down):
    inner = F.silu(torch.einsum("...h,mh->...m", x, gate)) * torch.einsum("...h,mh->...m", x, up)
    return torch.einsum("...m,hm->...h", inner, down)


def _count(config, *, kv=None, matrices=3, norms=2, last=1, head=None, layers=None, output=1):
    h = config.hidden_size
    kv = config.num_key_value_heads * h // config.num_attention_heads if kv is None else kv
    layer = (1 + output) * h * h + 2 * h * kv + matrices * h * config.intermediate_size + norms * h
    tables = 1 + (not config.tie_word_embeddings) if head is None else head
    return tables * config.vocab_size * h + (config.num_hidden_layers if layers is None else layers) * layer + last * h


def count_tied_twice(config):
    return _count(config, head=2)


def count_one_table(config):
    return _count(config, head=1)


def count_full_keys(config):
    return _count(config, kv=config.hidden_size)


def count_two_matrices(config):
    return _count(config, matrices=2)


def count_one_norm(config):
    return _count(config, norms=1)


def count_without_last_norm(config):
    return _count(config, last=0)


def count_without_output(config):
    return _count(config, output=0)


def count_one_layer(config):
    return _count(config, layers=1)


def count_two_key_value_heads(config):
    return _count(config, kv=2 * config.head_dim)


def count_by_key_value_heads(config):
    return _count(config, kv=config.hidden_size // config.num_key_value_heads)


def count_two_slips(config):
    return _count(config, last=0, matrices=2)


def count_by_parts(config):
    return _count(config)


def count_by_model(config):
    return sum(parameter.numel() for parameter in Decoder(config).parameters())


def count_as_float(config):
    return float(_count(config))


BUGS = {  # wrong answer -> how the sentence begins that its card must say
    "02.1": {
        norm_centred: "The mean is subtracted. That is LayerNorm; RMSNorm leaves the mean where it is.",
        norm_by_deviation: "Divided by the standard deviation, which is taken around the mean; here it is the root of the mean square.",
        norm_without_root: "The root is missing: divided by the mean square itself.",
        norm_eps_outside: "eps stands outside of the root; it is added to the mean square.",
        norm_without_weight: "The weight is missing.",
        norm_by_length: "The squares are summed; their mean is wanted, so that the size of the layer does not matter.",
        norm_of_everything: "The mean is taken over the whole tensor; each place of each row has its own (`dim=-1`).",
        norm_in_place: "Your code changes its input `x` in place. The caller still needs it: work on a copy (`.clone()`, `.copy()`).",
        norm_over_second_axis: "The mean is taken over places or rows; it is over the numbers of one place, the last axis.",
        norm_fixed_eps: "eps is missing, or a number stands in its place.",
        norm_by_var: "That is `x.var(-1)`: the mean is subtracted before the squares are taken, and their sum divided by size - 1.",
        norm_by_std: "That is `x.std(-1)`: the mean is subtracted before the squares are taken, and eps stands outside of the root.",
        norm_like_gemma: "Scaled by 1 + weight, as Gemma does; Llama scales by the weight.",
    },
    "02.2": {
        rope_neighbours: "Neighbours (0, 1), (2, 3), ... are paired, as in the RoFormer paper. Llama's weights pair i with i + head_dim / 2.",
        rope_backwards: "Turned the wrong way round: (a cos - b sin, b cos + a sin) is wanted.",
        rope_without_minus: "The minus is missing in the first half; that is no rotation, lengths change.",
        rope_exchanged: "Sine and cosine are exchanged.",
        rope_overwritten: "The second half is computed from the first half after it was turned; keep the old one.",
        rope_halves_exchanged: "The two halves come out exchanged.",
        rope_nothing: "Nothing is turned.",
        rope_sizes_written_in: "Right for head_dim 4, wrong for 6. Is a size written in? Halves: `x.chunk(2, -1)`.",
        rope_two_conventions: "Neighbours change places, but the angles stand side by side: two conventions are mixed. Pair i with i + head_dim / 2.",
        rope_second_half_negative: "Turned the wrong way round, and the second half with the opposite sign.",
        rope_each_with_itself: "Each half is turned with itself: b is missing in the first, a in the second.",
    },
    "02.3": {
        attention_unmasked: "There is no causal mask: the first place already depends on the last.",
        attention_upper: "The mask is turned round: each place sees only itself and what comes after.",
        attention_not_itself: "NaN: a row of the softmax sees no key at all. Each place sees itself too: `triu(1)`.",
        attention_unscaled: "The scores are not divided by sqrt(head_dim).",
        attention_by_size: "The scores are divided by head_dim; its root is wanted.",
        attention_filled_with_zero: "Hidden scores are set to 0, which still has the weight exp(0) = 1. Write -inf.",
        attention_masked_after: "The mask comes after the softmax: the weights no longer add up to 1. Mask the scores.",
        attention_over_queries: "The softmax runs over the queries; each query shares its attention among the keys (`dim=-1`).",
        attention_in_turn: "Key/value heads are dealt out in turn (0, 1, 0, 1). Neighbouring query heads share one: 0, 0, 1, 1, as `repeat_interleave` gives.",
        attention_first_head: "All query heads use the first key/value head.",
        attention_weights_alone: "These are the weights; they still have to mix the values: `weights @ v`.",
        attention_places_first: "Heads and places are exchanged: (1, 3, 1, 4).",
        attention_by_exp: "NaN for large scores. Is `exp` taken by hand, and overflows? `softmax` subtracts the largest score first.",
        attention_one_more: "Each place sees one token too many, the next one. The mask begins right above the diagonal: `triu(1)`.",
        attention_by_root_of_length: "The scores are divided by the root of the length; the root of head_dim is wanted.",
        attention_scaled_after: "The division by sqrt(head_dim) comes after the softmax; it belongs on the scores.",
        attention_keys_in_turn: "Only the values are given to the right query heads; the keys are dealt out in turn (0, 1, 0, 1).",
        attention_minus_ten: "Hidden scores are set to -10, which still gets a little weight. Write -inf.",
        attention_minus_hundred: "Hidden scores are set to -100; a visible score can be lower still. Write -inf.",
        attention_zero_times_infinity: "NaN everywhere. Is a mask of zeros and ones multiplied by -inf? 0 * -inf is NaN; use `masked_fill`.",
    },
    "02.4": {
        swiglu_on_up: "The activation is on `up`; it belongs on `gate`.",
        swiglu_on_both: "The activation is on both; `up` stays as it is.",
        swiglu_sigmoid: "That is the sigmoid; silu is z * sigmoid(z).",
        swiglu_linear: "The activation is missing: two products of x and no silu.",
        swiglu_gelu: "That is GELU (GeGLU); Llama takes silu.",
        swiglu_sum: "Gate and up are added; they are multiplied, number by number.",
        swiglu_without_up: "`up` is not used.",
        swiglu_residual: "x is added; the block does that, outside of the network.",
        swiglu_wrong_sign: "That is z / (1 + exp(z)); in silu the exponent is -z.",
        swiglu_by_glu: "That is `F.glu`: a sigmoid on `up`; silu, z * sigmoid(z), belongs on `gate`.",
        swiglu_after_down: "The activation comes after `down`; it belongs on `gate`.",
        swiglu_not_transposed: "The shapes do not fit. The weights are (outputs, inputs): `x @ gate.T`.",
    },
    "02.5": {
        count_tied_twice: "The tied head is counted; it is the embedding table itself.",
        count_one_table: "The head has a table of its own when it is not tied.",
        count_full_keys: "k and v are counted as large as q; they have num_key_value_heads * head_dim outputs.",
        count_two_matrices: "The feed-forward network has three matrices: gate, up and down.",
        count_one_norm: "Each layer has two norms.",
        count_without_last_norm: "The last norm, before the head, is missing.",
        count_without_output: "The output matrix of attention (o) is missing.",
        count_one_layer: "Only one layer is counted.",
        count_two_key_value_heads: "Right for two key/value heads and three layers, wrong for one and two. Is a number written in that belongs to the config?",
        count_by_key_value_heads: "k and v are counted as hidden * hidden / num_key_value_heads; their width is num_key_value_heads * head_dim.",
        count_by_model: "A model is built to be counted. Count from the sizes alone:",
        count_as_float: "The sum is right, but it is no whole number (int)",
        count_two_slips: "The sum is not right. It is off by -3,624.",
    },
}
RIGHT = {
    "02.1": [norm_by_pow, norm_by_module, norm_by_length_right],
    "02.2": [rope_by_complex, rope_like_transformers],
    "02.3": [attention_by_kernel, attention_by_loop, attention_by_einsum],
    "02.4": [swiglu_by_hand, swiglu_by_einsum],
    "02.5": [count_by_parts],
}
