//! Which bundle runs where updates are kept, and whether an update on trial stays.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bedside_update::{KeyRing, Slots, UpdateError};

use crate::config;
use crate::failure::Failure;

/// How long an update must answer without a fault to be confirmed.
const WELL_FOR: Duration = Duration::from_secs(120);
/// Time until what failed to be noted on the disk is tried again.
const AGAIN: Duration = Duration::from_secs(60);

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        Self::new(error.to_string())
    }
}

/// The bundle that a configuration names, signed by one of its keys where it has some.
pub(crate) fn bundle(model: &config::Model) -> Result<PathBuf, Failure> {
    let path = match &model.updates {
        Some(folder) => Slots::open(folder)?.active(),
        None => None,
    };
    let path = path.unwrap_or_else(|| model.bundle.clone());
    if let Some(keys) = &model.keys {
        KeyRing::open(keys)?.check(&path)?;
    }
    Ok(path)
}

/// An update that has yet to do well.
#[derive(Debug)]
pub(crate) struct Trial {
    folder: PathBuf,
    /// Since when it answers.
    well: Option<Instant>,
    /// Before then nothing is looked at.
    rest: Option<Instant>,
}

impl Trial {
    /// Note a start of the daemon: after too many without a confirmation the bundle before runs again.
    /// `None` where nothing is on trial.
    pub(crate) fn begin(folder: &Path) -> Result<Option<Self>, Failure> {
        let mut slots = Slots::open(folder)?;
        if slots.active().is_none() {
            return Ok(None);
        }
        Ok(slots.begin()?.trial.then(|| Self {
            folder: folder.to_owned(),
            well: None,
            rest: None,
        }))
    }

    /// Look at the session's state. `Some` once the trial is over: what to tell, and whether the
    /// daemon must start again to run the bundle before.
    ///
    /// # Errors
    /// When the end of the trial can't be noted; a later look tries again.
    pub(crate) fn look(
        &mut self,
        state: &str,
        now: Instant,
    ) -> Result<Option<(&'static str, bool)>, Failure> {
        if self.rest.is_some_and(|rest| now < rest) {
            return Ok(None);
        }
        let over = self.judge(state, now);
        if over.is_err() {
            self.rest = now.checked_add(AGAIN);
        }
        over
    }

    fn judge(
        &mut self,
        state: &str,
        now: Instant,
    ) -> Result<Option<(&'static str, bool)>, Failure> {
        match state {
            "fault" => {
                Slots::open(&self.folder)?.roll_back()?;
                let news = "note: the update came to a fault: back to the bundle before";
                return Ok(Some((news, true)));
            }
            "active" | "degraded" => {
                let since = *self.well.get_or_insert(now);
                if now.duration_since(since) >= WELL_FOR {
                    Slots::open(&self.folder)?.confirm()?;
                    return Ok(Some(("note: the update does well and stays", false)));
                }
            }
            "stalled" => self.well = None,
            // Nothing is asked of the model meanwhile.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bedside_update::Policy;

    use super::*;

    /// A folder where an update is on trial, and the path of the bundle before it.
    fn on_trial(folder: &Path) -> PathBuf {
        let edge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/edge/edge.bedside");
        let mut slots = Slots::open(folder).unwrap();
        let mut install = || {
            let proved = |_: &Path| Ok::<_, Infallible>(());
            slots.install(&edge, Policy::default(), proved).unwrap();
            slots.active().unwrap()
        };
        let before = install();
        install();
        before
    }

    #[test]
    fn an_update_that_answers_for_long_enough_stays() {
        let temp = tempfile::tempdir().unwrap();
        let before = on_trial(temp.path());
        let mut trial = Trial::begin(temp.path()).unwrap().unwrap();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, state) in [
            (0, "starting"),
            (5, "active"),
            (100, "stalled"),
            (110, "active"),
        ] {
            assert_eq!(trial.look(state, at(seconds)).unwrap(), None);
        }
        assert_eq!(
            trial.look("degraded", at(200)).unwrap(),
            None,
            "not since 110"
        );
        let over = trial.look("active", at(231)).unwrap();
        assert!(over.is_some_and(|(_, failed)| !failed));
        let slots = Slots::open(temp.path()).unwrap();
        assert!(!slots.on_trial());
        assert_ne!(slots.active(), Some(before));
    }

    #[test]
    fn what_can_not_be_noted_is_told_once_a_minute() {
        let temp = tempfile::tempdir().unwrap();
        on_trial(temp.path());
        let mut trial = Trial::begin(temp.path()).unwrap().unwrap();
        let busy = Slots::open(temp.path()).unwrap();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(trial.look("fault", at(0)).is_err());
        assert_eq!(trial.look("fault", at(59)).unwrap(), None);
        assert!(trial.look("fault", at(60)).is_err());
        drop(busy);
        assert!(trial.look("fault", at(120)).unwrap().is_some());
    }

    #[test]
    fn p_18_an_update_that_comes_to_a_fault_gives_way_to_the_bundle_before() {
        let temp = tempfile::tempdir().unwrap();
        let before = on_trial(temp.path());
        let mut trial = Trial::begin(temp.path()).unwrap().unwrap();
        let over = trial.look("fault", Instant::now()).unwrap();
        assert!(over.is_some_and(|(_, failed)| failed));
        assert!(Trial::begin(temp.path()).unwrap().is_none());
        assert_eq!(Slots::open(temp.path()).unwrap().active(), Some(before));
    }
}
