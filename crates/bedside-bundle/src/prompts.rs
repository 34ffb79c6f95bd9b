//! The prompt table: the tokens of every form that a model knows, encoded once on a workstation.

use std::collections::HashSet;
use std::fmt;

use bedside_core::Form;
use half::f16;
use serde::{Deserialize, Serialize};

use crate::error::{BundleError, ErrorKind};
use crate::manifest::printable;

/// Most bytes of a `prompts.postcard`.
pub const MAX_PROMPT_TABLE_BYTES: u64 = 64 << 20;
/// Most token rows of an entry. BiomedParse's text encoder stops at 77.
const MAX_ROWS: usize = 512;
/// Largest token dimension.
const MAX_TOKEN_DIM: usize = 4096;
/// Most entries. The ontology of BiomedParse has fewer than 200.
const MAX_ENTRIES: u32 = 4096;

/// The tokens of every form that a model knows.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptTable {
    layout: Layout,
    token_dim: usize,
    entries: Vec<PromptEntry>,
}

/// How tokens are kept in the bytes, the first of which is its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    F16 = 1,
    F32 = 2,
}

/// The tokens of one form.
#[derive(Clone, PartialEq)]
pub struct PromptEntry {
    form: Form,
    trained: bool,
    rows: usize,
    tokens: Vec<f32>,
}

/// What the bytes start with, in postcard; then come the entries. Read on its own, so that the
/// number of entries is checked before room is made for them.
#[derive(Serialize, Deserialize)]
struct WireHead {
    version: u8,
    token_dim: u16,
    entries: u32,
}

#[derive(Serialize, Deserialize)]
struct WireEntry {
    form: Form,
    trained: bool,
    rows: u16,
    /// f16 or f32, little-endian, row-major. As bytes: postcard would spend 3 bytes on a `u16`.
    tokens: Vec<u8>,
}

impl Layout {
    fn of(version: u8) -> Option<Self> {
        [Self::F16, Self::F32]
            .into_iter()
            .find(|l| *l as u8 == version)
    }

