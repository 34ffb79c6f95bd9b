//! What an association does: commands and data sets in, responses out, objects into the queue.

use std::fmt;
use std::io::{self, Write};

use dicom_dictionary_std::uids;
use dicom_object::FileMetaTableBuilder;

use crate::command::{Command, ECHO, MAX_COMMAND, RESPONSE, STORE, is_uid, status};
use crate::config::Limits;
use crate::queue::{Incoming, Name, Queue};

/// SOP classes of objects that are taken: what `bedside-dicom` reads frames of.
pub(crate) const CLASSES: [&str; 33] = [
    uids::ULTRASOUND_IMAGE_STORAGE,
    uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
    "1.2.840.10008.5.1.4.1.1.6", // the same two before 1995, retired
    "1.2.840.10008.5.1.4.1.1.3",
    uids::VL_ENDOSCOPIC_IMAGE_STORAGE,
    uids::VIDEO_ENDOSCOPIC_IMAGE_STORAGE,
    uids::VL_MICROSCOPIC_IMAGE_STORAGE,
    uids::VIDEO_MICROSCOPIC_IMAGE_STORAGE,
    uids::VL_SLIDE_COORDINATES_MICROSCOPIC_IMAGE_STORAGE,
    uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE,
    uids::VIDEO_PHOTOGRAPHIC_IMAGE_STORAGE,
    uids::DERMOSCOPIC_PHOTOGRAPHY_IMAGE_STORAGE,
    uids::OPHTHALMIC_PHOTOGRAPHY8_BIT_IMAGE_STORAGE,
    uids::OPHTHALMIC_PHOTOGRAPHY16_BIT_IMAGE_STORAGE,
    uids::OPHTHALMIC_TOMOGRAPHY_IMAGE_STORAGE,
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_SINGLE_BIT_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::CT_IMAGE_STORAGE,
    uids::ENHANCED_CT_IMAGE_STORAGE,
    uids::MR_IMAGE_STORAGE,
    uids::ENHANCED_MR_IMAGE_STORAGE,
    uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::X_RAY_ANGIOGRAPHIC_IMAGE_STORAGE,
    uids::X_RAY_RADIOFLUOROSCOPIC_IMAGE_STORAGE,
    uids::ENHANCED_XA_IMAGE_STORAGE,
    uids::ENHANCED_XRF_IMAGE_STORAGE,
];

/// Transfer syntaxes that are taken: those of which `bedside-dicom` decodes frames.
pub(crate) const SYNTAXES: [&str; 12] = [
    uids::EXPLICIT_VR_LITTLE_ENDIAN,
    uids::IMPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.2", // Explicit VR Big Endian, retired
    uids::RLE_LOSSLESS,
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEG_LOSSLESS,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEGLS_LOSSLESS,
    uids::JPEGLS_NEAR_LOSSLESS,
    uids::JPEG2000_LOSSLESS,
    uids::JPEG2000,
];

/// What was agreed upon for a presentation context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Its number.
    pub id: u8,
    /// The SOP class of its objects.
    pub class: String,
    /// The transfer syntax of its objects.
    pub syntax: String,
}

/// A piece of what comes in: a presentation data value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Number of its presentation context.
    pub context: u8,
    /// Whether it is of a command, not of a data set.
    pub command: bool,
    /// Whether the command or data set ends with it.
    pub last: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Number of the presentation context.
    pub context: u8,
    /// The response.
    pub command: Command,
}

/// What no sender does: the association ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(&'static str);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why an object is not taken.
struct Refusal {
    status: u16,
    why: &'static str,
}

/// An object whose data set is to come or coming.
struct Storing {
    context: u8,
    request: Command,
    name: Name,
    /// Where it is written to, until it is refused.
    file: Result<Incoming, Refusal>,
    bytes: u64,
}

/// One association, seen from within.
pub struct Receiver<'a> {
    queue: &'a Queue,
    limits: &'a Limits,
    contexts: Vec<Context>,
    log: &'a dyn Fn(&str),
    /// Called when there is an object more.
    arrived: &'a dyn Fn(),
    command: Vec<u8>,
    storing: Option<Storing>,
}

impl fmt::Debug for Receiver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("contexts", &self.contexts)
            .finish_non_exhaustive()
    }
}

impl<'a> Receiver<'a> {
    /// An association with these presentation contexts. `arrived` is called for each object that is
    /// new in the queue.
    pub fn new(
        queue: &'a Queue,
        limits: &'a Limits,
        contexts: Vec<Context>,
        log: &'a dyn Fn(&str),
        arrived: &'a dyn Fn(),
    ) -> Self {
        Self {
            queue,
            limits,
            contexts,
            log,
            arrived,
            command: Vec::new(),
            storing: None,
        }
    }

