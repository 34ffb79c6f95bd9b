//! Kernels against sums written out, on every kind of processor that this one can be.
#![allow(unsafe_code, reason = "one thread alone writes every strip")]

use proptest::prelude::*;
use tract_core::internal::*;
use tract_core::ops::array::{Gather, Slice};
use tract_core::ops::einsum::EinSum;
use tract_core::ops::math;
use tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

use crate::kernel::cpu::{Cpu, Dot};
use crate::kernel::depthwise::{Depthwise, Expansion, Map, Strip, Window, strip};
use crate::kernel::epilogue::{Epilogue, Quant, Sink};
use crate::kernel::lanes::lanes;
use crate::kernel::product::{F32Panels, I8Panels, Rows, product_f32, product_u8};
use crate::passes::{Constants, Stored};

/// Numbers that repeat nowhere soon, from -1 to 1.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn codes(n: usize, seed: u32) -> Vec<u8> {
    noise(n, seed)
        .iter()
        .map(|x| (x * 127.5 + 127.5) as u8)
        .collect()
}

pub(crate) fn weights(n: usize, seed: u32) -> Vec<i8> {
    noise(n, seed).iter().map(|x| (x * 127.0) as i8).collect()
}

fn near(got: &[f32], want: &[f64], scale: f64) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() <= 1e-5 * scale,
            "{g} for {w} at {i}"
        );
    }
}

