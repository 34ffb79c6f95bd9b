//! The node's configuration: one TOML file, checked whole before anything starts.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bedside_core::Modality;
use bedside_core::text::explain_toml;
use bedside_dicom::Dicom;
use dicom_dictionary_std::tags;
use dicom_object::Tag;
use serde::{Deserialize, Serialize};

use crate::command::is_uid;
use crate::error::{Error, ErrorKind};

/// All keys; `node.toml` beside this crate explains each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the queue.
    pub folder: PathBuf,
    /// AE title of the node.
    pub ae: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may send; empty: whoever runs on this machine.
    pub peers: Vec<Peer>,
    /// What a sender may ask for.
    pub limits: Limits,
    /// Where what is made goes to.
    pub archive: Archive,
    /// What is asked of which objects; the first rule that fits counts.
    pub rules: Vec<Rule>,
}

/// Who may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its AE title.
    pub ae: String,
    /// Its address.
    pub host: IpAddr,
}

/// What a sender may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Associations at a time.
    pub associations: usize,
    /// Longest PDU that is received, in KiB.
    pub pdu_kib: u32,
    /// Largest object, in MiB.
    pub object_mib: u64,
    /// Longest silence of a sender, in seconds.
    pub idle_s: u64,
    /// Room that is left on the disk, in MiB.
    pub keep_free_mib: u64,
}

/// Where what is made goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Archive {
    /// Its AE title.
    pub ae: String,
    /// Its host and port.
    pub address: String,
    /// Longest silence of it, in seconds.
    pub timeout_s: u64,
    /// How often an object is offered that it refuses.
    pub tries: u32,
    /// Longest pause between tries, in seconds; the first takes one, each further one twice as long.
    pub max_wait_s: u64,
}

/// What is asked of which objects. What is not given fits all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Kind of imaging, as the header tells.
    pub modality: Option<Modality>,
    /// Part of the body in the words of prompts, where the header tells one that they know.
    pub site: Option<String>,
    /// Part of Body Part Examined.
    pub body_part: Option<String>,
    /// SOP class.
    pub class: Option<String>,
    /// Part of Series or Study Description.
    pub description: Option<String>,
    /// What is asked; nothing: the object is left out.
    pub prompts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            folder: "/var/lib/bedside/node".into(),
            ae: "BEDSIDE".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 11112)),
            peers: Vec::new(),
            limits: Limits::default(),
            archive: Archive::default(),
            rules: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 8,
            pdu_kib: 128,
            object_mib: 1024,
            idle_s: 60,
            keep_free_mib: 1024,
        }
    }
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            ae: "ARCHIVE".to_owned(),
            address: String::new(),
            timeout_s: 60,
            tries: 5,
            max_wait_s: 300,
        }
    }
}

impl Config {
    /// Read and check a file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the file, the line or key, and a remedy.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| {
            let message = format!("{}: {why}", path.display());
            Error::new(ErrorKind::Config, message)
        };
        let text = fs::read_to_string(path).map_err(|e| {
            refuse(format!(
                "{e}; hint: name the configuration with --config FILE"
            ))
        })?;
        Self::parse(&text).map_err(refuse)
    }

    /// The same from text; what is wrong comes in one line.
    ///
    /// # Errors
    /// The line or key, and a remedy.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            explain_toml(text, at, error.message())
        })?;
        config.check()?;
        Ok(config)
    }

    /// What the types alone do not say.
    fn check(&self) -> Result<(), String> {
        let within = |key: &str, holds: bool, hint: &str| match holds {
            true => Ok(()),
            false => Err(format!("{key}: not usable; hint: {hint}")),
        };
        let title = "1 to 16 letters, digits or signs";
        within("ae", is_title(&self.ae), title)?;
        within("archive.ae", is_title(&self.archive.ae), title)?;
        let titles = self.peers.iter().all(|peer| is_title(&peer.ae));
        within("peers.ae", titles, title)?;
        let known = self.listen.ip().is_loopback() || !self.peers.is_empty();
        let hint = "name in [[peers]] who may send, before others than this machine can";
        within("listen", known, hint)?;
        let (limits, archive) = (&self.limits, &self.archive);
        let some = (1..=1000).contains(&limits.associations);
        within("limits.associations", some, "1 to 1000")?;
        let length = (4..=65_536).contains(&limits.pdu_kib);
        within("limits.pdu_kib", length, "4 to 65536")?;
        let size = (1..=4096).contains(&limits.object_mib);
        within("limits.object_mib", size, "1 to 4096")?;
        let seconds = |s: u64| (1..=86_400).contains(&s);
        within("limits.idle_s", seconds(limits.idle_s), "1 to 86400")?;
        let address = archive.address.rsplit_once(':');
        let address =
            address.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        within(
            "archive.address",
            address,
            "give host and port, such as \"10.0.0.5:104\"",
        )?;
        within(
            "archive.timeout_s",
            seconds(archive.timeout_s),
            "1 to 86400",
        )?;
        within("archive.tries", archive.tries > 0, "1 or more")?;
        within(
            "archive.max_wait_s",
            seconds(archive.max_wait_s),
            "1 to 86400",
        )?;
        within(
            "rules",
            !self.rules.is_empty(),
            "give one [[rules]] at least",
        )?;
        let classes = self.rules.iter().filter_map(|rule| rule.class.as_deref());
        let hint = "a UID, such as \"1.2.840.10008.5.1.4.1.1.6.1\"";
        within("rules.class", classes.into_iter().all(is_uid), hint)
    }

    /// The rule for an object.
    pub fn rule(&self, dicom: &Dicom) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(dicom))
    }
}

