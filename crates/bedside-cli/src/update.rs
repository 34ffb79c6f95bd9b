//! `bedside update`: a device's bundles, of which one is active and one can be gone back to.

use std::path::PathBuf;

use bedside::Segmenter;
use bedside_update::{ErrorKind, Policy, Slots, UpdateError};
use clap::Subcommand;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::model::ModelArgs;
use crate::ui::Ui;

/// Arguments of `bedside update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  minisign -Sm edge.bedside
  bedside update install edge.bedside --into /var/lib/bedside/bundles --keys /etc/bedside/keys
  bedside update confirm /var/lib/bedside/bundles
  bedside update status /var/lib/bedside/bundles

The folder holds two bundles. An update is copied into the place of the one that is not active, checked
byte by byte, proved by its own test frames on this machine, and made active in one step; whenever the power
goes, the old bundle or the new one is there, whole. It is on trial until it is confirmed: the program that
runs it goes back after three starts without.")]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Install a bundle and make it active
    Install {
        /// Bundle, with its signature BUNDLE.minisig beside it where keys are given
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// Folder of the device's bundles, made where it is not there
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
        /// Take a bundle that is older than the active one
        #[arg(long)]
        older: bool,
    },
    /// Keep the active bundle: its trial is over
    Confirm(Folder),
    /// Make the bundle before the active one active again
    Rollback(Folder),
    /// Tell which bundle is active, and whether it is on trial
    Status(Folder),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder of the device's bundles
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        let exit = match error.kind() {
            ErrorKind::SelfTest => Exit::Engine,
            ErrorKind::Io | ErrorKind::Busy => Exit::Output,
            _ => Exit::Bundle,
        };
        Self::new(exit, error.to_string())
    }
}

pub(crate) fn run(args: &Args, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let mut slots = Slots::open(match &args.step {
        Step::Install { into, .. } => into,
        Step::Confirm(at) | Step::Rollback(at) | Step::Status(at) => &at.folder,
    })?;
    match &args.step {
        Step::Install { bundle, older, .. } => {
            let keys = model.key_ring()?;
            let policy = Policy {
                keys: keys.as_ref(),
                older: *older,
            };
            slots.install(bundle, policy, |staged| {
                Segmenter::open(staged, &model.given()).map(|_| ())
            })?;
        }
        Step::Confirm(_) => slots.confirm()?,
        Step::Rollback(_) => slots.roll_back()?,
        Step::Status(_) => {}
    }
    tell(&slots, model, ui)
}

fn tell(slots: &Slots, model: &ModelArgs, ui: Ui) -> Result<(), Failure> {
    let active = slots.active();
    let bundle = active.as_ref().map(|path| model.bundle(Some(path)));
    let bundle = bundle.transpose()?;
    let version = bundle.as_ref().map(|b| b.manifest().version.clone());
    let digest = bundle.as_ref().map(|b| b.digest());
    let trial = slots.on_trial();
    if ui.json() {
        return ui.print_json(&json!({
            "active": active, "version": version, "digest": digest, "on_trial": trial,
        }));
    }
    let (Some(path), Some(version)) = (active, version) else {
        return ui.print("no bundle is installed\n");
    };
    let trial = if trial { ", on trial" } else { "" };
    ui.print(&format!(
        "{} is active: version {version}{trial}\n",
        path.display()
    ))
}
