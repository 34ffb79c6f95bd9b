//! The model contract: which tensors the graphs of a bundle take and give.
//!
//! The tensors of an encoder pass to the decoder by name, so a bundle whose names or shapes do
//! not meet is refused before an engine loads 1 GB of weights.

use crate::error::{BundleError, ErrorKind};
use crate::manifest::{DISTANCE, DType, Dim, Graph, MODALITY, Manifest, TensorSpec, printable};

/// Decoder inputs that come from the prompt, not from the encoder.
const TOKENS: &str = "tokens";
const TOKEN_MASK: &str = "token_mask";

/// Largest fixed dimension; above it, sizes of tensors could overflow.
const MAX_DIM: usize = 1 << 20;
/// Largest number of elements that the fixed dimensions of a tensor may multiply to.
pub(crate) const MAX_ELEMENTS: usize = 1 << 30;

/// Most dimensions of a tensor.
pub(crate) const MAX_RANK: usize = 8;

/// Check every variant, at every side of the input, and the text graph.
pub(crate) fn check(m: &Manifest) -> Result<(), BundleError> {
    for side in m.input.sides() {
        for graph in &m.graphs {
            tensors(&at(m, graph, side)?)?;
        }
        for variant in &m.variants {
            let encoder = at(m, described(m, &variant.encoder)?, side)?;
            let decoder = at(m, described(m, &variant.decoder)?, side)?;
            check_encoder(&encoder, side)?;
            check_heads(m, &encoder)?;
            check_decoder(&decoder, &encoder, m.meta_objects.len())?;
        }
    }
    if let Some(text) = &m.text {
        let graph = described(m, &text.graph)?;
        let dims = m
            .variants
            .iter()
            .filter_map(|v| token_dim(m.graph(&v.decoder)?));
        check_text(graph, dims)?;
    }
    Ok(())
}

/// The D of a decoder's `tokens [P,T,D]`.
pub(crate) fn token_dim(decoder: &Graph) -> Option<usize> {
    match decoder
        .inputs
        .iter()
        .find(|t| t.name == TOKENS)?
        .shape
        .as_slice()
    {
        [Dim::Symbol(_), Dim::Symbol(_), Dim::Fixed(d)] => Some(*d),
        _ => None,
    }
}

fn described<'a>(m: &'a Manifest, part: &str) -> Result<&'a Graph, BundleError> {
    m.graph(part).ok_or_else(|| {
        BundleError::new(
            ErrorKind::Manifest,
            format!("no graph {:?} in `graphs`", printable(part)),
            "describe every graph that `variants` and `text` name",
        )
    })
}

/// The graph for one side of the input.
fn at(m: &Manifest, graph: &Graph, side: u32) -> Result<Graph, BundleError> {
    m.graph_at(&graph.part, side).map_or_else(
        || broken(graph, "", &format!("a dimension is no part of side {side}")),
        Ok,
    )
}

fn tensors(graph: &Graph) -> Result<(), BundleError> {
    for list in [&graph.inputs, &graph.outputs] {
        for (i, t) in list.iter().enumerate() {
            if t.name.is_empty() || list.iter().skip(i + 1).any(|u| u.name == t.name) {
                return broken(graph, &t.name, "is listed twice or has no name");
            }
            let good = |d: &Dim| match d {
                Dim::Fixed(n) => (1..=MAX_DIM).contains(n),
                Dim::Symbol(s) => !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric()),
            };
            let elements = t.shape.iter().try_fold(1usize, |n, d| match d {
                Dim::Fixed(m) => n.checked_mul(*m).filter(|n| *n <= MAX_ELEMENTS),
                Dim::Symbol(_) => Some(n),
            });
            if t.shape.len() > MAX_RANK || !t.shape.iter().all(good) || elements.is_none() {
                return broken(graph, &t.name, "has a shape that can't be");
            }
        }
    }
    Ok(())
}

fn check_encoder(encoder: &Graph, side: u32) -> Result<(), BundleError> {
    let side = side as usize;
    let image = [1, 3, side, side].map(Dim::Fixed);
    let [input] = encoder.inputs.as_slice() else {
        return broken(encoder, "", "an encoder has one input, the image");
    };
    if input.dtype != DType::F32 || input.shape != image {
        return broken(
            encoder,
            &input.name,
            "is not f32 [1,3,side,side] as `input.side` has it",
        );
    }
    Ok(())
}

