//! What a fault did, as figures, as complaints, and as a row of the table.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::band::OUTPUTS;
use crate::faults::Fault;
use crate::feeder::FRAME;
use crate::live::{Arrival, MAX_AGE, Outcome};

/// What the video may pause at most, for anything but its own source.
const PAUSE: f64 = 2.0;
/// The same, the frames in a row that may not be shown, and the share that must be, in percent, however
/// busy the machine is.
const BUSY_PAUSE: f64 = 30.0;
const BUSY_MISSED: u64 = 15;
const BUSY_SHARE: usize = 70;
/// What a session's end may take longer then.
const BUSY_END: Duration = Duration::from_secs(3);
/// Frames that came out whose records a kill may cost while the disk keeps up: one whose record is not
/// handed over yet; a second of them where the thread that writes waits for a processor.
const UNLOGGED: usize = 1;
const BUSY_UNLOGGED: usize = 30;

/// Frames of a part of the session, by their numbers.
#[derive(Default, Clone, Copy)]
struct Phase {
    sent: usize,
    /// Those that came out.
    came: usize,
    /// Those that were shown, as the command's records have it.
    recorded: usize,
}

const PHASES: [&str; 3] = ["before", "during", "after"];

pub(crate) struct Report {
    name: &'static str,
    /// Before, during and after the fault.
    frames: [Phase; 3],
    /// Whether the fault is the source's own.
    source: bool,
    /// Longest pause of the video from the fault on, in frame times.
    pause: f64,
    /// The command's own figures from its records: longest delay in frame times, and the most
    /// frames in a row that were not shown.
    delay: f64,
    missed: u64,
    /// What stood below the pictures.
    words: Vec<String>,
    /// News of outputs on standard error.
    told: Vec<String>,
    record: String,
    exit: String,
    ending: Duration,
    /// Frames that came out without a record in the log, which a kill may cost.
    unlogged: usize,
    /// What is wrong, but for what came late.
    wrong: Vec<String>,
    /// What the session's end may take.
    ends_within: Duration,
    stderr: String,
}

impl Report {
    pub(crate) fn new(
        fault: &Fault,
        outcome: Outcome,
        marks: [Instant; 3],
        recovered: bool,
    ) -> Self {
        let [struck, _, ended] = marks;
        let new = fresh(&outcome.arrivals);
        let since = outcome.sent.iter().take_while(|s| s.at < struck).count() as u64;
        let (delay, missed) = own_figures(&outcome, since);
        let mut report = Self {
            name: fault.name,
            frames: phases(&outcome, &new, marks),
            source: fault.source,
            pause: pause(&outcome, &new, struck, ended),
            delay,
            missed,
            words: words(&outcome),
            told: told(&outcome),
            record: record(&outcome),
            exit: outcome.exit(),
            ending: outcome.ending,
            unlogged: if fault.closes { 0 } else { unlogged(&outcome) },
            wrong: Vec::new(),
            ends_within: Duration::from_millis(fault.ends_within),
            stderr: outcome.stderr.clone(),
        };
        report.wrong = report.judge(fault, &outcome, recovered);
        report
    }

