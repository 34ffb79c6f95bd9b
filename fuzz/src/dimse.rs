//! What comes over a DICOM association, behind the library that reads its packets.

use std::cell::{Cell, RefCell};

use bedside_dicom_node::command::{Command, STORE};
use bedside_dicom_node::{Context, Limits, Name, Piece, Queue, Receiver, Stage};

use crate::{bounded, one_line, scratch};

/// Most bytes that are allocated for an input of at most 64 KiB.
const MOST: u64 = 4 << 20;

/// The bytes as a command; and as pieces of commands and objects, each behind two bytes that tell its
/// presentation context, what it is of, whether it is the last, and its length. An object that is
/// acknowledged is in the queue, and no other.
pub fn dimse(data: &[u8]) {
    if let Some(command) = Command::parse(data) {
        assert_eq!(Command::parse(&command.to_bytes()), Some(command));
    }
    let folder = scratch::folder().join("queue");
    let _ = std::fs::remove_dir_all(&folder);
    let queue = Queue::open(&folder).expect("a queue");
    let limits = Limits {
        keep_free_mib: 0,
        ..Limits::default()
    };
    let contexts = [("1.2.840.10008.1.1", 1), ("1.2.840.10008.5.1.4.1.1.6.1", 3)];
    let contexts = contexts.map(|(class, id)| Context {
        id,
        class: class.to_owned(),
        syntax: "1.2.840.10008.1.2.1".to_owned(),
    });
    let (arrived, told) = (Cell::new(0), RefCell::new(Vec::new()));
    bounded(MOST, || {
        let log = |line: &str| told.borrow_mut().push(line.to_owned());
        let count = || arrived.set(arrived.get() + 1);
        let mut receiver = Receiver::new(&queue, &limits, contexts.into(), &log, &count);
        let mut stored = Vec::new();
        let mut rest = data;
        while let [what, len, behind @ ..] = rest {
            let len = usize::from(*len).min(behind.len());
            let (bytes, after) = behind.split_at(len);
            rest = after;
            let piece = Piece {
                context: what >> 2,
                command: what & 1 != 0,
                last: what & 2 != 0,
                bytes,
            };
            match receiver.take(piece) {
                Ok(None) => {}
                Ok(Some(reply)) => {
                    let command = reply.command;
                    let bytes = command.to_bytes();
                    assert_eq!(Command::parse(&bytes).as_ref(), Some(&command));
                    if command.field & 0x7fff == STORE && command.status == Some(0) {
                        stored.extend(command.instance);
                    }
                }
                Err(violation) => {
                    one_line(&violation);
                    break;
                }
            }
        }
        let mut names: Vec<_> = stored.iter().map(|uid| Name::of(uid)).collect();
        names.sort();
        names.dedup();
        assert_eq!(queue.list(Stage::Received).expect("a queue"), names);
        assert_eq!(arrived.get(), names.len());
        told.borrow().iter().for_each(one_line);
    });
}
