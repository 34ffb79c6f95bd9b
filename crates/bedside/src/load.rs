//! From a bundle's parts to sessions on a backend.

use std::panic::resume_unwind;

use bedside_bundle::Bundle;
use bedside_bundle::manifest::{Dim, Graph, Manifest, Resize, TensorSpec};
use bedside_engine::{Backend, LoadOptions, Session, Signature};
use bedside_vision::{Preprocessor, ResizeFilter};

use crate::answer::Outputs;
use crate::error::{Error, ErrorKind};
use crate::options::Options;

/// Where the decoder finds an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecoderInput {
    /// Output of the encoder, by position.
    Feature(usize),
    Tokens,
    TokenMask,
}

/// Load a part on a backend for a side of the input, checked against what the manifest says of it.
pub(crate) fn session(
    bundle: &Bundle,
    part: &str,
    side: u32,
    backend: &dyn Backend,
    options: &Options,
) -> Result<Box<dyn Session>, Error> {
    let graph = described(bundle.manifest(), part, side)?;
    let mut load = LoadOptions::new(part, Signature::from(&graph));
    load.threads = options.threads();
    load.require_device = options.require_device;
    load.cache = options.cache().map(|cache| cache.folder().to_owned());
    let names = graph.inputs.iter().map(|t| &t.name);
    load.steady = names.filter(|n| of_prompts(n)).cloned().collect();
    let graph = bundle.unverified(part)?;
    // The engine is done with the graph about when its hash is known, and comes to nothing when
    // that is wrong.
    let (verified, session) = std::thread::scope(|scope| {
        let verified = scope.spawn(|| graph.verify());
        let session = backend.load(graph.bytes(), &load);
        let verified = verified.join();
        (
            verified.unwrap_or_else(|panic| resume_unwind(panic)),
            session,
        )
    });
    verified?;
    // The engine may have read a stretch behind the hash.
    graph.unchanged()?;
    Ok(session?)
}

/// Whether an input of the decoder is a prompt set's, which stays for many frames.
fn of_prompts(input: &str) -> bool {
    matches!(input, "tokens" | "token_mask")
}

/// What makes the encoder's input of a side.
pub(crate) fn preprocessor(manifest: &Manifest, side: u32) -> Preprocessor {
    let input = &manifest.input;
    Preprocessor::new(side, input.mean, input.std, filter(input.resize))
}

/// The manifest's description of a graph for a side of the input.
pub(crate) fn described(manifest: &Manifest, part: &str, side: u32) -> Result<Graph, Error> {
    manifest.graph_at(part, side).ok_or_else(|| {
        Error::new(
            ErrorKind::Bundle,
            format!("the manifest does not describe graph {part}"),
        )
    })
}

/// How the decoder's inputs are filled, in its own order.
pub(crate) fn decoder_inputs(encoder: &Graph, decoder: &Graph) -> Result<Vec<DecoderInput>, Error> {
    decoder
        .inputs
        .iter()
        .map(|input| match input.name.as_str() {
            "tokens" => Ok(DecoderInput::Tokens),
            "token_mask" => Ok(DecoderInput::TokenMask),
            name => position(&encoder.outputs, name)
                .map(DecoderInput::Feature)
                .ok_or_else(|| missing(encoder, name)),
        })
        .collect()
}

/// Where the decoder's outputs stand.
pub(crate) fn outputs(decoder: &Graph) -> Result<Outputs, Error> {
    let find = |name: &str| position(&decoder.outputs, name);
    let logits = find("logits").ok_or_else(|| missing(decoder, "logits"))?;
    let score = find("score").ok_or_else(|| missing(decoder, "score"))?;
    match decoder.outputs.get(logits).map(|t| t.shape.as_slice()) {
        Some([_, Dim::Fixed(height), Dim::Fixed(width)]) => Ok(Outputs {
            logits,
            score,
            meta: find("meta"),
            height: *height,
            width: *width,
        }),
        _ => Err(missing(decoder, "logits [P,h,w]")),
    }
}

/// The vision crate's name for a manifest's resize.
fn filter(resize: Resize) -> ResizeFilter {
    match resize {
        Resize::Bilinear => ResizeFilter::Bilinear,
        Resize::Bicubic => ResizeFilter::Bicubic,
    }
}

fn position(tensors: &[TensorSpec], name: &str) -> Option<usize> {
    tensors.iter().position(|t| t.name == name)
}

fn missing(graph: &Graph, tensor: &str) -> Error {
    Error::new(
        ErrorKind::Bundle,
        format!("graph {} has no tensor {tensor}", graph.part),
    )
}
