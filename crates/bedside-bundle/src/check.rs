//! What a manifest may say: every rule that needs no part's bytes.

use std::collections::HashSet;

use bedside_core::{Modality, Prompt};

use crate::archive::MAX_PARTS;
use crate::contract;
use crate::error::{BundleError, ErrorKind};
use crate::manifest::{
    Domain, FORMAT_OF_SIDES, Manifest, Particular, Presence, SelfTest, printable,
};
use crate::name;
use crate::prompts::{self, MAX_PROMPT_TABLE_BYTES, PromptTable};
use crate::resolve::PromptErrorKind;

/// Largest side of the encoder's input.
const MAX_INPUT_SIDE: u32 = 4096;
/// Most sides that graphs may take besides the first.
const MAX_OTHER_SIDES: usize = 7;
/// Largest side of a self-test's frame; keeps bundles and the time to start small.
const MAX_SELF_TEST_SIDE: u32 = 2048;

fn fail(message: impl Into<String>, hint: &'static str) -> BundleError {
    BundleError::new(ErrorKind::Manifest, printable(&message.into()), hint)
}

/// Most self-tests: each is a run of the model at every start.
const MAX_SELF_TESTS: usize = 32;

/// Check everything that a manifest says but its parts, which a folder not yet packed lacks.
pub(crate) fn statements(m: &Manifest) -> Result<(), BundleError> {
    texts(m)?;
    input(m)?;
    graphs(m)?;
    references(m)?;
    if m.self_tests.len() > MAX_SELF_TESTS {
        return Err(fail(
            format!(
                "{} entries in `self_tests`, at most {MAX_SELF_TESTS} are allowed",
                m.self_tests.len()
            ),
            "keep those that tell a wrong backend",
        ));
    }
    for test in &m.self_tests {
        self_test(test)?;
    }
    let shown = |side: &u32| m.self_tests_at(*side).any(|test| test.mask.len() > 1);
    if let Some(side) = m.input.sides().find(|side| !shown(side)) {
        return Err(fail(
            format!("no entry in `self_tests` has a mask with a pixel set, at side {side}"),
            "give at least one frame with its known mask, so that a device can prove the model",
        ));
    }
    Ok(())
}

/// Check the list of parts and that the manifest refers to nothing outside it.
pub(crate) fn parts(m: &Manifest) -> Result<(), BundleError> {
    if m.parts.len() > MAX_PARTS {
        return Err(BundleError::new(
            ErrorKind::TooLarge,
            format!("{} parts, at most {MAX_PARTS} are allowed", m.parts.len()),
            "leave out what the runtime does not need",
        ));
    }
    for part in &m.parts {
        name::check(&part.name)?;
        let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if part.sha256.len() != 64 || !part.sha256.bytes().all(hex) {
            return Err(fail(
                "`sha256` is not 64 lower-case hexadecimal digits",
                "pack again",
            )
            .in_part(&part.name));
        }
    }
    let names = m.parts.iter().map(|p| p.name.as_str());
    name::check_distinct(std::iter::once(crate::MANIFEST).chain(names))?;
    if !m.parts.is_sorted_by(|a, b| a.name < b.name) {
        return Err(fail("`parts` is not sorted by name", "pack again"));
    }

    let graphs = m.graphs.iter().map(|g| &g.part);
    let tokenizer = m.text.iter().map(|t| &t.tokenizer);
    let frames = m.self_tests.iter().map(|t| &t.part);
    let table = std::iter::once(crate::PROMPT_TABLE);
    let named = graphs
        .chain(tokenizer)
        .chain(frames)
        .map(String::as_str)
        .chain(table);
    for name in named {
        if m.part(name).is_none() {
            return Err(BundleError::new(
                ErrorKind::Missing,
                "the part is needed but not in the bundle",
                "add the file and pack again",
            )
            .in_part(&printable(name)));
        }
    }
    for part in &m.parts {
        if part.name.to_ascii_lowercase().ends_with(".onnx") && m.graph(&part.name).is_none() {
            return Err(fail(
                "the graph is not described in `graphs`",
                "describe it or leave it out",
            )
            .in_part(&part.name));
        }
    }
    if m.part(crate::PROMPT_TABLE)
        .is_some_and(|p| p.bytes > MAX_PROMPT_TABLE_BYTES)
    {
        return Err(prompts::too_large().in_part(crate::PROMPT_TABLE));
    }
    for test in &m.self_tests {
        let expected = u64::from(test.width) * u64::from(test.height) * 3;
        if m.part(&test.part).is_some_and(|p| p.bytes != expected) {
            return Err(fail(
                format!(
                    "an RGB frame of {}x{} has {expected} bytes",
                    test.width, test.height
                ),
                "correct `width` and `height` of the self-test or its frame",
            )
            .in_part(&test.part));
        }
    }
    Ok(())
}

