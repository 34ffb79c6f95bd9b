//! `bedside bench`: how fast this machine is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bedside::engine::OpTime;
use bedside::{Frame, Profile, Prompt, PromptSet, Segmenter, Timings, Unproven};
use serde::Serialize;

use crate::failure::Failure;
use crate::model::ModelArgs;
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
}

/// Statistics of one stage over all frames, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Stage {
    stage: &'static str,
    mean: f64,
    median: f64,
    p95: f64,
    max: f64,
}

impl Stage {
    fn new(stage: &'static str, times: impl Iterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = times.map(|t| t.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let mean = ms.iter().sum::<f64>() / ms.len().max(1) as f64;
        let [median, p95, max] = [0.5, 0.95, 1.0].map(|share| quantile(&ms, share));
        Self {
            stage,
            mean,
            median,
            p95,
            max,
        }
    }
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
    let bundle = model.bundle(None)?;
    let options = model.options(&bundle, ui)?;
    let loaded = Unproven::load(bundle, options.backend()?, &options)?;
    // The first start's self-test is no part of loading.
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut segmenter = loaded.prove()?;
    let prompts = prompts(args, &mut segmenter)?;
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

    let stage = |name, pick: fn(&Timings) -> Duration| Stage::new(name, timings.iter().map(pick));
    let total = stage("total", Timings::total);
    let report = Report {
        bedside: env!("CARGO_PKG_VERSION"),
        machine: bedside::machine_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        model: Model::of(&segmenter),
        prompts: prompts.len(),
        frames: args.frames,
        width,
        height,
        load_ms,
        frames_per_second: 1e3 / total.mean,
        peak_memory_bytes: bedside_live::peak_memory(),
        placement: placed(segmenter.placements()),
        stages: vec![
            stage("preprocess", |t| t.preprocess),
            stage("encoder", |t| t.encoder),
            stage("decoder", |t| t.decoder),
            stage("masks", |t| t.masks),
            total,
        ],
        profile,
    };
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

fn prompts(args: &Args, segmenter: &mut Segmenter) -> Result<PromptSet, Failure> {
    let mut texts = args.prompts.clone();
    if texts.is_empty() {
        texts = segmenter
            .prompt_table()
            .trained_forms()
            .map(|form| form.text())
            .collect();
    }
    let prompts: Vec<Prompt> = texts.into_iter().map(Prompt::new).collect();
    Ok(segmenter.prompts(&prompts)?)
}

fn time(
    frames: u32,
    frame: &Frame,
    prompts: &PromptSet,
    segmenter: &mut Segmenter,
    ui: Ui,
) -> Result<Vec<Timings>, Failure> {
    for _ in 0..WARM_UP {
        segmenter.segment(frame, prompts)?;
    }
    let bar = ui.progress(u64::from(frames), "frames");
    let mut timings = Vec::with_capacity(frames as usize);
    for _ in 0..frames {
        timings.push(segmenter.segment(frame, prompts)?.timings);
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
    let mut table = Table::new(["stage", ">mean ms", ">median ms", ">p95 ms", ">max ms"]);
    for s in &report.stages {
        let cells = [s.mean, s.median, s.p95, s.max].map(|v| format!("{v:.2}"));
        table.row(std::iter::once(s.stage.to_owned()).chain(cells));
    }
    format!(
        "bedside {} on {machine}, {} cores\n{} {} {} on {} with {} threads\n\
         {} frames of {}x{}, {} prompts in a batch\n\n{table}\n\
         {:.1} frames/s, load {:.0} ms, peak memory {memory}\n",
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
