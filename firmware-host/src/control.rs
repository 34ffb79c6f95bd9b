//! The control socket: a Unix socket with a JSON object on each line, `docs/spec/control.md`.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bedside::{Modality, Prompt};
use bedside_live::Stop;
use clap::Subcommand;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::failure::Failure;

/// Largest request, its line feed included.
const MAX_REQUEST: u64 = 16 * 1024;
/// Most clients at once.
const MAX_CLIENTS: usize = 8;
/// A client that says nothing, or takes nothing, for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time in which the daemon answers: a snapshot may take a while.
const ANSWER: Duration = Duration::from_secs(10);
/// Time between two looks at whether to end.
const NAP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What a program or a person may ask.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Say how the session is
    Status,
    /// Say what runs
    Version,
    /// Say which prompts are asked, or ask for others
    Prompts {
        /// Objects to find from now on; without any, nothing changes
        #[serde(default)]
        set: Vec<String>,
        /// Kind of imaging, where a prompt alone may mean several objects
        #[arg(long)]
        #[serde(default)]
        modality: Option<Modality>,
        /// Part of the body, where a prompt alone may mean several objects
        #[arg(long)]
        #[serde(default)]
        site: Option<String>,
    },
    /// Ask for the next of the configured lists of prompts, as the pedal does
    Next,
    /// Ask for the list before
    Previous,
    /// Hold the picture as it is painted
    Freeze,
    /// Go on with live video
    Unfreeze,
    /// Keep the picture that is shown, with its findings
    Snapshot,
    /// Begin with another patient: what was known of the one before is forgotten
    Patient,
}

/// The socket, with nobody served yet.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Take a path, that of a daemon which has ended included.
    pub(crate) fn bind(path: &Path, mode: u32) -> Result<Self, Failure> {
        let failed = |cause: &dyn std::fmt::Display, hint: &str| {
            Failure::new(format!("control.socket: {cause}; hint: {hint}"))
        };
        let there = fs::symlink_metadata(path);
        if there.is_ok_and(|there| there.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(failed(
                    &"another daemon serves this socket",
                    "end it, or name another socket",
                ));
            }
            let hint = "remove it, or name another one";
            fs::remove_file(path).map_err(|e| failed(&e, hint))?;
        }
        let hint = "see that its folder is there, and that this user may write to it";
        // Files are this user's alone until here (umask), so nobody came in before this mode.
        let listener = UnixListener::bind(path).map_err(|e| failed(&e, hint))?;
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(path, permissions).map_err(|e| failed(&e, hint))?;
        listener
            .set_nonblocking(true)
            .map_err(|e| failed(&e, hint))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serve until `stop` says so.
    pub(crate) fn serve(self, desk: Arc<Desk>, stop: Stop) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name("bedside-control".to_owned())
            .spawn(move || self.accept(&desk, &stop))
    }

    fn accept(&self, desk: &Arc<Desk>, stop: &Stop) {
        let clients = Arc::new(AtomicUsize::new(0));
        while !stop.is_stopped() {
            let _ = poll(
                &mut [PollFd::new(&self.listener, PollFlags::IN)],
                Some(&NAP),
            );
            let Ok((stream, _)) = self.listener.accept() else {
                continue;
            };
            let place = Place::take(&clients);
            let desk = desk.clone();
            let thread = thread::Builder::new().name("bedside-client".to_owned());
            // Where the system gives no thread, the client's connection is closed.
            let _ = thread.spawn(move || {
                let _ = serve(&stream, &desk, place.as_ref());
            });
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// One of the places for clients.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(clients.clone());
        (clients.fetch_add(1, Ordering::AcqRel) < MAX_CLIENTS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(stream: &UnixStream, desk: &Desk, place: Option<&Place>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if place.is_none() {
        let busy = format!("{MAX_CLIENTS} clients are served already; hint: end one of them");
        return send(stream, &json!({ "error": busy }));
    }
    let mut requests = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        requests
            .by_ref()
            .take(MAX_REQUEST)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let long = format!("a request of more than {MAX_REQUEST} bytes, or cut short");
            return send(stream, &json!({ "error": long }));
        }
        send(stream, &reply(&line, |request| answer(desk, request)))?;
    }
}

fn send(mut stream: &UnixStream, reply: &Value) -> io::Result<()> {
    stream.write_all(format!("{reply}\n").as_bytes())
}

/// What a line gets: `{"ok": ...}` or `{"error": "..."}`.
fn reply(line: &[u8], answer: impl FnOnce(Request) -> Result<Value, String>) -> Value {
    let request = serde_json::from_slice(line).map_err(|e| format!("not a request: {e}"));
    match request.and_then(answer) {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error }),
    }
}

