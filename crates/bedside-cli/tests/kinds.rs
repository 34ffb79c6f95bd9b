//! The masks of every kind of kernels that this processor runs, against those of tract alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use bedside::vision::{iou, rle};
use bedside::{Mask, Precision};
use serde_json::Value;

/// Least intersection over union of a mask between backends, as `docs/backends.md` promises.
const BOUNDS: [(Precision, f64); 2] = [(Precision::F32, 0.999), (Precision::Int8, 0.99)];

fn bedside(kind: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedside"));
    command
        .env_remove("BEDSIDE_BUNDLE")
        .env_remove("BEDSIDE_CPU")
        .env("BEDSIDE_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    if let Some(kind) = kind {
        command.env("BEDSIDE_CPU", kind);
    }
    command
}

/// What `BEDSIDE_CPU` may be here: the error for any other names them.
fn kinds() -> Vec<String> {
    let output = bedside(Some("none")).arg("bench").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let (_, names) = error.split_once("hint: one of ").unwrap();
    let (names, _) = names.split_once(", or unset it").unwrap();
    names.split(", ").map(str::to_owned).collect()
}

fn mask(json: &Value) -> Option<Mask> {
    let [height, width] = [&json["size"][0], &json["size"][1]].map(Value::as_u64);
    let counts = rle::from_string(json["counts"].as_str()?).unwrap();
    let mask = rle::decode(width? as u32, height? as u32, &counts);
    Some(mask.unwrap())
}

/// The masks of the sample pictures, for each prompt; none where it is not present.
fn masks(kind: Option<&str>, backend: &str, precision: Precision) -> Vec<Option<Mask>> {
    let mut command = bedside(kind);
    command.args(["segment", "--json", "--backend", backend]);
    command.args(["--precision", &precision.to_string()]);
    for prompt in ["polyp", "fetal head", "breast tumor"] {
        command.args(["--prompt", prompt]);
    }
    for sample in ["polyp", "fetal-head", "breast-tumor"] {
        command.arg(format!("models/edge/samples/{sample}.png"));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{kind:?} {backend}: {output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let images = report["images"].as_array().unwrap();
    let findings = images
        .iter()
        .flat_map(|i| i["findings"].as_array().unwrap());
    findings.map(|finding| mask(&finding["mask"])).collect()
}

#[test]
fn p_13_every_kind_of_kernels_agrees_with_tract_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/backends.md")).unwrap();
    for (precision, bound) in BOUNDS {
        let row = format!("| {precision} | {bound} |");
        assert!(
            page.contains(&row),
            "docs/backends.md says otherwise: {row}"
        );
        let alone = masks(None, "tract-stock", precision);
        assert_eq!(alone.len(), 9);
        assert_eq!(alone.iter().flatten().count(), 3, "each object once");
        for kind in kinds() {
            let ours = masks(Some(&kind), "tract-cpu", precision);
            for (place, (ours, alone)) in ours.iter().zip(&alone).enumerate() {
                let told = format!("{kind} {precision}, answer {place}");
                assert_eq!(ours.is_some(), alone.is_some(), "{told}");
                let overlap = ours.as_ref().zip(alone.as_ref()).map(|(a, b)| iou(a, b));
                let overlap = overlap.unwrap_or(1.0);
                assert!(overlap >= bound, "{told}: IoU {overlap}");
            }
            assert_eq!(ours.len(), alone.len());
        }
    }
}
