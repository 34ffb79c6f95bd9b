//! What was made, sent to the archive.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use bedside_dicom::Object;
use dicom_dictionary_std::uids;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use dicom_ul::pdu::{PDataValue, PDataValueType, PresentationContextResultReason};
use dicom_ul::{ClientAssociation, ClientAssociationOptions, Pdu};

use crate::command::{Command, MAX_COMMAND, RESPONSE, STORE, status};
use crate::config::Archive;

/// SOP classes of what is sent.
const CLASSES: [&str; 2] = [uids::SEGMENTATION_STORAGE, uids::COMPREHENSIVE_SR_STORAGE];

/// Why nothing can be sent now: of no object's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble(pub(crate) String);

/// What the archive says to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stored,
    Refused(String),
}

/// An association with the archive.
pub(crate) struct Sender {
    association: ClientAssociation<TcpStream>,
    /// Number of the last request.
    id: u16,
}

impl Sender {
    /// Ask the archive for an association.
    pub(crate) fn open(archive: &Archive, ae: &str) -> Result<Self, Trouble> {
        let silence = Duration::from_secs(archive.timeout_s);
        let mut options = ClientAssociationOptions::new()
            .calling_ae_title(ae)
            .called_ae_title(archive.ae.as_str())
            .connection_timeout(silence)
            .read_timeout(silence)
            .write_timeout(silence);
        for class in CLASSES {
            options = options.with_abstract_syntax(class);
        }
        let association = options.establish(archive.address.as_str());
        let mut association = association.map_err(|error| Trouble(told(&error).to_owned()))?;
        // A request is two small pieces, and the second is not to wait for word of the first.
        let _ = association.inner_stream().set_nodelay(true);
        Ok(Self { association, id: 0 })
    }

    /// Offer an object.
    pub(crate) fn send(&mut self, path: &Path) -> Result<Verdict, Trouble> {
        let object = match dicom_object::open_file(path) {
            Ok(object) => object,
            Err(_) => {
                return Ok(Verdict::Refused(
                    "what was made of it can't be read".to_owned(),
                ));
            }
        };
        let meta = object.meta();
        let (class, instance) = (
            meta.media_storage_sop_class_uid(),
            meta.media_storage_sop_instance_uid(),
        );
        let plain = |uid: &str| uid.trim_end_matches('\0').to_owned();
        let (class, instance) = (plain(class), plain(instance));
        let contexts = self.association.presentation_contexts();
        let agreed = contexts.iter().find(|context| {
            context.abstract_syntax == class
                && context.reason == PresentationContextResultReason::Acceptance
        });
        let Some(agreed) = agreed else {
            return Ok(Verdict::Refused(format!(
                "the archive takes no objects of class {class}"
            )));
        };
        let context = agreed.id;
        let Some(bytes) = encoded(&object, &agreed.transfer_syntax) else {
            return Ok(Verdict::Refused(
                "it can't be written in the archive's transfer syntax".to_owned(),
            ));
        };
        self.id = self.id.wrapping_add(1);
        let request = Command {
            field: STORE,
            id: self.id,
            class: Some(class),
            instance: Some(instance),
            data_set: true,
            ..Command::default()
        };
        let lost = |_| Trouble("the archive closed the connection".to_owned());
        let request = PDataValue {
            presentation_context_id: context,
            value_type: PDataValueType::Command,
            is_last: true,
            data: request.to_bytes(),
        };
        let request = Pdu::PData {
            data: vec![request],
        };
        self.association
            .send(&request)
            .map_err(|e| Trouble(told(&e).to_owned()))?;
        let mut data = self.association.send_pdata(context);
        data.write_all(&bytes).map_err(lost)?;
        data.finish().map_err(lost)?;
        self.verdict()
    }

    fn verdict(&mut self) -> Result<Verdict, Trouble> {
        let strange = || Trouble("the archive answers what is no answer".to_owned());
        let mut bytes = Vec::new();
        let response = loop {
            let pdu = self
                .association
                .receive()
                .map_err(|e| Trouble(told(&e).to_owned()))?;
            let Pdu::PData { data } = pdu else {
                return Err(Trouble("the archive ended the association".to_owned()));
            };
            let mut whole = false;
            for piece in data {
                bytes.extend(piece.data);
                whole |= piece.is_last;
            }
            if bytes.len() > MAX_COMMAND {
                return Err(strange());
            }
            if whole {
                break Command::parse(&bytes).ok_or_else(strange)?;
            }
        };
        let own = response.field == STORE | RESPONSE && response.id == self.id;
        let status = response.status.filter(|_| own).ok_or_else(strange)?;
        if status::stored(status) {
            Ok(Verdict::Stored)
        } else if status::out_of_resources(status) {
            Err(Trouble("the archive is out of resources".to_owned()))
        } else {
            Ok(Verdict::Refused(format!(
                "the archive refuses it with status {status:04X}H"
            )))
        }
    }

    /// End in order; what was sent is stored all the same.
    pub(crate) fn close(self) {
        let _ = self.association.release();
    }
}

/// The data set in another transfer syntax than its file may have.
fn encoded(object: &Object, syntax: &str) -> Option<Vec<u8>> {
    let syntax = TransferSyntaxRegistry.get(syntax)?;
    let mut bytes = Vec::new();
    object.write_dataset_with_ts(&mut bytes, syntax).ok()?;
    Some(bytes)
}

/// What went wrong, in words of our own: the library's may quote what came over the network.
pub(crate) fn told(error: &dicom_ul::association::Error) -> &'static str {
    use dicom_ul::association::Error;
    match error {
        Error::ToAddress { .. } => "its host is not known",
        Error::Connect { .. } => "it can't be reached",
        Error::Rejected { .. } => "the association was refused",
        Error::Aborted { .. } => "the association was aborted",
        Error::NoAcceptedPresentationContexts { .. } => "none of the classes is taken",
        Error::ConnectionClosed { .. } => "the connection was closed",
        Error::ReceivePdu { .. } => "nothing came for too long, or what is no DICOM",
        Error::UnexpectedPdu { .. } | Error::UnknownPdu { .. } => {
            "it does not keep to the protocol"
        }
        _ => "the connection broke off",
    }
}
