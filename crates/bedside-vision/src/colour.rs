//! Any pixel format to RGB, and RGB to YUV.

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
    fn new(space: YuvSpace) -> Self {
        let ((kr, kb), full) = (space.luma_weights(), space.is_full_range());
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if full {
            (1.0, 1.0)
        } else {
            (255.0 / 219.0, 255.0 / 224.0)
        };
        Self {
            y_offset: if full { 0 } else { 16 },
            y: fixed(luma),
            v_to_r: fixed(2.0 * (1.0 - kr) * chroma),
            u_to_g: fixed(2.0 * (1.0 - kb) * kb / kg * chroma),
            v_to_g: fixed(2.0 * (1.0 - kr) * kr / kg * chroma),
            u_to_b: fixed(2.0 * (1.0 - kb) * chroma),
        }
    }

    /// Two pixels of a row for each `[y0, y1, u, v]`; of the last one maybe only the first.
    #[inline]
    fn row(&self, rgb: &mut [u8], quads: impl Iterator<Item = [u8; 4]>) {
        for (pixels, [y0, y1, u, v]) in rgb.chunks_mut(6).zip(quads) {
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            let red = self.v_to_r * v;
            let green = -self.u_to_g * u - self.v_to_g * v;
            let blue = self.u_to_b * u;
            let pixel = |y: u8| {
                let y = (i32::from(y) - self.y_offset).max(0) * self.y + (1 << (SHIFT - 1));
                [red, green, blue].map(|c| ((y + c) >> SHIFT).clamp(0, 255) as u8)
            };
            let ([r0, g0, b0], [r1, g1, b1]) = (pixel(y0), pixel(y1));
            match pixels {
                [a, b, c, d, e, f] => {
                    (*a, *b, *c, *d, *e, *f) = (r0, g0, b0, r1, g1, b1);
                }
                single => single.copy_from_slice(&[r0, g0, b0]),
            }
        }
    }
}

fn fixed(v: f64) -> i32 {
    (v * f64::from(1 << SHIFT)).round() as i32
}

/// From red, green and blue to one YUV space.
#[derive(Debug, Clone, Copy)]
pub struct RgbToYuv {
    y_offset: i32,
    /// What red, green and blue add to each.
    y: [i32; 3],
    u: [i32; 3],
    v: [i32; 3],
}

impl RgbToYuv {
    /// To this space.
    pub fn new(space: YuvSpace) -> Self {
        let ((kr, kb), full) = (space.luma_weights(), space.is_full_range());
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if full {
            (1.0, 1.0)
        } else {
            (219.0 / 255.0, 224.0 / 255.0)
        };
        let (blue, red) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr));
        let row = |weights: [f64; 3], scale: f64| weights.map(|w| fixed(w * scale));
        Self {
            y_offset: if full { 0 } else { 16 },
            y: row([kr, kg, kb], luma),
            u: row([-kr / blue, -kg / blue, (1.0 - kb) / blue], chroma),
            v: row([(1.0 - kr) / red, -kg / red, -kb / red], chroma),
        }
    }

    /// Y of a colour.
    #[inline]
    pub fn luma(&self, rgb: [u8; 3]) -> u8 {
        weighted(self.y, rgb, self.y_offset)
    }

    /// U and V of a colour.
    #[inline]
    pub fn chroma(&self, rgb: [u8; 3]) -> [u8; 2] {
        [self.u, self.v].map(|weights| weighted(weights, rgb, 128))
    }
}

#[inline]
fn weighted([x, y, z]: [i32; 3], rgb: [u8; 3], offset: i32) -> u8 {
    let [r, g, b] = rgb.map(i32::from);
    let sum = x * r + y * g + z * b + (offset << SHIFT) + (1 << (SHIFT - 1));
    (sum >> SHIFT).clamp(0, 255) as u8
}

/// Write the frame's pixels to `out` as tightly packed RGB, `3 * width * height` bytes; what
/// was in `out` is replaced.
///
/// Gray becomes equal red, green and blue. Chroma is not smoothed: each sample serves all the
/// pixels that share it, as OpenCV does.
pub fn rgb_pixels(frame: &Frame, out: &mut Vec<u8>) {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let data = frame.data();
    if frame.format() == PixelFormat::Rgb8 {
        out.clear();
        out.extend_from_slice(data);
        return;
    }
    out.resize(width * height * 3, 0);
    let space = Coefficients::new(frame.yuv_space());
    let half_width = width.div_ceil(2);
    // Gray and packed frames have no chroma planes.
    let (luma, chroma) = data.split_at_checked(width * height).unwrap_or((data, &[]));
    let rows = out.chunks_exact_mut(width * 3);
    let lumas = luma.chunks_exact(width);
    match frame.format() {
        PixelFormat::Rgb8 => {}
        PixelFormat::Gray8 => {
            for (pixel, gray) in out.as_chunks_mut::<3>().0.iter_mut().zip(data) {
                *pixel = [*gray; 3];
            }
        }
        PixelFormat::Nv12 => {
            let chroma = chroma.chunks_exact(2 * half_width).flat_map(|row| [row; 2]);
            for ((rgb, luma), chroma) in rows.zip(lumas).zip(chroma) {
                let chroma = chroma.as_chunks::<2>().0;
                space.row(
                    rgb,
                    pairs(luma)
                        .zip(chroma)
                        .map(|([a, b], [u, v])| [a, b, *u, *v]),
                );
            }
        }
        PixelFormat::I420 => {
            let (us, vs) = chroma.split_at(chroma.len() / 2);
            let chroma = us.chunks_exact(half_width).zip(vs.chunks_exact(half_width));
            let chroma = chroma.flat_map(|rows| [rows; 2]);
            for ((rgb, luma), (u, v)) in rows.zip(lumas).zip(chroma) {
                let chroma = u.iter().zip(v);
                space.row(
                    rgb,
                    pairs(luma)
                        .zip(chroma)
                        .map(|([a, b], (u, v))| [a, b, *u, *v]),
                );
            }
        }
        PixelFormat::Yuyv => {
            for (rgb, row) in rows.zip(data.chunks_exact(half_width * 4)) {
                let quads = row.as_chunks::<4>().0.iter();
                space.row(rgb, quads.map(|[y0, u, y1, v]| [*y0, *y1, *u, *v]));
            }
        }
    }
}

/// Luma two by two; the last of an odd row is told twice.
fn pairs(luma: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    let (pairs, single) = luma.as_chunks::<2>();
    pairs.iter().copied().chain(single.iter().map(|y| [*y; 2]))
}
