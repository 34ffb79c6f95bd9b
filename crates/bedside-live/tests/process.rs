//! Models in a process of their own that do as a test says. Threads, memory and children are
//! counted for this whole process, so its tests run one after the other; and it is its own child.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic as tests do"
)]

use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, abort, exit};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs, thread};

use bedside::engine::TractCpu;
use bedside::{
    Bundle, Fault, Finding, Frame, Mask, Options, PixelFormat, Prompt, Stall, State, YuvSpace,
};
use bedside_live::{BundleLoader, Error, ErrorKind, Loader, Model, ProcessLoader, resident_memory};
use rustix::process::{Signal, getpid, kill_process};

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use rig::{Bench, Scripted, finding, picture, quick, wait_for};

/// What a child does: so many good passes, then a fault.
const ROLE: &str = "BEDSIDE_TEST_ROLE";
/// Most memory that a child may ask for.
const MEMORY: u64 = 1 << 30;

/// One test at a time, and nothing left of the one before.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    wait_for("nothing left", || threads().is_empty() && children() == 0);
    one
}

/// Starts this binary again, in one role after the other and then from the first on.
fn loader(roles: &[&str]) -> (Arc<ProcessLoader>, Arc<AtomicUsize>) {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let command = move || {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(ROLE, &roles[nth % roles.len()]);
        command
    };
    let loader = ProcessLoader::new(Arc::new(Scripted::sure()), command);
    (Arc::new(loader), started)
}

/// What the other tests start. By itself it does nothing.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let done = bedside_live::serve(Some(MEMORY), || match role.strip_prefix("load ") {
        Some(fault) => {
            faulty(fault, &picture(0))?;
            unreachable!("loading ends before")
        }
        None if role == "edge" => edge().load(),
        None => Ok(Box::new(Acting::new(&role))),
    });
    exit(i32::from(done.is_err()));
}

/// Gives so many good answers, then does as it is told: "3 abort".
struct Acting {
    good: u32,
    fault: String,
    prompts: Vec<Prompt>,
}

impl Acting {
    fn new(role: &str) -> Self {
        let (good, fault) = role.split_once(' ').unwrap_or((role, ""));
        Self {
            good: good.parse().unwrap(),
            fault: fault.to_owned(),
            prompts: Vec::new(),
        }
    }
}

impl Model for Acting {
    fn set_prompts(&mut self, prompts: &[Prompt], _: Option<u32>) -> Result<(), Error> {
        if prompts.iter().any(|prompt| prompt.text == "refused") {
            return Err(Error::new(
                ErrorKind::Prompt,
                "'refused' names several things",
            ));
        }
        self.prompts = prompts.to_vec();
        Ok(())
    }

    fn segment(&mut self, frame: &Frame, places: Range<usize>) -> Result<Vec<Finding>, Error> {
        let prompts = &self.prompts[places];
        if self.good == 0 {
            return faulty(&self.fault, frame);
        }
        self.good -= 1;
        Ok(prompts.iter().map(|p| finding(&p.text, 0.95)).collect())
    }
}

fn faulty(fault: &str, frame: &Frame) -> Result<Vec<Finding>, Error> {
    let signal = |signal| loop {
        // The runtime takes the first SIGSEGV for a stack that may have overflowed.
        kill_process(getpid(), signal).unwrap();
        thread::sleep(Duration::from_millis(1));
    };
    let say = |bytes: &[u8]| {
        let socket = io::stdin().as_fd().try_clone_to_owned().unwrap();
        UnixStream::from(socket).write_all(bytes).unwrap();
        thread::sleep(Duration::MAX);
    };
    let mut good = finding("thing", 0.95);
    match fault {
        "segv" => signal(Signal::SEGV),
        "bus" => signal(Signal::BUS),
        "kill" => signal(Signal::KILL),
        "stop" => signal(Signal::STOP),
        "abort" => abort(),
        "exit" => exit(3),
        "panic" => panic!("the model panics, as this test wants"),
        "overflow" => {
            deeper(1);
        }
        "memory" => {
            let much = vec![1_u8; 2 * MEMORY as usize];
            std::hint::black_box(&much);
        }
        "hang" => thread::sleep(Duration::MAX),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "garbage" => say(&[0x5a; 4096]),
        "huge" => say(&u32::MAX.to_le_bytes().repeat(2)),
        "few" => return Ok(Vec::new()),
        "many" => return Ok(vec![good; 3]),
        "nan" => good.presence = f32::NAN,
        "area" => good.area += 1,
        "size" => good.mask = Some(Mask::empty(frame.width() + 1, frame.height())),
        "bare" => good.mask = None,
        "slow" => thread::sleep(Duration::from_millis(300)),
        "talk" => {
            for _ in 0..100_000 {
                let words = "a library that talks too much ".repeat(10);
                let _ = writeln!(io::stderr(), "{words}");
            }
        }
        "error" => return Err(rig::failure("the logits hold NaN")),
        "self-test" => return Err(Error::new(ErrorKind::SelfTest, "masks come out wrong")),
        "refuse" => return Err(Error::new(ErrorKind::Load, "no such backend")),
        other => unreachable!("{other}"),
    }
    Ok(vec![good])
}

