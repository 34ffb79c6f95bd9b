//! Protobuf's wire format, of which ONNX models are made.

use super::malformed;
use crate::error::BundleError;

/// One field of a message.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
    /// Key and value, as they stand.
    pub(super) whole: &'a [u8],
}

impl<'a> Field<'a> {
    pub(super) fn pair(self) -> (u32, Value<'a>) {
        (self.number, self.value)
    }
}

/// A field's value; numbers of fixed width are not looked at.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of one message; ends after the first error.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let start = self.0;
        // Readers differ on keys past 32 bits: some refuse, some drop the upper bits.
        let key = u32::try_from(varint(&mut self.0)?).ok()?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups are not in ONNX; 6 and 7 are not in protobuf.
            _ => return None,
        };
        Some(Field {
            number: key >> 3,
            value,
            whole: start.get(..start.len() - self.0.len())?,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or_else(|| malformed("broken protobuf"));
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The variable-length number that `from` starts with, which is taken off.
pub(super) fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = from.split_first()?;
        *from = tail;
        // Readers drop the bits past 64 of a tenth byte.
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Append a field of bytes.
pub(super) fn put_bytes(to: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(to, u64::from(number << 3 | 2));
    put_varint(to, bytes.len() as u64);
    to.extend(bytes);
}

/// Append a variable-length number.
pub(super) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
