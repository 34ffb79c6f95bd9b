//! How large a graph may be, and what may be in it, before an engine sees the bytes.
//!
//! Engines walk graphs by recursion and allocate what a graph declares: a model of 1 MB could
//! exhaust their stack or the device's memory. What is read here suffices to refuse such models:
//! nodes with their names, declared shapes, no tensor's values.

use std::collections::HashMap;

use super::declared::{Constant, End, is_integer, refused, shown};
use super::operators::{is_arithmetic, is_known};
use super::wire::{Fields, Value};
use super::{GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, MODEL_GRAPH};
use crate::error::{BundleError, ErrorKind};
use crate::manifest::{Graph, TensorSpec, printable};

/// Most nodes of a graph; BiomedParse's largest, its encoder in int8, has 6,379.
const MAX_NODES: usize = 16_384;
/// Most nodes one behind the other: engines recurse along such chains. BiomedParse has 2,769
/// of them.
const MAX_DEPTH: usize = 4_096;
/// Most operations in the expression of a size, such as the 9 of BiomedParse: engines keep sizes
/// that depend on the number of prompts as expressions, and take them apart by recursion. At 56
/// tract exhausts a stack of 2 MiB, and terms that double are worse in time.
const MAX_TERMS: usize = 32;
/// Most inputs or outputs of a node.
const MAX_ENDS: usize = 1_024;
/// Versions of the operators: below, quantization has one scale a tensor; above is untested.
const OPSETS: std::ops::RangeInclusive<u64> = 13..=21;

// Fields of the messages of `onnx.proto`.
const MODEL_OPSET: u32 = 8;
const MODEL_TRAINING: u32 = 20;
const MODEL_FUNCTION: u32 = 25;
const OPSET_DOMAIN: u32 = 1;
const OPSET_VERSION: u32 = 2;
const GRAPH_NODE: u32 = 1;
const GRAPH_VALUE: u32 = 13;
const GRAPH_SPARSE: u32 = 15;
const NODE_INPUT: u32 = 1;
const NODE_OUTPUT: u32 = 2;
const NODE_OPERATOR: u32 = 4;
const NODE_ATTRIBUTE: u32 = 5;
const NODE_DOMAIN: u32 = 7;
const ATTRIBUTE_NAME: u32 = 1;
const ATTRIBUTE_NUMBER: u32 = 3;
const ATTRIBUTE_TENSOR: u32 = 5;
const ATTRIBUTE_NUMBERS: u32 = 8;
const ATTRIBUTE_TENSORS: u32 = 10;
/// A graph, graphs, a sparse tensor, sparse tensors.
const ATTRIBUTE_NESTED: [u32; 4] = [6, 11, 22, 23];

/// Refuse a graph that is not of known operators, is too large or too deep, holds subgraphs or
/// functions, declares tensors that can't be, or takes or gives other tensors than `stated`.
///
/// # Errors
/// [`ErrorKind::Graph`]; [`ErrorKind::Contract`] for tensors that are not as stated.
pub fn check_bounds(model: &[u8], stated: &Graph) -> Result<(), BundleError> {
    let mut opset = None;
    for field in Fields(model) {
        match field?.pair() {
            (MODEL_OPSET, Value::Bytes(import)) => {
                let (domain, version) = import_of(import)?;
                if is_default(domain) {
                    opset = Some(version);
                }
            }
            (MODEL_TRAINING, _) => return Err(refused("has a training graph")),
            (MODEL_FUNCTION, _) => return Err(refused("has functions of its own")),
            (MODEL_GRAPH, Value::Bytes(graph)) => of_graph(graph, stated)?,
            _ => {}
        }
    }
    match opset {
        Some(version) if OPSETS.contains(&version) => Ok(()),
        Some(version) => Err(refused(&format!(
            "is of operator set {version}, {} to {} are read",
            OPSETS.start(),
            OPSETS.end()
        ))),
        None => Err(refused("does not say its operator set")),
    }
}

/// What is known of a tensor from the nodes that lead to it.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    /// Nodes in the longest chain.
    depth: usize,
    /// Whether its elements are integers, as sizes are.
    integer: bool,
    /// Operations in the longest expression of a size.
    terms: usize,
}

