//! `bedside model-process`: what `bedside live` starts to run the model in a process of its own.

use crate::failure::Failure;
use crate::model::{ModelArgs, Wanted};

/// Arguments of `bedside model-process`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Digest of the bundle that the session was begun with
    #[arg(long)]
    digest: String,

    /// Most memory to ask the system for, in bytes
    #[arg(long)]
    memory: Option<u64>,
}

pub(crate) fn run(args: &Args, model: &ModelArgs) -> Result<(), Failure> {
    let mut options = model.given();
    options.precision = match model.precision {
        Some(Wanted::One(precision)) => Some(precision),
        // A session says which is the fastest.
        Some(Wanted::Auto) | None => None,
    };
    // Whoever begins this names it; what was begun by hand is refused before that matters.
    let path = model.bundle.clone().unwrap_or_default();
    Ok(bedside_live::serve_bundle(
        &path,
        &args.digest,
        options,
        args.memory,
    )?)
}
