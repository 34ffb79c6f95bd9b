//! `bedside inspect`, `verify` and `pack`: bundles as files.

use std::path::PathBuf;

use bedside::bundle::ErrorKind;
use bedside::{Bundle, Manifest, Precision, SelfTestCase, Tuning, Unproven};
use clap::Args;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::table::Table;
use crate::tune;
use crate::ui::{SAFETY, Ui};

/// Arguments of `bedside inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bedside inspect models/edge/edge.bedside")]
pub(crate) struct InspectArgs {
    /// File or folder; without it, the bundle that other commands would use
    #[arg(value_name = "BUNDLE")]
    path: Option<PathBuf>,
}

/// Arguments of `bedside verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bedside verify
  bedside verify edge.bedside --precision int8

Compares the size and SHA-256 of every part with the manifest (exit code 5 if one differs), then
runs the bundle's own test frames on this machine, at every precision and side in it or those named by
--precision and --side (exit code 7 if a mask comes out wrong).")]
pub(crate) struct VerifyArgs {
    /// File or folder; without it, the bundle that other commands would use
    #[arg(value_name = "BUNDLE")]
    path: Option<PathBuf>,
}

/// Arguments of `bedside pack`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  bedside pack exported/edge edge.bedside

The folder holds bundle.json, prompts.json and the other parts, as docs/bundle-format.md lists
them. The bundle is verified before it takes its name.")]
pub(crate) struct PackArgs {
    /// Folder that an exporter wrote
    #[arg(value_name = "FOLDER")]
    source: PathBuf,

    /// Bundle to write
    #[arg(value_name = "BUNDLE")]
    out: PathBuf,
}

pub(crate) fn inspect(args: &InspectArgs, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let bundle = model.bundle(args.path.as_ref())?;
    let table = bundle.prompt_table().map_err(bedside::Error::from)?;
    let tuning = model.tuning(&bundle);
    if ui.json() {
        if let Err(failure) = &tuning {
            ui.note(format_args!("note: {failure}"));
        }
        return ui.print_json(&json!({
            "path": bundle.path(),
            "digest": bundle.digest(),
            "manifest": bundle.manifest(),
            "trained_prompts": table.trained_forms().map(|f| f.text()).collect::<Vec<_>>(),
            "tuning": tuning.ok().flatten(),
        }));
    }
    let trained: Vec<String> = table.trained_forms().map(|f| f.text()).collect();
    ui.print(&format!(
        "{}{}\n{}\n",
        summary(&bundle, &trained, table.entries().len()),
        auto(&tuning),
        parts(bundle.manifest())
    ))?;
    ui.note(SAFETY);
    Ok(())
}

fn summary(bundle: &Bundle, trained: &[String], prompts: usize) -> String {
    let Manifest {
        name,
        version,
        description,
        licence,
        lineage,
        training_data,
        input,
        ..
    } = bundle.manifest();
    let precisions: Vec<String> = bundle
        .manifest()
        .variants
        .iter()
        .map(|v| v.precision.to_string())
        .collect();
    let sides: Vec<String> = input.sides().map(|side| format!("{side}x{side}")).collect();
    let more = (sides.len() > 1).then(|| format!(" (default {})", input.side));
    let rows = [
        ("bundle", format!("{name} {version}: {description}")),
        ("path", bundle.path().display().to_string()),
        ("digest", bundle.digest().to_owned()),
        ("licence", format!("{licence} (weights)")),
        ("lineage", lineage.clone()),
        (
            "input",
            format!("{} pixels{}", sides.join(", "), more.unwrap_or_default()),
        ),
        (
            "precision",
            format!(
                "{} (default {})",
                precisions.join(", "),
                bundle.manifest().default_precision
            ),
        ),
        (
            "prompts",
            format!("{} trained of {prompts} in the table", trained.len()),
        ),
        ("", trained.join(", ")),
    ];
    let data = (0..).zip(training_data).map(|(i, data)| {
        let key = if i == 0 { "data" } else { "" };
        (key, format!("{}: {}", data.name, data.terms))
    });
    rows.into_iter()
        .chain(data)
        .map(|(key, value)| format!("{key:<10} {value}\n"))
        .collect()
}

