//! Products whose activation is quantized as it comes: its range is known only at run time.
//!
//! ONNX writes such a product as DynamicQuantizeLinear, MatMulInteger, Cast and Mul. Here it is one
//! operator: a pass over the activation finds its range, then each block of rows is made codes and
//! multiplied while it lies in the nearest caches.

use std::cell::RefCell;
use std::sync::Arc;

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::Epilogue;
use crate::kernel::lanes::lanes;
use crate::kernel::product::{I8Panels, Rows, product_u8};
use crate::kernel::range::{Range, encode};
use crate::ops::{block_rows, filled, for_blocks, slice};
use crate::passes::project::{is_gelu, is_row};

thread_local! {
    static CODES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The only node that reads another, when that is no output of the graph.
pub(crate) fn reader(model: &TypedModel, id: usize) -> Option<&TypedNode> {
    match model.outlet_successors(id.into()) {
        [one] if !model.outputs.contains(&id.into()) => Some(model.node(one.node)),
        _ => None,
    }
}

/// A product with constant weights, and what follows it.
#[derive(Debug, Clone)]
pub(crate) struct DynamicPlan {
    pub(crate) cpu: Cpu,
    /// Whether the outermost dimension is of items that know nothing of each other.
    pub(crate) batch: bool,
    /// Length of a row.
    pub(crate) depth: usize,
    /// For codes whose zero is 0, as deep as their fours are.
    pub(crate) panels: I8Panels,
    /// Of each column's weights.
    pub(crate) scales: Vec<f32>,
    /// Its factor is made when the activation's scale is known.
    pub(crate) epilogue: Epilogue,
}

impl DynamicPlan {
    /// Of an activation, or of one item of a batch.
    fn run(&self, input: &[f32], residual: &[f32], out: &mut [f32]) {
        let code = Range::of(self.cpu, input).code();
        let factors: Vec<f32> = self.scales.iter().map(|scale| code.scale * scale).collect();
        let epilogue = &Epilogue {
            factor: Some(lanes(&factors)),
            ..self.epilogue.clone()
        };
        let panels = self.panels.with_zero(code.zero);
        let (depth, width) = (self.depth.next_multiple_of(4), self.scales.len());
        let block = block_rows(out.len() / width, depth);
        for_blocks(out, block * width, |index, out| {
            let rows = input.get(index * block * self.depth..).unwrap_or_default();
            let residual = residual.get(index * block * width..).unwrap_or_default();
            CODES.with_borrow_mut(|codes| {
                codes.resize(out.len() / width * depth, 0);
                encode(self.cpu.simd, code, rows, self.depth, codes);
                let rows = Rows {
                    rows: codes,
                    residual,
                    epilogue,
                };
                product_u8(self.cpu, &panels, &rows, out);
            });
        });
    }
}

/// See [`DynamicPlan`]. Inputs: the activation, and what is added if anything is.
#[derive(Debug, Clone)]
pub(crate) struct DynamicProduct(pub(crate) Arc<DynamicPlan>);

impl PartialEq for DynamicProduct {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DynamicProduct {}

impl Op for DynamicProduct {
    fn name(&self) -> StaticName {
        "DynamicProduct".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let DynamicPlan { cpu, depth, .. } = *self.0;
        let width = self.0.scales.len();
        Ok(vec![format!("{cpu} {depth} to {width}")])
    }

    op_as_typed_op!();
}

impl EvalOp for DynamicProduct {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = &*self.0;
        let input = slice::<f32>(&inputs[0])?;
        let residual = inputs.get(1).map(|r| slice::<f32>(r)).transpose()?;
        let residual = residual.unwrap_or_default();
        let mut shape = inputs[0].shape().to_vec();
        let items = match shape.first() {
            Some(items) if plan.batch => *items,
            _ => 1,
        };
        if let Some(last) = shape.last_mut() {
            *last = plan.scales.len();
        }
        let out = filled(&shape, |out| {
            let (reads, writes) = (input.len() / items, out.len() / items);
            // Item beside item, and within each where there are fewer of them than threads.
            for_blocks(out, writes, |item, out| {
                let input = input.get(item * reads..(item + 1) * reads);
                let residual = residual.get(item * writes..).unwrap_or_default();
                plan.run(input.unwrap_or_default(), residual, out);
            });
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for DynamicProduct {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.clone();
        shape.set(shape.rank() - 1, self.0.scales.len().to_dim());
        Ok(tvec!(DatumType::F32.fact(shape)))
    }

    /// Takes in one step of what follows.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        rule_if_some!(reader = reader(model, node.id));
        let shape = &model.outlet_fact(node.id.into())?.shape;
        rule_if!(model.outlet_fact(reader.id.into())?.shape == *shape);
        let mut plan = (*self.0).clone();
        let mut inputs = node.inputs.clone();
        let Epilogue {
            bias,
            residual,
            clip,
            gelu,
            ..
        } = &mut plan.epilogue;
        let other = reader.inputs.iter().find(|i| i.node != node.id).copied();
        let other = other.map(|o| Ok((o, model.outlet_fact(o)?)) as TractResult<_>);
        let other = other.transpose()?;
        let constant = other.and_then(|(_, fact): (_, &TypedFact)| fact.konst.as_ref());
        rule_if!(clip.is_none() && !*gelu);
        match (reader.op.name().as_ref(), other, constant) {
            ("Add", _, Some(value))
                if bias.is_none() && residual.is_none() && is_row(value, plan.scales.len()) =>
            {
                *bias = Some(lanes(value.try_as_plain_ram()?.as_slice::<f32>()?));
            }
            ("Add", Some((other, fact)), None) if residual.is_none() && fact.shape == *shape => {
                inputs.push(other);
                *residual = Some(None);
            }
            ("Max", _, Some(value)) if value.len() == 1 => {
                *clip = Some((value.cast_to_scalar::<f32>()?, f32::INFINITY));
            }
            _ if residual.is_none() && is_gelu(reader) => *gelu = true,
            _ => return Ok(None),
        }
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &inputs)?;
        let outlet = patch.wire_node(&reader.name, Self(Arc::new(plan)), &inputs)?[0];
        patch.shunt_outside(model, reader.id.into(), outlet)?;
        Ok(Some(patch))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let products = inputs[0].shape.volume() * self.0.scales.len().to_dim();
        Ok(tvec!((Cost::FMA(i32::datum_type()), products)))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::product::DEEPEST;
    use crate::tests::{noise, weights};

    /// The ONNX operators, one after another and element by element.
    struct Written {
        scale: f32,
        zero: i32,
        codes: Vec<i32>,
    }

    impl Written {
        fn out(values: &[f32]) -> Self {
            let low = values.iter().copied().fold(0.0, f32::min);
            let high = values.iter().copied().fold(0.0, f32::max);
            let scale = if high == low {
                1.0
            } else {
                (high - low) / 255.0
            };
            let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even() as i32;
            let code = |x: &f32| ((x / scale).round_ties_even() as i32 + zero).clamp(0, 255);
            let codes = values.iter().map(code).collect();
            Self { scale, zero, codes }
        }
    }

    fn plan(cpu: Cpu, depth: usize, scales: &[f32], weights: &[i8]) -> DynamicPlan {
        let width = scales.len();
        let weight = |k: usize, n: usize| weights.get(k * width + n).copied().unwrap_or(0);
        DynamicPlan {
            cpu,
            batch: false,
            depth,
            panels: I8Panels::new(
                cpu.dot,
                depth.next_multiple_of(4),
                0,
                &vec![0; width],
                weight,
            ),
            scales: scales.to_vec(),
            epilogue: Epilogue::default(),
        }
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_written_operators(
            m in 1usize..40,
            k in 1usize..300,
            n in 1usize..70,
            kind in 0..5,
            biased: bool,
            added: bool,
            limited: bool,
            seed: u32,
        ) {
            let values: Vec<f32> = noise(m * k, seed).into_iter().map(|x| match kind {
                0 => 3.0 * x,
                1 => x - 1.5,
                2 => x + 40.0,
                3 => -0.7,
                _ => 0.0,
            }).collect();
            let (b, scales) = (weights(k * n, seed ^ 1), noise(n, seed ^ 2));
            let (bias, residual) = (noise(n, seed ^ 3), noise(m * n, seed ^ 4));
            let written = Written::out(&values);
            let want: Vec<f32> = (0..m * n).map(|i| {
                let (row, column) = (i / n, i % n);
                let terms = (0..k).map(|k_| (written.codes[row * k + k_] - written.zero) * i32::from(b[k_ * n + column]));
                let mut v = terms.sum::<i32>() as f32 * (written.scale * scales[column]);
                if biased { v += bias[column]; }
                if added { v += residual[i]; }
                if limited { v = v.max(0.0); }
                v
            }).collect();
            for cpu in Cpu::supported() {
                let mut plan = plan(cpu, k, &scales, &b);
                plan.epilogue = Epilogue {
                    bias: biased.then(|| lanes(&bias)),
                    residual: added.then_some(None),
                    clip: limited.then_some((0.0, f32::INFINITY)),
                    ..Epilogue::default()
                };
                let mut out = vec![f32::NAN; m * n];
                plan.run(&values, &residual, &mut out);
                prop_assert_eq!(&out, &want, "{}", cpu);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, k, n) = (300, 257, 33);
        let (x, b, scales) = (noise(m * k, 1), weights(k * n, 2), noise(n, 3));
        let plan = plan(Cpu::detect().unwrap(), k, &scales, &b);
        let run = || {
            let mut out = vec![f32::NAN; m * n];
            plan.run(&x, &[], &mut out);
            out
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        assert_eq!(run(), pool.unwrap().install(run));
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        let (m, k, n) = (5, 70, 20);
        let (b, scales) = (weights(k * n, 2), noise(n, 3));
        for flaw in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 63, 64, m * k - 1] {
                let mut x = noise(m * k, 1);
                x[at] = flaw;
                for cpu in Cpu::supported() {
                    let mut out = vec![0.0; m * n];
                    plan(cpu, k, &scales, &b).run(&x, &[], &mut out);
                    assert!(!out.iter().any(|v| v.is_finite()), "{flaw} at {at}");
                }
            }
        }
    }

    /// The largest sums there are.
    #[test]
    fn the_deepest_sums_do_not_wrap() {
        for (x, want) in [
            (1.0, 255 * DEEPEST as i32 * -128),
            (-1.0, 255 * DEEPEST as i32 * 128),
        ] {
            for cpu in Cpu::supported() {
                let plan = plan(cpu, DEEPEST, &[1.0], &vec![-128; DEEPEST]);
                let mut out = [0.0];
                plan.run(&vec![x; DEEPEST], &[], &mut out);
                assert_eq!(out[0], want as f32 * (1.0 / 255.0), "{cpu}");
            }
        }
    }
}
