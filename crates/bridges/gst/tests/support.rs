//! Pictures for the element, and what it says of them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use bedside::vision::colour;
use bedside_video::still;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

pub(crate) fn bundle() -> String {
    root()
        .join("models/edge/edge.bedside")
        .display()
        .to_string()
}

pub(crate) fn sample(name: &str) -> PathBuf {
    root().join("models/edge/samples").join(name)
}

/// The `bedside` command: `BEDSIDE_COMMAND`, or what was built beside these tests.
pub(crate) fn command() -> Option<String> {
    let named = env::var("BEDSIDE_COMMAND").ok().map(PathBuf::from);
    let here = env::current_exe().unwrap();
    let built = here.ancestors().nth(2).unwrap().join("bedside");
    let command = named.unwrap_or(built);
    if !command.is_file() {
        eprintln!("skipped: no command at {}", command.display());
        return None;
    }
    Some(command.display().to_string())
}

/// For tests that look at this process's children: one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn begin() {
    static BEGIN: Once = Once::new();
    BEGIN.call_once(|| {
        gst::init().unwrap();
        gstbedside::plugin_register_static().unwrap();
    });
}

/// A mask on a buffer, in the whole picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) prompt: String,
    pub(crate) age: Duration,
    pub(crate) carried: bool,
    pub(crate) mask: bedside::Mask,
}

/// One picture, again and again, through the element.
pub(crate) struct Still {
    pub(crate) harness: Harness,
    pub(crate) element: gst::Element,
    bus: gst::Bus,
    width: u32,
    height: u32,
    data: Vec<u8>,
    pushed: u64,
}

impl Still {
    /// A sample as RGB, with rows padded as GStreamer does.
    pub(crate) fn new(name: &str, properties: &str) -> Self {
        begin();
        let frame = still::read(&sample(name)).unwrap();
        let (width, height) = (frame.width(), frame.height());
        let mut rgb = Vec::new();
        colour::rgb_pixels(&frame, &mut rgb);
        let row = width as usize * 3;
        let pad = row.next_multiple_of(4) - row;
        let rows = rgb
            .chunks(row)
            .flat_map(|row| row.iter().copied().chain((0..pad).map(|_| 0)));
        let bin = format!("bedsidesegment bundle={} {properties}", bundle());
        let element = gst::parse::launch(&bin).unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str(&format!(
            "video/x-raw,format=RGB,width={width},height={height},framerate=30/1"
        ));
        harness.play();
        Self {
            harness,
            element,
            bus,
            width,
            height,
            data: rows.collect(),
            pushed: 0,
        }
    }

    /// Push the picture and take what comes of it.
    pub(crate) fn next(&mut self) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_slice(self.data.clone());
        let time = gst::ClockTime::from_mseconds(self.pushed * 1000 / 30);
        buffer.get_mut().unwrap().set_pts(time);
        self.pushed += 1;
        let out = self.harness.push_and_pull(buffer).unwrap();
        assert_eq!(out.pts(), Some(time));
        out
    }

    /// Go on at the pace of a camera until `done` says so of a buffer's masks.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&[Shown]) -> bool) -> Vec<Shown> {
        let began = Instant::now();
        loop {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{:?}",
                self.messages()
            );
            let buffer = self.next();
            let shown = self.shown(&buffer);
            if done(&shown) {
                return shown;
            }
            thread::sleep(Duration::from_millis(33));
        }
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(crate) fn shown(&self, buffer: &gst::Buffer) -> Vec<Shown> {
        let regions = buffer.iter_meta::<VideoRegionOfInterestMeta>();
        regions.map(|region| self.whole(&region)).collect()
    }

    fn whole(&self, region: &VideoRegionOfInterestMeta) -> Shown {
        let (x, y, width, height) = region.rect();
        let structure = region.param("bedside").unwrap();
        let inside = structure.get::<gst::Buffer>("mask").unwrap();
        let inside = inside.map_readable().unwrap();
        assert_eq!(inside.len(), (width * height) as usize);
        let mut mask = vec![0; (self.width * self.height) as usize];
        for (row, pixels) in (y..).zip(inside.chunks(width as usize)) {
            let start = (row * self.width + x) as usize;
            mask[start..start + width as usize].copy_from_slice(pixels);
        }
        let area: u64 = structure.get("area").unwrap();
        assert_eq!(
            mask.iter().map(|pixel| u64::from(*pixel)).sum::<u64>(),
            area
        );
        Shown {
            prompt: structure.get("prompt").unwrap(),
            age: Duration::from_micros(structure.get("age-us").unwrap()),
            carried: structure.get("carried").unwrap(),
            mask: bedside::Mask::from_bytes(self.width, self.height, mask).unwrap(),
        }
    }

    /// What was posted since the last call.
    pub(crate) fn messages(&self) -> Vec<gst::Structure> {
        let posted = std::iter::from_fn(|| self.bus.pop_filtered(&[gst::MessageType::Element]));
        let ours = posted.filter(|message| message.src() == Some(self.element.upcast_ref()));
        ours.filter_map(|message| Some(message.structure()?.to_owned()))
            .collect()
    }

    /// Wait for such a message.
    pub(crate) fn message(
        &self,
        mut wanted: impl FnMut(&gst::StructureRef) -> bool,
    ) -> gst::Structure {
        let began = Instant::now();
        loop {
            if let Some(found) = self.messages().into_iter().find(|message| wanted(message)) {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "no such message");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The names in a message's list.
pub(crate) fn names(message: &gst::StructureRef, list: &str) -> Vec<String> {
    let list: gst::List = message.get(list).unwrap();
    list.iter().map(|name| name.get().unwrap()).collect()
}

/// Processes that this one has begun and that run.
pub(crate) fn children() -> Vec<u32> {
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let text = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
    }
    children
}
