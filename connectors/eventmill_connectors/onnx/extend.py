"""What imported graphs lack to give a vector or a label: pooling, and the choice of a class, as more nodes."""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from eventmill_connectors.onnx.manifest import CONFIDENCE, EMBEDDING, LABEL, LOGITS
from eventmill_schemas.errors import ModelUnusable

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_OWN = "eventmill."   # begins the names of what is added, so that they meet none of the graph


def add_pooling(model: ModelProto, pooling: str) -> None:
    """Add `sentence_embedding`, float32 (batch, H) of length 1, from the vectors of tokens (batch, seq, H).

    `pooling` is "mean" (over the tokens of `attention_mask`) or "cls" (the first token's). Raises ModelUnusable if the
    graph gives no vectors of tokens.
    """
    tokens = _output(model, 3, ("last_hidden_state", "token_embeddings"))
    if pooling == "mean" and "attention_mask" not in {entry.name for entry in model.graph.input}:
        raise ModelUnusable("the model has no input attention_mask, so there is no mean over its tokens")
    opset = _opset(model)
    nodes = [helper.make_node("Cast", [tokens.name], [f"{_OWN}tokens"], to=TensorProto.FLOAT)]
    if pooling == "cls":
        _constant(model, "first", np.array(0))
        nodes.append(helper.make_node("Gather", [f"{_OWN}tokens", f"{_OWN}first"], [f"{_OWN}pooled"], axis=1))
    else:
        # A sum: its division by the number of tokens would be gone after normalisation.
        _constant(model, "axis1", np.array([1]))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], [f"{_OWN}mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", [f"{_OWN}mask", f"{_OWN}axis1"], [f"{_OWN}row"]),
            helper.make_node("MatMul", [f"{_OWN}row", f"{_OWN}tokens"], [f"{_OWN}sum"]),
            helper.make_node("Squeeze", [f"{_OWN}sum", f"{_OWN}axis1"], [f"{_OWN}pooled"]),
        ]
    if opset < 13:   # Unsqueeze had its axes elsewhere
        raise ModelUnusable(f"the model is of opset {opset}, and pooling is added from 13 on")
    nodes.append(helper.make_node("LpNormalization", [f"{_OWN}pooled"], [EMBEDDING], axis=1, p=2))
    model.graph.node.extend(nodes)
    width = tokens.type.tensor_type.shape.dim[2]
    shape = ["batch", width.dim_value or width.dim_param or "H"]
    del model.graph.output[:]   # the tokens' vectors would be copied out of the runtime for nobody
    model.graph.output.append(helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, shape))


def add_classes(model: ModelProto, labels: Sequence[str]) -> None:
    """Add `confidence`, float32 (batch,), and `label`, int64 (batch,), from logits (batch, C).

    The confidence is the largest probability of a softmax. Raises ModelUnusable if the graph gives no such logits.
    """
    logits = _output(model, 2, (LOGITS, "output", "scores"))
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    if classes and classes != len(labels):
        raise ModelUnusable(f"the model has {classes} classes, and {len(labels)} names are given for them")
    nodes = [helper.make_node("Cast", [logits.name], [f"{_OWN}scores"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Softmax", [f"{_OWN}scores"], [f"{_OWN}probabilities"], axis=1))
    if _opset(model) < 18:
        nodes.append(helper.make_node("ReduceMax", [f"{_OWN}probabilities"], [CONFIDENCE], axes=[1], keepdims=0))
    else:   # axes became an input
        _constant(model, "classes", np.array([1]))
        nodes.append(
            helper.make_node("ReduceMax", [f"{_OWN}probabilities", f"{_OWN}classes"], [CONFIDENCE], keepdims=0)
        )
    nodes.append(helper.make_node("ArgMax", [f"{_OWN}scores"], [LABEL], axis=1, keepdims=0))
    model.graph.node.extend(nodes)
    rows = logits.type.tensor_type.shape.dim[0]
    batch = rows.dim_value or rows.dim_param or "batch"
    model.graph.output.extend(
        [
            helper.make_tensor_value_info(CONFIDENCE, TensorProto.FLOAT, [batch]),
            helper.make_tensor_value_info(LABEL, TensorProto.INT64, [batch]),
        ]
    )


_WANTED = {
    2: "Classes are named of logits: records, and a number for each class",
    3: "Vectors of tokens are pooled: texts, tokens and dimensions. One vector of a text needs no --pooling",
}


def _output(model: ModelProto, axes: int, names: Sequence[str]) -> ValueInfoProto:
    """Return the output with so many axes; of several the one with the first of these names."""
    fitting: list[ValueInfoProto] = [
        output
        for output in model.graph.output
        if len(output.type.tensor_type.shape.dim) == axes and output.type.tensor_type.elem_type in _FLOATS
    ]
    by_name = {output.name: output for output in fitting}
    for name in names:
        if name in by_name:
            return by_name[name]
    if len(fitting) != 1:
        shown = ", ".join(f"{output.name} of {len(output.type.tensor_type.shape.dim)}" for output in model.graph.output)
        raise ModelUnusable(
            f"no output of the model can be taken: it needs one of {axes} axes, and has {shown}", remedy=_WANTED[axes]
        )
    return fitting[0]


def _opset(model: ModelProto) -> int:
    return max((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), default=1)


def _constant(model: ModelProto, name: str, value: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), f"{_OWN}{name}"))
