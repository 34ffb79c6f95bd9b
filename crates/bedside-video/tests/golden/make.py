"""Small clips for tests/files.rs, and what OpenCV, FFmpeg and Pillow decode them to.

    pip install numpy opencv-python-headless pillow av
    python make.py [FOLDER OF ULTRASOUND CLIPS]

Writes the clips and golden.json beside itself; with a folder, also shared.json.
"""

import io
import json
import pathlib
import sys
import zlib

import av
import cv2
import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(5)


def picture(w, h, t):
    """Coloured waves that move, and a square that moves otherwise."""
    y, x = np.mgrid[0:h, 0:w]
    waves = [120 + 80 * np.sin(x / 6 + c + t / 3) * np.cos(y / 8 - c) for c in range(3)]
    rgb = np.stack(waves, -1) + rng.normal(0, 3, (h, w, 3))
    rgb[h // 4 : h // 2, (3 * t) % w : (3 * t) % w + w // 4] = (240, 30, 120)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def mp4(name, w, h, count, codec="libx264", **options):
    """Frames as FFmpeg decodes them, by the checksum of their I420 bytes."""
    pix_fmt = options.pop("pix_fmt", "yuv420p")
    flags = {"movflags": options.pop("movflags")} if "movflags" in options else {}
    with av.open(HERE / name, "w", options=flags) as out:
        stream = out.add_stream(codec, rate=25, options={k: str(v) for k, v in options.items()})
        stream.width, stream.height, stream.pix_fmt = w, h, pix_fmt
        for t in range(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(w, h, t), format="rgb24")))
        out.mux(stream.encode())
    crcs, kinds = [], ""
    with av.open(HERE / name) as clip:
        for frame in clip.decode(video=0):
            kinds += "?IPBSipb"[int(frame.pict_type)]
            # Planes by hand: rows of FFmpeg's planes are padded.
            planes = b"".join(
                bytes(np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width])
                for p in frame.planes
            )
            crcs.append(zlib.crc32(planes))
    return {"file": name, "width": w, "height": h, "kinds": kinds, "crc32": crcs}


def remuxed(name, out):
    """The same pictures in a transport stream, with a sound track beside them."""
    with av.open(HERE / name) as clip, av.open(HERE / out, "w", format="mpegts") as stream:
        sound = stream.add_stream("mp2", rate=48000)
        video = stream.add_stream_from_template(clip.streams.video[0])
        silence = av.AudioFrame(format="s16", layout="stereo", samples=1152)
        silence.sample_rate = 48000
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                stream.mux(packet)
                stream.mux(sound.encode(silence))


def jpegs():
    """Pillow's YCbCr, chroma averaged to 4:2:0."""
    w, h = 31, 22
    out, cases = b"", []
    for name, options in [
        ("4:2:0", dict(subsampling=2)), ("4:2:2", dict(subsampling=1)),
        ("4:4:4", dict(subsampling=0)), ("progressive", dict(subsampling=2, progressive=True)),
        ("gray", dict()),
    ]:
        image = Image.fromarray(picture(w, h, len(cases)))
        image = image.convert("L") if name == "gray" else image
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=92, **options)
        out += buffer.getvalue()
        decoded = Image.open(buffer)
        decoded.draft("YCbCr", None)
        ycc = np.asarray(decoded.convert("YCbCr")).astype(np.float64)
        edge = np.pad(ycc, ((0, h % 2), (0, w % 2), (0, 0)), "edge")
        chroma = edge.reshape((h + 1) // 2, 2, (w + 1) // 2, 2, 3).mean((1, 3))
        planes = [ycc[..., 0], chroma[..., 1], chroma[..., 2]]
        data = b"".join(np.rint(p).astype(np.uint8).tobytes() for p in planes)
        cases.append({"name": name, "i420": data.hex()})
    (HERE / "clip.mjpeg").write_bytes(out)
    return {"width": w, "height": h, "pictures": cases}


def avi():
    """OpenCV's own writer and reader."""
    w, h = 32, 24
    path = str(HERE / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 12.5, (w, h))
    for t in range(4):
        writer.write(picture(w, h, t)[..., ::-1])
    writer.release()
    clip = cv2.VideoCapture(path, cv2.CAP_OPENCV_MJPEG)
    frames = []
    while (got := clip.read())[0]:
        frames.append(got[1][..., ::-1].tobytes().hex())
    return {"width": w, "height": h, "rate": clip.get(cv2.CAP_PROP_FPS), "rgb": frames}


def shared(folder):
    """Frame counts of OpenCV, and the mean of all samples of every tenth frame."""
    clips = []
    for path in sorted(folder.glob("*.mp4")):
        clip, means, count = cv2.VideoCapture(str(path)), [], 0
        while (got := clip.read())[0]:
            if count % 10 == 0:
                means.append(round(float(got[1].mean()), 3))
            count += 1
        clips.append({"file": path.name, "width": got_size(clip, 3), "height": got_size(clip, 4),
                      "rate": clip.get(cv2.CAP_PROP_FPS), "frames": count, "means": means})
    return clips


def got_size(clip, what):
    return int(clip.get(what))


golden = {
    "mp4": [
        # B pictures that other B pictures lean on, CABAC, 8x8 transforms; cropped at odd places.
        mp4("high.mp4", 50, 38, 14, profile="high", bf=4, refs=4, g=8, movflags="faststart"),
        mp4("baseline.mp4", 48, 32, 6, profile="baseline"),
        # BT.709 in full range, told in the sequence header.
        mp4("full.mp4", 48, 32, 2, **{"x264-params": "fullrange=on:colormatrix=bt709"}),
    ],
    "mjpeg": jpegs(),
    "avi": avi(),
}
remuxed("high.mp4", "high.ts")
remuxed("baseline.mp4", "baseline.ts")
# What is refused.
mp4("chroma.mp4", 48, 32, 1, pix_fmt="yuv444p")
mp4("mpeg4.mp4", 48, 32, 1, codec="mpeg4")
(HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
if len(sys.argv) > 1:
    (HERE / "shared.json").write_text(json.dumps(shared(pathlib.Path(sys.argv[1])), indent=1) + "\n")
