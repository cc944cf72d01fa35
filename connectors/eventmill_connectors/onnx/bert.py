"""BERT encoders as ONNX graphs of fused operators, put together from the weights: no torch, no export, no optimiser.

The architecture is that of Devlin et al., "BERT" (https://arxiv.org/abs/1810.04805), in the names that transformers
gives its weights; pooling and normalisation are those of sentence-transformers. The fused operators are ONNX Runtime's
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from eventmill_connectors.onnx.head import Head
from eventmill_connectors.onnx.manifest import CONFIDENCE, EMBEDDING, LABEL, LOGITS
from eventmill_connectors.onnx.parity import Array
from eventmill_connectors.onnx.sources import IMPORT_INSTEAD, EncoderSource
from eventmill_schemas.errors import ModelUnusable

Precision = Literal["fp32", "fp16"]

_FUSED = "com.microsoft"
_OPSET = 17
# The activation with the bias before it, as one operator.
_ACTIVATIONS = {
    "gelu": "BiasGelu",
    "gelu_new": "FastGelu",
    "gelu_fast": "FastGelu",
    "gelu_pytorch_tanh": "FastGelu",
}


class _Graph:
    """Nodes and weights of a graph that grows; every node has one output that matters, named by the caller."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, TensorProto] = {}

    def weight(self, name: str, value: Any, dtype: Any = None) -> str:
        # numpy.ascontiguousarray would make a shape of (1,) out of a single number.
        array = np.array(value, dtype=dtype or self.dtype, order="C")
        self.weights.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        outputs = [output] if operator != "EmbedLayerNormalization" else [output, f"{output}.mask"]
        self.nodes.append(
            helper.make_node(operator, list(inputs), outputs, name=f"{output}/{operator}", domain=domain, **attributes)
        )
        return output

    def fused(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        return self.node(operator, inputs, output, _FUSED, **attributes)


class _Weights:
    """The published tensors by name, as float32, each asked for with the shape that it must have."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors
        self._prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""

    def get(self, name: str, *shape: int | None) -> Array:
        tensor = self._tensors.get(self._prefix + name)
        if tensor is None:
            raise ModelUnusable(f"the weights lack {self._prefix}{name}", remedy=IMPORT_INSTEAD)
        sizes = tensor.shape
        if len(shape) != len(sizes) or any(want not in (None, size) for want, size in zip(shape, sizes, strict=True)):
            raise ModelUnusable(f"{self._prefix}{name} has the shape {sizes}, which config.json does not say")
        return np.asarray(tensor, dtype=np.float32)


def build_encoder(source: EncoderSource, precision: Precision = "fp32", head: Head | None = None) -> ModelProto:
    """Return the graph of a BERT encoder: the same bytes for the same weights.

    Inputs: `input_ids` and `attention_mask`, int32 (batch, seq), padded on the right; every text is one segment.
    Outputs: `sentence_embedding`, float32 (batch, H) of length 1; with a head also `logits`, float32 (batch, C),
    calibrated by its temperature, `confidence`, float32 (batch,), the largest probability, and `label`, int64 (batch,),
    the index of it. `precision` is that of weights and activations; pooling and head are always float32.

    Raises ModelUnusable for any other architecture.
    """
    config = source.config
    _refuse_others(config)
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    graph = _Graph(np.dtype(np.float32 if precision == "fp32" else np.float16))
    weights = _Weights(source.tensors)
    x = _embeddings(graph, weights, config)
    for number in range(layers):
        x = _layer(graph, weights, config, number, x)
    if precision != "fp32":
        graph.dtype = np.dtype(np.float32)
        x = graph.node("Cast", [x], "tokens", to=TensorProto.FLOAT)
    _pool(graph, source.pooling, x)
    outputs = [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", hidden])]
    if head is not None:
        outputs += _classify(graph, head, hidden)
    return _model(graph, outputs, head)


def _refuse_others(config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind != "bert":
        raise ModelUnusable(f"a model of type {kind!r} is not built here, only BERT encoders", remedy=IMPORT_INSTEAD)
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute" or config.get("is_decoder") or config.get("add_cross_attention"):
        raise ModelUnusable("only BERT encoders with absolute positions are built here", remedy=IMPORT_INSTEAD)
    if config.get("hidden_act") not in _ACTIVATIONS:
        raise ModelUnusable(f"the activation {config.get('hidden_act')!r} is not built here", remedy=IMPORT_INSTEAD)
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise ModelUnusable(f"config.json does not say {key}")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise ModelUnusable("config.json: hidden_size is no multiple of num_attention_heads")


def _embeddings(graph: _Graph, weights: _Weights, config: Mapping[str, Any]) -> str:
    hidden = int(config["hidden_size"])
    segments = weights.get("embeddings.token_type_embeddings.weight", None, hidden)
    positions = weights.get("embeddings.position_embeddings.weight", config.get("max_position_embeddings"), hidden)
    inputs = [
        "input_ids",
        "",   # all tokens are in segment 0, whose row is added to the positions
        graph.weight(
            "embeddings.words", weights.get("embeddings.word_embeddings.weight", config.get("vocab_size"), hidden)
        ),
        graph.weight("embeddings.positions", positions + segments[0]),
        "",
        graph.weight("embeddings.scale", weights.get("embeddings.LayerNorm.weight", hidden)),
        graph.weight("embeddings.shift", weights.get("embeddings.LayerNorm.bias", hidden)),
    ]
    return graph.fused("EmbedLayerNormalization", inputs, "embeddings", epsilon=_epsilon(config))


def _layer(graph: _Graph, weights: _Weights, config: Mapping[str, Any], number: int, x: str) -> str:
    """One encoder layer: attention, then the feed-forward part, each added to its input and normalised."""
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    theirs, ours = f"encoder.layer.{number}.", f"layer{number}."

    def bias(name: str, size: int) -> str:
        return graph.weight(f"{ours}{name}.bias", weights.get(f"{theirs}{name}.bias", size))

    def linear(values: str, name: str, rows: int, columns: int) -> str:
        weight = weights.get(f"{theirs}{name}.weight", columns, rows).T
        return graph.node("MatMul", [values, graph.weight(f"{ours}{name}.weight", weight)], f"{ours}{name}")

    def add_and_normalise(values: str, skip: str, name: str) -> str:
        scale = graph.weight(f"{ours}{name}.scale", weights.get(f"{theirs}{name}.LayerNorm.weight", hidden))
        shift = graph.weight(f"{ours}{name}.shift", weights.get(f"{theirs}{name}.LayerNorm.bias", hidden))
        inputs = [values, skip, scale, shift, bias(f"{name}.dense", hidden)]
        return graph.fused(
            "SkipLayerNormalization", inputs, f"{ours}{name}.normalised", epsilon=_epsilon(config)
        )

    parts = [f"{theirs}attention.self.{part}" for part in ("query", "key", "value")]
    inputs = [
        x,
        graph.weight(
            f"{ours}qkv.weight", np.concatenate([weights.get(f"{p}.weight", hidden, hidden).T for p in parts], axis=1)
        ),
        graph.weight(f"{ours}qkv.bias", np.concatenate([weights.get(f"{p}.bias", hidden) for p in parts])),
        "attention_mask",
    ]
    heads = int(config["num_attention_heads"])
    attended = graph.fused("Attention", inputs, f"{ours}attention", num_heads=heads)
    mixed = linear(attended, "attention.output.dense", hidden, hidden)
    x = add_and_normalise(mixed, x, "attention.output")
    wide = linear(x, "intermediate.dense", hidden, inner)
    activation = _ACTIVATIONS[config["hidden_act"]]
    active = graph.fused(activation, [wide, bias("intermediate.dense", inner)], f"{ours}activation")
    return add_and_normalise(linear(active, "output.dense", inner, hidden), x, "output")


def _pool(graph: _Graph, pooling: str, x: str) -> None:
    """Make one vector of length 1 out of the vectors of the tokens, (batch, seq, H)."""
    if pooling == "cls":
        pooled = graph.node("Gather", [x, graph.weight("first", 0, np.int64)], "pooled", axis=1)
    else:
        # The mean's division by the number of tokens is gone after normalisation, so a sum will do: (1, S) @ (S, H).
        one = graph.weight("axis1", [1], np.int64)
        mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        row = graph.node("Unsqueeze", [mask, one], "mask_row")
        pooled = graph.node("Squeeze", [graph.node("MatMul", [row, x], "sum"), one], "pooled")
    graph.node("LpNormalization", [pooled], EMBEDDING, axis=1, p=2)


def _classify(graph: _Graph, head: Head, hidden: int) -> list[Any]:
    classes = len(head.labels)
    if head.dimensions != hidden:
        raise ModelUnusable(f"the head is for vectors of {head.dimensions} dimensions, the encoder's have {hidden}")
    weights = graph.weight("head.weight", head.weights / head.temperature)
    bias = graph.weight("head.bias", head.bias / head.temperature)
    logits = graph.node("Gemm", [EMBEDDING, weights, bias], LOGITS)
    probabilities = graph.node("Softmax", [logits], "probabilities", axis=1)
    graph.node("ReduceMax", [probabilities], CONFIDENCE, axes=[1], keepdims=0)
    graph.node("ArgMax", [logits], LABEL, axis=1, keepdims=0)
    return [
        helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info(CONFIDENCE, TensorProto.FLOAT, ["batch"]),
        helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["batch"]),
    ]


def _model(graph: _Graph, outputs: Sequence[Any], head: Head | None) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "seq"])
        for name in ("input_ids", "attention_mask")
    ]
    proto = helper.make_graph(graph.nodes, "encoder", inputs, list(outputs), list(graph.weights.values()))
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=8, producer_name="eventmill")
    if head is not None:
        helper.set_model_props(model, {"labels": json.dumps(list(head.labels), ensure_ascii=True)})
    return model


def _epsilon(config: Mapping[str, Any]) -> float:
    return float(config.get("layer_norm_eps", 1e-12))
