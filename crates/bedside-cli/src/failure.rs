//! What ends a command early, and the exit code that says why.

use std::fmt;
use std::process::ExitCode;

use bedside::ErrorKind;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Why the command ends; the number is the process's exit code (0 is success).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A fault of bedside itself.
    Internal = 1,
    /// The command line can't be understood.
    Usage = 2,
    /// An input file: an image, a mask or a manifest.
    Input = 3,
    /// A prompt was refused.
    Prompt = 4,
    /// The bundle is missing, damaged or of another format.
    Bundle = 5,
    /// An output could not be written.
    Output = 6,
    /// The engine failed, or the bundle's self-test did.
    Engine = 7,
    /// `bedside doctor` found a problem.
    Unfit = 8,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure as the person at the terminal reads it: what, where, and `hint: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    printed: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            printed: false,
        }
    }

    /// The same failure with the thing it happened to named in front.
    #[must_use]
    pub(crate) fn at(self, what: impl fmt::Display) -> Self {
        Self {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }

    /// The same failure, which has been printed already.
    #[must_use]
    pub(crate) fn printed(self) -> Self {
        Self {
            printed: true,
            ..self
        }
    }

    /// A prompt was refused; where to look for others is the command's to say.
    fn refused_prompt(error: &dyn fmt::Display) -> Self {
        let message = format!("{error}; `bedside prompts` lists what is known");
        Self::new(Exit::Prompt, message)
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn is_printed(&self) -> bool {
        self.printed
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("error", 2)?;
        fields.serialize_field("exit_code", &self.exit.code())?;
        fields.serialize_field("message", &self.message)?;
        fields.end()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<bedside_live::Error> for Failure {
    fn from(error: bedside_live::Error) -> Self {
        use bedside_live::ErrorKind;
        let exit = match error.kind() {
            ErrorKind::Source => Exit::Input,
            ErrorKind::Prompt => return Self::refused_prompt(&error),
            ErrorKind::Load | ErrorKind::SelfTest | ErrorKind::Model | ErrorKind::Process => {
                Exit::Engine
            }
            ErrorKind::Sink | ErrorKind::Log => Exit::Output,
            ErrorKind::Config => Exit::Usage,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<bedside_annotate::Error> for Failure {
    fn from(error: bedside_annotate::Error) -> Self {
        let exit = match error.kind() {
            bedside_annotate::ErrorKind::Input => Exit::Input,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<bedside_eval::Error> for Failure {
    fn from(error: bedside_eval::Error) -> Self {
        use bedside_eval::ErrorKind;
        let exit = match error.kind() {
            ErrorKind::Input => Exit::Input,
            ErrorKind::Masks => {
                return Self::new(Exit::Usage, format!("{error} (--masks DIR)"));
            }
            ErrorKind::Bundle => Exit::Bundle,
            ErrorKind::Prompt => return Self::refused_prompt(&error),
            ErrorKind::Engine => Exit::Engine,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<bedside::Error> for Failure {
    fn from(error: bedside::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Bundle => Exit::Bundle,
            ErrorKind::Prompt => return Self::refused_prompt(&error),
            ErrorKind::Frame => Exit::Input,
            ErrorKind::Engine | ErrorKind::SelfTest => Exit::Engine,
            ErrorKind::Cache => Exit::Output,
            ErrorKind::Config => Exit::Usage,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}
