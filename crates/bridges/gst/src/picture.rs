//! Pictures of GStreamer as frames of bedside, and back.

use bedside::{Frame, FrameError, FrameView, MAX_SIDE, PixelFormat, State, Timestamp, YuvSpace};
use bedside_live::{AgePolicy, Caption, Outputs, Painter};
use gst_video::{
    VideoCapsBuilder, VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrameExt, VideoFrameRef,
    VideoInfo,
};

/// Formats that need no conversion: first those that masks are painted in.
const FORMATS: [(VideoFormat, PixelFormat); 5] = [
    (VideoFormat::Nv12, PixelFormat::Nv12),
    (VideoFormat::I420, PixelFormat::I420),
    (VideoFormat::Yuy2, PixelFormat::Yuyv),
    (VideoFormat::Rgb, PixelFormat::Rgb8),
    (VideoFormat::Gray8, PixelFormat::Gray8),
];

/// What is taken; with `colour`, what can be painted into.
pub(crate) fn caps(colour: bool) -> gst::Caps {
    let formats = FORMATS.iter().map(|(format, _)| *format);
    let formats = formats.filter(|format| !colour || *format != VideoFormat::Gray8);
    let side = 1..=i32::try_from(MAX_SIDE).unwrap_or(i32::MAX);
    VideoCapsBuilder::new()
        .format_list(formats)
        .width_range(side.clone())
        .height_range(side)
        .build()
}

pub(crate) fn pad_templates() -> Vec<gst::PadTemplate> {
    let caps = caps(false);
    let ends = [
        ("sink", gst::PadDirection::Sink),
        ("src", gst::PadDirection::Src),
    ];
    let template =
        |(name, direction)| gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps);
    ends.into_iter()
        .filter_map(|end| template(end).ok())
        .collect()
}

/// What Y, U and V mean.
fn yuv_space_of(info: &VideoInfo) -> YuvSpace {
    let colorimetry = info.colorimetry();
    let full = colorimetry.range() == VideoColorRange::Range0_255;
    match (colorimetry.matrix() == VideoColorMatrix::Bt709, full) {
        (false, false) => YuvSpace::Bt601Limited,
        (false, true) => YuvSpace::Bt601Full,
        (true, false) => YuvSpace::Bt709Limited,
        (true, true) => YuvSpace::Bt709Full,
    }
}

/// A mapped picture, where it lies.
pub(crate) fn view_of<'a>(
    picture: &'a VideoFrameRef<&gst::BufferRef>,
) -> Result<FrameView<'a>, FrameError> {
    let info = picture.info();
    let (width, height) = (info.width(), info.height());
    let format = FORMATS.iter().find(|(format, _)| *format == info.format());
    let (_, format) = format.ok_or(FrameError::Size { width, height })?;
    let planes: Vec<_> = (0..)
        .zip(picture.plane_stride())
        .take(format.plane_count())
        .map(|(plane, stride)| {
            let data = picture.plane_data(plane).unwrap_or_default();
            (data, usize::try_from(*stride).unwrap_or(0))
        })
        .collect();
    let view = FrameView::new(width, height, *format, &planes)?;
    Ok(view.with_yuv_space(yuv_space_of(info)))
}

/// Write a frame over a mapped picture of the same size and format.
pub(crate) fn write(frame: &Frame, picture: &mut VideoFrameRef<&mut gst::BufferRef>) {
    let strides = picture.plane_stride().to_vec();
    for ((at, plane), stride) in (0..).zip(frame.view().planes()).zip(strides) {
        let stride = usize::try_from(stride).unwrap_or(0).max(1);
        let data = picture.plane_data_mut(at).unwrap_or_default();
        for (to, from) in data.chunks_mut(stride).zip(plane.rows()) {
            if let Some(to) = to.get_mut(..from.len()) {
                to.copy_from_slice(from);
            }
        }
    }
}

/// Rows of the band of words below a painted picture of this width; `None` for one that can't be
/// painted.
pub(crate) fn band(width: i32) -> Option<i32> {
    let width = u32::try_from(width).ok()?;
    let row = vec![0; usize::try_from(width).ok()?];
    let frame = Frame::new(width, 1, PixelFormat::Gray8, row).ok()?;
    let outputs = Outputs::default();
    let caption = Caption {
        state: State::Starting,
        picture: State::Starting,
        rates: (0.0, 0.0),
        outputs: &outputs,
    };
    let (now, policy) = (Timestamp::default(), AgePolicy::default());
    let answers = std::iter::empty();
    let mut painter = Painter::default();
    let painted = painter.paint(&caption, &frame, 0, now, policy, answers, |_, _| {});
    i32::try_from(painted.ok()?.height() - 1).ok()
}
