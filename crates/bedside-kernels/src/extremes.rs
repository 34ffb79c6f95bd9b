//! Graphs that no exporter writes, but a file may hold: windows larger than the image or wholly
//! outside of it, single channels and pixels, batches and sums of nothing.
#![allow(unsafe_code, reason = "one thread alone writes every strip")]

use std::collections::HashMap;

use proptest::prelude::*;
use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::nn::DataFormat;
use tract_core::ops::quant::{DequantizeLinearF32, quantize_linear_u8};

use crate::kernel::cpu::{Cpu, Dot};
use crate::kernel::depthwise::{Depthwise, Expansion, Map, Strip, Window, strip};
use crate::kernel::epilogue::{Epilogue, Quant, Sink};
use crate::kernel::product::{F32Panels, I8Panels};
use crate::passes::Constants;
use crate::passes::rewrite::{Coded, rewrite};
use crate::tests::{in_strips, noise, weights};

pub(crate) fn run(model: TypedModel, inputs: &[Tensor]) -> Vec<f32> {
    let inputs = inputs.iter().cloned().map(Tensor::into_tvalue).collect();
    let out = model.into_runnable().unwrap().run(inputs).unwrap();
    let plain = out[0].try_as_plain_ram().unwrap();
    plain.as_slice::<f32>().unwrap().to_vec()
}

/// A convolution, as a graph has it and as it is summed.
#[derive(Debug, Clone)]
struct Case {
    /// Input and output.
    channels: [usize; 2],
    depthwise: bool,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Case {
    fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            let all = self.input[i] + self.before[i] + self.after[i];
            (all - self.kernel[i]) / self.stride[i] + 1
        })
    }

    /// Input channels that an output channel reads.
    fn reads(&self) -> usize {
        if self.depthwise { 1 } else { self.channels[0] }
    }

    fn weights(&self) -> [usize; 4] {
        [
            self.channels[1],
            self.reads(),
            self.kernel[0],
            self.kernel[1],
        ]
    }

    fn sums(&self, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f64> {
        let ([h, wide], [kh, kw], [oh, ow]) = (self.input, self.kernel, self.output());
        let reads = self.reads();
        let mut out = Vec::new();
        for c in 0..self.channels[1] {
            for at in 0..oh * ow {
                let mut sum = f64::from(bias[c]);
                for i in 0..reads * kh * kw {
                    let (r, ky, kx) = (i / (kh * kw), i / kw % kh, i % kw);
                    let y = (at / ow * self.stride[0] + ky).wrapping_sub(self.before[0]);
                    let x_ = (at % ow * self.stride[1] + kx).wrapping_sub(self.before[1]);
                    if y < h && x_ < wide {
                        let from = if self.depthwise { c } else { r };
                        sum += f64::from(x[(from * h + y) * wide + x_])
                            * f64::from(w[c * reads * kh * kw + i]);
                    }
                }
                out.push(sum);
            }
        }
        out
    }

    /// The graph; its input is made codes where `code` says how.
    fn graph(&self, code: Option<Quant>, w: &[f32], bias: &[f32]) -> TypedModel {
        let mut model = TypedModel::default();
        let shape = [1, self.channels[0], self.input[0], self.input[1]];
        let mut x = model.add_source("x", f32::fact(shape)).unwrap();
        if let Some(Quant { scale, zero }) = code {
            let op = quantize_linear_u8(scale.recip(), zero);
            x = model.wire_node("codes", op, &[x]).unwrap()[0];
            let op = DequantizeLinearF32::new(scale, zero.into());
            x = model.wire_node("reals", op, &[x]).unwrap()[0];
        }
        let w = Tensor::from_shape(&self.weights(), w).unwrap();
        let w = model.add_const("w", w).unwrap();
        let bias = model.add_const("bias", tensor1(bias)).unwrap();
        let op = Conv {
            pool_spec: PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: TVec::from_slice(&self.kernel),
                padding: PaddingSpec::Explicit(
                    self.before.as_slice().into(),
                    self.after.as_slice().into(),
                ),
                dilations: None,
                strides: Some(TVec::from_slice(&self.stride)),
                input_channels: self.channels[0],
                output_channels: self.channels[1],
            },
            kernel_fmt: KernelFormat::OIHW,
            group: if self.depthwise { self.channels[0] } else { 1 },
            q_params: None,
        };
        let out = model.wire_node("conv", op, &[x, w, bias]).unwrap();
        model.select_output_outlets(&out).unwrap();
        model
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = || prop::sample::select(vec![1usize, 2, 3, 16, 16, 17, 32, 32, 33]);
    let pairs = (
        [1usize..6, 1..30],
        [1usize..9, 1..9],
        [1usize..6, 1..6],
        [0usize..12, 0..12],
        [0usize..12, 0..12],
    );
    ([channels(), channels()], any::<bool>(), pairs).prop_map(
        |([from, to], depthwise, (input, kernel, stride, before, after))| Case {
            channels: [from, if depthwise { from } else { to }],
            depthwise: depthwise && from > 1,
            input,
            kernel,
            stride,
            before,
            after: [0, 1].map(|i| after[i].max(kernel[i].saturating_sub(input[i] + before[i]))),
        },
    )
}

