//! A model in a process of its own: whatever it does, the video's process is not touched by it.
//!
//! The session's side is [`ProcessLoader`], the model's side [`serve`]. They talk over a socket;
//! nothing is shared.

mod bundle;
mod child;
mod limits;
mod session;
mod wire;

pub use bundle::{model_command, serve_bundle};
pub use child::serve;
pub use limits::forbid_core_dumps;
pub use session::ProcessLoader;
