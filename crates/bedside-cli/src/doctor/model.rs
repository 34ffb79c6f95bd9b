//! Backends, the bundle, and how fast it runs here.

use bedside::engine::Backend;
use bedside::{Bundle, MonotonicClock, Outcome, Precision};
use bedside_live::{AgePolicy, CadenceConfig};
use serde_json::json;

use super::{Check, Level};
use crate::failure::Failure;
use crate::model::ModelArgs;
use crate::ui::Ui;

pub(super) fn checks(model: &ModelArgs, ui: Ui) -> Vec<Check> {
    let wanted = model.given().backend().map(Backend::name);
    let mut checks: Vec<Check> = bedside::engine::backend_names()
        .into_iter()
        .map(|name| backend(name, wanted.as_ref().is_ok_and(|wanted| *wanted == name)))
        .collect();
    let usable = checks.iter().all(|check| check.level == Level::Ok);
    match open(model) {
        Err(failure) => checks.push(Check::new("bundle", Level::Problem, failure, json!({}))),
        Ok(bundle) => {
            checks.push(described(&bundle));
            // A backend that can't compute is the backend's problem, not the bundle's.
            if usable {
                checks.extend(speed(&bundle, model, ui));
            }
        }
    }
    checks
}

/// One that nobody asked for need not be usable.
fn backend(name: &'static str, wanted: bool) -> Check {
    let probed = bedside::engine::backend(name).and_then(Backend::probe);
    let facts = json!({ "backend": name, "chosen": wanted, "usable": probed.is_ok() });
    match probed {
        Ok(()) => {
            let chosen = if wanted { ", chosen" } else { "" };
            Check::ok("backend", format!("{name}: usable{chosen}"), facts)
        }
        Err(error) if wanted => Check::new("backend", Level::Problem, error, facts),
        Err(error) => Check::ok("backend", error, facts),
    }
}

/// The bundle, once every byte of it is what the manifest says.
fn open(model: &ModelArgs) -> Result<Bundle, Failure> {
    let bundle = model.bundle(None)?;
    bundle.verify().map_err(bedside::Error::from)?;
    Ok(bundle)
}

fn described(bundle: &Bundle) -> Check {
    let manifest = bundle.manifest();
    let facts = json!({
        "path": bundle.path(), "digest": bundle.digest(),
        "name": manifest.name, "version": manifest.version,
    });
    let text = format!(
        "{} {}, {}: every part as the manifest says",
        manifest.name,
        manifest.version,
        bundle.path().display()
    );
    Check::ok("bundle", text, facts)
}

/// Self-test and speed of each precision, one check each.
fn speed(bundle: &Bundle, model: &ModelArgs, ui: Ui) -> Vec<Check> {
    let problem = |failure: Failure| vec![Check::new("model", Level::Problem, failure, json!({}))];
    let (options, backend) = match model.options(bundle, ui).and_then(|options| {
        let backend = options.backend()?;
        Ok((options, backend))
    }) {
        Ok(found) => found,
        Err(failure) => return problem(failure),
    };
    let default = bundle.manifest().default_precision;
    let chosen = options.precision.unwrap_or(default);
    let tuning = bedside::tune(bundle, backend, &options, &MonotonicClock::new());
    if !tuning.precisions.iter().any(|t| t.precision == chosen) {
        let text = format!("the bundle has no {chosen}; hint: `bedside inspect` lists what it has");
        return vec![Check::new("model", Level::Problem, text, json!({}))];
    }
    let tried = tuning.precisions.iter();
    tried
        .map(|tried| judge(tried.precision, &tried.outcome, tried.precision == chosen))
        .collect()
}

/// How a precision did, and what that means for live video.
fn judge(precision: Precision, outcome: &Outcome, chosen: bool) -> Check {
    let mut facts = json!({ "precision": precision, "chosen": chosen, "passed": false });
    let name = if chosen {
        format!("{precision}, chosen")
    } else {
        precision.to_string()
    };
    let milliseconds = match outcome {
        Outcome::Milliseconds(milliseconds) => *milliseconds,
        Outcome::Failed(why) => {
            let level = if chosen {
                Level::Problem
            } else {
                Level::Warning
            };
            let text = format!("{name}: FAILED: {why}");
            let mut check = Check::new("model", level, text, facts);
            let hint = "paint none of its masks here, and run another precision";
            check.hint.get_or_insert_with(|| hint.to_owned());
            return check;
        }
    };
    let rate = 1e3 / milliseconds.max(1e-3);
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("passed".to_owned(), json!(true));
        facts.insert("milliseconds".to_owned(), json!(milliseconds));
        facts.insert("frames_per_second".to_owned(), json!(rate));
    }
    let text =
        format!("{name}: self-tests passed, {milliseconds:.1} ms a frame, {rate:.1} frames/s");
    let (limit, target) = (AgePolicy::default().limit, CadenceConfig::default().target);
    let beyond = |limit: std::time::Duration| milliseconds > limit.as_secs_f64() * 1e3;
    let hint =
        "stop other work, `bedside tune`, another --precision or --backend, or a faster machine";
    if beyond(limit) {
        let level = if chosen {
            Level::Problem
        } else {
            Level::Warning
        };
        let text = format!(
            "{text}: older than --max-age allows ({} ms); hint: {hint}",
            limit.as_millis()
        );
        return Check::new("model", level, text, facts);
    }
    if chosen && beyond(target) {
        let text = format!(
            "{text}: above --target ({} ms); hint: {hint}",
            target.as_millis()
        );
        return Check::new("model", Level::Warning, text, facts);
    }
    Check::ok("model", text, facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_precision_that_will_run_is_a_problem() {
        let failed = Outcome::Failed("prompt polyp: IoU 0.1 of 0.9".to_owned());
        for (outcome, chosen, other) in [
            (Outcome::Milliseconds(20.0), Level::Ok, Level::Ok),
            (Outcome::Milliseconds(200.0), Level::Warning, Level::Ok),
            (Outcome::Milliseconds(900.0), Level::Problem, Level::Warning),
            (failed, Level::Problem, Level::Warning),
        ] {
            let check = judge(Precision::Int8, &outcome, true);
            assert_eq!(check.level, chosen, "{check}");
            assert_eq!(check.level == Level::Ok, check.hint.is_none(), "{check}");
            let check = judge(Precision::Int8, &outcome, false);
            assert_eq!(check.level, other, "{check}");
        }
        let check = judge(Precision::F32, &Outcome::Milliseconds(20.0), true);
        assert_eq!(check.facts["frames_per_second"], json!(50.0));
    }
}
