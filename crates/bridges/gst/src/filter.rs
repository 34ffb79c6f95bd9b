//! What becomes of a buffer.
#![allow(unsafe_code, reason = "GObject's macros write it")]

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::BaseTransformMode;
use gst_base::subclass::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo, VideoMeta};

use crate::properties::{Mode, Settings, properties};
use crate::session::{Said, Session, prompts_of};
use crate::{picture, results};

pub(crate) static LOG: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "bedsidesegment",
        gst::DebugColorFlags::empty(),
        Some("bedside"),
    )
});

/// Time between two looks at whether pictures come.
const LOOK: Duration = Duration::from_millis(100);

/// Hands pictures to a live session, and passes them on with what it says.
#[derive(Default)]
pub(crate) struct Filter {
    settings: Mutex<Settings>,
    session: Mutex<Option<Session>>,
    /// Of pictures that come, and of those that go.
    infos: Mutex<Option<(VideoInfo, VideoInfo)>>,
    watch: Mutex<Option<Watch>>,
}

/// A thread that looks after the session where no picture comes, until the sender is gone.
struct Watch {
    going_on: SyncSender<()>,
    thread: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for Filter {
    const NAME: &'static str = "BedsideFilter";
    type Type = super::Filter;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Filter {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings).clone();
        settings.set(pspec.name(), value);
        if pspec.name() == "prompts" {
            let control = lock(&self.session)
                .as_ref()
                .map(|session| session.control.clone());
            let asked = control.map(|control| control.set_prompts(&prompts_of(&settings.prompts)));
            if let Some(Err(why)) = asked {
                // Those before are asked on.
                gst::element_imp_warning!(self, gst::ResourceError::Settings, ["{why}"]);
                return;
            }
        }
        *lock(&self.settings) = settings;
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let set = lock(&self.settings).get(pspec.name());
        set.unwrap_or_else(|| {
            let session = lock(&self.session);
            let state = session
                .as_ref()
                .map(|session| session.live.state().to_string());
            state.to_value()
        })
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_property("qos", true);
    }
}

impl GstObjectImpl for Filter {}

impl ElementImpl for Filter {
    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(picture::pad_templates);
        &TEMPLATES
    }
}

impl BaseTransformImpl for Filter {
    const MODE: BaseTransformMode = BaseTransformMode::Both;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let failed = |why| gst::error_msg!(gst::ResourceError::Settings, ["{why}"]);
        let settings = lock(&self.settings).clone();
        let session = Session::begin(&settings).map_err(failed)?;
        self.obj().set_in_place(session.mode == Mode::Metadata);
        *lock(&self.session) = Some(session);
        let watch = self.watch();
        let hint = |why| failed(format!("thread: {why}; hint: end other programs"));
        *lock(&self.watch) = Some(watch.map_err(hint)?);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(Watch { going_on, thread }) = lock(&self.watch).take() {
            drop(going_on);
            let _ = thread.join();
        }
        *lock(&self.session) = None;
        *lock(&self.infos) = None;
        Ok(())
    }

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        if self.mode() == Mode::Metadata {
            return self.parent_transform_caps(direction, caps, filter);
        }
        let mut others = gst::Caps::new_empty();
        for (structure, features) in caps.intersect(&picture::caps(true)).iter_with_features() {
            if let Some(other) = with_band(structure, direction) {
                others
                    .make_mut()
                    .append_structure_full(other, Some(features.to_owned()));
            }
        }
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&others, gst::CapsIntersectMode::First),
            None => others,
        })
    }

    fn set_caps(&self, incaps: &gst::Caps, outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = |caps: &gst::Caps| {
            VideoInfo::from_caps(caps).map_err(|_| gst::loggable_error!(LOG, "no video: {caps}"))
        };
        *lock(&self.infos) = Some((info(incaps)?, info(outcaps)?));
        Ok(())
    }

    fn unit_size(&self, caps: &gst::Caps) -> Option<usize> {
        VideoInfo::from_caps(caps).ok().map(|info| info.size())
    }

    fn transform_size(
        &self,
        _direction: gst::PadDirection,
        _caps: &gst::Caps,
        _size: usize,
        othercaps: &gst::Caps,
    ) -> Option<usize> {
        self.unit_size(othercaps)
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        self.parent_propose_allocation(decide_query, query)?;
        // What lies otherwise than usual is read all the same; whoever comes after may not.
        if self.mode() == Mode::Overlay && decide_query.is_some() {
            query.add_allocation_meta::<VideoMeta>(None);
        }
        Ok(())
    }

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut session = lock(&self.session);
        let (info, _) = self.infos()?;
        let running = session.as_mut().ok_or(gst::FlowError::Flushing)?;
        self.see(running, buffer, &info)?;
        results::attach(&running.live, buffer);
        let news = running.news();
        drop(session);
        self.tell(news, buffer.pts());
        Ok(gst::FlowSuccess::Ok)
    }

    fn transform(
        &self,
        inbuf: &gst::Buffer,
        outbuf: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut session = lock(&self.session);
        let (from, to) = self.infos()?;
        let running = session.as_mut().ok_or(gst::FlowError::Flushing)?;
        self.see(running, inbuf, &from)?;
        if let Some(painted) = running.live.annotated() {
            let picture = VideoFrameRef::from_buffer_ref_writable(outbuf, &to);
            picture::write(painted, &mut picture.map_err(|_| gst::FlowError::Error)?);
        }
        results::attach(&running.live, outbuf);
        let news = running.news();
        drop(session);
        self.tell(news, inbuf.pts());
        Ok(gst::FlowSuccess::Ok)
    }
}

