//! The daemon's configuration: one TOML file, checked whole before anything starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bedside::{Modality, Precision, Prompt};
use bedside_core::text::explain_toml;
use bedside_display::Connector;
use bedside_live::MAX_PROMPTS;
use bedside_video::{CaptureFormat, RawFormat};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::link::Wiring;

/// All keys; `bedsided.toml` beside this crate explains each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub model: Model,
    pub video: Video,
    pub prompts: Vec<Ask>,
    pub recording: Recording,
    pub snapshots: Snapshots,
    pub display: Display,
    pub link: Link,
    pub gpio: Gpio,
    pub control: Control,
}

/// Which model runs, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    pub bundle: PathBuf,
    pub updates: Option<PathBuf>,
    pub keys: Option<PathBuf>,
    pub precision: Option<Precision>,
    pub threads: Option<u16>,
    pub backend: Option<String>,
    pub cache: PathBuf,
    pub memory_mib: Option<u32>,
}

/// Where frames come from and go to, and what is painted on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Video {
    pub source: String,
    pub raw: Option<String>,
    pub capture: Option<String>,
    pub repeat: bool,
    pub outputs: Vec<String>,
    pub max_file_mib: u32,
    pub max_age_ms: u16,
    pub target_ms: u16,
    pub new_patient_after_s: u32,
}

/// Prompts that are asked together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    pub ask: Vec<String>,
    pub modality: Option<Modality>,
    pub site: Option<String>,
}

/// The result log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recording {
    pub on: bool,
    pub log: PathBuf,
    pub max_mib: u32,
}

/// Pictures that a person keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Snapshots {
    pub folder: PathBuf,
    pub most: u32,
}

/// The display that shows the annotated video, without a desktop.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Display {
    pub connector: Option<String>,
}

/// The line to the microcontroller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Link {
    pub port: Option<PathBuf>,
    pub brightness: u8,
    pub sound: bool,
}

/// Lines of this computer in a microcontroller's place.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Gpio {
    pub chip: Option<PathBuf>,
    pub pedal: Option<u32>,
    pub second_pedal: Option<u32>,
    pub freeze: Option<u32>,
    pub red: Option<u32>,
    pub green: Option<u32>,
    pub buzzer: Option<u32>,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Control {
    pub socket: PathBuf,
    pub mode: String,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            bundle: "/usr/share/bedside/edge.bedside".into(),
            updates: None,
            keys: None,
            precision: None,
            threads: None,
            backend: None,
            cache: "/var/cache/bedside".into(),
            memory_mib: None,
        }
    }
}

impl Default for Video {
    fn default() -> Self {
        Self {
            source: "/dev/video0".to_owned(),
            raw: None,
            capture: None,
            repeat: false,
            outputs: Vec::new(),
            max_file_mib: 16_384,
            max_age_ms: 500,
            target_ms: 105,
            new_patient_after_s: 60,
        }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            on: false,
            log: "/var/lib/bedside/session.log".into(),
            max_mib: 256,
        }
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            folder: "/var/lib/bedside/snapshots".into(),
            most: 1000,
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            port: None,
            brightness: u8::MAX,
            sound: true,
        }
    }
}

/// Where the control socket is unless the configuration names another place.
pub(crate) const SOCKET: &str = "/run/bedside/control.sock";

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: SOCKET.into(),
            mode: "0660".to_owned(),
        }
    }
}

impl Ask {
    /// The prompts.
    pub(crate) fn prompts(&self) -> Vec<Prompt> {
        let prompt = |text: &String| Prompt {
            text: text.clone(),
            modality: self.modality,
            site: self.site.clone(),
        };
        self.ask.iter().map(prompt).collect()
    }
}

impl Gpio {
    /// The lines that are wired.
    fn lines(&self) -> Vec<u32> {
        let lines = [
            self.pedal,
            self.second_pedal,
            self.freeze,
            self.red,
            self.green,
            self.buzzer,
        ];
        lines.into_iter().flatten().collect()
    }
}