    /// The value that is read back.
    fn kept(self, value: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::F32 => value,
        }
    }

    fn write(self, tokens: &[f32]) -> Vec<u8> {
        match self {
            Self::F16 => tokens
                .iter()
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
            Self::F32 => tokens.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// `None` where the bytes are not of whole values.
    fn read(self, bytes: &[u8]) -> Option<Vec<f32>> {
        match self {
            Self::F16 => match bytes.as_chunks::<2>() {
                (values, []) => Some(
                    values
                        .iter()
                        .map(|b| f16::from_le_bytes(*b).to_f32())
                        .collect(),
                ),
                _ => None,
            },
            Self::F32 => match bytes.as_chunks::<4>() {
                (values, []) => Some(values.iter().map(|b| f32::from_le_bytes(*b)).collect()),
                _ => None,
            },
        }
    }
}

impl PromptTable {
    /// A table of entries that all have rows of `token_dim` values, which are rounded to f16: for
    /// bundles of format 1.
    ///
    /// # Errors
    /// [`ErrorKind::PromptTable`] when it has no entry, a form twice, or entries of another
    /// token dimension; [`ErrorKind::TooLarge`] above 4096 entries.
    pub fn new(token_dim: usize, entries: Vec<PromptEntry>) -> Result<Self, BundleError> {
        Self::with(Layout::F16, token_dim, entries)
    }

    /// As [`new`](Self::new), with the values as they are: for bundles of format 2 and later.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn exact(token_dim: usize, entries: Vec<PromptEntry>) -> Result<Self, BundleError> {
        Self::with(Layout::F32, token_dim, entries)
    }

    fn with(
        layout: Layout,
        token_dim: usize,
        mut entries: Vec<PromptEntry>,
    ) -> Result<Self, BundleError> {
        if !(1..=MAX_TOKEN_DIM).contains(&token_dim) {
            return Err(fail(format!(
                "token_dim is {token_dim}, not 1 to {MAX_TOKEN_DIM}"
            )));
        }
        if entries.is_empty() {
            return Err(fail("the table is empty".to_owned()));
        }
        if entries.len() > MAX_ENTRIES as usize {
            return Err(too_many(entries.len()));
        }
        let mut forms = HashSet::new();
        for entry in &entries {
            let text = printable(&entry.form.text());
            if !forms.insert(&entry.form) {
                return Err(fail(format!("{text:?} is there twice")));
            }
            if entry.tokens.len() != entry.rows * token_dim {
                return Err(fail(format!(
                    "{text:?}: rows are not of {token_dim} values"
                )));
            }
        }
        for value in entries.iter_mut().flat_map(|e| &mut e.tokens) {
            *value = layout.kept(*value);
        }
        Ok(Self {
            layout,
            token_dim,
            entries,
        })
    }

    /// The table in the bytes of a `prompts.postcard`.
    ///
    /// # Errors
    /// [`ErrorKind::PromptTable`] when the bytes are not exactly one well-formed table whose
    /// values are finite, [`ErrorKind::Format`] for another layout, [`ErrorKind::TooLarge`]
    /// above [`MAX_PROMPT_TABLE_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() as u64 > MAX_PROMPT_TABLE_BYTES {
            return Err(too_large());
        }
        let Some(&version) = bytes.first() else {
            return Err(fail("the table has no bytes".to_owned()));
        };
        let Some(layout) = Layout::of(version) else {
            let newest = Layout::F32 as u8;
            return Err(BundleError::new(
                ErrorKind::Format,
                format!(
                    "prompt table version {version}, this bedside reads versions 1 to {newest}"
                ),
                if version > newest {
                    "update bedside"
                } else {
                    "pack the model again"
                },
            ));
        };
        let broken = |e| fail(format!("not a prompt table ({e})"));
        let (head, mut rest) = postcard::take_from_bytes::<WireHead>(bytes).map_err(broken)?;
        if head.entries > MAX_ENTRIES {
            return Err(too_many(head.entries));
        }
        let token_dim = usize::from(head.token_dim);
        let mut entries = Vec::new();
        for _ in 0..head.entries {
            let entry;
            (entry, rest) = postcard::take_from_bytes(rest).map_err(broken)?;
            entries.push(PromptEntry::from_wire(entry, layout, token_dim)?);
        }
        if !rest.is_empty() {
            return Err(fail(format!("{} bytes after the table's end", rest.len())));
        }
        Self::with(layout, token_dim, entries)
    }

    /// The bytes of a `prompts.postcard`; [`from_bytes`](Self::from_bytes) reads them back.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above [`MAX_PROMPT_TABLE_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let head = WireHead {
            version: self.layout as u8,
            token_dim: u16::try_from(self.token_dim).map_err(|_| too_large())?,
            entries: u32::try_from(self.entries.len()).map_err(|_| too_large())?,
        };
        let broken = |e: postcard::Error| fail(e.to_string());
        let mut bytes = postcard::to_stdvec(&head).map_err(broken)?;
        for entry in &self.entries {
            bytes = postcard::to_extend(&entry.to_wire(self.layout)?, bytes).map_err(broken)?;
        }
        if bytes.len() as u64 > MAX_PROMPT_TABLE_BYTES {
            Err(too_large())
        } else {
            Ok(bytes)
        }
    }

    /// The first of its bytes.
    pub(crate) fn version(&self) -> u32 {
        self.layout as u32
    }

    /// Whether bundles of that format hold tables of this version.
    pub(crate) fn belongs_to(&self, format: u32) -> bool {
        (self.layout == Layout::F16) == (format == 1)
    }

    /// Number of values in a token row, the D of the decoder's `tokens [P,T,D]`.
    pub fn token_dim(&self) -> usize {
        self.token_dim
    }

    /// All entries in the order in which they were packed.
    pub fn entries(&self) -> &[PromptEntry] {
        &self.entries
    }

    /// All forms.
    pub fn forms(&self) -> impl Iterator<Item = &Form> {
        self.entries.iter().map(|e| &e.form)
    }

    /// The forms that the weights were trained on.
    pub fn trained_forms(&self) -> impl Iterator<Item = &Form> {
        self.entries.iter().filter(|e| e.trained).map(|e| &e.form)
    }

    /// The entry of exactly that form.
    pub fn entry(&self, form: &Form) -> Option<&PromptEntry> {
        self.entries.iter().find(|e| e.form == *form)
    }
}

