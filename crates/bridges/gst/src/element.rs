//! The element: a queue of one buffer, so that whoever hands over a picture does not wait for it to be
//! followed, and the filter behind it, whose properties it has.
#![allow(unsafe_code, reason = "GObject's macros write it")]

use std::sync::{LazyLock, OnceLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::properties::properties;
use crate::{Filter, filter, picture};

/// See the crate.
#[derive(Default)]
pub struct BedsideSegment(OnceLock<Filter>);

#[glib::object_subclass]
impl ObjectSubclass for BedsideSegment {
    const NAME: &'static str = "BedsideSegment";
    type Type = super::BedsideSegment;
    type ParentType = gst::Bin;
}

impl ObjectImpl for BedsideSegment {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.filter().set_property_from_value(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        self.filter().property_value(pspec.name())
    }

    fn constructed(&self) {
        self.parent_constructed();
        if let Err(error) = self.assemble() {
            gst::error!(filter::LOG, imp = self, "{error}");
        }
    }
}

impl GstObjectImpl for BedsideSegment {}

impl ElementImpl for BedsideSegment {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "bedside segmentation",
                "Filter/Analyzer/Effect/Video",
                "Finds what words name in medical video, and attaches or draws its masks. Research \
                 use only; not a medical device",
                "The bedside authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(picture::pad_templates);
        &TEMPLATES
    }
}

impl BinImpl for BedsideSegment {}

impl BedsideSegment {
    fn filter(&self) -> &Filter {
        self.0.get_or_init(glib::Object::new)
    }

    fn assemble(&self) -> Result<(), glib::BoolError> {
        let (bin, filter) = (self.obj(), self.filter());
        let queue = gst::ElementFactory::make("queue")
            .property("max-size-buffers", 1_u32)
            .property("max-size-bytes", 0_u32)
            .property("max-size-time", 0_u64)
            .property("silent", true)
            .build()?;
        bin.add_many([&queue, filter.upcast_ref()])?;
        queue.link(filter)?;
        for (name, element) in [("sink", &queue), ("src", filter.upcast_ref())] {
            let ends = bin.pad_template(name).zip(element.static_pad(name));
            let (template, pad) = ends.ok_or_else(|| glib::bool_error!("no pad {name}"))?;
            bin.add_pad(&gst::GhostPad::from_template_with_target(&template, &pad)?)?;
        }
        Ok(())
    }
}
