//! Between layouts: chroma made coarser, planes put side by side, RGB to YUV.

use bedside_core::{Frame, PixelFormat, YuvSpace};
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
    match frame.format() {
        PixelFormat::Gray8 => YuvSpace::Bt601Full,
        PixelFormat::Rgb8 => usual_space(frame.height()),
        PixelFormat::Nv12 | PixelFormat::I420 | PixelFormat::Yuyv => frame.yuv_space(),
    }
}

/// Append the frame's pixels as I420. Luma of YUV frames is kept to the bit, and chroma that is
/// 4:2:0 already.
pub(crate) fn to_i420(frame: &Frame, out: &mut Vec<u8>) {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let chroma_len = width.div_ceil(2) * height.div_ceil(2);
    let data = frame.data();
    let (luma, chroma) = data.split_at_checked(width * height).unwrap_or((data, &[]));
    match frame.format() {
        PixelFormat::I420 => out.extend_from_slice(data),
        PixelFormat::Gray8 => {
            out.extend_from_slice(data);
            out.resize(out.len() + 2 * chroma_len, 128);
        }
        PixelFormat::Nv12 => {
            out.extend_from_slice(luma);
            let chroma = chroma.as_chunks::<2>().0;
            out.extend(chroma.iter().map(|[u, _]| *u));
            out.extend(chroma.iter().map(|[_, v]| *v));
        }
        PixelFormat::Yuyv => {
            let stride = width.div_ceil(2) * 4;
            for row in data.chunks_exact(stride) {
                let lumas = row.as_chunks::<2>().0.iter().map(|[y, _]| *y);
                out.extend(lumas.take(width));
            }
            for at in [1, 3] {
                for pair in data.chunks(2 * stride) {
                    let (above, below) = pair.split_at(stride);
                    let below = if below.is_empty() { above } else { below };
                    let samples = |row| <[u8]>::iter(row).skip(at).step_by(4);
                    out.extend(
                        samples(above)
                            .zip(samples(below))
                            .map(|(a, b)| mean(*a, *b)),
                    );
                }
            }
        }
        PixelFormat::Rgb8 => rgb_to_i420(data, width, i420_space(frame), out),
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
