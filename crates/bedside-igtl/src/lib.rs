//! OpenIGTLink, the protocol of 3D Slicer and PLUS: their pictures become frames, and what was found
//! on these goes back as label maps.
//!
//! Read are IMAGE messages of one slice of bytes, gray or RGB, and STRING; written are IMAGE, STATUS
//! and nothing else. Messages of other types are passed over. Headers of version 1 and 2 are read, the
//! latter with extended header and metadata, and a peer is answered in the version that it writes.
//! Layouts: <http://openigtlink.org/protocols/v2_header.html>.
//!
//! * [`Endpoint`] is where the peer is: an address to connect to, or one to listen on
//! * [`link`] gives both ends of a connection to it, which is made anew whenever it is lost:
//!   [`Pictures`] opens a [`bedside_video::Source`], a [`Sender`] sends and has the peer's texts
//! * [`Inbox`], [`image`] and [`message`] are the codec, which needs no connection

mod endpoint;
mod error;
pub mod image;
mod inbox;
mod link;
pub mod message;
mod pictures;

pub use endpoint::Endpoint;
pub use error::{Error, ErrorKind};
pub use inbox::Inbox;
pub use link::{LABELS, PROMPT, Sender, Sent, link};
pub use pictures::Pictures;
