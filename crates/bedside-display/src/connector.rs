//! Which display.

use std::fmt;
use std::str::FromStr;

/// The connector that a display is plugged into, as a person names it: `any` for the first that has one,
/// or the kernel's name of it, such as `HDMI-A-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connector(Option<(u32, u32)>);

/// What the kernel calls connectors, by the number that it has for each kind.
const KINDS: [&str; 21] = [
    "Unknown",
    "VGA",
    "DVI-I",
    "DVI-D",
    "DVI-A",
    "Composite",
    "SVIDEO",
    "LVDS",
    "Component",
    "DIN",
    "DP",
    "HDMI-A",
    "HDMI-B",
    "TV",
    "eDP",
    "Virtual",
    "DSI",
    "DPI",
    "Writeback",
    "SPI",
    "USB",
];

impl Connector {
    /// The first that has a display.
    pub const ANY: Self = Self(None);

    /// Whether it may be this one: the number of its kind, and which of that kind.
    #[cfg(target_os = "linux")]
    pub(crate) fn allows(self, kind: u32, number: u32) -> bool {
        self.0.is_none_or(|wanted| wanted == (kind, number))
    }
}

impl FromStr for Connector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::ANY);
        }
        let named = text.rsplit_once('-').and_then(|(kind, number)| {
            let kind = (0..).zip(KINDS).find(|(_, name)| *name == kind)?.0;
            Some((kind, number.parse().ok()?))
        });
        named.map(|named| Self(Some(named))).ok_or_else(|| {
            "not a connector; hint: any, or a name of `ls /sys/class/drm` without its card, such as \
             HDMI-A-1"
                .to_owned()
        })
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("any"),
            Some((kind, number)) => {
                let name = KINDS.get(kind as usize).unwrap_or(&"Unknown");
                write!(f, "{name}-{number}")
            }
        }
    }
}
