//! Bundles on a device: whose signature they carry, and how one takes the place of another.
//!
//! [`KeyRing`] holds the keys of those who may sign bundles for this device. [`Slots`] keeps two
//! bundles in a folder, of which one is active: an update goes into the other one, is checked and
//! proved there, becomes active in one step, and stays on trial until it is confirmed. Whenever the
//! power goes, the folder has the old bundle or the new one, whole.
//!
//! Nothing here runs a model: whoever installs says how a bundle is proved.

mod disk;
mod error;
mod keys;
mod slots;

pub use error::{ErrorKind, UpdateError};
pub use keys::KeyRing;
pub use slots::{Begun, Policy, Slots, TRIAL_STARTS};
