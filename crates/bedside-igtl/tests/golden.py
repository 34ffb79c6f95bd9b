#!/usr/bin/env python3
"""Messages as pyigtl 0.3.4 writes them: python golden.py FOLDER. It knows no STATUS, whose content is
packed here as the protocol lists its fields; all around it is pyigtl's."""

import struct
import sys
from pathlib import Path

import numpy as np
import pyigtl
from pyigtl.messages import MessageBase

WIDTH, HEIGHT = 5, 3
GRAY = np.arange(WIDTH * HEIGHT, dtype=np.uint8).reshape(1, HEIGHT, WIDTH) * 7
RGB = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint8).reshape(1, HEIGHT, WIDTH, 3)
# Half a second is 2^31 of the timestamp's units.
TIME = 1_700_000_000.5


class StatusMessage(MessageBase):
    def __init__(self, code, subcode, name, text, **more):
        super().__init__(**more)
        self._message_type = "STATUS"
        self._valid_message = True
        self.fields = (code, subcode, name, text)

    def _pack_content(self):
        code, subcode, name, text = self.fields
        return struct.pack("> H q 20s", code, subcode, name.encode()) + text.encode() + b"\0"


def image(pixels, device="Image", version=1, metadata=None, matrix=None, coordinates=None):
    message = pyigtl.ImageMessage(pixels, matrix, coordinates, timestamp=TIME, device_name=device)
    message.header_version, message.metadata = version, metadata or {}
    return message


def string(text, version=1, metadata=None):
    message = pyigtl.StringMessage(text, timestamp=TIME, device_name="prompt")
    message.header_version, message.metadata = version, metadata or {}
    return message


def status(version):
    message = StatusMessage(1, 83, "active", '{"frame":{}}', timestamp=TIME, device_name="bedside")
    message.header_version = version
    return message


def messages():
    labels = {"age_ms": "83", "frame": "7", "state": "active", "labels": "1=polyp"}
    yield "image-gray-v1", image(GRAY)
    yield "image-gray-v2", image(GRAY, version=2)
    yield "image-rgb-v1", image(RGB)
    yield "image-rgb-v2-metadata", image(RGB, version=2, metadata={"Status": "OK", "Depth": "40 mm"})
    yield "image-ras-spacing", image(GRAY, matrix=np.diag([0.25, 0.5, 1, 1]), coordinates="ras")
    yield "image-no-spacing", image(GRAY, matrix=np.diag([0, 0, 0, 1]))
    yield "image-two-axes", image(GRAY[0])
    yield "image-volume", image(np.zeros((2, HEIGHT, WIDTH), np.uint8))
    yield "image-int16", image(GRAY.astype(np.int16))
    yield "labels-v1", image(GRAY % 2, "bedside-labels")
    yield "labels-v2", image(GRAY % 2, "bedside-labels", 2, labels)
    yield "string-v1", string("polyp\nfetal head")
    yield "string-v2-metadata", string("polyp", 2, {"who": "Slicer"})
    yield "status-v1", status(1)
    yield "status-v2", status(2)
    yield "transform-v1", pyigtl.TransformMessage(np.eye(4), timestamp=TIME, device_name="Probe")


if __name__ == "__main__":
    for name, message in messages():
        (Path(sys.argv[1]) / f"{name}.bin").write_bytes(message.pack())
