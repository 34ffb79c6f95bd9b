use std::convert::Infallible;

use bedside_bundle::pack;
use tempfile::TempDir;

use super::*;

/// Bundles of three versions, and a folder for slots.
struct Bench {
    temp: TempDir,
    bundles: [PathBuf; 3],
}

impl Bench {
    fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../bedside-bundle/tests/golden/source");
        let bundles = ["1.2.0", "1.10.0", "2.0.0"].map(|version| {
            let source = temp.path().join(version);
            copy_tree(&golden, &source);
            let manifest = source.join("bundle.json");
            let text = fs::read_to_string(&manifest).unwrap();
            let mut text: serde_json::Value = serde_json::from_str(&text).unwrap();
            text["version"] = version.into();
            fs::write(&manifest, text.to_string()).unwrap();
            let bundle = temp.path().join(format!("{version}.bedside"));
            pack(&source, &bundle).unwrap();
            bundle
        });
        Self { temp, bundles }
    }

    fn slots(&self) -> Slots {
        Slots::open(&self.temp.path().join("slots")).unwrap()
    }

    /// A fresh folder in which the first bundle is active.
    fn with_first(&self) -> Slots {
        let _ = fs::remove_dir_all(self.temp.path().join("slots"));
        let mut slots = self.slots();
        install(&mut slots, &self.bundles[0], Policy::default()).unwrap();
        slots
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn install(slots: &mut Slots, bundle: &Path, policy: Policy<'_>) -> Result<(), UpdateError> {
    slots.install(bundle, policy, |_| Ok::<_, Infallible>(()))
}

/// Version of the active bundle, every byte of which is right.
fn version(slots: &Slots) -> String {
    let bundle = Bundle::open(slots.active().unwrap()).unwrap();
    bundle.verify().unwrap();
    bundle.manifest().version.clone()
}

#[test]
fn an_update_is_on_trial_until_it_is_confirmed() {
    let bench = Bench::new();
    let mut slots = bench.slots();
    assert_eq!(slots.begin().unwrap_err().kind(), ErrorKind::State);
    install(&mut slots, &bench.bundles[0], Policy::default()).unwrap();
    assert!(
        !slots.begin().unwrap().trial,
        "there is nothing to go back to"
    );
    assert_eq!(slots.roll_back().unwrap_err().kind(), ErrorKind::State);
    install(&mut slots, &bench.bundles[1], Policy::default()).unwrap();
    assert!(slots.begin().unwrap().trial);
    let busy = install(&mut slots, &bench.bundles[2], Policy::default()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    slots.confirm().unwrap();
    drop(slots);
    let mut slots = bench.slots();
    let begun = slots.begin().unwrap();
    assert!(!begun.trial && !begun.rolled_back);
    assert_eq!(version(&slots), "1.10.0");
    slots.roll_back().unwrap();
    assert_eq!(version(&slots), "1.2.0");
}

#[test]
fn p_18_an_update_that_is_never_confirmed_is_given_up() {
    let bench = Bench::new();
    let mut slots = bench.with_first();
    install(&mut slots, &bench.bundles[1], Policy::default()).unwrap();
    drop(slots);
    for _ in 0..TRIAL_STARTS {
        let begun = bench.slots().begin().unwrap();
        assert!(begun.trial && !begun.rolled_back);
    }
    let mut slots = bench.slots();
    let begun = slots.begin().unwrap();
    assert!(begun.rolled_back && !begun.trial);
    assert_eq!(version(&slots), "1.2.0");
    assert!(!slots.begin().unwrap().rolled_back);
}

#[test]
fn p_18_what_fails_its_self_test_never_becomes_active() {
    let bench = Bench::new();
    let mut slots = bench.with_first();
    let error = slots
        .install(&bench.bundles[1], Policy::default(), |staged| {
            Bundle::open(staged).unwrap();
            Err("the mask is another")
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SelfTest);
    assert!(error.to_string().contains("the mask is another"));
    assert_eq!(version(&slots), "1.2.0");
    assert!(!slots.on_trial());
}

#[test]
fn p_19_an_older_bundle_takes_an_explicit_word() {
    let bench = Bench::new();
    let mut slots = bench.with_first();
    install(&mut slots, &bench.bundles[1], Policy::default()).unwrap();
    slots.confirm().unwrap();
    let error = install(&mut slots, &bench.bundles[0], Policy::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Older);
    assert!(
        error
            .to_string()
            .contains("1.2.0 is older than the active 1.10.0")
    );
    let older = Policy {
        older: true,
        ..Policy::default()
    };
    install(&mut slots, &bench.bundles[0], older).unwrap();
    assert_eq!(version(&slots), "1.2.0");
}

#[test]
fn p_18_a_power_cut_at_any_step_leaves_the_old_bundle_or_the_new() {
    let bench = Bench::new();
    type Step = fn(&mut Slots, &Bench) -> Result<(), UpdateError>;
    let steps: [(Step, &str); 3] = [
        (
            |slots, bench| install(slots, &bench.bundles[1], Policy::default()),
            "install",
        ),
        (|slots, _| slots.begin().map(|_| ()), "begin"),
        (|slots, _| slots.roll_back(), "roll back"),
    ];
    for (at, (step, name)) in steps.into_iter().enumerate() {
        let mut cuts = 0;
        loop {
            let mut slots = bench.with_first();
            if at > 0 {
                install(&mut slots, &bench.bundles[1], Policy::default()).unwrap();
            }
            slots.disk.power.set(Some(cuts));
            let done = step(&mut slots, &bench);
            drop(slots);
            // The power is back.
            let mut slots = bench.slots();
            let left = version(&slots);
            assert!(
                ["1.2.0", "1.10.0"].contains(&left.as_str()),
                "{name}, step {cuts}: {left}"
            );
            if done.is_ok() {
                break;
            }
            slots.begin().unwrap();
            if !slots.on_trial() {
                install(&mut slots, &bench.bundles[2], Policy::default()).unwrap();
                assert_eq!(version(&slots), "2.0.0", "{name}, step {cuts}");
            }
            cuts += 1;
        }
        assert!(cuts >= 3, "{name} has {cuts} steps");
    }
}

#[test]
fn unfinished_files_are_taken_away_and_a_damaged_record_is_told() {
    let bench = Bench::new();
    let slots = bench.with_first();
    let folder = slots.folder.clone();
    drop(slots);
    fs::write(folder.join(".unfinished-x"), "half").unwrap();
    drop(bench.slots());
    assert!(!folder.join(".unfinished-x").exists());
    for text in ["", "{", "{\"active\":\"c\",\"trial\":null}", "[]"] {
        fs::write(folder.join(STATE), text).unwrap();
        let error = Slots::open(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{text}");
    }
}

#[test]
fn one_program_at_a_time() {
    let bench = Bench::new();
    let slots = bench.slots();
    let error = Slots::open(&bench.temp.path().join("slots")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(slots);
    bench.slots();
}
