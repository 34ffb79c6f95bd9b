"""ONNX files of the two halves and of the text encoder, as the bundle's model contract has them.

Each function writes one file that holds all its tensors, checks it, and returns its entry for
the manifest: ``{"part", "inputs", "outputs"}`` with name, dtype and shape of each tensor.
"""

import pathlib
import warnings

import numpy as np
import onnx
import torch

OPSET = 17
DTYPES = {onnx.TensorProto.FLOAT: "f32", onnx.TensorProto.INT64: "i64"}
PROMPT_AXES = {"tokens": {0: "P", 1: "T"}, "token_mask": {0: "P", 1: "T"}}


def _signature(value):
    tensor = value.type.tensor_type
    shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return {"name": value.name, "dtype": DTYPES[tensor.elem_type], "shape": shape}


def signature(path):
    """The manifest's entry of a graph file."""
    graph = onnx.load(str(path)).graph
    return {
        "part": pathlib.Path(path).name,
        "inputs": [_signature(v) for v in graph.input],
        "outputs": [_signature(v) for v in graph.output],
    }


def _write(module, args, path, inputs, outputs, dynamic, shapes):
    """Export, tidy, check; shapes are those of the outputs, with symbols."""
    path = pathlib.Path(path)
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing warns of each number taken from a shape; those are meant to be constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            args,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    model = onnx.load(str(path))
    graph = model.graph
    del graph.value_info[:]
    for output, shape in zip(graph.output, shapes):
        dims = output.type.tensor_type.shape
        del dims.dim[:]
        for size in shape:
            dim = dims.dim.add()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
    _split_gemm(graph)
    _drop_unread(graph)
    # The exporter's doc strings quote source files of the machine it ran on.
    for node in graph.node:
        node.ClearField("doc_string")
    onnx.save(model, str(path))
    del model, graph
    onnx.checker.check_model(str(path), full_check=True)
    return signature(path)


def _split_gemm(graph):
    """Turn each Gemm with constant weights into MatMul and Add: tract types Gemm wrongly in f16,
    and int8 conversion looks for MatMul."""
    constants = {t.name: t for t in graph.initializer}
    for at in reversed(range(len(graph.node))):
        node = graph.node[at]
        if node.op_type != "Gemm" or node.input[1] not in constants:
            continue
        set_to = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if set_to.get("alpha", 1) != 1 or set_to.get("beta", 1) != 1 or set_to.get("transA", 0):
            continue
        weight = onnx.numpy_helper.to_array(constants[node.input[1]])
        name = f"{node.name}.weight"
        turned = np.ascontiguousarray(weight.T if set_to.get("transB", 0) else weight)
        graph.initializer.append(onnx.numpy_helper.from_array(turned, name))
        product = f"{node.name}.product"
        scope = node.name.removesuffix("Gemm")
        x, bias, out = node.input[0], node.input[2], node.output[0]
        matmul = onnx.helper.make_node("MatMul", [x, name], [product], name=f"{scope}MatMul")
        add = onnx.helper.make_node("Add", [product, bias], [out], name=f"{scope}Add")
        graph.node.remove(node)
        graph.node.insert(at, matmul)
        graph.node.insert(at + 1, add)


def _drop_unread(graph):
    """Remove initializers that no node reads."""
    read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)


def export_encoder(encoder, path):
    """``split.Encoder`` -> image f32 [1,3,S,S] in, features out. Returns the manifest entry."""
    image = torch.zeros(1, 3, encoder.side, encoder.side)
    with torch.no_grad():
        shapes = [list(feature.shape) for feature in encoder(image)]
    return _write(encoder, (image,), path, ["image"], encoder.names, {}, shapes)


def export_decoder(decoder, encoder, path):
    """``split.Decoder`` of an encoder -> its features, tokens and token_mask in."""
    with torch.no_grad():
        features = encoder(torch.zeros(1, 3, encoder.side, encoder.side))
    tokens = torch.ones(2, 5, decoder.dim)
    mask = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    quarter = encoder.side // 4
    outputs = {"logits": ["P", quarter, quarter], "score": ["P"]}
    if decoder.classes is not None:
        outputs["meta"] = ["P", decoder.classes.shape[1]]
    dynamic = PROMPT_AXES | {name: {0: "P"} for name in outputs}
    inputs = [*encoder.names, "tokens", "token_mask"]
    args = (*features, tokens, mask)
    return _write(decoder, args, path, inputs, list(outputs), dynamic, outputs.values())


def export_text(text_encoder, path):
    """``text_encoder.LanguageEncoder`` -> ids i64 [1,T] in, tokens f32 [1,T,D] out."""
    ids = torch.ones(1, 5, dtype=torch.int64)
    dim = text_encoder.lang_proj.shape[1]
    dynamic = {"input_ids": {1: "T"}, "tokens": {1: "T"}}
    return _write(text_encoder, (ids,), path, ["input_ids"], ["tokens"], dynamic, [[1, "T", dim]])