impl PromptEntry {
    /// An entry from token rows.
    ///
    /// # Errors
    /// [`ErrorKind::PromptTable`] when there are no rows or more than 512, when their lengths
    /// differ, or when a value is not finite in f16, which decoders may compute in.
    pub fn new(form: Form, trained: bool, rows: &[Vec<f32>]) -> Result<Self, BundleError> {
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|r| r.len() != width) {
            return Err(fail(format!(
                "{:?}: rows differ in length",
                printable(&form.text())
            )));
        }
        let tokens = rows.iter().flatten().copied().collect();
        Self {
            form,
            trained,
            rows: rows.len(),
            tokens,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, BundleError> {
        let texts = [&self.form.object, &self.form.target, &self.form.site];
        let all = texts.into_iter().chain([&self.form.acquisition]);
        let shown = printable(&self.form.text());
        if texts.iter().any(|t| t.is_empty())
            || all
                .into_iter()
                .any(|t| t.len() > 128 || t.chars().any(char::is_control))
        {
            return Err(fail(format!(
                "{shown:?}: a name is empty, too long or not plain text"
            )));
        }
        if !(1..=MAX_ROWS).contains(&self.rows) {
            return Err(fail(format!(
                "{shown:?} has {} rows, not 1 to {MAX_ROWS}",
                self.rows
            )));
        }
        if !self.tokens.iter().all(|v| f16::from_f32(*v).is_finite()) {
            return Err(fail(format!(
                "{shown:?} has a value that is not finite in f16"
            )));
        }
        Ok(self)
    }

    fn from_wire(wire: WireEntry, layout: Layout, token_dim: usize) -> Result<Self, BundleError> {
        let rows = usize::from(wire.rows);
        let tokens = layout.read(&wire.tokens);
        let Some(tokens) = tokens.filter(|t| t.len() == rows * token_dim) else {
            let text = printable(&wire.form.text());
            return Err(fail(format!(
                "{text:?}: rows are not of {token_dim} values"
            )));
        };
        Self {
            form: wire.form,
            trained: wire.trained,
            rows,
            tokens,
        }
        .checked()
    }

    fn to_wire(&self, layout: Layout) -> Result<WireEntry, BundleError> {
        Ok(WireEntry {
            form: self.form.clone(),
            trained: self.trained,
            rows: u16::try_from(self.rows).map_err(|_| too_large())?,
            tokens: layout.write(&self.tokens),
        })
    }

    /// What the tokens mean.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Whether the weights were trained on this form. If not, masks are a guess.
    pub fn trained(&self) -> bool {
        self.trained
    }

    /// Number of token rows, the T of `tokens [P,T,D]` without padding; at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The tokens, `[rows, token_dim]` row-major.
    pub fn tokens_f32(&self) -> Vec<f32> {
        self.tokens.clone()
    }
}

impl fmt::Debug for PromptEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PromptEntry({:?}, {} rows)", self.form.text(), self.rows)
    }
}

fn fail(message: String) -> BundleError {
    BundleError::new(
        ErrorKind::PromptTable,
        message,
        "correct prompts.json and pack again",
    )
}

pub(crate) fn too_large() -> BundleError {
    BundleError::new(
        ErrorKind::TooLarge,
        format!(
            "the prompt table has more than {} MiB",
            MAX_PROMPT_TABLE_BYTES >> 20
        ),
        "keep the forms that the device needs",
    )
}

fn too_many(entries: impl fmt::Display) -> BundleError {
    BundleError::new(
        ErrorKind::TooLarge,
        format!("{entries} prompts, at most {MAX_ENTRIES} are allowed"),
        "keep the forms that the device needs",
    )
}

#[cfg(test)]
mod tests {
    use bedside_core::{Modality, Ontology};
    use proptest::prelude::*;

    use super::*;

    fn form(i: usize) -> Form {
        Ontology::biomedparse_v1().forms()[i].clone()
    }

    fn entry(i: usize, rows: usize, dim: usize) -> PromptEntry {
        let rows: Vec<Vec<f32>> = (0..rows).map(|r| vec![r as f32; dim]).collect();
        PromptEntry::new(form(i), i.is_multiple_of(2), &rows).unwrap()
    }

