//! Names, types and shapes of a graph's inputs and outputs.

use std::collections::HashMap;
use std::fmt;

use crate::error::{EngineError, ErrorKind};
use crate::value::Value;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    F32,
    I64,
}

/// One dimension: a number, or a symbol that has one value in all tensors of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dim {
    Fixed(usize),
    Symbol(String),
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first.
    pub shape: Vec<Dim>,
}

/// All inputs and outputs of a graph, in the graph's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// What a run takes.
    pub inputs: Vec<TensorSpec>,
    /// What a run gives.
    pub outputs: Vec<TensorSpec>,
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' {:?} [", self.name, self.dtype)?;
        for (i, dim) in self.shape.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match dim {
                Dim::Fixed(n) => write!(f, "{comma}{n}")?,
                Dim::Symbol(s) => write!(f, "{comma}{s}")?,
            }
        }
        f.write_str("]")
    }
}

impl TensorSpec {
    /// Whether a graph's tensor does what `expected` asks: same name and type, same rank, and
    /// every dimension equal where one is a number (symbols may have other names).
    fn does(&self, expected: &Self) -> bool {
        self.name == expected.name
            && self.dtype == expected.dtype
            && self.shape.len() == expected.shape.len()
            && self
                .shape
                .iter()
                .zip(&expected.shape)
                .all(|pair| match pair {
                    (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
                    (Dim::Symbol(_), Dim::Symbol(_)) => true,
                    _ => false,
                })
    }
}

impl Signature {
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
                if !found.does(expected) {
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
