//! Without the page.

use std::net::SocketAddr;

use bedside_live::Stop;

use super::Shown;
use crate::failure::{Exit, Failure};

/// There is none in this build.
pub(crate) enum Page {}

/// There is none in this build.
pub(crate) enum Serving {}

impl Page {
    /// Refuse, and name the feature.
    pub(crate) fn bind(_: SocketAddr, _: bool) -> Result<Self, Failure> {
        Err(Failure::new(
            Exit::Usage,
            "the preview page is not in this build; hint: build with `--features preview`",
        ))
    }

    pub(crate) fn url(&self) -> String {
        match *self {}
    }

    pub(crate) fn serve(self, _: Shown<'_>, _: Stop) -> Result<Serving, Failure> {
        match self {}
    }
}

impl Serving {
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {}
    }
}
