//! Two places for bundles, of which one is active.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use bedside_bundle::Bundle;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{ErrorKind, UpdateError};
use crate::keys::{KeyRing, signature_of};

/// Starts that an update gets to be confirmed; at the next one the device goes back.
pub const TRIAL_STARTS: u32 = 3;

const STATE: &str = "state.json";
const LOCK: &str = "lock";
/// Most bytes of the state; it is one line.
const MAX_STATE_BYTES: u64 = 4096;

/// What an update must be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy<'a> {
    /// Who must have signed it; anybody where there is none.
    pub keys: Option<&'a KeyRing>,
    /// Whether it may be older than the active bundle.
    pub older: bool,
}

/// What a program that starts is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The active bundle.
    pub bundle: PathBuf,
    /// Whether it is an update that is to be confirmed, by [`Slots::confirm`], once it has done well
    /// for some minutes.
    pub trial: bool,
    /// Whether an update was given up just now, as none of its starts came to be confirmed.
    pub rolled_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slot {
    A,
    B,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::A => "a.bedside",
            Self::B => "b.bedside",
        }
    }
}

/// Which slot is active: the one file whose change activates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    active: Option<Slot>,
    /// Starts of an update that is not confirmed yet.
    trial: Option<u32>,
}

/// A folder with two bundles at most. While it is open no other program can change it.
#[derive(Debug)]
pub struct Slots {
    folder: PathBuf,
    state: State,
    disk: Disk,
    /// Locked as long as it is open.
    _lock: File,
}

