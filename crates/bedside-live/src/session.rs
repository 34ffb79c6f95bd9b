//! One session: frame by frame, what is painted, what is asked of the model, and the state.
//!
//! A [`LiveSession`] belongs to the thread of the video path. It never waits: the model runs on
//! another thread, and its answers are taken up when they are there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bedside::{Clock, Degradation, Fault, Frame, FrameError, Mask, Pause, Stall, State, Timestamp};

use crate::cadence::{Cadence, CadenceConfig};
use crate::caption::{Caption, Outputs};
use crate::control::{Control, Request};
use crate::metrics::Metrics;
use crate::model::Loader;
use crate::painter::{AgePolicy, Answer, Painter, Said, Standing};
use crate::rate::Rate;
use crate::record::{FrameRecord, MaskRecord, Name};
use crate::scene::Scene;
use crate::tracker::{Change, Tracker};
use crate::worker::{Event, Reply, Supervisor, WatchdogConfig};

/// How a [`LiveSession`] runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionConfig {
    /// How old a painted mask may be.
    pub age: AgePolicy,
    /// How often the model is asked.
    pub cadence: CadenceConfig,
    /// When the model is given up.
    pub watchdog: WatchdogConfig,
    /// Without a frame, or with the same one, for so long, input shows as stalled.
    pub frozen: Duration,
    /// Input that comes back after showing nothing of a patient for longer (no frame, always the same
    /// one, no signal, a test pattern, a room) is taken for another patient's; `None`: never.
    pub new_patient_after: Option<Duration>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            age: AgePolicy::default(),
            cadence: CadenceConfig::default(),
            watchdog: WatchdogConfig::default(),
            frozen: Duration::from_secs(2),
            new_patient_after: Some(Duration::from_secs(60)),
        }
    }
}

/// Time between two pictures while the input is stalled.
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at the thermometer.
const TEMPERATURE_EVERY: Duration = Duration::from_secs(2);

/// What a picture had when it was frozen.
#[derive(Debug, Clone, Copy)]
struct Frozen {
    state: State,
    /// When it was painted: on it, masks grow no older.
    painted: Timestamp,
}

/// See the module.
pub struct LiveSession {
    config: SessionConfig,
    clock: Arc<dyn Clock>,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    supervisor: Supervisor,
    tracker: Tracker,
    scene: Scene,
    cadence: Cadence,
    painter: Painter,
    request: Request,
    pause: Option<Pause>,
    /// Whether the present worker has answered.
    answered: bool,
    started: Timestamp,
    /// Capture of the newest frame, and of the newest one that differed from the one before.
    newest: Option<Timestamp>,
    changed: Option<Timestamp>,
    warmth: Option<Timestamp>,
    state: State,
    frozen: Option<Frozen>,
    /// Whether no further frame comes.
    ended: bool,
    /// The last error of the model or of what follows the picture, until the model answers.
    message: Option<String>,
    /// The newest answer's frame, until its masks are first painted.
    unseen: Option<u64>,
    frames: Rate,
    masks: Rate,
    /// The newest frame with its number, to be painted again.
    last: Option<(Frame, u64)>,
    outputs: Outputs,
    case: u64,
    /// When the input last showed a patient.
    seen: Timestamp,
    /// When the picture was painted last, and whether it would be painted otherwise now.
    painted_at: Timestamp,
    stale: bool,
    /// Capture of the oldest frame whose answer is painted or said.
    oldest: Option<Timestamp>,
    record: FrameRecord,
    /// Place of each of the record's masks among the prompts.
    painted: Vec<usize>,
}

impl LiveSession {
    /// Begin; the model is loaded meanwhile on another thread.
    pub fn new(
        loader: Arc<dyn Loader>,
        control: Arc<Control>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        config: SessionConfig,
    ) -> Self {
        Self {
            supervisor: Supervisor::start(loader, clock.clone(), config.watchdog),
            tracker: Tracker::default(),
            scene: Scene::default(),
            cadence: Cadence::new(config.cadence),
            painter: Painter::default(),
            request: Request::default(),
            pause: None,
            answered: false,
            started: clock.now(),
            newest: None,
            changed: None,
            warmth: None,
            state: State::Starting,
            frozen: None,
            ended: false,
            message: None,
            unseen: None,
            frames: Rate::default(),
            masks: Rate::default(),
            last: None,
            outputs: Outputs::default(),
            case: 0,
            seen: clock.now(),
            painted_at: clock.now(),
            stale: false,
            oldest: None,
            record: FrameRecord::empty(),
            painted: Vec::new(),
            config,
            clock,
            control,
            metrics,
        }
    }