/// The other side's caps: pictures that go are higher by a band than those that come.
fn with_band(
    structure: &gst::StructureRef,
    direction: gst::PadDirection,
) -> Option<gst::Structure> {
    let mut other = structure.to_owned();
    let side = |name| structure.get::<i32>(name).ok();
    let Some((width, height)) = side("width").zip(side("height")) else {
        other.set("height", gst::IntRange::new(1, i32::MAX));
        return Some(other);
    };
    let band = picture::band(width)?;
    let height = match direction {
        gst::PadDirection::Sink => height.checked_add(band)?,
        _ => height.checked_sub(band).filter(|height| *height > 0)?,
    };
    other.set("height", height);
    Some(other)
}

impl Filter {
    fn mode(&self) -> Mode {
        let running = lock(&self.session).as_ref().map(|session| session.mode);
        running.unwrap_or_else(|| lock(&self.settings).mode)
    }

    fn infos(&self) -> Result<(VideoInfo, VideoInfo), gst::FlowError> {
        lock(&self.infos)
            .clone()
            .ok_or(gst::FlowError::NotNegotiated)
    }

    fn see(
        &self,
        session: &mut Session,
        buffer: &gst::BufferRef,
        info: &VideoInfo,
    ) -> Result<(), gst::FlowError> {
        let picture = VideoFrameRef::from_buffer_ref_readable(buffer, info);
        let picture = picture.map_err(|_| gst::FlowError::Error)?;
        let seen = picture::view_of(&picture).and_then(|view| session.frame(&view));
        seen.map_err(|why| {
            gst::element_imp_error!(self, gst::StreamError::Format, ["{why}"]);
            gst::FlowError::Error
        })
    }

    /// Post what is new, in the element's name.
    fn tell(&self, news: Option<Said>, pts: Option<gst::ClockTime>) {
        let element = self.obj().parent().and_downcast::<gst::Element>();
        let Some((said, element)) = news.zip(element) else {
            return;
        };
        let message = gst::message::Element::builder(results::message(&said, pts));
        let _ = element.post_message(message.src(&element).build());
    }

    fn watch(&self) -> std::io::Result<Watch> {
        let (going_on, until) = sync_channel::<()>(0);
        let filter = self.obj().downgrade();
        let look = move || {
            while until.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some(filter) = filter.upgrade() else {
                    return;
                };
                let filter = filter.imp();
                let news = lock(&filter.session).as_mut().and_then(|session| {
                    session.look();
                    session.news()
                });
                filter.tell(news, None);
            }
        };
        let thread = thread::Builder::new()
            .name("bedside-watch".to_owned())
            .spawn(look)?;
        Ok(Watch { going_on, thread })
    }
}
