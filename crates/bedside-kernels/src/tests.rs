//! Kernels against sums written out, on every kind of processor that this one can be.

use proptest::prelude::*;

use crate::cpu::{Cpu, Dot};
use crate::depthwise::{Depthwise, Strip, Window, strip};
use crate::epilogue::{Epilogue, Quant};
use crate::lanes::lanes;
use crate::product::{F32Panels, I8Panels, Rows, product_f32, product_u8};

/// Numbers that repeat nowhere soon, from -1 to 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
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

fn weights(n: usize, seed: u32) -> Vec<i8> {
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

    /// Integers are exact, up to the longest rows and the largest codes.
    #[test]
    fn products_of_codes_are_exact(m in 1usize..20, k4 in 1usize..300, n in 1usize..40, zero: u8, most: bool, seed: u32) {
        let k = 4 * k4;
        let a = if most { vec![255; m * k] } else { codes(m * k, seed) };
        let b = if most { vec![-128; k * n] } else { weights(k * n, seed ^ 1) };
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
        let epilogue = Epilogue::default();
        // In strips of two rows, the last of one: each finds its own rows of the input.
        let row = output[1] * channels;
        for cpu in Cpu::supported() {
            let mut out = vec![f32::NAN; output[0] * row];
            let mut scratch = Vec::new();
            for (i, out) in out.chunks_mut(2 * row).enumerate() {
                let (depthwise, first, epilogue, scratch) = (&depthwise, 2 * i, &epilogue, &mut scratch);
                if coded {
                    strip(cpu, Strip::<u8, f32> { depthwise, input: &integers, first, residual: &[], epilogue, scratch }, out);
                } else {
                    strip(cpu, Strip::<f32, f32> { depthwise, input: &reals, first, residual: &[], epilogue, scratch }, out);
                }
            }
            near(&out, &want, if coded { 255.0 * taps as f64 } else { taps as f64 });
        }
    }

    /// Every step of the epilogue, alone and together, against the same in f64.
    #[test]
    fn an_epilogue_does_its_steps_in_order(
        n in 1usize..40,
        factor: bool,
        steps: bool,
        residual: bool,
        clip: bool,
        coded: bool,
        seed: u32,
    ) {
        let m = 7;
        let sums = noise(m * n, seed);
        let factors = noise(n, seed ^ 1);
        let others = codes(m * n, seed ^ 2);
        let code = Quant { scale: 0.02, zero: 100 };
        let out_code = Quant { scale: 0.03, zero: 77 };
        let epilogue = Epilogue {
            factor: factor.then(|| lanes(&factors)),
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

#[test]
fn numbers_that_are_none_become_the_least_code() {
    let quant = Quant {
        scale: 0.1,
        zero: 10,
    };
    assert_eq!(quant.quantize(f32::NAN), 0);
    assert_eq!(quant.quantize(f32::INFINITY), 255);
    assert_eq!(quant.quantize(f32::NEG_INFINITY), 0);
    assert_eq!(quant.quantize(0.25), 12, "half to even");
    assert_eq!(quant.quantize(0.35), 14);
}

/// Each dot product has its own test above; this tells which were tested here.
#[test]
fn the_best_supported_is_picked() {
    let supported = Cpu::supported();
    println!("tested: {supported:?}");
    assert_eq!(Cpu::choose(None).as_ref(), Ok(supported.last().unwrap()));
    for cpu in &supported {
        assert_eq!(Cpu::choose(Some(&cpu.to_string())).as_ref(), Ok(cpu));
    }
    let refused = Cpu::choose(Some("abacus")).unwrap_err();
    assert!(refused.contains("abacus") && refused.contains(&supported[0].to_string()));
    assert_eq!(supported[0].dot, Dot::Float);
}
