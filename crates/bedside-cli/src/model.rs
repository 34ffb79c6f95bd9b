//! Which bundle to run, and how: the options that all commands with a model share.

use std::env;
use std::path::{Path, PathBuf};

use bedside::{Bundle, Cache, Options, Precision, Prompt, Tuning, TuningKey};
use bedside_update::KeyRing;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::tune;
use crate::ui::Ui;

/// Where the edge bundle lies below a checkout or an unpacked release.
const BELOW_CURRENT: &str = "models/edge/edge.bedside";
/// Where a package puts it, seen from the executable's folder.
const BESIDE_EXECUTABLE: &str = "../share/bedside/edge.bedside";

/// Options that say which model runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model options")]
pub(crate) struct ModelArgs {
    /// Model bundle, a file or a folder
    ///
    /// Without it: models/edge/edge.bedside below the current folder, else
    /// ../share/bedside/edge.bedside beside the executable.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "BEDSIDE_BUNDLE",
        hide_env_values = true
    )]
    pub bundle: Option<PathBuf>,

    /// Folder of public keys (*.pub): run no bundle that none of them signed, with minisign
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BEDSIDE_KEYS",
        hide_env_values = true
    )]
    pub keys: Option<PathBuf>,

    /// Number format of the weights: f32, f16, int8, or auto [default: the bundle's choice]
    ///
    /// auto is the fastest that `bedside tune` found on this machine.
    #[arg(long, global = true, value_name = "NAME", value_parser = precision)]
    pub precision: Option<Wanted>,

    /// Side of the model's input in pixels, of those that the bundle has [default: what suits the
    /// objects asked for, else the bundle's choice]
    ///
    /// `bedside inspect` lists them. A smaller one is quicker, a larger one sees smaller things.
    #[arg(long, global = true, value_name = "PIXELS")]
    pub side: Option<u32>,

    /// Threads of the engine [default: one per core, at most 4]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Engine: tract-cpu, tract-stock, ort-cpu, ort-cuda, ort-tensorrt or tract-cuda
    ///
    /// tract-cpu [default], and tract-stock (tract without bedside's operators, to compare with)
    /// are always there. The others are in builds with the cargo feature ort or cuda and need
    /// libraries on the device: docs/backends.md.
    #[arg(long, global = true, value_name = "NAME", value_parser = backend)]
    pub backend: Option<&'static str>,

    /// Fail where an operator would run on the CPU instead of the backend's device
    #[arg(long, global = true)]
    pub require_device: bool,

    /// Folder for what is measured and compiled here [default: bedside in the user's cache folder]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BEDSIDE_CACHE",
        hide_env_values = true
    )]
    pub cache: Option<PathBuf>,
}

/// A precision by name, or whichever is fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Auto,
    One(Precision),
}

/// One of the ways in which a bundle can run.
pub(crate) struct Variant {
    pub precision: Precision,
    pub side: u32,
    pub options: Options,
}

