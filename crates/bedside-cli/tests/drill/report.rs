//! What a fault did, as figures, as complaints, and as a row of the table.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::Fault;
use crate::feeder::FRAME;
use crate::live::{MAX_AGE, Outcome};

/// What the video may pause at most, for anything but its own source.
const PAUSE: f64 = 2.0;

pub(crate) struct Report {
    name: &'static str,
    /// Frames shown and sent before, during and after the fault.
    frames: [(usize, usize); 3],
    /// Longest pause of the video from the fault on, in frame times.
    pause: f64,
    /// The command's own figures from its records: longest delay in frame times, and the most
    /// frames in a row that were not shown.
    delay: f64,
    missed: u64,
    words: Vec<String>,
    /// News of outputs, as they stand on the picture in short.
    told: Vec<String>,
    record: String,
    exit: String,
    ending: Duration,
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
        let [struck, mended, ended] = marks;
        let phase = |at: Instant| match at {
            at if at < struck => Some(0),
            at if at < mended => Some(1),
            at if at < ended => Some(2),
            _ => None,
        };
        let mut frames = [(0, 0); 3];
        let new = fresh(&outcome.arrivals);
        for phase in new.iter().filter_map(|(_, at)| phase(*at)) {
            frames[phase].0 += 1;
        }
        for phase in outcome.sent.iter().filter_map(|sent| phase(sent.at)) {
            frames[phase].1 += 1;
        }
        let since = outcome.sent.iter().take_while(|s| s.at < struck).count() as u64;
        let (delay, missed) = own_figures(&outcome, since);
        let mut report = Self {
            name: fault.name,
            frames,
            pause: pause(&outcome, &new, struck, ended),
            delay,
            missed,
            words: words(&outcome),
            told: told(&outcome),
            record: record(&outcome),
            exit: outcome.exit(),
            ending: outcome.ending,
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
        for word in fault.says {
            let said = outcome
                .frames()
                .any(|frame| frame.to_string().contains(word));
            expect(said, format!("never says '{word}'"));
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
        if !fault.source {
            for (phase, (shown, sent)) in ["during", "after"].iter().zip(&self.frames[1..]) {
                expect(
                    *sent == 0 || *shown > 0,
                    format!("no video {phase} the fault"),
                );
            }
        }
        wrong
    }

    /// Whether it is all that is wrong that something came late.
    pub(crate) fn only_late(&self) -> bool {
        self.wrong.is_empty() && !self.late().is_empty()
    }

    /// What came late, be it for a busy machine.
    fn late(&self) -> Vec<String> {
        let mut late = Vec::new();
        if self.judged_by().is_none() {
            late.push(format!("video paused for {:.1} frame times", self.pause));
        }
        if self.ending > self.ends_within {
            late.push(format!("took {} ms to end", self.ending.as_millis()));
        }
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

    /// What is wrong, and, where it is `timed`, what came late, in one line.
    pub(crate) fn complaint(&self, timed: bool) -> Option<String> {
        let mut wrong = self.wrong.clone();
        if timed {
            wrong.extend(self.late());
        }
        let all = wrong.join("; ");
        let figures = self.row_figures();
        (!wrong.is_empty()).then(|| format!("{}: {all}\n{figures}\n{}", self.name, self.stderr))
    }

    fn row(&self) -> String {
        let frames: Vec<String> = self
            .frames
            .iter()
            .map(|(shown, sent)| format!("{shown} of {sent}"))
            .collect();
        let verdict = match self.judged_by() {
            Some(by) if self.complaint(true).is_none() => format!("held (by {by})"),
            _ => "**FAILED**".to_owned(),
        };
        let mut said = vec![self.words.join(" → ")];
        said.extend_from_slice(&self.told);
        format!(
            "| {} | {} | {:.1} | {:.1}, {} | {} | {} | {}, {} ms | {verdict} |",
            self.name,
            frames.join(" | "),
            self.pause,
            self.delay,
            self.missed,
            said.join("; "),
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
            self.frames,
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
fn fresh(arrivals: &[(u64, Instant)]) -> Vec<(u64, Instant)> {
    let mut new: Vec<(u64, Instant)> = Vec::new();
    for arrival in arrivals {
        if new.last().is_none_or(|last| last.0 < arrival.0) {
            new.push(*arrival);
        }
    }
    new
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

/// The states in their order, and words of trouble, as they stand below the picture.
fn words(outcome: &Outcome) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for frame in outcome.frames() {
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let mut word = text("state");
        for more in [text("reason"), text("trouble")] {
            if !more.is_empty() {
                let _ = write!(word, ": {more}");
            }
        }
        if words.last() != Some(&word) {
            words.push(word);
        }
    }
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
    let news = news.filter(|line| {
        ["output ", "file of records:", "result log:"]
            .iter()
            .any(|o| line.starts_with(o))
    });
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
        "{} in lines, {} in the log; {end}",
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
         Frames are those that came out, of those that were sent, before, during and after the fault. The pause is\n\
         the longest time between two frames that came out from the fault on, in frame times of 33 ms, less what the\n\
         source itself was late; on a busy machine it has what the drill's own threads waited for a processor.\n\
         Beside it stand the command's own figures from its records: the longest delay of a frame, in frame times,\n\
         and the most frames in a row that were not shown. Video must not pause for more than two frame times, by\n\
         arrival or, where the machine was busy, by both of the records' figures. Words are the states below the picture; behind\n\
         them, what is said on standard error of outputs, which the picture has in short.\n\
         The record's end is captured = shown + dropped + failed. The exit code has the time to the end beside it.\n\n\
         | Fault | Before | During | After | Pause | Own: delay, not shown | Words on the picture | Record | Exit | Verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        date.trim()
    );
    for (fault, tried) in rows {
        let row = match tried {
            Ok(report) => report.row(),
            Err(why) => format!("| {} | | | | | | | | | not run: {why} |", fault.name),
        };
        let _ = writeln!(page, "{row}");
    }
    page.push_str("\nNot run: a camera that is unplugged, as no camera is there.\n");
    page
}
