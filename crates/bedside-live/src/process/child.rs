//! The model's side: it loads, answers what it is asked, and ends when nobody asks any more.

use std::io::{self, Write, stdin};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use bedside::{Finding, Frame, Timestamp};

use super::limits::confine;
use super::wire::{self, Answer, Ask, Limit, Numbered, Picture};
use crate::control::MAX_PROMPTS;
use crate::error::{Error, ErrorKind};
use crate::model::Model;
use crate::panics::withhold_panics;

/// Serve a model to the session that began this process with a
/// [`ProcessLoader`](crate::ProcessLoader), until that one ends or wants no more answers.
///
/// Call it at the start of the process, before there are threads: it limits what the process may
/// do. `memory` is the most that it may ask of the system, in bytes; what asks for more is ended.
/// Standard input carries the conversation; standard output is free for whatever libraries print.
///
/// # Errors
/// [`ErrorKind::Config`] when the process was begun by something else, or the system refuses a
/// limit. Failures of the model go to the session instead.
pub fn serve(
    memory: Option<u64>,
    load: impl FnOnce() -> Result<Box<dyn Model>, Error>,
) -> Result<(), Error> {
    let failed = |what, error, hint| Error::caused(ErrorKind::Config, what, error, hint);
    let socket = stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let asked = "standard input is no session's";
    let mut session = socket
        .and_then(|socket| socket.peer_addr().map(|_| socket))
        .map_err(|e| failed(asked, e, "`bedside live` starts this by itself"))?;
    confine(memory).map_err(|e| failed("limits of the process", e, "run the model in-process"))?;
    // The session tells the last line of standard error.
    withhold_panics(|text| {
        let _ = io::stderr().write_all(text.as_bytes());
    });
    // A session that has gone wants no answer.
    let _ = converse(&mut session, load);
    Ok(())
}

fn converse(
    session: &mut UnixStream,
    load: impl FnOnce() -> Result<Box<dyn Model>, Error>,
) -> io::Result<()> {
    let mut masks = Vec::new();
    let failed =
        |error: Error| Answer::Failed(error.kind(), wire::line(error.to_string().as_bytes()));
    let (model, what) = match load() {
        Ok(model) => (Some(model), Answer::Done),
        Err(error) => (None, failed(error)),
    };
    wire::send(session, &Numbered { number: 0, what }, &[])?;
    let Some(mut model) = model else {
        return Ok(());
    };
    let mut pixels = Vec::new();
    let limit = Limit::new(MAX_PROMPTS, usize::MAX);
    loop {
        let Numbered { number, what } = wire::receive(session, limit, &mut pixels)?;
        masks.clear();
        let answer = match what {
            Ask::Prompts(prompts, side) => model.set_prompts(&prompts, side).map(|()| Answer::Done),
            Ask::Segment(picture, places) => {
                let frame = frame(&picture, std::mem::take(&mut pixels))?;
                let found = find(&mut *model, &frame, places, &mut masks);
                pixels = frame.into_data();
                found.map(Answer::Found)
            }
        };
        let what = answer.unwrap_or_else(failed);
        let message = Numbered { number, what };
        // Masks are no part of a finding where it is sent: they go behind it.
        wire::send(session, &message, &masks)?;
        if let Answer::Found(findings) = message.what {
            model.reuse(findings);
        }
    }
}

fn frame(picture: &Picture, pixels: Vec<u8>) -> io::Result<Frame> {
    let frame = Frame::new(picture.width, picture.height, picture.format, pixels);
    let frame = frame.map_err(|_| wire::invalid("a frame's size is not that of its bytes"))?;
    Ok(frame
        .with_yuv_space(picture.yuv_space)
        .captured_at(Timestamp::from_nanos(picture.captured)))
}

/// The findings, their masks apart.
fn find(
    model: &mut dyn Model,
    frame: &Frame,
    places: Range<usize>,
    masks: &mut Vec<u8>,
) -> Result<Vec<Finding>, Error> {
    let findings = model.segment(frame, places)?;
    let size = Some((frame.width(), frame.height()));
    for finding in &findings {
        let mask = finding.mask.as_ref();
        let of = mask.map(|mask| (mask.width(), mask.height()));
        if of != size.filter(|_| finding.present) {
            let message = "the model gave a mask of another size than the frame's, or none";
            return Err(Error::new(ErrorKind::Model, message));
        }
        if let Some(mask) = mask {
            wire::pack(mask, masks);
        }
    }
    Ok(findings)
}
