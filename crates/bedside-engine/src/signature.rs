//! What goes in and out of a graph.

use std::collections::HashMap;

use bedside_bundle::manifest::{Dim, Graph, TensorSpec};

use crate::error::{EngineError, ErrorKind};
use crate::value::Value;

/// All inputs and outputs of a graph, in the graph's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// What a run takes.
    pub inputs: Vec<TensorSpec>,
    /// What a run gives.
    pub outputs: Vec<TensorSpec>,
}

impl From<&Graph> for Signature {
    /// The signature that a manifest says a graph has.
    fn from(graph: &Graph) -> Self {
        Self {
            inputs: graph.inputs.clone(),
            outputs: graph.outputs.clone(),
        }
    }
}

/// Whether a graph's tensor does what `expected` asks: same name and type, same rank, and every
/// dimension equal where one is a number (symbols may have other names).
fn fits(found: &TensorSpec, expected: &TensorSpec) -> bool {
    let same = |pair: (&Dim, &Dim)| match pair {
        (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
        (Dim::Symbol(_), Dim::Symbol(_)) => true,
        _ => false,
    };
    found.name == expected.name
        && found.dtype == expected.dtype
        && found.shape.len() == expected.shape.len()
        && found.shape.iter().zip(&expected.shape).all(same)
}

impl Signature {
    /// With the expected numbers in place of symbols, for engines that take any.
    #[cfg(feature = "ort")]
    pub(crate) fn narrowed(mut self, expected: &Self) -> Self {
        let found = self.inputs.iter_mut().chain(&mut self.outputs);
        let expected = expected.inputs.iter().chain(&expected.outputs);
        for (found, expected) in found.zip(expected) {
            for (dim, number) in found.shape.iter_mut().zip(&expected.shape) {
                if let (Dim::Symbol(_), Dim::Fixed(_)) = (&dim, number) {
                    *dim = number.clone();
                }
            }
        }
        self
    }

    /// Check the signature that a graph has against the one that was expected.
    pub(crate) fn check(&self, expected: &Self, graph: &str) -> Result<(), EngineError> {
        let sides = [
            ("input", &self.inputs, &expected.inputs),
            ("output", &self.outputs, &expected.outputs),
        ];
        for (side, found, expected) in sides {
            if found.len() != expected.len() {
                return Err(EngineError::new(
                    ErrorKind::Signature,
                    graph,
                    format!("has {} {side}s, expected {}", found.len(), expected.len()),
                ));
            }
            for (found, expected) in found.iter().zip(expected) {
                if !fits(found, expected) {
                    return Err(EngineError::new(
                        ErrorKind::Signature,
                        graph,
                        format!(
                            "{side} {found} is not the expected {expected}; hint: the graph \
                             does not belong to this manifest, export both again"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Check the inputs of a run: number, types, shapes, one value for each symbol.
    pub(crate) fn check_inputs(&self, values: &[Value], graph: &str) -> Result<(), EngineError> {
        let wrong = |message: String| Err(EngineError::new(ErrorKind::Input, graph, message));
        if values.len() != self.inputs.len() {
            return wrong(format!(
                "{} inputs given, {} needed",
                values.len(),
                self.inputs.len()
            ));
        }
        let mut symbols: HashMap<&str, usize> = HashMap::new();
        for (spec, value) in self.inputs.iter().zip(values) {
            let shape = value.shape();
            let fits = value.dtype() == Some(spec.dtype)
                && shape.len() == spec.shape.len()
                && spec.shape.iter().zip(shape).all(|(dim, n)| match dim {
                    Dim::Fixed(m) => m == n,
                    Dim::Symbol(s) => *n > 0 && *symbols.entry(s).or_insert(*n) == *n,
                });
            if !fits {
                let dtype = value
                    .dtype()
                    .map_or("another type".to_owned(), |d| format!("{d:?}"));
                return wrong(format!("input {spec} was given {dtype} {shape:?}"));
            }
        }
        Ok(())
    }
}
