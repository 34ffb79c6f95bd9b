//! Where video comes from and records go to.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bedside_video::CameraInfo;
use serde_json::json;

use super::{Check, Level};
use crate::model::ModelArgs;

/// Space below which a session soon fills the disk, and what leaves room for a day of them.
const SPACE: (u64, u64) = (100 << 20, 2 << 30);
/// What a sync may take: records of more time than this wait in memory.
const SLOW: Duration = Duration::from_millis(250);

pub(super) fn cameras(found: Vec<CameraInfo>) -> Vec<Check> {
    if found.is_empty() {
        let text = "none; hint: plug one in, or pipe video in with ffmpeg, see docs/video.md";
        return vec![Check::ok("camera", text, json!({}))];
    }
    found.into_iter().map(camera).collect()
}

fn camera(info: CameraInfo) -> Check {
    let path = info.path;
    match info.formats {
        Err(error) => {
            let facts = json!({ "path": path, "formats": [] });
            Check::new("camera", Level::Warning, error, facts)
        }
        Ok(formats) => {
            let formats: Vec<String> = formats.iter().map(ToString::to_string).collect();
            let facts = json!({ "path": path, "formats": formats });
            if formats.is_empty() {
                let text = format!(
                    "{path} offers none of the formats that are read; hint: pipe it in with \
                     ffmpeg, see docs/video.md"
                );
                return Check::new("camera", Level::Warning, text, facts);
            }
            let text = format!("{path}: {}", formats.join(", "));
            Check::ok("camera", text, facts)
        }
    }
}

/// What was measured of a folder.
struct Disk {
    free: u64,
    sync: Duration,
}

/// Write a file, have it on the disk, and take it away again.
fn measure(folder: &Path) -> io::Result<Disk> {
    let mut file = tempfile::Builder::new()
        .prefix(".bedside-")
        .tempfile_in(folder)?;
    file.write_all(&vec![0; 1 << 16])?;
    let start = Instant::now();
    file.as_file().sync_all()?;
    let sync = start.elapsed();
    let space = rustix::fs::statvfs(folder)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    Ok(Disk { free, sync })
}

pub(super) fn records(folder: &Path) -> Check {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let shown = path.display();
    match measure(&path) {
        Err(error) => {
            let text = format!(
                "{shown} can't be written: {error}; hint: name a folder that you may write to, \
                 with space left, by --records DIR"
            );
            Check::new("records", Level::Problem, text, json!({ "folder": path }))
        }
        Ok(disk) => judge(&path, &disk),
    }
}

fn judge(path: &Path, disk: &Disk) -> Check {
    let milliseconds = disk.sync.as_secs_f64() * 1e3;
    let facts = json!({ "folder": path, "free_bytes": disk.free, "sync_ms": milliseconds });
    let free = disk.free >> 20;
    let text = format!(
        "{}: {free} MiB free, sync in {milliseconds:.1} ms",
        path.display()
    );
    let (least, enough) = SPACE;
    if disk.free < enough {
        let level = if disk.free < least {
            Level::Problem
        } else {
            Level::Warning
        };
        let text = format!("{text}; hint: make room, or name another folder by --records DIR");
        return Check::new("records", level, text, facts);
    }
    if disk.sync > SLOW {
        let text = format!("{text}; hint: a crash costs more records on a slow disk, try another");
        return Check::new("records", Level::Warning, text, facts);
    }
    Check::ok("records", text, facts)
}

/// The folder of what is learned here, which is made as the first start would make it.
pub(super) fn cache(model: &ModelArgs) -> Check {
    let cache = match model.cache() {
        Ok(cache) => cache,
        Err(failure) => return Check::new("cache", Level::Warning, failure, json!({})),
    };
    let folder = cache.folder();
    let (shown, facts) = (folder.display(), json!({ "folder": folder }));
    match std::fs::create_dir_all(folder).and_then(|()| measure(folder)) {
        Ok(_) => Check::ok("cache", shown, facts),
        Err(error) => {
            let text = format!(
                "{shown} can't be written: {error}; hint: each start runs the self-test anew; \
                 name another folder by --cache DIR"
            );
            Check::new("cache", Level::Warning, text, facts)
        }
    }
}

#[cfg(test)]
mod tests {
    use bedside_video::CaptureFormat;

    use super::*;

    #[test]
    fn a_full_or_slow_disk_is_told() {
        let level = |free, ms| {
            let sync = Duration::from_millis(ms);
            judge(Path::new("/records"), &Disk { free, sync }).level
        };
        assert_eq!(level(100 << 30, 5), Level::Ok);
        assert_eq!(level(100 << 30, 800), Level::Warning);
        assert_eq!(level(1 << 30, 5), Level::Warning);
        assert_eq!(level(1 << 20, 5), Level::Problem);
    }

    #[test]
    fn nothing_is_left_in_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        assert_ne!(records(temp.path()).facts["free_bytes"], json!(null));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn cameras_are_listed_with_what_they_offer() {
        let format: CaptureFormat = "1280x720:nv12@30".parse().unwrap();
        let camera = |formats| {
            let path = "/dev/video7".to_owned();
            cameras(vec![CameraInfo { path, formats }]).remove(0)
        };
        let check = camera(Ok(vec![format]));
        assert_eq!(check.level, Level::Ok);
        assert_eq!(check.finding, "/dev/video7: 1280x720:nv12@30");
        assert_eq!(camera(Ok(Vec::new())).level, Level::Warning);
        assert_eq!(cameras(Vec::new()).len(), 1);
    }
}