    fn refused(bytes: &[u8], kind: ErrorKind, text: &str) {
        let error = PromptTable::from_bytes(bytes).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn entries_are_found_by_their_exact_form() {
        let table = PromptTable::new(2, vec![entry(0, 2, 2), entry(1, 1, 2)]).unwrap();
        assert_eq!(table.forms().collect::<Vec<_>>(), [&form(0), &form(1)]);
        assert_eq!(table.trained_forms().collect::<Vec<_>>(), [&form(0)]);
        assert_eq!(
            table.entry(&form(0)).unwrap().tokens_f32(),
            [0.0, 0.0, 1.0, 1.0]
        );
        let elsewhere = Form {
            modality: Modality::Oct,
            ..form(0)
        };
        assert!(table.entry(&elsewhere).is_none());
    }

    #[test]
    fn wrong_entries_are_refused() {
        let bad = |rows: &[Vec<f32>]| PromptEntry::new(form(0), true, rows).is_err();
        assert!(bad(&[]));
        assert!(bad(&[vec![1.0], vec![1.0, 2.0]]));
        assert!(bad(&[vec![f32::NAN]]));
        assert!(bad(&[vec![65_520.0]]), "overflows f16");
        assert!(bad(&vec![vec![0.0]; MAX_ROWS + 1]));
        let nameless = Form {
            object: String::new(),
            ..form(0)
        };
        assert!(PromptEntry::new(nameless, true, &[vec![1.0]]).is_err());
        assert!(
            PromptTable::new(3, vec![entry(0, 2, 2)]).is_err(),
            "rows of another length"
        );
        assert!(
            PromptTable::new(2, vec![entry(0, 2, 2), entry(0, 1, 2)]).is_err(),
            "twice"
        );
        assert!(PromptTable::new(2, vec![]).is_err());
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let bytes = PromptTable::new(2, vec![entry(0, 1, 2)])
            .unwrap()
            .to_bytes()
            .unwrap();
        refused(b"", ErrorKind::PromptTable, "no bytes");
        refused(&[3, 0], ErrorKind::Format, "version 3");
        refused(&[0, 0], ErrorKind::Format, "version 0");
        refused(&[1, 2, 0], ErrorKind::PromptTable, "empty");
        refused(
            &[1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f],
            ErrorKind::TooLarge,
            "4294967295 prompts",
        );
        refused(
            &bytes[..bytes.len() - 1],
            ErrorKind::PromptTable,
            "not a prompt table",
        );
        refused(
            &[&bytes[..], &[0]].concat(),
            ErrorKind::PromptTable,
            "1 bytes after",
        );
        let infinite = [&bytes[..bytes.len() - 1], &[0x7c]].concat();
        refused(&infinite, ErrorKind::PromptTable, "not finite");
    }

    #[test]
    fn exact_tables_hold_the_same_to_the_same_rules() {
        let bytes = PromptTable::exact(2, vec![entry(0, 1, 2)])
            .unwrap()
            .to_bytes()
            .unwrap();
        for end in [f32::INFINITY, f32::NAN, 70_000.0] {
            let bad = [&bytes[..bytes.len() - 4], &end.to_le_bytes()].concat();
            refused(&bad, ErrorKind::PromptTable, "not finite");
        }
        let halved = [&[1], &bytes[1..]].concat();
        refused(&halved, ErrorKind::PromptTable, "rows are not of 2 values");
    }

    #[test]
    fn rounding_is_a_matter_of_the_table() {
        let fine = 1.0 + 1.0 / 4096.0;
        let entries = || vec![PromptEntry::new(form(0), true, &[vec![fine]]).unwrap()];
        let f16 = PromptTable::new(1, entries()).unwrap();
        let f32 = PromptTable::exact(1, entries()).unwrap();
        assert_eq!(f16.entries()[0].tokens_f32(), [1.0]);
        assert_eq!(f32.entries()[0].tokens_f32(), [fine]);
        assert_eq!((f16.version(), f32.version()), (1, 2));
        let formats = |t: &PromptTable| [1, 2, 3].map(|format| t.belongs_to(format));
        assert_eq!(formats(&f16), [true, false, false]);
        assert_eq!(formats(&f32), [false, true, true]);
        let size = |t: &PromptTable| t.to_bytes().unwrap().len();
        assert_eq!(size(&f32), size(&f16) + 2);
    }

    proptest! {
        #[test]
        fn tables_survive_the_round_trip(
            dim in 1..5usize,
            sizes in prop::collection::vec((1..4usize, any::<bool>(), -1e4f32..1e4), 1..8),
        ) {
            let entries: Vec<PromptEntry> = sizes.iter().enumerate().map(|(i, (rows, trained, v))| {
                PromptEntry::new(form(i), *trained, &vec![vec![*v; dim]; *rows]).unwrap()
            }).collect();
            let exact = PromptTable::exact(dim, entries.clone()).unwrap();
            let again = PromptTable::from_bytes(&exact.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(&again, &exact);
            prop_assert_eq!(again.entries(), &entries[..]);
            let table = PromptTable::new(dim, entries).unwrap();
            let again = PromptTable::from_bytes(&table.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(&again, &table);
            for ((rows, _, v), entry) in sizes.iter().zip(again.entries()) {
                prop_assert_eq!(entry.rows(), *rows);
                for got in entry.tokens_f32() {
                    prop_assert!((got - v).abs() <= v.abs() / 2048.0 + 1e-7, "{got} for {v}");
                }
            }
        }

        #[test]
        fn any_bytes_give_an_answer(
            mut bytes in prop::collection::vec(any::<u8>(), 1..200),
            version in 1..3u8,
        ) {
            bytes[0] = version;
            if let Ok(table) = PromptTable::from_bytes(&bytes) {
                prop_assert!(table.entries().iter().all(|e| e.rows() > 0));
            }
        }
    }
}