    /// The state after the newest frame or [`idle`](Self::idle).
    pub fn state(&self) -> State {
        self.state
    }

    /// What was last shown.
    pub fn record(&self) -> &FrameRecord {
        &self.record
    }

    /// The last error of the model, or of what follows the picture, in one line; none since the model
    /// answered.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Why the model gives no more answers, whatever else is said of the picture.
    pub fn fault(&self) -> Option<Fault> {
        self.supervisor.fault()
    }

    /// Whether there is a model to ask.
    pub fn is_loaded(&self) -> bool {
        self.supervisor.loaded()
    }

    /// Whether a person has frozen the picture. Frames are to be left out then, and
    /// [`idle`](Self::idle) to be called in their place.
    pub fn is_frozen(&mut self) -> bool {
        self.take_request();
        self.frozen.is_some()
    }

    /// Number of the newest frame that the model has still to answer.
    pub fn asked(&self) -> Option<u64> {
        self.tracker.asked()
    }

    /// The masks that were painted on the newest frame, with what the record says of them.
    pub fn masks(&self) -> impl Iterator<Item = (&MaskRecord, &Mask)> {
        let painted = self.record.masks.iter().zip(&self.painted);
        painted.filter_map(|(record, place)| {
            let mask = self.tracker.mask(*place, record.made_for)?;
            Some((record, mask))
        })
    }

    /// Frames a second shown, and masks a second taken over.
    pub fn rates(&self) -> (f32, f32) {
        let now = self.clock.now();
        (self.frames.per_second(now), self.masks.per_second(now))
    }

    /// The newest frame as it was annotated.
    pub fn annotated(&self) -> Option<&Frame> {
        self.painter.painted()
    }

    /// The prompts that are asked.
    pub fn prompts(&self) -> &[Name] {
        &self.request.prompts.names
    }

    /// Changes whenever [`prompts`](Self::prompts) do; 0 before there are any.
    pub fn prompts_generation(&self) -> u64 {
        self.request.prompts.generation
    }

    /// Counts the changes of patient; what is recorded from a change on belongs to another.
    pub fn case(&self) -> u64 {
        self.case
    }

    /// Say this of sinks and records below the picture.
    pub fn set_outputs(&mut self, outputs: &Outputs) {
        if self.outputs != *outputs {
            self.outputs.clone_from(outputs);
            self.stale = true;
        }
    }

    /// Counts and latencies.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// No frame came for a while: look after the model and the state. `true` when the last frame
    /// was painted again, as the state, a mask's age or the words below it have changed, or as its
    /// input has stalled for another second; [`annotated`](Self::annotated) is to be shown and
    /// [`record`](Self::record) to be kept again then.
    pub fn idle(&mut self) -> bool {
        let now = self.clock.now();
        self.attend(now);
        self.settle(now);
        let limit = self.config.age.limit;
        let frozen = self.frozen.is_some();
        if frozen {
            // Whoever froze the picture looks at its patient.
            self.seen = now;
        }
        let aged = self.oldest.is_some_and(|oldest| now.since(oldest) > limit) && !frozen;
        let stalled = self.state == State::Stalled(Stall::Input);
        let again = stalled && now.since(self.painted_at) >= REPEAT_EVERY;
        if !self.stale && !aged && !again {
            return false;
        }
        let Some((frame, number)) = self.last.take() else {
            return false;
        };
        // It was painted before, so there is room for the band.
        let painted = self.annotate((&frame, number), now, true, |session| {
            session.tracker.carry();
            session.paint(&frame, number, now, true)
        });
        self.last = Some((frame, number));
        painted.is_ok()
    }