/// A depthwise convolution's output, in strips of two rows, the last of one, and of two groups of
/// channels: each finds its own part of the input.
pub(crate) fn in_strips(
    depthwise: &Depthwise,
    channels: usize,
    compute: impl Fn(Strip<'_, f32, f32>),
) -> Vec<f32> {
    let [height, width] = depthwise.window.output;
    let blocks = channels.div_ceil(16);
    let mut out = vec![f32::NAN; height * width * channels];
    let (mut scratch, epilogue) = (Vec::new(), Epilogue::default());
    let sink = Sink::new(&mut out);
    for first in (0..height).step_by(2) {
        for block in (0..blocks).step_by(2) {
            compute(Strip {
                depthwise,
                rows: first..(first + 2).min(height),
                first: 0,
                blocks: block..(block + 2).min(blocks),
                residual: &[],
                epilogue: &epilogue,
                scratch: &mut scratch,
                out: sink,
            });
        }
    }
    out
}

proptest! {
    #[test]
    fn products_of_reals_are_the_sums(m in 1usize..40, k in 1usize..70, n in 1usize..50, seed: u32) {
        let (a, b, bias) = (noise(m * k, seed), noise(k * n, seed ^ 1), noise(n, seed ^ 2));
        let want: Vec<f64> = (0..m * n)
            .map(|i| {
                let (row, column) = (i / n, i % n);
                (0..k).map(|k_| f64::from(a[row * k + k_]) * f64::from(b[k_ * n + column])).sum::<f64>()
                    + f64::from(bias[column])
            })
            .collect();
        let panels = F32Panels::new(k, &bias, |row, column| b[row * n + column]);
        let epilogue = Epilogue::default();
        for cpu in Cpu::supported() {
            let mut out = vec![f32::NAN; m * n];
            let rows = Rows::<f32, f32> { rows: &a, residual: &[], epilogue: &epilogue };
            product_f32(cpu, &panels, &rows, &mut out);
            near(&out, &want, k as f64);
            // A row alone has the bits that it has among others.
            let mut alone = vec![f32::NAN; n];
            let rows = Rows::<f32, f32> { rows: &a[(m - 1) * k..], ..rows };
            product_f32(cpu, &panels, &rows, &mut alone);
            prop_assert_eq!(&alone[..], &out[(m - 1) * n..]);
        }
    }

    /// Rows so long that they are multiplied in stretches.
    #[test]
    fn long_products_are_the_sums(m in 1usize..60, k in 1000usize..1700, n in 1usize..50, seed: u32) {
        let (a, b, bias) = (noise(m * k, seed), noise(k * n, seed ^ 1), noise(n, seed ^ 2));
        let panels = F32Panels::new(k, &bias, |row, column| b[row * n + column]);
        let epilogue = Epilogue::default();
        for cpu in Cpu::supported() {
            let mut out = vec![f32::NAN; m * n];
            let rows = Rows::<f32, f32> { rows: &a, residual: &[], epilogue: &epilogue };
            product_f32(cpu, &panels, &rows, &mut out);
            for (row, column) in [(0, 0), (m - 1, n - 1), (m / 2, n / 2)] {
                let terms = (0..k).map(|k_| f64::from(a[row * k + k_]) * f64::from(b[k_ * n + column]));
                let want = terms.sum::<f64>() + f64::from(bias[column]);
                near(&out[row * n + column..][..1], &[want], k as f64);
            }
        }
    }

    /// Integers are exact, up to the longest rows and the largest codes: what saturates on its way
    /// (`pmaddubsw`) would not be.
    #[test]
    fn products_of_codes_are_exact(m in 1usize..60, k4 in 1usize..300, n in 1usize..70, zero: u8, most in 0..3, seed: u32) {
        let k = 4 * k4;
        let a = if most > 0 { vec![255; m * k] } else { codes(m * k, seed) };
        let b = match most {
            0 => weights(k * n, seed ^ 1),
            1 => vec![-128; k * n],
            _ => vec![127; k * n],
        };
        let bias: Vec<i32> = noise(n, seed ^ 2).iter().map(|x| (x * 1e5) as i32).collect();
        let want: Vec<f32> = (0..m * n)
            .map(|i| {
                let (row, column) = (i / n, i % n);
                let products = (0..k).map(|k_| (i32::from(a[row * k + k_]) - i32::from(zero)) * i32::from(b[k_ * n + column]));
                (products.sum::<i32>() + bias[column]) as f32
            })
            .collect();
        let epilogue = Epilogue::default();
        for cpu in Cpu::supported() {
            let panels = I8Panels::new(cpu.dot, k, zero, &bias, |row, column| b[row * n + column]);
            let mut out = vec![f32::NAN; m * n];
            let rows = Rows::<u8, f32> { rows: &a, residual: &[], epilogue: &epilogue };
            product_u8(cpu, &panels, &rows, &mut out);
            prop_assert_eq!(&out, &want, "{}", cpu);
        }
    }

    #[test]
    fn windows_of_a_channel_are_summed(
        channels in 1usize..40,
        h in 1usize..14,
        w in 1usize..14,
        kernel in [1usize..8, 1..8],
        stride in [1usize..3, 1..3],
        coded: bool,
        zero: u8,
        seed: u32,
    ) {
        let before = [kernel[0] / 2, kernel[1] / 2];
        let output = [(h - 1) / stride[0] + 1, (w - 1) / stride[1] + 1];
        let window = Window { channels, input: [h, w], output, kernel, stride, before };
        let taps = kernel[0] * kernel[1];
        let (weights, bias) = (noise(channels * taps, seed), noise(channels, seed ^ 1));
        let (reals, integers) = (noise(h * w * channels, seed ^ 2), codes(h * w * channels, seed ^ 2));
        let zero = if coded { zero } else { 0 };
        let at = |y: usize, x: usize, c: usize| match coded {
            true => f64::from(integers[(y * w + x) * channels + c]) - f64::from(zero),
            false => f64::from(reals[(y * w + x) * channels + c]),
        };
        let mut want = Vec::new();
        for oy in 0..output[0] {
            for ox in 0..output[1] {
                for c in 0..channels {
                    let mut sum = f64::from(bias[c]);
                    for tap in 0..taps {
                        let y = (oy * stride[0] + tap / kernel[1]).wrapping_sub(before[0]);
                        let x = (ox * stride[1] + tap % kernel[1]).wrapping_sub(before[1]);
                        if y < h && x < w {
                            sum += at(y, x, c) * f64::from(weights[c * taps + tap]);
                        }
                    }
                    want.push(sum);
                }
            }
        }
        let depthwise = Depthwise::new(window, zero, &bias, |c, tap| weights[c * taps + tap]);
        for cpu in Cpu::supported() {
            let out = in_strips(&depthwise, channels, |part| match coded {
                // SAFETY: one thread alone writes.
                true => unsafe { strip(cpu, part, &mut Map { input: &integers, zero: f32::from(zero) }) },
                // SAFETY: as above.
                false => unsafe { strip(cpu, part, &mut Map { input: &reals, zero: 0.0 }) },
            });
            near(&out, &want, if coded { 255.0 * taps as f64 } else { taps as f64 });
        }
    }

    /// Integer weights over codes are exact, whatever window they lie in, up to the greatest.
    #[test]
    fn windows_of_codes_are_exact(
        channels in 1usize..40,
        [h, w] in [1usize..14, 1..14],
        kernel in [1usize..9, 1..9],
        stride in [1usize..5, 1..5],
        zero: u8,
        most in 0usize..5,
        scale in prop::sample::select(vec![1e5f32, 1e7, 2e9]),
        seed: u32,
    ) {
        let before = [kernel[0] / 2, kernel[1] / 2];
        let output = [(h - 1) / stride[0] + 1, (w - 1) / stride[1] + 1];
        let window = Window { channels, input: [h, w], output, kernel, stride, before };
        let taps = kernel[0] * kernel[1];
        let codes = match most {
            0 => codes(h * w * channels, seed),
            most => vec![if most % 2 == 0 { 255 } else { 0 }; h * w * channels],
        };
        let weights = match most {
            0 => weights(channels * taps, seed ^ 1),
            most => vec![if most < 3 { -128 } else { 127 }; channels * taps],
        };
        let bias: Vec<i32> = noise(channels, seed ^ 2).iter().map(|x| (x * scale) as i32).collect();
        // Biases that leave no room for products in an i32 stand in channels with hardly a weight.
        let sum = |oy: usize, ox: usize, c: usize| {
            let products = (0..taps).filter_map(|tap| {
                let y = (oy * stride[0] + tap / kernel[1]).wrapping_sub(before[0]);
                let x = (ox * stride[1] + tap % kernel[1]).wrapping_sub(before[1]);
                let code = (y < h && x < w).then(|| codes[(y * w + x) * channels + c])?;
                Some((i32::from(code) - i32::from(zero)) * i32::from(weights[c * taps + tap]))
            });
            (products.sum::<i32>() + bias[c]) as f32
        };
        let pixels = (0..output[0] * output[1]).map(|at| (at / output[1], at % output[1]));
        let want: Vec<f32> = pixels.flat_map(|(y, x)| (0..channels).map(move |c| (y, x, c)))
            .map(|(y, x, c)| sum(y, x, c))
            .collect();
        for cpu in Cpu::supported() {
            let weight = |c: usize, tap: usize| weights[c * taps + tap];
            let depthwise = Depthwise::of_codes(cpu.dot, window, zero, &bias, weight);
            let out = in_strips(&depthwise, channels, |part| {
                // SAFETY: one thread alone writes.
                unsafe { strip(cpu, part, &mut Map { input: &codes, zero: f32::from(zero) }) }
            });
            for ((got, want), bias) in out.iter().zip(&want).zip(bias.iter().cycle()) {
                let exact = bias.abs() < 1 << 23;
                let near = (got - want).abs() <= want.abs() * taps as f32 * f32::EPSILON;
                prop_assert!(got == want || !exact && near, "{got} for {want} on {cpu}");
            }
        }
    }

    /// An expansion that is computed as it is read gives the bits of one that is stored first.
    #[test]
    fn an_expansion_is_the_product_that_it_replaces(
        deep in 1usize..12,
        channels in 1usize..60,
        h in 1usize..9,
        w in 1usize..9,
        kernel in 1usize..6,
        stride in 1usize..3,
        zero: u8,
        seed: u32,
    ) {
        let depth = 4 * deep;
        let output = [(h - 1) / stride + 1, (w - 1) / stride + 1];
        let (before, kernel, stride) = ([kernel / 2; 2], [kernel; 2], [stride; 2]);
        let window = Window { channels, input: [h, w], output, kernel, stride, before };
        let taps = kernel[0] * kernel[1];
        let window_weights = noise(channels * taps, seed);
        let bias = noise(channels, seed ^ 1);
        let code = Quant { scale: 0.1, zero };
        let real = Epilogue { clip: Some((-0.2, 0.9)), ..Epilogue::default() };
        let coded = Epilogue { factor: Some(lanes(&vec![0.01; channels])), steps: Some(code), out: Some(code), ..Epilogue::default() };
        let (reals, integers) = (noise(h * w * depth, seed ^ 2), codes(h * w * depth, seed ^ 2));
        let (weights, whole) = (noise(depth * channels, seed ^ 3), weights(depth * channels, seed ^ 3));
        for cpu in Cpu::supported() {
            let panels = F32Panels::new(depth, &bias, |row, column| weights[row * channels + column]);
            let depthwise = Depthwise::new(window, 0, &bias, |c, tap| window_weights[c * taps + tap]);
            let mut map = vec![f32::NAN; h * w * channels];
            product_f32(cpu, &panels, &Rows::<f32, f32> { rows: &reals, residual: &[], epilogue: &real }, &mut map);
            // SAFETY: one thread alone writes.
            let want = in_strips(&depthwise, channels, |part| unsafe {
                strip(cpu, part, &mut Map { input: &map, zero: 0.0 });
            });
            // SAFETY: one thread alone writes.
            let got = in_strips(&depthwise, channels, |part| unsafe {
                strip(cpu, part, &mut Expansion::of_f32(&reals, &panels, &real));
            });
            prop_assert_eq!(&got, &want, "{}", cpu);

            let panels = I8Panels::new(cpu.dot, depth, zero, &vec![3; channels], |row, column| whole[row * channels + column]);
            let mut map = vec![0u8; h * w * channels];
            product_u8(cpu, &panels, &Rows::<u8, f32> { rows: &integers, residual: &[], epilogue: &coded }, &mut map);
            let weight = |c: usize, tap: usize| (window_weights[c * taps + tap] * 128.0) as i8;
            let in_integers = Depthwise::of_codes(cpu.dot, window, zero, &vec![9; channels], weight);
            let in_reals = Depthwise::new(window, zero, &bias, |c, tap| window_weights[c * taps + tap]);
            for depthwise in [&in_integers, &in_reals] {
                // SAFETY: one thread alone writes.
                let want = in_strips(depthwise, channels, |part| unsafe {
                    strip(cpu, part, &mut Map { input: &map, zero: f32::from(zero) });
                });
                // SAFETY: one thread alone writes.
                let got = in_strips(depthwise, channels, |part| unsafe {
                    strip(cpu, part, &mut Expansion::of_u8(&integers, &panels, &coded));
                });
                prop_assert_eq!(&got, &want, "{}", cpu);
            }

            // Reals whose product is coded.
            let panels = F32Panels::new(depth, &bias, |row, column| weights[row * channels + column]);
            let coded = Epilogue { factor: None, steps: None, clip: Some((-3.0, 2.0)), ..coded.clone() };
            product_f32(cpu, &panels, &Rows::<f32, f32> { rows: &reals, residual: &[], epilogue: &coded }, &mut map);
            // SAFETY: one thread alone writes.
            let want = in_strips(&in_integers, channels, |part| unsafe {
                strip(cpu, part, &mut Map { input: &map, zero: f32::from(zero) });
            });
            // SAFETY: one thread alone writes.
            let got = in_strips(&in_integers, channels, |part| unsafe {
                strip(cpu, part, &mut Expansion::of_f32(&reals, &panels, &coded));
            });
            prop_assert_eq!(&got, &want, "{}", cpu);
        }
    }

    /// Every step of the epilogue, alone and together, against the same in f64.
    #[test]
    fn an_epilogue_does_its_steps_in_order(
        n in 1usize..40,
        factor: bool,
        biased: bool,
        steps: bool,
        residual: bool,
        clip: bool,
        coded: bool,
        seed: u32,
    ) {
        let m = 7;
        let sums = noise(m * n, seed);
        let factors = noise(n, seed ^ 1);
        let bias = noise(n, seed ^ 3);
        let others = codes(m * n, seed ^ 2);
        let code = Quant { scale: 0.02, zero: 100 };
        let out_code = Quant { scale: 0.03, zero: 77 };
        let epilogue = Epilogue {
            factor: factor.then(|| lanes(&factors)),
            bias: biased.then(|| lanes(&bias)),
            steps: steps.then_some(code),
            residual: residual.then_some(Some(code)),
            clip: clip.then_some((-0.5, 0.7)),
            gelu: false,
            out: coded.then_some(out_code),
        };
        let round = |x: f64, q: Quant| x.round_ties_even().clamp(-f64::from(q.zero), 255.0 - f64::from(q.zero));
        let want = |i: usize| {
            let mut v = f64::from(sums[i]);
            if factor { v *= f64::from(factors[i % n]); }
            if biased { v += f64::from(bias[i % n]); }
            if steps { v = round(v, code) * f64::from(code.scale); }
            if residual { v += (f64::from(others[i]) - 100.0) * f64::from(code.scale); }
            if clip { v = v.clamp(-0.5, 0.7); }
            v
        };
        // One weight of 1 in each row makes sums of what is read.
        let panels = F32Panels::new(n, &vec![0.0; n], |row, column| f32::from(row == column));
        for cpu in Cpu::supported() {
            let rows = Rows::<f32, u8> { rows: &sums, residual: if residual { &others } else { &[] }, epilogue: &epilogue };
            if coded {
                let mut out = vec![0u8; m * n];
                product_f32(cpu, &panels, &rows, &mut out);
                for (i, got) in out.iter().enumerate() {
                    let steps = want(i) / f64::from(out_code.scale);
                    let off = (f64::from(*got) - 77.0 - round(steps, out_code)).abs();
                    // f32 may round a tie to the other side.
                    prop_assert!(off == 0.0 || off == 1.0 && ((steps - steps.floor()) - 0.5).abs() < 1e-3, "{got} for {steps}");
                }
            } else {
                let mut out = vec![f32::NAN; m * n];
                product_f32(cpu, &panels, &rows, &mut out);
                let want: Vec<f64> = (0..m * n).map(want).collect();
                for (got, want) in out.iter().zip(&want) {
                    let off = (f64::from(*got) - want).abs();
                    prop_assert!(off < 1e-5 || steps && (off - 0.02).abs() < 1e-5, "{got} for {want}");
                }
            }
        }
    }
}

/// A limit would turn it into a value like any other.
#[test]
fn nan_passes_a_limit() {
    let panels = F32Panels::new(1, &[0.0; 20], |_, _| 1.0);
    for clip in [(0.0, f32::INFINITY), (f32::NEG_INFINITY, 6.0), (0.0, 6.0)] {
        for added in [None, Some(None)] {
            let epilogue = Epilogue {
                clip: Some(clip),
                residual: added,
                ..Epilogue::default()
            };
            for cpu in Cpu::supported() {
                let mut out = vec![0.0f32; 40];
                let rows = Rows {
                    rows: &[f32::NAN, 7.0],
                    residual: &[0.0f32; 40],
                    epilogue: &epilogue,
                };
                product_f32(cpu, &panels, &rows, &mut out);
                assert!(out[..20].iter().all(|v| v.is_nan()), "{cpu}");
                assert!(out[20..].iter().all(|v| *v == clip.1.min(7.0)), "{cpu}");
            }
        }
    }
}

/// As a product that is stored first does.
#[test]
fn nan_passes_the_limit_of_an_expansion() {
    let window = Window {
        channels: 20,
        input: [1, 3],
        output: [1, 3],
        kernel: [1, 1],
        stride: [1, 1],
        before: [0, 0],
    };
    let depthwise = Depthwise::new(window, 0, &[0.0; 20], |_, _| 1.0);
    let panels = F32Panels::new(1, &[0.0; 20], |_, _| 1.0);
    let epilogue = Epilogue {
        clip: Some((0.0, 6.0)),
        ..Epilogue::default()
    };
    for cpu in Cpu::supported() {
        // SAFETY: one thread alone writes.
        let out = in_strips(&depthwise, 20, |part| unsafe {
            let mut source = Expansion::of_f32(&[7.0, f32::NAN, -1.0], &panels, &epilogue);
            strip(cpu, part, &mut source);
        });
        assert!(out[..20].iter().all(|v| *v == 6.0), "{cpu}");
        assert!(out[20..40].iter().all(|v| v.is_nan()), "{cpu}");
        assert!(out[40..].iter().all(|v| *v == 0.0), "{cpu}");
    }
}

#[test]
fn nan_becomes_the_least_code() {
    fn check<const FMA: bool>() {
        let quant = Quant {
            scale: 0.1,
            zero: 10,
        };
        let code = |real| quant.quantize::<FMA>(real);
        assert_eq!(code(f32::NAN), 0);
        assert_eq!(code(f32::INFINITY), 255);
        assert_eq!(code(f32::NEG_INFINITY), 0);
        assert_eq!(code(f32::MAX), 255);
        assert_eq!(code(f32::MIN), 0);
        assert_eq!(code(0.25), 12, "half to even");
        assert_eq!(code(0.35), 14);
    }
    check::<true>();
    check::<false>();
}

proptest! {
    /// Where products take the place of a division, every code is what the division gives: also
    /// where the quotient lies next to a tie, which is where codes part.
    #[test]
    fn codes_need_no_division(scale in 1e-6f32..1e3, zero: u8, nudge in -3i32..4) {
        let quant = Quant { scale, zero };
        for step in -520..520 {
            let tie = step as f32 / 2.0 * scale;
            let real = f32::from_bits(tie.to_bits().wrapping_add_signed(nudge));
            let (want, got) = (quant.quantize::<false>(real), quant.quantize::<true>(real));
            prop_assert_eq!(got, want, "{} / {}", real, scale);
        }
    }
}

/// Each dot product has its own test above; this tells which were tested here.
#[test]
fn the_best_supported_is_picked() {
    let supported = Cpu::supported();
    let names: Vec<String> = supported.iter().map(Cpu::to_string).collect();
    println!("tested: {}", names.join(", "));
    assert_eq!(Cpu::choose(None).as_ref(), Ok(supported.last().unwrap()));
    for cpu in &supported {
        assert_eq!(Cpu::choose(Some(&cpu.to_string())).as_ref(), Ok(cpu));
    }
    let refused = Cpu::choose(Some("abacus")).unwrap_err();
    assert!(refused.contains("abacus") && refused.contains(&supported[0].to_string()));
    assert_eq!(supported[0].dot, Dot::Wide);
}

/// A product of two inputs in a graph; -> its output in tract alone, and with our operators.
fn product_in_a_graph(
    expression: &str,
    shapes: [&[usize]; 2],
    inputs: &[Tensor; 2],
    constant: bool,
) -> [Vec<f32>; 2] {
    let made = |constant: bool| {
        let mut model = TypedModel::default();
        let a = model.add_source("a", f32::fact(shapes[0])).unwrap();
        let b = match constant {
            true => model.add_const("b", inputs[1].clone()).unwrap(),
            false => model.add_source("b", f32::fact(shapes[1])).unwrap(),
        };
        let op = EinSum::new(expression.parse().unwrap(), f32::datum_type());
        let out = model.wire_node("product", op, &[a, b]).unwrap();
        model.select_output_outlets(&out).unwrap();
        model.into_decluttered().unwrap()
    };
    let run = |model: TypedModel| {
        let used = if constant { 1 } else { 2 };
        let inputs = inputs.iter().take(used).cloned().map(Tensor::into_tvalue);
        let plan = model.into_runnable().unwrap();
        let out = plan.run(inputs.collect()).unwrap();
        out[0]
            .try_as_plain_ram()
            .unwrap()
            .as_slice::<f32>()
            .unwrap()
            .to_vec()
    };
    let lowered = |model, constants: &Constants<'_>| {
        crate::passes::project::project(model, constants, Cpu::detect().unwrap()).unwrap()
    };
    let model = made(constant);
    let own = lowered(model.clone(), &Constants::default());
    let names: Vec<_> = own
        .nodes()
        .iter()
        .map(|n| n.op.name().into_owned())
        .collect();
    let wanted = if constant { "Projection" } else { "MatMul" };
    assert!(names.iter().any(|n| n == wanted), "{expression}: {names:?}");
    let own = run(own);
    if constant {
        // At an odd address, as in a file.
        let file = [b"onn", inputs[1].as_bytes()].concat().into();
        let stored = Stored {
            file: &file,
            raw: &file[3..],
            dtype: DatumType::F32,
            shape: shapes[1].to_vec(),
        };
        let stored = [("b".to_owned(), stored)].into();
        let constants = Constants {
            stored,
            ..Constants::default()
        };
        assert_eq!(run(lowered(made(false), &constants)), own, "{expression}");
    }
    [run(model), own]
}