/// Needs more stack than there is.
fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 512]);
    match room[1] {
        u64::MAX => 0,
        depth => room[0] + deeper(depth + 1),
    }
}

/// Threads of this process by name, and its children that have not been waited for.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    let names = tasks.filter_map(name).map(|name| name.trim().to_owned());
    names.filter(|name| name.starts_with("bedside-")).collect()
}

fn children() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let of = |task: io::Result<fs::DirEntry>| {
        fs::read_to_string(task.ok()?.path().join("children")).ok()
    };
    tasks
        .filter_map(of)
        .map(|of| of.split_whitespace().count())
        .sum()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Show frames, so far apart, until something holds, as a camera goes on whatever the model does.
/// `show` sees that each comes out as it went in unless a mask is painted on it.
fn show_until(bench: &mut Bench, apart: Duration, what: &str, holds: impl Fn(&Bench) -> bool) {
    wait_for(what, || {
        bench.clock.advance(apart);
        bench.show_next();
        assert_eq!(bench.session.record().frame, bench.next - 1, "every frame");
        let holds = holds(bench);
        let (state, said) = (bench.session.state(), bench.session.message());
        let over = matches!(state, State::Fault(_)) && !holds;
        assert!(!over, "instead of {what}: {state}, {said:?}");
        holds
    });
}

fn says(bench: &Bench, words: &str) -> bool {
    bench
        .session
        .message()
        .is_some_and(|said| said.contains(words))
}

/// Longer than a pass may take.
const TOO_LONG: Duration = Duration::from_millis(201);

/// The video beside a model that answers twice, has a fault, and is loaded anew.
fn survives(fault: &str, words: &str) {
    let (loader, started) = loader(&[&format!("2 {fault}"), "1000"]);
    let mut bench = Bench::on(loader, quick());
    bench.step_next();
    bench.step_next();
    assert_eq!(bench.session.record().masks.len(), 1, "{fault}");
    let apart = match words.starts_with("no answer") {
        true => TOO_LONG,
        false => Duration::ZERO,
    };
    show_until(&mut bench, apart, fault, |bench| says(bench, words));
    assert!(bench.session.record().masks.is_empty(), "{fault}");
    assert!(bench.session.state().permit().is_none(), "{fault}");
    show_until(&mut bench, Duration::ZERO, "a fresh model", |_| {
        started.load(Ordering::SeqCst) == 2
    });
    bench.settle();
    bench.until_masked();
    assert_eq!(bench.session.state(), State::Active, "{fault}");
    assert_eq!(bench.session.message(), None, "{fault}");
}

#[test]
fn p_03_video_goes_on_beside_a_model_whose_process_ends_in_any_way() {
    let _alone = alone();
    for (fault, words) in [
        ("segv", "signal 11 (SIGSEGV)"),
        ("bus", "signal 7 (SIGBUS"),
        ("abort", "signal 6 (SIGABRT)"),
        ("kill", "signal 9 (SIGKILL"),
        ("exit", "exit code 3"),
        ("overflow", "stack overflow"),
        ("garbage", "too long"),
        ("huge", "too long"),
        ("stop", "no answer for"),
    ] {
        survives(fault, words);
    }
}

