"""Make the corpora: ``python make.py`` (needs nothing but Python).

Small inputs that are sound, so that changes of them get far, and hostile ones: what a header can
ask for, what an attacker would send, what audits found. Files called ``found-...`` are not made
here: fuzzing found them, and they stay. Goldens of other tests are linked.
"""

import binascii
import io
import json
import os
import pathlib
import struct
import zipfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
TINY = ROOT / "crates/bedside-bundle/tests/golden/golden.bedside"
SOURCE = ROOT / "crates/bedside-bundle/tests/golden/source"


def put(target, name, data):
    (HERE / target).mkdir(exist_ok=True)
    (HERE / target / name).write_bytes(data.encode() if isinstance(data, str) else data)


def link(target, *patterns):
    """Goldens of other tests."""
    for path in (path for pattern in patterns for path in sorted(ROOT.glob(pattern))):
        (HERE / target).mkdir(exist_ok=True)
        to = HERE / target / path.name
        to.unlink(missing_ok=True)
        to.symlink_to(os.path.relpath(path, to.parent))


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def blob(data):
    return varint(len(data)) + data


# Bundles ----------------------------------------------------------------------------------


def info(name):
    i = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    i.create_system, i.external_attr = 3, 0o100644 << 16
    return i


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for name, data in files:
            z.writestr(info(name), data)
    return out.getvalue()


def patched(data, at, value):
    return data[:at] + value + data[at + len(value) :]


def archives():
    small = zipped([("manifest.json", "{}"), ("a", "content")])
    directory = small.index(b"PK\x01\x02")
    end = small.index(b"PK\x05\x06")
    put("archive", "no-manifest", zipped([("a", "content")]))
    put("archive", "cut", small[:-5])
    put("archive", "two-headers", patched(small, 18, b"\x03"))
    put("archive", "size-of-4-gib", patched(small, directory + 20, b"\xff" * 8))
    put("archive", "size-past-the-file", patched(small, directory + 20, b"\xf0\xff\xff\x7f" * 2))
    put("archive", "many-entries", patched(small, end + 8, b"\x01\x04\x01\x04"))
    put("archive", "directory-of-4-gib", patched(small, end + 12, b"\xfe\xff\xff\xff"))
    put("archive", "long-manifest", zipped([("manifest.json", "[" * 3000)]))


def manifests():
    with zipfile.ZipFile(TINY) as z:
        tiny = json.loads(z.read("manifest.json"))
        table = z.read("prompts.postcard")

    def changed(name, **values):
        put("manifest", name, compact(tiny | values))

    changed("tiny.json")
    # Any number of self-tests would be any time at each start.
    changed("self-tests.json", self_tests=tiny["self_tests"] * 40)
    changed("side.json", input=tiny["input"] | {"side": 2**32 - 1})
    changed("escapes.json", description="\x1b]0;owned\x07")
    test = tiny["self_tests"][0]
    runs = {"mask": [2**32 - 1] * 50, "width": 2048, "height": 2048}
    changed("runs.json", self_tests=[test | runs])
    parts = [p | {"name": "../" + p["name"]} for p in tiny["parts"]]
    changed("parts.json", parts=parts)
    put("manifest", "deep.json", "[" * 5000)
    put("manifest", "twice.json", compact(tiny)[:-1] + ', "format": 1}')
    put("manifest", "infinite.json", compact(tiny).replace("0.5", "1e999"))

    put("prompts", "tiny", table)
    put("prompts", "many", b"\x01\x04" + varint(2**32 - 1))
    put("prompts", "long-text", b"\x01\x04\x01" + varint(2**31) + b"polyp")
    put("prompts", "not-finite", table[:-1] + b"\x7c")
    put("prompts", "large-rows", b"\x01" + varint(4096) + b"\x01" + table[3:60])
    exact = (TINY.parent / "prompts-2.postcard").read_bytes()
    put("prompts", "tiny-2", exact)
    put("prompts", "not-finite-2", exact[:-4] + struct.pack("<f", 7e4))
    put("prompts", "halves-2", b"\x02" + table[1:])
    # As a prompt, this reached terminals.
    put("prompts", "escapes", "\x1b[31mpolyp\x1b[0m\x07")
    put("prompts", "words", "tumor in breast ultrasound")
    put("prompts", "shared-word", "Tumor")

    put("pack", "no-tokens.json", json.dumps({"token_dim": 2**63, "entries": []}))
    entry = json.loads((SOURCE / "prompts.json").read_text())["entries"][0]
    put("pack", "large-tokens.json", json.dumps({"token_dim": 4, "entries": [entry | {"tokens": [[1e39] * 4]}]}))
    put("pack", "exact.json", (SOURCE / "bundle.json").read_text().replace('"format": 1', '"format": 2', 1))
    put("pack", "parts.json", (SOURCE / "bundle.json").read_text().replace("{", '{"parts": [],', 1))


# Graphs -----------------------------------------------------------------------------------


def field(number, data):
    return varint(number << 3 | 2) + blob(data)


def num(number, value):
    return varint(number << 3) + varint(value)


def node(operator, inputs, output, *attributes):
    names = b"".join(field(1, name.encode()) for name in inputs)
    extra = b"".join(field(5, attribute) for attribute in attributes)
    return field(1, names + field(2, output.encode()) + field(4, operator.encode()) + extra)


