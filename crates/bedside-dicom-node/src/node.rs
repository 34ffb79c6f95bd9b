//! The node: listening, working and sending, each on its own, the disk between them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use bedside_dicom::H264_SYNTAXES;
use dicom_dictionary_std::uids;
use dicom_ul::association::server::AccessControl;
use dicom_ul::pdu::{
    AssociationRJ, AssociationRJResult, AssociationRJServiceProviderPresentationReason,
    AssociationRJServiceUserReason, AssociationRJSource, PDataValue, PDataValueType,
    PresentationContextNegotiated, PresentationContextResultReason, UserIdentity,
};
use dicom_ul::{Pdu, ServerAssociation, ServerAssociationOptions};

use crate::config::{Config, Peer};
use crate::error::{Error, ErrorKind};
use crate::queue::{Name, Queue, Stage};
use crate::receive::{CLASSES, Context, Piece, Receiver, SYNTAXES};
use crate::send::{Sender, Trouble, Verdict, told};

/// What comes of a received object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// DICOM files, to be sent to the archive in this order.
    Objects(Vec<Vec<u8>>),
    /// Nothing is wanted of it.
    Nothing,
}

/// Folders are looked at that often without a cause, too: a person may have moved something.
const LOOK: Duration = Duration::from_secs(5);
/// An object at which the program ended that often is put aside: more than power cuts would explain.
const MAX_TRIES: u32 = 10;
/// First pause after a failure of the archive.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// So many objects in a row with which the archive breaks off are the archive's fault.
const MAX_BROKEN: usize = 3;
/// Time that whoever is turned away has to listen to it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Wakes a thread that waits for work.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    waiting: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.waiting.notify_one();
    }

    /// Until it has rung since the last time, at most so long.
    fn wait(&self, most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.waiting.wait_timeout_while(rung, most, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// What the threads share.
struct Node<'a> {
    config: &'a Config,
    queue: Queue,
    received: Bell,
    made: Bell,
    log: &'a (dyn Fn(&str) + Sync),
}

/// Listen, work and send, for as long as the program runs; it may end at any moment.
///
/// `work` is called on this thread for each object received: it makes objects of the file, or says
/// why it can't, in words that tell nothing of the patient. `log` is told what happens, one line at
/// a time, with nothing of the patient either.
///
/// # Errors
/// [`ErrorKind::Folder`] and [`ErrorKind::Listen`] where there can be no node.
pub fn run(
    config: &Config,
    log: &(dyn Fn(&str) + Sync),
    work: &mut dyn FnMut(&Path) -> Result<Made, String>,
) -> Result<Infallible, Error> {
    let queue = Queue::open(&config.folder)?;
    let listener = TcpListener::bind(config.listen).map_err(|e| {
        let message = format!(
            "listen: {}: {e}; hint: another address or port",
            config.listen
        );
        Error::new(ErrorKind::Listen, message)
    })?;
    let address = listener.local_addr().unwrap_or(config.listen);
    log(&format!("listening at {address} as {}", config.ae));
    let node = Node {
        config,
        queue,
        received: Bell::default(),
        made: Bell::default(),
        log,
    };
    thread::scope(|scope| {
        scope.spawn(|| node.listen(&listener, scope));
        scope.spawn(|| node.send());
        node.work(work)
    })
}

impl Node<'_> {
    fn listen<'scope>(&'scope self, listener: &TcpListener, scope: &'scope Scope<'scope, '_>) {
        let places = Arc::new(());
        loop {
            let (stream, peer) = match listener.accept() {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) => {
                    (self.log)(&format!("no connection could be taken: {error}"));
                    thread::sleep(FAREWELL);
                    continue;
                }
            };
            let peers = &self.config.peers;
            if !peers.is_empty() && !peers.iter().any(|known| known.host == peer) {
                (self.log)(&format!("turned {peer} away: it is not among the peers"));
                continue;
            }
            // This thread holds one itself.
            if Arc::strong_count(&places) > self.config.limits.associations {
                (self.log)(&format!("turned {peer} away: too many associations"));
                let _ = turn_away(stream);
                continue;
            }
            let place = places.clone();
            let begun = thread::Builder::new().spawn_scoped(scope, move || {
                self.serve(stream, peer);
                drop(place);
            });
            if let Err(error) = begun {
                (self.log)(&format!("turned {peer} away: {error}"));
            }
        }
    }

    /// One association, from beginning to end.
    fn serve(&self, stream: TcpStream, peer: IpAddr) {
        let limits = &self.config.limits;
        let access = Access {
            peers: &self.config.peers,
            host: peer,
        };
        let mut options = ServerAssociationOptions::new()
            .ae_access_control(access)
            .ae_title(self.config.ae.as_str())
            .max_pdu_length(limits.pdu_kib << 10)
            .read_timeout(limits.idle())
            .write_timeout(limits.idle())
            .with_abstract_syntax(uids::VERIFICATION);
        for class in CLASSES {
            options = options.with_abstract_syntax(class);
        }
        for syntax in SYNTAXES.into_iter().chain(H264_SYNTAXES) {
            options = options.with_transfer_syntax(syntax);
        }
        let ended = match options.establish(stream) {
            Ok(association) => self.converse(association),
            Err(error) => Err(told(&error).to_owned()),
        };
        if let Err(why) = ended {
            (self.log)(&format!("association with {peer} ended: {why}"));
        }
    }

    fn converse(&self, mut association: ServerAssociation<TcpStream>) -> Result<(), String> {
        let contexts = association.presentation_contexts().iter();
        let contexts = contexts.filter(|c| c.reason == PresentationContextResultReason::Acceptance);
        let contexts = contexts.map(context).collect();
        let arrived = || self.received.ring();
        let log = |line: &str| (self.log)(line);
        let mut receiver =
            Receiver::new(&self.queue, &self.config.limits, contexts, &log, &arrived);
        loop {
            let pdu = association
                .receive()
                .map_err(|error| told(&error).to_owned())?;
            let values = match pdu {
                Pdu::PData { data } => data,
                Pdu::ReleaseRQ => {
                    let released = association.send(&Pdu::ReleaseRP);
                    return released.map_err(|error| told(&error).to_owned());
                }
                Pdu::AbortRQ { .. } => return Err("it was aborted".to_owned()),
                _ => {
                    let _ = association.abort();
                    return Err("it does not keep to the protocol".to_owned());
                }
            };
            for value in &values {
                let piece = Piece {
                    context: value.presentation_context_id,
                    command: value.value_type == PDataValueType::Command,
                    last: value.is_last,
                    bytes: &value.data,
                };
                let reply = match receiver.take(piece) {
                    Ok(None) => continue,
                    Ok(Some(reply)) => reply,
                    Err(violation) => {
                        let _ = association.abort();
                        return Err(format!("it sends {violation}"));
                    }
                };
                let reply = PDataValue {
                    presentation_context_id: reply.context,
                    value_type: PDataValueType::Command,
                    is_last: true,
                    data: reply.command.to_bytes(),
                };
                let sent = association.send(&Pdu::PData { data: vec![reply] });
                sent.map_err(|error| told(&error).to_owned())?;
            }
        }
    }

    fn work(&self, work: &mut dyn FnMut(&Path) -> Result<Made, String>) -> ! {
        loop {
            let worked = self
                .queue
                .list(Stage::Received)
                .and_then(|names| names.iter().try_for_each(|name| self.work_on(name, work)));
            if let Err(error) = worked {
                (self.log)(&format!(
                    "the queue can't be worked on: {error}; it goes on later"
                ));
                thread::sleep(LOOK);
            } else {
                self.received.wait(LOOK);
            }
        }
    }

    /// Only the disk's failures end the round; the object's end in the folder of the dead.
    fn work_on(
        &self,
        name: &Name,
        work: &mut dyn FnMut(&Path) -> Result<Made, String>,
    ) -> io::Result<()> {
        let before = self.queue.begin_work(name)?;
        let made = if before < MAX_TRIES {
            let path = self.queue.image(Stage::Received, name);
            let made = catch_unwind(AssertUnwindSafe(|| work(&path)));
            made.unwrap_or_else(|_| Err("the program failed at it".to_owned()))
        } else {
            Err(format!(
                "the program ended {before} times while it worked on it"
            ))
        };
        self.queue.end_work(name)?;
        match made {
            Ok(Made::Objects(objects)) => {
                self.queue.put(name, &objects)?;
                (self.log)(&format!("worked on {name}"));
                self.made.ring();
            }
            Ok(Made::Nothing) => {
                self.queue.remove(Stage::Received, name)?;
                (self.log)(&format!("left out {name}"));
            }
            Err(reason) => self.put_aside(Stage::Received, name, &reason)?,
        }
        Ok(())
    }

    fn put_aside(&self, stage: Stage, name: &Name, reason: &str) -> io::Result<()> {
        self.queue.bury(stage, name, reason)?;
        (self.log)(&format!("put {name} aside: {reason}"));
        Ok(())
    }

    fn send(&self) {
        let mut refusals = HashMap::new();
        let mut wait = Duration::ZERO;
        let most = Duration::from_secs(self.config.archive.max_wait_s);
        loop {
            let calm = match self.round(&mut refusals) {
                Ok(calm) => calm,
                Err(Trouble(why)) => {
                    (self.log)(&format!("nothing can be sent: {why}; it is tried again"));
                    false
                }
            };
            if calm {
                wait = Duration::ZERO;
                self.made.wait(LOOK);
            } else {
                wait = (wait * 2).clamp(FIRST_WAIT, most);
                thread::sleep(wait);
            }
        }
    }

    /// Offer all that is in the outbox; says whether all of it is gone.
    fn round(&self, refusals: &mut HashMap<Name, u32>) -> Result<bool, Trouble> {
        let names = self.queue.list(Stage::Outbox).map_err(|e| disk(&e))?;
        let mut sender: Option<Sender> = None;
        let (mut stored, mut refused, mut broken) = (false, Vec::new(), Vec::new());
        for name in names {
            let open = match &mut sender {
                Some(open) => open,
                None => sender.insert(Sender::open(&self.config.archive, &self.config.ae)?),
            };
            match self.offer(&name, open) {
                Ok(Verdict::Stored) => {
                    stored = true;
                    refusals.remove(&name);
                    self.queue
                        .remove(Stage::Outbox, &name)
                        .map_err(|e| disk(&e))?;
                    (self.log)(&format!("sent what was made of {name}"));
                }
                Ok(Verdict::Refused(why)) => refused.push((name, why)),
                Err(trouble) => {
                    sender = None;
                    broken.push((name, trouble.0.clone()));
                    if broken.len() == MAX_BROKEN && !stored {
                        return Err(trouble);
                    }
                }
            }
        }
        if let Some(sender) = sender {
            sender.close();
        }
        let calm = refused.is_empty() && broken.is_empty();
        match broken.pop() {
            // The archive's fault, as far as anybody can tell.
            Some((_, why)) if !stored => return Err(Trouble(why)),
            // It took others in the meantime, so that it is these objects.
            last => refused.extend(broken.into_iter().chain(last)),
        }
        for (name, why) in refused {
            let times = refusals.entry(name.clone()).or_default();
            *times += 1;
            if *times < self.config.archive.tries {
                (self.log)(&format!("not taken of {name}: {why}; it is offered again"));
            } else {
                refusals.remove(&name);
                let aside = self.put_aside(Stage::Outbox, &name, &why);
                aside.map_err(|e| disk(&e))?;
            }
        }
        Ok(calm)
    }

    /// All that was made of one object.
    fn offer(&self, name: &Name, sender: &mut Sender) -> Result<Verdict, Trouble> {
        let paths = self.queue.made(name).map_err(|e| disk(&e))?;
        for path in paths {
            let verdict = sender.send(&path)?;
            if verdict != Verdict::Stored {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Stored)
    }
}

