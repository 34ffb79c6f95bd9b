//! A bundle's model in a process of the same program: how to begin it, and what it then does.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bedside::{Bundle, Options};

use super::child::serve;
use crate::error::{Error, ErrorKind};
use crate::model::{BundleLoader, Loader, Model};

/// This program, even after an update has replaced its file.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Memory that a process may ask for besides the model's: frames, threads, what engines reserve.
const BASE: u64 = 2 << 30;
/// Memory that a model may ask for, in sizes of its bundle, which holds it at every precision.
const PER_BUNDLE: u64 = 8;

/// How to start the process for a loader's bundle and options: this program, with `model-process` and
/// options that name them, which is to call [`serve_bundle`]. `memory` is in bytes; without it,
/// a backend on the CPU gets what its bundle may need, one on a device what it asks for.
pub fn model_command(
    loader: &BundleLoader,
    memory: Option<u64>,
) -> impl Fn() -> Command + Send + Sync + 'static {
    let (bundle, options) = (loader.bundle(), loader.options());
    let mut args = vec![
        "model-process".into(),
        "--digest".into(),
        bundle.digest().into(),
    ];
    let mut add = |name: &str, value: std::ffi::OsString| args.extend([name.into(), value]);
    add("--bundle", bundle.path().into());
    if let Some(precision) = options.precision {
        add("--precision", precision.to_string().into());
    }
    if let Some(side) = options.side {
        add("--side", side.to_string().into());
    }
    add("--threads", options.threads().to_string().into());
    if let Some(backend) = &options.backend {
        add("--backend", backend.into());
    }
    if let Some(cache) = &options.cache {
        add("--cache", cache.into());
    }
    let parts = bundle.manifest().parts.iter();
    let needed = parts.fold(BASE, |sum, part| {
        sum.saturating_add(part.bytes.saturating_mul(PER_BUNDLE))
    });
    let on_cpu = matches!(
        loader.backend().name(),
        "tract-cpu" | "tract-stock" | "ort-cpu"
    );
    if let Some(memory) = memory.or(on_cpu.then_some(needed)) {
        add("--memory", memory.to_string().into());
    }
    if options.require_device {
        args.push("--require-device".into());
    }
    move || {
        let mut command = Command::new(THIS_PROGRAM);
        command.arg0("bedside").args(&args);
        command
    }
}

/// Be the process that [`model_command`] begins: load the bundle at `path`, if it is still the one
/// with this digest, and [`serve`] it.
///
/// # Errors
/// As [`serve`].
pub fn serve_bundle(
    path: &Path,
    digest: &str,
    options: Options,
    memory: Option<u64>,
) -> Result<(), Error> {
    serve(memory, || load(path, digest, options))
}

fn load(path: &Path, digest: &str, options: Options) -> Result<Box<dyn Model>, Error> {
    let failed = |error: bedside::Error| Error::of(ErrorKind::Load, error).without(path);
    let bundle = Bundle::open(path).map_err(|e| failed(e.into()))?;
    if bundle.digest() != digest {
        let message = "the bundle was replaced since the session began; hint: begin a new one";
        return Err(Error::new(ErrorKind::Load, message));
    }
    let backend = Arc::new(options.backend().map_err(failed)?);
    BundleLoader::new(bundle, backend, options)
        .map_err(failed)?
        .load()
}
