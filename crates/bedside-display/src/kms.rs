//! A display by way of the kernel's mode setting (KMS): plain memory that the CPU paints ("dumb buffers"),
//! and page flips.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use bedside_map::DeviceMemory;
use bedside_video::sink::{SinkError, SinkErrorKind};
use drm_ffi::mode::{self, dumbbuffer};
use drm_ffi::{
    DRM_EVENT_FLIP_COMPLETE, DRM_MODE_PAGE_FLIP_EVENT, DRM_MODE_TYPE_PREFERRED, drm_mode_modeinfo,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::connector::Connector;
use crate::screen::{BUFFERS, Pixels, Screen};

/// The kernel's word for a connector with a display.
const CONNECTED: u32 = 1;
/// Connectors and scan-outs that a card may have. Room for them is made before they are asked for, as
/// more may come up in between.
const ROOM: usize = 64;

fn away(what: impl fmt::Display, hint: &str) -> SinkError {
    SinkError::new(SinkErrorKind::Away, format!("{what}; hint: {hint}"))
}

/// Why the system refused, and what helps.
fn refused(error: &io::Error) -> SinkError {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => away(
            "another program has it, or it is not this user's",
            "end the desktop, and be in the group `video`",
        ),
        Some(Errno::NODEV | Errno::NXIO | Errno::NOENT) => away(
            "is gone",
            "plug it in again, it is used as soon as it is there",
        ),
        _ => away(error, "see what the kernel says of it: journalctl --dmesg"),
    }
}

/// The first card that has such a display.
pub(crate) fn open(wanted: &Connector) -> Result<Box<dyn Screen>, SinkError> {
    let mut why = None;
    for path in cards() {
        match Kms::open(&path, *wanted) {
            Ok(Some(kms)) => return Ok(Box::new(kms)),
            Ok(None) => {}
            Err(error) => why = Some(refused(&error)),
        }
    }
    let nothing = match *wanted {
        Connector::ANY => "nothing is plugged in".to_owned(),
        named => format!("nothing is plugged in at {named}"),
    };
    let hint = "it is used as soon as it is there; `ls /sys/class/drm` names the connectors";
    Err(why.unwrap_or_else(|| away(nothing, hint)))
}