impl Limits {
    /// Longest silence of a sender.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    /// Most bytes of an object.
    pub(crate) fn object(&self) -> u64 {
        self.object_mib << 20
    }

    /// Bytes that are left free on the disk.
    pub(crate) fn keep_free(&self) -> u64 {
        self.keep_free_mib.saturating_mul(1 << 20)
    }
}

impl Rule {
    /// Whether the rule is for such an object.
    fn fits(&self, dicom: &Dicom) -> bool {
        let text = |tag| {
            let element = dicom.header().get(tag);
            let text = element.and_then(|element| element.to_str().ok());
            text.unwrap_or_default().to_lowercase()
        };
        let holds = |part: &Option<String>, tags: &[Tag]| {
            let part = part.as_ref().map(|part| part.to_lowercase());
            part.is_none_or(|part| tags.iter().any(|tag| text(*tag).contains(&part)))
        };
        let is = |wanted: &Option<String>, told: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| told == Some(wanted))
        };
        let class = text(tags::SOP_CLASS_UID);
        let descriptions = [tags::SERIES_DESCRIPTION, tags::STUDY_DESCRIPTION];
        self.modality
            .is_none_or(|wanted| dicom.modality() == Some(wanted))
            && is(&self.site, dicom.site())
            && is(&self.class, Some(class.trim_matches([' ', '\0'])))
            && holds(&self.body_part, &[tags::BODY_PART_EXAMINED])
            && holds(&self.description, &descriptions)
    }
}

/// Whether a text can be an AE title.
fn is_title(text: &str) -> bool {
    let sign = |b: u8| (b' '..=b'~').contains(&b) && b != b'\\';
    (1..=16).contains(&text.len()) && text.trim() == text && text.bytes().all(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../node.toml");
    const LEAST: &str =
        "[archive]\naddress = \"localhost:104\"\n[[rules]]\nprompts = [\"polyp\"]\n";

    #[test]
    fn the_example_says_what_holds_without_it() {
        let example = Config::parse(EXAMPLE).unwrap();
        let mut config = example.clone();
        config.archive.address.clear();
        config.rules.clear();
        assert_eq!(config, Config::default());
    }

    /// The keys that are commented out are keys, too.
    #[test]
    fn what_the_example_comments_out_can_be_said() {
        let said = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || rest.split(' ').nth(1) == Some("=") => {
                rest.to_owned()
            }
            _ => line.to_owned(),
        };
        let text: Vec<String> = EXAMPLE.lines().map(said).collect();
        let config = Config::parse(&text.join("\n")).unwrap();
        assert!(!config.peers.is_empty() && config.rules.iter().any(|rule| rule.class.is_some()));
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
        assert_eq!(
            Config::parse("[limits]\nidle = 3\n").unwrap_err(),
            "line 2: there is no key 'idle' here; hint: the nearest is 'idle_s'"
        );
    }

    #[test]
    fn values_that_can_not_be_meant_are_refused() {
        assert!(Config::parse(LEAST).is_ok());
        for (text, key) in [
            ("ae = \"\"\n", "ae"),
            ("ae = \"SEVENTEEN LETTERS\"\n", "ae"),
            ("listen = \"0.0.0.0:11112\"\n", "listen"),
            (
                "peers = [{ ae = \"A\\\\B\", host = \"10.0.0.1\" }]\n",
                "peers.ae",
            ),
            ("limits = { associations = 0 }\n", "limits.associations"),
            ("limits = { pdu_kib = 1 }\n", "limits.pdu_kib"),
            ("limits = { object_mib = 0 }\n", "limits.object_mib"),
            ("limits = { idle_s = 0 }\n", "limits.idle_s"),
        ] {
            let why = Config::parse(&format!("{text}{LEAST}")).unwrap_err();
            assert!(why.starts_with(key) && why.contains("hint: "), "{why}");
        }
        for (text, key) in [
            ("", "archive.address"),
            ("[archive]\naddress = \"localhost\"\n", "archive.address"),
            ("[archive]\naddress = \"localhost:1\"\n", "rules"),
            (
                "[archive]\naddress = \"localhost:1\"\ntries = 0\n",
                "archive.tries",
            ),
            (
                "[archive]\naddress = \"localhost:1\"\n[[rules]]\nclass = \"US\"\n",
                "rules.class",
            ),
        ] {
            let why = Config::parse(text).unwrap_err();
            assert!(why.starts_with(key) && why.contains("hint: "), "{why}");
        }
        let open = "listen = \"0.0.0.0:11112\"\npeers = [{ ae = \"A\", host = \"10.0.0.1\" }]\n";
        assert!(Config::parse(&format!("{open}{LEAST}")).is_ok());
    }
}
