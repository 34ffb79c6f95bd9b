//! Products of two matrices that are read where they lie.
#![allow(unsafe_code, reason = "inner loops read without bounds checks")]

use super::cpu::compiled_for_each;
use super::epilogue::Sink;
use super::lanes::LANES;
use super::vector::Reals;

/// A loop, and the elements that a step of it passes in the two inputs and the output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loop {
    pub(crate) count: usize,
    pub(crate) steps: [usize; 3],
}

/// The loops of one matrix product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) rows: Loop,
    pub(crate) summed: Loop,
    pub(crate) columns: Loop,
}

/// Some columns of one matrix product.
pub(crate) struct Part<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) out: Sink<'a, f32>,
    pub(crate) out_start: usize,
    pub(crate) columns: std::ops::Range<usize>,
    pub(crate) product: Product,
    pub(crate) factor: f32,
}

impl Part<'_> {
    /// Whether all that the loops reach lies within the inputs.
    fn fits(&self) -> bool {
        let Product {
            rows,
            summed,
            columns,
        } = self.product;
        let end = |of: usize, loops: [Loop; 2]| {
            let last = |l: Loop| l.count.saturating_sub(1) * l.steps.get(of).copied().unwrap_or(0);
            loops.into_iter().map(last).sum::<usize>()
        };
        rows.count > 0
            && summed.count > 0
            && end(0, [rows, summed]) < self.a.len()
            && end(1, [summed, columns]) < self.b.len()
    }
}

compiled_for_each! {
    pub(crate) fn across(part: &Part<'_>) = across_body
}

compiled_for_each! {
    pub(crate) fn dots(part: &Part<'_>) = dots_body
}

/// Sixteen columns side by side, as they lie in the second input.
#[inline(always)]
fn across_body<V: Reals, const FMA: bool>(part: &Part<'_>) {
    assert!(part.fits());
    let mut column = part.columns.start;
    while column < part.columns.end {
        let left = part.columns.end - column;
        // Registers that rows leave free, for more columns.
        if left >= 4 * LANES && part.product.rows.count < 4 {
            across_rows::<V, 4>(part, column, LANES);
            column += 4 * LANES;
        } else if left >= 2 * LANES && V::REGISTERS == 1 {
            across_rows::<V, 2>(part, column, LANES);
            column += 2 * LANES;
        } else {
            across_rows::<V, 1>(part, column, left.min(LANES));
            column += LANES;
        }
    }
}

#[inline(always)]
fn across_rows<V: Reals, const N: usize>(part: &Part<'_>, column: usize, used: usize) {
    let mut row = 0;
    while N < 4 && row + 4 <= part.product.rows.count {
        across_tile::<V, 4, N>(part, row, column, used);
        row += 4;
    }
    while row < part.product.rows.count {
        across_tile::<V, 1, N>(part, row, column, used);
        row += 1;
    }
}

/// `M` rows, `N` groups of sixteen columns, of the last only `used`.
#[inline(always)]
fn across_tile<V: Reals, const M: usize, const N: usize>(
    part: &Part<'_>,
    row: usize,
    column: usize,
    used: usize,
) {
    let Product { rows, summed, .. } = part.product;
    // SAFETY: `fits` has seen that all rows, columns and summed elements are there, and this is
    // compiled for the vectors of `V`.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        let a = part.a.as_ptr().add(row * rows.steps[0]);
        let b = part.b.as_ptr().add(column);
        for k in 0..summed.count {
            let at = column + k * summed.steps[1];
            let b = b.add(k * summed.steps[1]);
            // Of a narrow group, what lies behind it is read too where there is something.
            let mut values = [V::splat(0.0); N];
            if used == LANES || at + LANES <= part.b.len() {
                for n in 0..N {
                    values[n] = V::load(b.add(n * LANES));
                }
            } else {
                values = [V::load(read(b, used).as_ptr()); N];
            }
            for m in 0..M {
                let x = V::splat(*a.add(m * rows.steps[0] + k * summed.steps[0]));
                for n in 0..N {
                    sums[m][n] = x.multiply_add(values[n], sums[m][n]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                let at = part.out_start + (row + m) * rows.steps[2] + column + n * LANES;
                let mut values = [0.0; LANES];
                sums[m][n].store(values.as_mut_ptr());
                for lane in 0..LANES {
                    values[lane] *= part.factor;
                }
                // No other part has these rows and columns.
                part.out.put(at, used, &values);
            }
        }
    }
}

/// Sixteen summed elements side by side, as they lie in both inputs.
#[inline(always)]
fn dots_body<V: Reals, const FMA: bool>(part: &Part<'_>) {
    assert!(part.fits());
    let mut column = part.columns.start;
    while column + 4 <= part.columns.end {
        dots_rows::<V, 4>(part, column);
        column += 4;
    }
    while column < part.columns.end {
        dots_rows::<V, 1>(part, column);
        column += 1;
    }
}

#[inline(always)]
fn dots_rows<V: Reals, const N: usize>(part: &Part<'_>, column: usize) {
    let mut row = 0;
    while row + 2 <= part.product.rows.count {
        dots_tile::<V, 2, N>(part, row, column);
        row += 2;
    }
    while row < part.product.rows.count {
        dots_tile::<V, 1, N>(part, row, column);
        row += 1;
    }
}

#[inline(always)]
fn dots_tile<V: Reals, const M: usize, const N: usize>(part: &Part<'_>, row: usize, column: usize) {
    let Product {
        rows,
        summed,
        columns,
    } = part.product;
    // SAFETY: `fits` has seen that all rows, columns and summed elements are there, and this is
    // compiled for the vectors of `V`.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; M];
        let a = part.a.as_ptr().add(row * rows.steps[0]);
        let b = part.b.as_ptr().add(column * columns.steps[1]);
        // The loop over whole groups asks nothing: compilers keep its sums in registers.
        let whole = summed.count / LANES * LANES;
        for k in (0..whole).step_by(LANES) {
            let mut y = [V::splat(0.0); N];
            for n in 0..N {
                y[n] = V::load(b.add(n * columns.steps[1] + k));
            }
            for m in 0..M {
                let x = V::load(a.add(m * rows.steps[0] + k));
                for n in 0..N {
                    sums[m][n] = x.multiply_add(y[n], sums[m][n]);
                }
            }
        }
        if whole < summed.count {
            let rest = summed.count - whole;
            for m in 0..M {
                let x = V::load(read(a.add(m * rows.steps[0] + whole), rest).as_ptr());
                for n in 0..N {
                    let y = read(b.add(n * columns.steps[1] + whole), rest);
                    sums[m][n] = x.multiply_add(V::load(y.as_ptr()), sums[m][n]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                let mut tree = [0.0; LANES];
                sums[m][n].store(tree.as_mut_ptr());
                let mut half = LANES / 2;
                while half > 0 {
                    for lane in 0..half {
                        tree[lane] += tree[lane + half];
                    }
                    half /= 2;
                }
                let at =
                    part.out_start + (row + m) * rows.steps[2] + (column + n) * columns.steps[2];
                tree[0] *= part.factor;
                // No other part has these rows and columns.
                part.out.put(at, 1, &tree);
            }
        }
    }
}

/// `used` numbers, fewer than sixteen, and zeros.
///
/// # Safety
/// As many are there.
#[inline(always)]
unsafe fn read(from: *const f32, used: usize) -> [f32; LANES] {
    // SAFETY: the caller's.
    unsafe {
        let mut values = [0.0; LANES];
        for (lane, value) in values.iter_mut().take(used).enumerate() {
            *value = *from.add(lane);
        }
        values
    }
}
