//! Attention as exporters write it becomes one operator.

use tract_core::internal::*;
use tract_core::model::Rewriter;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::nn::{Softmax, SoftmaxKind};

use crate::kernel::cpu::Cpu;
use crate::kernel::lanes::LANES;
use crate::ops::attention::Attention;
use crate::ops::axes::{Axes, least};

/// Replace attention with enough queries that packing its keys and values pays.
///
/// `model` is decluttered, which leaves nothing but a sum between the two products and the softmax.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub(crate) fn attention(model: &mut TypedModel, cpu: Cpu) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for("attention", move |(), model, node, name, op| {
            replaced(cpu, model, node, name, op)
        })
        .rewrite(&(), model)
}

/// From the second product back to the first.
fn replaced(
    cpu: Cpu,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &EinSum,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(weighing = Axes::real(model, node, op)?);
    let softmax = |outlet: &OutletId| model.node(outlet.node).op_is::<Softmax>();
    let weighing = match node.inputs.iter().position(softmax) {
        Some(0) => weighing,
        Some(_) => weighing.swapped(),
        None => return Ok(None),
    };
    let (weights, others): (TVec<_>, TVec<_>) = node.inputs.iter().copied().partition(softmax);
    let (&[weights], &[values]) = (&*weights, &*others) else {
        return Ok(None);
    };
    let alone =
        |outlet| model.outlet_successors(outlet).len() == 1 && !model.outputs.contains(&outlet);
    let of_scores = |outlet: OutletId| {
        let node = model.node(outlet.node);
        (alone(outlet) && node.op_is::<EinSum>()).then_some(node)
    };
    rule_if!(alone(weights));
    let softmax = model.node(weights.node);
    rule_if_some!(op = softmax.op_as::<Softmax>());
    let &[axis] = &*op.axes else {
        return Ok(None);
    };
    rule_if!(op.kind == SoftmaxKind::Softmax);
    let sum = model.node(softmax.inputs[0].node);
    let (product, mask) = match (sum.op.name().as_ref(), &*sum.inputs) {
        ("Add", &[a, b]) => match (of_scores(a), of_scores(b)) {
            (Some(product), _) => (product, Some(b)),
            (None, Some(product)) => (product, Some(a)),
            (None, None) => return Ok(None),
        },
        _ => (sum, None),
    };
    rule_if!(alone(softmax.inputs[0]));
    rule_if_some!(op = product.op_as::<EinSum>());
    rule_if_some!(scoring = Axes::real(model, product, op)?);
    let [queries, keys] = [0, 1].map(|i| product.inputs[i]);
    let mut inputs = tvec!(queries, keys, values);
    inputs.extend(mask);
    let facts = inputs.iter().map(|i| model.outlet_fact(*i));
    let facts = facts.collect::<TractResult<TVec<_>>>()?;
    let scores = &model.outlet_fact(softmax.inputs[0])?.shape;
    rule_if!(model.outlet_fact(product.id.into())?.shape == *scores);
    if let Some(mask) = facts.get(3) {
        let fits = |(mask, scores): (&TDim, &TDim)| mask == scores || *mask == 1.to_dim();
        rule_if!(mask.datum_type == DatumType::F32 && mask.rank() == scores.rank());
        rule_if!(mask.shape.iter().zip(scores.iter()).all(fits));
        rule_if!(mask.shape[axis] == scores[axis]);
        // A row of the mask is read as it lies.
        rule_if!(mask.shape.iter().skip(axis + 1).all(|d| *d == 1.to_dim()));
    }
    let out = &model.outlet_fact(node.id.into())?.shape;
    rule_if_some!(op = Attention::new(cpu, scoring, weighing, axis, out));
    let enough = |letter: char, of: usize, count: usize| {
        let at = op.letters[of].iter().position(|l| *l == letter);
        at.is_some_and(|at| least(&facts[of].shape[at]) >= count)
    };
    rule_if!(enough(op.row, 0, 24) && enough(op.key, 1, LANES));
    let mut patch = TypedModelPatch::default();
    let inputs = patch.taps(model, &inputs)?;
    let outlet = patch.wire_node(name, op, &inputs)?[0];
    patch.shunt_outside(model, node.id.into(), outlet)?;
    Ok(Some(patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::add;

    use super::*;
    use crate::tests::noise;

    /// Two products, their shapes, and the mask's when there is one.
    struct Case {
        scoring: &'static str,
        weighing: &'static str,
        queries: Vec<usize>,
        keys: Vec<usize>,
        values: Vec<usize>,
        mask: Option<Vec<usize>>,
        axis: usize,
    }

    impl Case {
        fn shapes(&self) -> Vec<&[usize]> {
            let three = [&*self.queries, &*self.keys, &*self.values].into_iter();
            three.chain(self.mask.as_deref()).collect()
        }

        fn inputs(&self, seed: u32) -> Vec<Tensor> {
            let tensor = |(i, shape): (usize, &&[usize])| {
                let values = noise(shape.iter().product(), seed ^ i as u32);
                let values: Vec<f32> = values.iter().map(|v| v * 3.0).collect();
                Tensor::from_shape(shape, &values).unwrap()
            };
            self.shapes().iter().enumerate().map(tensor).collect()
        }

        /// The graph as tract has it, and with our operator if it is wanted.
        fn model(&self, own: Option<Cpu>) -> TypedModel {
            let mut model = TypedModel::default();
            let sources: Vec<OutletId> = (self.shapes().iter().enumerate())
                .map(|(i, s)| model.add_source(format!("{i}"), f32::fact(*s)).unwrap())
                .collect();
            let product = |axes: &str| EinSum::new(axes.parse().unwrap(), f32::datum_type());
            let mut at = model
                .wire_node("scores", product(self.scoring), &sources[..2])
                .unwrap();
            if let Some(mask) = sources.get(3) {
                at = model.wire_node("sum", add(), &[*mask, at[0]]).unwrap();
            }
            let softmax = Softmax::new(tvec!(self.axis), None, SoftmaxKind::Softmax);
            at = model.wire_node("softmax", softmax, &at).unwrap();
            let values_first = self.weighing.starts_with("hnv");
            let inputs = match values_first {
                true => [sources[2], at[0]],
                false => [at[0], sources[2]],
            };
            at = model
                .wire_node("out", product(self.weighing), &inputs)
                .unwrap();
            model.select_output_outlets(&at).unwrap();
            let mut model = model.into_decluttered().unwrap();
            if let Some(cpu) = own {
                attention(&mut model, cpu).unwrap();
                assert!(model.nodes().iter().any(|n| n.op_is::<Attention>()));
            }
            model
        }

        fn run(&self, own: Option<Cpu>, inputs: &[Tensor]) -> Vec<f32> {
            let plan = self.model(own).into_runnable().unwrap();
            let inputs = inputs.iter().cloned().map(Tensor::into_tvalue).collect();
            let out = plan.run(inputs).unwrap();
            let plain = out[0].try_as_plain_ram().unwrap();
            plain.as_slice::<f32>().unwrap().to_vec()
        }
    }

    fn cases(p: usize, h: usize, m: usize, n: usize, d: usize, v: usize) -> [Case; 3] {
        [
            Case {
                scoring: "mhd,hdn->hmn",
                weighing: "hmn,hnv->mhv",
                queries: vec![m, h, d],
                keys: vec![h, d, n],
                values: vec![h, n, v],
                mask: Some(vec![1, m, n]),
                axis: 2,
            },
            Case {
                scoring: "pmhd,pnhd->phmn",
                weighing: "phmn,pnhv->pmhv",
                queries: vec![p, m, h, d],
                keys: vec![p, n, h, d],
                values: vec![p, n, h, v],
                mask: Some(vec![p, 1, 1, n]),
                axis: 3,
            },
            Case {
                scoring: "hmd,hnd->hmn",
                weighing: "hnv,hmn->hmv",
                queries: vec![h, m, d],
                keys: vec![h, n, d],
                values: vec![h, n, v],
                mask: None,
                axis: 2,
            },
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn attention_is_its_operators_one_after_another(
            p in 2usize..4, h in 2usize..4, m in 24usize..120, n in 16usize..90,
            d in 2usize..40, v in 2usize..40, seed: u32,
        ) {
            for case in cases(p, h, m, n, d, v) {
                let inputs = case.inputs(seed);
                let want = case.run(None, &inputs);
                for cpu in Cpu::supported() {
                    let got = case.run(Some(cpu), &inputs);
                    prop_assert_eq!(got.len(), want.len());
                    for (got, want) in got.iter().zip(&want) {
                        prop_assert!((got - want).abs() < 1e-4, "{}: {} for {}", cpu, got, want);
                    }
                }
            }
        }
    }

    #[test]
    fn neither_company_nor_threads_change_a_bit() {
        let cpu = Cpu::detect().unwrap();
        let [_, many, _] = cases(5, 2, 30, 37, 20, 24);
        let [_, two, _] = cases(2, 2, 30, 37, 20, 24);
        let inputs = many.inputs(7);
        let first: Vec<_> = inputs.iter().map(|t| t.slice(0, 0, 2).unwrap()).collect();
        let all = many.run(Some(cpu), &inputs);
        let alone = two.run(Some(cpu), &first);
        assert_eq!(all[..alone.len()], alone);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let threaded = pool.unwrap().install(|| many.run(Some(cpu), &inputs));
        assert_eq!(all, threaded);
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        let [_, _, case] = cases(1, 2, 25, 37, 20, 24);
        let mut inputs = case.inputs(3);
        for flaw in [f32::NAN, f32::INFINITY] {
            inputs[1]
                .try_as_plain_ram_mut()
                .unwrap()
                .as_slice_mut::<f32>()
                .unwrap()[0] = flaw;
            for cpu in Cpu::supported() {
                let out = case.run(Some(cpu), &inputs);
                // Every query of the first head meets the flaw; some have it as minus infinity.
                assert!(out.iter().take(25 * 24).any(|v| v.is_nan()));
                assert!(out.iter().skip(25 * 24).all(|v| v.is_finite()));
            }
        }
    }

    /// A row of such a mask does not lie together, as the operator would read it.
    #[test]
    fn a_mask_with_keys_further_out_is_left_alone() {
        let (h, m, n, d, v) = (3, 24, 16, 5, 6);
        let case = Case {
            scoring: "mhd,nhd->mnh",
            weighing: "mnh,nhv->mhv",
            queries: vec![m, h, d],
            keys: vec![n, h, d],
            values: vec![n, h, v],
            mask: Some(vec![m, n, h]),
            axis: 1,
        };
        let mut model = case.model(None);
        attention(&mut model, Cpu::detect().unwrap()).unwrap();
        assert!(!model.nodes().iter().any(|n| n.op_is::<Attention>()));
        // Without the mask it is attention that the operator knows.
        Case { mask: None, ..case }.model(Cpu::detect().ok());
    }

    #[test]
    fn few_queries_are_left_alone() {
        let [case, _, _] = cases(2, 2, 23, 37, 20, 24);
        let mut model = case.model(None);
        attention(&mut model, Cpu::detect().unwrap()).unwrap();
        assert!(!model.nodes().iter().any(|n| n.op_is::<Attention>()));
    }
}