proptest! {
    /// Every order of dimensions that attention, masks and linear layers come in.
    #[test]
    fn products_in_a_graph_are_the_sums(
        p in 1usize..7, h in 1usize..4, q in 1usize..3, k in 2usize..40, n in 2usize..70, seed: u32,
    ) {
        // Enough rows, columns and summed elements to be packed.
        let (r, c, s) = (p + 23, n + 15, k + 15);
        let cases: [(&str, &[usize], &[usize], bool); 18] = [
            ("abmk,anbk->abn", &[p, h, 1, k], &[p, n, h, k], false),
            ("abk,akbn->abn", &[p, h, k], &[p, k, h, n], false),
            ("abmk,bkn->abmn", &[p, h, q, k], &[h, k, n], false),
            ("abk,kbn->abn", &[p, h, k], &[k, h, n], false),
            ("mk,bkan->man", &[p, k], &[1, k, q, n], false),
            ("mbk,anbk->mn", &[p, q, k], &[1, n, q, k], false),
            ("akm,kn->amn", &[h, k, p], &[k, n], false),
            ("mak,nk->mn", &[p, 1, k], &[n, k], true),
            ("mbk,nbk->mcn", &[p, q, k], &[n, q, k], true),
            ("mk,k->mn", &[p, k], &[k], true),
            ("amk,kbn->ambn", &[h, p, k], &[k, q, n], true),
            ("mk,n->mn", &[p, 1], &[n], true),
            ("mk,kn->mn", &[r, s], &[s, c], false),
            ("mk,nk->mn", &[r, s], &[c, s], false),
            ("nk,mk->mn", &[c, s], &[r, s], false),
            ("kn,km->mn", &[s, c], &[s, r], false),
            ("bmk,bkn->bmn", &[h, r, s], &[h, s, c], false),
            ("nk,hdk->hdn", &[c, s], &[h, r, s], false),
        ];
        for (expression, a, b, constant) in cases {
            let values = [a, b].map(|shape: &[usize]| noise(shape.iter().product(), seed ^ shape.len() as u32));
            let inputs = [0, 1].map(|i| Tensor::from_shape([a, b][i], &values[i]).unwrap());
            let [want, got] = product_in_a_graph(expression, [a, b], &inputs, constant);
            let want: Vec<f64> = want.into_iter().map(f64::from).collect();
            prop_assert_eq!(got.len(), want.len());
            near(&got, &want, (s * q) as f64);
        }
        // The first of many rows has the bits that it has alone.
        for (expression, b, inner) in [("mk,kn->mn", [k, n], n), ("mk,nk->mn", [n, k], n)] {
            let (rows, other) = (noise(p * k, seed), noise(k * n, seed ^ 3));
            let run = |p: usize| {
                let a = Tensor::from_shape(&[p, k], &rows[..p * k]).unwrap();
                let inputs = [a, Tensor::from_shape(&b, &other).unwrap()];
                product_in_a_graph(expression, [&[p, k], &b], &inputs, false)[1].clone()
            };
            prop_assert_eq!(&run(p)[..inner], &run(1)[..]);
        }
    }
}

