//! ONNX models, written byte by byte: small ones to order, and ones that no exporter would write.

/// Type of a tensor's elements, by the number that ONNX gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Element {
    F32 = 1,
    U8 = 2,
    I8 = 3,
    I64 = 7,
}

/// A field of bytes.
pub fn bytes(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3 | 2));
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
    out
}

/// A field of one number.
pub fn number(number: u32, value: u64) -> Vec<u8> {
    let mut out = varint(u64::from(number << 3));
    out.extend(varint(value));
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A tensor with these dimensions, elements as little-endian bytes.
pub fn tensor(name: &str, element: Element, shape: &[u64], raw: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|dim| number(1, *dim)).collect();
    let named = bytes(8, name.as_bytes());
    [dims, number(2, element as u64), named, bytes(9, raw)].concat()
}

/// A tensor of reals.
pub fn reals(name: &str, shape: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, Element::F32, shape, &raw)
}

/// A list of integers.
pub fn integers(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor(name, Element::I64, &[values.len() as u64], &raw)
}

/// One number.
pub fn scalar(name: &str, element: Element, raw: &[u8]) -> Vec<u8> {
    tensor(name, element, &[], raw)
}

/// An input or output. A dimension is a number, or a symbol of that name.
pub fn end(name: &str, element: Element, shape: &[&str]) -> Vec<u8> {
    let dims: Vec<u8> = shape
        .iter()
        .flat_map(|dim| match dim.parse::<u64>() {
            Ok(n) => bytes(1, &number(1, n)),
            Err(_) => bytes(1, &bytes(2, dim.as_bytes())),
        })
        .collect();
    let kind = [number(1, element as u64), bytes(2, &dims)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &kind))].concat()
}

/// An attribute of one number.
pub fn int(name: &str, value: i64) -> Vec<u8> {
    let named = bytes(1, name.as_bytes());
    [named, number(3, value.cast_unsigned()), number(20, 2)].concat()
}

/// An attribute of several numbers.
pub fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let values: Vec<u8> = values
        .iter()
        .flat_map(|v| number(8, v.cast_unsigned()))
        .collect();
    [bytes(1, name.as_bytes()), values, number(20, 7)].concat()
}

/// An attribute of a text.
pub fn text(name: &str, value: &str) -> Vec<u8> {
    let named = bytes(1, name.as_bytes());
    [named, bytes(4, value.as_bytes()), number(20, 3)].concat()
}

/// A graph on its way.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    bytes: Vec<u8>,
}

impl Graph {
    /// Add a node: what it reads, the one tensor that it makes, its attributes.
    pub fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) {
        let mut node: Vec<u8> = inputs
            .iter()
            .flat_map(|name| bytes(1, name.as_bytes()))
            .collect();
        node.extend(bytes(2, output.as_bytes()));
        node.extend(bytes(4, operator.as_bytes()));
        node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
        self.field(1, &node);
    }

    /// Add an initializer.
    pub fn initializer(&mut self, tensor: &[u8]) {
        self.field(5, tensor);
    }

    /// Add an input.
    pub fn input(&mut self, end: &[u8]) {
        self.field(11, end);
    }

    /// Add an output.
    pub fn output(&mut self, end: &[u8]) {
        self.field(12, end);
    }

    /// Add any field of a graph.
    pub fn field(&mut self, number: u32, field: &[u8]) {
        self.bytes.extend(bytes(number, field));
    }

    /// The model of this graph, of that version of ONNX's operators.
    pub fn model(&self, opset: u64) -> Vec<u8> {
        let import = [bytes(1, b""), number(2, opset)].concat();
        let graph = [bytes(2, b"graph"), self.bytes.clone()].concat();
        [number(1, 8), bytes(7, &graph), bytes(8, &import)].concat()
    }
}
