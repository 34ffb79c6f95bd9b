//! The element's properties.

use gst::glib;
use gst::prelude::*;

/// What becomes of the masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "BedsideSegmentMode")]
#[repr(i32)]
pub(crate) enum Mode {
    /// Attached to the buffer; the picture stays as it is.
    #[default]
    #[enum_value(
        name = "Attached to buffers; pictures stay as they are",
        nick = "metadata"
    )]
    Metadata,
    /// Attached, and painted.
    #[enum_value(
        name = "Attached to buffers and painted, with a band of words below the picture",
        nick = "overlay"
    )]
    Overlay,
}

/// What they say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) bundle: Option<String>,
    pub(crate) prompts: String,
    pub(crate) precision: Option<String>,
    pub(crate) threads: u32,
    pub(crate) max_age: u32,
    pub(crate) still: u32,
    pub(crate) target: u32,
    pub(crate) mode: Mode,
    pub(crate) command: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bundle: None,
            prompts: String::new(),
            precision: None,
            threads: 0,
            max_age: 500,
            still: 2_000,
            target: 105,
            mode: Mode::default(),
            command: "bedside".to_owned(),
        }
    }
}

pub(crate) fn properties() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let text = |name, nick, blurb| glib::ParamSpecString::builder(name).nick(nick).blurb(blurb);
    let number = |name, nick, blurb| glib::ParamSpecUInt::builder(name).nick(nick).blurb(blurb);
    vec![
        text("bundle", "Bundle", "Path of the model bundle").mutable_ready().build(),
        text("prompts", "Prompts", "What to find, with ';' between several, such as 'polyp'")
            .default_value(Some(defaults.prompts.as_str()))
            .mutable_playing()
            .build(),
        text("precision", "Precision", "f32, f16 or int8; unset: the bundle's choice")
            .mutable_ready()
            .build(),
        number("threads", "Threads", "Threads of the model; 0: one less than there are cores, at most 3")
            .default_value(defaults.threads)
            .maximum(256)
            .mutable_ready()
            .build(),
        number("max-age", "Maximum age", "Age in milliseconds beyond which a mask is not given")
            .default_value(defaults.max_age)
            .minimum(1)
            .maximum(10_000)
            .mutable_ready()
            .build(),
        number(
            "still-after",
            "Still after",
            "Milliseconds after which video that never changes is taken for a stalled camera's, and has \
             no masks; 0: never, for pictures that are meant to stand still",
        )
        .default_value(defaults.still)
        .mutable_ready()
        .build(),
        number(
            "target",
            "Target",
            "Milliseconds that the model should take for a picture; one that takes longer is asked to see \
             less of it, and then for fewer prompts at once",
        )
        .default_value(defaults.target)
        .minimum(1)
        .maximum(60_000)
        .mutable_ready()
        .build(),
        glib::ParamSpecEnum::builder::<Mode>("mode")
            .nick("Mode")
            .blurb("What becomes of the masks")
            .mutable_ready()
            .build(),
        text(
            "command",
            "Command",
            "The `bedside` command of this version, which runs the model in a process of its own: a \
             path, or a name to be looked for in PATH; empty: the model runs in this process",
        )
        .default_value(Some(defaults.command.as_str()))
        .mutable_ready()
        .build(),
        text("state", "State", "What may be believed of the picture, such as 'active'")
            .read_only()
            .build(),
    ]
}

impl Settings {
    /// Take a property's value; one of another type changes nothing.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) {
        let text = || value.get::<Option<String>>().ok().flatten();
        match name {
            "bundle" => self.bundle = text(),
            "prompts" => self.prompts = text().unwrap_or_default(),
            "precision" => self.precision = text(),
            "command" => self.command = text().unwrap_or_default(),
            "threads" => self.threads = value.get().unwrap_or(self.threads),
            "max-age" => self.max_age = value.get().unwrap_or(self.max_age),
            "still-after" => self.still = value.get().unwrap_or(self.still),
            "target" => self.target = value.get().unwrap_or(self.target),
            "mode" => self.mode = value.get().unwrap_or(self.mode),
            _ => {}
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "bundle" => self.bundle.to_value(),
            "prompts" => self.prompts.to_value(),
            "precision" => self.precision.to_value(),
            "command" => self.command.to_value(),
            "threads" => self.threads.to_value(),
            "max-age" => self.max_age.to_value(),
            "still-after" => self.still.to_value(),
            "target" => self.target.to_value(),
            "mode" => self.mode.to_value(),
            _ => return None,
        })
    }
}
