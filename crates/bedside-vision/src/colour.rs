//! Any pixel format to RGB.

use bedside_core::{Frame, PixelFormat, YuvSpace};

/// Fixed-point bits of the YUV coefficients.
const SHIFT: i32 = 16;

/// Coefficients of one YUV space in 16-bit fixed point.
struct Coefficients {
    y_offset: i32,
    y: i32,
    v_to_r: i32,
    u_to_g: i32,
    v_to_g: i32,
    u_to_b: i32,
}

impl Coefficients {
    /// From the luma weights of red and blue (ITU-R BT.601-7 and BT.709-6) and the range.
    fn new(space: YuvSpace) -> Self {
        let (kr, kb, full) = match space {
            YuvSpace::Bt601Limited => (0.299, 0.114, false),
            YuvSpace::Bt601Full => (0.299, 0.114, true),
            YuvSpace::Bt709Limited => (0.2126, 0.0722, false),
            YuvSpace::Bt709Full => (0.2126, 0.0722, true),
        };
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if full {
            (1.0, 1.0)
        } else {
            (255.0 / 219.0, 255.0 / 224.0)
        };
        let fixed = |v: f64| (v * f64::from(1 << SHIFT)).round() as i32;
        Self {
            y_offset: if full { 0 } else { 16 },
            y: fixed(luma),
            v_to_r: fixed(2.0 * (1.0 - kr) * chroma),
            u_to_g: fixed(2.0 * (1.0 - kb) * kb / kg * chroma),
            v_to_g: fixed(2.0 * (1.0 - kr) * kr / kg * chroma),
            u_to_b: fixed(2.0 * (1.0 - kb) * chroma),
        }
    }

    fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let y = (i32::from(y) - self.y_offset).max(0) * self.y + (1 << (SHIFT - 1));
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let byte = |x: i32| (x >> SHIFT).clamp(0, 255) as u8;
        [
            byte(y + self.v_to_r * v),
            byte(y - self.u_to_g * u - self.v_to_g * v),
            byte(y + self.u_to_b * u),
        ]
    }
}

/// Write the frame's pixels to `out` as tightly packed RGB, `3 * width * height` bytes; what
/// was in `out` is replaced.
///
/// Gray becomes equal red, green and blue. Chroma is not smoothed: each sample serves all the
/// pixels that share it, as OpenCV does.
pub fn rgb_pixels(frame: &Frame, out: &mut Vec<u8>) {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let data = frame.data();
    out.clear();
    out.reserve(width * height * 3);
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    match frame.format() {
        PixelFormat::Rgb8 => out.extend_from_slice(data),
        PixelFormat::Gray8 => out.extend(data.iter().flat_map(|v| [*v, *v, *v])),
        PixelFormat::Nv12 => {
            let (luma, chroma) = data.split_at(width * height);
            let pairs = |row: usize| {
                let line = chroma
                    .chunks_exact(2 * half_width)
                    .nth(row / 2)
                    .unwrap_or_default();
                line.as_chunks::<2>().0.iter().copied()
            };
            planar(frame, luma, pairs, out);
        }
        PixelFormat::I420 => {
            let (luma, chroma) = data.split_at(width * height);
            let (us, vs) = chroma.split_at(half_width * half_height);
            let pairs = |row: usize| {
                let line = |plane: &[u8]| -> std::ops::Range<usize> {
                    let start = row / 2 * half_width;
                    start..(start + half_width).min(plane.len())
                };
                let u = us.get(line(us)).unwrap_or_default().iter();
                let v = vs.get(line(vs)).unwrap_or_default().iter();
                u.zip(v).map(|(u, v)| [*u, *v])
            };
            planar(frame, luma, pairs, out);
        }
        PixelFormat::Yuyv => {
            let space = Coefficients::new(frame.yuv_space());
            for row in data.chunks_exact(half_width * 4) {
                let pixels = row.as_chunks::<4>().0.iter();
                let rgb = pixels.flat_map(|[y0, u, y1, v]| [[*y0, *u, *v], [*y1, *u, *v]]);
                out.extend(rgb.take(width).flat_map(|[y, u, v]| space.rgb(y, u, v)));
            }
        }
    }
}

/// Luma in one plane, chroma pairs of each row of pixels from `pairs`.
fn planar<I: Iterator<Item = [u8; 2]>>(
    frame: &Frame,
    luma: &[u8],
    pairs: impl Fn(usize) -> I,
    out: &mut Vec<u8>,
) {
    let space = Coefficients::new(frame.yuv_space());
    for (y, row) in luma.chunks_exact(frame.width() as usize).enumerate() {
        for (pixels, [u, v]) in row.chunks(2).zip(pairs(y)) {
            out.extend(pixels.iter().flat_map(|y| space.rgb(*y, u, v)));
        }
    }
}
