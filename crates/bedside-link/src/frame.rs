//! Packets as frames: postcard, then CRC-32C, then COBS, then a zero byte.

use crc::{CRC_32_ISCSI, Crc};
use heapless::Vec;

use crate::packet::Packet;

/// Most bytes of a frame, with the zero that ends it.
pub const MAX_FRAME: usize = 64;

/// A packet as it goes over the line.
pub type Frame = Vec<u8, MAX_FRAME>;

/// COBS takes one byte of each frame, the delimiter another.
const MAX_PLAIN: usize = MAX_FRAME - 2;
const DELIMITER: u8 = 0;
const SUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A packet as a frame. There is room for each that there is.
pub fn encode(packet: &Packet) -> Frame {
    try_encode(packet).unwrap_or_default()
}

fn try_encode(packet: &Packet) -> Option<Frame> {
    let mut plain = [0; MAX_PLAIN];
    let length = postcard::to_slice(packet, &mut plain).ok()?.len();
    let (content, rest) = plain.split_at_mut_checked(length)?;
    *rest.first_chunk_mut()? = SUM.checksum(content).to_le_bytes();
    let mut frame = Frame::new();
    frame.resize_default(MAX_FRAME).ok()?;
    let plain = plain.get(..length + size_of::<u32>())?;
    let length = cobs::try_encode(plain, &mut frame).ok()?;
    frame.truncate(length);
    frame.push(DELIMITER).ok()?;
    Some(frame)
}

/// The packet of a frame, which is given without its delimiter and overwritten. `None` where
/// anything about it is wrong.
fn decode(frame: &mut [u8]) -> Option<Packet> {
    let length = cobs::decode_in_place(frame).ok()?;
    let (content, sum) = frame.get(..length)?.split_last_chunk()?;
    if SUM.checksum(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (packet, rest) = postcard::take_from_bytes(content).ok()?;
    rest.is_empty().then_some(packet)
}

/// Finds packets in a stream of bytes. Damage costs the frames that it touches, and the one behind
/// them where it took a delimiter.
#[derive(Debug, Default)]
pub struct Decoder {
    frame: Frame,
    overlong: bool,
    damaged: u32,
}

impl Decoder {
    /// Take the next byte; the packet that it completes.
    pub fn push(&mut self, byte: u8) -> Option<Packet> {
        if byte != DELIMITER {
            self.overlong |= self.frame.push(byte).is_err();
            return None;
        }
        if self.frame.is_empty() {
            return None;
        }
        let packet = match self.overlong {
            true => None,
            false => decode(&mut self.frame),
        };
        self.damaged = self.damaged.saturating_add(u32::from(packet.is_none()));
        self.frame.clear();
        self.overlong = false;
        packet
    }

    /// Frames so far that were no packet.
    pub fn damaged(&self) -> u32 {
        self.damaged
    }
}
