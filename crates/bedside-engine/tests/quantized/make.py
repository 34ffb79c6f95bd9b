"""Small quantized graphs and onnxruntime's answers, for ../quantized.rs.

    pip install onnxruntime==1.32.0 onnx numpy
    python crates/bedside-engine/tests/quantized/make.py

onnxruntime fuses each into its integer operators (QLinearConv, QLinearAdd); the answers are theirs.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


class Graph:
    def __init__(self, channels, side):
        self.rng = np.random.default_rng(channels * 100 + side)
        self.shape = [1, channels, side, side]
        self.nodes, self.constants = [], []

    @classmethod
    def of(cls, shape):
        graph = cls(shape[-1], shape[-2])
        graph.shape = shape
        return graph

    def dynamic(self, x, depth, width, columns=True, bias=True):
        """A product as quantize_dynamic writes it: one weight scale, or one a column."""
        name = f"{x}.product"
        weights = self.rng.integers(-127, 128, [depth, width], np.int8)
        scales = self.rng.uniform(0.002, 0.01, width if columns else []).astype(np.float32)
        zeros = np.zeros(scales.shape, np.int8)
        b = self.constant(f"{name}.weight", weights)
        bs = self.constant(f"{name}.weight.scale", scales)
        bz = self.constant(f"{name}.weight.zero", zeros)
        codes, scale, zero = f"{x}.codes", f"{x}.scale", f"{x}.zero"
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [codes, scale, zero]))
        y = self.node("MatMulInteger", [codes, b, zero, bz], f"{name}.integers")
        y = self.node("Cast", [y], f"{name}.cast", to=TensorProto.FLOAT)
        scale = self.node("Mul", [scale, bs], f"{name}.scales")
        y = self.node("Mul", [y, scale], f"{name}.scaled")
        if bias:
            values = self.rng.uniform(-1, 1, width).astype(np.float32)
            y = self.node("Add", [self.constant(f"{name}.bias", values), y], name)
        return y

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def code(self, x, scale, zero):
        """QuantizeLinear and DequantizeLinear of an activation."""
        s = self.constant(f"{x}.scale", np.float32(scale))
        z = self.constant(f"{x}.zero", np.uint8(zero))
        q = self.node("QuantizeLinear", [x, s, z], f"{x}.q")
        return self.node("DequantizeLinear", [q, s, z], f"{x}.dq")

    def conv(self, x, scale, cin, cout, kernel, stride=1, group=1, bias=True):
        """Convolution of an activation with that scale; weights i8 a channel, bias i32."""
        name = f"{x}.conv"
        weights = self.rng.integers(-127, 128, [cout, cin // group, kernel, kernel], np.int8)
        scales = self.rng.uniform(0.002, 0.01, cout).astype(np.float32)
        biases = self.rng.integers(-3000, 3000, cout, np.int32)
        parts = [x]
        for what, values, s in (
            ("weight", weights, scales),
            ("bias", biases, (scales * np.float32(scale)).astype(np.float32)),
        )[: 1 + bias]:
            zero = np.zeros(cout, values.dtype)
            inputs = [
                self.constant(f"{name}.{what}", values),
                self.constant(f"{name}.{what}.scale", s),
                self.constant(f"{name}.{what}.zero", zero),
            ]
            parts.append(self.node("DequantizeLinear", inputs, f"{name}.{what}.dq", axis=0))
        pad = kernel // 2
        return self.node(
            "Conv", parts, name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[pad] * 4, group=group,
        )  # fmt: skip

    def write(self, name, out, inputs=None):
        """The graph, activations for it (one unless told which) and its answers."""
        self.node("Identity", [out], "y")
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        onnx.save(model, HERE / f"{name}.onnx")
        if inputs is None:
            inputs = [self.rng.uniform(-1.2, 1.2, self.shape)]
        x = np.stack(inputs).astype(np.float32)
        session = onnxruntime.InferenceSession(str(HERE / f"{name}.onnx"))
        y = np.stack([session.run(None, {"x": x})[0] for x in x])
        assert len(np.unique(y)) > 50, f"{name} says little"
        (HERE / f"{name}.x.f32").write_bytes(x.astype("<f4").tobytes())
        (HERE / f"{name}.y.f32").write_bytes(y.astype("<f4").tobytes())


def pointwise():
    g = Graph(24, 6)
    x = g.code("x", 0.01, 121)
    g.write("pointwise", g.code(g.conv(x, 0.01, 24, 40, 1), 0.05, 99))


def strided():
    g = Graph(3, 11)
    x = g.code("x", 0.01, 131)
    g.write("strided", g.code(g.conv(x, 0.01, 3, 20, 3, stride=2), 0.02, 0))


def depthwise():
    g = Graph(40, 9)
    x = g.code("x", 0.01, 128)
    g.write("depthwise", g.code(g.conv(x, 0.01, 40, 40, 5, stride=2, group=40), 0.02, 110))


def residual():
    g = Graph(16, 5)
    x = g.code("x", 0.01, 128)
    y = g.code(g.conv(x, 0.01, 16, 16, 1), 0.04, 130)
    g.write("residual", g.code(g.node("Add", [x, y], "sum"), 0.05, 0))


def twice():
    """Twice the size, as the exporter writes it, added to another activation."""
    g = Graph(16, 4)
    x = g.code("x", 0.01, 128)
    small = g.code(g.conv(x, 0.01, 16, 16, 1), 0.04, 0)
    at, up = small, None
    for shape, axis in (([1, 16, 4, 4, 1], 4), ([1, 16, 4, 8], 3), ([1, 16, 8, 8], None)):
        to = g.constant(f"{at}.shape", np.array(shape))
        up = g.node("Reshape", [at, to], f"{at}.reshaped")
        if axis is not None:
            at = g.node("Concat", [up, up], f"{up}.twice", axis=axis)
    up = g.code(up, 0.04, 0)
    y = g.code(g.conv(up, 0.04, 16, 16, 3), 0.3, 120)
    g.write("twice", g.code(g.node("Add", [up, y], "sum"), 0.37, 90))


def mixed():
    """A convolution in f32 whose result is rounded to codes on its way into a sum."""
    g = Graph(16, 5)
    weights = g.constant("weight", g.rng.uniform(-0.1, 0.1, [16, 16, 1, 1]).astype(np.float32))
    bias = g.constant("bias", g.rng.uniform(-0.5, 0.5, 16).astype(np.float32))
    y = g.code(g.node("Conv", ["x", weights, bias], "conv", kernel_shape=[1, 1]), 0.013, 120)
    g.write("mixed", g.node("Add", ["x", y], "sum"))


def codes():
    """Codes that are read as numbers."""
    g = Graph(8, 6)
    x = g.code("x", 0.01, 128)
    y = g.conv(x, 0.01, 8, 24, 1)
    g.code(y, 0.02, 100)
    g.write("codes", g.node("Cast", [f"{y}.q"], "numbers", to=TensorProto.FLOAT))


def rescaled():
    """Codes that mean twice as much when they are read, and other sums."""
    g = Graph(8, 6)
    x = g.code("x", 0.01, 128)
    y = g.conv(x, 0.01, 8, 8, 3)
    g.code(y, 0.03, 100)
    scale = g.constant("other.scale", np.float32(0.06))
    zero = g.constant("other.zero", np.uint8(90))
    twice = g.node("DequantizeLinear", [f"{y}.q", scale, zero], "other")
    g.write("rescaled", g.node("Add", [x, twice], "sum"))


def innermost():
    """Channels innermost but around the convolutions, which have no bias."""
    g = Graph.of([1, 7, 7, 24])
    x = g.code(g.node("Transpose", ["x"], "image", perm=[0, 3, 1, 2]), 0.01, 121)
    y = g.code(g.conv(x, 0.01, 24, 24, 3, group=24, bias=False), 0.02, 99)
    y = g.code(g.conv(y, 0.02, 24, 40, 1, bias=False), 0.09, 140)
    g.write("innermost", g.node("Transpose", [y], "rows", perm=[0, 2, 3, 1]))


def activations(g, shape):
    """What tries a range: all of one sign, all the same, all zero, one value far out."""
    x = g.rng.uniform(-1.2, 1.2, shape)
    far = x.copy()
    far.flat[5] = 30
    return [x, x - 1.5, x + 40, np.full(shape, -0.7), np.zeros(shape), far]


def columns():
    g = Graph.of([2, 9, 30])
    g.write("columns", g.dynamic("x", 30, 37), activations(g, g.shape))


def whole():
    g = Graph.of([7, 24])
    y = g.dynamic("x", 24, 40, columns=False, bias=False)
    g.write("whole", y, activations(g, g.shape))


def perceptron():
    """Two products with limits between them, added to what they read."""
    g = Graph.of([1, 11, 20])
    y = g.node("Relu", [g.dynamic("x", 20, 48)], "limited")
    g.write("perceptron", g.node("Add", ["x", g.dynamic(y, 48, 20)], "sum"), activations(g, g.shape))


def gelu():
    g = Graph.of([1, 11, 20])
    y = g.dynamic("x", 20, 48)
    half, one = g.constant("half", np.float32(0.5)), g.constant("one", np.float32(1))
    root = g.constant("root", np.float32(2**0.5))
    erf = g.node("Erf", [g.node("Div", [y, root], "div")], "erf")
    y = g.node("Mul", [y, g.node("Add", [erf, one], "up")], "twice")
    g.write("gelu", g.node("Mul", [y, half], "gelu"), activations(g, g.shape))


def prompts():
    """A batch of any size; the answers are those of batches of one."""
    g = Graph.of(["P", 5, 24])
    g.write("prompts", g.dynamic("x", 24, 40), activations(g, [1, 5, 24]))


CASES = (pointwise, strided, depthwise, residual, twice, mixed, codes, rescaled, innermost)
DYNAMIC = (columns, whole, perceptron, gelu, prompts)
for case in CASES + DYNAMIC:
    case()