def integer(name, value):
    return field(1, name.encode()) + num(3, value) + num(20, 2)


def integers(name, values):
    return field(1, name.encode()) + b"".join(num(8, v) for v in values) + num(20, 7)


def tensor(name, element, shape, raw):
    dims = b"".join(num(1, dim) for dim in shape)
    return dims + num(2, element) + field(8, name.encode()) + field(9, raw)


def lists(**values):
    return b"".join(
        field(5, tensor(name, 7, [len(v)], struct.pack(f"<{len(v)}q", *v))) for name, v in values.items()
    )


def end(number, name, shape):
    dims = b"".join(field(1, num(1, d) if isinstance(d, int) else field(2, d.encode())) for d in shape)
    kind = num(1, 1) + field(2, dims)
    return field(number, field(1, name.encode()) + field(2, field(1, kind)))


def model(graph, opset=17):
    return num(1, 8) + field(7, field(2, b"graph") + graph) + field(8, field(1, b"") + num(2, opset))


def ends(channels, side):
    return (
        end(11, "pixels", [1, channels, side, side])
        + end(11, "tokens", ["P", "T", 4])
        + end(11, "token_mask", ["P", "T"])
        + end(12, "logits", ["P", side, side])
        + end(12, "score", ["P"])
    )


def graphs():
    tiny = ends(4, 2)

    def put_graph(name, nodes, opset=17):
        put("graph", name, model(tiny + nodes, opset))

    put_graph("chain", b"".join(node("Neg", [f"t{i}" if i else "pixels"], f"t{i + 1}") for i in range(300)))
    # tract's stack overflows on the size of the one, and its time on that of the other.
    put_graph("terms", sizes(60))
    put_graph("terms-double", doubled(40))
    put_graph("opset", b"", opset=99)
    put_graph("before-it-is-made", node("Neg", ["later"], "logits") + node("Neg", ["pixels"], "later"))
    put_graph("twice", node("Neg", ["pixels"], "logits") * 2)
    put_graph("subgraph", node("If", ["pixels"], "logits", field(1, b"then_branch") + field(6, tiny) + num(20, 5)))
    put_graph("vast-shape", field(5, tensor("w", 1, [2**62, 2**62], b"")))
    put_graph("few-values", field(5, tensor("w", 1, [1 << 24], b"\0" * 8)))
    put_graph("texts", field(5, num(1, 1) + num(2, 8) + field(6, b"text") + field(8, b"w")))
    put_graph("weights", field(5, tensor("w", 1, [1100], b"\0" * 4400)))
    put_graph("weights-no-utf-8", field(5, num(1, 1100) + num(2, 1) + field(8, b"\xff") + field(9, b"\0" * 4400)))
    put("graph", "long-length", b"\x3a" + varint(2**63))
    put("graph", "long-key", b"\xba\x80\x80\x80\x10" + blob(tiny))
    put("graph", "long-number", num(1, 8) + b"\x08" + b"\xff" * 20)


def sizes(operations):
    """Quotients and sums of the number of tokens: an expression that an engine keeps."""
    nodes = lists(three=[3]) + node("Shape", ["tokens"], "s0")
    for at in range(operations):
        nodes += node(["Div", "Add"][at % 2], [f"s{at}", "three"], f"s{at + 1}")
    return nodes


def doubled(operations):
    nodes = node("Shape", ["tokens"], "s0")
    for at in range(operations):
        nodes += node("Add", [f"s{at}"] * 2, f"s{at + 1}")
    return nodes


# Video ------------------------------------------------------------------------------------


def chunk(kind, body):
    return kind + struct.pack("<I", len(body)) + body


def avi(width, height, pictures, rate=30):
    form = bytearray(40)
    struct.pack_into("<ii", form, 4, width, height)
    form[16:20] = b"MJPG"
    stream = bytearray(56)
    stream[:8] = b"vidsMJPG"
    struct.pack_into("<II", stream, 20, 1, rate)
    lists = b"LIST\0\0\0\0strl" + chunk(b"strh", bytes(stream)) + chunk(b"strf", bytes(form))
    return b"RIFF\0\0\0\0AVI " + lists + b"LIST\0\0\0\0movi" + pictures


def jpeg(width, height, kind=0xC0):
    """A gray picture of one scan without data."""
    frame = struct.pack(">BBHBHHBBBB", 0xFF, kind, 11, 8, height, width, 1, 1, 0x11, 0)
    return b"\xff\xd8" + frame + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\xff\xd9"


