//! What both ends do alike: agree on a version, number heartbeats, tell which to take.

use crate::packet::{Beat, Hello, NEWEST_PROTOCOL, OLDEST_PROTOCOL, Role, Version};

/// Time between heartbeats, in milliseconds. Whatever changes is sent at once.
pub const HEARTBEAT_MS: u64 = 50;
/// Time between a host's attempts to open a session, in milliseconds.
pub const GREETING_MS: u64 = 100;
/// A line without a sound heartbeat for this many milliseconds is lost.
pub const SILENCE_MS: u64 = 500;

/// One end's view of a session.
#[derive(Debug)]
pub(crate) struct Session {
    id: u16,
    /// The number of the next heartbeat to send.
    next: u16,
    /// The number of the newest heartbeat of the other end.
    newest: Option<u16>,
}

impl Session {
    pub(crate) fn new(id: u16) -> Self {
        Self {
            id,
            next: 0,
            newest: None,
        }
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    /// Number a heartbeat.
    pub(crate) fn beat<T>(&mut self, body: T) -> Beat<T> {
        let number = self.next;
        self.next = number.wrapping_add(1);
        Beat {
            session: self.id,
            number,
            body,
        }
    }

    /// Whether a heartbeat is of this session and newer than those before; if so, how many between
    /// them and it were missed.
    pub(crate) fn accept<T>(&mut self, beat: &Beat<T>) -> Option<u16> {
        let ahead = match self.newest {
            Some(newest) => beat.number.wrapping_sub(newest).wrapping_sub(1),
            None => beat.number,
        };
        // A number just passed is as far ahead as can be.
        if beat.session != self.id || ahead > u16::MAX / 2 {
            return None;
        }
        self.newest = Some(beat.number);
        Some(ahead)
    }
}

/// An end's greeting.
pub(crate) fn hello(role: Role, session: u16, software: Version) -> Hello {
    Hello {
        role,
        oldest: OLDEST_PROTOCOL,
        newest: NEWEST_PROTOCOL,
        session,
        software,
    }
}

/// The newest version that both ends speak, where there is one. Both come to the same answer.
pub(crate) fn common_protocol(other: &Hello) -> Option<u8> {
    let newest = other.newest.min(NEWEST_PROTOCOL);
    (newest >= other.oldest.max(OLDEST_PROTOCOL)).then_some(newest)
}
