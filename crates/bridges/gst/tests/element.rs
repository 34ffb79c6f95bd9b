//! Pads, properties, states and errors.

use std::thread;
use std::time::Duration;

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoFrameExt, VideoFrameRef, VideoInfo};

use crate::support::{Still, begin, bundle, names};

fn pipeline(description: &str) -> Result<gst::Pipeline, String> {
    begin();
    let parsed = gst::parse::launch(description).map_err(|error| error.to_string())?;
    Ok(parsed.downcast().unwrap())
}

/// Wait for the end, or the error with what stands behind it.
fn end(pipeline: &gst::Pipeline) -> Result<(), String> {
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    let ended = match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => {
            Err(format!("{}; {:?}", error.error(), error.debug()))
        }
        _ => Err("nothing happened".to_owned()),
    };
    pipeline.set_state(gst::State::Null).unwrap();
    ended
}

fn run(description: &str) -> Result<(), String> {
    let pipeline = pipeline(description)?;
    let _ = pipeline.set_state(gst::State::Playing);
    end(&pipeline)
}

fn segment(properties: &str) -> String {
    format!(
        "bedsidesegment bundle={} command=\"\" {properties}",
        bundle()
    )
}

/// Bytes of the planes' first rows, without padding.
fn pixels(buffer: &gst::Buffer, caps: &gst::Caps, rows: u32) -> Vec<Vec<u8>> {
    let info = VideoInfo::from_caps(caps).unwrap();
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer, &info).unwrap();
    let format = info.format_info();
    let plane = |plane: u32| {
        let mut components = 0..frame.n_components();
        let component = components
            .find(|at| format.plane()[*at as usize] == plane)
            .unwrap();
        let sample = format.pixel_stride()[component as usize] as usize;
        let row = frame.comp_width(component) as usize * sample;
        let rows = rows >> format.h_sub()[component as usize];
        let lines = frame.plane_data(plane).unwrap();
        let lines = lines.chunks(frame.plane_stride()[plane as usize] as usize);
        lines
            .take(rows as usize)
            .flat_map(|line| line[..row].to_vec())
            .collect()
    };
    (0..frame.n_planes()).map(plane).collect()
}

/// The first picture of a test source, and its caps, behind this.
fn first(launch: &str, source: &str) -> (gst::Buffer, gst::Caps) {
    let mut harness = Harness::new_parse(launch);
    let source = format!("videotestsrc pattern=ball ! capsfilter caps=\"{source}\"");
    harness.add_src_parse(&source, false);
    harness.play();
    harness.push_from_src().unwrap();
    let buffer = harness.pull().unwrap();
    (buffer, harness.sinkpad().unwrap().current_caps().unwrap())
}

#[test]
fn pictures_pass_as_they_are_and_overlays_have_a_band_below() {
    begin();
    for format in ["NV12", "I420", "YUY2", "RGB", "GRAY8"] {
        // Odd sides, so that GStreamer pads rows.
        let source = format!("video/x-raw,format={format},width=321,height=241,framerate=30/1");
        let (before, caps) = first("identity", &source);
        let before = pixels(&before, &caps, 240);
        for mode in ["metadata", "overlay"] {
            if (format, mode) == ("GRAY8", "overlay") {
                continue;
            }
            let (after, caps) = first(&segment(&format!("prompts=polyp mode={mode}")), &source);
            let info = VideoInfo::from_caps(&caps).unwrap();
            assert_eq!(
                (info.format().to_string(), info.width()),
                (format.to_owned(), 321)
            );
            assert_eq!(info.height() > 241, mode == "overlay", "{format} {mode}");
            assert!(pixels(&after, &caps, 240) == before, "{format} {mode}");
        }
    }
}

