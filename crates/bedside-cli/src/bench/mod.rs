//! `bedside bench`: how fast this machine is.

mod compare;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bedside::engine::OpTime;
use bedside::{Frame, Profile, Prompt, PromptSet, Segmenter, Timings, Unproven};
use serde::{Deserialize, Serialize};

use self::compare::{Against, Before, Earlier, cell};
use crate::failure::Failure;
use crate::model::{ModelArgs, backend};
use crate::phantom;
use crate::report::Model;
use crate::table::Table;
use crate::ui::Ui;
use crate::warm::{Placed, placed};

/// Passes before the clock counts: caches fill and plans are made.
const WARM_UP: u32 = 5;

/// Arguments of `bedside bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside bench
  bedside bench --threads 1 --precision f32
  bedside bench --prompt polyp --profile
  bedside bench --json > before.json; bedside bench --compare before.json

The frames are phantoms of that size. Stop other work first: the table is only as good as
the quiet of the machine.")]
pub(crate) struct Args {
    /// Prompt to time; may be given repeatedly [default: all that the model knows]
    #[arg(short, long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,

    /// Frames to time
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,

    /// Size of the frames
    #[arg(long, default_value = "640x480", value_name = "WxH", value_parser = phantom::size)]
    size: (u32, u32),

    /// Also time every operator, over as many passes as frames
    #[arg(long)]
    profile: bool,

    /// Backend whose frames take turns with this one's, for a ratio; none: no other
    #[arg(long, value_name = "NAME", default_value = STOCK, value_parser = other)]
    against: Other,

    /// Earlier run to compare with: what --json printed, of the same work
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// tract alone.
const STOCK: &str = "tract-stock";

/// A backend to compare with, or none.
#[derive(Debug, Clone, Copy)]
struct Other(Option<&'static str>);

fn other(name: &str) -> Result<Other, String> {
    match name {
        "none" => Ok(Other(None)),
        name => backend(name).map(|name| Other(Some(name))),
    }
}

/// Statistics of one stage over all frames, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stage {
    stage: String,
    mean: f64,
    median: f64,
    p95: f64,
    max: f64,
}

impl Stage {
    fn new(stage: &str, times: impl Iterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = times.map(|t| t.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let mean = ms.iter().sum::<f64>() / ms.len().max(1) as f64;
        let [median, p95, max] = [0.5, 0.95, 1.0].map(|share| quantile(&ms, share));
        Self {
            stage: stage.to_owned(),
            mean,
            median,
            p95,
            max,
        }
    }
}

/// The stages of frames, in order.
fn stages(timings: &[Timings]) -> Vec<Stage> {
    let stage = |name, pick: fn(&Timings) -> Duration| Stage::new(name, timings.iter().map(pick));
    vec![
        stage("preprocess", |t| t.preprocess),
        stage("encoder", |t| t.encoder),
        stage("decoder", |t| t.decoder),
        stage("masks", |t| t.masks),
        stage("total", Timings::total),
    ]
}

/// The smallest value that at least `share` of the sorted values do not exceed; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[derive(Debug, Serialize)]
struct Report {
    bedside: &'static str,
    machine: Option<String>,
    cores: usize,
    /// What the backend's speed depends on: the kind of kernels, or the device.
    kernels: Option<String>,
    model: Model,
    prompts: usize,
    frames: u32,
    width: u32,
    height: u32,
    load_ms: f64,
    frames_per_second: f64,
    peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    placement: Vec<Placed>,
    stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Operators>,
}

/// Every operator of one pass.
#[derive(Debug, Serialize)]
struct Operators {
    encoder: Vec<Operator>,
    decoder: Vec<Operator>,
}

#[derive(Debug, Serialize)]
struct Operator {
    node: String,
    op: String,
    ms: f64,
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let start = Instant::now();
    let earlier = args.compare.as_deref().map(Earlier::read).transpose()?;
    let bundle = model.bundle(None)?;
    let options = model.options(&bundle, ui)?;
    let engine = options.backend()?;
    let kernels = engine.fingerprint();
    let loaded = Unproven::load(bundle.clone(), engine, &options)?;
    // The first start's self-test is no part of loading.
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut segmenter = loaded.prove()?;
    let texts = prompts(args, &segmenter);
    let prompts = segmenter.prompts(&texts)?;
    let (width, height) = args.size;
    let frame = phantom::still(width, height)?;