/// Check what the manifest says of forms: a misspelled site would quietly feed hearts upright.
pub(crate) fn against_table(m: &Manifest, table: &PromptTable) -> Result<(), BundleError> {
    if !table.belongs_to(m.format) {
        return Err(BundleError::new(
            ErrorKind::PromptTable,
            format!(
                "a prompt table of version {} in a bundle of format {}",
                table.version(),
                m.format
            ),
            "pack the model again",
        ));
    }
    let decoders = m.variants.iter().filter_map(|v| m.graph(&v.decoder));
    for decoder in decoders {
        if contract::token_dim(decoder) != Some(table.token_dim()) {
            return Err(BundleError::new(
                ErrorKind::Contract,
                format!(
                    "{} does not take tokens of {} values",
                    decoder.part,
                    table.token_dim()
                ),
                "encode the prompts with this model's text encoder",
            ));
        }
    }
    for test in &m.self_tests {
        match table.trained(&Prompt::new(&test.prompt)) {
            Err(e) if e.kind() != PromptErrorKind::Untrained => {
                return Err(fail(format!("self-test {:?}: {e}", test.part), TABLE_HINT));
            }
            _ => {}
        }
    }
    for o in &m.orientation {
        if !table
            .forms()
            .any(|f| f.modality == o.modality && f.site == o.site)
        {
            let what = format!("`orientation`: no form of {} at {:?}", o.modality, o.site);
            return Err(fail(what, TABLE_HINT));
        }
    }
    for w in &m.windows {
        if !table
            .forms()
            .any(|f| f.modality == Modality::Ct && f.site == w.site)
        {
            let what = format!("`windows`: no form of ct at {:?}", w.site);
            return Err(fail(what, TABLE_HINT));
        }
    }
    for p in &m.forms {
        if !table.forms().any(|f| m.particular(f) == Some(p)) {
            let what = format!("`forms`: no form {:?} in {}", p.object, p.modality);
            return Err(fail(what, TABLE_HINT));
        }
    }
    for d in m.familiarity.iter().flat_map(|f| &f.domains) {
        if !table
            .forms()
            .any(|f| f.modality == d.modality && f.site == d.site)
        {
            let what = format!("`familiarity`: no form of {} at {:?}", d.modality, d.site);
            return Err(fail(what, TABLE_HINT));
        }
    }
    for v in &m.validity {
        if !table.forms().any(|f| v.is_for(f)) {
            let what = format!("`validity`: no form {:?} in {}", v.object, v.modality);
            return Err(fail(what, TABLE_HINT));
        }
    }
    Ok(())
}

const TABLE_HINT: &str = "spell object, site and acquisition as the prompt table does";

/// Texts end up on terminals and status pages: no control characters, none forgotten.
fn texts(m: &Manifest) -> Result<(), BundleError> {
    let name_char = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    if m.name.is_empty() || m.name.len() > 64 || !m.name.chars().all(name_char) {
        return Err(fail(
            format!("`name` is {:?}", m.name),
            "up to 64 lower-case letters, digits, '.', '_' and '-'",
        ));
    }
    let head = [
        ("version", &m.version),
        ("description", &m.description),
        ("licence", &m.licence),
        ("lineage", &m.lineage),
    ];
    let data = m.training_data.iter().flat_map(|d| [&d.name, &d.terms]);
    let data = data.map(|s| ("training_data", s));
    let meta = m.meta_objects.iter().map(|s| ("meta_objects", s));
    let prompts = m.self_tests.iter().map(|t| ("prompt", &t.prompt));
    let sites = m
        .orientation
        .iter()
        .map(|o| &o.site)
        .chain(m.windows.iter().map(|w| &w.site))
        .chain(
            m.familiarity
                .iter()
                .flat_map(|f| &f.domains)
                .map(|d| &d.site),
        )
        .map(|site| ("site", site));
    let validity = m.validity.iter().map(|v| (&v.object, &v.site));
    let objects = validity
        .chain(m.forms.iter().map(|p| (&p.object, &p.site)))
        .flat_map(|(object, site)| [("object", object), ("site", site)]);
    for (field, text) in head
        .into_iter()
        .chain(data)
        .chain(meta)
        .chain(prompts)
        .chain(sites)
        .chain(objects)
    {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(fail(
                format!("`{field}` is empty or has control characters"),
                "write one line of plain text",
            ));
        }
    }
    Ok(())
}