    fn judge(&self, fault: &Fault, outcome: &Outcome, recovered: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        expect(recovered, "no masks, or not what it should say".to_owned());
        let code = match fault.code {
            code if code < 0 => format!("signal {}", -code),
            code => code.to_string(),
        };
        expect(self.exit == code, format!("exit {}, not {code}", self.exit));
        let recorded = outcome.frames().any(|frame| state(frame) == fault.says);
        expect(recorded, format!("never records '{}'", fault.says));
        let stood = |word: &str| outcome.arrivals.iter().any(|a| a.said.contains(word));
        expect(
            stood(fault.says),
            format!("no picture with '{}'", fault.says),
        );
        if let Some([short, told]) = fault.trouble {
            expect(stood(short), format!("no picture with '{short}'"));
            let tells = self.told.iter().any(|line| line.starts_with(told));
            expect(tells, format!("never tells '{told}'"));
        }
        // Of an output that failed, the error has its name.
        let of = fault.trouble.and_then(|[_, told]| told.split_once(':'));
        let error = format!("error: {}", of.map_or("", |(output, _)| output));
        let last = self.stderr.lines().any(|line| line.starts_with(&error));
        expect(fault.code <= 0 || last, format!("no '{error}'"));
        let masks = |a: &&Arrival| a.painted;
        let never = ["starting", "paused", "stalled", "fault"];
        let forbidden = |a: &&Arrival| never.iter().any(|state| a.said.starts_with(state));
        let masked = outcome.arrivals.iter().filter(masks);
        expect(
            !fault.answers || masked.clone().next().is_some(),
            "no picture with a mask".to_owned(),
        );
        if let Some(a) = masked.clone().find(forbidden) {
            expect(
                false,
                format!("a mask on picture {}, '{}'", a.number, a.said),
            );
        }
        if fault.source && !fault.masks_after {
            let last = outcome.arrivals.last();
            let last = last.map_or("no picture", |a| match a.painted {
                true => "a mask",
                false => &*a.said,
            });
            expect(
                last.starts_with("stalled"),
                format!("ends with {last} on the screen"),
            );
        }
        let ages = outcome.frames().flat_map(|frame| frame["masks"].as_array());
        let oldest = ages
            .flatten()
            .filter_map(|mask| mask["age_us"].as_u64())
            .max();
        let oldest = oldest.unwrap_or_default() / 1000;
        expect(oldest <= MAX_AGE, format!("a mask of {oldest} ms"));
        if fault.closes {
            match outcome.end() {
                None => expect(false, "no end in the records".to_owned()),
                Some(end) => {
                    let [captured, shown, dropped, failed] = counts(end);
                    let sum = shown + dropped + failed;
                    expect(captured == sum, format!("{end} does not add up"));
                }
            }
        }
        if fault.closes && stands(fault) {
            let lost = unlogged(outcome);
            expect(lost == 0, format!("{lost} frames are not in the log"));
        }
        wrong
    }

    /// Whether it is all that is wrong that something came late.
    pub(crate) fn only_late(&self, timed: bool) -> bool {
        self.wrong.is_empty() && !self.late(timed).is_empty()
    }

    /// What came late; unless it is `timed`, later than a busy machine is a reason for.
    fn late(&self, timed: bool) -> Vec<String> {
        let mut late = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                late.push(what);
            }
        };
        let goes_on = self.pause <= BUSY_PAUSE && (!timed || self.judged_by().is_some());
        let pause = self.pause;
        expect(goes_on, format!("video paused for {pause:.1} frame times"));
        let missed = self.missed;
        expect(
            missed <= BUSY_MISSED,
            format!("{missed} frames in a row were not shown"),
        );
        for (name, phase) in PHASES.iter().zip(&self.frames) {
            let own = self.source && *name == "during";
            let shown = phase.came.min(phase.recorded);
            expect(
                own || 100 * shown >= BUSY_SHARE * phase.sent,
                format!(
                    "{shown} of {} frames were shown {name} the fault",
                    phase.sent
                ),
            );
        }
        let (more, unlogged) = match timed {
            true => (Duration::ZERO, UNLOGGED),
            false => (BUSY_END, BUSY_UNLOGGED),
        };
        expect(
            self.ending <= self.ends_within + more,
            format!("took {} ms to end", self.ending.as_millis()),
        );
        expect(
            self.unlogged <= unlogged,
            format!("{} frames are not in the log", self.unlogged),
        );
        late
    }

    /// By which figures the video did not pause, if it did not.
    fn judged_by(&self) -> Option<&'static str> {
        match self.pause <= PAUSE {
            true => Some("arrival"),
            // A busy machine delays the drill's own threads as well.
            false if self.delay <= PAUSE && self.missed as f64 <= PAUSE => Some("records"),
            false => None,
        }
    }

    /// What is wrong and what came late, in one line.
    pub(crate) fn complaint(&self, timed: bool) -> Option<String> {
        let mut wrong = self.wrong.clone();
        wrong.extend(self.late(timed));
        let all = wrong.join("; ");
        let figures = self.row_figures();
        (!wrong.is_empty()).then(|| format!("{}: {all}\n{figures}\n{}", self.name, self.stderr))
    }

    fn row(&self) -> String {
        let frames: Vec<String> = self
            .frames
            .iter()
            .map(|phase| format!("{} of {}", phase.came, phase.sent))
            .collect();
        let verdict = match self.judged_by() {
            Some(by) if self.complaint(true).is_none() => format!("held (by {by})"),
            _ => "**FAILED**".to_owned(),
        };
        format!(
            "| {} | {} | {:.1} | {:.1}, {} | {} | {} | {} | {}, {} ms | {verdict} |",
            self.name,
            frames.join(" | "),
            self.pause,
            self.delay,
            self.missed,
            self.words.join(" → "),
            self.told.join("; "),
            self.record,
            self.exit,
            self.ending.as_millis(),
        )
    }
}

