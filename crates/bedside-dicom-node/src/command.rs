//! Commands of associations, byte by byte (PS3.7, 6.3 and annex E): a flat list of elements of
//! group 0000, implicit VR, little-endian.

/// Most bytes of a command; those of storage have some two hundred.
pub const MAX_COMMAND: usize = 16 << 10;

/// C-STORE-RQ.
pub const STORE: u16 = 0x0001;
/// C-ECHO-RQ.
pub const ECHO: u16 = 0x0030;
/// What a response's command field has beside that of its request.
pub const RESPONSE: u16 = 0x8000;

/// Statuses of responses (PS3.4, B.2.3; PS3.7, annex C).
pub mod status {
    /// Done.
    pub const SUCCESS: u16 = 0x0000;
    /// No UID of an instance.
    pub const INVALID_INSTANCE: u16 = 0x0117;
    /// Another class of objects than was agreed upon.
    pub const NO_SUCH_CLASS: u16 = 0x0122;
    /// An operation that this node does not know.
    pub const UNRECOGNIZED: u16 = 0x0211;
    /// No room; the first of 256 that say so.
    pub const OUT_OF_RESOURCES: u16 = 0xa700;
    /// Not an object.
    pub const CANNOT_UNDERSTAND: u16 = 0xc000;

    /// Whether the object was stored: warnings say that it was, in other words than it came.
    pub fn stored(status: u16) -> bool {
        status == SUCCESS || status & 0xf000 == 0xb000
    }

    /// Whether there may be room later.
    pub fn out_of_resources(status: u16) -> bool {
        status & 0xff00 == OUT_OF_RESOURCES
    }
}

const CLASS: u16 = 0x0002;
const FIELD: u16 = 0x0100;
const ID: u16 = 0x0110;
const ANSWERED: u16 = 0x0120;
const PRIORITY: u16 = 0x0700;
const DATA_SET: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const COMMENT: u16 = 0x0902;
const INSTANCE: u16 = 0x1000;

/// What [`DATA_SET`] is where no data set follows.
const NONE_FOLLOWS: u16 = 0x0101;

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// What is asked, such as [`STORE`], with [`RESPONSE`] in what answers it.
    pub field: u16,
    /// Number of the request, in both.
    pub id: u16,
    /// SOP class of the object.
    pub class: Option<String>,
    /// SOP Instance UID of the object.
    pub instance: Option<String>,
    /// Whether a data set follows.
    pub data_set: bool,
    /// How it went, in a response.
    pub status: Option<u16>,
    /// Why, in a response that refuses: at most 64 characters.
    pub comment: Option<String>,
}

impl Command {
    /// Read a command; `None` for what is none.
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let (mut command, mut field, mut id, mut answered) = (Self::default(), None, None, None);
        while let [a, b, c, d, e, f, g, h, rest @ ..] = bytes {
            if [*a, *b] != [0, 0] {
                return None;
            }
            let len = u32::from_le_bytes([*e, *f, *g, *h]);
            let (value, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            bytes = after;
            match u16::from_le_bytes([*c, *d]) {
                FIELD => field = Some(number(value)?),
                ID => id = Some(number(value)?),
                ANSWERED => answered = Some(number(value)?),
                STATUS => command.status = Some(number(value)?),
                DATA_SET => command.data_set = number(value)? != NONE_FOLLOWS,
                CLASS => command.class = Some(text(value)?),
                INSTANCE => command.instance = Some(text(value)?),
                COMMENT => command.comment = Some(text(value)?),
                _ => {}
            }
        }
        command.field = field?;
        command.id = if command.is_response() { answered } else { id }?;
        bytes.is_empty().then_some(command)
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.field & RESPONSE != 0
    }

    /// The bytes of the command.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut elements = Vec::new();
        let mut element = |tag: u16, value: &[u8]| {
            elements.extend([0, 0]);
            elements.extend(tag.to_le_bytes());
            elements.extend((value.len() as u32).to_le_bytes());
            elements.extend(value);
        };
        let response = self.is_response();
        if let Some(class) = &self.class {
            element(CLASS, &padded(class, 0));
        }
        element(FIELD, &self.field.to_le_bytes());
        element(if response { ANSWERED } else { ID }, &self.id.to_le_bytes());
        if self.field == STORE {
            element(PRIORITY, &[0, 0]);
        }
        let follows = if self.data_set { 1 } else { NONE_FOLLOWS };
        element(DATA_SET, &follows.to_le_bytes());
        if let Some(status) = self.status {
            element(STATUS, &status.to_le_bytes());
        }
        if let Some(comment) = &self.comment {
            element(COMMENT, &padded(comment, b' '));
        }
        if let Some(instance) = &self.instance {
            element(INSTANCE, &padded(instance, 0));
        }
        // The length of the group stands first.
        let mut bytes = vec![0, 0, 0, 0, 4, 0, 0, 0];
        bytes.extend((elements.len() as u32).to_le_bytes());
        bytes.extend(elements);
        bytes
    }
}

fn number(value: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(value.try_into().ok()?))
}

/// Text without padding.
fn text(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?;
    Some(text.trim_matches([' ', '\0']).to_owned())
}

/// Values have an even length.
fn padded(text: &str, with: u8) -> Vec<u8> {
    let mut value = text.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(with);
    }
    value
}

/// Whether a text is a UID: numbers between dots, at most 64 characters.
pub fn is_uid(text: &str) -> bool {
    let component = |c: &str| !c.is_empty() && c.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 64 && text.split('.').all(component)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// C-ECHO-RQ as DCMTK's echoscu sends it.
    #[test]
    fn a_command_of_another_program_is_read() {
        let bytes = b"\0\0\0\0\x04\0\0\0\x38\0\0\0\0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0\
            \0\0\0\x01\x02\0\0\0\x30\0\0\0\x10\x01\x02\0\0\0\x01\0\0\0\0\x08\x02\0\0\0\x01\x01";
        let command = Command {
            field: ECHO,
            id: 1,
            class: Some("1.2.840.10008.1.1".to_owned()),
            ..Command::default()
        };
        assert_eq!(Command::parse(bytes), Some(command.clone()));
        assert_eq!(command.to_bytes(), bytes);
    }

    #[test]
    fn what_is_no_command_is_none() {
        let sound = Command {
            field: STORE,
            ..Command::default()
        };
        let sound = sound.to_bytes();
        assert!(Command::parse(&sound).is_some());
        // Whole elements may be missing at the end, but those that are needed.
        let borders = [32, 42, 52, sound.len()];
        for cut in 0..=sound.len() {
            assert_eq!(
                Command::parse(&sound[..cut]).is_some(),
                borders.contains(&cut),
                "{cut}"
            );
        }
        assert_eq!(Command::parse(b""), None);
        let mut lying = sound.clone();
        lying[12 + 4] = 0xff;
        assert_eq!(Command::parse(&lying), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            field: u16,
            id: u16,
            class in proptest::option::of("[0-9][0-9.]{0,20}"),
            instance in proptest::option::of("[0-9][0-9.]{0,20}"),
            data_set: bool,
            status: Option<u16>,
            comment in proptest::option::of("[a-z]{1,20}"),
        ) {
            let command = Command { field, id, class, instance, data_set, status, comment };
            prop_assert_eq!(Command::parse(&command.to_bytes()), Some(command));
        }
    }
}