fn answer(desk: &Desk, request: Request) -> Result<Value, String> {
    let control = &desk.control;
    match request {
        Request::Status => {
            return Ok(json!({
                "session": desk.status(),
                "frozen": control.is_frozen(),
                "link": desk.line(),
            }));
        }
        Request::Version => {
            return Ok(
                json!({ "session": desk.opening, "link_protocol": bedside_link::NEWEST_PROTOCOL }),
            );
        }
        Request::Prompts {
            set,
            modality,
            site,
        } => {
            let prompt = |text| Prompt {
                text,
                modality,
                site: site.clone(),
            };
            let prompts: Vec<Prompt> = set.into_iter().map(prompt).collect();
            if !prompts.is_empty() {
                control.set_prompts(&prompts).map_err(|e| e.to_string())?;
            }
        }
        Request::Next => desk.turn(true).map_err(|e| e.to_string())?,
        Request::Previous => desk.turn(false).map_err(|e| e.to_string())?,
        Request::Freeze => control.freeze(true),
        Request::Unfreeze => control.freeze(false),
        Request::Snapshot => return Ok(json!({ "snapshot": desk.snapshots.take()? })),
        Request::Patient => control.next_patient(),
    }
    Ok(json!({ "prompts": control.requested().1, "frozen": control.is_frozen() }))
}

/// Ask a daemon, as `bedsided ctl` does; what it answers.
pub(crate) fn ask(path: &Path, request: &Request) -> Result<Value, Failure> {
    let failed = |cause: &dyn std::fmt::Display| {
        let hint =
            "see that bedsided runs (systemctl status bedsided), and that you are in its group";
        Failure::new(format!("{}: {cause}; hint: {hint}", path.display()))
    };
    let mut stream = UnixStream::connect(path).map_err(|e| failed(&e))?;
    stream
        .set_read_timeout(Some(ANSWER))
        .map_err(|e| failed(&e))?;
    let line = serde_json::to_string(request).map_err(|e| failed(&e))?;
    stream
        .write_all(format!("{line}\n").as_bytes())
        .map_err(|e| failed(&e))?;
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .map_err(|e| failed(&e))?;
    let answer: Value = serde_json::from_str(&answer).map_err(|e| failed(&e))?;
    match (
        answer.get("ok"),
        answer.get("error").and_then(Value::as_str),
    ) {
        (Some(value), None) => Ok(value.clone()),
        (_, why) => Err(Failure::new(why.unwrap_or("an answer that says nothing"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Option<Request> {
        serde_json::from_str(line).ok()
    }

    #[test]
    fn requests_are_as_the_document_has_them() {
        let document = include_str!("../../docs/spec/control.md");
        let lines = document
            .lines()
            .filter(|line| line.starts_with("{\"command\""));
        let requests: Vec<Request> = lines.map(|line| parsed(line).unwrap()).collect();
        assert_eq!(requests.len(), 10);
        for request in requests {
            let line = serde_json::to_string(&request).unwrap();
            assert_eq!(parsed(&line), Some(request));
        }
        assert_eq!(parsed("{\"command\": \"reboot\"}"), None);
        assert_eq!(parsed("{\"command\": \"prompts\", \"sett\": []}"), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_gets_one_line(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let reply = reply(&line, |_| Ok(Value::Null)).to_string();
            let one = reply.starts_with('{') && !reply.contains('\n');
            prop_assert!(one, "{}", reply);
        }
    }
}