proptest! {
    #[test]
    fn convolutions_of_every_shape_are_the_sums(case in cases(), zero: u8, seed: u32) {
        let (pixels, taps) = (case.input.iter().product::<usize>(), case.weights().iter().product());
        let (x, w) = (noise(case.channels[0] * pixels, seed), weights(taps, seed ^ 1));
        let bias = noise(case.channels[1], seed ^ 2);
        let none = vec![0.0; bias.len()];
        let code = Quant { scale: 0.01, zero };
        let integers = Tensor::from_shape(&case.weights(), &w).unwrap();
        let coded = HashMap::from([("w".to_owned(), Coded::new(integers, &tensor1(&[0.02f32])).unwrap())]);
        let w: Vec<f32> = w.iter().map(|w| f32::from(*w) * 0.02).collect();
        let read: Vec<f32> = x.iter().map(|x| code.real(code.quantize::<false>(*x))).collect();
        let shape = [1, case.channels[0], case.input[0], case.input[1]];
        let input = [Tensor::from_shape(&shape, &x).unwrap()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for cpu in Cpu::supported() {
            for (code, x, bias) in [(None, &x, &bias), (Some(code), &read, &none)] {
                let model = rewrite(&case.graph(code, &w, bias), &coded, cpu, 1 << 20).unwrap();
                let own = |n: &TypedNode| ["Convolution.f32", "Convolution.u8", "Depthwise"].contains(&n.op.name().as_ref());
                prop_assert!(model.nodes().iter().any(own));
                let (want, got) = (case.sums(x, &w, bias), run(model.clone(), &input));
                prop_assert_eq!(got.len(), want.len());
                for (g, w) in got.iter().zip(&want) {
                    prop_assert!((f64::from(*g) - w).abs() < 1e-4 * taps as f64, "{g} for {w} on {cpu}");
                }
                prop_assert_eq!(pool.install(|| run(model, &input)), got);
            }
        }
    }
}

/// Products of two activations with symbols for sizes.
#[test]
fn sums_of_nothing_are_zero_and_batches_of_nothing_empty() {
    for (expression, transposed) in [("mk,kn->mn", false), ("mk,nk->mn", true)] {
        let mut model = TypedModel::default();
        let [m, k] = ["M", "K"].map(|s| model.symbols.sym(s).to_dim());
        let a = model.add_source("a", f32::fact([m, k.clone()])).unwrap();
        let n = 300.to_dim();
        let b = if transposed { [n, k] } else { [k, n] };
        let b = model.add_source("b", f32::fact(b)).unwrap();
        let op = EinSum::new(expression.parse().unwrap(), f32::datum_type());
        let out = model.wire_node("product", op, &[a, b]).unwrap();
        model.select_output_outlets(&out).unwrap();
        let own = crate::passes::project::project(
            model.into_decluttered().unwrap(),
            &Constants::default(),
            Cpu::detect().unwrap(),
        );
        let own = own.unwrap();
        assert!(own.nodes().iter().any(|n| n.op.name() == "MatMul"));
        for (m, k) in [(7, 0), (0, 5), (0, 0)] {
            // What comes back from the allocator should not look like sums.
            let used: Vec<Tensor> = (0..4)
                .map(|_| Tensor::from_shape(&[7, 300], &[f32::NAN; 2100]).unwrap())
                .collect();
            drop(used);
            let b = if transposed { [300, k] } else { [k, 300] };
            let inputs = [&[m, k], &b].map(|s| Tensor::zero::<f32>(s).unwrap());
            assert_eq!(run(own.clone(), &inputs), vec![0.0; m * 300], "{m} {k}");
        }
    }
}

/// Rows of padding below a pixel, in strips of two rows.
#[test]
fn a_strip_below_the_input_is_padding() {
    let window = Window {
        channels: 1,
        input: [1, 1],
        output: [7, 1],
        kernel: [3, 3],
        stride: [1, 1],
        before: [1, 1],
    };
    let depthwise = Depthwise::new(window, 0, &[0.5], |_, tap| tap as f32);
    for cpu in Cpu::supported() {
        let out = in_strips(&depthwise, 1, |part| {
            let mut map = Map {
                input: &[2.0],
                zero: 0.0,
            };
            // SAFETY: one thread alone writes.
            unsafe { strip(cpu, part, &mut map) };
        });
        assert_eq!(out, [8.5, 2.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    }
}

#[test]
#[should_panic(expected = "multiple_of")]
fn codes_that_fill_no_fours_are_refused() {
    I8Panels::new(Dot::Wide, 5, 0, &[0], |_, _| 1);
}

#[test]
#[should_panic(expected = "count()")]
fn an_expansion_has_the_channels_that_the_window_reads() {
    let window = Window {
        channels: 32,
        input: [2, 2],
        output: [2, 2],
        kernel: [1, 1],
        stride: [1, 1],
        before: [0, 0],
    };
    let depthwise = Depthwise::new(window, 0, &[0.0; 32], |_, _| 1.0);
    let panels = F32Panels::new(4, &[0.0; 16], |_, _| 1.0);
    let (epilogue, mut out) = (Epilogue::default(), vec![0.0f32; 128]);
    let part: Strip<f32, _> = Strip {
        depthwise: &depthwise,
        rows: 0..2,
        first: 0,
        blocks: 0..2,
        residual: &[],
        epilogue: &epilogue,
        scratch: &mut Vec::new(),
        out: Sink::new(&mut out),
    };
    // SAFETY: one thread alone writes.
    unsafe {
        let mut source = Expansion::of_f32(&[0.0; 16], &panels, &epilogue);
        strip(Cpu::detect().unwrap(), part, &mut source);
    }
}
