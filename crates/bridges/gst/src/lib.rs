#![doc = include_str!("../README.md")]

use gst::glib;
use gst::prelude::*;

mod element;
mod filter;
mod picture;
mod properties;
mod results;
mod session;

glib::wrapper! {
    /// The element `bedsidesegment`.
    pub struct BedsideSegment(ObjectSubclass<element::BedsideSegment>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

glib::wrapper! {
    /// What is in it, behind a queue.
    struct Filter(ObjectSubclass<filter::Filter>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "bedsidesegment",
        gst::Rank::NONE,
        BedsideSegment::static_type(),
    )
}

#[allow(unsafe_code, missing_docs, reason = "what a plugin's loader looks for")]
mod plugin {
    use super::plugin_init;

    gst::plugin_define!(
        bedside,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        env!("CARGO_PKG_VERSION"),
        "Apache 2.0",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_REPOSITORY")
    );
}

pub use plugin::plugin_register_static;