    /// No further frame comes: what was shown last is no live picture any more, which it says, without
    /// masks, where it is painted again. `true` as for [`idle`](Self::idle).
    pub fn end(&mut self) -> bool {
        self.ended = true;
        self.frozen = None;
        self.idle()
    }

    /// Take frame `number`: [`annotated`](Self::annotated) is what to show then, and
    /// [`record`](Self::record) tells what was painted. Gives back the frame before, whose memory
    /// may be used again.
    ///
    /// # Errors
    /// When the frame is so high that no band fits below it.
    pub fn frame(&mut self, frame: Frame, number: u64) -> Result<Option<Frame>, FrameError> {
        let arrived = self.clock.now();
        self.newest = Some(arrived);
        self.frames.add(arrived);
        let change = self.annotate((&frame, number), arrived, false, |session| {
            let change = session.tracker.step(&frame);
            if change != Change::None || session.changed.is_none() {
                session.changed = Some(arrived);
            }
            session.pause = session.scene.look(&frame, session.tracker.luma());
            session.attend(arrived);
            session.tracker.carry();
            let now = session.clock.now();
            session.settle(now);
            session.recognize(now);
            session.paint(&frame, number, now, false)?;
            Ok(change)
        })?;
        self.metrics
            .shown(Duration::from_micros(self.record.delay_us));
        if let Some(change) = change {
            // Last, so that copying the frame does not delay the video.
            self.ask(&frame, number, change, arrived);
        }
        let before = self.last.replace((frame, number));
        Ok(before.map(|(frame, _)| frame))
    }

