//! OpenIGTLink in `bedside live`; without the cargo feature `igtl`, an error that says so.

#[cfg(not(feature = "igtl"))]
mod disabled;
#[cfg(feature = "igtl")]
mod enabled;

#[cfg(not(feature = "igtl"))]
pub(crate) use disabled::{Answers, Peer};
#[cfg(feature = "igtl")]
pub(crate) use enabled::{Answers, Peer};