/// Cards by number; what only computes is among them, and says so when it is asked.
fn cards() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    let card = |name: &str| name.strip_prefix("card")?.parse::<u32>().ok();
    let mut cards: Vec<_> = entries
        .filter_map(|entry| Some((card(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    cards.sort_unstable();
    cards.into_iter().map(|(_, path)| path).collect()
}

struct Kms {
    /// Closing it gives everything else back.
    card: File,
    output: Output,
    buffers: [Buffer; BUFFERS],
}

/// The way from memory to a display.
struct Output {
    connector: u32,
    crtc: u32,
    mode: drm_mode_modeinfo,
}

struct Buffer {
    framebuffer: u32,
    memory: DeviceMemory,
    stride: usize,
}

impl Kms {
    /// `None` where the card has no such display.
    fn open(path: &PathBuf, wanted: Connector) -> io::Result<Option<Self>> {
        // Whoever opens it first and has it open may set modes.
        let card = File::options().read(true).write(true).open(path)?;
        let output = match Output::find(&card, wanted) {
            // It sets no modes.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
                return Ok(None);
            }
            found => found?,
        };
        let Some(output) = output else {
            return Ok(None);
        };
        let (width, height) = output.size();
        let buffer = || Buffer::new(&card, width, height);
        let buffers = [buffer()?, buffer()?, buffer()?];
        let [first, ..] = &buffers;
        let (connectors, mode) = ([output.connector], Some(output.mode));
        mode::set_crtc(
            card.as_fd(),
            output.crtc,
            first.framebuffer,
            0,
            0,
            &connectors,
            mode,
        )?;
        Ok(Some(Self {
            card,
            output,
            buffers,
        }))
    }
}

impl Output {
    fn find(card: &File, wanted: Connector) -> io::Result<Option<Self>> {
        let fd = card.as_fd();
        let (mut crtcs, mut connectors) = (Vec::with_capacity(ROOM), Vec::with_capacity(ROOM));
        mode::get_resources(fd, None, Some(&mut crtcs), Some(&mut connectors), None)?;
        for connector in connectors {
            let (mut modes, mut encoders) = (Vec::new(), Vec::new());
            let (some_modes, some_encoders) = (Some(&mut modes), Some(&mut encoders));
            let asked =
                mode::get_connector(fd, connector, None, None, some_modes, some_encoders, true);
            // One that went away meanwhile.
            let Ok(info) = asked else { continue };
            let named = wanted.allows(info.connector_type, info.connector_type_id);
            if !named || info.connection != CONNECTED {
                continue;
            }
            let (mode, crtc) = (
                best(&modes),
                free_crtc(card, info.encoder_id, &encoders, &crtcs),
            );
            if let (Some(mode), Some(crtc)) = (mode, crtc) {
                return Ok(Some(Self {
                    connector,
                    crtc,
                    mode,
                }));
            }
        }
        Ok(None)
    }

    fn size(&self) -> (u32, u32) {
        (self.mode.hdisplay.into(), self.mode.vdisplay.into())
    }
}

/// The display's own mode.
fn best(modes: &[drm_mode_modeinfo]) -> Option<drm_mode_modeinfo> {
    let own = |mode: &&drm_mode_modeinfo| mode.type_ & DRM_MODE_TYPE_PREFERRED != 0;
    modes.iter().find(own).or(modes.first()).copied()
}

/// The scan-out that serves the connector now; else one that serves nothing, or any that can.
fn free_crtc(card: &File, now: u32, encoders: &[u32], crtcs: &[u32]) -> Option<u32> {
    let encoder = |id| mode::get_encoder(card.as_fd(), id).ok();
    let serving = Some(now).filter(|now| *now > 0).and_then(encoder);
    if let Some(serving) = serving.filter(|encoder| encoder.crtc_id > 0) {
        return Some(serving.crtc_id);
    }
    let able = encoders.iter().filter_map(|id| encoder(*id));
    let able = able.fold(0, |able, encoder| able | encoder.possible_crtcs);
    let able = || {
        (0_u32..)
            .zip(crtcs)
            .filter(move |(bit, _)| able.checked_shr(*bit).unwrap_or(0) & 1 == 1)
    };
    let idle =
        |crtc: &u32| mode::get_crtc(card.as_fd(), *crtc).is_ok_and(|crtc| crtc.mode_valid == 0);
    let mut idle = able().filter(|(_, crtc)| idle(crtc));
    idle.next().or(able().next()).map(|(_, crtc)| *crtc)
}

impl Buffer {
    fn new(card: &File, width: u32, height: u32) -> io::Result<Self> {
        let fd = card.as_fd();
        let dumb = dumbbuffer::create(fd, width, height, 32, 0)?;
        let added = mode::add_fb(fd, width, height, dumb.pitch, 32, 24, dumb.handle)?;
        let offset = dumbbuffer::map(fd, dumb.handle, 0, 0)?.offset;
        let length = usize::try_from(dumb.size).map_err(io::Error::other)?;
        Ok(Self {
            framebuffer: added.fb_id,
            memory: DeviceMemory::of(card, offset, length)?,
            stride: dumb.pitch as usize,
        })
    }
}

impl Screen for Kms {
    fn size(&self) -> (u32, u32) {
        self.output.size()
    }

    fn look(&mut self) -> Result<(), SinkError> {
        let (fd, connector) = (self.card.as_fd(), self.output.connector);
        // What the kernel knows: to ask the display itself takes long.
        let asked = mode::get_connector(fd, connector, None, None, None, None, false);
        match asked.map_err(|error| refused(&error))?.connection {
            CONNECTED => Ok(()),
            _ => Err(refused(&Errno::NODEV.into())),
        }
    }

    fn pixels(&mut self, buffer: usize) -> Pixels<'_> {
        match self.buffers.get_mut(buffer) {
            Some(buffer) => Pixels {
                bytes: &mut buffer.memory,
                stride: buffer.stride,
            },
            None => Pixels {
                bytes: &mut [],
                stride: 0,
            },
        }
    }

    fn flip(&mut self, buffer: usize) -> Result<(), SinkError> {
        let Some(buffer) = self.buffers.get(buffer) else {
            return Ok(());
        };
        let (fd, crtc) = (self.card.as_fd(), self.output.crtc);
        mode::page_flip(fd, crtc, buffer.framebuffer, DRM_MODE_PAGE_FLIP_EVENT, 0)
            .map_err(|error| refused(&error))
    }

    fn settle(&mut self, patience: Duration) -> Result<(), SinkError> {
        let patience = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        loop {
            let mut ready = [PollFd::new(&self.card, PollFlags::IN)];
            match poll(&mut ready, Some(&patience)) {
                Ok(0) => return Err(away("does not refresh", "switch it off and on again")),
                Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(refused(&error.into())),
            }
            let mut events = [0; 1024];
            let length = self.card.read(&mut events).map_err(|e| refused(&e))?;
            if has_flipped(events.get(..length).unwrap_or_default()) {
                return Ok(());
            }
        }
    }
}

/// Whether the end of a flip is among the kernel's events, each of which begins with its kind and length.
fn has_flipped(mut events: &[u8]) -> bool {
    while let Some((kind, rest)) = events.split_first_chunk::<4>()
        && let Some((length, _)) = rest.split_first_chunk::<4>()
    {
        if u32::from_ne_bytes(*kind) == DRM_EVENT_FLIP_COMPLETE {
            return true;
        }
        let length = u32::from_ne_bytes(*length) as usize;
        events = events.get(length.max(8)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event of that kind, with so many bytes behind its head.
    fn event(kind: u32, more: usize) -> Vec<u8> {
        let length = u32::try_from(8 + more).unwrap();
        let head = [kind.to_ne_bytes(), length.to_ne_bytes()];
        [head.concat(), vec![7; more]].concat()
    }

    #[test]
    fn the_end_of_a_flip_is_found_among_other_events() {
        let flip = event(DRM_EVENT_FLIP_COMPLETE, 24);
        let other = event(1, 24);
        assert!(has_flipped(&flip));
        assert!(has_flipped(&[other.clone(), flip.clone()].concat()));
        assert!(!has_flipped(&[other.clone(), other.clone()].concat()));
        // Damaged lengths end the search.
        for length in [0_u32, 7, 1000, u32::MAX] {
            let mut damaged = other.clone();
            damaged[4..8].copy_from_slice(&length.to_ne_bytes());
            has_flipped(&[damaged, flip.clone()].concat());
        }
        for end in 0..8 {
            assert!(!has_flipped(&flip[..end]));
        }
    }

    #[test]
    fn the_displays_own_mode_is_taken_and_else_the_first() {
        let mode = |width, type_| drm_mode_modeinfo {
            hdisplay: width,
            type_,
            ..drm_mode_modeinfo::default()
        };
        let width = |modes: &[drm_mode_modeinfo]| best(modes).map(|mode| mode.hdisplay);
        let (plain, own) = (mode(1024, 0x40), mode(1920, 0x40 | DRM_MODE_TYPE_PREFERRED));
        assert_eq!(width(&[plain, own]), Some(1920));
        assert_eq!(width(&[plain, mode(640, 0)]), Some(1024));
        assert_eq!(width(&[]), None);
    }

    #[test]
    fn errors_say_what_helps() {
        let said = |errno: Errno| refused(&errno.into()).to_string();
        assert!(said(Errno::ACCESS).contains("end the desktop"));
        assert!(said(Errno::NODEV).contains("plug it in again"));
        assert!(said(Errno::NOMEM).contains("journalctl"));
        // No machine has this one.
        let Err(error) = open(&"USB-4000000000".parse().unwrap()) else {
            panic!("there is no such display");
        };
        assert_eq!(error.kind(), SinkErrorKind::Away);
    }
}
