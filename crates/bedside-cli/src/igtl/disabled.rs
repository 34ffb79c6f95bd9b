//! Without OpenIGTLink.

use std::sync::Arc;

use bedside::{Clock, Frame, Modality};
use bedside_live::{Control, Input, LiveSession};
use bedside_video::Source;

use crate::failure::{Exit, Failure};
use crate::ui::Ui;

/// There is none in this build.
pub(crate) enum Peer {}

/// There are none in this build.
pub(crate) enum Answers {}

impl Peer {
    pub(crate) fn server(_: &str, _: Arc<dyn Clock>) -> Result<Self, Failure> {
        Err(missing())
    }

    pub(crate) fn clients(_: &str, _: Arc<dyn Clock>, _: Ui) -> Result<Self, Failure> {
        Err(missing())
    }

    pub(crate) fn open(&self, _: Ui) -> Result<Box<dyn Source>, Failure> {
        match *self {}
    }

    pub(crate) fn input(&self, _: Box<dyn Source>) -> Input {
        match *self {}
    }

    pub(crate) fn answer(self, _: Arc<Control>, _: Option<Modality>) -> Result<Answers, Failure> {
        match self {}
    }
}

impl Answers {
    pub(crate) fn shown(&mut self, _: &LiveSession, _: Option<&Frame>) {
        match *self {}
    }

    pub(crate) fn finish(self) {
        match self {}
    }
}

fn missing() -> Failure {
    Failure::new(
        Exit::Usage,
        "OpenIGTLink is not in this build; hint: build with `--features igtl`",
    )
}