fn input(m: &Manifest) -> Result<(), BundleError> {
    let input = &m.input;
    if let Some(side) = input.sides().find(|s| !(1..=MAX_INPUT_SIDE).contains(s)) {
        let what = format!("`input.side` is {side}");
        return Err(fail(what, "1 to 4096 pixels"));
    }
    if !input.other_sides.is_empty() && m.format < FORMAT_OF_SIDES {
        let what = format!("`input.other_sides` in a bundle of format {}", m.format);
        return Err(fail(what, "pack it as format 3"));
    }
    if input.other_sides.len() > MAX_OTHER_SIDES || !all_distinct(input.sides()) {
        return Err(fail(
            "`input.other_sides` has a side twice, or too many",
            "up to 7 sides, each once, without `input.side`",
        ));
    }
    let scale = |v: &f32| (0.0..=255.0).contains(v);
    if !input.mean.iter().all(scale) || !input.std.iter().all(|v| scale(v) && *v >= 1e-3) {
        return Err(fail(
            "`input.mean` or `input.std` is out of range",
            "both are on the scale of pixel values, 0 to 255, and std is above 0",
        ));
    }
    let t = m.thresholds;
    if !t.mask_logit.is_finite() || !(0.0..=1.0).contains(&t.presence) {
        return Err(fail(
            "`thresholds` is out of range",
            "mask_logit is a finite logit, presence a probability from 0 to 1",
        ));
    }
    Ok(())
}

fn graphs(m: &Manifest) -> Result<(), BundleError> {
    if !all_distinct(m.graphs.iter().map(|g| &g.part)) {
        return Err(fail(
            "`graphs` describes a part twice",
            "describe each graph once",
        ));
    }
    if !all_distinct(m.variants.iter().map(|v| v.precision)) {
        return Err(fail(
            "`variants` has a precision twice",
            "list each precision once",
        ));
    }
    if m.variant(m.default_precision).is_none() {
        return Err(fail(
            format!(
                "`default_precision` {} is not among `variants`",
                m.default_precision
            ),
            "name the precision of a variant",
        ));
    }
    let variants = m.variants.iter().flat_map(|v| [&v.encoder, &v.decoder]);
    let used: HashSet<&String> = variants.chain(m.text.iter().map(|t| &t.graph)).collect();
    for graph in &m.graphs {
        if !graph.part.ends_with(".onnx") {
            return Err(fail(
                format!("graph {:?}", graph.part),
                "graph parts end in .onnx",
            ));
        }
        if !used.contains(&graph.part) {
            return Err(fail(
                format!("graph {:?} serves no variant", graph.part),
                "name it in `variants` or `text`, or leave it out",
            ));
        }
    }
    contract::check(m)
}

fn references(m: &Manifest) -> Result<(), BundleError> {
    if !all_distinct(m.orientation.iter().map(|o| (o.modality, &o.site))) {
        return Err(fail(
            "`orientation` has a modality and site twice",
            "list each once",
        ));
    }
    if !all_distinct(m.windows.iter().map(|w| &w.site)) {
        return Err(fail("`windows` has a site twice", "list each once"));
    }
    if let Some(w) = m
        .windows
        .iter()
        .find(|w| !(w.low.is_finite() && w.high.is_finite() && w.low < w.high))
    {
        return Err(fail(
            format!("`windows`: {} to {} at {:?}", w.low, w.high, w.site),
            "low and high in Hounsfield units, low first",
        ));
    }
    particulars(m)?;
    let key = |v: &crate::manifest::Validity| {
        (
            v.object.clone(),
            v.modality,
            v.site.clone(),
            v.acquisition.clone(),
            v.precision,
        )
    };
    if !all_distinct(m.validity.iter().map(key)) {
        return Err(fail(
            "`validity` has a form and precision twice",
            "list each once",
        ));
    }
    for v in &m.validity {
        let positive = |x: &f64| x.is_finite() && *x > 0.0;
        if ![v.prob, v.red, v.green, v.blue]
            .iter()
            .flatten()
            .all(positive)
        {
            return Err(fail(
                format!(
                    "`validity` of {:?}: a Beta parameter is not above 0",
                    v.object
                ),
                "fit it again or leave the object out",
            ));
        }
        if m.variant(v.precision).is_none() {
            return Err(fail(
                format!(
                    "`validity` of {:?} is for {}, which has no variant",
                    v.object, v.precision
                ),
                "keep references of the variants only",
            ));
        }
    }
    Ok(())
}

