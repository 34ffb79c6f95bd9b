//! What the dimensions of a product are for.

use tract_core::internal::*;
use tract_core::ops::einsum::EinSum;

/// Letters of an EinSum's two inputs and its output by what they do; those of size 1 are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Axes {
    /// All letters of the first input, the second, and the output.
    pub(crate) letters: [Vec<char>; 3],
    /// In all three.
    pub(crate) batch: Vec<char>,
    /// In the first input and the output.
    pub(crate) rows: Vec<char>,
    /// In both inputs, summed over; in the first input's order.
    pub(crate) summed: Vec<char>,
    /// In the second input and the output, in the output's order.
    pub(crate) columns: Vec<char>,
}

impl Axes {
    /// Of "mk,kn->mn" and the like; `None` for what is no product of two tensors.
    pub(crate) fn new(expression: &str, shapes: [&[TDim]; 2]) -> Option<Self> {
        let (inputs, output) = expression.split_once("->")?;
        let (a, b) = inputs.split_once(',')?;
        let letters = [a, b, output].map(|s| s.chars().collect::<Vec<char>>());
        let [a, b, output] = &letters;
        let size = |input: usize, letter: &char| {
            let at = letters.get(input)?.iter().position(|l| l == letter)?;
            shapes.get(input)?.get(at)
        };
        let one = |letter: &char| {
            let both = [size(0, letter), size(1, letter)];
            both.into_iter().flatten().all(|s| *s == 1.to_dim())
        };
        let long = |of: &[char]| {
            of.iter()
                .filter(|l| !one(l))
                .copied()
                .collect::<Vec<char>>()
        };
        let (a, b, output) = (long(a), long(b), long(output));
        let has = |of: &[char], letter: &char| of.contains(letter);
        let repeats = |of: &[char]| of.iter().enumerate().any(|(i, l)| has(&of[..i], l));
        let alone = |l: &char| !has(&output, l);
        if repeats(&a)
            || repeats(&b)
            || repeats(&output)
            || a.iter().any(|l| !has(&b, l) && alone(l))
            || b.iter().any(|l| !has(&a, l) && alone(l))
            || a.iter().any(|l| has(&b, l) && size(0, l) != size(1, l))
        {
            return None;
        }
        let among = |of: &[char], keep: &dyn Fn(&char) -> bool| {
            of.iter()
                .filter(|l| keep(l))
                .copied()
                .collect::<Vec<char>>()
        };
        Some(Self {
            batch: among(&output, &|l| has(&a, l) && has(&b, l)),
            rows: among(&output, &|l| has(&a, l) && !has(&b, l)),
            summed: among(&a, &|l| has(&b, l) && alone(l)),
            columns: among(&output, &|l| !has(&a, l) && has(&b, l)),
            letters,
        })
    }

    /// Of a product of two f32 tensors.
    pub(crate) fn real(
        model: &TypedModel,
        node: &TypedNode,
        op: &EinSum,
    ) -> TractResult<Option<Self>> {
        let [a, b] = *node.inputs else {
            return Ok(None);
        };
        let facts = [model.outlet_fact(a)?, model.outlet_fact(b)?];
        let real = facts.iter().all(|f| f.datum_type == DatumType::F32);
        if !real || op.operating_dt != DatumType::F32 || op.q_params.is_some() {
            return Ok(None);
        }
        let shapes = [&*facts[0].shape, &*facts[1].shape];
        Ok(Self::new(&op.axes.to_string(), shapes))
    }

    /// The same product with its inputs in each other's place.
    pub(crate) fn swapped(&self) -> Self {
        let [a, b, out] = self.letters.clone();
        let both = |role: &[char], order: Vec<char>| -> Vec<char> {
            order.into_iter().filter(|l| role.contains(l)).collect()
        };
        Self {
            letters: [b, a, out],
            batch: self.batch.clone(),
            rows: self.columns.clone(),
            summed: both(&self.summed, self.order(1)),
            columns: self.rows.clone(),
        }
    }

    /// Letters of an input (0 or 1) or the output (2) that do something, in their order.
    pub(crate) fn order(&self, of: usize) -> Vec<char> {
        let all = [&self.batch, &self.rows, &self.summed, &self.columns];
        let letters = self.letters.get(of).into_iter().flatten();
        let known = |l: &&char| all.iter().any(|role| role.contains(l));
        letters.filter(known).copied().collect()
    }
}

/// A size when every symbol in it is 1.
pub(crate) fn least(size: &TDim) -> usize {
    let ones = size.symbols().into_iter();
    let ones = ones.fold(SymbolValues::default(), |all, symbol| all.with(&symbol, 1));
    size.eval_to_i64(&ones).map_or(0, |n| n.max(0) as usize)
}