impl ModelArgs {
    /// The bundle's path.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.bundle {
            return Ok(path.clone());
        }
        let beside = env::current_exe()
            .ok()
            .and_then(|exe| exe.parent().map(|folder| folder.join(BESIDE_EXECUTABLE)));
        first_there(
            [Some(PathBuf::from(BELOW_CURRENT)), beside]
                .into_iter()
                .flatten(),
        )
    }

    /// The bundle at `path`, or the one that the options name.
    pub(crate) fn bundle(&self, path: Option<&PathBuf>) -> Result<Bundle, Failure> {
        let path = path.map_or_else(|| self.path(), |path| Ok(path.clone()))?;
        if let Some(keys) = self.key_ring()? {
            keys.check(&path)?;
        }
        Ok(Bundle::open(path).map_err(bedside::Error::from)?)
    }

    /// The keys of those who may sign bundles, where some were given.
    pub(crate) fn key_ring(&self) -> Result<Option<KeyRing>, Failure> {
        let keys = self.keys.as_deref().map(KeyRing::open);
        Ok(keys.transpose()?)
    }

    /// Side, threads, backend and cache as given, the rest as the bundle has it.
    pub(crate) fn given(&self) -> Options {
        let mut options = Options::default().with_require_device(self.require_device);
        options.side = self.side;
        options.threads = self.threads.map(usize::from);
        options.backend = self.backend.map(str::to_owned);
        options.cache.clone_from(&self.cache);
        options
    }

    /// What was given, with `auto` as it was measured for the bundle. Nothing is measured here: a
    /// start takes the same time always, and says so where the bundle's default runs instead.
    pub(crate) fn options(&self, bundle: &Bundle, ui: Ui) -> Result<Options, Failure> {
        let precision = match self.precision {
            None => None,
            Some(Wanted::One(precision)) => Some(precision),
            Some(Wanted::Auto) => match self.tuning(bundle) {
                Ok(Some(tuning)) => Some(tuning.fastest().ok_or_else(tune::none_passes)?),
                other => {
                    let why = match other {
                        Err(failure) => failure.to_string(),
                        Ok(_) => "not measured on this machine; hint: `bedside tune`".to_owned(),
                    };
                    let default = bundle.manifest().default_precision;
                    ui.note(format_args!(
                        "note: {default}, the bundle's default, runs: {why}"
                    ));
                    None
                }
            },
        };
        let mut options = self.given();
        options.precision = precision;
        Ok(options)
    }

    /// As [`options`](Self::options), with the side that suits these prompts where none was given.
    pub(crate) fn options_for(
        &self,
        bundle: &Bundle,
        prompts: &[Prompt],
        ui: Ui,
    ) -> Result<Options, Failure> {
        let mut options = self.options(bundle, ui)?;
        if options.side.is_none() && !bundle.manifest().forms.is_empty() {
            let table = bundle.prompt_table().map_err(bedside::Error::from)?;
            options.side = Some(bedside::side_for(bundle.manifest(), &table, prompts));
        }
        Ok(options)
    }

    /// What was given for every precision and side of the bundle, or for those that were given.
    pub(crate) fn every(&self, bundle: &Bundle, ui: Ui) -> Result<Vec<Variant>, Failure> {
        let given = self.options(bundle, ui)?;
        let precisions: Vec<_> = match given.precision {
            Some(precision) => vec![precision],
            None => {
                let variants = bundle.manifest().variants.iter();
                variants.map(|v| v.precision).collect()
            }
        };
        let sides: Vec<_> = match given.side {
            Some(side) => vec![side],
            None => bundle.manifest().input.sides().collect(),
        };
        let variant = |precision, side| Variant {
            precision,
            side,
            options: given.clone().with_precision(precision).with_side(side),
        };
        let of = |precision| sides.iter().map(move |side| variant(precision, *side));
        Ok(precisions.into_iter().flat_map(of).collect())
    }

    /// Where tunings are kept.
    pub(crate) fn cache(&self) -> Result<Cache, Failure> {
        self.given().cache().ok_or_else(|| {
            Failure::new(
                Exit::Output,
                "no folder to keep measurements in; hint: name one with --cache DIR or the \
                 environment variable BEDSIDE_CACHE",
            )
        })
    }

    /// What was measured for a bundle on this machine, with the backend, threads and side given.
    pub(crate) fn tuning(&self, bundle: &Bundle) -> Result<Option<Tuning>, Failure> {
        let options = self.given();
        let key = TuningKey::new(bundle, options.backend()?, &options);
        Ok(self.cache()?.tuning(&key)?)
    }
}

fn precision(name: &str) -> Result<Wanted, String> {
    let name = name.to_lowercase();
    if name == "auto" {
        return Ok(Wanted::Auto);
    }
    [Precision::F32, Precision::F16, Precision::Int8]
        .into_iter()
        .find(|precision| precision.to_string() == name)
        .map(Wanted::One)
        .ok_or_else(|| "not one of f32, f16, int8, auto".to_owned())
}

pub(crate) fn backend(name: &str) -> Result<&'static str, String> {
    let backend = bedside::engine::backend(name).map_err(|e| e.to_string())?;
    Ok(backend.name())
}

/// The first path that exists.
fn first_there(paths: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Failure> {
    let paths: Vec<PathBuf> = paths.collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Ok(path.clone());
    }
    let tried: Vec<String> = paths.iter().map(|p| shown(p)).collect();
    Err(Failure::new(
        Exit::Bundle,
        format!(
            "no model bundle found; looked for {}; hint: name one with --bundle PATH or the \
             environment variable BEDSIDE_BUNDLE",
            tried.join(" and ")
        ),
    ))
}

/// The path without `..` where that is known, so that a person can copy it.
fn shown(path: &Path) -> String {
    std::path::absolute(path)
        .as_deref()
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_path_there_wins_and_a_miss_names_all() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let missing = first_there([a.clone(), b.clone()].into_iter()).unwrap_err();
        assert_eq!(missing.exit(), Exit::Bundle);
        for path in [&a, &b] {
            assert!(
                missing.to_string().contains(path.to_str().unwrap()),
                "{missing}"
            );
        }
        std::fs::write(&b, "").unwrap();
        assert_eq!(first_there([a.clone(), b.clone()].into_iter()).unwrap(), b);
        std::fs::write(&a, "").unwrap();
        assert_eq!(first_there([a.clone(), b].into_iter()).unwrap(), a);
    }
}
