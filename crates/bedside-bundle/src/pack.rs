//! Making a bundle.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Cursor, Read};
use std::path::Path;

use bedside_core::{Form, Modality, Ontology};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::archive::{Entry, MAX_BUNDLE_BYTES, Writer, too_large};
use crate::bundle::{Bundle, hex};
use crate::check;
use crate::error::{BundleError, ErrorKind};
use crate::folder;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, Part, printable};
use crate::prompts::{PromptEntry, PromptTable};
use crate::{MANIFEST, PROMPT_TABLE};

/// The manifest without `parts`, as an exporter writes it.
const SOURCE_MANIFEST: &str = "bundle.json";
/// The prompt table as an exporter writes it.
const SOURCE_PROMPTS: &str = "prompts.json";
/// Most bytes of a `prompts.json`; decimal digits take about eight times the room of f16.
const MAX_SOURCE_PROMPTS_BYTES: u64 = 512 << 20;

/// The content of `prompts.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcePrompts {
    token_dim: usize,
    entries: Vec<SourcePrompt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcePrompt {
    object: String,
    /// Only needed for objects outside the ontology.
    target: Option<String>,
    modality: Modality,
    site: String,
    #[serde(default)]
    acquisition: String,
    trained: bool,
    tokens: Vec<Vec<f32>>,
}

/// Pack a folder into the bundle `out`, and open it.
///
/// The folder holds `bundle.json` (the manifest without `parts`), `prompts.json`, and every
/// other part under its own name. The same folder always gives the same bytes. The bundle is
/// written beside `out`, synced, verified, and only then renamed: `out` is the old file, or the
/// new one whole.
///
/// # Errors
/// As [`Bundle::open`] and [`Bundle::verify`], and [`ErrorKind::Missing`] when one of the two
/// files is not there. `out` is untouched then.
pub fn pack(
    source_dir: impl AsRef<Path>,
    out_file: impl AsRef<Path>,
) -> Result<Bundle, BundleError> {
    let (source, out) = (source_dir.as_ref(), out_file.as_ref());
    let folder = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    refuse_inside(source, folder).map_err(|e| e.at(out))?;
    let plan = Plan::new(source).map_err(|e| e.at(source))?;

    let wrote = |e| BundleError::io("write the bundle", e).at(out);
    let mut temp = new_temp(folder).map_err(wrote)?;
    let writer =
        Writer::new(BufWriter::new(temp.as_file_mut()), &plan.entries).map_err(|e| e.at(out))?;
    writer
        .write(|entry| plan.content(source, entry))
        .map_err(|e| e.at(out))?;
    temp.as_file().sync_all().map_err(wrote)?;
    Bundle::open(temp.path())?.verify()?;
    temp.persist(out).map_err(|e| wrote(e.error))?;
    // The new name is on the disk only when its folder is.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(wrote)?;
    Bundle::open(out)
}

/// A file that is gone unless it is persisted, readable for all as the bundle will be.
fn new_temp(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bedside-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(folder)
}

/// A bundle inside its own source would become a part of itself the next time.
fn refuse_inside(source: &Path, folder: &Path) -> Result<(), BundleError> {
    let real = |p: &Path| {
        p.canonicalize()
            .map_err(|e| BundleError::io("find the folder", e).at(p))
    };
    if real(folder)?.starts_with(real(source)?) {
        return Err(BundleError::new(
            ErrorKind::Unlisted,
            "the bundle would lie in the folder that it is packed from",
            "write it beside that folder",
        ));
    }
    Ok(())
}

/// Everything about the bundle but the bytes that are copied from files.
struct Plan {
    /// The manifest first, then the parts in the manifest's order.
    entries: Vec<Entry>,
    manifest: Vec<u8>,
    prompts: Vec<u8>,
}

