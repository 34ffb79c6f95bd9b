//! Reading a bundle.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bedside_map::Bytes;
use sha2::{Digest, Sha256};

use crate::archive::{self, Archive, MAX_BUNDLE_BYTES};
use crate::check;
use crate::error::{BundleError, ErrorKind};
use crate::folder;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, Part, Precision, Variant, printable};
use crate::onnx;
use crate::prompts::PromptTable;
use crate::{MANIFEST, PROMPT_TABLE};

/// An open bundle. It holds the manifest; parts are read when asked for and checked each time.
/// Clones read from the same open file.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
    source: Source,
    manifest: Manifest,
    digest: String,
}

#[derive(Debug, Clone)]
enum Source {
    /// Held open, so that parts keep coming from this file when an update is renamed over it.
    Archive(Arc<Mutex<Archive<File>>>),
    Folder,
}

impl Bundle {
    /// Open a `.bedside` file, or a folder with the same tree. Reads headers and the manifest,
    /// no part.
    ///
    /// # Errors
    /// Everything in [`ErrorKind`] but `Corrupt`, `Graph`, `ExternalData`, `PromptTable`,
    /// `NoSuchPart` and `NoSuchVariant`, which only parts can show; `Corrupt` when the manifest
    /// is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BundleError> {
        let path = path.as_ref();
        Self::open_unnamed(path).map_err(|e| e.at(path))
    }

    fn open_unnamed(path: &Path) -> Result<Self, BundleError> {
        let opened = |e| BundleError::io("open the bundle", e);
        let (source, manifest, files) = if fs::metadata(path).map_err(opened)?.is_dir() {
            let mut files: Vec<(String, u64)> = folder::list(path)?
                .into_iter()
                .map(|f| (f.name, f.bytes))
                .collect();
            files.retain(|f| f.0 != MANIFEST);
            let manifest = folder::read(&path.join(MANIFEST), MAX_MANIFEST_BYTES)
                .map_err(|e| e.in_part(MANIFEST))?;
            (Source::Folder, manifest, files)
        } else {
            let mut archive = Archive::open(File::open(path).map_err(opened)?)?;
            let manifest = archive_manifest(&mut archive)?;
            let files = archive.entries().iter().skip(1);
            let files = files
                .map(|e| (e.name.clone(), u64::from(e.bytes)))
                .collect();
            (
                Source::Archive(Arc::new(Mutex::new(archive))),
                manifest,
                files,
            )
        };
        let digest = hex(&Sha256::digest(&manifest));
        let manifest = Manifest::parse(&manifest).map_err(|e| e.in_part(MANIFEST))?;
        compare(&manifest, &files)?;
        check::statements(&manifest).map_err(|e| e.in_part(MANIFEST))?;
        check::parts(&manifest).map_err(|e| e.in_part(MANIFEST))?;
        Ok(Self {
            path: path.to_owned(),
            source,
            manifest,
            digest,
        })
    }

    /// Where the bundle was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `manifest.json` in lower-case hexadecimal digits. As the manifest holds the
    /// hash of every part, this names the whole content: for logs, and to tell two bundles
    /// apart.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The bytes of a part, their number and SHA-256 checked; ONNX parts that name other files,
    /// or are not what [`onnx::check_bounds`] allows, are refused.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchPart`]; [`ErrorKind::Io`]; [`ErrorKind::Corrupt`] when the bytes are
    /// not those that the manifest promises; [`ErrorKind::Graph`] and
    /// [`ErrorKind::ExternalData`] for ONNX parts.
    pub fn part(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        self.named(name, |part| {
            // Read, not mapped: whatever is done to the file then is an error at worst.
            let bytes = match &self.source {
                Source::Archive(archive) => {
                    let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                    archive.read(&part.name).unwrap_or_else(|| Err(changed()))?
                }
                Source::Folder => folder::read_exactly(&self.path.join(&part.name), part.bytes)?,
            };
            if bytes.len() as u64 != part.bytes || hex(&Sha256::digest(&bytes)) != part.sha256 {
                return Err(changed());
            }
            self.check_graph(part, &bytes)?;
            Ok(bytes)
        })
    }

    /// A part, checked as [`part`](Self::part) does, in the file's own pages: for graphs, which
    /// are large and read once. [`Bytes`] tells what must not happen to the file meanwhile.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    pub fn map(&self, name: &str) -> Result<Bytes, BundleError> {
        let unverified = self.unverified(name)?;
        unverified.verify()?;
        Ok(unverified.bytes)
    }

    /// As [`map`](Self::map), but for the hash, which takes a while: whoever starts to use the bytes
    /// before [`Unverified::verify`] has said that they are right must let go of all that came of
    /// them when it says otherwise.
    ///
    /// # Errors
    /// As [`part`](Self::part), though [`ErrorKind::Corrupt`] only when the size is another, or when
    /// a graph is not what it may be either.
    pub fn unverified(&self, name: &str) -> Result<Unverified, BundleError> {
        self.named(name, |part| {
            let (bytes, crc32) = match &self.source {
                Source::Archive(archive) => {
                    let mapped = archive
                        .lock()
                        // A panic elsewhere leaves no state behind: each read seeks first.
                        .unwrap_or_else(PoisonError::into_inner)
                        .map(&part.name);
                    let (bytes, crc32) = mapped.unwrap_or_else(|| Err(changed()))?;
                    (bytes, Some(crc32))
                }
                Source::Folder => (folder::map(&self.path.join(&part.name), part.bytes)?, None),
            };
            let unverified = Unverified {
                bytes,
                crc32,
                part: part.clone(),
                bundle: self.path.clone(),
            };
            if let Err(error) = self.check_graph(part, &unverified.bytes) {
                // What is damaged is not to be blamed on whoever made the graph.
                unverified.verify_unnamed()?;
                return Err(error);
            }
            Ok(unverified)
        })
    }

    /// The part of that name, as `get` gets it.
    fn named<T>(
        &self,
        name: &str,
        get: impl FnOnce(&Part) -> Result<T, BundleError>,
    ) -> Result<T, BundleError> {
        let Some(part) = self.manifest.part(name) else {
            return Err(BundleError::new(
                ErrorKind::NoSuchPart,
                format!("no part {:?}", printable(name)),
                "`bedside inspect` lists the parts",
            )
            .at(&self.path));
        };
        get(part).map_err(|e| e.in_part(name).at(&self.path))
    }

    fn check_graph(&self, part: &Part, bytes: &[u8]) -> Result<(), BundleError> {
        if let Some(graph) = self.manifest.graph(&part.name) {
            onnx::check_self_contained(bytes)?;
            onnx::check_bounds(bytes, graph)?;
        }
        Ok(())
    }

    /// Read and check every part.
    ///
    /// # Errors
    /// As [`part`](Self::part) and [`prompt_table`](Self::prompt_table).
    pub fn verify(&self) -> Result<(), BundleError> {
        for part in &self.manifest.parts {
            self.map(&part.name)?;
        }
        self.prompt_table().map(|_| ())
    }

    /// The prompt table.
    ///
    /// # Errors
    /// As [`part`](Self::part) and [`PromptTable::from_bytes`]; [`ErrorKind::Contract`] when its
    /// rows do not fit a decoder; [`ErrorKind::Manifest`] when the manifest's self-tests,
    /// orientations or validity references speak of forms that the table lacks.
    pub fn prompt_table(&self) -> Result<PromptTable, BundleError> {
        let place = |e: BundleError| e.in_part(PROMPT_TABLE).at(&self.path);
        let table = PromptTable::from_bytes(&self.part(PROMPT_TABLE)?).map_err(place)?;
        check::against_table(&self.manifest, &table).map_err(place)?;
        Ok(table)
    }

    /// The variant of a precision.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVariant`] when the bundle has none.
    pub fn variant(&self, precision: Precision) -> Result<&Variant, BundleError> {
        self.manifest.variant(precision).ok_or_else(|| {
            let variants = self.manifest.variants.iter();
            let has: Vec<String> = variants.map(|v| v.precision.to_string()).collect();
            BundleError::new(
                ErrorKind::NoSuchVariant,
                format!("no {precision} variant"),
                format!("the bundle has {}", has.join(", ")),
            )
            .at(&self.path)
        })
    }
}