impl Config {
    /// Read and check a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|e| {
            Failure::config(format!(
                "{}: {e}; hint: name the configuration with --config FILE",
                path.display()
            ))
        })?;
        Self::parse(&text).map_err(|why| Failure::config(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
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
            false => Err(format!("{key}: out of range; hint: {hint}")),
        };
        let (video, link) = (&self.video, &self.link);
        within(
            "prompts",
            !self.prompts.is_empty(),
            "give one [[prompts]] at least",
        )?;
        for ask in &self.prompts {
            let some = (1..=MAX_PROMPTS).contains(&ask.ask.len());
            within("prompts.ask", some, "name at least one object")?;
        }
        within("video.max_age_ms", video.max_age_ms > 0, "1 to 65535")?;
        within("video.target_ms", video.target_ms > 0, "1 to 65535")?;
        within("video.max_file_mib", video.max_file_mib > 0, "1 or more")?;
        within("recording.max_mib", self.recording.max_mib > 0, "1 or more")?;
        within("link.brightness", link.brightness > 0, "1 to 255")?;
        let gpio = &self.gpio;
        let hint = "give link.port or gpio.chip, not both";
        within(
            "gpio.chip",
            link.port.is_none() || gpio.chip.is_none(),
            hint,
        )?;
        let mut lines = gpio.lines();
        let hint = "give gpio.chip and one line at least, or none of [gpio]";
        within("gpio", lines.is_empty() == gpio.chip.is_none(), hint)?;
        let count = lines.len();
        lines.sort_unstable();
        lines.dedup();
        let hint = "each line has one use";
        within("gpio", lines.len() == count, hint)?;
        let piped = video.source == "-" || video.outputs.iter().any(|output| output == "-");
        let hint = "name a device, file or pipe; - is of no use to a daemon";
        within("video", !piped, hint)?;
        self.raw()?;
        self.capture()?;
        self.display()?;
        self.mode().map(|_| ())
    }

    /// Where lamp and pedals are, if there are any.
    pub(crate) fn wiring(&self) -> Option<Wiring> {
        let chip = self.gpio.chip.clone();
        let gpio = chip.map(|chip| Wiring::Gpio(chip, self.gpio.clone()));
        self.link.port.clone().map(Wiring::Serial).or(gpio)
    }

    /// What raw bytes of the source mean.
    pub(crate) fn raw(&self) -> Result<Option<RawFormat>, String> {
        parsed("video.raw", self.video.raw.as_deref())
    }

    /// What a camera is asked for.
    pub(crate) fn capture(&self) -> Result<Option<CaptureFormat>, String> {
        parsed("video.capture", self.video.capture.as_deref())
    }

    /// Which display, if one.
    pub(crate) fn display(&self) -> Result<Option<Connector>, String> {
        parsed("display.connector", self.display.connector.as_deref())
    }

    /// Permissions of the control socket.
    pub(crate) fn mode(&self) -> Result<u32, String> {
        let mode = u32::from_str_radix(&self.control.mode, 8).ok();
        // Whoever may connect may change the session: never everybody on the machine.
        mode.filter(|mode| *mode & !0o770 == 0).ok_or_else(|| {
            "control.mode: not a mode for owner and group; hint: \"0660\" or \"0600\"".to_owned()
        })
    }
}

fn parsed<T>(key: &str, text: Option<&str>) -> Result<Option<T>, String>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let parsed = text.map(str::parse::<T>).transpose();
    parsed.map_err(|e| format!("{key}: {e}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const EXAMPLE: &str = include_str!("../bedsided.toml");

    /// Keys of a value, those of tables below them included.
    fn keys(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    found.push(key.clone());
                    keys(value, found);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_example_has_every_key_with_its_default() {
        let example = Config::parse(EXAMPLE).unwrap();
        let mut config = example.clone();
        config.prompts.clear();
        assert_eq!(config, Config::default());
        let mut all = Vec::new();
        keys(&serde_json::to_value(&example).unwrap(), &mut all);
        for key in all {
            let named = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = ")) || line.trim_matches(['[', ']']) == key
            });
            assert!(named, "{key}");
        }
    }

    /// The keys that are commented out are keys, too.
    #[test]
    fn what_the_example_comments_out_can_be_said() {
        let said = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if rest.split(' ').nth(1) == Some("=") => rest.to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<String> = EXAMPLE.lines().map(said).collect();
        // Two of them exclude each other.
        let text = text.join("\n");
        let why = Config::parse(&text).unwrap_err();
        assert!(why.starts_with("gpio.chip: "), "{why}");
        let config = Config::parse(&text.replace("port = ", "# port = ")).unwrap();
        assert!(config.gpio.chip.is_some() && config.video.raw.is_some());
        assert!(config.display.connector.is_some());
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest() {
        let refused = |text: &str| Config::parse(text).unwrap_err();
        let text = "[video]\nsource = \"phantom:polyp\"\nmax_age = 400\n";
        assert_eq!(
            refused(text),
            "line 3: there is no key 'max_age' here; hint: the nearest is 'max_age_ms'"
        );
        assert_eq!(
            refused("\n[vidoe]\n"),
            "line 2: there is no key 'vidoe' here; hint: the nearest is 'video'"
        );
        assert!(refused("[video]\nrepeat = 3\n").starts_with("line 2: "));
        assert!(refused("[video\n").starts_with("line 1: "));
    }

    #[test]
    fn values_that_can_not_be_meant_are_refused() {
        for (text, key) in [
            ("", "prompts"),
            ("prompts = [{ ask = [] }]", "prompts.ask"),
            ("[video]\nmax_age_ms = 0", "video.max_age_ms"),
            ("[video]\nsource = \"-\"", "video"),
            ("[video]\nraw = \"huge\"", "video.raw"),
            ("[display]\nconnector = \"card0\"", "display.connector"),
            ("[link]\nbrightness = 0", "link.brightness"),
            ("[gpio]\nchip = \"/dev/gpiochip0\"", "gpio"),
            ("[gpio]\npedal = 1", "gpio"),
            (
                "[gpio]\nchip = \"/dev/gpiochip0\"\npedal = 1\nred = 1",
                "gpio",
            ),
            ("[control]\nmode = \"0666\"", "control.mode"),
            ("[control]\nmode = \"wide\"", "control.mode"),
        ] {
            let prompts = "[[prompts]]\nask = [\"polyp\"]\n";
            let whole = match key.starts_with("prompts") {
                true => text.to_owned(),
                false => format!("{prompts}{text}"),
            };
            let why = Config::parse(&whole).unwrap_err();
            assert!(why.starts_with(key) && why.contains("hint: "), "{why}");
        }
    }
}
