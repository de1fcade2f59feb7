"""One file for ONNX Runtime: the decoder written as a graph, operator by operator, with its cache as input and output.

``torch.onnx.export`` finds such a graph by following the model, which takes a while, and takes it apart into hundreds
of small operators. Since version 23 ONNX has the three that a decoder needs (RMSNormalization, RotaryEmbedding,
Attention), so that the graph can be written down: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils import files

if TYPE_CHECKING:
    from course_utils.models.decoder import Decoder

OPSET = 23
INPUTS = ("input_ids", "attention_mask", "position_ids", "past_keys", "past_values")
OUTPUTS = ("logits", "keys", "values")


class _Graph:
    """Nodes and stored tensors; each operator gives its output's name back."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.stored: list[Any] = []

    def __call__(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [f"{kind}_{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def store(self, value: Any, name: str | None = None) -> str:
        from onnx import numpy_helper

        name = name or f"stored_{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(value, name))
        return name


def write_onnx(model: Decoder, path: str | PathLike[str]) -> Path:
    """Write a decoder in 32 bits.

    Inputs: input_ids (batch, new), attention_mask (batch, past + new), 0 for padding, position_ids (batch, new), all
    int64; past_keys and past_values (layers, batch, key/value heads, past, head size) float32, where past may be 0.
    Outputs: logits (batch, vocab) after the last new token, and all keys and values, to be given back with the next
    one. Raises ImportError without the package onnx.
    """
    import onnx
    from onnx import TensorProto, helper

    config, path = model.config, Path(path)
    layers, heads, size = config.num_hidden_layers, config.num_key_value_heads, config.head_dim
    past = (TensorProto.FLOAT, (layers, "batch", heads, "past", size))
    inputs = {
        "input_ids": (TensorProto.INT64, ("batch", "new")),
        "attention_mask": (TensorProto.INT64, ("batch", "all")),
        "position_ids": (TensorProto.INT64, ("batch", "new")),
        "past_keys": past,
        "past_values": past,
    }
    grown = (TensorProto.FLOAT, (layers, "batch", heads, "all", size))
    outputs = {"logits": (TensorProto.FLOAT, ("batch", config.vocab_size)), "keys": grown, "values": grown}
    graph = _Graph()
    _decoder(graph, model)

    def described(parts: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in parts.items()]

    body = helper.make_graph(graph.nodes, "decoder", described(inputs), described(outputs), graph.stored)
    whole = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=11)
    onnx.checker.check_model(whole)
    with files.atomic_file(path) as fresh:
        onnx.save(whole, str(fresh))
    return path


def _decoder(graph: _Graph, model: Decoder) -> None:
    import numpy as np

    config = model.config
    weights = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    one, last = (graph.store(np.array([number])) for number in (1, -1))
    mask = _mask(graph)
    cos, sin = (graph.store(getattr(model.model, name).float().cpu().numpy()) for name in ("rope_cos", "rope_sin"))

    def linear(x: str, name: str) -> str:
        return graph("MatMul", x, graph.store(np.ascontiguousarray(weights[name + ".weight"].T), name))

    def norm(x: str, name: str) -> str:
        scale = graph.store(weights[name + ".weight"], name)
        return graph("RMSNormalization", x, scale, axis=-1, epsilon=config.rms_norm_eps)

    table = graph.store(weights["model.embed_tokens.weight"], "embedding")
    x, grown = graph("Gather", table, "input_ids"), []
    for number in range(config.num_hidden_layers):
        layer = f"model.layers.{number}."
        h, place = norm(x, layer + "input_layernorm"), graph.store(np.array(number))
        q, k, v = (_heads(graph, linear(h, f"{layer}self_attn.{name}_proj"), config.head_dim) for name in "qkv")
        q, k = (graph("RotaryEmbedding", part, cos, sin, "position_ids", interleaved=0) for part in (q, k))
        before = [graph("Gather", name, place, axis=0) for name in ("past_keys", "past_values")]
        mixed, *now = graph("Attention", q, k, v, mask, *before, outputs=3)
        grown.append([graph("Unsqueeze", part, graph.store(np.array([0]))) for part in now])
        flat = graph("Reshape", graph("Transpose", mixed, perm=[0, 2, 1, 3]), graph.store(np.array([0, 0, -1])))
        x = graph("Add", x, linear(flat, layer + "self_attn.o_proj"))
        h = norm(x, layer + "post_attention_layernorm")
        gate = linear(h, layer + "mlp.gate_proj")
        gated = graph("Mul", graph("Mul", gate, graph("Sigmoid", gate)), linear(h, layer + "mlp.up_proj"))
        x = graph("Add", x, linear(gated, layer + "mlp.down_proj"))
    end = graph("Squeeze", graph("Slice", x, last, graph.store(np.array([2**31 - 1])), one), one)
    final = norm(end, "model.norm")
    if config.tie_word_embeddings:  # the same matrix, stored once
        logits = graph("Gemm", final, table, transB=1)
    else:
        logits = linear(final, "lm_head")
    graph.nodes.append(_named("Identity", [logits], "logits"))
    for name, parts in zip(("keys", "values"), zip(*grown, strict=True), strict=True):
        graph.nodes.append(_named("Concat", list(parts), name, axis=0))


def _mask(graph: _Graph) -> str:
    """(batch, 1, new, past + new), True where a query may look: not at padding, nor at what comes later.

    Padding sees itself: a row of the softmax with nothing in it would be no number, and spread.
    """
    import numpy as np

    zero, one = graph.store(np.array(0)), graph.store(np.array(1))
    new = graph("Gather", graph("Shape", "input_ids"), one)
    every = graph("Gather", graph("Shape", "attention_mask"), one)
    keys = graph("Range", zero, every, one)
    queries = graph("Unsqueeze", graph("Range", graph("Sub", every, new), every, one), graph.store(np.array([1])))
    causal = graph("LessOrEqual", keys, queries)
    there = graph("Cast", graph("Unsqueeze", "attention_mask", graph.store(np.array([1, 2]))), to=9)  # to bool
    return graph("Or", graph("And", causal, there), graph("Equal", keys, queries))


def _heads(graph: _Graph, x: str, size: int) -> str:
    """(batch, new, heads * size) to (batch, heads, new, size)."""
    import numpy as np

    return graph("Transpose", graph("Reshape", x, graph.store(np.array([0, 0, -1, size]))), perm=[0, 2, 1, 3])


def _named(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs, [output], **attributes)
