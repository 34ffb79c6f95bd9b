//! The words below the picture.
//!
//! The state comes first, then what is wrong with sinks and records, then each prompt in order,
//! and last the rates. Where a picture is too narrow for all prompts, the band says how many are
//! left out: silence would read as "not there".

use std::fmt::{self, Write};

use bedside::{State, Withheld};
use bedside_vision::paint::Band;
use bedside_vision::paint::palette::{self, ALERT, FAINT, RECORDING, TEXT};

use crate::painter::{Answer, Said, Standing};
use crate::record::Name;

/// What the band below the picture says of where results go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Whether the picture or results are being kept.
    pub recording: bool,
    /// What is wrong with a sink or a record, in few words.
    pub trouble: Option<Name>,
}

/// What the band says beside the prompts.
#[derive(Debug, Clone, Copy)]
pub struct Caption<'a> {
    /// The session's state, as the band says it.
    pub state: State,
    /// The state that the picture was shown in first, which permits masks or not: of a picture that is
    /// not frozen, that is the session's.
    pub picture: State,
    /// Frames a second that are shown, masks a second that are new.
    pub rates: (f32, f32),
    /// Where results go.
    pub outputs: &'a Outputs,
}

/// Lines of the band, the last of which is the closing one.
const LINES: u32 = 3;
/// Between two words.
const GAP: &str = "   ";
/// Trouble gets a line of its own where fewer characters than these are left.
const LEAST: u32 = 12;
/// Below this validity a mask is probably not of its object.
const DOUBTFUL: f32 = 0.05;
/// The closing line, as much as there is room for.
const SAFETY: [&str; 3] = [
    "Research use. Not a medical device. Not for clinical decisions.",
    "Research use. Not a medical device.",
    "Research use",
];

/// Writes the band; nothing is allocated once it has its size.
#[derive(Debug, Default)]
pub(crate) struct Words {
    band: Band,
    /// Characters on a line.
    columns: usize,
    text: String,
    said: String,
    /// Prompts that there was no room for.
    hidden: usize,
}

impl Words {
    /// Begin a band below a frame of this width; its number of rows.
    pub(crate) fn begin(&mut self, width: u32) -> u32 {
        self.band.begin(width, LINES);
        self.columns = Band::columns(width);
        self.hidden = 0;
        self.band.height()
    }

    pub(crate) fn head(&mut self, caption: &Caption<'_>) {
        let colour = match caption.state {
            State::Active => TEXT,
            _ => ALERT,
        };
        self.write(format_args!("{}{GAP}", Shout(caption.state)));
        self.band.word(&self.text, colour);
        if caption.outputs.recording {
            self.band.marked_word(RECORDING, " REC   ", TEXT);
        }
        if let Some(trouble) = &caption.outputs.trouble {
            let room = self.band.room(LEAST);
            self.write(format_args!("{}{GAP}", Cut(trouble, room)));
            self.band.word(&self.text, ALERT);
        }
    }

    /// What the picture says of one prompt.
    pub(crate) fn prompt(&mut self, answer: &Answer<'_>, standing: Standing) {
        let said = &mut self.said;
        said.clear();
        // Writing to a string can't fail.
        let _ = match standing {
            Standing::Fresh => write!(said, "{}, this frame", Presence(answer)),
            Standing::Carried { age, confidence } => write!(
                said,
                "{}, carried {} ms, trust {:.0} %",
                Presence(answer),
                age.as_millis(),
                confidence * 100.0
            ),
            Standing::Absent => said.write_str(": not present"),
            Standing::Uncertain => said.write_str(": too uncertain to show"),
            Standing::Withheld(Withheld::OtherModality) => {
                said.write_str(": not this kind of imaging")
            }
            Standing::Withheld(_) => said.write_str(": unlike what the model learned from"),
            Standing::Unanswered => said.write_str(": no current answer"),
        };
        // The name gives way to what is said of it; two characters are the mark's.
        let room = self.columns.saturating_sub(said.chars().count() + 3);
        self.text.clear();
        let name = Cut(answer.prompt, room.max(4));
        let _ = write!(self.text, " {name}{said}{GAP}");
        let text = &self.text;
        let written = match standing {
            Standing::Fresh | Standing::Carried { .. } => {
                let mark = palette::object(answer.place);
                self.band.marked_word(mark, text, TEXT)
            }
            Standing::Absent => self.band.word(text, FAINT),
            Standing::Uncertain | Standing::Withheld(_) | Standing::Unanswered => {
                self.band.word(text, ALERT)
            }
        };
        self.hidden += usize::from(!written);
    }

    /// The finished band.
    pub(crate) fn finish(&mut self, caption: &Caption<'_>) -> &Band {
        let (frames, masks) = caption.rates;
        self.write(format_args!("{frames:.0} fps, {masks:.0} masks/s"));
        self.band.word(&self.text, FAINT);
        self.text.clear();
        if self.hidden > 0 {
            let _ = write!(self.text, "+{} more prompts{GAP}", self.hidden);
        }
        self.band.finish((&self.text, ALERT), &SAFETY, FAINT);
        &self.band
    }

    fn write(&mut self, words: fmt::Arguments<'_>) {
        self.text.clear();
        // Writing to a string can't fail.
        let _ = self.text.write_fmt(words);
    }
}

/// The presence of a mask, and whether it looks unusual.
struct Presence<'a>(&'a Answer<'a>);

impl fmt::Display for Presence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Said::Mask(claim) = &self.0.said else {
            return Ok(());
        };
        write!(f, " {:.0} %", claim.presence * 100.0)?;
        match claim.validity {
            Some(validity) if validity < DOUBTFUL => f.write_str(", unusual"),
            _ => Ok(()),
        }
    }
}

/// At most so many characters of a text; two dots stand for the rest.
struct Cut<'a>(&'a str, usize);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, most) = *self;
        if text.chars().count() <= most {
            return f.write_str(text);
        }
        let kept = text.chars().take(most.saturating_sub(2));
        kept.into_iter().try_for_each(|c| f.write_char(c))?;
        f.write_str("..")
    }
}

/// A state in capitals, to be read from afar.
struct Shout(State);

impl fmt::Display for Shout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut upper = |text: &str| {
            text.chars()
                .try_for_each(|c| f.write_char(c.to_ascii_uppercase()))
        };
        upper(self.0.name())?;
        match self.0.reason() {
            "" => Ok(()),
            reason => {
                upper(": ")?;
                upper(reason)
            }
        }
    }
}
