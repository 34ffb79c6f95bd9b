//! Operators that compute several convolutions at once, against the same graph with each on its own.

use std::collections::HashMap;

use proptest::prelude::*;
use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::math;
use tract_core::ops::nn::{DataFormat, GeluExact};
use tract_core::ops::quant::{DequantizeLinearF32, quantize_linear_u8};

use crate::extremes::run;
use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::{Element, Quant};
use crate::kernel::turn::{interleave, turn};
use crate::passes::rewrite::{Coded, rewrite};
use crate::tests::{noise, weights};

/// Half of it holds every activation of these tests, and so nothing needs to be cut.
const LARGE: usize = 1 << 30;

/// A graph of convolutions one after the other.
struct Graph {
    model: TypedModel,
    /// Weights of the convolutions as integers.
    coded: HashMap<String, Coded>,
    /// Activations go through u8 codes.
    codes: bool,
    seed: u32,
}

impl Graph {
    fn new(shape: [usize; 4], codes: bool, seed: u32) -> (Self, OutletId) {
        let mut graph = Self {
            model: TypedModel::default(),
            coded: HashMap::new(),
            codes,
            seed,
        };
        let x = graph.model.add_source("x", f32::fact(shape)).unwrap();
        let x = graph.coded(x);
        (graph, x)
    }

    fn name(&self, what: &str) -> String {
        format!("{what}{}", self.model.nodes.len())
    }

    /// To codes and back, where activations are coded.
    fn coded(&mut self, x: OutletId) -> OutletId {
        if !self.codes {
            return x;
        }
        // Each has a scale of its own.
        let scale = 0.01 + 0.001 * self.model.nodes.len() as f32;
        let zero = 90 + self.model.nodes.len() as u8;
        let op = quantize_linear_u8(scale.recip(), zero);
        let name = self.name("codes");
        let x = self.model.wire_node(name, op, &[x]).unwrap()[0];
        let op = DequantizeLinearF32::new(scale, zero.into());
        let name = self.name("reals");
        self.model.wire_node(name, op, &[x]).unwrap()[0]
    }

    /// A convolution that keeps the size but for the stride; depthwise where it keeps the channels
    /// and has a window.
    fn convolution(&mut self, x: OutletId, to: usize, kernel: usize, stride: usize) -> OutletId {
        let from = self.model.outlet_fact(x).unwrap().shape[1]
            .to_usize()
            .unwrap();
        let depthwise = kernel > 0;
        let kernel = kernel.max(1);
        let shape = [to, if depthwise { 1 } else { from }, kernel, kernel];
        let integers = weights(
            shape.iter().product(),
            self.seed ^ self.model.nodes.len() as u32,
        );
        let name = self.name("w");
        let integers = Tensor::from_shape(&shape, &integers).unwrap();
        let coded = Coded::new(integers, &tensor1(&[0.01f32])).unwrap();
        let w = self.model.add_const(&name, coded.reals().unwrap()).unwrap();
        self.coded.insert(name, coded);
        let bias = match self.codes {
            true => vec![0.0; to],
            false => noise(to, self.seed),
        };
        let name = self.name("b");
        let bias = self.model.add_const(name, tensor1(&bias)).unwrap();
        let (before, after) = (kernel / 2, kernel - 1 - kernel / 2);
        let op = Conv {
            pool_spec: PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec![kernel; 2],
                padding: PaddingSpec::Explicit(tvec![before; 2], tvec![after; 2]),
                dilations: None,
                strides: Some(tvec![stride; 2]),
                input_channels: from,
                output_channels: to,
            },
            kernel_fmt: KernelFormat::OIHW,
            group: if depthwise { from } else { 1 },
            q_params: None,
        };
        let name = self.name("conv");
        let x = self.model.wire_node(name, op, &[x, w, bias]).unwrap()[0];
        self.coded(x)
    }

    fn add(&mut self, a: OutletId, b: OutletId) -> OutletId {
        let name = self.name("sum");
        let x = self.model.wire_node(name, math::add(), &[a, b]).unwrap()[0];
        self.coded(x)
    }

    /// With our operators, each on its own, and with those taken in that `cache` asks for.
    fn lower(&self, cpu: Cpu, cache: usize) -> [TypedModel; 2] {
        let lower = |cache| rewrite(&self.model, &self.coded, cpu, cache).unwrap();
        let fused = lower(cache).into_decluttered().unwrap();
        [lower(LARGE), fused]
    }
}

fn operators(model: &TypedModel) -> Vec<String> {
    let names = model.nodes().iter().map(|n| n.op.name().into_owned());
    names.filter(|n| n.contains("Depthwise")).collect()
}

