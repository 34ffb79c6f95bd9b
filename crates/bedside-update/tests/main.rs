//! Signatures by minisign itself: `minisign -G -W`, `minisign -S`, and `-S -l` for the older kind.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use bedside_update::{ErrorKind, KeyRing, Policy, Slots};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A folder with the golden bundle and its signature, and one with keys.
struct Bench(TempDir);

impl Bench {
    fn new(keys: &[&str], signature: &str) -> Self {
        let temp = TempDir::new().unwrap();
        fs::create_dir(temp.path().join("keys")).unwrap();
        for key in keys {
            fs::copy(golden(key), temp.path().join("keys").join(key)).unwrap();
        }
        let bundle = golden("../../../bedside-bundle/tests/golden/golden.bedside");
        let bench = Self(temp);
        fs::copy(bundle, bench.bundle()).unwrap();
        if !signature.is_empty() {
            fs::copy(golden(signature), bench.signature()).unwrap();
        }
        bench
    }

    fn bundle(&self) -> PathBuf {
        self.0.path().join("edge.bedside")
    }

    fn signature(&self) -> PathBuf {
        self.0.path().join("edge.bedside.minisig")
    }

    fn keys(&self) -> KeyRing {
        KeyRing::open(&self.0.path().join("keys")).unwrap()
    }

    fn kind(&self) -> ErrorKind {
        self.keys().check(&self.bundle()).unwrap_err().kind()
    }
}

#[test]
fn p_15_with_a_key_ring_only_what_its_keys_signed_is_taken() {
    let signed = Bench::new(&["other.pub", "release.pub"], "golden.bedside.minisig");
    assert_eq!(
        signed.keys().check(&signed.bundle()).unwrap(),
        "release.pub"
    );

    let stranger = Bench::new(&["other.pub"], "golden.bedside.minisig");
    assert_eq!(stranger.kind(), ErrorKind::Untrusted);
    let unsigned = Bench::new(&["release.pub"], "");
    assert_eq!(unsigned.kind(), ErrorKind::Unsigned);
    let legacy = Bench::new(&["release.pub"], "legacy.minisig");
    assert_eq!(legacy.kind(), ErrorKind::Untrusted, "signed without a hash");
}

#[test]
fn p_15_any_changed_byte_of_bundle_or_signature_is_refused() {
    let bench = Bench::new(&["release.pub"], "golden.bedside.minisig");
    let keys = bench.keys();
    for path in [bench.bundle(), bench.signature()] {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 50 + 1) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            // The first line of a signature is a comment that nothing vouches for.
            let comment =
                path == bench.signature() && at < whole.iter().position(|b| *b == b'\n').unwrap();
            assert!(
                comment || keys.check(&bench.bundle()).is_err(),
                "{path:?}, byte {at}"
            );
        }
        for length in [0, whole.len() / 2, whole.len() - 2] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                keys.check(&bench.bundle()).is_err(),
                "{path:?}, {length} bytes"
            );
        }
        fs::write(&path, &whole).unwrap();
    }
    keys.check(&bench.bundle()).unwrap();
}

#[test]
fn a_key_ring_without_keys_is_refused() {
    let bench = Bench::new(&[], "");
    let folder = bench.0.path().join("keys");
    let open = || KeyRing::open(&folder).unwrap_err();
    assert_eq!(open().kind(), ErrorKind::Keys);
    fs::write(folder.join("x.pub"), "no key").unwrap();
    assert!(open().to_string().contains("x.pub"));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(open().kind(), ErrorKind::Io);
}

#[test]
fn p_15_an_update_keeps_its_signature_and_a_forged_one_changes_nothing() {
    let bench = Bench::new(&["release.pub"], "golden.bedside.minisig");
    let keys = bench.keys();
    let policy = Policy {
        keys: Some(&keys),
        ..Policy::default()
    };
    let mut slots = Slots::open(&bench.0.path().join("slots")).unwrap();
    let proved = |_: &Path| Ok::<_, String>(());
    slots.install(&bench.bundle(), policy, proved).unwrap();
    let active = slots.active().unwrap();
    assert_eq!(keys.check(&active).unwrap(), "release.pub");

    fs::remove_file(bench.signature()).unwrap();
    let error = slots.install(&bench.bundle(), policy, proved).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsigned);
    assert_eq!(slots.active().unwrap(), active);
}