    /// Do what shows a frame. Where that panics, the frame is shown without anything that was found,
    /// and there is no result.
    fn annotate<T>(
        &mut self,
        (frame, number): (&Frame, u64),
        now: Timestamp,
        repeated: bool,
        work: impl FnOnce(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        if let Ok(done) = catch_unwind(AssertUnwindSafe(|| work(self))) {
            return done.map(Some);
        }
        self.recover();
        self.metrics.fault();
        let message = "the picture could not be followed; hint: report this, with the place that \
                       standard error names";
        self.message = Some(message.to_owned());
        self.settle(now);
        self.paint(frame, number, now, repeated)?;
        Ok(None)
    }

    /// Begin to follow, judge and paint the picture anew, as after a cut.
    fn recover(&mut self) {
        let prompts = &self.request.prompts;
        self.tracker = Tracker::default();
        self.tracker.set_prompts(prompts.prompts.len());
        self.scene = Scene::default();
        self.scene.set_endoscopy(prompts.endoscopy);
        self.painter.recover();
    }

    /// Not even the frame alone could be painted: [`annotated`](Self::annotated) becomes an empty
    /// picture, as what was painted before must not stay on a screen.
    pub(crate) fn blank(&mut self, number: u64) {
        self.recover();
        self.painter.blank();
        self.last = None;
        let captured = Timestamp::from_nanos(self.record.captured_ns);
        self.record.begin(number, captured, false);
        self.record
            .unanswered
            .extend_from_slice(&self.request.prompts.names);
        self.painted.clear();
    }

    /// Take up what a person asks for.
    fn take_request(&mut self) {
        if let Some(request) = self.control.newer_than(self.request.generation) {
            let prompts = &request.prompts;
            if prompts.generation != self.prompts_generation() {
                self.tracker.set_prompts(prompts.prompts.len());
                self.tracker.forget();
                let count = prompts.prompts.len();
                self.cadence.set_prompts(count, &prompts.sides);
                self.scene.set_endoscopy(prompts.endoscopy);
            }
            if request.case != self.request.case {
                self.next_case();
            }
            self.request = request;
            self.stale = true;
        }
        match (self.request.frozen, self.frozen) {
            (true, None) if self.last.is_some() && !self.ended => {
                self.frozen = Some(Frozen {
                    state: self.state,
                    painted: self.painted_at,
                });
                self.stale = true;
            }
            (false, Some(_)) => {
                // What comes next is another scene, and has the time of one to come.
                let now = Some(self.clock.now());
                (self.frozen, self.newest, self.changed) = (None, now, now);
                self.tracker.forget();
            }
            _ => {}
        }
    }

    /// Take up requests, answers and the temperature.
    fn attend(&mut self, now: Timestamp) {
        self.take_request();
        while let Some(event) = self.supervisor.poll(now) {
            match event {
                Event::Reply(reply) => self.take(reply, now),
                Event::Restarted(message) => {
                    self.metrics.restarted();
                    self.cadence.failed();
                    self.answered = false;
                    self.started = now;
                    self.tracker.forget();
                    self.message = Some(message);
                }
                Event::Fault(message) => {
                    self.metrics.fault();
                    self.tracker.forget();
                    self.message = Some(message);
                }
            }
        }
        if self
            .warmth
            .is_none_or(|last| now.since(last) >= TEMPERATURE_EVERY)
        {
            self.warmth = Some(now);
            self.cadence.set_temperature(self.metrics.temperature());
        }
    }

    fn take(&mut self, reply: Reply, now: Timestamp) {
        match reply.result {
            Ok(findings) => {
                self.answered = true;
                self.message = None;
                self.metrics.inference(reply.took);
                self.cadence.took(reply.took);
                // An answer to prompts that are no longer asked would fill the wrong places.
                let current = reply.prompts == self.prompts_generation();
                if current && self.tracker.answered(reply.number, reply.places, &findings) {
                    self.masks.add(now);
                    self.unseen = Some(reply.number);
                    let absent = findings
                        .iter()
                        .filter(|f| !f.present && f.withheld.is_none());
                    self.metrics.absent(absent.count() as u64);
                } else {
                    self.tracker.failed(reply.number);
                    self.metrics.late();
                }
            }
            Err(error) => {
                self.metrics.fault();
                self.cadence.failed();
                self.tracker.failed(reply.number);
                self.message = Some(error.to_string());
            }
        }
    }

    /// Decide the state.
    fn settle(&mut self, now: Timestamp) {
        let silent = |at: Option<Timestamp>| {
            let since = at.unwrap_or(self.started);
            now.since(since) > self.config.frozen
        };
        // First whether the picture is live: of one that is not, nothing else matters as much.
        let state = if self.frozen.is_some() {
            State::Paused(Pause::Frozen)
        } else if self.ended || silent(self.newest) || silent(self.changed) {
            State::Stalled(Stall::Input)
        } else if let Some(fault) = self.supervisor.fault() {
            State::Fault(fault)
        } else if !self.request.on {
            State::Paused(Pause::Off)
        } else if let Some(pause) = self.pause {
            State::Paused(pause)
        } else if self.supervisor.stalled(now) {
            State::Stalled(Stall::Inference)
        } else if !self.answered {
            State::Starting
        } else if let Some(degradation) = self.cadence.degradation() {
            State::Degraded(degradation)
        } else if !self.answers(now) {
            State::Degraded(Degradation::NoAnswer)
        } else {
            State::Active
        };
        if state != self.state {
            // What was known before the interruption belongs to another scene.
            let frozen = state == State::Paused(Pause::Frozen);
            if matches!(state, State::Paused(_) | State::Stalled(Stall::Input)) && !frozen {
                self.tracker.forget();
            }
            self.state = state;
            self.stale = true;
            self.record.set_state(state);
        }
        self.metrics.state(state);
    }

    /// Whether for every prompt there is an answer that is young enough to be shown.
    fn answers(&self, now: Timestamp) -> bool {
        let limit = self.config.age.limit;
        let young = |captured: Timestamp| now.since(captured) <= limit;
        let mut answers = self.tracker.answers(&self.request.prompts.names);
        answers.all(|answer| answer.captured().is_some_and(young))
    }

    /// Take a patient who is seen after a long while without one for another.
    fn recognize(&mut self, now: Timestamp) {
        // By the picture, as the state may tell of something else, such as a model at fault.
        if self.pause.is_some() || self.state == State::Stalled(Stall::Input) {
            return;
        }
        let pause = now.since(std::mem::replace(&mut self.seen, now));
        let longest = self.config.new_patient_after;
        if longest.is_some_and(|longest| pause > longest) {
            self.next_case();
        }
    }

    /// Another patient: nothing is known of what is to be found.
    fn next_case(&mut self) {
        self.case += 1;
        self.tracker.forget();
    }

    /// Offer the frame to the model, where there is a reason to ask.
    fn ask(&mut self, frame: &Frame, number: u64, change: Change, now: Timestamp) {
        let paused = matches!(self.state, State::Paused(_) | State::Fault(_));
        if paused || self.state == State::Stalled(Stall::Input) {
            self.metrics.skipped(self.state.reason());
        } else if change == Change::None && self.tracker.knows_all(now, self.config.age.limit / 2) {
            // Where the video stands still, a mask is asked for again before it is too old.
            self.metrics.skipped("unchanged");
        } else if self.supervisor.loaded() && !self.scene.suspects() {
            let waiting = self.supervisor.waiting();
            if !waiting {
                if !self.cadence.due(now) {
                    return;
                }
                self.cadence.started(now);
            }
            let (places, side) = (self.cadence.places(), self.cadence.side());
            let prompts = &self.request.prompts;
            let overtook = self.supervisor.offer(frame, number, prompts, places, side);
            // A stamp from the future, as a host's other clock may set, must not keep a mask young.
            let captured = frame.captured().min(now);
            self.tracker.offered(number, captured, overtook);
        }
    }

    fn paint(
        &mut self,
        frame: &Frame,
        number: u64,
        now: Timestamp,
        repeated: bool,
    ) -> Result<(), FrameError> {
        let (picture, seen) = self
            .frozen
            .map_or((self.state, now), |frozen| (frozen.state, frozen.painted));
        let caption = Caption {
            state: self.state,
            picture,
            rates: (self.frames.per_second(now), self.masks.per_second(now)),
            outputs: &self.outputs,
        };
        let permitted = picture.permit().is_some();
        (self.painted_at, self.stale, self.oldest) = (now, false, None);
        let names = &self.request.prompts.names;
        let (record, places) = (&mut self.record, &mut self.painted);
        let (metrics, unseen, oldest) = (&*self.metrics, &mut self.unseen, &mut self.oldest);
        record.begin(number, frame.captured(), repeated);
        places.clear();
        let became = |answer: &Answer<'_>, standing: Standing| {
            let Some(name) = names.get(answer.place) else {
                return;
            };
            let withheld = match (&answer.said, standing) {
                (Said::Mask(_), Standing::Unanswered) if permitted => Some("age"),
                (Said::Mask(_), Standing::Unanswered) => Some("state"),
                (_, Standing::Uncertain) => Some("uncertain"),
                (_, Standing::Withheld(_)) => Some("unfamiliar"),
                _ => None,
            };
            if let Some(reason) = withheld.filter(|_| !repeated) {
                metrics.withheld(reason);
            }
            let shown = answer
                .captured()
                .filter(|_| standing != Standing::Unanswered);
            if let Some(captured) = shown {
                *oldest = Some(oldest.map_or(captured, |oldest| oldest.min(captured)));
            }
            let confidence = match standing {
                Standing::Fresh => 1.0,
                Standing::Carried { confidence, .. } => confidence,
                Standing::Absent => return record.absent.push(name.clone()),
                Standing::Uncertain | Standing::Withheld(_) => {
                    return record.uncertain.push(name.clone());
                }
                Standing::Unanswered => return record.unanswered.push(name.clone()),
            };
            let Said::Mask(claim) = &answer.said else {
                return;
            };
            let age = seen.since(claim.captured);
            metrics.mask_age(age);
            if unseen.take_if(|number| *number == claim.made_for).is_some() {
                metrics.glass_to_mask(age);
            }
            let mask = MaskRecord::new(name, claim, age, confidence);
            record.masks.push(mask);
            places.push(answer.place);
        };
        let answers = self.tracker.answers(names);
        self.painter.paint(
            &caption,
            frame,
            number,
            seen,
            self.config.age,
            answers,
            became,
        )?;
        let delay = self.clock.now().since(self.newest.unwrap_or(now));
        record.delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        Ok(())
    }
}