proptest! {
    /// Bands of any height give the bits of whole activations, on one thread and on three.
    #[test]
    fn a_block_in_bands_has_the_bits_of_its_convolutions(
        narrow in 1usize..8,
        wide in 1usize..16,
        to in 1usize..40,
        [h, w] in [1usize..24, 1..24],
        kernel in 1usize..6,
        stride in 1usize..3,
        [expands, adds, coded] in any::<[bool; 3]>(),
        cache in 0usize..1 << 17,
        seed: u32,
    ) {
        let (narrow, wide) = (4 * narrow, 4 * wide);
        let (mut graph, x) = Graph::new([1, narrow, h, w], coded, seed);
        let adds = adds && stride == 1;
        let between = match expands {
            true => graph.convolution(x, wide, 0, 1),
            false => x,
        };
        let channels = if expands { wide } else { narrow };
        let between = graph.convolution(between, channels, kernel, stride);
        let mut out = graph.convolution(between, if adds { narrow } else { to }, 0, 1);
        if adds {
            out = graph.add(out, x);
        }
        graph.model.select_output_outlets(&[out]).unwrap();
        let input = noise(narrow * h * w, seed);
        let input = [Tensor::from_shape(&[1, narrow, h, w], &input).unwrap()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for cpu in Cpu::supported() {
            let [each, fused] = graph.lower(cpu, cache);
            prop_assert_eq!(operators(&each), ["Depthwise"]);
            let [oh, ow] = [h, w].map(|n| (n - 1) / stride + 1);
            let bytes = channels * oh * ow * if coded { 1 } else { 4 };
            let name = match (expands, bytes > cache / 2) {
                (true, true) => "ExpandDepthwiseProject",
                (true, false) => "ExpandDepthwise",
                (false, true) => "DepthwiseProject",
                (false, false) => "Depthwise",
            };
            prop_assert_eq!(operators(&fused), [name]);
            let want = run(each, &input);
            prop_assert_eq!(&run(fused.clone(), &input), &want, "{}", cpu);
            prop_assert_eq!(&pool.install(|| run(fused, &input)), &want, "{} on threads", cpu);
        }
    }
}

/// As FocalNet has it: channels innermost around what knows nothing of maps.
#[test]
fn a_gelu_behind_a_depthwise_convolution_is_taken_in() {
    let (mut graph, x) = Graph::new([1, 24, 7, 6], false, 11);
    let mut out = graph.convolution(x, 24, 3, 1);
    let gelu = ElementWiseOp(Box::new(GeluExact {}), None);
    let steps: [Box<dyn TypedOp>; 3] = [
        Box::new(AxisOp::Move(1, 3)),
        Box::new(gelu),
        Box::new(AxisOp::Move(3, 1)),
    ];
    for step in steps {
        let name = graph.name("step");
        out = graph.model.wire_node(name, step, &[out]).unwrap()[0];
    }
    graph.model.select_output_outlets(&[out]).unwrap();
    let input = [Tensor::from_shape(&[1, 24, 7, 6], &noise(24 * 42, 3)).unwrap()];
    for cpu in Cpu::supported() {
        let [each, fused] = graph.lower(cpu, 0);
        assert_eq!(operators(&fused), ["Depthwise"]);
        let gelus = |n: &TypedNode| n.op.name().contains("Gelu");
        assert!(each.nodes().iter().any(gelus) && !fused.nodes().iter().any(gelus));
        let [want, got] = [each, fused].map(|model| run(model, &input));
        for (want, got) in want.iter().zip(&got) {
            assert!((want - got).abs() < 1e-6, "{got}, not {want}");
        }
    }
}

/// What others read as well is stored.
#[test]
fn what_two_read_is_computed_once() {
    for output in [false, true] {
        let (mut graph, x) = Graph::new([1, 8, 5, 5], false, 7);
        let between = graph.convolution(x, 8, 3, 1);
        let out = graph.convolution(between, 12, 0, 1);
        let other = match output {
            true => between,
            false => graph.convolution(between, 4, 0, 1),
        };
        graph.model.select_output_outlets(&[out, other]).unwrap();
        let [_, fused] = graph.lower(Cpu::detect().unwrap(), 0);
        assert_eq!(operators(&fused), ["Depthwise"]);
    }
}

/// A product that adds the very tensor that it reads.
#[test]
fn what_is_added_to_its_own_projection_is_stored() {
    let (mut graph, x) = Graph::new([1, 8, 5, 5], false, 9);
    let between = graph.convolution(x, 8, 3, 1);
    let out = graph.convolution(between, 8, 0, 1);
    let out = graph.add(out, between);
    graph.model.select_output_outlets(&[out]).unwrap();
    let [each, fused] = graph.lower(Cpu::detect().unwrap(), 0);
    assert_eq!(operators(&fused), ["Depthwise"]);
    let input = [Tensor::from_shape(&[1, 8, 5, 5], &noise(200, 1)).unwrap()];
    assert_eq!(run(fused, &input), run(each, &input));
}

proptest! {
    /// Heads of attention are split from NHWC where they lie; other shapes are not.
    #[test]
    fn heads_are_not_turned_into_planes(
        groups in 1usize..4,
        inner in 1usize..5,
        [h, w] in [1usize..6, 1..6],
        [apart, coded, turned] in any::<[bool; 3]>(),
        seed: u32,
    ) {
        let inner = 2 * inner;
        let (mut graph, x) = Graph::new([1, 4, h, w], coded, seed);
        let x = graph.convolution(x, groups * inner, 0, 1);
        let (pixels, channels) = (h * w, groups * inner);
        // Two steps, as a reader of ONNX may write it, or one; channels alone, or pixels with them.
        let shape = match apart {
            true => [1, groups, inner / 2, 2 * pixels],
            false => [1, groups, inner, pixels],
        };
        let dims = |dims: &[usize]| dims.iter().map(|d| d.to_dim()).collect::<TVec<TDim>>();
        let mut at = x;
        if !apart {
            let split = AxisOp::Reshape(1, dims(&[channels]), dims(&[groups, inner]));
            at = graph.model.wire_node("split", split, &[at]).unwrap()[0];
            let flat = AxisOp::Reshape(3, dims(&[h, w]), dims(&[pixels]));
            at = graph.model.wire_node("flat", flat, &[at]).unwrap()[0];
        } else {
            let reshape = AxisOp::Reshape(0, dims(&[1, channels, h, w]), dims(&shape));
            at = graph.model.wire_node("reshape", reshape, &[at]).unwrap()[0];
        }
        if turned {
            at = graph.model.wire_node("turn", AxisOp::Move(2, 3), &[at]).unwrap()[0];
        }
        graph.model.select_output_outlets(&[at]).unwrap();
        let input = [Tensor::from_shape(&[1, 4, h, w], &noise(4 * pixels, seed)).unwrap()];
        let own = rewrite(&graph.model, &graph.coded, Cpu::detect().unwrap(), LARGE).unwrap();
        let planes = own.nodes().iter().any(|n| {
            n.op.name() == "FromNHWC" || matches!(n.op_as(), Some(AxisOp::Move(3, 1)))
        });
        prop_assert_eq!(planes, apart || !turned);
        let (want, got) = (run(graph.model, &input), run(own, &input));
        prop_assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(&want) {
            // A code may be the next one where the sums differ in their last bits.
            prop_assert!((g - w).abs() < if coded { 0.05 } else { 1e-4 }, "{} for {}", g, w);
        }
    }

    /// Columns in the place of rows, and what becomes of codes and reals on the way.
    #[test]
    fn a_matrix_is_turned(rows in 1usize..200, width in 1usize..17, more in 0usize..5, seed: u32) {
        let step = width + more;
        let code = Quant { scale: 0.37, zero: 101 };
        let reals = noise(rows * step, seed);
        let codes: Vec<u8> = reals.iter().map(|x| (x * 127.5 + 127.5) as u8).collect();
        fn check<T: Element, O: Element + PartialEq + std::fmt::Debug>(
            (input, step, rows, width): (&[T], usize, usize, usize),
            code: Option<Quant>,
            to: Option<Quant>,
        ) {
            let real = |i: usize| O::store::<false>(input[i].real(code), to);
            let want = (0..width * rows).map(|i| real(i % rows * step + i / rows));
            let want: Vec<O> = want.collect();
            let back = (0..step * rows).map(|i| real(i % rows * step + i / rows));
            let back: Vec<O> = back.collect();
            for cpu in Cpu::supported() {
                let mut out = vec![O::default(); width * rows];
                turn(cpu.simd, input, step, rows, code, to, &mut out);
                assert_eq!(out, want, "{cpu}");
                let mut out = vec![O::default(); step * rows];
                interleave(cpu.simd, input, step, rows, code, to, &mut out);
                assert_eq!(out, back, "{cpu}");
            }
        }
        let reals = (&reals[..], step, rows, width);
        let codes = (&codes[..], step, rows, width);
        check::<f32, f32>(reals, None, None);
        check::<f32, u8>(reals, None, Some(Quant { scale: 0.01, zero: 9 }));
        check::<u8, f32>(codes, Some(code), None);
        check::<u8, u8>(codes, Some(code), Some(Quant { scale: 0.4, zero: 90 }));
        // The colours of an image.
        let colours = noise(3 * rows, seed);
        check::<f32, f32>((&colours, rows, 3, rows.min(16)), None, None);
        check::<f32, u8>((&colours, rows, 3, rows.min(16)), None, Some(code));
    }
}