    /// Take a piece of what comes in. An object that the reply acknowledges is on the disk.
    ///
    /// # Errors
    /// [`Violation`] for what no sender does.
    pub fn take(&mut self, piece: Piece<'_>) -> Result<Option<Reply>, Violation> {
        match (piece.command, &mut self.storing) {
            (true, None) => {
                if self.command.len() + piece.bytes.len() > MAX_COMMAND {
                    return Err(Violation("a command of endless length"));
                }
                self.command.extend(piece.bytes);
                if !piece.last {
                    return Ok(None);
                }
                let command = Command::parse(&self.command);
                self.command.clear();
                let command = command.ok_or(Violation("what is no command"))?;
                self.obey(piece.context, command)
            }
            (true, Some(_)) => Err(Violation("a command in the middle of an object")),
            (false, None) => Err(Violation("an object without a command")),
            (false, Some(storing)) => {
                if storing.context != piece.context {
                    return Err(Violation("an object in two presentation contexts"));
                }
                storing.write(piece.bytes, self.limits);
                Ok(match piece.last {
                    true => self.storing.take().map(|storing| self.finish(storing)),
                    false => None,
                })
            }
        }
    }

    fn obey(&mut self, context: u8, request: Command) -> Result<Option<Reply>, Violation> {
        if request.is_response() {
            return Err(Violation("an answer to nothing"));
        }
        let agreed = self.contexts.iter().find(|agreed| agreed.id == context);
        let agreed = agreed.ok_or(Violation("a presentation context that was not agreed upon"))?;
        if request.field == ECHO {
            return Ok(Some(answer(context, &request, status::SUCCESS, None)));
        }
        let refused = |status, why| Err(Refusal { status, why });
        let instance = request.instance.as_deref().filter(|uid| is_uid(uid));
        let file = match instance {
            _ if request.field != STORE => refused(
                status::UNRECOGNIZED,
                "only C-ECHO and C-STORE are known here",
            ),
            None => refused(status::INVALID_INSTANCE, "no UID of an instance"),
            _ if request.class.as_deref() != Some(&agreed.class) => {
                refused(status::NO_SUCH_CLASS, "another class than was agreed upon")
            }
            _ if !request.data_set => refused(status::CANNOT_UNDERSTAND, "no data set"),
            Some(instance) => self.begin(agreed, instance),
        };
        let storing = Storing {
            context,
            name: Name::of(instance.unwrap_or_default()),
            file,
            bytes: 0,
            request,
        };
        if !storing.request.data_set {
            return Ok(Some(self.finish(storing)));
        }
        self.storing = Some(storing);
        Ok(None)
    }

    /// A file for an object, with all that stands before its data set.
    fn begin(&self, agreed: &Context, instance: &str) -> Result<Incoming, Refusal> {
        let room = self.queue.free().map_err(|e| no_room(&e))?;
        if room < self.limits.keep_free() {
            return Err(Refusal {
                status: status::OUT_OF_RESOURCES,
                why: "the disk is full",
            });
        }
        let mut file = self.queue.begin().map_err(|e| no_room(&e))?;
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(agreed.class.as_str())
            .media_storage_sop_instance_uid(instance)
            .transfer_syntax(agreed.syntax.as_str());
        let unreadable = |_| Refusal {
            status: status::CANNOT_UNDERSTAND,
            why: "a transfer syntax that is not read",
        };
        let meta = meta.build().map_err(unreadable)?;
        let mut head = vec![0; 128];
        head.extend(b"DICM");
        meta.write(&mut head).map_err(unreadable)?;
        file.write_all(&head).map_err(|e| no_room(&e))?;
        Ok(file)
    }

    /// The object is whole.
    fn finish(&self, storing: Storing) -> Reply {
        let Storing {
            context,
            request,
            name,
            file,
            bytes,
        } = storing;
        let stored = file.and_then(|file| match bytes {
            0 => Err(Refusal {
                status: status::CANNOT_UNDERSTAND,
                why: "an empty data set",
            }),
            _ => self.queue.accept(file, &name).map_err(|e| no_room(&e)),
        });
        match stored {
            Ok(new) => {
                let again = if new { "" } else { ", which waits already" };
                (self.log)(&format!("received {name}{again}"));
                if new {
                    (self.arrived)();
                }
                answer(context, &request, status::SUCCESS, None)
            }
            Err(Refusal { status, why }) => {
                (self.log)(&format!("refused {name}: {why}"));
                answer(context, &request, status, Some(why))
            }
        }
    }
}

impl Storing {
    fn write(&mut self, bytes: &[u8], limits: &Limits) {
        self.bytes += bytes.len() as u64;
        let Ok(file) = &mut self.file else { return };
        let refusal = if self.bytes > limits.object() {
            Some(Refusal {
                status: status::OUT_OF_RESOURCES,
                why: "larger than is taken here",
            })
        } else {
            file.write_all(bytes).err().map(|e| no_room(&e))
        };
        // What is still to come of it is let go by.
        if let Some(refusal) = refusal {
            self.file = Err(refusal);
        }
    }
}

fn answer(context: u8, request: &Command, status: u16, why: Option<&str>) -> Reply {
    let command = Command {
        field: request.field | RESPONSE,
        id: request.id,
        class: request.class.clone(),
        instance: request.instance.clone(),
        data_set: false,
        status: Some(status),
        comment: why.map(str::to_owned),
    };
    Reply { context, command }
}

/// Whatever the disk can't do now, it may be able to do later.
fn no_room(error: &io::Error) -> Refusal {
    use io::ErrorKind;
    let why = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full",
        _ => "the queue can't be written to",
    };
    Refusal {
        status: status::OUT_OF_RESOURCES,
        why,
    }
}
