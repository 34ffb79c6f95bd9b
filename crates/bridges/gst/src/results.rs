//! What was found, as GStreamer's metadata and messages.

use bedside::{BoundingBox, Mask};
use bedside_live::LiveSession;
use bedside_live::record::Name;
#[cfg(feature = "analytics")]
use gst_analytics::{AnalyticsRelationMeta, AnalyticsRelationMetaODExt};
use gst_video::VideoRegionOfInterestMeta;

use crate::session::Said;

/// Name of what is attached and posted.
const NAME: &str = "bedside";

/// Attach the masks that may be shown on the newest frame: for each its box as a region of interest,
/// and with that the pixels inside the box, a byte each, 0 or 1.
pub(crate) fn attach(live: &LiveSession, buffer: &mut gst::BufferRef) {
    let frame = live.record().frame;
    for (record, mask) in live.masks() {
        let Some(bounds) = record.bounding_box else {
            continue;
        };
        let structure = gst::Structure::builder(NAME)
            .field("prompt", &*record.prompt)
            .field("presence", record.presence)
            .field("age-us", record.age_us)
            .field("carried", record.made_for != frame)
            .field("confidence", record.confidence)
            .field_if_some("validity", record.validity)
            .field("area", record.area)
            .field("mask", gst::Buffer::from_slice(within(mask, bounds)))
            .build();
        let rect = (bounds.x, bounds.y, bounds.width, bounds.height);
        VideoRegionOfInterestMeta::add(buffer, &record.prompt, rect).add_param(structure);
    }
    #[cfg(feature = "analytics")]
    detect(live, buffer);
}

/// The boxes for GStreamer's analytics library, which has no masks before 1.26.
#[cfg(feature = "analytics")]
fn detect(live: &LiveSession, buffer: &mut gst::BufferRef) {
    let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let boxes = live
        .masks()
        .filter_map(|(record, _)| Some((record, record.bounding_box?)));
    let mut boxes = boxes.peekable();
    if boxes.peek().is_none() {
        return;
    }
    let mut relations = AnalyticsRelationMeta::add(buffer);
    for (record, bounds) in boxes {
        let name = gst::glib::Quark::from_str(&*record.prompt);
        let [x, y, width, height] = [bounds.x, bounds.y, bounds.width, bounds.height].map(side);
        let _ = relations.add_od_mtd(name, x, y, width, height, record.presence);
    }
}

fn within(mask: &Mask, bounds: BoundingBox) -> Vec<u8> {
    let (left, width) = (bounds.x as usize, bounds.width as usize);
    let rows = mask.data().chunks((mask.width() as usize).max(1));
    let rows = rows.skip(bounds.y as usize).take(bounds.height as usize);
    let cut = rows.filter_map(|row| row.get(left..left + width));
    let mut pixels = Vec::with_capacity(width * bounds.height as usize);
    cut.for_each(|row| pixels.extend_from_slice(row));
    pixels
}

/// What to post when that has become true with the buffer of this time.
pub(crate) fn message(said: &Said, pts: Option<gst::ClockTime>) -> gst::Structure {
    let list = |names: &[Name]| gst::List::new(names.iter().map(|name| name.to_string()));
    gst::Structure::builder(NAME)
        .field("state", &*said.state)
        .field("reason", &*said.reason)
        .field_if_some("error", said.error.as_deref())
        .field_if_some("pts", pts)
        .field("found", list(&said.found))
        .field("absent", list(&said.absent))
        .field("uncertain", list(&said.uncertain))
        .field("unanswered", list(&said.unanswered))
        .build()
}
