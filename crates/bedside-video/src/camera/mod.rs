//! Cameras and capture devices of Linux (V4L2).
//!
//! Here is what can be decided without a device; `enabled.rs` speaks to one.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "devices are Linux's alone")
)]

#[cfg_attr(target_os = "linux", path = "enabled.rs")]
#[cfg_attr(not(target_os = "linux"), path = "disabled.rs")]
mod device;

use bedside_core::PixelFormat;

use crate::SourceError;
use crate::open::CaptureFormat;

pub(crate) use device::open;

/// A camera of this machine.
#[derive(Debug)]
pub struct CameraInfo {
    /// What [`open`](crate::open()) takes.
    pub path: String,
    /// What it may be asked for, each with the highest rate that it tells; or why the device can't
    /// be used.
    pub formats: Result<Vec<CaptureFormat>, SourceError>,
}

/// The cameras and capture devices that are there; none where the system is not Linux. Each is
/// opened for a moment, and none is started.
pub fn cameras() -> Vec<CameraInfo> {
    device::list()
}

/// Size and rate by default.
const USUAL: (u32, u32, f64) = (1280, 720, 30.0);

/// How a camera sends its frames; at equal size and rate, earlier ones are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coding {
    /// V4L2's NV12.
    Nv12,
    /// YUYV.
    Yuyv,
    /// YU12.
    I420,
    /// MJPG, decoded to I420.
    Jpeg,
    /// GREY.
    Gray8,
    /// RGB3.
    Rgb8,
}

impl Coding {
    pub(crate) const ALL: [Self; 6] = [
        Self::Nv12,
        Self::Yuyv,
        Self::I420,
        Self::Jpeg,
        Self::Gray8,
        Self::Rgb8,
    ];

    /// What it is called in a request.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nv12 => "nv12",
            Self::Yuyv => "yuyv",
            Self::I420 => "i420",
            Self::Jpeg => "mjpeg",
            Self::Gray8 => "gray8",
            Self::Rgb8 => "rgb8",
        }
    }

    /// V4L2's four letters for it.
    fn fourcc(self) -> [u8; 4] {
        *match self {
            Self::Nv12 => b"NV12",
            Self::Yuyv => b"YUYV",
            Self::I420 => b"YU12",
            Self::Jpeg => b"MJPG",
            Self::Gray8 => b"GREY",
            Self::Rgb8 => b"RGB3",
        }
    }

    /// The pixel format of its frames.
    fn format(self) -> PixelFormat {
        match self {
            Self::Nv12 => PixelFormat::Nv12,
            Self::Yuyv => PixelFormat::Yuyv,
            Self::I420 | Self::Jpeg => PixelFormat::I420,
            Self::Gray8 => PixelFormat::Gray8,
            Self::Rgb8 => PixelFormat::Rgb8,
        }
    }
}

/// One way in which a camera can run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Offer {
    coding: Coding,
    width: u32,
    height: u32,
    /// The highest, where the driver says.
    frames_per_second: Option<f64>,
}

/// The offer nearest to the request: format first, then size, then rate.
fn choose(offers: &[Offer], request: &CaptureFormat) -> Option<Offer> {
    let (width, height) = request.size.unwrap_or((USUAL.0, USUAL.1));
    let rate = request.frames_per_second.unwrap_or(USUAL.2);
    let cost = |offer: &Offer| {
        let wrong = request.coding.is_some_and(|coding| offer.coding != coding);
        let apart = offer
            .width
            .abs_diff(width)
            .saturating_add(offer.height.abs_diff(height));
        // 29.97 is no less than 30.
        let slow = (rate - offer.frames_per_second.unwrap_or(rate) - 0.1).max(0.0) * 1000.0;
        (wrong, apart, slow as u64, offer.coding)
    };
    offers.iter().min_by_key(|offer| cost(offer)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(coding: Coding, width: u32, height: u32, rate: f64) -> Offer {
        Offer {
            coding,
            width,
            height,
            frames_per_second: Some(rate),
        }
    }

    /// What a usual USB 2 webcam offers: large frames fast only as JPEG.
    fn webcam() -> Vec<Offer> {
        vec![
            offer(Coding::Yuyv, 640, 480, 30.0),
            offer(Coding::Yuyv, 1280, 720, 10.0),
            offer(Coding::Jpeg, 640, 480, 30.0),
            offer(Coding::Jpeg, 1280, 720, 29.97),
            offer(Coding::Jpeg, 1920, 1080, 30.0),
        ]
    }

    #[test]
    fn the_nearest_offer_is_chosen() {
        let choose = |request| {
            let offer = choose(&webcam(), &request).unwrap();
            (offer.coding, offer.width)
        };
        let request = CaptureFormat::default();
        assert_eq!(choose(request), (Coding::Jpeg, 1280));
        let size = Some((640, 480));
        assert_eq!(
            choose(CaptureFormat { size, ..request }),
            (Coding::Yuyv, 640)
        );
        let size = Some((4000, 3000));
        assert_eq!(
            choose(CaptureFormat { size, ..request }),
            (Coding::Jpeg, 1920)
        );
        for coding in [Coding::Yuyv, Coding::Jpeg] {
            let request = CaptureFormat {
                coding: Some(coding),
                ..request
            };
            assert_eq!(choose(request), (coding, 1280));
        }
        let frames_per_second = Some(5.0);
        let slow = CaptureFormat {
            frames_per_second,
            ..request
        };
        assert_eq!(choose(slow), (Coding::Yuyv, 1280));
    }
}
