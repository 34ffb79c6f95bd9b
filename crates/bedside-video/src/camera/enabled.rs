//! A V4L2 device, by way of the `linuxvideo` crate.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bedside_core::{Clock, Frame, FrameView, Phi, YuvSpace};
use linuxvideo::format::{FrameIntervals, FrameSizes, PixFormat, PixelFormat as FourCc};
use linuxvideo::stream::ReadStream;
use linuxvideo::{BufType, CapabilityFlags, Device, Fract, InputStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::camera::{CameraInfo, Coding, Offer, USUAL, choose};
use crate::jpeg::Decoder;
use crate::{CaptureFormat, Source, SourceError, SourceErrorKind, SourceInfo, size};

/// How long a camera may be silent within one call.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// What is said of the devices that many boards have for their own cameras, and what helps.
const MULTI_PLANAR: (&str, &str) = (
    "is a multi-planar device, which is not read here",
    "pipe it in with GStreamer or ffmpeg, see docs/video.md",
);
/// Time between attempts to open a camera that is gone.
const RETRY: Duration = Duration::from_millis(500);

pub(crate) fn open(
    name: Phi<String>,
    request: CaptureFormat,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let path = name.reveal().clone();
    let (info, running, identity) = start(name, &path, &request)?;
    Ok(Box::new(Camera {
        request,
        identity,
        running: Some(running),
        jpeg: Vec::new(),
        decoder: Decoder::default(),
        info,
        clock,
    }))
}

struct Camera {
    request: CaptureFormat,
    identity: Identity,
    /// `None` while the device is gone.
    running: Option<Running>,
    /// Memory for a compressed frame: the driver gets its own back before it is decoded.
    jpeg: Vec<u8>,
    decoder: Decoder,
    info: SourceInfo,
    clock: Arc<dyn Clock>,
}

/// What stays the same of a camera that is unplugged and comes back as another `/dev/videoN`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    card: String,
    /// Where it is plugged in.
    bus: String,
}

impl Identity {
    fn of(device: &Device) -> io::Result<Self> {
        let capabilities = device.capabilities()?;
        Ok(Self {
            card: capabilities.card().to_owned(),
            bus: capabilities.bus_info().to_owned(),
        })
    }

    /// Where this camera is now, if it is there and sends frames.
    fn find(&self) -> Option<String> {
        let mut paths = numbers().into_iter().map(node);
        paths.find(|path| {
            let device = Device::open(path).ok();
            let same = device.is_some_and(|d| Self::of(&d).is_ok_and(|found| found == *self));
            same && matches!(formats(path), Ok(Some(_)))
        })
    }
}

/// A device that sends.
struct Running {
    stream: ReadStream,
    coding: Coding,
    stride: usize,
}

/// What a dequeued buffer held.
enum Buffer {
    Whole,
    Damaged,
}

impl Camera {
    fn lost(&mut self, error: &io::Error) -> SourceError {
        self.running = None;
        let message = format!(
            "{}: {error}; hint: plug the camera in again, it is opened as soon as it is there",
            self.info.name
        );
        SourceError::new(SourceErrorKind::Lost, message)
    }

    /// Open the device anew.
    fn restart(&mut self) -> Result<(), SourceError> {
        std::thread::sleep(RETRY);
        let path = self.identity.find();
        let path = path.as_ref().unwrap_or_else(|| self.info.name.reveal());
        let started = start(self.info.name.clone(), path, &self.request);
        let (info, running, identity) =
            started.map_err(|error| SourceError::new(SourceErrorKind::Lost, error.to_string()))?;
        if info != self.info || identity != self.identity {
            return Err(SourceError::fatal(format!(
                "{}: came back as another camera, or with other settings; hint: start again",
                self.info.name
            )));
        }
        self.running = Some(running);
        Ok(())
    }
}

