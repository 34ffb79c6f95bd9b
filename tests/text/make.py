"""Make text.onnx and tokenizer.json: a text encoder whose answers are known.

The graph looks each word up in a table that holds the token rows of "polyp in colon endoscope"
under other words, so that "soft growth inside a bowel by scope" has to give the polyp's very
mask. The tokenizer pads and truncates to 77 as CLIP's does, which the runtime must not.

    PYTHONPATH=models/train python tests/text/make.py
"""

import json
import pathlib

import numpy as np
import onnx
from bedside_train import text
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
WORDS = ["[CLS]", "soft", "growth", "inside", "a", "bowel", "by", "scope", "[SEP]"]

# Rounded as the prompt table rounds; the row after the words is that of an unknown word.
rows = text.tokens("polyp in colon endoscope").astype(np.float16).astype(np.float32)
if len(rows) != len(WORDS):
    raise SystemExit(f"{len(rows)} token rows for {len(WORDS)} words")
table = np.concatenate([rows, np.zeros((1, rows.shape[1]), np.float32)])

ids = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "T"])
       for n in ("input_ids", "attention_mask", "token_type_ids")]
tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [1, "T", rows.shape[1]])
nodes = [
    helper.make_node("Gather", ["table", "input_ids"], ["words"]),
    helper.make_node("Sub", ["attention_mask", "token_type_ids"], ["keep_ids"]),
    helper.make_node("Cast", ["keep_ids"], ["keep"], to=TensorProto.FLOAT),
    helper.make_node("Unsqueeze", ["keep", "last"], ["keep_rows"]),
    helper.make_node("Mul", ["words", "keep_rows"], ["tokens"]),
]
constants = [numpy_helper.from_array(table, "table"),
             numpy_helper.from_array(np.array([-1], np.int64), "last")]
graph = helper.make_graph(nodes, "text", ids, [tokens], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, HERE / "text.onnx")

special = [{"id": i, "content": w, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True} for i, w in ((0, "[CLS]"), (8, "[SEP]"))]
tokenizer = {
    "version": "1.0",
    "truncation": {"direction": "Right", "max_length": 77, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 77}, "direction": "Right", "pad_to_multiple_of": None,
                "pad_id": 9, "pad_type_id": 0, "pad_token": "[UNK]"},
    "added_tokens": special,
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {w: {"id": w, "ids": [i], "tokens": [w]}
                           for w, i in (("[CLS]", 0), ("[SEP]", 8))},
    },
    "decoder": None,
    "model": {"type": "WordLevel", "unk_token": "[UNK]",
              "vocab": {w: i for i, w in enumerate([*WORDS, "[UNK]"])}},
}
(HERE / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1) + "\n")