impl Report {
    fn row_figures(&self) -> String {
        format!(
            "frames {:?}, pause {:.1}, delay {:.1}, missed {}, {}, {}, exit {} in {:?}",
            self.frames.map(|p| [p.sent, p.came, p.recorded]),
            self.pause,
            self.delay,
            self.missed,
            self.words.join(" > "),
            self.record,
            self.exit,
            self.ending
        )
    }
}

pub(crate) fn counts(end: &Value) -> [u64; 4] {
    ["captured", "shown", "dropped", "failed"].map(|name| end[name].as_u64().unwrap_or_default())
}

/// Frames as they first came out; a picture that is sent again has its number still.
fn fresh(arrivals: &[Arrival]) -> Vec<(u64, Instant)> {
    let mut new: Vec<(u64, Instant)> = Vec::new();
    for Arrival { number, at, .. } in arrivals {
        if new.last().is_none_or(|last| last.0 < *number) {
            new.push((*number, *at));
        }
    }
    new
}

/// How many frames were sent, came out and were recorded, before, during and after the fault.
fn phases(outcome: &Outcome, new: &[(u64, Instant)], marks: [Instant; 3]) -> [Phase; 3] {
    let mut phases = [Phase::default(); 3];
    let came: BTreeSet<u64> = new.iter().map(|(number, _)| *number).collect();
    let recorded = numbers(outcome.frames());
    for (number, sent) in outcome.sent.iter().enumerate() {
        let number = number as u64;
        let place = marks.iter().take_while(|mark| sent.at >= **mark).count();
        if let Some(phase) = phases.get_mut(place) {
            phase.sent += 1;
            phase.came += usize::from(came.contains(&number));
            phase.recorded += usize::from(recorded.contains(&number));
        }
    }
    phases
}

fn numbers<'a>(frames: impl Iterator<Item = &'a Value>) -> BTreeSet<u64> {
    frames.filter_map(|frame| frame["frame"].as_u64()).collect()
}

/// Frames that came out and have no record in the log.
pub(crate) fn unlogged(outcome: &Outcome) -> usize {
    let logged = numbers(outcome.log.iter().filter_map(|record| record.get("frame")));
    let new = fresh(&outcome.arrivals);
    new.iter()
        .filter(|(number, _)| !logged.contains(number))
        .count()
}

/// Whether the log is not what fails.
fn stands(fault: &Fault) -> bool {
    fault
        .trouble
        .is_none_or(|[short, _]| !short.starts_with("result log"))
}

/// The longest time between two frames, in frame times, without what the source was late.
fn pause(outcome: &Outcome, new: &[(u64, Instant)], from: Instant, to: Instant) -> f64 {
    let mut longest: f64 = 0.0;
    for pair in new.windows(2) {
        let [(a, before), (b, after)] = [pair[0], pair[1]];
        if after < from || before > to {
            continue;
        }
        let sent = outcome.sent.get(a as usize + 1..=b as usize);
        let late: Duration = sent.into_iter().flatten().map(|sent| sent.late).sum();
        let gap = after.duration_since(before).saturating_sub(late);
        longest = longest.max(gap.as_secs_f64() / FRAME.as_secs_f64());
    }
    longest
}

/// Longest delay, in frame times, and longest run of frames that were not shown, as recorded.
fn own_figures(outcome: &Outcome, since: u64) -> (f64, u64) {
    let (mut delay, mut missed, mut last) = (0, 0, None);
    for frame in outcome.frames() {
        let number = frame["frame"].as_u64().unwrap_or_default();
        if number < since {
            continue;
        }
        delay = delay.max(frame["delay_us"].as_u64().unwrap_or_default());
        missed = missed.max(last.map_or(0, |last| number.saturating_sub(last + 1)));
        last = Some(number);
    }
    (delay as f64 / FRAME.as_micros() as f64, missed)
}

/// The state of a recorded frame, as it stands below a picture.
fn state(frame: &Value) -> String {
    let text = |name: &str| frame[name].as_str().unwrap_or_default();
    match text("reason") {
        "" => text("state").to_owned(),
        reason => format!("{}: {reason}", text("state")),
    }
}

