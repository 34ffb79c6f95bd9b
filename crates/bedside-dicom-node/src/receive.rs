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

/// Transfer syntaxes that are taken besides those of [`H264_SYNTAXES`](bedside_dicom::H264_SYNTAXES):
/// those of which `bedside-dicom` decodes frames.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Stage;

    const US: &str = uids::ULTRASOUND_IMAGE_STORAGE;

    fn request() -> Command {
        Command {
            field: STORE,
            id: 7,
            class: Some(US.to_owned()),
            instance: Some("1.2.3".to_owned()),
            data_set: true,
            ..Command::default()
        }
    }

    fn piece(command: bool, last: bool, bytes: &[u8]) -> Piece<'_> {
        Piece {
            context: 1,
            command,
            last,
            bytes,
        }
    }

    /// What an association answers to these pieces.
    fn said(queue: &Queue, limits: &Limits, pieces: &[Piece<'_>]) -> Result<Vec<u16>, Violation> {
        let context = Context {
            id: 1,
            class: US.to_owned(),
            syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN.to_owned(),
        };
        let mut receiver = Receiver::new(queue, limits, vec![context], &|_| {}, &|| {});
        let mut statuses = Vec::new();
        for piece in pieces {
            let reply = receiver.take(*piece)?;
            statuses.extend(reply.and_then(|reply| reply.command.status));
        }
        Ok(statuses)
    }

    fn open() -> (tempfile::TempDir, Queue, Limits) {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(folder.path()).unwrap();
        let limits = Limits {
            object_mib: 1,
            keep_free_mib: 0,
            ..Limits::default()
        };
        (folder, queue, limits)
    }

    #[test]
    fn an_object_in_pieces_becomes_a_file() {
        let (_folder, queue, limits) = open();
        let command = request().to_bytes();
        let (a, b) = command.split_at(9);
        let pieces = [
            piece(true, false, a),
            piece(true, true, b),
            piece(false, false, b"\x08\0\x16"),
            piece(false, true, b"\0rest"),
        ];
        assert_eq!(said(&queue, &limits, &pieces), Ok(vec![status::SUCCESS]));
        let names = queue.list(Stage::Received).unwrap();
        assert_eq!(names, [Name::of("1.2.3")]);
        let file = std::fs::read(queue.image(Stage::Received, &names[0])).unwrap();
        assert!(file.starts_with(&[0; 128]) && file.ends_with(b"\x08\0\x16\0rest"));
        assert_eq!(&file[128..132], b"DICM");
        let meta = dicom_object::FileMetaTable::from_reader(&file[128..]).unwrap();
        assert_eq!(meta.transfer_syntax(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!(meta.media_storage_sop_instance_uid(), "1.2.3");
    }

    #[test]
    fn what_can_not_be_taken_is_refused_with_the_right_status_and_nothing_is_left() {
        let (folder, queue, mut limits) = open();
        let large = vec![0; 600 << 10];
        let changed = |change: fn(&mut Command)| {
            let mut command = request();
            change(&mut command);
            command.to_bytes()
        };
        for (command, expected) in [
            (changed(|c| c.instance = None), status::INVALID_INSTANCE),
            (
                changed(|c| c.instance = Some("../x".to_owned())),
                status::INVALID_INSTANCE,
            ),
            (
                changed(|c| c.class = Some(uids::CT_IMAGE_STORAGE.to_owned())),
                status::NO_SUCH_CLASS,
            ),
            (changed(|c| c.field = 0x20), status::UNRECOGNIZED),
            (changed(|_| {}), status::OUT_OF_RESOURCES),
        ] {
            let pieces = [
                piece(true, true, &command),
                piece(false, false, &large),
                piece(false, true, &large),
            ];
            assert_eq!(said(&queue, &limits, &pieces), Ok(vec![expected]));
        }
        let none = changed(|c| c.data_set = false);
        let pieces = [piece(true, true, &none)];
        assert_eq!(
            said(&queue, &limits, &pieces),
            Ok(vec![status::CANNOT_UNDERSTAND])
        );
        let sound = request().to_bytes();
        let pieces = [piece(true, true, &sound), piece(false, true, b"")];
        assert_eq!(
            said(&queue, &limits, &pieces),
            Ok(vec![status::CANNOT_UNDERSTAND])
        );
        limits.keep_free_mib = u64::MAX;
        let pieces = [piece(true, true, &sound), piece(false, true, b"data")];
        assert_eq!(
            said(&queue, &limits, &pieces),
            Ok(vec![status::OUT_OF_RESOURCES])
        );
        for stage in ["incoming", "received"] {
            assert_eq!(
                std::fs::read_dir(folder.path().join(stage))
                    .unwrap()
                    .count(),
                0
            );
        }
    }

    #[test]
    fn what_no_sender_does_ends_the_association() {
        let (_folder, queue, limits) = open();
        let sound = request().to_bytes();
        let endless = vec![0; MAX_COMMAND];
        let elsewhere = Piece {
            context: 3,
            ..piece(true, true, &sound)
        };
        let moved = Piece {
            context: 3,
            ..piece(false, true, b"data")
        };
        let response = Command {
            field: STORE | RESPONSE,
            ..request()
        };
        let response = response.to_bytes();
        for pieces in [
            &[piece(false, true, b"data")][..],
            &[piece(true, true, b"nonsense")],
            &[piece(true, true, &response)],
            &[elsewhere],
            &[piece(true, true, &sound), moved],
            &[piece(true, true, &sound), piece(true, true, &sound)],
            &[piece(true, false, &endless), piece(true, false, b"0")],
        ] {
            assert!(said(&queue, &limits, pieces).is_err(), "{pieces:?}");
        }
        assert!(queue.list(Stage::Received).unwrap().is_empty());
    }
}