    let timings = time(args.frames, &frame, &prompts, &mut segmenter, ui)?;
    let passes = if args.profile { args.frames } else { 0 };
    let passes: Result<Vec<Profile>, _> = (0..passes)
        .map(|_| segmenter.profile(&frame, &prompts))
        .collect();
    let profile = args
        .profile
        .then(|| passes.map(|p| Operators::of(&p)))
        .transpose()?;

    let peak_memory_bytes = bedside_live::peak_memory();
    let Other(against) = args.against;
    let against = against
        .filter(|other| *other != segmenter.backend())
        .and_then(|other| {
            let work = (texts.as_slice(), &mut segmenter, &prompts);
            let against = Against::run(other, (bundle, &options), &frame, work);
            let said = |e| ui.note(format_args!("note: not compared with {other}: {e}"));
            against.map_err(said).ok()
        });
    let mean = Stage::new("", timings.iter().map(Timings::total)).mean;
    let mut report = Report {
        bedside: env!("CARGO_PKG_VERSION"),
        machine: bedside::machine_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernels,
        model: Model::of(&segmenter),
        prompts: prompts.len(),
        frames: args.frames,
        width,
        height,
        load_ms,
        frames_per_second: 1e3 / mean,
        peak_memory_bytes,
        placement: placed(segmenter.placements()),
        stages: stages(&timings),
        against,
        before: None,
        profile,
    };
    let before = earlier.map(|earlier| earlier.compare(&report));
    report.before = before.transpose()?;
    if ui.json() {
        return ui.print_json(&report);
    }
    ui.print(&text(&report))?;
    for placed in &report.placement {
        ui.print(&format!("{placed}\n"))?;
    }
    match &report.profile {
        Some(profile) => ui.print(&format!(
            "\nencoder, medians by operator\n{}\ndecoder, medians by operator\n{}",
            by_operator(&profile.encoder),
            by_operator(&profile.decoder)
        )),
        None => Ok(()),
    }
}

fn prompts(args: &Args, segmenter: &Segmenter) -> Vec<Prompt> {
    let mut texts = args.prompts.clone();
    if texts.is_empty() {
        texts = segmenter
            .prompt_table()
            .trained_forms()
            .map(|form| form.text())
            .collect();
    }
    texts.into_iter().map(Prompt::new).collect()
}

fn time(
    frames: u32,
    frame: &Frame,
    prompts: &PromptSet,
    segmenter: &mut Segmenter,
    ui: Ui,
) -> Result<Vec<Timings>, Failure> {
    for _ in 0..WARM_UP {
        let answer = segmenter.segment(frame, prompts)?;
        segmenter.reuse(answer.findings);
    }
    let bar = ui.progress(u64::from(frames), "frames");
    let mut timings = Vec::with_capacity(frames as usize);
    for _ in 0..frames {
        let answer = segmenter.segment(frame, prompts)?;
        timings.push(answer.timings);
        segmenter.reuse(answer.findings);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(timings)
}

impl Operators {
    /// Medians over passes of the same plan.
    fn of(passes: &[Profile]) -> Self {
        let list = |graph: fn(&Profile) -> &Vec<OpTime>| {
            let first = passes.first().map(graph).into_iter().flatten();
            let operator = |(i, time): (usize, &OpTime)| {
                let times = passes.iter().filter_map(|p| graph(p).get(i));
                Operator {
                    node: time.node.clone(),
                    op: time.op.clone(),
                    ms: Stage::new("", times.map(|t| t.time)).median,
                }
            };
            first.enumerate().map(operator).collect()
        };
        Self {
            encoder: list(|p| &p.encoder),
            decoder: list(|p| &p.decoder),
        }
    }
}

/// The report as it is pasted into an issue or a mail.
fn text(report: &Report) -> String {
    let Report { model, .. } = report;
    let machine = report.machine.as_deref().unwrap_or("unknown machine");
    let memory = report
        .peak_memory_bytes
        .map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    let mut titles = vec!["stage", ">mean ms", ">median ms", ">p95 ms", ">max ms"];
    let to_other = report
        .against
        .as_ref()
        .map(|against| format!(">to {}", against.backend));
    titles.extend(to_other.as_deref());
    titles.extend(report.before.as_ref().map(|_| ">to before"));
    let mut table = Table::new(titles);
    for s in &report.stages {
        let mut cells = vec![s.stage.clone()];
        cells.extend([s.mean, s.median, s.p95, s.max].map(|v| format!("{v:.2}")));
        let compared = [
            report.against.as_ref().map(|against| &against.ratios),
            report.before.as_ref().map(|before| &before.ratios),
        ];
        let ratios = compared.into_iter().flatten();
        cells.extend(ratios.map(|ratios| cell(ratios, &s.stage)));
        table.row(cells);
    }
    let kernels = report.kernels.as_deref().unwrap_or("unknown kernels");
    let before = report.before.as_ref().map_or(String::new(), |before| {
        let machine = before.machine.as_deref().unwrap_or("unknown machine");
        let kernels = before.kernels.as_deref().unwrap_or("unknown kernels");
        format!(
            "before: bedside {} on {machine}, {kernels}\n",
            before.bedside
        )
    });
    format!(
        "bedside {} on {machine}, {} cores, {kernels}\n{} {} {} on {} with {} threads\n\
         {} frames of {}x{}, {} prompts in a batch\n\n{table}\n\
         {:.1} frames/s, load {:.0} ms, peak memory {memory}\n{before}",
        report.bedside,
        report.cores,
        model.name,
        model.version,
        model.precision,
        model.backend,
        model.threads,
        report.frames,
        report.width,
        report.height,
        report.prompts,
        report.frames_per_second,
        report.load_ms,
    )
}

/// Operators of a kind summed up, the dearest first; the last line is the sum of all others.
fn by_operator(times: &[Operator]) -> Table {
    let mut kinds: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for time in times {
        let kind = kinds.entry(&time.op).or_default();
        kind.0 += 1;
        kind.1 += time.ms;
    }
    let total = kinds.values().fold(0.0, |sum, kind| sum + kind.1);
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    kinds.push(("total", (times.len(), total)));
    let mut table = Table::new(["operator", ">nodes", ">ms", ">share"]);
    for (op, (nodes, ms)) in kinds {
        let share = if total > 0.0 { ms / total } else { 0.0 };
        let share = format!("{:.1} %", share * 100.0);
        table.row([op.to_owned(), nodes.to_string(), format!("{ms:.3}"), share]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_the_quantiles_of_nearest_rank() {
        let stage = Stage::new("x", (1..=20).rev().map(Duration::from_millis));
        assert!((stage.mean - 10.5).abs() < 1e-9, "{stage:?}");
        assert!((stage.median - 10.0).abs() < 1e-9, "{stage:?}");
        assert!((stage.p95 - 19.0).abs() < 1e-9, "{stage:?}");
        assert!((stage.max - 20.0).abs() < 1e-9, "{stage:?}");
        let one = Stage::new("x", std::iter::once(Duration::from_millis(7)));
        assert!((one.median - 7.0).abs() < 1e-9 && (one.p95 - 7.0).abs() < 1e-9);
    }

    #[test]
    fn operators_sum_to_the_total() {
        let pass = |us: [u64; 3]| {
            let time = |(op, us): (&str, u64)| OpTime {
                node: "n".into(),
                op: op.into(),
                time: Duration::from_micros(us),
            };
            let encoder = ["Conv", "Add", "Conv"]
                .into_iter()
                .zip(us)
                .map(time)
                .collect();
            Profile {
                encoder,
                decoder: Vec::new(),
            }
        };
        let passes = [[1_500, 500, 900], [900, 2_000, 2_000], [9_000, 500, 2_000]];
        let text = by_operator(&Operators::of(&passes.map(pass)).encoder).to_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "Conv          2  3.500   87.5 %",
                "Add           1  0.500   12.5 %",
                "total         3  4.000  100.0 %",
            ]
        );
    }
}
