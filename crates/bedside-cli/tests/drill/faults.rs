//! The faults of the drill, and what each must lead to.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bedside_fuzz::graphs::decoder;

use crate::deep::{chain, with_decoder};
use crate::feeder::{HEIGHT, WIDTH, header};
use crate::live::{Live, Setup, signal};

/// One way in which something goes wrong.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Whether the short drill has it.
    pub(crate) quick: bool,
    /// Before the start; an error says why it can't be tried here.
    pub(crate) prepare: fn(&mut Setup) -> Result<(), String>,
    /// Once masks are painted.
    pub(crate) strike: fn(&mut Live),
    /// How long it lasts, in milliseconds.
    pub(crate) lasts: u64,
    /// Its end, where it has one.
    pub(crate) mend: fn(&mut Live),
    /// How the session is ended; by the source's end if not at all.
    pub(crate) end: fn(&mut Live),
    /// The exit code.
    pub(crate) code: i32,
    /// The state that records must have, and some picture.
    pub(crate) says: &'static str,
    /// What must stand on some picture of an output, and how what is told of it on standard error begins.
    pub(crate) trouble: Option<[&'static str; 2]>,
    /// Whether masks must be painted afterwards.
    pub(crate) masks_after: bool,
    /// Whether the fault is the source's own, so that no frames come.
    pub(crate) source: bool,
    /// Whether the model answers at first; masks must be there before the fault then.
    pub(crate) answers: bool,
    /// What the session's end must take at most, in milliseconds.
    pub(crate) ends_within: u64,
    /// Whether the records must close with an end.
    pub(crate) closes: bool,
}

/// Nothing goes wrong, for 2 seconds.
const NONE: Fault = Fault {
    name: "none",
    quick: true,
    prepare: |_| Ok(()),
    strike: |_| {},
    lasts: 2_000,
    mend: |_| {},
    end: |live| live.feeder().close(),
    code: 0,
    says: "active",
    trouble: None,
    masks_after: true,
    source: false,
    answers: true,
    ends_within: 1_000,
    closes: true,
};

/// Exit code of a session whose output, or whose records, failed.
const OUTPUT: i32 = 6;
/// Exit code of a session that ends with its model at fault.
const ENGINE: i32 = 7;
/// Exit code of a session whose source failed.
const INPUT: i32 = 3;

fn strike_model(live: &mut Live, name: &str) {
    let pid = live.model().expect("no process runs the model");
    signal(pid, name);
}

/// Start the model anew, so that it reads its bundle again.
fn reload(live: &mut Live) {
    std::thread::sleep(Duration::from_millis(500));
    strike_model(live, "KILL");
}

/// A bundle whose decoder has 20,000 operators one behind the other.
fn deep(setup: &mut Setup) -> Result<(), String> {
    let model = decoder(|graph| chain(graph, 20_000));
    setup.bundle = with_decoder(setup.folder.path(), &model);
    Ok(())
}

/// A pipe to which not one byte more can be written.
fn full_pipe(setup: &mut Setup) -> Result<(), String> {
    let (reader, mut writer) = std::io::pipe().map_err(|e| e.to_string())?;
    // What a pipe holds on Linux, unless it was told otherwise.
    writer
        .write_all(&vec![b'\n'; 1 << 16])
        .map_err(|e| e.to_string())?;
    setup.stderr = Some(Stdio::from(writer));
    // Nobody reads, and nobody closes it.
    std::mem::forget(reader);
    Ok(())
}

/// A file system of 1 MiB.
fn small_disk(setup: &Setup) -> Result<PathBuf, String> {
    let place = setup.path("disk");
    fs::create_dir(&place).map_err(|e| e.to_string())?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&place)
        .output()
        .map_err(|e| format!("mount: {e}"))?;
    if mounted.status.success() {
        Ok(place)
    } else {
        Err("a file system can't be mounted here".to_owned())
    }
}

