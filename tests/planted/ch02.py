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


BUGS = {
    "02.1": [
        norm_centred, norm_by_deviation, norm_without_root, norm_eps_outside, norm_without_weight, norm_by_length,
        norm_of_everything, norm_in_place, norm_over_second_axis, norm_fixed_eps, norm_by_var, norm_by_std,
        norm_like_gemma,
    ],
    "02.2": [
        rope_neighbours, rope_backwards, rope_without_minus, rope_exchanged, rope_overwritten, rope_halves_exchanged,
        rope_nothing, rope_sizes_written_in, rope_two_conventions, rope_second_half_negative, rope_each_with_itself,
    ],
    "02.3": [
        attention_unmasked, attention_upper, attention_not_itself, attention_unscaled, attention_by_size,
        attention_filled_with_zero, attention_masked_after, attention_over_queries, attention_in_turn,
        attention_first_head, attention_weights_alone, attention_places_first, attention_by_exp,
        attention_one_more, attention_by_root_of_length, attention_scaled_after, attention_keys_in_turn,
        attention_minus_ten, attention_minus_hundred, attention_zero_times_infinity,
    ],
    "02.4": [
        swiglu_on_up, swiglu_on_both, swiglu_sigmoid, swiglu_linear, swiglu_gelu, swiglu_sum, swiglu_without_up,
        swiglu_residual, swiglu_wrong_sign, swiglu_by_glu, swiglu_after_down, swiglu_not_transposed,
    ],
    "02.5": [
        count_tied_twice, count_one_table, count_full_keys, count_two_matrices, count_one_norm,
        count_without_last_norm, count_without_output, count_one_layer, count_two_key_value_heads,
        count_by_key_value_heads, count_two_slips,
    ],
}  # fmt: skip
RIGHT = {
    "02.1": [norm_by_pow, norm_by_module, norm_by_length_right],
    "02.2": [rope_by_complex, rope_like_transformers],
    "02.3": [attention_by_kernel, attention_by_loop, attention_by_einsum],
    "02.4": [swiglu_by_hand, swiglu_by_einsum],
    "02.5": [count_by_parts, count_by_model, count_as_float],
}