/// What `--precision auto` would run here, and why.
fn auto(tuning: &Result<Option<Tuning>, Failure>) -> String {
    match tuning {
        Ok(Some(tuning)) => format!(
            "auto       {}\n\n{}",
            tune::chosen(tuning),
            tune::table(tuning)
        ),
        Ok(None) => "auto       not measured on this machine; hint: `bedside tune`\n".to_owned(),
        Err(failure) => format!("auto       {failure}\n"),
    }
}

fn parts(manifest: &Manifest) -> Table {
    let mut table = Table::new(["part", ">bytes", "sha256"]);
    for part in &manifest.parts {
        table.row([
            part.name.clone(),
            part.bytes.to_string(),
            part.sha256.clone(),
        ]);
    }
    table
}

pub(crate) fn verify(args: &VerifyArgs, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let bundle = model.bundle(args.path.as_ref())?;
    bundle.verify().map_err(bedside::Error::from)?;
    let (digest, parts) = (bundle.digest(), bundle.manifest().parts.len());
    let every = model.every(&bundle, ui)?;

    let bar = ui.progress(every.len() as u64, "self-tests");
    let mut cases: Vec<((Precision, u32), SelfTestCase)> = Vec::new();
    for variant in every {
        let backend = variant.options.backend()?;
        let mut unproven = Unproven::load(bundle.clone(), backend, &variant.options)?;
        let of = (variant.precision, variant.side);
        cases.extend(unproven.self_test()?.into_iter().map(|c| (of, c)));
        bar.inc(1);
    }
    bar.finish_and_clear();

    let failed = cases.iter().filter(|(_, case)| !case.passed()).count();
    if ui.json() {
        let tests: Vec<_> = cases
            .iter()
            .map(|((precision, side), case)| {
                json!({
                    "precision": precision,
                    "side": side,
                    "prompt": case.prompt,
                    "iou": case.iou,
                    "min_iou": case.min_iou,
                    "passed": case.passed(),
                })
            })
            .collect();
        ui.print_json(&json!({
            "path": bundle.path(), "digest": digest, "parts": parts, "self_tests": tests,
            "passed": failed == 0,
        }))?;
    } else {
        let mut table = Table::new([
            "self-test",
            "precision",
            ">side",
            ">IoU",
            ">needed",
            "result",
        ]);
        for ((precision, side), case) in &cases {
            table.row([
                case.prompt.clone(),
                precision.to_string(),
                side.to_string(),
                format!("{:.4}", case.iou),
                format!("{:.4}", case.min_iou),
                if case.passed() { "passed" } else { "FAILED" }.to_owned(),
            ]);
        }
        ui.print(&format!(
            "{parts} parts are as the manifest promises ({digest})\n\n{table}"
        ))?;
    }
    if failed == 0 {
        return Ok(());
    }
    let failure = Failure::new(
        Exit::Engine,
        format!(
            "{failed} of {} self-tests failed; hint: this machine computes otherwise than the one \
             that made the bundle, so paint none of its masks",
            cases.len()
        ),
    );
    ui.fail(&failure);
    Err(failure.printed())
}

pub(crate) fn pack(args: &PackArgs, ui: Ui) -> Result<(), Failure> {
    let bundle = bedside::bundle::pack(&args.source, &args.out).map_err(|error| {
        // What was being read lies in the source; all else is on the way out.
        let output = error.kind() == ErrorKind::Io
            && error
                .path()
                .is_some_and(|path| !path.starts_with(&args.source));
        Failure::new(
            if output { Exit::Output } else { Exit::Bundle },
            error.to_string(),
        )
    })?;
    let Manifest {
        name,
        version,
        parts,
        ..
    } = bundle.manifest();
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    if ui.json() {
        return ui.print_json(&json!({
            "path": args.out, "name": name, "version": version, "digest": bundle.digest(),
            "parts": parts.len(), "bytes": bytes,
        }));
    }
    ui.print(&format!(
        "wrote {}: {name} {version}, {} parts, {bytes} bytes ({})\n",
        args.out.display(),
        parts.len(),
        bundle.digest()
    ))
}
