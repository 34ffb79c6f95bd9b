//! The operators that a bundle's graphs may have.

/// ONNX's operators that compute tensors from tensors: no control flow, no randomness, no
/// sequences, no texts. In byte order. `docs/bundle-format.md` lists them.
pub(super) const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "DynamicQuantizeLinear",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Resize",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Whether a graph may have the operator of that name.
pub(super) fn is_known(name: &[u8]) -> bool {
    OPERATORS
        .binary_search_by(|known| known.as_bytes().cmp(name))
        .is_ok()
}

/// Whether an operator makes another number of numbers, rather than moves them.
pub(super) fn is_arithmetic(name: &[u8]) -> bool {
    matches!(
        name,
        b"Abs"
            | b"Add"
            | b"CumSum"
            | b"Div"
            | b"Max"
            | b"Mean"
            | b"Min"
            | b"Mod"
            | b"Mul"
            | b"Neg"
            | b"Pow"
            | b"Range"
            | b"ReduceMax"
            | b"ReduceMean"
            | b"ReduceMin"
            | b"ReduceProd"
            | b"ReduceSum"
            | b"Sub"
            | b"Sum"
            | b"Where"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_documented() {
        assert!(OPERATORS.is_sorted());
        let page = include_str!("../../../../docs/bundle-format.md");
        let listed: Vec<String> = OPERATORS.iter().map(|name| format!("`{name}`")).collect();
        assert!(page.contains(&format!("Operators: {}.", listed.join(", "))));
        assert!(is_known(b"Where") && !is_known(b"where") && !is_known(b""));
    }
}