#[test]
fn what_is_wrong_is_an_error_with_a_hint() {
    let (bundle, source) = (
        bundle(),
        "videotestsrc num-buffers=5 ! bedsidesegment command=\"\"",
    );
    for (properties, words) in [
        ("prompts=polyp".to_owned(), "set the property"),
        ("bundle=/nowhere prompts=polyp".to_owned(), "/nowhere"),
        (format!("bundle={bundle}"), "0 prompts"),
        (format!("bundle={bundle} prompts=pollyp"), "polyp"),
        (
            format!("bundle={bundle} prompts=polyp precision=f8"),
            "int8",
        ),
        (
            format!("bundle={bundle} prompts=polyp command=/nowhere/bedside"),
            "/nowhere/bedside",
        ),
    ] {
        let why = run(&format!("{source} {properties} ! fakesink")).unwrap_err();
        assert!(
            why.contains(words) && why.contains("hint:"),
            "{properties}: {why}"
        );
    }
}

#[test]
fn gray_pictures_are_not_painted_and_that_is_no_panic() {
    let source = "videotestsrc num-buffers=5 ! video/x-raw,format=GRAY8";
    let gray = |mode| {
        run(&format!(
            "{source} ! {} ! fakesink",
            segment(&format!("prompts=polyp mode={mode}"))
        ))
    };
    assert_eq!(gray("metadata"), Ok(()));
    assert!(gray("overlay").is_err());
}

#[test]
fn states_come_and_go() {
    let segment = segment("name=b prompts=polyp");
    let pipeline = pipeline(&format!("videotestsrc ! {segment} ! fakesink")).unwrap();
    let element = pipeline.by_name("b").unwrap();
    let states = [
        gst::State::Playing,
        gst::State::Ready,
        gst::State::Paused,
        gst::State::Null,
    ];
    for state in states.repeat(3) {
        pipeline.set_state(state).unwrap();
        let (changed, now, _) = pipeline.state(gst::ClockTime::from_seconds(20));
        changed.unwrap();
        assert_eq!(now, state);
        let running = state >= gst::State::Paused;
        assert_eq!(
            element.property::<Option<String>>("state").is_some(),
            running
        );
    }
}

#[test]
fn caps_may_change_on_the_way() {
    let segment = segment("prompts=polyp mode=overlay");
    let pipeline = pipeline(&format!(
        "videotestsrc num-buffers=60 is-live=true \
         ! capsfilter name=f caps=video/x-raw,format=I420,width=320,height=240,framerate=30/1 \
         ! {segment} ! fakesink name=s"
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    thread::sleep(Duration::from_millis(700));
    let caps = "video/x-raw,format=NV12,width=400,height=300,framerate=30/1";
    pipeline
        .by_name("f")
        .unwrap()
        .set_property_from_str("caps", caps);
    thread::sleep(Duration::from_millis(700));
    let pad = pipeline.by_name("s").unwrap().static_pad("sink").unwrap();
    let caps = pad.current_caps().unwrap();
    let info = VideoInfo::from_caps(&caps).unwrap();
    assert_eq!((info.format(), info.width()), (VideoFormat::Nv12, 400));
    assert_eq!(end(&pipeline), Ok(()));
}

#[test]
fn a_source_that_falls_silent_is_told_without_a_picture() {
    let mut still = Still::new("polyp.png", "prompts=polyp command=\"\"");
    for _ in 0..5 {
        still.next();
    }
    let stalled = still.message(|message| message.get::<&str>("state") == Ok("stalled"));
    assert_eq!(stalled.get::<&str>("reason"), Ok("input"));
    assert_eq!(names(&stalled, "unanswered"), ["polyp"]);
    assert_eq!(still.element.property::<String>("state"), "stalled: input");
}

#[test]
fn prompts_change_on_the_way_and_wrong_ones_change_nothing() {
    let mut still = Still::new("polyp.png", "prompts=polyp command=\"\" still-after=0");
    still.until(|shown| !shown.is_empty());
    still.element.set_property("prompts", "pollyp");
    assert_eq!(still.element.property::<String>("prompts"), "polyp");
    still.until(|shown| !shown.is_empty());
    still.element.set_property("prompts", "polyp; skin lesion");
    still.until(|shown| shown.len() == 1);
    let all = |message: &gst::StructureRef| {
        let lists = ["found", "absent", "uncertain", "unanswered"];
        lists.map(|list| names(message, list)).concat().len() == 2
    };
    let told = still.message(|message| all(message) && names(message, "found") == ["polyp"]);
    assert!(!names(&told, "found").contains(&"skin lesion".to_owned()));
}