impl Plan {
    fn new(source: &Path) -> Result<Self, BundleError> {
        let mut manifest = read_manifest(source).map_err(|e| e.in_part(SOURCE_MANIFEST))?;
        let prompts =
            read_prompts(source, manifest.format).map_err(|e| e.in_part(SOURCE_PROMPTS))?;
        let mut summaries = vec![(PROMPT_TABLE.to_owned(), summary(prompts.as_slice())?)];
        for file in folder::list(source)? {
            match file.name.as_str() {
                SOURCE_MANIFEST | SOURCE_PROMPTS => {}
                MANIFEST | PROMPT_TABLE => return Err(made_here(&file.name)),
                name => {
                    let opened = File::open(source.join(name));
                    let summary = opened
                        .map_err(|e| BundleError::io("read the part", e))
                        .and_then(summary)
                        .map_err(|e| e.in_part(name))?;
                    summaries.push((file.name, summary));
                }
            }
        }
        summaries.sort_by(|a, b| a.0.cmp(&b.0));
        manifest.parts = summaries
            .iter()
            .map(|(name, s)| Part {
                name: name.clone(),
                bytes: u64::from(s.bytes),
                sha256: s.sha256.clone(),
            })
            .collect();
        check::parts(&manifest)?;

        let mut json = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| BundleError::new(ErrorKind::Manifest, e.to_string(), "correct it"))?;
        json.push(b'\n');
        summaries.insert(0, (MANIFEST.to_owned(), summary(json.as_slice())?));
        let entries = summaries
            .into_iter()
            .map(|(name, s)| Entry {
                name,
                bytes: s.bytes,
                crc32: s.crc32,
            })
            .collect();
        Ok(Self {
            entries,
            manifest: json,
            prompts,
        })
    }

    fn content(&self, source: &Path, entry: &Entry) -> Result<Box<dyn Read + '_>, BundleError> {
        Ok(match entry.name.as_str() {
            MANIFEST => Box::new(Cursor::new(&self.manifest)),
            PROMPT_TABLE => Box::new(Cursor::new(&self.prompts)),
            name => Box::new(
                File::open(source.join(name))
                    .map_err(|e| BundleError::io("read the part", e).in_part(name))?,
            ),
        })
    }
}

fn made_here(name: &str) -> BundleError {
    BundleError::new(
        ErrorKind::Duplicate,
        "packing makes this file itself",
        "give bundle.json and prompts.json instead",
    )
    .in_part(name)
}

fn read_manifest(source: &Path) -> Result<Manifest, BundleError> {
    let manifest = Manifest::parse(&read_source(source, SOURCE_MANIFEST, MAX_MANIFEST_BYTES)?)?;
    if !manifest.parts.is_empty() {
        return Err(BundleError::new(
            ErrorKind::Manifest,
            "`parts` is given",
            "leave it out, packing counts and hashes the files",
        ));
    }
    check::statements(&manifest)?;
    Ok(manifest)
}

/// The bytes of `prompts.postcard` in a bundle of that format.
fn read_prompts(source: &Path, format: u32) -> Result<Vec<u8>, BundleError> {
    let json = read_source(source, SOURCE_PROMPTS, MAX_SOURCE_PROMPTS_BYTES)?;
    let prompts: SourcePrompts = serde_json::from_slice(&json).map_err(|e| {
        let hint = "docs/bundle-format.md lists the fields";
        BundleError::new(ErrorKind::PromptTable, printable(&e.to_string()), hint)
    })?;
    let entries = prompts
        .entries
        .into_iter()
        .map(entry)
        .collect::<Result<_, _>>()?;
    let table = match format {
        1 => PromptTable::new(prompts.token_dim, entries)?,
        _ => PromptTable::exact(prompts.token_dim, entries)?,
    };
    table.to_bytes()
}

fn entry(source: SourcePrompt) -> Result<PromptEntry, BundleError> {
    let known = Ontology::biomedparse_v1()
        .object(&source.object)
        .map(|o| o.target.to_owned());
    let Some(target) = source.target.or(known) else {
        return Err(BundleError::new(
            ErrorKind::PromptTable,
            format!(
                "object {:?} is not in the ontology",
                printable(&source.object)
            ),
            "spell it as the ontology does, or give the entry a `target`",
        ));
    };
    let form = Form {
        object: source.object,
        target,
        modality: source.modality,
        site: source.site,
        acquisition: source.acquisition,
    };
    PromptEntry::new(form, source.trained, &source.tokens)
}

fn read_source(source: &Path, name: &str, most: u64) -> Result<Vec<u8>, BundleError> {
    let path = source.join(name);
    if path.is_symlink() || !path.is_file() {
        return Err(BundleError::new(
            ErrorKind::Missing,
            "no such file",
            "give the folder that the exporter wrote",
        ));
    }
    folder::read(&path, most)
}

/// What the headers and the manifest hold of a part.
struct Summary {
    bytes: u32,
    crc32: u32,
    sha256: String,
}

fn summary(from: impl Read) -> Result<Summary, BundleError> {
    let failed = |e| BundleError::io("read the part", e);
    let mut from = BufReader::with_capacity(1 << 20, from.take(MAX_BUNDLE_BYTES + 1));
    let (mut bytes, mut crc32, mut sha256) = (0u64, crc32fast::Hasher::new(), Sha256::new());
    loop {
        let chunk = std::io::BufRead::fill_buf(&mut from).map_err(failed)?;
        if chunk.is_empty() {
            break;
        }
        bytes += chunk.len() as u64;
        crc32.update(chunk);
        sha256.update(chunk);
        let read = chunk.len();
        std::io::BufRead::consume(&mut from, read);
    }
    let bytes = u32::try_from(bytes).map_err(|_| too_large())?;
    Ok(Summary {
        bytes,
        crc32: crc32.finalize(),
        sha256: hex(&sha256.finalize()),
    })
}