impl Source for Camera {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut buffer: Vec<u8>) -> Result<Option<Frame>, SourceError> {
        if self.running.is_none() {
            self.restart()?;
        }
        let (jpeg, info) = (&mut self.jpeg, &self.info);
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        let mut ready = [PollFd::new(&running.stream, PollFlags::IN)];
        match poll(&mut ready, Some(&PATIENCE)) {
            Ok(0) | Err(Errno::INTR) => {
                return Err(SourceError::io(&info.name, &io::ErrorKind::TimedOut.into()));
            }
            Ok(_) => {}
            Err(error) => return Err(self.lost(&error.into())),
        }
        // The driver's own time of capture is not handed on: this is when the frame was ready.
        let now = self.clock.now();
        let (coding, stride) = (running.coding, running.stride);
        let filled = running.stream.dequeue(|view| {
            let whole = if coding == Coding::Jpeg {
                jpeg.clear();
                jpeg.extend_from_slice(&view);
                true
            } else {
                let (width, height) = (info.width, info.height);
                let frame = FrameView::from_buffer(width, height, info.format, &view, stride);
                buffer.clear();
                frame.map(|frame| frame.pack(&mut buffer)).is_ok()
            };
            Ok(if whole && !view.is_error() {
                Buffer::Whole
            } else {
                Buffer::Damaged
            })
        });
        let broken = |why: &str| SourceError::broken(format!("{}: {why}", info.name));
        match filled {
            Ok(Buffer::Whole) => {}
            Ok(Buffer::Damaged) => return Err(broken("a damaged frame; hint: see the cable")),
            // Ready, but not with a frame: the device reports its end this way, too.
            Err(error) => return Err(self.lost(&error)),
        }
        if coding == Coding::Jpeg {
            let decoded = self.decoder.decode(jpeg, info, &mut buffer);
            decoded.map_err(|why| broken(&why))?;
        }
        info.frame(buffer, now).map(Some)
    }
}

fn fatal(name: &dyn fmt::Display, why: &str, hint: &str) -> SourceError {
    SourceError::fatal(format!("{name}: {why}; hint: {hint}"))
}

/// Why a device can't be used, and what helps.
fn refused(name: &dyn fmt::Display, error: &io::Error) -> SourceError {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => "see `ls /dev/video*`, and the cable",
        Some(Errno::BUSY) => "another program uses it, close that one",
        Some(Errno::ACCESS | Errno::PERM) => "add yourself to the group `video`",
        Some(Errno::NOTTY | Errno::INVAL) => "name a camera, such as /dev/video0",
        _ => "plug it in again",
    };
    fatal(name, &error.to_string(), hint)
}

/// The devices that send frames, and those that can't be asked, by number.
pub(crate) fn list() -> Vec<CameraInfo> {
    let info = |path: String| {
        let formats = formats(&path).transpose()?;
        Some(CameraInfo { path, formats })
    };
    numbers().into_iter().map(node).filter_map(info).collect()
}

/// The numbers of the video devices that are there, in order.
fn numbers() -> Vec<u32> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |name: &OsStr| name.to_str()?.strip_prefix("video")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = entries.filter_map(|e| number(&e.file_name())).collect();
    numbers.sort_unstable();
    numbers
}

fn node(number: u32) -> String {
    format!("/dev/video{number}")
}

/// What a device offers, `None` where it does not send frames: many have a node for other data.
fn formats(path: &str) -> Result<Option<Vec<CaptureFormat>>, SourceError> {
    let io = |error| refused(&path, &error);
    let device = Device::open(path).map_err(io)?;
    let able = device.capabilities().map_err(io)?.device_capabilities();
    if able.contains(CapabilityFlags::VIDEO_CAPTURE_MPLANE) {
        return Err(fatal(&path, MULTI_PLANAR.0, MULTI_PLANAR.1));
    }
    if !able.contains(CapabilityFlags::VIDEO_CAPTURE | CapabilityFlags::STREAMING) {
        return Ok(None);
    }
    let format = |offer: Offer| CaptureFormat {
        size: Some((offer.width, offer.height)),
        coding: Some(offer.coding),
        frames_per_second: offer.frames_per_second,
        yuv_space: None,
    };
    let offers = offers(&device, &CaptureFormat::default());
    Ok(Some(offers.into_iter().map(format).collect()))
}