type Tensors<'a> = HashMap<&'a [u8], Made>;

fn define<'a>(tensors: &mut Tensors<'a>, name: &'a [u8], made: Made) -> Result<(), BundleError> {
    match tensors.insert(name, made) {
        Some(_) => Err(refused(&format!("makes {} twice", shown(name)))),
        None => Ok(()),
    }
}

fn of_graph(graph: &[u8], stated: &Graph) -> Result<(), BundleError> {
    let mut tensors = Tensors::new();
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for field in Fields(graph) {
        match field?.pair() {
            (GRAPH_INITIALIZER, Value::Bytes(bytes)) => {
                let Constant { name, integer } = Constant::read(bytes)?;
                let made = Made {
                    integer,
                    ..Made::default()
                };
                define(&mut tensors, name, made)?;
            }
            (GRAPH_SPARSE, _) => return Err(refused("has sparse tensors")),
            (GRAPH_VALUE, Value::Bytes(bytes)) => drop(End::read(bytes)?),
            (GRAPH_INPUT, Value::Bytes(bytes)) => inputs.push(End::read(bytes)?),
            (GRAPH_OUTPUT, Value::Bytes(bytes)) => outputs.push(End::read(bytes)?),
            _ => {}
        }
    }
    // Old exporters list initializers among the inputs.
    inputs.retain(|end| !tensors.contains_key(end.name));
    for end in &inputs {
        let made = Made {
            integer: is_integer(end.element),
            ..Made::default()
        };
        define(&mut tensors, end.name, made)?;
    }
    ends("inputs", &inputs, &stated.inputs)?;
    ends("outputs", &outputs, &stated.outputs)?;
    let mut count = 0;
    for field in Fields(graph) {
        if let (GRAPH_NODE, Value::Bytes(bytes)) = field?.pair() {
            count += 1;
            if count > MAX_NODES {
                return Err(refused(&format!("has more than {MAX_NODES} nodes")));
            }
            node(bytes, &mut tensors)?;
        }
    }
    match outputs.iter().find(|end| !tensors.contains_key(end.name)) {
        Some(end) => Err(refused(&format!("does not make {}", shown(end.name)))),
        None => Ok(()),
    }
}

/// Check a node, and enter what it makes.
fn node<'a>(bytes: &'a [u8], tensors: &mut Tensors<'a>) -> Result<(), BundleError> {
    let (mut inputs, mut outputs): (Vec<Made>, Vec<&[u8]>) = Default::default();
    let (mut operator, mut domain): (&[u8], &[u8]) = (b"", b"");
    let mut stated = None;
    for field in Fields(bytes) {
        match field?.pair() {
            // An optional input that is left out.
            (NODE_INPUT, Value::Bytes(b"")) => inputs.push(Made::default()),
            (NODE_INPUT, Value::Bytes(name)) => {
                let made = tensors
                    .get(name)
                    .ok_or_else(|| refused(&format!("uses {} before it is made", shown(name))))?;
                inputs.push(*made);
            }
            (NODE_OUTPUT, Value::Bytes(name)) => outputs.push(name),
            (NODE_OPERATOR, Value::Bytes(name)) => operator = name,
            (NODE_DOMAIN, Value::Bytes(name)) => domain = name,
            (NODE_ATTRIBUTE, Value::Bytes(bytes)) => stated = attribute(bytes)?.or(stated),
            _ => {}
        }
    }
    if !is_default(domain) || !is_known(operator) {
        let dot = if domain.is_empty() { "" } else { "." };
        let domain = String::from_utf8_lossy(domain);
        return Err(refused(&format!(
            "uses operator {}{dot}{}, which is not among those that bundles may have",
            printable(&domain),
            printable(&String::from_utf8_lossy(operator))
        )));
    }
    if inputs.len() > MAX_ENDS || outputs.len() > MAX_ENDS {
        return Err(refused(&format!(
            "has a node with more than {MAX_ENDS} inputs or outputs"
        )));
    }
    let made = made(operator, &inputs, stated);
    if made.depth > MAX_DEPTH {
        return Err(refused(&format!(
            "has more than {MAX_DEPTH} nodes one behind the other"
        )));
    }
    if made.terms > MAX_TERMS {
        return Err(refused(&format!(
            "computes a size with more than {MAX_TERMS} operations"
        )));
    }
    outputs.retain(|name| !name.is_empty());
    outputs
        .into_iter()
        .try_for_each(|name| define(tensors, name, made))
}

