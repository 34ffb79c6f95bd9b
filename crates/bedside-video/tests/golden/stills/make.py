"""Small pictures in the forms that files come in, and reference.json with the pixels that Pillow
reads from those that bedside should read. Needs numpy and Pillow; writes beside itself.
"""

import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent


def pictures(out):
    y, x = np.mgrid[0:12, 0:16]
    rgb = np.stack([x * 16, y * 20, (x + y) * 9], -1).astype(np.uint8)
    gray = ((x * y) % 256).astype(np.uint8)
    image = Image.fromarray(rgb)
    alpha = Image.fromarray(np.dstack([rgb, np.full((12, 16), 40, np.uint8)]))

    image.save(out / "rgb.png")
    Image.fromarray(gray).save(out / "gray.png")
    Image.merge("LA", [Image.fromarray(gray), Image.new("L", (16, 12), 9)]).save(out / "gray-alpha.png")
    alpha.save(out / "alpha.png")
    image.quantize(16).save(out / "palette.png")
    Image.fromarray(gray).point(lambda v: 255 * (v > 60)).convert("1").save(out / "bits.png")
    image.save(out / "rgb.bmp")
    image.save(out / "rgb.tiff")
    image.save(out / "lzw.tiff", compression="tiff_lzw")
    image.save(out / "lossless.webp", lossless=True)
    # The name lies about what is inside.
    (out / "png-called.jpg").write_bytes((out / "rgb.png").read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    image.save(out / "turned.jpg", quality=95, exif=exif)
    image.save(out / "progressive.jpg", quality=95, progressive=True)
    Image.fromarray(gray).save(out / "gray.jpg", quality=95)

    # To be refused.
    image.convert("CMYK").save(out / "cmyk.jpg")
    image.convert("CMYK").save(out / "cmyk.tiff")
    Image.fromarray(gray.astype(np.uint16) * 257).save(out / "gray16.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(out / "gray16.tiff")
    image.save(out / "still.gif")
    Image.new("L", (1, 1), 7).save(out / "one-pixel.png")
    (out / "dicom.dcm").write_bytes(bytes(128) + b"DICM" + bytes(8))
    (out / "huge.png").write_bytes(png_header(100_000, 100_000))
    (out / "vast.png").write_bytes(png_header(16_384, 16_384))

    reference = {}
    for name in [
        "rgb.png", "gray.png", "gray-alpha.png", "alpha.png", "palette.png", "bits.png", "rgb.bmp",
        "rgb.tiff", "lzw.tiff", "lossless.webp", "png-called.jpg", "turned.jpg", "progressive.jpg",
        "gray.jpg",
    ]:
        picture = Image.open(out / name)
        if name == "turned.jpg":
            picture = picture.transpose(Image.Transpose.ROTATE_270)
        if picture.mode in ("1", "LA"):
            picture = picture.convert("L")
        if picture.mode not in ("L", "RGB"):
            picture = picture.convert("RGB")
        reference[name] = {
            "width": picture.width,
            "height": picture.height,
            "format": {"L": "Gray8", "RGB": "Rgb8"}[picture.mode],
            "data": picture.tobytes().hex(),
        }
    (out / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")


def png_header(width, height):
    """A PNG of 8-bit RGB that promises a size and holds next to nothing."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


if __name__ == "__main__":
    pictures(HERE)