/// A part whose hash is not known to be right yet; see [`Bundle::unverified`].
#[derive(Debug)]
pub struct Unverified {
    bytes: Bytes,
    /// As the archive has it.
    crc32: Option<u32>,
    part: Part,
    bundle: PathBuf,
}

impl Unverified {
    /// The part's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether they are those that the manifest promises.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they are not; [`ErrorKind::Io`].
    pub fn verify(&self) -> Result<(), BundleError> {
        let verified = self.verify_unnamed();
        verified.map_err(|e| e.in_part(&self.part.name).at(&self.bundle))
    }

    /// Whether nobody wrote to the file since: for whoever read the bytes at another time than
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when somebody did; [`ErrorKind::Io`].
    pub fn unchanged(&self) -> Result<(), BundleError> {
        let unchanged = match self.bytes.is_unchanged() {
            Ok(true) => Ok(()),
            Ok(false) => Err(BundleError::new(
                ErrorKind::Corrupt,
                "the file was written to while it was read",
                "write a new file and rename it over the old one",
            )),
            Err(error) => Err(BundleError::io("look at the part", error)),
        };
        unchanged.map_err(|e| e.in_part(&self.part.name).at(&self.bundle))
    }

    fn verify_unnamed(&self) -> Result<(), BundleError> {
        let (mut sha256, mut crc32) = (Sha256::new(), crc32fast::Hasher::new());
        // Stretch by stretch, so that the memory of what has been looked at can go.
        for stretch in self.bytes.chunks(16 << 20) {
            let stretch = self.bytes.again(stretch);
            let stretch = stretch.map_err(|e| BundleError::io("read the part", e))?;
            // In pieces that stay in the cache for both.
            for piece in stretch.chunks(64 << 10) {
                sha256.update(piece);
                if self.crc32.is_some() {
                    crc32.update(piece);
                }
            }
        }
        if self.crc32.is_some_and(|told| crc32.finalize() != told) {
            return Err(archive::damaged());
        }
        match hex(&sha256.finalize()) == self.part.sha256 {
            true => Ok(()),
            false => Err(changed()),
        }
    }
}