impl Slots {
    /// Open a folder; it is made where it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while another program has it open, [`ErrorKind::State`] when its record
    /// is damaged, [`ErrorKind::Io`].
    pub fn open(folder: &Path) -> Result<Self, UpdateError> {
        let io = |error| UpdateError::io(folder, &error);
        fs::create_dir_all(folder).map_err(io)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(folder.join(LOCK))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("{}: another program has it open", folder.display());
                return Err(UpdateError::new(
                    ErrorKind::Busy,
                    what,
                    "try again when it has ended",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let disk = Disk::default();
        disk.tidy(folder).map_err(io)?;
        Ok(Self {
            state: read_state(folder)?,
            folder: folder.to_owned(),
            disk,
            _lock: lock,
        })
    }

    /// The active bundle; `None` before the first one is installed.
    pub fn active(&self) -> Option<PathBuf> {
        self.state.active.map(|slot| self.path(slot))
    }

    /// Whether the active bundle is an update that is not confirmed yet.
    pub fn on_trial(&self) -> bool {
        self.state.trial.is_some()
    }

    /// Copy a bundle into the slot that is not active, check every byte of it there, have `prove` run
    /// its self-test on this device, and make it active. It is on trial then, unless it is the first.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while an update is on trial; [`ErrorKind::Unsigned`],
    /// [`ErrorKind::Untrusted`] and [`ErrorKind::Older`] as the policy says; [`ErrorKind::Bundle`];
    /// [`ErrorKind::SelfTest`] when `prove` fails; [`ErrorKind::Io`]. The active bundle stays active.
    pub fn install<E: fmt::Display>(
        &mut self,
        bundle: &Path,
        policy: Policy<'_>,
        prove: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), UpdateError> {
        if self.on_trial() {
            let what = "the active bundle is itself on trial";
            return Err(UpdateError::new(
                ErrorKind::Busy,
                what,
                "confirm it or go back first",
            ));
        }
        if let Some(keys) = policy.keys {
            keys.check(bundle)?;
        }
        let offered = Bundle::open(bundle)?;
        if !policy.older {
            self.refuse_older(&offered)?;
        }
        let slot = self.state.active.map_or(Slot::A, Slot::other);
        let path = self.path(slot);
        self.stage(bundle, &path)
            .map_err(|e| UpdateError::io(&path, &e))?;
        // What was checked may have been replaced before it was copied.
        if let Some(keys) = policy.keys {
            keys.check(&path)?;
        }
        let staged = Bundle::open(&path)?;
        staged.verify()?;
        if staged.digest() != offered.digest() {
            let what = format!("{}: it changed while it was copied", bundle.display());
            return Err(UpdateError::new(ErrorKind::Bundle, what, "copy it again"));
        }
        prove(&path).map_err(|error| {
            let hint = "the bundle before it stays; report this to who made the bundle";
            UpdateError::new(ErrorKind::SelfTest, error, hint)
        })?;
        self.set(State {
            active: Some(slot),
            trial: self.state.active.map(|_| 0),
        })
    }

    fn stage(&self, bundle: &Path, path: &Path) -> std::io::Result<()> {
        // Never a bundle beside the signature of another one.
        self.disk.remove(&signature_of(path))?;
        self.disk.copy(bundle, path)?;
        let signature = signature_of(bundle);
        match signature.exists() {
            true => self.disk.copy(&signature, &signature_of(path)),
            false => Ok(()),
        }
    }

    fn refuse_older(&self, offered: &Bundle) -> Result<(), UpdateError> {
        let Some(active) = self.active() else {
            return Ok(());
        };
        let active = Bundle::open(active)?;
        let version = |bundle: &Bundle| {
            let version = &bundle.manifest().version;
            Version::parse(version).map_err(|error| {
                let what = format!("{}: version '{version}': {error}", bundle.path().display());
                let hint = "versions are compared as 1.2.3; allow an older one to skip that";
                UpdateError::new(ErrorKind::Older, what, hint)
            })
        };
        let (new, old) = (version(offered)?, version(&active)?);
        if new < old {
            let what = format!(
                "{}: version {new} is older than the active {old}",
                offered.path().display()
            );
            return Err(UpdateError::new(
                ErrorKind::Older,
                what,
                "allow an older one explicitly",
            ));
        }
        Ok(())
    }

    /// What to run, at the start of the program that runs it. An update on trial gets
    /// [`TRIAL_STARTS`] of them to be confirmed.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when no bundle is installed; [`ErrorKind::Io`].
    pub fn begin(&mut self) -> Result<Begun, UpdateError> {
        let mut rolled_back = false;
        match self.state.trial {
            Some(starts) if starts >= TRIAL_STARTS => {
                self.roll_back()?;
                rolled_back = true;
            }
            Some(starts) => self.set(State {
                trial: Some(starts + 1),
                ..self.state
            })?,
            None => {}
        }
        let bundle = self.active().ok_or_else(|| {
            let what = format!("{}: no bundle is installed", self.folder.display());
            UpdateError::new(
                ErrorKind::State,
                what,
                "`bedside update install BUNDLE --into DIR`",
            )
        })?;
        Ok(Begun {
            bundle,
            trial: self.on_trial(),
            rolled_back,
        })
    }

    /// The active bundle does well: it stays.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn confirm(&mut self) -> Result<(), UpdateError> {
        self.set(State {
            trial: None,
            ..self.state
        })
    }

    /// Make the bundle before the active one active again.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when there is none; [`ErrorKind::Bundle`] when it is damaged;
    /// [`ErrorKind::Io`].
    pub fn roll_back(&mut self) -> Result<(), UpdateError> {
        let before = self.state.active.map(Slot::other);
        let before = before
            .filter(|slot| self.path(*slot).exists())
            .ok_or_else(|| {
                let what = format!(
                    "{}: there is no bundle before this one",
                    self.folder.display()
                );
                UpdateError::new(ErrorKind::State, what, "install one")
            })?;
        Bundle::open(self.path(before))?.verify()?;
        self.set(State {
            active: Some(before),
            trial: None,
        })
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.folder.join(slot.file())
    }

    fn set(&mut self, state: State) -> Result<(), UpdateError> {
        if state == self.state {
            return Ok(());
        }
        let path = self.folder.join(STATE);
        let bytes = serde_json::to_vec(&state).map_err(std::io::Error::from);
        let written = bytes.and_then(|bytes| self.disk.write(&path, &bytes));
        written.map_err(|error| UpdateError::io(&path, &error))?;
        self.state = state;
        Ok(())
    }
}

fn read_state(folder: &Path) -> Result<State, UpdateError> {
    use std::io::Read;
    let path = folder.join(STATE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(UpdateError::io(&path, &error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_STATE_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| UpdateError::io(&path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("{}: {error}", path.display());
        UpdateError::new(
            ErrorKind::State,
            what,
            "remove that file and install a bundle again",
        )
    })
}

#[cfg(test)]
mod tests;
