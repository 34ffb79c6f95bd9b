"""Lower precisions of exported graphs: f16 for GPUs, int8 for CPUs.

int8 is made in two ways that can be mixed by node: static QDQ (activations calibrated on frames,
weights per channel) for convolutions, and dynamic quantization of activations for matrix products
with constant weights. Which product takes which way, and which stay in f32, is measured: see
:func:`sensitivity`.
"""

import collections
import contextlib
import logging
import pathlib
import tempfile

import numpy as np
import onnx
from bedside_train.bundle import drop_dead
from onnxruntime import quantization
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from .runner import session


@contextlib.contextmanager
def _quiet():
    """onnxruntime advises on the root logger about preprocessing that our graphs had already."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


# These sum squares, or values of a whole map: past 65504 f16 has no numbers, and a residual stream
# of some hundreds is past it when squared.
SUMS = ["LayerNormalization", "InstanceNormalization", "ReduceMean", "ReduceL2"]


def to_f16(source, target):
    """Weights and arithmetic in f16, but for ``SUMS``; inputs and outputs stay f32, as the contract
    wants them."""
    model = onnx.load(str(source))
    # The converter casts between f16 and f32 only where it knows a value's type: it has to infer.
    model = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *SUMS]
    )
    OnnxModel(model).topological_sort()  # the converter appends its casts at the end
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


class Feeds(quantization.CalibrationDataReader):
    """Input dictionaries, one a frame."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def weighted(model):
    """Nodes whose weights are constants of the graph: what int8 can shrink. Name -> operator."""
    constants = {i.name for i in model.graph.initializer}
    return {
        n.name: n.op_type
        for n in model.graph.node
        if n.op_type in ("Conv", "MatMul") and n.input[1] in constants
    }


def group(name, depth=2):
    """The part of the network that a node belongs to, from the scope in its name."""
    scope = [s for s in name.split("/") if s]
    return "/".join(scope[:-1][:depth]) or scope[0]


def groups(model, depth=2):
    """Weighted nodes by part of the network, in the graph's order."""
    found = collections.OrderedDict()
    for name in weighted(model):
        found.setdefault(group(name, depth), []).append(name)
    return found


def to_int8(source, target, feeds, static=("Conv",), keep=(), ranges=None):
    """Quantize the graph at ``source``.

    ``static`` names the operators quantized by QDQ with calibrated activations; matrix products
    that are not among them are quantized dynamically. Nodes named in ``keep`` stay f32.
    ``ranges`` is a file that takes the calibrated ranges, or has them from an earlier call for the
    same graph and frames; running the frames again is most of the time.
    """
    names = weighted(onnx.load(str(source)))
    by_qdq = [n for n, op in names.items() if op in static and n not in keep]
    dynamic = [
        n for n, op in names.items() if op == "MatMul" and op not in static and n not in keep
    ]
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        step = pathlib.Path(scratch) / "step.onnx"
        if by_qdq:
            quantization.quantize_static(
                str(source),
                str(step),
                Feeds(feeds),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=["Conv", "MatMul"],  # so that ranges serve any ``static``
                nodes_to_quantize=by_qdq,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                calibration_cache_path=ranges,
                extra_options={"CalibMovingAverage": True},
            )
        else:
            step = source
        if dynamic:
            quantization.quantize_dynamic(
                str(step),
                str(target),
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_quantize=dynamic,
                extra_options={"MatMulConstBOnly": True},
            )
        else:
            onnx.save(onnx.load(str(step)), str(target))
    model = onnx.load(str(target))
    drop_dead(model)
    onnx.save(model, str(target))


def relative_error(got, want):
    """Largest difference over the largest magnitude; a network that says nothing is an error."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if not np.isfinite(got).all() or not np.isfinite(want).all():
        raise ValueError("values that are no numbers")
    scale = np.abs(want).max()
    if scale == 0:
        raise ValueError("all outputs are zero")
    return float(np.abs(got - want).max() / scale)


def sensitivity(source, feeds, held, judge, ranges, depth=2):
    """Error that each part of the network causes when it alone is int8, worst first.

    Calibrated on ``feeds``, judged on ``held``; ``ranges`` is as in :func:`to_int8`.
    ``judge(outputs)`` turns a frame's encoder outputs, by name, into the logits that matter.
    -> [(group, nodes, relative error of the logits)]
    """
    names = [o.name for o in onnx.load(str(source)).graph.output]
    run = session(source)
    reference = [judge(dict(zip(names, run.run(None, f)))) for f in held]
    del run  # gigabytes that calibration needs
    parts = groups(onnx.load(str(source)), depth)
    found = []
    for part, nodes in parts.items():
        others = {n for g, ns in parts.items() if g != part for n in ns}
        with tempfile.TemporaryDirectory() as scratch:
            target = pathlib.Path(scratch) / "part.onnx"
            to_int8(source, target, feeds, keep=others, ranges=ranges)
            run = session(target)
            errors = [
                relative_error(judge(dict(zip(names, run.run(None, f)))), want)
                for f, want in zip(held, reference)
            ]
        found.append((part, nodes, max(errors)))
    return sorted(found, key=lambda row: -row[2])


def protect(source, table, share):
    """Nodes to keep in f32: the most sensitive parts that fit while the rest, at a byte a weight,
    leaves the graph under ``share`` of its f32 size. ``table`` is what ``sensitivity`` found."""
    model = onnx.load(str(source))
    weights = {i.name: int(np.prod(i.dims)) for i in model.graph.initializer}
    named = weighted(model)
    sizes = {n.name: weights[n.input[1]] for n in model.graph.node if n.name in named}
    total = sum(weights.values())
    spare = share * 4 * total - (4 * (total - sum(sizes.values())) + sum(sizes.values()))
    keep = []
    for _, nodes, _ in table:
        cost = 3 * sum(sizes[n] for n in nodes)
        if cost <= spare:
            keep += nodes
            spare -= cost
    return keep
