//! Label Studio's masks: the RGBA bytes of a picture in packed run lengths, as `@thi.ng/rle-pack` has
//! them. Bit by bit, most significant first: the number of bytes (32), bits of a value less one (5), four
//! widths of lengths, less one (4 each); then runs: whether one value is repeated (1), which width the
//! length has (2), the length less one, and the value, or as many values.

use bedside::Mask;

use crate::error::Error;
use crate::shape::Canvas;

/// Bits of the lengths, as Label Studio's converter has them.
const WIDTHS: [u32; 4] = [3, 4, 8, 16];
/// Values above this are set, as in masks that are files.
const SET_ABOVE: u32 = 127;

/// The mask as opaque white on transparent black.
pub(crate) fn encode(mask: &Mask) -> Vec<u8> {
    let mut bits = Writer::default();
    bits.put(mask.data().len() as u64 * 4, 32);
    bits.put(8 - 1, 5);
    for width in WIDTHS {
        bits.put(u64::from(width) - 1, 4);
    }
    for run in mask.data().chunk_by(|a, b| a == b) {
        let value = run.first().map_or(0, |v| u64::from(*v) * 255);
        let mut rest = run.len() as u64 * 4;
        while rest > 0 {
            let (choice, width) = match rest {
                1..=8 => (0, 3),
                9..=16 => (1, 4),
                17..=256 => (2, 8),
                _ => (3, 16),
            };
            let length = rest.min(1 << width);
            bits.put(1, 1);
            bits.put(choice, 2);
            bits.put(length - 1, width);
            bits.put(value, 8);
            rest -= length;
        }
    }
    bits.bytes
}

/// Set the pixels whose alpha is set.
pub(crate) fn draw(packed: &[u8], canvas: &mut Canvas) -> Result<(), Error> {
    let broken = |why: &str| Error::input(format!("a brush mask {why}; hint: export it again"));
    let cut = || broken("is cut short");
    let mut bits = Reader { packed, at: 0 };
    let bytes = bits.take(32).ok_or_else(cut)? as usize;
    if bytes != canvas.pixels.len() * 4 {
        return Err(broken("has another size than its picture"));
    }
    if bits.take(5) != Some(8 - 1) {
        return Err(broken("does not hold bytes"));
    }
    let mut widths = [0; 4];
    for width in &mut widths {
        *width = bits.take(4).ok_or_else(cut)? + 1;
    }
    let mut at = 0;
    while at < bytes {
        let repeated = bits.take(1).ok_or_else(cut)? == 1;
        let choice = bits.take(2).ok_or_else(cut)? as usize;
        let width = widths.get(choice).copied().unwrap_or(1);
        let end = at + 1 + bits.take(width).ok_or_else(cut)? as usize;
        if end > bytes {
            return Err(broken("goes on behind its end"));
        }
        if repeated {
            // Every fourth byte, from the fourth on, is an alpha.
            if bits.take(8).ok_or_else(cut)? > SET_ABOVE {
                canvas.set(at / 4, end / 4);
            }
        } else {
            for at in at..end {
                if bits.take(8).ok_or_else(cut)? > SET_ABOVE && at % 4 == 3 {
                    canvas.set(at / 4, at / 4 + 1);
                }
            }
        }
        at = end;
    }
    Ok(())
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not taken.
    free: u32,
}

impl Writer {
    fn put(&mut self, value: u64, width: u32) {
        for place in (0..width).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> place & 1) as u8) << self.free;
            }
        }
    }
}

struct Reader<'p> {
    packed: &'p [u8],
    /// Bits taken.
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, width: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..width {
            let byte = self.packed.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}
