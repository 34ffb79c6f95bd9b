"""What every writer of a bundle's source folder needs; see docs/bundle-format.md."""

import cv2
import numpy as np
import onnxruntime


def tensor(name, dtype, *shape):
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def drop_dead(model):
    """Remove nodes and initializers that nothing reads, and the shapes of inner values."""
    graph = model.graph
    outputs = {o.name for o in graph.output}
    while True:
        read = {i for n in graph.node for i in n.input} | outputs
        dead = [n for n in graph.node if not any(o in read for o in n.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for init in [i for i in graph.initializer if i.name not in read]:
        graph.initializer.remove(init)
    del graph.value_info[:]
    for opset in [o for o in model.opset_import if o.domain]:
        model.opset_import.remove(opset)


def session(graph, threads=1):
    """graph: path or bytes of a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(graph, options)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def beta(samples):
    """Beta parameters by the method of moments."""
    m, v = float(np.mean(samples)), float(np.var(samples, ddof=1))
    k = m * (1 - m) / max(v, 1e-7) - 1
    return [round(m * k, 4), round((1 - m) * k, 4)]


def rle(mask):
    """COCO run lengths: column by column, starting with the run of zeros."""
    flat = mask.T.reshape(-1).astype(bool)
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds).tolist()
    return [0] + counts if flat[0] else counts


def enlarge(logits, side):
    """Logits at the size of the square frame, as the runtime does it."""
    return cv2.resize(logits, (side, side), interpolation=cv2.INTER_LINEAR)


def statistics(square, logits, truth):
    """What the validity value looks at, as the runtime computes it: mean probability and mean
    red, green and blue inside the mask, divided by 256. ``None`` unless the mask is about right
    (Dice 0.7): only correct masks teach.

    square: u8 RGB [n,n,3]; logits [h,w]; truth: bool [n,n].
    """
    up = enlarge(logits, truth.shape[0])
    mask = up > 0
    if not truth.any() or 2 * (mask & truth).sum() < 0.7 * (mask.sum() + truth.sum()):
        return None
    return [sigmoid(up[mask]).mean() * 255 / 256, *(square[mask].mean(0) / 256)]


def validity(form, precision, samples):
    """A row of the manifest's ``validity`` from :func:`statistics` of several frames.

    form: dictionary with object, modality and site, and acquisition if there is one.
    """
    columns = np.array(samples).T
    names = ("prob", "red", "green", "blue")
    return {
        **form,
        "precision": precision,
        **{n: beta(c) for n, c in zip(names, columns)},
    }
