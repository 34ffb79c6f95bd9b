//! What an H.264 sequence header says of size and colour (ITU-T H.264, 7.3.2.1.1 and E.1.1).

/// The parts of a sequence parameter set that are of account here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sps {
    /// Width in pixels, cropped.
    pub(crate) width: u32,
    /// Height in pixels, cropped.
    pub(crate) height: u32,
    pub(crate) is_420_of_8_bits: bool,
    pub(crate) is_progressive: bool,
    pub(crate) full_range: bool,
    /// `601` or `709`, where it is given and one of these.
    pub(crate) matrix: Option<&'static str>,
}

impl Sps {
    /// From a NAL unit, its head included; `None` where it is none or is cut.
    pub(crate) fn parse(nal: &[u8]) -> Option<Self> {
        let (head, payload) = nal.split_first()?;
        if head & 0x1f != 7 {
            return None;
        }
        let bytes = without_emulation(payload);
        let mut bits = Bits {
            bytes: &bytes,
            at: 0,
        };
        let profile = bits.take(8)?;
        bits.take(16)?;
        bits.unsigned()?;
        let (mut chroma, mut depth) = (1, 0);
        // Profiles that may have more than 4:2:0 of 8 bits.
        if matches!(
            profile,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            chroma = bits.unsigned()?;
            if chroma == 3 {
                bits.take(1)?;
            }
            depth = bits.unsigned()?.max(bits.unsigned()?);
            bits.take(1)?;
            if bits.flag()? {
                for list in 0..if chroma == 3 { 12 } else { 8 } {
                    if bits.flag()? {
                        bits.scaling_list(if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        bits.unsigned()?;
        match bits.unsigned()? {
            0 => {
                bits.unsigned()?;
            }
            1 => {
                bits.take(1)?;
                bits.unsigned()?;
                bits.unsigned()?;
                // At most 255 of them in a valid stream.
                for _ in 0..bits.unsigned()?.min(255) {
                    bits.unsigned()?;
                }
            }
            _ => {}
        }
        bits.unsigned()?;
        bits.take(1)?;
        let columns = bits.unsigned()?.checked_add(1)?;
        let rows = bits.unsigned()?.checked_add(1)?;
        let is_progressive = bits.flag()?;
        if !is_progressive {
            bits.take(1)?;
        }
        bits.take(1)?;
        let mut crop = [0; 4];
        if bits.flag()? {
            for side in &mut crop {
                *side = bits.unsigned()?;
            }
        }
        let [left, right, top, bottom] = crop;
        // In units of chroma samples; of frames in fields, of twice as many rows.
        let rows = rows.checked_mul(if is_progressive { 16 } else { 32 })?;
        let unit = if chroma == 1 { 2 } else { 1 };
        let cut =
            |size: u32, a: u32, b: u32| size.checked_sub(a.checked_add(b)?.checked_mul(unit)?);
        let (full_range, matrix) = bits.colour().unwrap_or_default();
        Some(Self {
            width: cut(columns.checked_mul(16)?, left, right)?,
            height: cut(rows, top, bottom)?,
            is_420_of_8_bits: chroma == 1 && depth == 0,
            is_progressive,
            full_range,
            matrix,
        })
    }
}

/// The bytes behind `00 00 03` without the 3, where it stands before what it keeps apart.
pub(crate) fn without_emulation(payload: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let mut bytes = Vec::with_capacity(payload.len());
    let next = payload.iter().skip(1).map(Some).chain([None]);
    for (byte, next) in payload.iter().zip(next) {
        if zeros >= 2 && *byte == 3 && next.is_some_and(|next| *next <= 3) {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    bytes
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 32, as a number.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    /// An Exp-Golomb number.
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// An Exp-Golomb number with a sign.
    fn signed(&mut self) -> Option<i32> {
        let code = self.unsigned()?;
        let size = code.div_ceil(2).cast_signed();
        Some(if code % 2 == 1 { size } else { -size })
    }

    fn scaling_list(&mut self, length: usize) -> Option<()> {
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..length {
            if next != 0 {
                next = last.wrapping_add(self.signed()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
        Some(())
    }

    /// Range and matrix from what follows on the frame's size, where it is given.
    fn colour(&mut self) -> Option<(bool, Option<&'static str>)> {
        if !self.flag()? {
            return None;
        }
        // 255: a ratio of its own follows.
        if self.flag()? && self.take(8)? == 255 {
            self.take(32)?;
        }
        if self.flag()? {
            self.take(1)?;
        }
        if !self.flag()? {
            return None;
        }
        self.take(3)?;
        let full_range = self.flag()?;
        let matrix = if self.flag()? {
            self.take(16)?;
            match self.take(8)? {
                1 => Some("709"),
                4..=6 => Some("601"),
                _ => None,
            }
        } else {
            None
        };
        Some((full_range, matrix))
    }
}
