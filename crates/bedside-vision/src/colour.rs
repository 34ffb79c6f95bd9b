//! Any pixel format to RGB, and RGB to YUV.

use bedside_core::{ColourModel, FrameView, YuvRowReader, YuvSpace};

/// Fixed-point bits of the YUV coefficients.
const SHIFT: i32 = 16;

/// What Y, U and V count for in red, green and blue (rows), all on the scale 0 to 255, with Y
/// counted from black and U and V from 128: the inverse of [`yuv_weights`].
fn rgb_weights(space: YuvSpace) -> [[f64; 3]; 3] {
    let (kr, kb) = space.luma_weights();
    let kg = 1.0 - kr - kb;
    let (luma, chroma) = if space.is_full_range() {
        (1.0, 1.0)
    } else {
        (255.0 / 219.0, 255.0 / 224.0)
    };
    let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
    [
        [luma, 0.0, red],
        [luma, -blue * kb / kg, -red * kr / kg],
        [luma, blue, 0.0],
    ]
}

/// What red, green and blue count for in Y, U and V (rows), by ITU-R BT.601-7 and BT.709-6.
fn yuv_weights(space: YuvSpace) -> [[f64; 3]; 3] {
    let (kr, kb) = space.luma_weights();
    let kg = 1.0 - kr - kb;
    let (luma, chroma) = if space.is_full_range() {
        (1.0, 1.0)
    } else {
        (219.0 / 255.0, 224.0 / 255.0)
    };
    let (blue, red) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr));
    let row = |weights: [f64; 3], scale: f64| weights.map(|w| w * scale);
    [
        row([kr, kg, kb], luma),
        row([-kr / blue, -kg / blue, (1.0 - kb) / blue], chroma),
        row([(1.0 - kr) / red, -kg / red, -kb / red], chroma),
    ]
}

/// What Y, U and V of one space count for in those of another (rows).
pub fn convert_weights(from: YuvSpace, to: YuvSpace) -> [[f64; 3]; 3] {
    let [red, green, blue] = rgb_weights(from);
    yuv_weights(to).map(|[r, g, b]| {
        let mut sums = red.map(|weight| r * weight);
        for ((sum, green), blue) in sums.iter_mut().zip(green).zip(blue) {
            *sum += g * green + b * blue;
        }
        sums
    })
}

/// Y of black.
pub const fn black(space: YuvSpace) -> i32 {
    if space.is_full_range() { 0 } else { 16 }
}

/// From one YUV space to red, green and blue.
#[derive(Debug, Clone, Copy)]
pub struct YuvToRgb {
    black: i32,
    y: i32,
    v_to_r: i32,
    u_to_g: i32,
    v_to_g: i32,
    u_to_b: i32,
}

impl YuvToRgb {
    /// From this space.
    pub fn new(space: YuvSpace) -> Self {
        let [[y, _, v_to_r], [_, u_to_g, v_to_g], [_, u_to_b, _]] =
            rgb_weights(space).map(|row| row.map(fixed));
        Self {
            black: black(space),
            y,
            v_to_r,
            u_to_g,
            v_to_g,
            u_to_b,
        }
    }

    /// The colour of `[y, u, v]`.
    pub fn rgb(&self, [y, u, v]: [u8; 3]) -> [u8; 3] {
        self.pair([y, y, u, v]).0
    }

    /// The colours of two pixels that share their chroma.
    #[inline(always)]
    fn pair(&self, [y0, y1, u, v]: [u8; 4]) -> ([u8; 3], [u8; 3]) {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        // Factors are below 2^18 and samples below 2^8: no sum comes near an overflow, and without
        // a check this compiles to quicker code.
        let red = self.v_to_r.wrapping_mul(v);
        let green = (self.u_to_g.wrapping_mul(u)).wrapping_add(self.v_to_g.wrapping_mul(v));
        let blue = self.u_to_b.wrapping_mul(u);
        let pixel = |y: u8| {
            let y = (i32::from(y) - self.black).max(0).wrapping_mul(self.y);
            let y = y.wrapping_add(1 << (SHIFT - 1));
            [red, green, blue].map(|c| (y.wrapping_add(c) >> SHIFT).clamp(0, 255) as u8)
        };
        (pixel(y0), pixel(y1))
    }
}

/// Fills a row of RGB.
struct RgbRow<'a> {
    /// Not a reference: factors that might change with every byte written are read each time anew.
    to_rgb: YuvToRgb,
    rgb: &'a mut [u8],
}

impl YuvRowReader for RgbRow<'_> {
    #[inline]
    fn read(self, pairs: impl Iterator<Item = [u8; 4]>) {
        let Self { to_rgb, rgb } = self;
        for (pixels, pair) in rgb.chunks_mut(6).zip(pairs) {
            let ([r0, g0, b0], [r1, g1, b1]) = to_rgb.pair(pair);
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
    black: i32,
    /// What red, green and blue add to each.
    y: [i32; 3],
    u: [i32; 3],
    v: [i32; 3],
}

impl RgbToYuv {
    /// To this space.
    pub fn new(space: YuvSpace) -> Self {
        let [y, u, v] = yuv_weights(space).map(|row| row.map(fixed));
        Self {
            black: black(space),
            y,
            u,
            v,
        }
    }

    /// Y of a colour.
    #[inline]
    pub fn luma(&self, rgb: [u8; 3]) -> u8 {
        weighted(self.y, rgb, self.black)
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
    // No sum comes near an overflow, see `YuvToRgb`.
    let sum = (x.wrapping_mul(r))
        .wrapping_add(y.wrapping_mul(g))
        .wrapping_add(z.wrapping_mul(b))
        .wrapping_add((offset << SHIFT) + (1 << (SHIFT - 1)));
    (sum >> SHIFT).clamp(0, 255) as u8
}

/// Write the frame's pixels to `out` as tightly packed RGB, `3 * width * height` bytes; what
/// was in `out` is replaced.
///
/// Gray becomes equal red, green and blue. Chroma is not smoothed: each sample serves all the
/// pixels that share it, as OpenCV does.
pub fn rgb_pixels<'a>(frame: impl Into<FrameView<'a>>, out: &mut Vec<u8>) {
    let frame = frame.into();
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let model = frame.format().colour_model();
    if model == ColourModel::Rgb {
        out.clear();
        frame.pack(out);
        return;
    }
    out.resize(width * height * 3, 0);
    let to_rgb = YuvToRgb::new(frame.yuv_space());
    let gray = frame.planes().first().copied().unwrap_or_default();
    for (y, rgb) in out.chunks_exact_mut(width * 3).enumerate() {
        if model == ColourModel::Gray {
            for (pixel, gray) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(gray.row(y)) {
                *pixel = [*gray; 3];
            }
        } else {
            frame.yuv_row(y, RgbRow { to_rgb, rgb });
        }
    }
}
