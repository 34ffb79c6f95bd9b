//! Random changes of inputs, by a seed: enough to walk around what a corpus shows.

/// Numbers at which sizes and counts break.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    16,
    127,
    255,
    32_767,
    65_535,
    (1 << 20) + 1,
    i32::MAX as u64,
    u32::MAX as u64,
    u64::MAX,
];

/// Pseudo-random numbers (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() >> 11) as usize % end.max(1)
    }
}

/// Change `input` in a few places; some of the changes take from `other`.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let length = 1 + random.below(16).min(input.len().saturating_sub(at));
        let end = (at + length).min(input.len());
        match random.below(8) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.number() as u8;
                }
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let copied = input[at..end].to_vec();
                input.splice(at..at, copied);
            }
            4 => {
                let edge = EDGES[random.below(EDGES.len())];
                let width = [1, 2, 4, 8][random.below(4)];
                let bytes = match random.below(2) {
                    0 => edge.to_le_bytes()[..width].to_vec(),
                    _ => edge.to_be_bytes()[8 - width..].to_vec(),
                };
                let end = (at + width).min(input.len());
                input.splice(at..end, bytes);
            }
            5 => {
                let from = random.below(other.len() + 1);
                let length = random.below(64).min(other.len() - from);
                input.splice(at..end, other[from..from + length].to_vec());
            }
            6 => input.truncate(at),
            _ => {
                let text = EDGES[random.below(EDGES.len())].to_string();
                input.splice(at..end, text.into_bytes());
            }
        }
    }
    input.truncate(MAX_INPUT);
}

/// Longest input in bytes.
pub const MAX_INPUT: usize = 64 << 10;