def videos():
    put("y4m", "small", "YUV4MPEG2 W4 H3 F30000:1001 C420jpeg XBEDSIDE_MATRIX=709\n" + ("FRAME\n" + "a" * 20) * 2)
    put("y4m", "full", "YUV4MPEG2 W3 H2 C444 XCOLORRANGE=FULL\nFRAME Ip\n" + "b" * 18 + "FRAME\n" + "c" * 5)
    put("y4m", "halved", "YUV4MPEG2 W5 H3 F0:0 Ip A1:1 C422\nFRAME\n" + "d" * 33)
    put("y4m", "mono", "YUV4MPEG2 W2 H2 F25:1 Cmono\nFRAME\nabcdFRAME\nabcd")
    # 41 bytes that took 859 MB.
    put("y4m", "bomb", "YUV4MPEG2 W16384 H16384 F30:1 C444\nFRAME\n")
    # Not too large for a picture, but for one of a video.
    put("y4m", "too-large", "YUV4MPEG2 W8192 H8192 F30:1 C444\nFRAME\n")
    put("y4m", "largest", "YUV4MPEG2 W4096 H2304 F30:1 C444\nFRAME\nx")
    put("y4m", "no-side", "YUV4MPEG2 W0 H4294967295\nFRAME\n")
    put("y4m", "long-line", "YUV4MPEG2 W4 H3 X" + "y" * 5000)
    put("y4m", "something-else", "YUV4MPEG2 W2 H2 Cmono\nFRAME\nabcd\x1b[31mERROR\n")

    whole = chunk(b"00dc", jpeg(8, 8))
    put("avi", "small", avi(8, 8, whole + whole))
    put("avi", "head-down", avi(8, -8, chunk(b"00db", b"") + whole))
    put("avi", "bomb", avi(16384, 16384, whole))
    put("avi", "too-large", avi(8192, 8192, whole))
    put("avi", "largest", avi(4096, 2304, chunk(b"00dc", jpeg(4096, 2304))))
    put("avi", "long-picture", avi(640, 480, b"00dc" + struct.pack("<I", 16 << 20) + b"\1" * 50))
    put("avi", "longest-picture", avi(640, 480, b"00dc\xff\xff\xff\xff" + b"\1" * 50))
    put("avi", "no-rate", avi(8, 8, whole, rate=0))
    put("avi", "many-streams", b"RIFF\0\0\0\0AVI " + chunk(b"strh", b"auds" + b"\0" * 8) * 300 + avi(8, 8, whole)[12:])
    put("avi", "short-headers", b"RIFF\0\0\0\0AVI " + chunk(b"strh", b"vids") + chunk(b"strf", b"\0" * 9))
    put("avi", "long-header", b"RIFF\0\0\0\0AVI strf\xff\xff\xff\xff" + b"\1" * 50)

    put("mjpeg", "headers", jpeg(8, 8) * 3)
    put("mjpeg", "bomb", jpeg(65535, 65535))
    put("mjpeg", "too-large", jpeg(8192, 8192))
    put("mjpeg", "largest", jpeg(4096, 2304, kind=0xC2))
    put("mjpeg", "largest-side", jpeg(16384, 576))
    put("mjpeg", "no-lines", jpeg(640, 0))
    put("mjpeg", "no-end", jpeg(8, 8)[:-2] + b"\xff" * 400)
    put("mjpeg", "breaks-off", jpeg(8, 8)[:12] + jpeg(8, 8))
    put("mjpeg", "short-segment", b"\xff\xd8\xff\xe1\0\0\xff\xc0\0\1" + jpeg(8, 8))


def boxed(kind, body):
    return struct.pack(">I", len(body) + 8) + kind + body


def table(kind, *numbers):
    return boxed(kind, struct.pack(f">{len(numbers) + 1}I", 0, *numbers))