/// Open the device at a path, settle on a format, and let it send.
fn start(
    name: Phi<String>,
    path: &str,
    request: &CaptureFormat,
) -> Result<(SourceInfo, Running, Identity), SourceError> {
    let fatal = |why: &str, hint: &str| fatal(&name, why, hint);
    let io = |error| refused(&name, &error);
    let device = Device::open(path).map_err(io)?;
    let able = device.capabilities().map_err(io)?.device_capabilities();
    if able.contains(CapabilityFlags::VIDEO_CAPTURE_MPLANE) {
        return Err(fatal(MULTI_PLANAR.0, MULTI_PLANAR.1));
    }
    if !able.contains(CapabilityFlags::VIDEO_CAPTURE | CapabilityFlags::STREAMING) {
        return Err(fatal(
            "does not send frames",
            "try the device's other /dev/videoN, or pipe it in with ffmpeg or GStreamer",
        ));
    }
    let identity = Identity::of(&device).map_err(io)?;
    let mut inputs = device.inputs().map_while(Result::ok);
    // Of several inputs it is not told which one is on.
    if let (Some(input), None) = (inputs.next(), inputs.next())
        && input
            .status()
            .intersects(InputStatus::NO_POWER | InputStatus::NO_SIGNAL)
    {
        return Err(fatal(
            &format!("no signal at {}", input.name()),
            "see that what sends the picture is on, and the cable",
        ));
    }
    let offers = offers(&device, request);
    let offer = choose(&offers, request).ok_or_else(|| {
        fatal(
            "offers none of NV12, YUYV, YU12, MJPG, GREY and RGB3",
            "pipe it in with ffmpeg, see docs/video.md",
        )
    })?;
    let code = FourCc::from_fourcc(offer.coding.fourcc());
    let wanted = PixFormat::new(offer.width, offer.height, code);
    let capture = device.video_capture(wanted).map_err(io)?;
    let got = capture.format();
    let (width, height) = (got.width(), got.height());
    if got.pixel_format() != code || size::check(width, height).is_err() {
        return Err(fatal(
            &format!("changed the format to {got:?}"),
            "ask for another one",
        ));
    }
    // Some drivers leave it at 0 where there is no padding.
    let [first, ..] = offer.coding.format().planes(width, height);
    let stride = (got.bytes_per_line() as usize).max(first.row);
    // Many drivers have one rate alone, and say so with an error.
    let rate = request.frames_per_second.unwrap_or(USUAL.2);
    let interval = capture.set_frame_interval(Fract::new(1000, (rate * 1000.0).max(1.0) as u32));
    let frames_per_second = interval
        .ok()
        .and_then(per_second)
        .or(offer.frames_per_second);
    let stream = capture.into_stream().map_err(|e| unstarted(&name, &e))?;
    let yuv_space = if offer.coding == Coding::Jpeg {
        YuvSpace::Bt601Full
    } else {
        request.yuv_space.unwrap_or_default()
    };
    let info = SourceInfo {
        name,
        width,
        height,
        format: offer.coding.format(),
        yuv_space,
        frames_per_second,
        live: true,
    };
    let coding = offer.coding;
    Ok((
        info,
        Running {
            stream,
            coding,
            stride,
        },
        identity,
    ))
}

/// Why a device that took its settings does not begin to send, and what helps.
fn unstarted(name: &dyn fmt::Display, error: &io::Error) -> SourceError {
    let hint = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => {
            "the USB bus has no room for it: another port, or --capture with mjpeg or a smaller size"
        }
        Some(Errno::PIPE | Errno::NOLINK) => {
            "the board's camera pipeline is not set up, or nothing sends to it"
        }
        Some(Errno::NOMEM) => "too little memory for its frames: a smaller size by --capture",
        Some(Errno::BUSY) => "another program uses it, close that one",
        _ => "another size or format by --capture, or plug it in again",
    };
    fatal(name, &format!("does not begin to send: {error}"), hint)
}

fn per_second(interval: Fract) -> Option<f64> {
    let rate = f64::from(interval.denominator()) / f64::from(interval.numerator());
    (0.001..=10_000.0).contains(&rate).then_some(rate)
}

/// What the device can do, as far as it is read here.
fn offers(device: &Device, request: &CaptureFormat) -> Vec<Offer> {
    let mut offers = Vec::new();
    let formats = device.formats(BufType::VIDEO_CAPTURE);
    for code in formats
        .map_while(Result::ok)
        .map(|format| format.pixel_format())
    {
        let Some(coding) = Coding::ALL
            .into_iter()
            .find(|c| FourCc::from_fourcc(c.fourcc()) == code)
        else {
            continue;
        };
        let sizes = match device.frame_sizes(code) {
            Ok(FrameSizes::Discrete(sizes)) => sizes
                .iter()
                .map(|size| (size.width(), size.height()))
                .collect(),
            Ok(FrameSizes::Stepwise(range) | FrameSizes::Continuous(range)) => {
                let (width, height) = request.size.unwrap_or((USUAL.0, USUAL.1));
                let side = |wanted: u32, low: u32, high: u32| wanted.max(low).min(high);
                vec![(
                    side(width, range.min_width(), range.max_width()),
                    side(height, range.min_height(), range.max_height()),
                )]
            }
            // A driver that does not list sizes still takes one.
            Err(_) => vec![request.size.unwrap_or((USUAL.0, USUAL.1))],
        };
        for (width, height) in sizes {
            let frames_per_second = match device.frame_intervals(code, width, height) {
                Ok(FrameIntervals::Discrete(all)) => all
                    .iter()
                    .filter_map(|one| per_second(*one.fract()))
                    .reduce(f64::max),
                Ok(FrameIntervals::Stepwise(range) | FrameIntervals::Continuous(range)) => {
                    per_second(*range.min())
                }
                Err(_) => None,
            };
            offers.push(Offer {
                coding,
                width,
                height,
                frames_per_second,
            });
        }
    }
    offers
}