/// What a node makes. `stated` is whether the type or constant among its attributes is of integers.
fn made(operator: &[u8], inputs: &[Made], stated: Option<bool>) -> Made {
    let integer = match operator {
        b"Shape" | b"ArgMax" | b"ArgMin" => true,
        b"Cast" | b"Constant" | b"ConstantOfShape" => stated.unwrap_or(false),
        b"QuantizeLinear" | b"DynamicQuantizeLinear" | b"MatMulInteger" | b"ConvInteger" => false,
        b"Where" => inputs.get(1).is_some_and(|made| made.integer),
        _ => inputs.first().is_some_and(|made| made.integer),
    };
    let terms = inputs.iter().map(|made| made.terms);
    Made {
        depth: 1 + inputs.iter().map(|made| made.depth).max().unwrap_or(0),
        integer,
        // Reals have no expression, but their dimensions have.
        terms: match integer && is_arithmetic(operator) {
            true => terms.fold(1, usize::saturating_add),
            false => terms.max().unwrap_or(0),
        },
    }
}

/// Whether a type or constant that the attribute states is of integers.
fn attribute(bytes: &[u8]) -> Result<Option<bool>, BundleError> {
    let (mut name, mut number, mut stated): (&[u8], _, _) = (b"", None, None);
    for field in Fields(bytes) {
        match field?.pair() {
            (ATTRIBUTE_NAME, Value::Bytes(bytes)) => name = bytes,
            (ATTRIBUTE_NUMBER, Value::Number(n)) => number = Some(n),
            // A list of integers as a constant.
            (ATTRIBUTE_NUMBERS, _) => stated = Some(true),
            (ATTRIBUTE_TENSOR | ATTRIBUTE_TENSORS, Value::Bytes(bytes)) => {
                stated = Some(Constant::read(bytes)?.integer);
            }
            (number, _) if ATTRIBUTE_NESTED.contains(&number) => {
                return Err(refused("has subgraphs or sparse tensors"));
            }
            _ => {}
        }
    }
    Ok(match name {
        b"to" => number.map(is_integer),
        b"value_int" => Some(true),
        b"value" | b"value_ints" => stated,
        _ => None,
    })
}

/// The graph's ends are those that the manifest states, in its order.
fn ends(what: &str, found: &[End<'_>], stated: &[TensorSpec]) -> Result<(), BundleError> {
    let pairs = found.iter().zip(stated);
    let wrong = pairs.clone().find(|(end, stated)| !end.is(stated));
    let why = match wrong {
        Some((end, stated)) => {
            let shape = end.shape.iter().flatten().map(|dim| match dim {
                Some(n) => n.to_string(),
                None => "?".to_owned(),
            });
            let shape = shape.collect::<Vec<_>>().join(",");
            format!(
                "{} [{shape}] is not {stated} of the manifest",
                shown(end.name)
            )
        }
        None if found.len() == stated.len() => return Ok(()),
        None => format!(
            "has {} {what}, {} in the manifest",
            found.len(),
            stated.len()
        ),
    };
    let hint = "describe the graph's inputs and outputs as they are, in its order";
    Err(BundleError::new(ErrorKind::Contract, why, hint))
}

fn import_of(import: &[u8]) -> Result<(&[u8], u64), BundleError> {
    let (mut domain, mut version): (&[u8], _) = (b"", 0);
    for field in Fields(import) {
        match field?.pair() {
            (OPSET_DOMAIN, Value::Bytes(name)) => domain = name,
            (OPSET_VERSION, Value::Number(n)) => version = n,
            _ => {}
        }
    }
    Ok((domain, version))
}

/// The domain of ONNX's own operators.
fn is_default(domain: &[u8]) -> bool {
    matches!(domain, b"" | b"ai.onnx")
}