/// A library that moves the wall clock a day ahead at 3 seconds, and two days back at 5.
fn jumping_clock(setup: &mut Setup) -> Result<(), String> {
    let (source, library) = (setup.path("jump.c"), setup.path("jump.so"));
    fs::write(&source, include_str!("jump.c")).map_err(|e| e.to_string())?;
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .output()
        .map_err(|e| format!("cc: {e}"))?;
    if !built.status.success() {
        return Err("cc can't make a shared library here".to_owned());
    }
    let library = library.display().to_string();
    setup.environment.insert("LD_PRELOAD", library);
    Ok(())
}

/// Change a file where it lies, as `cp` over it does.
fn overwrite(live: &Live) {
    let file = OpenOptions::new().write(true).open(&live.setup.bundle);
    let mut file = file.unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&vec![0x5a; length as usize]).unwrap();
}

fn truncate(live: &Live) {
    let file = OpenOptions::new().write(true).open(&live.setup.bundle);
    let file: File = file.unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

/// A bundle that can't be loaded again.
const SPOILT: Fault = Fault {
    quick: false,
    lasts: 4_000,
    says: "fault: load",
    masks_after: false,
    code: ENGINE,
    ..NONE
};

/// Of a second output that takes nothing, and of one on a full disk.
const BLOCKED: [&str; 2] = ["output 2 blocked", "output 2: takes nothing for a second"];
const FULL: [&str; 2] = [
    "output 2 failed",
    "output 2: Y4M file: No space left on device",
];

pub(crate) const FAULTS: &[Fault] = &[
    NONE,
    Fault {
        name: "model: SEGV",
        quick: false,
        // Rust's runtime takes the first for its own, and gives up its handler.
        strike: |live| {
            strike_model(live, "SEGV");
            std::thread::sleep(Duration::from_millis(100));
            strike_model(live, "SEGV");
        },
        ..NONE
    },
    Fault {
        name: "model: ABRT",
        quick: false,
        strike: |live| strike_model(live, "ABRT"),
        ..NONE
    },
    Fault {
        name: "model: KILL",
        strike: |live| strike_model(live, "KILL"),
        ..NONE
    },
    Fault {
        name: "model: STOP",
        quick: false,
        strike: |live| strike_model(live, "STOP"),
        lasts: 14_000,
        says: "stalled: inference",
        ..NONE
    },
    Fault {
        name: "bundle overwritten in place, then a restart",
        strike: |live| {
            overwrite(live);
            reload(live);
        },
        ..SPOILT
    },
    Fault {
        name: "bundle truncated, then a restart",
        strike: |live| {
            truncate(live);
            reload(live);
        },
        ..SPOILT
    },
    Fault {
        name: "bundle with a graph of 20,000 nodes in a row",
        quick: false,
        prepare: deep,
        says: "fault: load",
        answers: false,
        masks_after: false,
        code: ENGINE,
        ..NONE
    },
    Fault {
        name: "sink: pipe that nobody reads",
        prepare: |setup| {
            setup.sink("| exec sleep 40");
            Ok(())
        },
        trouble: Some(BLOCKED),
        code: OUTPUT,
        // A sink that takes nothing has five seconds to end.
        ends_within: 6_000,
        ..NONE
    },
    Fault {
        name: "sink: pipe that is closed",
        quick: false,
        prepare: |setup| {
            setup.sink("| head -c 5000000 >/dev/null");
            Ok(())
        },
        trouble: Some([
            "output 2 failed",
            "output 2: command: ended before the video did",
        ]),
        code: OUTPUT,
        ..NONE
    },
    Fault {
        name: "sink: full disk (/dev/full)",
        prepare: |setup| {
            symlink("/dev/full", setup.path("full.y4m")).map_err(|e| e.to_string())?;
            setup.sink("full.y4m");
            Ok(())
        },
        trouble: Some(FULL),
        code: OUTPUT,
        ..NONE
    },
    Fault {
        name: "sink: disk of 1 MiB that fills",
        quick: false,
        prepare: |setup| {
            let disk = small_disk(setup)?;
            setup.sink(disk.join("video.y4m").display().to_string());
            Ok(())
        },
        trouble: Some(FULL),
        code: OUTPUT,
        ..NONE
    },
    Fault {
        name: "records: full disk (/dev/full)",
        prepare: |setup| {
            setup.records = "/dev/full".to_owned();
            Ok(())
        },
        trouble: Some([
            "file of records failed",
            "file of records: No space left on device",
        ]),
        code: OUTPUT,
        ..NONE
    },
    Fault {
        name: "log: disk of 1 MiB that fills",
        quick: false,
        prepare: |setup| {
            let disk = small_disk(setup)?;
            fs::write(disk.join("filler"), vec![0; (1 << 20) - (96 << 10)])
                .map_err(|e| e.to_string())?;
            setup.log = disk.join("session.log");
            Ok(())
        },
        strike: |live| {
            let filler = live.setup.path("disk/filler");
            // What is left of the disk.
            let _ = OpenOptions::new()
                .append(true)
                .open(filler)
                .and_then(|mut file| file.write_all(&[0; 96 << 10]));
        },
        lasts: 4_000,
        trouble: Some(["result log failed", "result log: No space left on device"]),
        code: OUTPUT,
        ..NONE
    },
    Fault {
        name: "source: silent for 4 s",
        strike: |live| live.feeder().pause(),
        lasts: 4_000,
        mend: |live| live.feeder().resume(),
        says: "stalled: input",
        source: true,
        ..NONE
    },
    Fault {
        name: "source: unplugged within a frame",
        quick: false,
        strike: |live| {
            let mut cut = b"FRAME\n".to_vec();
            cut.extend_from_slice(&[128; 5_000]);
            live.feeder().bytes(cut);
            live.feeder().close();
        },
        lasts: 0,
        masks_after: false,
        source: true,
        ..NONE
    },
    Fault {
        name: "source: another size",
        quick: false,
        strike: |live| {
            let header = header(WIDTH * 2, HEIGHT * 2);
            live.feeder().bytes(header.into_bytes());
        },
        lasts: 1_000,
        masks_after: false,
        source: true,
        code: INPUT,
        ..NONE
    },
    Fault {
        name: "source: garbage",
        quick: false,
        strike: |live| live.feeder().bytes(vec![0xa7; 300_001]),
        lasts: 1_000,
        masks_after: false,
        source: true,
        code: INPUT,
        ..NONE
    },
    Fault {
        name: "source: end",
        quick: false,
        strike: |live| live.feeder().close(),
        lasts: 0,
        masks_after: false,
        source: true,
        ..NONE
    },
    Fault {
        name: "stderr that nobody reads",
        quick: false,
        prepare: full_pipe,
        ..NONE
    },
    Fault {
        name: "wall clock a day ahead, then two back",
        quick: false,
        prepare: jumping_clock,
        lasts: 6_000,
        ..NONE
    },
    Fault {
        name: "SIGINT",
        quick: false,
        end: |live| live.signal("INT"),
        ..NONE
    },
    Fault {
        name: "SIGINT twice, beside a sink that nobody reads",
        quick: false,
        prepare: |setup| {
            setup.sink("| exec sleep 40");
            Ok(())
        },
        end: |live| {
            live.signal("INT");
            std::thread::sleep(Duration::from_millis(100));
            if !live.ended() {
                live.signal("INT");
            }
        },
        trouble: Some(BLOCKED),
        code: OUTPUT,
        ..NONE
    },
    Fault {
        name: "SIGTERM",
        end: |live| live.signal("TERM"),
        ..NONE
    },
    Fault {
        name: "the command itself: KILL",
        quick: false,
        end: |live| live.signal("KILL"),
        code: -9,
        closes: false,
        ..NONE
    },
];

/// Undo what a case left on the machine.
pub(crate) fn clean(setup: &Setup) {
    let disk = setup.path("disk");
    if disk.exists() {
        let _ = Command::new("umount").arg("-l").arg(&disk).output();
    }
}