#[test]
fn p_28_an_ended_process_is_told_from_a_failed_pass() {
    let _alone = alone();
    let kinds = [
        ("kill", ErrorKind::Process),
        ("exit", ErrorKind::Process),
        ("garbage", ErrorKind::Process),
        ("nan", ErrorKind::Process),
        ("size", ErrorKind::Model),
        ("error", ErrorKind::Model),
    ];
    for (fault, kind) in kinds {
        let (loader, _) = loader(&[&format!("0 {fault}")]);
        let mut model = loader.load().unwrap();
        model.set_prompts(&[Prompt::new("thing")], None).unwrap();
        let error = model.segment(&picture(0), 0..1).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
        match kind {
            ErrorKind::Model => model.alive().unwrap(),
            _ => wait_for("its end", || model.alive().is_err()),
        }
    }
}

#[test]
fn p_28_a_model_that_fails_in_any_way_is_loaded_anew() {
    let _alone = alone();
    let nonsense = "findings that can't be";
    let failed = "3 passes failed in a row";
    for (fault, words) in [
        ("hang", "no answer for"),
        ("panic", "panicked at"),
        ("memory", "memory allocation of 2147483648 bytes failed"),
        ("nan", nonsense),
        ("few", nonsense),
        ("many", "too long"),
        ("area", nonsense),
        ("size", failed),
        ("bare", failed),
        ("error", failed),
    ] {
        survives(fault, words);
    }
}

#[test]
fn p_21_a_panic_in_the_models_process_tells_its_place_alone() {
    let _alone = alone();
    let (loader, _) = loader(&["1 panic"]);
    let mut bench = Bench::on(loader, quick());
    bench.step_next();
    show_until(&mut bench, Duration::ZERO, "the panic", |bench| {
        says(bench, "panicked at ")
    });
    let message = bench.session.message().unwrap_or_default();
    assert!(!message.contains("as this test wants"), "{message}");
}

#[test]
fn p_28_a_slow_model_and_one_that_talks_are_waited_for() {
    let _alone = alone();
    for fault in ["slow", "talk"] {
        let (loader, started) = loader(&[&format!("1 {fault}")]);
        let mut bench = Bench::on(loader, quick());
        for _ in 0..3 {
            bench.step_next();
        }
        assert_eq!(bench.session.record().masks.len(), 1, "{fault}");
        assert_eq!(started.load(Ordering::SeqCst), 1, "{fault}");
    }
}

#[test]
fn p_12_a_model_that_hangs_in_its_process_is_ended_and_leaves_nothing() {
    let _alone = alone();
    let before = descriptors();
    for fault in ["hang", "spin", "stop"] {
        let (loader, started) = loader(&[&format!("1 {fault}")]);
        let mut bench = Bench::on(loader, quick());
        show_until(&mut bench, TOO_LONG, "the end of the budget", |bench| {
            bench.session.state() == State::Fault(Fault::RestartsSpent)
        });
        assert_eq!(started.load(Ordering::SeqCst), 3, "one start, two restarts");
        assert!(bench.session.record().masks.is_empty());
        wait_for("nothing left", || {
            threads().is_empty() && (children(), descriptors()) == (0, before)
        });
    }
}

#[test]
fn p_12_models_that_hang_in_this_process_are_few() {
    let _alone = alone();
    let (script, gate) = Scripted::held_from(0);
    let mut config = quick();
    (config.watchdog.restarts, config.watchdog.abandoned) = (100, 2);
    let mut bench = Bench::new(&script, config);
    show_until(&mut bench, TOO_LONG, "the last one", |bench| {
        bench.session.state() == State::Fault(Fault::RestartsSpent)
    });
    assert_eq!(script.loads(), 3);
    gate.open();
    wait_for("no thread", || threads().is_empty());
}

#[test]
fn restarts_end_with_the_lifetime_budget() {
    let _alone = alone();
    let (loader, started) = loader(&["1 exit"]);
    let mut config = quick();
    (config.watchdog.restarts, config.watchdog.lifetime) = (100, 4);
    let mut bench = Bench::on(loader, config);
    show_until(&mut bench, Duration::ZERO, "the last one", |bench| {
        bench.session.state() == State::Fault(Fault::RestartsSpent)
    });
    assert_eq!(started.load(Ordering::SeqCst), 5);
}