def sequence_header(columns, rows, kept):
    """A sequence header with these pictures kept for reference, in blocks of 16 pixels."""

    def code(n):
        return "0" * ((n + 1).bit_length() - 1) + f"{n + 1:b}"

    bits = "".join(map(code, [0, 0, 2, kept])) + "0" + code(columns - 1) + code(rows - 1) + "11001"
    bits += "0" * (-len(bits) % 8)
    return bytes([0x67, 66, 0, 40]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def mp4(header, picture=b"\0" * 4, sizes=None, chunks=(1, 1, 0xFFFFFFFF, 1), times=(1, 1, 1), more=b""):
    config = b"\1\x42\0\x28\xff\xe1" + struct.pack(">H", len(header)) + header + b"\0"
    described = b"\0\0\0\0\0\0\0\1" + boxed(b"avc1", b"\0" * 78 + boxed(b"avcC", config))
    samples = (
        boxed(b"stsd", described)
        + table(b"stsz", *(sizes or (0, 1, len(picture))))
        + table(b"stco", 1, 8)
        + table(b"stsc", *chunks)
        + table(b"stts", *times)
        + more
    )
    media = boxed(b"hdlr", b"\0" * 8 + b"vide") + boxed(b"minf", boxed(b"stbl", samples))
    moov = boxed(b"moov", boxed(b"trak", boxed(b"mdia", media)))
    return boxed(b"mdat", picture) + moov


def movies():
    small = sequence_header(2, 2, 1)
    put("mp4", "small", mp4(small))
    put("mp4", "bomb", mp4(sequence_header(1024, 1024, 1)))
    put("mp4", "too-large", mp4(sequence_header(512, 512, 1)))
    put("mp4", "largest", mp4(sequence_header(256, 144, 5)))
    put("mp4", "many-references", mp4(sequence_header(120, 68, 2**32 - 2)))
    # One size for all asks for any number of pictures with eight bytes.
    put("mp4", "many-pictures", mp4(small, sizes=(4, 2**32 - 1)))
    put("mp4", "pictures-of-no-bytes", mp4(small, sizes=(0, 1 << 20)))
    put("mp4", "most-pictures", mp4(small, sizes=(1, 1 << 20), times=(1, 2**32 - 1, 2**32 - 1)))
    put("mp4", "large-pictures", mp4(small, sizes=(2**32 - 1, 3)))
    put("mp4", "delays", mp4(small, more=table(b"ctts", 1, 1, 2**31) + table(b"stss", 0)))
    put("mp4", "sizes-lie", mp4(small, sizes=(0, 2**32 - 1, 1, 2)))
    # A second header would undo what the first was checked for.
    hidden = b"\6\5\0\0\1" + sequence_header(256, 144, 16)
    unit = struct.pack(">I", len(hidden)) + hidden
    put("mp4", "hidden-header", mp4(small, unit + b"\0\0\0\5\x65\x88\x84\0\x10"))
    put("mp4", "unit-past-the-end", mp4(small, b"\xff\xff\xff\xff\x65"))
    put("mp4", "no-lengths", boxed(b"mdat", b"") + b"\0\0\0\0moov" + b"\0\0\0\0trak")
    put("mp4", "long-length", b"\0\0\0\1moov" + b"\xff" * 8)
    put("mp4", "boxes", boxed(b"moov", boxed(b"trak", b"\0\0\0\7mdia" + b"\0" * 20)))


def stills():
    # The two side by side are not the most that a decoder may be asked for, but one more.
    head = struct.pack("<2sIHHIIiiHHIIIIII", b"BM", 58, 0, 0, 54, 40, 8192, -8193, 1, 24, 0, 4, 0, 0, 0, 0)
    put("still", "bomb.bmp", head + b"\0" * 4)
    put("still", "palette.bmp", patched(head, 28, b"\x08\0") + b"\0" * 4)
    put("still", "loop.tiff", b"II*\0\x08\0\0\0\0\0\x08\0\0\0")
    entries = [(256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 2**32 - 1), (279, 4, 1, 2**32 - 1)]
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + b"\0" * 4
    put("still", "bomb.tiff", b"II*\0\x08\0\0\0" + ifd)
    riff = lambda body: b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body  # noqa: E731
    put("still", "bomb.webp", riff(b"VP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6))
    put("still", "bomb-lossless.webp", riff(b"VP8L\x08\0\0\0\x2f\xff\xff\xff\x0f\0\0\0"))
    put("still", "bomb.jpg", jpeg(16384, 16384))
    put("still", "orientation.jpg", b"\xff\xd8\xff\xe1\0\x1aExif\0\0II*\0\x08\0\0\0\xff\xff" + jpeg(8, 8)[2:])


def words():
    put("words", "raw", "4x2:gray8@30000/1001\n" + "a" * 19)
    put("words", "raw-nv12", "3x3:nv12\n" + "b" * 34)
    put("words", "raw-yuyv", "5x2:yuyv@0.001\n" + "c" * 30)
    put("words", "raw-bomb", "16384x16384:rgb8@30\n")
    put("words", "raw-largest", "4294967295x4294967295:i420@1e309/1e-309\n")
    put("words", "phantom", "polyp,seed=3,size=64x48,fps=30,target=no")
    put("words", "phantom-bomb", "fetal-head,seed=18446744073709551616,size=65536x65537,fps=inf")


def masks():
    put("rle", "box", "52203")
    put("rle", "long", "PZ_21O0000O1O1O1N2N2N2M3M3M3L4Kee3")
    put("rle", "broken", "0P0PP")
    put("rle", "large", "oooooooo1" * 20)
    put("rle", "no-text", b"\xff\x1b0123")



# DICOM ------------------------------------------------------------------------------------


def segmentations():
    link("dicom", "crates/bedside-dicom/tests/golden/video/high.*.dcm")
    link("segmentation", "crates/bedside-dicom/tests/golden/masks/*.dcm")
    sound = (ROOT / "crates/bedside-dicom/tests/golden/masks/binary.dcm").read_bytes()
    put("segmentation", "cut.dcm", sound[:-3])
    rows = sound.index(b"(\0\x10\0US") + 8
    put("segmentation", "tall.dcm", patched(sound, rows, b"\xff\xff"))


def command(field, number, instance=None, data_set=False, uid="1.2.840.10008.5.1.4.1.1.6.1", **more):
    def text(value):
        return value.encode() + b"\0" * (len(value) % 2)

    elements = {0x0002: text(uid), 0x0100: struct.pack("<H", field), 0x0110: struct.pack("<H", number)}
    elements[0x0800] = struct.pack("<H", 1 if data_set else 0x0101)
    if instance:
        elements[0x1000] = text(instance)
    elements.update(more.get("others", {}))
    body = b"".join(struct.pack("<HHI", 0, e, len(v)) + v for e, v in sorted(elements.items()))
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def pieces(*all):
    """Context, whether a command, whether the last, bytes."""
    return b"".join(bytes([c << 2 | last << 1 | is_command, len(b)]) + b for c, is_command, last, b in all)


def associations():
    echo = command(0x30, 1, uid="1.2.840.10008.1.1")
    store = command(1, 2, "1.2.3.4", True)
    put("dimse", "command", store)
    put("dimse", "echo", pieces((1, 1, 1, echo)))
    put("dimse", "store", pieces((3, 1, 1, store), (3, 0, 0, b"\x08\0\x16\0UI"), (3, 0, 1, b"\x02\0" + b"1\0")))
    put("dimse", "store-twice", pieces(*[(3, 1, 1, store), (3, 0, 1, b"data")] * 2))
    put("dimse", "in-pieces", pieces((3, 1, 0, store[:20]), (3, 1, 1, store[20:]), (3, 0, 1, b"data")))
    put("dimse", "no-data", pieces((3, 1, 1, command(1, 3, "1.2.3.5"))))
    put("dimse", "empty-data", pieces((3, 1, 1, store), (3, 0, 1, b"")))
    put("dimse", "path", pieces((3, 1, 1, command(1, 4, "../../etc", True)), (3, 0, 1, b"data")))
    put("dimse", "other-class", pieces((1, 1, 1, store), (1, 0, 1, b"data")))
    put("dimse", "no-context", pieces((5, 1, 1, echo)))
    put("dimse", "data-first", pieces((3, 0, 1, b"data")))
    put("dimse", "find", pieces((3, 1, 1, command(0x20, 5, None, True)), (3, 0, 1, b"data"), (1, 1, 1, echo)))
    put("dimse", "lying-length", pieces((3, 1, 1, store[:-4] + b"\xff\xff\xff\xff")))
    put("dimse", "response", pieces((3, 1, 1, command(0x8001, 2, "1.2", others={0x0120: b"\2\0", 0x0900: b"\0\0"}))))


# Results ----------------------------------------------------------------------------------


def crc64(data):
    """ECMA-182, bit by bit."""
    sum = 0
    for byte in data:
        sum ^= byte << 56
        for _ in range(8):
            sum = (sum << 1 ^ (0x42F0E1EBA9EA3693 if sum >> 63 else 0)) & (1 << 64) - 1
    return sum


def igtl(kind, body, version=1, device="Image", size=None):
    head = struct.pack(">H12s20sQQQ", version, kind.encode(), device.encode(), 0,
                       len(body) if size is None else size, crc64(body))
    return head + body


def slice_of(width, height, depth=1, components=1, scalar=3, pixels=None):
    sizes = struct.pack(">HHH", width, height, depth)
    pixels = bytes(width * height * depth * components) if pixels is None else pixels
    return struct.pack(">HBBBB", 1, components, scalar, 2, 1) + sizes + bytes(48) + bytes(6) + sizes + pixels


def links():
    link("igtl", "crates/bedside-igtl/tests/golden/*.bin")
    put("igtl", "both", igtl("IMAGE", slice_of(4, 2)) + igtl("STRING", b"\0\3\0\5polyp", device="prompt"))
    put("igtl", "promised", igtl("IMAGE", slice_of(9, 9), size=28_000_000))
    put("igtl", "endless", igtl("POLYDATA", b"", size=(1 << 64) - 1))
    put("igtl", "large", igtl("IMAGE", slice_of(65535, 65535, pixels=b"")))
    put("igtl", "empty", igtl("IMAGE", b"") + igtl("STRING", b"") + igtl("GET_STATUS", b""))
    put("igtl", "nothing", igtl("IMAGE", slice_of(0, 0, 0)))
    put("igtl", "metadata", igtl("IMAGE", struct.pack(">HHII", 12, 65535, (1 << 32) - 1, 0) + slice_of(2, 2), 2))
    put("igtl", "extended", igtl("IMAGE", struct.pack(">HHII", 65535, 0, 0, 0) + slice_of(2, 2), 2))
    put("igtl", "long-text", igtl("STRING", b"\0\x6a\xff\xffpolyp"))
    put("igtl", "http", "GET / HTTP/1.1\r\nHost: localhost:18944\r\nAccept: */*, text/html\r\n\r\n")


def record(payload):
    length = struct.pack("<I", len(payload))
    crc = struct.pack("<I", binascii.crc32(length + payload))
    return b"\xff\xb5\x1d\xfe" + length + crc + payload


def logs():
    head = b"bedside-log\n\1\0\0\0"
    prompts = record(b"\1\2" + blob(b"polyp") + blob(b"tumor in breast ultrasound"))
    mask = blob(b"polyp") + b"\5" + varint(40_000) + struct.pack("<ff", 0.5, 0.9) + varint(700) + b"\1\1\2\3\4"
    frame = record(b"\2\7" + varint(10**9) + varint(1200) + blob(b"active") + blob(b"") + b"\1" + mask + b"\0")
    put("log", "small", head + prompts + frame + record(b"\3\x09\7\1\1"))
    put("log", "empty", b"")
    put("log", "header-cut", head[:9])
    put("log", "of-tomorrow", head[:12] + b"\x63\0\0\0")
    put("log", "torn", head + prompts + frame[:-3])
    put("log", "damaged", head + prompts + b"\xff" * 9 + frame[:20] + prompts + frame)
    put("log", "no-such-record", head + record(b"\x09rest") + prompts + record(b"\1\2" + varint(2**40)) + prompts)
    # Each claims a payload of 256 KiB, of which the sum is to be checked.
    put("log", "forged-marks", head + b"\xff\xb5\x1d\xfe\0\0\4\0\1\2\3\4" * 600 + prompts)


# Line to the microcontroller ---------------------------------------------------------------


def lines():
    """The target makes a frame of each line; session 7 is the one that its ends have."""
    hello = b"\0%c\1\1\7\0\1\0"
    host = b"\1\7" + varint(20) + b"\1\x80\1\0\0"
    device = b"\2\7" + varint(20) + b"\0\0\0\0\2\0\0\x14\2\2" + varint(65535)
    session = [hello % 0, hello % 1, host, device, device]
    put("link", "session", b"\n".join(session))
    put("link", "overflow", b"\n".join([b"\2\7" + varint(20 + i) + b"\x08\0\0\0\0" for i in range(50)]))
    put("link", "far-ahead", b"\n".join([device, b"\2\7\xff\xff\3" + device[3:], b"\2\7\xff\x7f" + device[3:]]))
    put("link", "acknowledges-all", b"\n".join([hello % 0, host[:-1] + b"\xff\xff\3"]))
    put("link", "nine-changes", device[:7] + b"\x09" + b"\0\0\0" * 9)
    put("link", "long-list", device[:7] + varint(2**31) + b"\0\0\0")
    put("link", "long-number", b"\1\7" + b"\xff" * 20)
    put("link", "no-such", b"\n".join([b"\3", b"\1\7\x14\6\0\0\0\0", hello % 2, b"\1\7\x14\0\0\2\0\0"]))
    put("link", "goes-on", host + b"\0")
    put("link", "upside-down", b"\0\1\x02\1\7\0\1\0")
    put("link", "longest", b"\xaa" * 300)
    frame = "04 01 ac 02 01 02 ff 01 01 05 73 7a f9 ed 00"
    put("link", "frames", bytes.fromhex(frame * 2 + frame[:9] + "00" + frame[9:] + "00 00 ff" + frame))


# Models -----------------------------------------------------------------------------------


def decoders():
    """Decoders of the command's tiny bundle, at the bounds and beyond."""
    names = dict(zero=[0], one=[1], two=[2], three=[3], four=[4], flat=[3, 64], square=[-1, 8, 8])
    head = ends(3, 8) + lists(**names)
    head += node("Unsqueeze", ["token_mask", "two"], "weights") + node("Mul", ["tokens", "weights"], "masked")
    head += node("ReduceSum", ["masked", "one"], "token", integer("keepdims", 0))
    head += node("Slice", ["token", "zero", "three", "one"], "colour")
    head += node("Slice", ["token", "three", "four", "one"], "bias")
    head += node("Reshape", ["pixels", "flat"], "cells") + node("MatMul", ["colour", "cells"], "products")
    head += node("Add", ["products", "bias"], "sums") + node("Reshape", ["sums", "square"], "logits")
    inner = [integers("axes", [1, 2]), integer("keepdims", 0)]
    head += node("ReduceMax", ["logits"], "first", *inner)

    def put_decoder(name, between):
        put("session", name, model(head + between))

    def from_size(nodes, last):
        """The score, to which 0 times a size is added."""
        nodes += field(5, tensor("nothing", 1, [1], struct.pack("<f", 0)))
        nodes += node("Cast", [last], "real", integer("to", 1)) + node("Mul", ["real", "nothing"], "zeros")
        nodes += node("ReduceSum", ["zeros", "zero"], "sum", integer("keepdims", 0))
        return nodes + node("Add", ["first", "sum"], "score")

    def of_size(operations):
        nodes = sizes(operations).replace(lists(three=[3]), b"")
        return from_size(nodes, f"s{operations}")

    put_decoder("sizes", of_size(32))
    # These ended the process: expressions of sizes are taken apart by recursion.
    put_decoder("sizes-beyond", of_size(400))
    put_decoder("sizes-doubled", from_size(doubled(24), "s24"))
    put_decoder("chain", b"".join(node("Neg", [f"t{i}" if i else "first"], f"t{i + 1}" if i < 59 else "score") for i in range(60)))
    put_decoder("expand", lists(vast=[1 << 20, 1 << 20]) + node("Expand", ["first", "vast"], "e") + reduced("e"))
    put_decoder("tile", lists(many=[1 << 30]) + node("Tile", ["first", "many"], "e") + reduced("e"))
    put_decoder("divided-by-0", node("Shape", ["tokens"], "s0") + node("Div", ["s0", "zero"], "s1") + from_size(b"", "s1"))
    put_decoder("gathered-outside", node("Gather", ["first", "four"], "score"))


def reduced(name):
    return node("ReduceMax", [name], "score", integer("keepdims", 0), integers("axes", [1]))


def networks():
    # What each byte chooses is in `src/engine.rs`; behind the last one chance chooses.
    put("nodes", "reshape", bytes([2, 0, 6, 1, 1, 0, 1, 12, 0, 0, 34]))
    put("nodes", "chance", b"\3")
    put("nodes", "chance-of-many", b"\3" * 3)
    put("lower", "rows", bytes([0, 3, 7, 4, 0, 9, 2, 3, 4, 1, 30, 5]))
    put("lower", "rows-of-one", bytes([3, 0, 0, 5, 0, 0, 4]))
    put("lower", "images", bytes([1, 2, 13, 13, 6, 0, 1, 31, 2, 2, 0, 0, 1, 1, 1, 1, 1, 3, 5]))
    put("lower", "depthwise", bytes([1, 15, 9, 9, 3, 0, 0, 2, 2, 1, 1, 1, 1, 1, 1, 0, 8, 7]))
    put("lower", "one-pixel", bytes([1, 0, 0, 0, 2, 0, 0, 0, 0, 0]))
    put("lower", "chance", b"\1")
    put("lower", "chance-of-rows", b"\0")


def tokenizers():
    whole = json.loads((ROOT / "tests/text/tokenizer.json").read_text())
    put("tokenizer", "nothing.json", "{}")
    put("tokenizer", "deep.json", "[" * 3000)
    models = {
        "no-unknown.json": {"type": "WordLevel", "vocab": {}, "unk_token": "[UNK]"},
        "bpe.json": {"type": "BPE", "vocab": {"a": 0, "w": 1, "wa": 2}, "merges": [["w", "a"]]},
        "bpe-gap.json": {"type": "BPE", "vocab": {"a": 4294967295}, "merges": [["a", "b"]]},
        "unigram.json": {"type": "Unigram", "unk_id": 9, "vocab": [["w", -1e300], ["", 0]]},
        "wordpiece.json": {
            "type": "WordPiece",
            "unk_token": "u",
            "continuing_subword_prefix": "",
            "max_input_chars_per_word": 0,
            "vocab": {"u": 0},
        },
    }
    for name, words in models.items():
        put("tokenizer", name, json.dumps(whole | {"model": words, "post_processor": None}))
    split = {"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated", "invert": False}
    put("tokenizer", "split.json", json.dumps(whole | {"pre_tokenizer": split}))
    empty = {"type": "Replace", "pattern": {"String": ""}, "content": "xx"}
    put("tokenizer", "replace.json", json.dumps(whole | {"normalizer": empty}))
    padding = {"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": 0}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "p"}
    put("tokenizer", "padding.json", json.dumps(whole | {"padding": padding}))
    truncation = {"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 9}
    put("tokenizer", "truncation.json", json.dumps(whole | {"truncation": truncation}))


# A session --------------------------------------------------------------------------------


def sessions():
    def event(*pairs):
        return bytes(how << 4 | what for what, how in pairs)

    frame, settle, pass_40_ms, idle = (1, 1), (10, 0), (9, 3), (7, 0)
    shown = [frame, settle, pass_40_ms] * 5
    put("live", "shown", event(*shown))
    # A silent input left its mask on the screen.
    put("live", "silent", event(*shown, idle, (9, 10), idle, (9, 11), idle, (9, 12), idle))
    put("live", "prompts", event(*shown, (13, 1), frame, *shown, (13, 2), *shown, (13, 3), (13, 4), frame))
    put("live", "patient", event(*shown, frame, (15, 0), settle, frame, settle, frame, pass_40_ms, frame))
    put("live", "hangs", event(*shown, (12, 4), frame, (9, 7), idle, (9, 8), idle, frame, settle, *shown))
    for name, does in [("misses", 1), ("fails", 2), ("panics", 3), ("size", 5), ("few", 6), ("bare", 7)]:
        put("live", f"model-{name}", event(*shown, (12, does), *shown, (12, 0), *shown))
    put("live", "sizes", event(*[pair for how in range(12) for pair in ((5, how), settle, frame, pass_40_ms)]))
    put("live", "black-and-off", event(*shown, (6, 0), frame, (14, 1), frame, idle, (14, 0), *shown))
    put("live", "years", event(*shown, *[(9, 15), idle] * 6, *shown))

    head = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    put("preview", "status", head + b"\r\n")
    put("preview", "pipelined", (head + b"\r\n") * 5)
    put("preview", "other-page", head + b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n\r\n")
    put("preview", "other-host", head.replace(b"127.0.0.1", b"evil.example") + b"\r\n")
    put("preview", "no-host", b"GET / HTTP/1.0\r\n\r\n")
    put("preview", "picture", head.replace(b"status", b"picture") + b"\r\n")
    put("preview", "many-headers", head + b"A: b\r\n" * 200 + b"\r\n")
    put("preview", "long-head", head + b"A: " + b"b" * 9000)
    put("preview", "binary", bytes(range(256)))

    def post(name, path, body, token="TOKEN", length=None):
        length = len(body) if length is None else length
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        put("preview", name, f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")

    post("prompts", "/prompts", '{"prompts": ["polyp", "polyp"], "modality": null}')
    post("prompts-stolen", "/prompts", '{"prompts": ["polyp", "polyp"]}', token="0" * 32)
    post("prompts-deep", "/prompts", "[" * 3000)
    post("prompts-cut", "/prompts", '{"prompts": ["polyp"', length=1 << 40)
    post("switch", "/switch", '{"on": false}')
    post("switch-chunked", "/switch", "d\r\n{\"on\": false}\r\n0\r\n\r\n")
    post("patient", "/patient", "")

    def said(number, what, behind=b""):
        value = varint(number) + what
        return struct.pack("<II", len(value), len(behind)) + value + behind

    def found(area, box, presence=0.9, present=1):
        head = blob(b"thing") + b"\0" + bytes([present]) + struct.pack("<f", presence) + b"\0"
        return b"\1\1" + head + varint(area) + box + b"\0\0"

    ready = said(0, b"\0") + said(1, b"\0")
    box = b"\1\0\0\x08\1"
    put("answers", "found", ready + said(2, found(8, box), b"\xff" + b"\0" * 7))
    put("answers", "absent", ready + said(2, found(0, b"\0", 0.1, 0)))
    put("answers", "area-lies", ready + said(2, found(9, box), b"\xff" + b"\0" * 7))
    put("answers", "no-number", ready + said(2, found(8, box, float("nan")), b"\xff" + b"\0" * 7))
    put("answers", "large", ready + said(2, found(8, box), b"\xff" * 64))
    put("answers", "failed", said(0, b"\2\2" + blob(b"\x1b[31mno\nline " + b"x" * 500)))
    put("answers", "of-another", said(0, b"\0") + said(7, b"\0"))
    put("answers", "claims", b"\xff" * 8)
    put("answers", "many", ready + said(2, b"\1" + varint(2**40)))
    put("answers", "nothing", b"")


def kept():
    key = {"bedside": "0.1.0", "bundle": "0123456789abcdef", "machine": "", "backend": "tract-cpu"}
    key |= {"fingerprint": "", "threads": 1}
    tried = [{"precision": "f32", "milliseconds": 1e308}, {"precision": "int8", "failed": "NaN"}]
    tuning = {"key": key, "measured_unix_s": 0, "precisions": tried}
    put("cache", "tuning.json", json.dumps(tuning))
    put("cache", "no-time.json", json.dumps(tuning).replace("1e+308", "-1e999"))
    put("cache", "empty", b"")
    put("cache", "deep.json", "[" * 3000)

    columns = "file,mask,split,group,modality,object,label\n"
    put("dataset", "small.csv", columns + "a.png,m.png,test,g,ultrasound,breast tumor,\nb.png,,val,,ct,x,normal\n")
    put("dataset", "outside.csv", columns + "../../etc/passwd,/etc/passwd,test,,ct,x,\n")
    put("dataset", "quotes.csv", columns + '"a\nb,c\n' + '"' * 99)
    put("dataset", "short.csv", columns + "a\n,,,\n\xff,\x1b[0m,\0,,,,,,,,\n")
    put("dataset", "no-columns.csv", "file,file,mask\n" + "," * 5000)


def annotations():
    """The first byte says what it is."""
    golden = ROOT / "crates/bedside-annotate/tests/golden/export"
    for first, name in [
        ("t", "annotate.json"),
        ("c", "coco.json"),
        ("c", "coco-polygons.json"),
        ("v", "cvat.xml"),
        ("v", "cvat-polygons.xml"),
        ("l", "labelstudio.json"),
        ("l", "labelstudio-polygons.json"),
    ]:
        put("annotations", name, first + (golden / name).read_text())
    image = '{"id":1,"file_name":"a.png","width":33,"height":17}'
    head = f'c{{"images":[{image}],"categories":[{{"id":1,"name":"polyp"}}],"annotations":['
    shape = '{"image_id":1,"category_id":1,"segmentation":'
    put("annotations", "runs-of-all", head + shape + '{"size":[17,33],"counts":[0,561]}}]}')
    put("annotations", "runs-overflow", head + shape + '{"size":[17,33],"counts":[4294967295,4294967295]}}]}')
    put("annotations", "far-corners", head + shape + "[[1e308,-1e308,-1e308,1e308,0,0,1e-308,9]]}]}")
    put("annotations", "deep", "c" + "[" * 3000)
    put("annotations", "xml-entities", 'v<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotations>&b;</annotations>')
    put("annotations", "xml-attributes", "v<annotations><image " + "".join(f'a{n}="" ' for n in range(500)) + "/></annotations>")
    brush = "[0,0,8,196,57,27,189,255,255,254,0,0]"
    region = f'{{"type":"brushlabels","original_width":33,"original_height":17,"value":{{"rle":{brush},"brushlabels":["polyp"]}}}}'
    put("annotations", "long-run", f'l[{{"data":{{"image":"a.png"}},"annotations":[{{"result":[{region}]}}]}}]')
    put("annotations", "huge-picture", "t" + (golden / "annotate.json").read_text().replace('"width":33', '"width":4294967295'))


def goldens():
    bundle, video = "crates/bedside-bundle/tests/golden", "crates/bedside-video/tests/golden"
    link("archive", f"{bundle}/golden.bedside", f"{bundle}/hostile/*.zip")
    link("graph", f"{bundle}/onnx/*.onnx", f"{bundle}/source/decoder.f32.onnx")
    link("pack", f"{bundle}/source/*.json")
    link("avi", f"{video}/clip.avi")
    link("mjpeg", f"{video}/clip.mjpeg")
    link("mp4", f"{video}/*.mp4")
    link("mp4", f"{video}/*.ts")
    link("still", *(f"{video}/stills/*.{kind}" for kind in ["png", "jpg", "tiff", "bmp", "webp", "gif", "dcm"]))
    link("session", "crates/bedside-cli/tests/golden/bundle/decoder.onnx")
    link("tokenizer", "tests/text/tokenizer.json")


for make in [
    archives, manifests, graphs, videos, movies, stills, words, masks, segmentations, associations, links, logs,
    lines, decoders, networks, tokenizers, sessions, kept, annotations, goldens,
]:
    make()
