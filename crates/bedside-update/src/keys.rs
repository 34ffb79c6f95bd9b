//! Signatures as minisign makes them: Ed25519 over the BLAKE2b hash of the file.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use minisign_verify::{Error as Refusal, PublicKey, Signature};

use crate::error::{ErrorKind, UpdateError};

/// Most bytes of a key or a signature; both are some lines.
const MAX_BYTES: u64 = 4096;
/// Most keys in a ring.
const MAX_KEYS: usize = 64;

/// The public keys of those who may sign bundles for this device.
#[derive(Debug)]
pub struct KeyRing {
    /// By the name of their file.
    keys: Vec<(String, PublicKey)>,
}

impl KeyRing {
    /// Read a folder: each file that ends in `.pub` is a public key as `minisign -G` writes it.
    ///
    /// # Errors
    /// [`ErrorKind::Keys`] when it holds no key, more than 64, or a file `.pub` that is none;
    /// [`ErrorKind::Io`].
    pub fn open(folder: &Path) -> Result<Self, UpdateError> {
        let refused = |what: String| {
            let hint =
                "put public keys there, as `minisign -G` makes them, in files that end in .pub";
            UpdateError::new(ErrorKind::Keys, what, hint)
        };
        let io = |error| UpdateError::io(folder, &error);
        let mut keys = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_none_or(|ending| ending != "pub") {
                continue;
            }
            if keys.len() == MAX_KEYS {
                return Err(refused(format!(
                    "{}: over {MAX_KEYS} keys",
                    folder.display()
                )));
            }
            let text = short(&path)?;
            let key = PublicKey::decode(&text)
                .map_err(|error| refused(format!("{}: no public key: {error}", path.display())))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            keys.push((name.into_owned(), key));
        }
        if keys.is_empty() {
            return Err(refused(format!("{}: no key", folder.display())));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { keys })
    }

    /// Which key, by the name of its file, signed a bundle. The signature is the file beside it with
    /// `.minisig` after its whole name, as `minisign -Sm edge.bedside` writes it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsigned`], [`ErrorKind::Untrusted`], [`ErrorKind::Io`].
    pub fn check(&self, bundle: &Path) -> Result<&str, UpdateError> {
        let shown = bundle.display();
        let path = signature_of(bundle);
        let missing = |why: String| {
            let hint = "sign it: `minisign -Sm BUNDLE`, and copy the .minisig beside it";
            UpdateError::new(ErrorKind::Unsigned, format!("{shown}: {why}"), hint)
        };
        if !path.exists() {
            return Err(missing("no signature beside it".to_owned()));
        }
        let signature = Signature::decode(&short(&path)?)
            .map_err(|error| missing(format!("its signature can't be read: {error}")))?;
        let untrusted = |why: &str| {
            let hint = "get the bundle again, or add the key of who signed it to the key ring";
            UpdateError::new(ErrorKind::Untrusted, format!("{shown}: {why}"), hint)
        };
        for (name, key) in &self.keys {
            let mut verifier = match key.verify_stream(&signature) {
                Ok(verifier) => verifier,
                Err(Refusal::UnexpectedKeyId) => continue,
                Err(error) => return Err(untrusted(&error.to_string())),
            };
            let io = |error| UpdateError::io(bundle, &error);
            let mut file = File::open(bundle).map_err(io)?;
            let mut piece = vec![0; 1 << 16];
            loop {
                let read = file.read(&mut piece).map_err(io)?;
                match piece.get(..read) {
                    Some([]) | None => break,
                    Some(bytes) => verifier.update(bytes),
                }
            }
            return match verifier.finalize() {
                Ok(()) => Ok(name),
                Err(_) => Err(untrusted("it is not what was signed")),
            };
        }
        Err(untrusted("signed by nobody in the key ring"))
    }
}

/// Where the signature of a bundle lies.
pub(crate) fn signature_of(bundle: &Path) -> PathBuf {
    let mut name = bundle.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

fn short(path: &Path) -> Result<String, UpdateError> {
    let io = |error| UpdateError::io(path, &error);
    let file = File::open(path).map_err(io)?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}
