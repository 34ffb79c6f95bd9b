//! Between layouts: chroma made coarser, planes put side by side, RGB to YUV.

use bedside_core::{ColourModel, Component, Frame, YuvSpace};
use bedside_vision::colour::RgbToYuv;

/// What YUV values mean where nobody says: BT.709 from 720 lines on, as capture devices have it.
pub(crate) fn usual_space(height: u32) -> YuvSpace {
    with_matrix(None, height, false)
}

/// The space of a matrix, `601` or `709` (any other is guessed from the size), and range.
pub(crate) fn with_matrix(matrix: Option<&str>, height: u32, full: bool) -> YuvSpace {
    let hd = match matrix {
        Some("709") => true,
        Some("601") => false,
        _ => height >= 720,
    };
    match (hd, full) {
        (false, false) => YuvSpace::Bt601Limited,
        (false, true) => YuvSpace::Bt601Full,
        (true, false) => YuvSpace::Bt709Limited,
        (true, true) => YuvSpace::Bt709Full,
    }
}

/// The mean of two samples, halves rounded up.
fn mean(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

/// Append a plane of half as many rows: each the mean of two, a last odd one alone.
pub(crate) fn halve_rows(plane: &[u8], width: usize, out: &mut Vec<u8>) {
    for pair in plane.chunks(2 * width) {
        let (above, below) = pair.split_at(width.min(pair.len()));
        let below = if below.is_empty() { above } else { below };
        out.extend(above.iter().zip(below).map(|(a, b)| mean(*a, *b)));
    }
}

/// Append a plane of half as many rows and columns: means of squares, cut short at odd edges.
pub(crate) fn quarter(plane: &[u8], width: usize, out: &mut Vec<u8>) {
    for pair in plane.chunks(2 * width) {
        let (above, below) = pair.split_at(width.min(pair.len()));
        let below = if below.is_empty() { above } else { below };
        out.extend(above.chunks(2).zip(below.chunks(2)).map(|squares| {
            let edge = |pair: &[u8]| match *pair {
                [a, b] => u16::from(a) + u16::from(b),
                [a] => 2 * u16::from(a),
                _ => 0,
            };
            ((edge(squares.0) + edge(squares.1) + 2) / 4) as u8
        }));
    }
}

/// What the values of [`to_i420`] mean: the frame's own space, or for gray and RGB a usual one.
pub(crate) fn i420_space(frame: &Frame) -> YuvSpace {
    match frame.format().colour_model() {
        ColourModel::Gray => YuvSpace::Bt601Full,
        ColourModel::Rgb => usual_space(frame.height()),
        ColourModel::Yuv => frame.yuv_space(),
    }
}

/// Append the frame's pixels as I420. Luma of YUV frames is kept to the bit, and chroma that is
/// 4:2:0 already.
pub(crate) fn to_i420(frame: &Frame, out: &mut Vec<u8>) {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    match frame.format().colour_model() {
        ColourModel::Gray => {
            out.extend_from_slice(frame.data());
            out.resize(out.len() + 2 * width.div_ceil(2) * height.div_ceil(2), 128);
        }
        ColourModel::Rgb => rgb_to_i420(frame.data(), width, i420_space(frame), out),
        ColourModel::Yuv => {
            for (index, component) in frame.format().components().iter().enumerate() {
                let plane = frame.view().plane_of(component);
                let count = width.div_ceil(1 << component.column_shift);
                let samples_are_rows = component.step == 1 && plane.size().row == count;
                if let Some(bytes) = plane.packed().filter(|_| samples_are_rows) {
                    out.extend_from_slice(bytes);
                    continue;
                }
                if index == 0 || component.row_shift == 1 {
                    for row in plane.rows() {
                        append_samples(row, component, count, out);
                    }
                    continue;
                }
                for y in (0..height).step_by(2) {
                    let above = samples(plane.row(y), component);
                    let below = samples(plane.row((y + 1).min(height - 1)), component);
                    out.extend(above.zip(below).take(count).map(|(a, b)| mean(a, b)));
                }
            }
        }
    }
}

/// The samples of a component in a row of its plane.
fn samples(row: &[u8], component: &Component) -> impl Iterator<Item = u8> {
    let samples = row.iter().skip(component.offset);
    samples.step_by(component.step).copied()
}

/// Append `count` samples of a component; the steps of luma and of interleaved chroma compile to
/// vectors.
fn append_samples(row: &[u8], component: &Component, count: usize, out: &mut Vec<u8>) {
    match component.step {
        1 => out.extend_from_slice(row.get(..count).unwrap_or_default()),
        2 => {
            let second = component.offset == 1;
            let pairs = row.as_chunks::<2>().0.iter().take(count);
            out.extend(pairs.map(|[a, b]| if second { *b } else { *a }));
        }
        _ => out.extend(samples(row, component).take(count)),
    }
}

/// Rows of RGB; chroma from the mean colour of each square of pixels.
fn rgb_to_i420(rgb: &[u8], width: usize, space: YuvSpace, out: &mut Vec<u8>) {
    let to_yuv = RgbToYuv::new(space);
    let pixels = rgb.as_chunks::<3>().0;
    out.extend(pixels.iter().map(|p| to_yuv.luma(*p)));
    for plane in [|[u, _]: [u8; 2]| u, |[_, v]: [u8; 2]| v] {
        for pair in pixels.chunks(2 * width) {
            let (above, below) = pair.split_at(width.min(pair.len()));
            let below = if below.is_empty() { above } else { below };
            out.extend(above.chunks(2).zip(below.chunks(2)).map(|(above, below)| {
                let mut sum = [0_u16; 3];
                for pixels in [above, below] {
                    // An odd edge counts its one pixel twice.
                    for pixel in pixels.iter().cycle().take(2) {
                        for (sum, value) in sum.iter_mut().zip(pixel) {
                            *sum += u16::from(*value);
                        }
                    }
                }
                plane(to_yuv.chroma(sum.map(|s| ((s + 2) / 4) as u8)))
            }));
        }
    }
}

/// Append interleaved YCbCr as I420; chroma from the means of squares.
pub(crate) fn ycbcr_to_i420(pixels: &[u8], width: usize, out: &mut Vec<u8>) {
    let pixels = pixels.as_chunks::<3>().0;
    out.extend(pixels.iter().map(|[y, _, _]| *y));
    for sample in [|p: &[u8; 3]| u16::from(p[1]), |p: &[u8; 3]| u16::from(p[2])] {
        for pair in pixels.chunks(2 * width) {
            let (above, below) = pair.split_at(width.min(pair.len()));
            let below = if below.is_empty() { above } else { below };
            let edge = |pixels: &[[u8; 3]]| match pixels {
                [a, b] => sample(a) + sample(b),
                [a] => 2 * sample(a),
                _ => 0,
            };
            let squares = above.chunks(2).zip(below.chunks(2));
            out.extend(squares.map(|(above, below)| ((edge(above) + edge(below) + 2) / 4) as u8));
        }
    }
}
