//! `bedside warm`: what a backend compiles at first use, compiled before the first patient.

use std::fmt;
use std::time::Instant;

use bedside::Unproven;
use bedside::engine::Placement;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::model::{ModelArgs, Variant};
use crate::table::Table;
use crate::ui::Ui;

/// Arguments of `bedside warm`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedside warm --backend tract-cuda --precision f16
  bedside warm --backend ort-tensorrt

Runs a small inference to see that the backend works here, then loads the bundle and runs its own
test frames twice, at every precision and side in it or those named by --precision and --side. Backends on
a GPU keep the kernels that they compile at the first run, so that later starts are fast; the table shows what
that saved.")]
pub(crate) struct Args {}

/// Where the nodes of a graph run, as tables and JSON show it.
#[derive(Debug, Serialize)]
pub(crate) struct Placed {
    graph: &'static str,
    nodes: usize,
    on_device: usize,
    on_cpu: std::collections::BTreeMap<String, usize>,
    #[serde(skip)]
    text: String,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.graph, self.text)
    }
}

/// The graphs of a model of which the backend says where they run.
pub(crate) fn placed(placements: [Option<&Placement>; 2]) -> Vec<Placed> {
    let placed = |(graph, placement): (&'static str, Option<&Placement>)| {
        let placement = placement?;
        Some(Placed {
            graph,
            nodes: placement.nodes(),
            on_device: placement.device,
            on_cpu: placement.host.clone(),
            text: placement.to_string(),
        })
    };
    ["encoder", "decoder"]
        .into_iter()
        .zip(placements)
        .filter_map(placed)
        .collect()
}

pub(crate) fn run(_: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let path = model.path()?;
    let bundle = model.bundle(None)?;
    let backend = model.given().backend()?;
    // A device that can't compute says so before a bundle is blamed.
    backend.probe().map_err(bedside::Error::from)?;
    let mut warmed = Vec::new();
    for Variant {
        precision,
        side,
        options,
    } in model.every(&bundle, ui)?
    {
        let start = Instant::now();
        let mut unproven = Unproven::load(bundle.clone(), backend, &options)?;
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        let mut run = || -> Result<f64, Failure> {
            let start = Instant::now();
            unproven.self_test()?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        };
        let (first_ms, second_ms) = (run()?, run()?);
        warmed.push((
            (precision, side),
            [load_ms, first_ms, second_ms],
            placed(unproven.placements()),
        ));
    }
    if ui.json() {
        let documents = warmed
            .iter()
            .map(|((precision, side), [load, first, second], placed)| {
                json!({
                    "precision": precision, "side": side, "load_ms": load, "first_ms": first, "second_ms": second,
                    "placement": placed,
                })
            });
        return ui.print_json(&json!({ "path": path, "warmed": documents.collect::<Vec<_>>() }));
    }
    let mut table = Table::new([
        "precision",
        ">side",
        ">load ms",
        ">first run ms",
        ">second run ms",
    ]);
    for ((precision, side), [load, first, second], _) in &warmed {
        let ms = |t: &f64| format!("{t:.1}");
        table.row([
            precision.to_string(),
            side.to_string(),
            ms(load),
            ms(first),
            ms(second),
        ]);
    }
    ui.print(&table.to_string())?;
    for ((precision, side), _, placed) in &warmed {
        for placed in placed {
            ui.print(&format!("{precision} at {side} {placed}\n"))?;
        }
    }
    Ok(())
}
