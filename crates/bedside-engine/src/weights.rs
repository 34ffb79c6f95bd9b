//! The weights of an ONNX model, each copied once.
//!
//! tract's reader copies a model whole, decodes it into messages that own their bytes, and makes
//! tensors of these: three times the size of the file. Here the large initializers are taken out of
//! the bytes first and become tensors at once; what is left for the reader is small.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_onnx::pb::tensor_proto::DataType;

/// Smaller tensors, such as shapes and scales, stay in the model: the reader looks into some.
const LARGE: usize = 4096;

/// Fields of the messages of `onnx.proto` that hold weights.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const GRAPH_INPUT: u32 = 11;
const GRAPH_OUTPUT: u32 = 12;
const VALUE_NAME: u32 = 1;
const TENSOR_DIMS: u32 = 1;
const TENSOR_DATA_TYPE: u32 = 2;
const TENSOR_NAME: u32 = 8;
const TENSOR_RAW_DATA: u32 = 9;

/// A model without its large initializers, and these by name.
///
/// # Errors
/// When the bytes are no protobuf message.
pub(crate) fn split(onnx: &[u8]) -> TractResult<(Vec<u8>, HashMap<String, Tensor>)> {
    let mut rest: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    for field in Fields(onnx) {
        let field = field?;
        match field.value {
            Value::Bytes(graph) if field.number == MODEL_GRAPH => {
                let ends = ends(graph)?;
                let mut small: Vec<u8> = Vec::new();
                for field in Fields(graph) {
                    let field = field?;
                    match Weight::of(&field)? {
                        Some(weight) if !ends.contains(weight.name.as_bytes()) => {
                            found.push(weight);
                        }
                        _ => small.extend(field.whole),
                    }
                }
                put_varint(&mut rest, u64::from(MODEL_GRAPH << 3 | 2));
                put_varint(&mut rest, small.len() as u64);
                rest.extend(small);
            }
            _ => rest.extend(field.whole),
        }
    }
    // On one thread: packing, on this thread too, then gets the memory that is let go on the way.
    // glibc does not hand memory from one thread's heap to another's.
    let tensors = found.iter().map(|w| Ok((w.name.to_owned(), w.tensor()?)));
    Ok((rest, tensors.collect::<TractResult<_>>()?))
}

/// Names of a graph's inputs and outputs, which the reader must find: old exporters list
/// initializers among the inputs.
fn ends(graph: &[u8]) -> TractResult<HashSet<&[u8]>> {
    let mut names = HashSet::new();
    for field in Fields(graph) {
        let field = field?;
        let Value::Bytes(info) = field.value else {
            continue;
        };
        if [GRAPH_INPUT, GRAPH_OUTPUT].contains(&field.number) {
            for field in Fields(info) {
                let field = field?;
                if let (VALUE_NAME, Value::Bytes(name)) = (field.number, field.value) {
                    names.insert(name);
                }
            }
        }
    }
    Ok(names)
}

/// An initializer that is taken out.
struct Weight<'a> {
    name: &'a str,
    dtype: DatumType,
    shape: TVec<usize>,
    raw: &'a [u8],
}

impl<'a> Weight<'a> {
    /// The field of a graph as a weight; none when it is another field, small, or holds its values
    /// in a way that exporters do not use for large tensors.
    fn of(field: &Field<'a>) -> TractResult<Option<Self>> {
        let Value::Bytes(tensor) = field.value else {
            return Ok(None);
        };
        if field.number != GRAPH_INITIALIZER || tensor.len() < LARGE {
            return Ok(None);
        }
        let (mut name, mut dtype, mut raw) = ("", None, None);
        let mut shape = tvec!();
        for field in Fields(tensor) {
            let field = field?;
            match (field.number, field.value) {
                (TENSOR_DIMS, Value::Number(n)) => shape.push(n),
                (TENSOR_DIMS, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        shape.push(varint(&mut packed).context("broken protobuf")?);
                    }
                }
                (TENSOR_DATA_TYPE, Value::Number(n)) => dtype = plain(n),
                (TENSOR_NAME, Value::Bytes(bytes)) => name = std::str::from_utf8(bytes)?,
                (TENSOR_RAW_DATA, Value::Bytes(bytes)) => raw = Some(bytes),
                _ => return Ok(None),
            }
        }
        let shape = shape.into_iter().map(usize::try_from);
        let (Ok(shape), Some(dtype), Some(raw)) =
            (shape.collect::<Result<TVec<_>, _>>(), dtype, raw)
        else {
            return Ok(None);
        };
        let volume = shape
            .iter()
            .try_fold(dtype.size_of(), |v, d| v.checked_mul(*d));
        Ok((volume == Some(raw.len())).then_some(Self {
            name,
            dtype,
            shape,
            raw,
        }))
    }

    fn tensor(&self) -> TractResult<Tensor> {
        let mut tensor = Tensor::zero_dt(self.dtype, &self.shape)?;
        tensor.as_bytes_mut().copy_from_slice(self.raw);
        Ok(tensor)
    }
}