#[test]
fn a_model_that_can_not_be_loaded_is_a_fault_that_says_why() {
    let _alone = alone();
    for (fault, state, starts, words) in [
        ("segv", Fault::Load, 3, "signal 11 (SIGSEGV)"),
        ("overflow", Fault::Load, 3, "stack overflow"),
        ("memory", Fault::Load, 3, "memory allocation"),
        ("garbage", Fault::Load, 3, "too long"),
        ("hang", Fault::Load, 3, "no answer for"),
        ("stop", Fault::Load, 3, "no answer for"),
        ("refuse", Fault::Load, 1, "no such backend"),
        ("self-test", Fault::SelfTest, 1, "masks come out wrong"),
    ] {
        let (loader, started) = loader(&[&format!("load {fault}")]);
        let mut bench = Bench::unready(loader, quick());
        let apart = match words.starts_with("no answer") {
            true => Duration::from_millis(300),
            false => Duration::ZERO,
        };
        show_until(&mut bench, apart, fault, |bench| {
            bench.session.state() == State::Fault(state)
        });
        assert!(
            says(&bench, words),
            "{fault}: {:?}",
            bench.session.message()
        );
        assert_eq!(started.load(Ordering::SeqCst), starts, "{fault}");
        wait_for("no thread", || threads().is_empty());
        assert_eq!(children(), 0, "{fault}");
    }
}

#[test]
fn a_process_that_ends_while_nothing_is_asked_is_noticed() {
    let _alone = alone();
    let (loader, started) = loader(&["1000"]);
    let mut bench = Bench::on(loader, quick());
    bench.until_masked();
    bench.control.switch(false);
    bench.settle();
    let child = only_child();
    kill_process(child, Signal::TERM).unwrap();
    show_until(&mut bench, Duration::ZERO, "a fresh model", |_| {
        started.load(Ordering::SeqCst) == 2
    });
    assert!(says(&bench, "signal 15 (SIGTERM)"));
    bench.control.switch(true);
    bench.settle();
    bench.until_masked();
}

