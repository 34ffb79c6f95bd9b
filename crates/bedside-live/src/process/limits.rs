//! What a process may not do, set by itself at its start.

use std::fs;
use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};

/// How much less often than the video path the model runs where both want the same core.
const NICENESS: i32 = 5;
/// How much sooner than others the model is ended where the system runs out of memory, of 1,000.
const EXPENDABLE: &str = "500";

/// Keep what this process has in memory, such as a patient's frames, out of core dumps and out of
/// other programs' sight (but for the administrator's).
///
/// # Errors
/// What the system says.
pub fn forbid_core_dumps() -> io::Result<()> {
    let maximum = Some(0);
    let none = Rlimit {
        current: Some(0),
        maximum,
    };
    setrlimit(Resource::Core, none)?;
    // Where cores go to a program instead of a file, the limit alone does not hold.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Set the limits of a model's process. `memory` is the most it may ask for, in bytes.
pub(super) fn confine(memory: Option<u64>) -> io::Result<()> {
    // Ends with the thread that began it, whatever that one's end.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    if let Some(memory) = memory {
        // Not address space, of which backends on a GPU reserve far more than they use.
        let allowed = getrlimit(Resource::Data).maximum;
        let maximum = Some(allowed.map_or(memory, |allowed| allowed.min(memory)));
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Data, limit)?;
    }
    // Wishes: without them it runs as well.
    let _ = fs::write("/proc/self/oom_score_adj", EXPENDABLE);
    let _ = nice(NICENESS);
    let _ = rustix::thread::set_name(c"bedside-model");
    // Last: it closes /proc/self to itself.
    forbid_core_dumps()
}
