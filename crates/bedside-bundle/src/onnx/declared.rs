//! What a graph declares of its tensors: constants, inputs and outputs.

use super::wire::{Fields, Value, varint};
use super::{END_NAME, TENSOR_DATA_TYPE, TENSOR_DIMS, TENSOR_NAME, malformed};
use crate::contract::{MAX_ELEMENTS, MAX_RANK};
use crate::error::{BundleError, ErrorKind};
use crate::manifest::{DType, Dim, TensorSpec, printable};

// Fields of the messages of `onnx.proto`.
const VALUE_TYPE: u32 = 2;
const TYPE_TENSOR: u32 = 1;
const TYPE_DENOTATION: u32 = 6;
const TYPE_ELEMENT: u32 = 1;
const TYPE_SHAPE: u32 = 2;
const SHAPE_DIM: u32 = 1;
const DIM_NUMBER: u32 = 1;
/// The type of texts in `TensorProto.DataType`.
const STRING: u64 = 8;

/// By the number that `TensorProto.DataType` gives a type: all but the reals.
pub(super) fn is_integer(element: u64) -> bool {
    !matches!(element, 1 | 10 | 11 | 16)
}

/// A tensor whose dimensions fit the bytes that it has.
pub(super) struct Constant<'a> {
    pub(super) name: &'a [u8],
    pub(super) integer: bool,
}

impl<'a> Constant<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let (mut name, mut element, mut shape): (&[u8], _, _) = (b"", 0, Vec::new());
        for field in Fields(bytes) {
            match field?.pair() {
                (TENSOR_NAME, Value::Bytes(bytes)) => name = bytes,
                (TENSOR_DATA_TYPE, Value::Number(n)) => element = n,
                (TENSOR_DIMS, Value::Number(n)) => shape.push(n),
                (TENSOR_DIMS, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let dim = varint(&mut packed);
                        shape.push(dim.ok_or_else(|| malformed("broken protobuf"))?);
                    }
                }
                _ => {}
            }
        }
        // No operator takes texts.
        if element == STRING {
            return Err(refused("has texts for values"));
        }
        // Whatever its type, an element has a byte or more.
        let integer = is_integer(element);
        match elements(&shape) {
            Some(count) if count <= bytes.len() || shape.contains(&0) => Ok(Self { name, integer }),
            Some(_) => Err(refused(&format!(
                "has fewer values in {} than it says",
                shown(name)
            ))),
            None => Err(refused(&format!(
                "has a shape in {} that can't be",
                shown(name)
            ))),
        }
    }
}

/// The product of the dimensions, those of 0 taken for 1; none where that can't be.
fn elements(shape: &[u64]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |product, dim| {
        let dim = usize::try_from(*dim)
            .ok()
            .filter(|dim| *dim <= MAX_ELEMENTS)?;
        product
            .checked_mul(dim.max(1))
            .filter(|n| *n <= MAX_ELEMENTS)
    });
    product.filter(|_| shape.len() <= MAX_RANK)
}

/// An input or output of a graph as the graph itself declares it.
pub(super) struct End<'a> {
    pub(super) name: &'a [u8],
    /// By the number that `TensorProto.DataType` gives it.
    pub(super) element: u64,
    /// None where no shape is declared; a dimension without number is a symbol.
    pub(super) shape: Option<Vec<Option<u64>>>,
}

impl<'a> End<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let mut end = Self {
            name: b"",
            element: 0,
            shape: None,
        };
        for field in Fields(bytes) {
            match field?.pair() {
                (END_NAME, Value::Bytes(name)) => end.name = name,
                (VALUE_TYPE, Value::Bytes(kind)) => end.read_type(kind)?,
                _ => {}
            }
        }
        let fixed: Vec<u64> = end
            .shape
            .iter()
            .flatten()
            .map(|dim| dim.unwrap_or(1))
            .collect();
        if elements(&fixed).is_none() {
            return Err(refused(&format!(
                "has a shape in {} that can't be",
                shown(end.name)
            )));
        }
        Ok(end)
    }

    /// Messages that come twice are one, as protobuf has it.
    fn read_type(&mut self, kind: &[u8]) -> Result<(), BundleError> {
        for field in Fields(kind) {
            let bytes = match field?.pair() {
                (TYPE_TENSOR, Value::Bytes(bytes)) => bytes,
                (TYPE_DENOTATION, _) => continue,
                _ => return Err(refused("takes, gives or makes what is no tensor")),
            };
            for field in Fields(bytes) {
                match field?.pair() {
                    (TYPE_ELEMENT, Value::Number(element)) => self.element = element,
                    (TYPE_SHAPE, Value::Bytes(bytes)) => {
                        self.shape.get_or_insert_default().extend(dims(bytes)?);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether the graph declares what the manifest states, as far as it declares anything.
    pub(super) fn is(&self, stated: &TensorSpec) -> bool {
        let element = match stated.dtype {
            DType::F32 => 1,
            DType::I64 => 7,
        };
        let same = |(dim, stated): (&Option<u64>, &Dim)| match (dim, stated) {
            (Some(n), Dim::Fixed(m)) => *n == *m as u64,
            (Some(_), Dim::Symbol(_)) => false,
            (None, _) => true,
        };
        let shape = self.shape.as_ref().is_none_or(|shape| {
            shape.len() == stated.shape.len() && shape.iter().zip(&stated.shape).all(same)
        });
        self.name == stated.name.as_bytes() && self.element == element && shape
    }
}

fn dims(shape: &[u8]) -> Result<Vec<Option<u64>>, BundleError> {
    let mut dims = Vec::new();
    for field in Fields(shape) {
        if let (SHAPE_DIM, Value::Bytes(dim)) = field?.pair() {
            let mut number = None;
            for field in Fields(dim) {
                if let (DIM_NUMBER, Value::Number(n)) = field?.pair() {
                    number = Some(n);
                }
            }
            dims.push(number);
        }
    }
    Ok(dims)
}

pub(super) fn shown(name: &[u8]) -> String {
    format!("{:?}", printable(&String::from_utf8_lossy(name)))
}

pub(super) fn refused(what: &str) -> BundleError {
    BundleError::new(
        ErrorKind::Graph,
        format!("the graph {what}"),
        "docs/bundle-format.md has what a graph may be; export it to that",
    )
}