/// The model of one input that `make` wires, in tract alone and with our operators; the names of
/// the latter's operators.
fn in_a_graph(
    input: Tensor,
    make: impl FnOnce(&mut TypedModel, OutletId) -> OutletId,
) -> ([Vec<f32>; 2], Vec<String>) {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact(input.shape())).unwrap();
    let out = make(&mut model, x);
    model.select_output_outlets(&[out]).unwrap();
    let model = model.into_decluttered().unwrap();
    let constants = Constants::default();
    let own = crate::passes::project::project(model.clone(), &constants, Cpu::detect().unwrap());
    let own = own.unwrap();
    let own = own.into_compact().unwrap();
    let names = own
        .nodes()
        .iter()
        .map(|n| n.op.name().into_owned())
        .collect();
    let run = |model: TypedModel| {
        let plan = model.into_runnable().unwrap();
        let out = plan.run(tvec!(input.clone().into_tvalue())).unwrap();
        let plain = out[0].try_as_plain_ram().unwrap();
        plain.as_slice::<f32>().unwrap().to_vec()
    };
    ([run(model), run(own)], names)
}

proptest! {
    /// A layer normalisation as tract's reader writes it, in one operator.
    #[test]
    fn a_norm_in_a_graph_is_one_operator(rows in 1usize..9, width in 2usize..100, seed: u32) {
        let input = Tensor::from_shape(&[1, rows, width], &noise(rows * width, seed)).unwrap();
        let row = |seed| Tensor::from_shape(&[1, 1, width], &noise(width, seed)).unwrap();
        let ([want, got], names) = in_a_graph(input, |model, x| {
            let sum = Reduce::new(tvec!(2), Reducer::Sum);
            let sum = model.wire_node("sum", sum, &[x]).unwrap()[0];
            let inverse = Tensor::from_shape(&[1, 1, 1], &[1.0 / width as f32]).unwrap();
            let inverse = model.add_const("inverse", inverse).unwrap();
            let mean = model.wire_node("mean", math::mul(), &[sum, inverse]).unwrap()[0];
            let less = model.wire_node("less", math::sub(), &[x, mean]).unwrap()[0];
            let op = RmsNorm { axis: 2, eps: tensor0(1e-5f32).into() };
            let normal = model.wire_node("normal", op, &[less]).unwrap()[0];
            let scale = model.add_const("scale", row(seed ^ 1)).unwrap();
            let scaled = model.wire_node("scaled", math::mul(), &[normal, scale]).unwrap()[0];
            let shift = model.add_const("shift", row(seed ^ 2)).unwrap();
            model.wire_node("shifted", math::add(), &[scaled, shift]).unwrap()[0]
        });
        prop_assert_eq!(names, ["Source", "Norm"]);
        let want: Vec<f64> = want.into_iter().map(f64::from).collect();
        near(&got, &want, 10.0);
    }

    /// Parts of a tensor that lie together are multiplied where they lie, and the product's factor
    /// and a reshape between them are no operators of their own.
    #[test]
    fn a_part_is_multiplied_where_it_lies(
        n in 1usize..40, k in 1usize..40, p in 1usize..7, part in 0i64..3, seed: u32,
    ) {
        let k = 2 * k;
        let input = Tensor::from_shape(&[3, n + 1, k], &noise(3 * (n + 1) * k, seed)).unwrap();
        let ([want, got], names) = in_a_graph(input, |model, x| {
            let pick = |model: &mut TypedModel, name: &str, from: OutletId, at: i64| {
                let at = model.add_const(format!("{name}.at"), Tensor::from(at)).unwrap();
                model.wire_node(name, Gather::new(0), &[from, at]).unwrap()[0]
            };
            let b = pick(model, "b", x, part);
            let a = pick(model, "a", x, 2 - part);
            let rows = Slice::new(0, 0, p.min(n));
            let a = model.wire_node("rows", rows, &[a]).unwrap()[0];
            let op = EinSum::new("mk,nk->mn".parse().unwrap(), f32::datum_type());
            let product = model.wire_node("product", op, &[a, b]).unwrap()[0];
            let factor = model.add_const("factor", Tensor::from_shape(&[1, 1], &[0.3f32]).unwrap());
            model.wire_node("scaled", math::mul(), &[product, factor.unwrap()]).unwrap()[0]
        });
        prop_assert!(names.iter().any(|n| n == "MatMul"), "{names:?}");
        prop_assert!(!names.iter().any(|n| n == "Mul"), "{names:?}");
        prop_assert!(names.iter().filter(|n| *n == "Gather").count() < 2, "{names:?}");
        let want: Vec<f64> = want.into_iter().map(f64::from).collect();
        near(&got, &want, k as f64);
    }
}