/// What stood below the pictures, one after the other.
fn words(outcome: &Outcome) -> Vec<String> {
    let said = outcome.arrivals.iter().map(|arrival| arrival.said.clone());
    let mut words: Vec<String> = said.collect();
    words.dedup();
    if words.len() > 7 {
        let left = words.len() - 6;
        words.splice(3..words.len() - 3, [format!("({left} more)")]);
    }
    words
}

/// What was said of outputs, without the hints.
fn told(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines();
    let news = lines.filter_map(|line| line.strip_prefix("note: "));
    let news = news.filter(|line| OUTPUTS.iter().any(|output| line.starts_with(output)));
    news.map(|line| line.split("; hint").next().unwrap_or(line).to_owned())
        .collect()
}

fn record(outcome: &Outcome) -> String {
    let frames = |records: &[Value]| records.iter().filter(|r| r.get("frame").is_some()).count();
    let end = match outcome.end() {
        Some(end) => {
            let [captured, shown, dropped, failed] = counts(end);
            format!("end: {captured} = {shown} + {dropped} + {failed}")
        }
        None => "no end".to_owned(),
    };
    format!(
        "{} pictures, {} in lines, {} in the log; {end}",
        outcome.arrivals.len(),
        frames(&outcome.records),
        frames(&outcome.log)
    )
}

/// The table as a page.
pub(crate) fn page(rows: &[(&Fault, Result<Report, String>)]) -> String {
    let date = std::process::Command::new("date")
        .args(["-u", "+%F"])
        .output()
        .unwrap();
    let date = String::from_utf8(date.stdout).unwrap();
    let machine = bedside::machine_name().unwrap_or_else(|| "unknown machine".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    let mut page = format!(
        "# Fault drill\n\n\
         Written by `.ci/drill` on {}, {machine}, {cores} cores, load {load}. Each row is a run of\n\
         `bedside live - --prompt polyp --out - --records FILE --log FILE` with Y4M of 320x240 at 30 frames a second,\n\
         numbered in its pixels, going in and coming out, and the tiny bundle of the tests.\n\n\
         Frames are those that came out, by the numbers in their pixels, of those that were sent before, during and\n\
         after the fault. The pause is the longest time between two frames that came out from the fault on, in frame\n\
         times of 33 ms, less what the source itself was late; on a busy machine it has what the drill's own threads\n\
         waited for a processor. Beside it stand the command's own figures from its records: the longest delay of a\n\
         frame, in frame times, and the most frames in a row that were not shown. Video must not pause for more than\n\
         two frame times, by arrival or, where the machine was busy, by both of the records' figures and no longer\n\
         than {BUSY_PAUSE:.0} by arrival; no more than {BUSY_MISSED} frames in a row may not be shown, and {BUSY_SHARE} % must be shown before, during\n\
         (unless the fault is the source's) and after the fault, by arrival and by the records. `--untimed`, as CI\n\
         runs it, of pauses only that of {BUSY_PAUSE:.0} is judged, and an end may take {} seconds longer. Where something was late and\n\
         nothing else wrong, the row is run again, three times at most.\n\n\
         Words are read from the pixels below the pictures: the state, and what is wrong with outputs. Told is\n\
         what standard error says of outputs. The state that a fault leads to must be in the records and below a\n\
         picture, an output's failure below a picture and on standard error. No picture may differ from its\n\
         frame, as a mask makes it, in a state that permits no mask; where the source ends, the last one is\n\
         stalled. The record has the pictures that came out, the frames in each of the two files, and the end's\n\
         captured = shown + dropped + failed. Every frame that came out must be in the log, unless that is what\n\
         fails; a kill may cost {UNLOGGED} of them, {BUSY_UNLOGGED} `--untimed` ([result-log.md](result-log.md)).\n\
         The exit code has the time to the end beside it, at most one second, or six beside a sink that takes\n\
         nothing.\n\n\
         | Fault | Before | During | After | Pause | Own: delay, not shown | Words on the picture | Told | Record | Exit | Verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        date.trim(),
        BUSY_END.as_secs()
    );
    for (fault, tried) in rows {
        let row = match tried {
            Ok(report) => report.row(),
            Err(why) => format!("| {} | | | | | | | | | | not run: {why} |", fault.name),
        };
        let _ = writeln!(page, "{row}");
    }
    page.push_str("\nNot run: a camera that is unplugged, as no camera is there.\n");
    page
}
