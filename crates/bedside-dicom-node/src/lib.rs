//! A DICOM node: objects received over the network, kept on the disk until they are worked on, and
//! what comes of them sent to an archive.
//!
//! [`run`] listens, works and sends; what is made of an object is the caller's to say. An object is
//! a folder of the [`Queue`] that moves from place to place by one rename, so that it is in exactly
//! one of them whenever the program or the machine ends: what was acknowledged is never lost.
//!
//! * [`Config`]: one TOML file
//! * [`Receiver`]: what an association does, apart from the network; [`command`]: its commands
//! * [`Queue`]: what waits, and what was put aside

pub mod command;
mod config;
mod error;
mod node;
mod queue;
mod receive;
mod send;

pub use config::{Archive, Config, Limits, Peer, Rule};
pub use error::{Error, ErrorKind};
pub use node::{Made, run};
pub use queue::{Incoming, Name, Queue, Stage, Status};
pub use receive::{Context, Piece, Receiver, Reply, Violation};