#[test]
fn prompts_that_a_process_refuses_are_no_fault_of_its_own() {
    let _alone = alone();
    let (loader, started) = loader(&["1000"]);
    let mut bench = Bench::on(loader, quick());
    bench.until_masked();
    for refused in ["refused".to_owned(), "word ".repeat(1000)] {
        bench.control.set_prompts(&[Prompt::new(refused)]).unwrap();
        bench.until("said", |session| session.message().is_some());
        for _ in 0..5 {
            bench.step_next();
            assert_eq!(bench.session.state(), State::Stalled(Stall::Inference));
        }
        bench.control.set_prompts(&[Prompt::new("thing")]).unwrap();
        bench.until_masked();
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[test]
fn a_session_that_ends_takes_its_process_along() {
    let _alone = alone();
    let (loader, _) = loader(&["0 hang"]);
    let mut bench = Bench::on(loader, quick());
    bench.show_next();
    drop(bench);
    wait_for("no thread", || threads().is_empty());
    assert_eq!(children(), 0);
}

#[test]
fn the_process_is_confined() {
    let _alone = alone();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let ours = fs::File::open(manifest).unwrap();
    let (loader, _) = loader(&["1000"]);
    let mut bench = Bench::on(loader, quick());
    bench.until_masked();
    let child = only_child().as_raw_nonzero();
    let read = |file: &str| fs::read_to_string(format!("/proc/{child}/{file}")).unwrap();
    let limits = read("limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..]
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(limit("Max data size"), MEMORY.to_string());
    // Of threads, and the harness has one besides.
    let tasks = fs::read_dir(format!("/proc/{child}/task")).unwrap();
    let confined = tasks.filter(|task| {
        let status = task.as_ref().unwrap().path().join("status");
        fs::read_to_string(status)
            .unwrap()
            .contains("NoNewPrivs:\t1")
    });
    assert!(confined.count() >= 1);
    assert_eq!(read("oom_score_adj").trim(), "500");
    // Nothing that this process has open, where one may look: without core dumps, as root alone.
    let open = fs::read_dir(format!("/proc/{child}/fd"));
    for entry in open.into_iter().flatten() {
        let open = fs::read_link(entry.unwrap().path()).unwrap();
        assert!(!open.ends_with("Cargo.toml"), "{}", open.display());
    }
    drop(ours);
}

#[test]
fn p_12_restarts_without_end_take_neither_memory_nor_threads() {
    let _alone = alone();
    // `BEDSIDE_RESTARTS=1000` for the count that docs/testing.md states.
    let restarts: usize = env::var("BEDSIDE_RESTARTS").map_or(60, |n| n.parse().unwrap());
    let (loader, started) = loader(&["1 abort", "2 exit", "0 kill", "1 hang", "1 nan"]);
    let mut config = quick();
    let watchdog = &mut config.watchdog;
    (watchdog.restarts, watchdog.lifetime) = (u32::MAX, u32::MAX);
    watchdog.load = Duration::from_secs(1_000_000);
    let mut bench = Bench::on(loader, config);
    let mut until = |count| {
        show_until(&mut bench, TOO_LONG, "restarts", |_| {
            thread::sleep(Duration::from_millis(1));
            started.load(Ordering::SeqCst) > count
        });
        let threads = threads();
        (
            resident_memory().unwrap(),
            threads.len(),
            children(),
            descriptors(),
        )
    };
    let early = until(restarts / 5);
    let late = until(restarts);
    let _ = writeln!(
        io::stderr(),
        "memory, threads, children, descriptors after {} and {restarts} restarts: {early:?}, {late:?}",
        restarts / 5
    );
    assert!(
        late.0 < early.0 + early.0 / 50 + (256 << 10),
        "{early:?} to {late:?}"
    );
    // The present one's two threads, and those of one that is about to end; so with descriptors, of
    // which each has some five.
    assert!(late.1 <= 4 && late.2 <= 2, "{late:?}");
    assert!(late.3 <= early.3 + 8, "{early:?} to {late:?}");
}

fn only_child() -> rustix::process::Pid {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lists =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    let lists: String = lists.collect();
    let pids: Vec<i32> = lists
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 1);
    rustix::process::Pid::from_raw(pids[0]).unwrap()
}

fn edge() -> BundleLoader {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/edge/edge.bedside");
    let options = Options::default().with_threads(1);
    let options = options.with_cache(env!("CARGO_TARGET_TMPDIR"));
    BundleLoader::new(Bundle::open(path).unwrap(), Arc::new(TractCpu), options).unwrap()
}

#[test]
fn p_13_a_process_of_its_own_gives_the_same_bits() {
    let _alone = alone();
    let facts = edge();
    let manifest = facts.bundle().manifest();
    let (remote, _) = loader(&["edge"]);
    let (mut here, mut there) = (facts.load().unwrap(), remote.load().unwrap());
    let prompts = [
        Prompt::new("polyp"),
        Prompt::new("tumor in breast ultrasound"),
    ];
    let mut present = 0;
    for test in &manifest.self_tests {
        let rgb = facts.bundle().part(&test.part).unwrap();
        // As a camera has it, in colours that another space would show otherwise.
        let luma = rgb
            .as_chunks()
            .0
            .iter()
            .map(|[_, green, _]: &[u8; 3]| *green);
        let pixels = luma.len();
        let yuv = luma.chain([90, 190].into_iter().cycle().take(pixels / 2));
        let yuv = Frame::new(test.width, test.height, PixelFormat::Nv12, yuv.collect()).unwrap();
        let yuv = yuv.with_yuv_space(YuvSpace::Bt709Limited);
        let rgb = Frame::new(test.width, test.height, PixelFormat::Rgb8, rgb).unwrap();
        for prompt in &prompts {
            for model in [&mut here, &mut there] {
                model
                    .set_prompts(std::slice::from_ref(prompt), None)
                    .unwrap();
            }
            for frame in [&rgb, &yuv] {
                let found = here.segment(frame, 0..1).unwrap();
                assert_eq!(found, there.segment(frame, 0..1).unwrap());
                present += found.iter().filter(|finding| finding.present).count();
            }
        }
    }
    assert!(present > 0, "a mask was compared");
}