fn particulars(m: &Manifest) -> Result<(), BundleError> {
    let wrong = |what: String, hint| Err(fail(format!("`forms`: {what}"), hint));
    let sides = m.self_tests.iter().filter_map(|t| t.side);
    let sides = sides.chain(m.forms.iter().filter_map(|p| p.side));
    let heads = !m.modalities.is_empty() || m.familiarity.is_some();
    let sided = sides.clone().next().is_some();
    if m.format < FORMAT_OF_SIDES && (heads || sided || !m.forms.is_empty()) {
        return Err(fail(
            format!(
                "`forms`, `modalities`, `familiarity` or a self-test's `side` in a bundle of format {}",
                m.format
            ),
            "pack it as format 3",
        ));
    }
    for side in sides {
        if !m.input.sides().any(|s| s == side) {
            return wrong(
                format!("side {side} of a form or self-test"),
                "name one of the sides in `input`",
            );
        }
    }
    if !all_distinct(m.modalities.iter()) {
        return Err(fail("`modalities` has one twice", "list each once"));
    }
    if let Some(f) = &m.familiarity {
        let good =
            |d: &Domain| d.count > 0 && d.mean.is_finite() && d.std.is_finite() && d.std > 0.0;
        let places = f.domains.iter().map(|d| (d.modality, &d.site));
        if !(0.0..=1.0).contains(&f.least) || !f.domains.iter().all(good) || !all_distinct(places) {
            return Err(fail(
                "`familiarity` is out of range, or has a modality and site twice",
                "`least` from 0 to 1, a prototype or more, a finite mean, a deviation above 0",
            ));
        }
    }
    let key = |p: &Particular| {
        let Particular {
            object,
            modality,
            site,
            acquisition,
            ..
        } = p.clone();
        (object, modality, site, acquisition)
    };
    if !all_distinct(m.forms.iter().map(key)) {
        return wrong("a form is there twice".to_owned(), "list each once");
    }
    for p in &m.forms {
        let good = |p: Presence| {
            p.slope.is_finite()
                && p.slope > 0.0
                && p.offset.is_finite()
                && (0.0..=1.0).contains(&p.threshold)
        };
        if !p.presence.is_none_or(good) {
            return wrong(
                format!("`presence` of {:?} is out of range", p.object),
                "a slope above 0, a finite offset, a threshold from 0 to 1",
            );
        }
    }
    Ok(())
}

fn self_test(test: &SelfTest) -> Result<(), BundleError> {
    let wrong =
        |what: &str, hint| Err(fail(format!("self-test: {what}"), hint).in_part(&test.part));
    let sides = 1..=MAX_SELF_TEST_SIDE;
    if !sides.contains(&test.width) || !sides.contains(&test.height) {
        return wrong("frame size out of range", "sides of 1 to 2048 pixels");
    }
    let pixels: u64 = test.mask.iter().map(|n| u64::from(*n)).sum();
    if pixels != u64::from(test.width) * u64::from(test.height)
        || test.mask.iter().skip(1).any(|n| *n == 0)
    {
        return wrong(
            "`mask` does not cover the frame",
            "COCO run lengths, column by column: only the first may be 0, their sum is width x height",
        );
    }
    if !(test.min_iou > 0.0 && test.min_iou <= 1.0) {
        return wrong("`min_iou` is out of range", "above 0, at most 1");
    }
    Ok(())
}

fn all_distinct<T: std::hash::Hash + Eq>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}
