#!/usr/bin/env python3
"""`bedside live` beside pyigtl, as its client and as its server: python peer.py BEDSIDE [SECONDS].

With SECONDS, pictures of 640x480 go to bedside at 30 a second for so long instead, while answers are
taken slowly for the middle third; how late they are is measured. Once more so, by a peer that bounds its
own receive buffer."""

import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyigtl
from pyigtl import messages

BEDSIDE = sys.argv[1]
BUNDLE = Path(__file__).parents[2] / "bedside-cli/tests/golden/bundle"
# A guard against waiting for ever; nothing is measured by it.
PATIENCE = 120


class StatusMessage(messages.MessageBase):
    """What pyigtl lacks."""

    def _unpack_content(self, content):
        self.code, self.age_ms, name = struct.unpack("> H q 20s", content[:30])
        self.name = name.rstrip(b"\0").decode()
        assert content[-1] == 0
        self.text = content[30:-1].decode()


messages.message_type_to_class_constructor["STATUS"] = StatusMessage


def picture(number, width=160, height=120):
    """A red square on gray, with a texture that tells one from the next; and the square."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    texture = (((x + number % 3) // 8 + y // 8) % 2 * 12).astype(np.uint8)
    square = (x >= width // 4) & (x < 3 * width // 4) & (y >= height // 4) & (y < 3 * height // 4)
    pixels = np.where(square[..., None], [200, 40, 40], [110, 110, 110]).astype(np.uint8)
    return (pixels + texture[..., None])[None], square


class Bedside:
    """A `bedside live` in a folder of its own."""

    def __init__(self, folder, *options):
        bundle = Path(folder) / "tiny.bedside"
        if not bundle.exists():
            subprocess.run([BEDSIDE, "pack", BUNDLE, bundle], check=True, stdout=subprocess.DEVNULL)
        command = [BEDSIDE, "live", "--bundle", bundle, "--cache", folder, "--prompt", "polyp", *options]
        self.said = []
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stderr:
            self.said.append(line)

    def says(self, pattern):
        return until(f"bedside says {pattern}; it said {self.said}",
                     lambda: next(filter(None, (re.search(pattern, line) for line in list(self.said))), None))

    def port(self):
        return int(self.says(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def end(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        assert code == 0, (code, self.said)
        return self.process.stdout.read()


def until(what, holds):
    began = time.time()
    while time.time() - began < PATIENCE:
        if (held := holds()):
            return held
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


class Feeder:
    """Sends pictures, and keeps the newest message of each device."""

    def __init__(self, link, version):
        self.link, self.version, self.number, self.newest = link, version, 0, {}

    def turn(self, size=(160, 120), gray=False):
        self.number += 1
        pixels, _ = picture(self.number, *size)
        matrix = np.diag([0.25, 0.5, 1, 1])
        message = pyigtl.ImageMessage(pixels[..., 1] if gray else pixels, matrix, device_name="Endoscope",
                                      timestamp=1000.0 + self.number)
        message.header_version = self.version
        self.link.send_message(message, wait=False)
        time.sleep(0.04)
        for answer in self.link.get_latest_messages():
            self.newest[answer.device_name] = answer
        return self.newest

    def until(self, what, holds, **options):
        return until(f"{what}; newest: {self.newest.keys()}", lambda: holds(self.turn(**options)))

    def say(self, text):
        message = pyigtl.StringMessage(text, device_name="Prompt")
        message.header_version = self.version
        self.link.send_message(message, wait=False)


def conversation(link, version, bedside):
    """What a peer sees, from the first picture to refused prompts."""
    feeder = Feeder(link, version)

    def found(newest):
        labels = newest.get("bedside-labels")
        return labels is not None and labels.image.any() and labels

    labels = feeder.until("a label map", found)
    _, square = picture(0)
    mask = labels.image[0]
    assert labels.image.shape == (1, 120, 160), labels.image.shape
    assert set(np.unique(mask)) <= {0, 1}
    dice = 2 * (mask.astype(bool) & square).sum() / (mask.sum() + square.sum())
    assert dice > 0.9, dice
    # As its picture: the time that this was sent with, and its place.
    assert labels.timestamp == int(labels.timestamp) and 1000 < labels.timestamp <= 1000 + feeder.number
    assert np.allclose(labels.ijk_to_world_matrix, np.diag([0.25, 0.5, 1, 1]))
    assert labels.header_version == version
    if version == 2:
        assert labels.metadata["labels"] == "1=polyp", labels.metadata
        assert 0 <= int(labels.metadata["age_ms"]) < 2000, labels.metadata
        assert labels.metadata["state"] in ("active", "degraded"), labels.metadata

    status = feeder.until("a state", lambda newest: newest["bedside"].code == 1 and newest["bedside"])
    told = json.loads(status.text)
    assert told["prompts"] == ["polyp"] and told["frame"]["state"] == status.name, told
    mask = feeder.until("an age", lambda newest: newest["bedside"].age_ms >= 0 and newest["bedside"])
    assert mask.age_ms < 2000, mask.age_ms

    feeder.say("no such thing")
    refused = feeder.until("a refusal", lambda newest: newest.get("prompt"))
    assert refused.code == 10 and refused.name == "refused" and "hint" in refused.text, refused.text
    feeder.newest.pop("prompt")
    feeder.say("polyp\npolyp in colon endoscope")
    taken = feeder.until("prompts are taken", lambda newest: newest.get("prompt"))
    assert taken.code == 1 and taken.name == "taken", taken.text
    feeder.until("two prompts", lambda newest: len(json.loads(newest["bedside"].text)["prompts"]) == 2)

    # Another size, and gray: the session goes on.
    for size, gray in [((200, 100), False), ((64, 48), True)]:
        shape = (1, size[1], size[0])
        feeder.until("another size", lambda newest: newest["bedside-labels"].image.shape == shape,
                     size=size, gray=gray)

    # What can't be used stops nothing.
    link.send_message(pyigtl.ImageMessage(np.zeros((1, 48, 64), np.int16), device_name="Endoscope"), wait=False)
    link.send_message(pyigtl.TransformMessage(np.eye(4), device_name="Probe"), wait=False)
    bedside.says("scalar type 4")
    feeder.newest.clear()
    feeder.until("a label map after that", found)


def as_client(folder, version):
    bedside = Bedside(folder, "--igtl-listen", "0")
    port = bedside.port()
    link = pyigtl.OpenIGTLinkClient("127.0.0.1", port)
    conversation(link, version, bedside)
    link.stop()
    # It comes back: another connection takes its place.
    link = pyigtl.OpenIGTLinkClient("127.0.0.1", port)
    Feeder(link, version).until("answers again", lambda newest: "bedside-labels" in newest)
    bedside.end()
    link.stop()
    print(f"as client, header version {version}: passed")


def as_server(folder, version):
    link = pyigtl.OpenIGTLinkServer(port=0)
    bedside = Bedside(folder, "--igtl", f"127.0.0.1:{link.server_address[1]}")
    until("bedside connects", link.is_connected)
    conversation(link, version, bedside)
    bedside.end()
    # Whoever serves one connection after the other shuts down only when that has ended.
    threading.Thread(target=link.stop, daemon=True).start()
    print(f"as server, header version {version}: passed")


def lag(folder, seconds, buffer, most):
    """Pictures at 30 a second, and how long after each was sent its label map was taken: no longer than
    so many seconds. The peer's receive buffer has so many bytes, where that is not the system's to say."""
    bedside = Bedside(folder, "--igtl-listen", "0")
    # pyigtl sends and receives on one thread. To be slow at taking alone, there are two here, and
    # pyigtl writes and reads the messages.
    stream = socket.socket()
    if buffer:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    stream.connect(("127.0.0.1", bedside.port()))
    sent_at, answers, pause = [], [], 0.0

    def exactly(count):
        data = bytearray()
        while len(data) < count:
            if not (more := stream.recv(min(count - len(data), 1 << 20))):
                raise EOFError
            data += more
        return bytes(data)

    def take():
        try:
            while True:
                fields = messages.MessageBase.parse_header(exactly(58))
                body = exactly(fields["body_size"])
                message = messages.MessageBase.create_message(fields["message_type"])
                message.unpack(fields, body)
                if message.device_name == "bedside-labels":
                    now = time.time()
                    age_ms = int(message.metadata["age_ms"])
                    answers.append((now - began, pause, now - sent_at[int(message.timestamp)], age_ms))
                    time.sleep(pause)
        except (EOFError, OSError):
            pass

    # Its checksum takes longer than a frame time: each is packed once, and sent with other times,
    # which stand in the header and not in what the checksum is of.
    packed = []
    for number in range(3):
        message = pyigtl.ImageMessage(picture(number, 640, 480)[0], device_name="Endoscope")
        message.header_version = 2
        packed.append(bytearray(message.pack()))
    began = time.time()
    threading.Thread(target=take, daemon=True).start()
    while (elapsed := time.time() - began) < seconds:
        pause = 0.5 if seconds / 3 < elapsed < 2 * seconds / 3 else 0.0
        number = len(sent_at)
        message = packed[number % 3]
        message[34:42] = struct.pack("> I I", number, 0)
        sent_at.append(time.time())
        stream.sendall(message)
        time.sleep(max(0.0, began + len(sent_at) / 30 - time.time()))
    took = time.time() - began
    stream.close()
    bedside.end()
    print(f"receive buffer: {f'{buffer} bytes' if buffer else 'as large as the system makes it'}")
    print(f"{len(sent_at)} pictures of 640x480 in {took:.1f} s, {len(sent_at) / took:.1f} a second")
    # What waited in the system's buffers when the slow third ended is taken at once, late.
    quick = [a for a in answers if a[0] < seconds / 3 or a[0] > 2 * seconds / 3 + 1]
    slow = [a for a in answers if seconds / 3 + 1 < a[0] < 2 * seconds / 3]
    for name, some in [("at once", quick), ("every half second", slow)]:
        late = sorted(a[2] for a in some)
        print(f"taken {name}: {len(late)} label maps, after their pictures were sent: median "
              f"{late[len(late) // 2]:.3f} s, 99 % {late[int(len(late) * 0.99)]:.3f} s, most {late[-1]:.3f} s")
    ages = sorted(a[3] for a in answers if a[3] >= 0)
    print(f"ages that they carry: median {ages[len(ages) // 2]} ms, most {ages[-1]} ms; "
          f"{len(answers) - len(ages)} had no mask")
    assert max(a[2] for a in slow) < most, "the lag behind a slow peer is not bounded"
    assert sorted(a[2] for a in quick)[len(quick) // 2] < 0.5, "it lags behind a quick peer"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 2:
            lag(folder, float(sys.argv[2]), None, 15)
            lag(folder, float(sys.argv[2]), 256 << 10, 3)
        else:
            for version in (1, 2):
                as_client(folder, version)
                as_server(folder, version)