fn archive_manifest(archive: &mut Archive<File>) -> Result<Vec<u8>, BundleError> {
    match archive.entries().first() {
        Some(e) if e.name == MANIFEST && u64::from(e.bytes) > MAX_MANIFEST_BYTES => {
            Err(BundleError::new(
                ErrorKind::TooLarge,
                format!("more than {MAX_MANIFEST_BYTES} bytes"),
                "keep long texts in model-card.md",
            ))
        }
        Some(e) if e.name == MANIFEST => archive.read(MANIFEST).unwrap_or_else(|| Err(changed())),
        _ => Err(BundleError::new(
            ErrorKind::Archive,
            "the zip does not start with the manifest, so it is no bundle",
            "make the bundle with `bedside pack`",
        )),
    }
    .map_err(|e| e.in_part(MANIFEST))
}

/// The manifest lists exactly the files that are there, with their sizes.
fn compare(manifest: &Manifest, files: &[(String, u64)]) -> Result<(), BundleError> {
    let total: u64 = files.iter().fold(0, |sum, f| sum.saturating_add(f.1));
    if total > MAX_BUNDLE_BYTES {
        return Err(archive::too_large());
    }
    for (name, bytes) in files {
        match manifest.part(name) {
            Some(part) if part.bytes == *bytes => {}
            Some(part) => {
                let message = format!("{bytes} bytes, the manifest has {}", part.bytes);
                return Err(BundleError::new(ErrorKind::Corrupt, message, COPY).in_part(name));
            }
            None => {
                return Err(BundleError::new(
                    ErrorKind::Unlisted,
                    "the manifest does not list this file",
                    "remove it, or pack the model again",
                )
                .in_part(name));
            }
        }
    }
    for part in &manifest.parts {
        if !files.iter().any(|f| f.0 == part.name) {
            return Err(
                BundleError::new(ErrorKind::Missing, "listed but not there", COPY)
                    .in_part(&printable(&part.name)),
            );
        }
    }
    Ok(())
}

const COPY: &str = "copy the bundle again";

pub(crate) fn changed() -> BundleError {
    BundleError::new(
        ErrorKind::Corrupt,
        "the bytes are not those that the manifest promises (size or SHA-256)",
        COPY,
    )
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