fn disk(error: &io::Error) -> Trouble {
    Trouble(format!("the outbox can't be read: {error}"))
}

fn context(agreed: &PresentationContextNegotiated) -> Context {
    Context {
        id: agreed.id,
        class: agreed.abstract_syntax.clone(),
        syntax: agreed
            .transfer_syntax
            .trim_end_matches(['\0', ' '])
            .to_owned(),
    }
}

/// Say that there is no place now, to who is listening.
fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    use AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    let refusal = Pdu::AssociationRJ(AssociationRJ {
        result: AssociationRJResult::Transient,
        source: AssociationRJSource::ServiceProviderPresentation(LocalLimitExceeded),
    });
    let mut bytes = Vec::new();
    dicom_ul::write_pdu(&mut bytes, &refusal).map_err(io::Error::other)?;
    stream.set_write_timeout(Some(FAREWELL))?;
    stream.set_read_timeout(Some(FAREWELL))?;
    stream.write_all(&bytes)?;
    stream.shutdown(Shutdown::Write)?;
    // A connection that is closed before all was read of it takes back what was said last.
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    Ok(())
}

/// Who may open an association: a peer from its own host; without peers, anybody who gets this far.
struct Access<'a> {
    peers: &'a [Peer],
    host: IpAddr,
}

impl AccessControl for Access<'_> {
    fn check_access(
        &self,
        own: &str,
        calling: &str,
        called: &str,
        _: Option<&UserIdentity>,
    ) -> Result<(), AssociationRJServiceUserReason> {
        let known = |peer: &Peer| peer.host == self.host && peer.ae == calling;
        if called != own {
            Err(AssociationRJServiceUserReason::CalledAETitleNotRecognized)
        } else if !self.peers.is_empty() && !self.peers.iter().any(known) {
            Err(AssociationRJServiceUserReason::CallingAETitleNotRecognized)
        } else {
            Ok(())
        }
    }
}