/// The type of a tensor whose raw data are its elements' bytes.
fn plain(number: u64) -> Option<DatumType> {
    match DataType::try_from(i32::try_from(number).ok()?).ok()? {
        DataType::Float => Some(DatumType::F32),
        DataType::Float16 => Some(DatumType::F16),
        DataType::Int8 => Some(DatumType::I8),
        DataType::Uint8 => Some(DatumType::U8),
        DataType::Int32 => Some(DatumType::I32),
        _ => None,
    }
}

/// A field's value as it stands on the wire; fixed-width numbers are not looked at.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

struct Field<'a> {
    number: u32,
    value: Value<'a>,
    /// Key and value.
    whole: &'a [u8],
}

/// The fields of a protobuf message; ends after the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<Field<'a>> {
        let start = self.0;
        let key = u32::try_from(varint(&mut self.0)?).ok()?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some(Field {
            number: key >> 3,
            value,
            whole: start.get(..start.len() - self.0.len())?,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = TractResult<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().context("not an ONNX model: broken protobuf");
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, tail) = from.split_first()?;
        *from = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        put_varint(&mut field, u64::from(number << 3 | 2));
        put_varint(&mut field, content.len() as u64);
        field.extend(content);
        field
    }

    fn number(number: u32, value: u64) -> Vec<u8> {
        let mut field = Vec::new();
        put_varint(&mut field, u64::from(number << 3));
        put_varint(&mut field, value);
        field
    }

    fn initializer(name: &str, dims: &[u64], values: usize) -> Vec<u8> {
        let raw: Vec<u8> = (0..values).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let dims = dims.iter().flat_map(|d| number(TENSOR_DIMS, *d));
        let mut tensor: Vec<u8> = dims.collect();
        tensor.extend(number(TENSOR_DATA_TYPE, DataType::Float as u64));
        tensor.extend(bytes(TENSOR_NAME, name.as_bytes()));
        tensor.extend(bytes(TENSOR_RAW_DATA, &raw));
        bytes(GRAPH_INITIALIZER, &tensor)
    }

    fn model(graph: &[Vec<u8>]) -> Vec<u8> {
        [
            number(1, 8),
            bytes(MODEL_GRAPH, &graph.concat()),
            bytes(2, b"maker"),
        ]
        .concat()
    }

    #[test]
    fn large_initializers_come_out_and_all_else_stays_as_it_is() {
        let node = bytes(1, b"\x22\x03Add");
        let small = initializer("small", &[2, 3], 6);
        let large = initializer("large", &[40, 50], 2_000);
        let (rest, weights) = split(&model(&[small.clone(), large, node.clone()])).unwrap();
        assert_eq!(rest, model(&[small, node]));
        let tensor = weights.get("large").unwrap();
        assert_eq!((weights.len(), tensor.shape()), (1, &[40, 50][..]));
        let values = tensor.try_as_plain_ram().unwrap();
        let values = values.as_slice::<f32>().unwrap();
        assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32));
    }

    /// tract makes an input of an input whose initializer is gone, and does not find such an output.
    #[test]
    fn initializers_that_are_inputs_or_outputs_stay() {
        let large = initializer("large", &[40, 50], 2_000);
        for end in [GRAPH_INPUT, GRAPH_OUTPUT] {
            let model = model(&[large.clone(), bytes(end, &bytes(VALUE_NAME, b"large"))]);
            let (rest, weights) = split(&model).unwrap();
            assert!(weights.is_empty() && rest == model);
        }
    }

    /// The reader has the error for these.
    #[test]
    fn weights_that_do_not_fit_their_shape_stay() {
        for dims in [&[40, 51][..], &[u64::MAX, 2], &[], &[1 << 40, 1 << 40]] {
            let model = model(&[initializer("large", dims, 2_000)]);
            let (rest, weights) = split(&model).unwrap();
            assert!(weights.is_empty() && rest == model, "{dims:?}");
        }
    }

    #[test]
    fn broken_models_are_an_error() {
        let good = model(&[initializer("large", &[40, 50], 2_000)]);
        for cut in [1, 3, 5, 100, good.len() - 3] {
            assert!(split(&good[..cut]).is_err(), "{cut}");
        }
    }
}