/// The encoder's outputs that say something of the whole frame, as far as the manifest speaks of
/// them.
fn check_heads(m: &Manifest, encoder: &Graph) -> Result<(), BundleError> {
    let domains = m.familiarity.iter().flat_map(|f| &f.domains);
    let ends = domains.map(|d| d.first.saturating_add(d.count));
    for (name, least, told) in [
        (MODALITY, m.modalities.len(), !m.modalities.is_empty()),
        (DISTANCE, ends.max().unwrap_or(0), m.familiarity.is_some()),
    ] {
        if !told {
            continue;
        }
        let output = required(encoder, &encoder.outputs, name)?;
        let fits = matches!(output.shape.as_slice(), [Dim::Fixed(1), Dim::Fixed(n)] if *n >= least);
        if output.dtype != DType::F32 || !fits {
            let what = format!("is not f32 [1,n] with n at least {least}, as the manifest has it");
            return broken(encoder, name, &what);
        }
    }
    Ok(())
}

fn check_decoder(decoder: &Graph, encoder: &Graph, metas: usize) -> Result<(), BundleError> {
    let input = |name: &str| required(decoder, &decoder.inputs, name);
    let output = |name: &str| required(decoder, &decoder.outputs, name);
    let [Dim::Symbol(p), Dim::Symbol(t), Dim::Fixed(_)] = input(TOKENS)?.shape.as_slice() else {
        return broken(decoder, TOKENS, "is not [P,T,D] with a fixed D");
    };
    if p == t || input(TOKEN_MASK)?.shape != [Dim::Symbol(p.clone()), Dim::Symbol(t.clone())] {
        return broken(decoder, TOKEN_MASK, "is not [P,T] as in `tokens`");
    }
    let prompts = Dim::Symbol(p.clone());
    if !matches!(output("logits")?.shape.as_slice(), [q, Dim::Fixed(_), Dim::Fixed(_)] if *q == prompts)
    {
        return broken(decoder, "logits", "is not [P,h,w]");
    }
    if output("score")?.shape != [prompts.clone()] {
        return broken(decoder, "score", "is not [P]");
    }
    if metas > 0
        && !matches!(output("meta")?.shape.as_slice(), [q, Dim::Fixed(n)] if *q == prompts && *n >= metas)
    {
        return broken(
            decoder,
            "meta",
            "is not [P,n] with n at least the number of `meta_objects`",
        );
    }
    for tensor in decoder.inputs.iter().chain(&decoder.outputs) {
        if tensor.dtype != DType::F32 {
            return broken(decoder, &tensor.name, "is not f32");
        }
    }
    for feature in decoder
        .inputs
        .iter()
        .filter(|t| ![TOKENS, TOKEN_MASK].contains(&&*t.name))
    {
        if !encoder.outputs.contains(feature) {
            return broken(
                decoder,
                &feature.name,
                &format!(
                    "is not what {} gives (name, dtype or shape)",
                    printable(&encoder.part)
                ),
            );
        }
    }
    Ok(())
}

fn check_text(text: &Graph, mut dims: impl Iterator<Item = usize>) -> Result<(), BundleError> {
    let ids = |t: &TensorSpec| {
        t.dtype == DType::I64 && matches!(t.shape.as_slice(), [Dim::Fixed(1), Dim::Symbol(_)])
    };
    if text.inputs.is_empty() || !text.inputs.iter().all(ids) {
        return broken(text, "", "a text graph's inputs are i64 [1,T]");
    }
    let [output] = text.outputs.as_slice() else {
        return broken(text, "", "a text graph has one output, the tokens");
    };
    match output.shape.as_slice() {
        [Dim::Fixed(1), Dim::Symbol(_), Dim::Fixed(d)]
            if output.dtype == DType::F32 && dims.all(|n| n == *d) =>
        {
            Ok(())
        }
        _ => broken(
            text,
            &output.name,
            "is not f32 [1,T,D] with the D of the decoders' `tokens`",
        ),
    }
}

fn required<'a>(
    graph: &Graph,
    tensors: &'a [TensorSpec],
    name: &str,
) -> Result<&'a TensorSpec, BundleError> {
    match tensors.iter().find(|t| t.name == name) {
        Some(tensor) => Ok(tensor),
        None => broken(graph, name, "is missing"),
    }
}

fn broken<T>(graph: &Graph, tensor: &str, what: &str) -> Result<T, BundleError> {
    let tensor = if tensor.is_empty() {
        String::new()
    } else {
        format!("tensor {:?} ", printable(tensor))
    };
    Err(BundleError::new(
        ErrorKind::Contract,
        format!("{tensor}{what}"),
        "docs/bundle-format.md has the model contract; export the graph to it",
    )
    .in_part(&printable(&graph.part)))
}
