"""Make the graphs of the conformance suite and their golden outputs by onnxruntime.

    pip install numpy onnx==1.23.2 onnxruntime==1.32.0
    python crates/bedside-engine/conformance/make.py

Weights come from a seeded generator; inputs follow the rule in `value`, which src/conformance.rs
repeats, so that only outputs are stored (little-endian f32).
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
SYMBOLS = {"P": 3, "T": 5}
rng = np.random.default_rng(17)


def value(k, n):
    """Elements 0..n of input k."""
    i = np.arange(n, dtype=np.int64)
    return (((i * 7919 + k * 104729) % 2003).astype(np.float32) / np.float32(1001.5)) - np.float32(1)


class Graph:
    def __init__(self):
        self.nodes, self.weights = [], []

    def weight(self, name, *shape, scale=0.3):
        return self.const(name, (rng.standard_normal(shape) * scale).astype(np.float32))

    def const(self, name, array):
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def save(self, name, inputs, outputs):
        info = lambda n, s: helper.make_tensor_value_info(n, TensorProto.FLOAT, s)  # noqa: E731
        graph = helper.make_graph(
            self.nodes,
            name,
            [info(n, s) for n, s in inputs.items()],
            [info(n, s) for n, s in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(HERE / f"{name}.onnx"))
        shapes = [[SYMBOLS.get(d, d) for d in s] for s in inputs.values()]
        feed = {
            n: value(k, int(np.prod(s))).reshape(s) for k, (n, s) in enumerate(zip(inputs, shapes))
        }
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        for output, array in zip(outputs, session.run(list(outputs), feed)):
            assert np.isfinite(array).all() and array.std() > 0.01, f"{name}.{output} is dead"
            (HERE / f"{name}.{output}.f32").write_bytes(array.astype("<f4").tobytes())


def convolutions():
    """Stem with TensorFlow's uneven padding, inverted residual, broadcast doubling, mean."""
    g = Graph()
    zero, six = g.const("zero", np.float32(0)), g.const("six", np.float32(6))

    def conv(x, name, cin, cout, k, stride=1, pads=None, group=1, act=True):
        w = g.weight(name + "_w", cout, cin // group, k, k, scale=1.5 / (k * k * cin // group) ** 0.5)
        b = g.weight(name + "_b", cout)
        pads = [k // 2] * 4 if pads is None else pads
        y = g.op("Conv", [x, w, b], name, strides=[stride] * 2, pads=pads, group=group,
                 kernel_shape=[k, k])  # fmt: skip
        return g.op("Clip", [y, zero, six], name + "_act") if act else y

    x = conv("image", "stem", 3, 8, 3, 2, [0, 0, 1, 1])
    y = conv(x, "expand", 8, 24, 1)
    y = conv(y, "depthwise", 24, 24, 5, group=24)
    y = conv(y, "project", 24, 8, 1, act=False)
    y = g.op("Add", [x, y], "residual")
    low = conv(y, "down", 8, 8, 5, 2, [1, 1, 2, 2], group=8)
    s1 = g.const("s1", np.array([1, 8, 6, 1, 7, 1], np.int64))
    s2 = g.const("s2", np.array([1, 8, 6, 2, 7, 2], np.int64))
    s3 = g.const("s3", np.array([1, 8, 12, 14], np.int64))
    up = g.op("Reshape", [low, s1], "split")
    up = g.op("Expand", [up, s2], "double")
    up = g.op("Reshape", [up, s3], "joined")
    whole = g.op("ReduceMean", [up], "whole", axes=[2, 3], keepdims=1)
    out = g.op("Add", [up, y], "sum")
    g.op("Add", [out, whole], "features")
    g.save("convolutions", {"image": [1, 3, 24, 28]}, {"features": [1, 8, 12, 14]})


def attention():
    """Prompts in the batch dimension: queries over padded tokens and shared memory, heads."""
    g = Graph()
    d, n = 16, 32
    tok = g.op("MatMul", ["tokens", g.weight("w_in", 12, d)], "projected")
    tok = g.op("LayerNormalization", [tok, g.const("ln_s", np.ones(d, np.float32)),
               g.weight("ln_b", d)], "normed", axis=-1, epsilon=1e-5)  # fmt: skip
    one = g.const("one", np.array([1], np.int64))
    two = g.const("two", np.array([2], np.int64))
    keep = g.op("Unsqueeze", ["token_mask", two], "keep")
    total = g.op("ReduceSum", [g.op("Mul", [tok, keep], "kept"), one], "total", keepdims=0)
    count = g.op("ReduceSum", [keep, one], "count", keepdims=0)
    query = g.op("Div", [total, count], "query")
    q = g.op("Unsqueeze", [g.op("Gemm", [query, g.weight("w_q", d, d), g.weight("b_q", d)], "q"),
             one], "q3")  # fmt: skip
    over = g.op("MatMul", [q, g.op("Transpose", [tok], "tok_t", perm=[0, 2, 1])], "scores")
    minus = g.op("Sub", [g.const("1", np.float32(1)), "token_mask"], "off")
    bias = g.op("Unsqueeze", [g.op("Mul", [minus, g.const("big", np.float32(-1e4))], "bias2"), one],
                "bias")  # fmt: skip
    soft = g.op("Softmax", [g.op("Add", [over, bias], "masked"), ], "soft", axis=-1)
    text = g.op("Squeeze", [g.op("MatMul", [soft, tok], "read"), one], "text")
    x = g.op("Add", [query, text], "x1")
    a = g.op("Softmax", [g.op("MatMul", [x, "memory"], "look")], "a", axis=-1)
    x = g.op("Add", [x, g.op("MatMul", [a, g.weight("values", n, d)], "seen")], "x2")
    h = g.op("Gemm", [x, g.weight("w_1", d, 32), g.weight("b_1", 32)], "hidden")
    e = g.op("Erf", [g.op("Div", [h, g.const("r2", np.float32(2**0.5))], "h2")], "erf")
    e = g.op("Mul", [g.op("Mul", [h, g.op("Add", [e, "1"], "e1")], "e2"),
             g.const("half", np.float32(0.5))], "gelu")  # fmt: skip
    w = g.op("Gemm", [e, g.weight("w_2", 32, d), g.weight("b_2", d)], "w")
    flat = g.op("MatMul", [w, "memory"], "flat")
    g.op("Reshape", [flat, g.const("shape", np.array([-1, 4, 8], np.int64))], "logits")
    prob = g.op("Sigmoid", [flat], "prob")
    score = g.op("ReduceMean", [prob], "mean", axes=[1], keepdims=0)
    g.op("Relu", [score], "score")
    g.save(
        "attention",
        {"memory": [d, n], "tokens": ["P", "T", 12], "token_mask": ["P", "T"]},
        {"logits": ["P", 4, 8], "score": ["P"]},
    )


def quantized_convolution():
    """QDQ: u8 activations with a zero point, i8 weights per channel, i32 bias."""
    g = Graph()
    scale = g.const("x_s", np.float32(2 / 255))
    zero = g.const("x_z", np.uint8(128))
    x = g.op("QuantizeLinear", ["image", scale, zero], "x_q")
    x = g.op("DequantizeLinear", [x, scale, zero], "x")
    w_scale = (rng.uniform(0.5, 1.5, 6) / 127).astype(np.float32)
    w = g.op("DequantizeLinear", [
        g.const("w_q", rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8)),
        g.const("w_s", w_scale), g.const("w_z", np.zeros(6, np.int8))], "w", axis=0)  # fmt: skip
    b = g.op("DequantizeLinear", [
        g.const("b_q", rng.integers(-9000, 9000, 6).astype(np.int32)),
        g.const("b_s", w_scale * np.float32(2 / 255)), g.const("b_z", np.zeros(6, np.int32))],
        "b", axis=0)  # fmt: skip
    y = g.op("Conv", [x, w, b], "y", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    y = g.op("Clip", [y, g.const("lo", np.float32(0)), g.const("hi", np.float32(6))], "y_act")
    s, z = g.const("y_s", np.float32(6 / 255)), g.const("y_z", np.uint8(0))
    g.op("DequantizeLinear", [g.op("QuantizeLinear", [y, s, z], "y_q"), s, z], "features")
    g.save("quantized_convolution", {"image": [1, 4, 9, 11]}, {"features": [1, 6, 9, 11]})


def dynamic_matmul():
    """Dynamic quantization: DynamicQuantizeLinear, MatMulInteger, rescale."""
    g = Graph()
    g.nodes.append(
        helper.make_node("DynamicQuantizeLinear", ["rows"], ["q", "s", "z"], name="quantize")
    )
    w = g.const("w_q", rng.integers(-127, 128, (16, 10)).astype(np.int8))
    y = g.op("MatMulInteger", ["q", w, "z", g.const("w_z", np.int8(0))], "y_i")
    y = g.op("Cast", [y], "y_f", to=TensorProto.FLOAT)
    s = g.op("Mul", ["s", g.const("w_s", np.float32(0.01))], "scale")
    g.op("Mul", [y, s], "out")
    g.save("dynamic_matmul", {"rows": [7, 16]}, {"out": [7, 10]})


def external_data():
    """A graph whose weight claims to lie in another file: must be refused."""
    g = Graph()
    w = g.weight("w", 4, 4)
    g.op("MatMul", ["x", w], "y")
    graph = helper.make_graph(
        g.nodes,
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="weights.bin")
    (HERE / "external_data.onnx").write_bytes(model.SerializeToString())


for make in (convolutions, attention, quantized_convolution, dynamic_matmul, external_data):
    make()
