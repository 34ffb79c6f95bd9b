//! Products of two activations, the second packed as it comes.
//!
//! Columns of a wide matrix lie so far apart that they drive each other out of the caches; in
//! panels they lie side by side, whatever the layout that they come from.

use std::cell::RefCell;
use std::ops::Range;

use crate::kernel::cpu::Cpu;
use crate::kernel::epilogue::Epilogue;
use crate::kernel::product::{F32Panels, Rows, product_f32};

/// A matrix where it lies in a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// From the first element on.
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Elements from a row to the next, and from a column.
    pub(crate) steps: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Some rows and columns of it.
    pub(crate) fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let start = rows.start * self.steps[0] + columns.start * self.steps[1];
        Self {
            values: self.values.get(start..).unwrap_or_default(),
            rows: rows.len(),
            columns: columns.len(),
            steps: self.steps,
        }
    }

    /// Row after row, without gaps: where it lies, or copied into `scratch`.
    pub(crate) fn gathered<'s>(&self, scratch: &'s mut Vec<f32>) -> &'s [f32]
    where
        'a: 's,
    {
        let [row, column] = self.steps;
        if column == 1 && (row == self.columns || self.rows == 1) {
            return self.values;
        }
        scratch.clear();
        for i in 0..self.rows {
            let from = self.values.get(i * row..).unwrap_or_default();
            match column {
                1 => scratch.extend(from.iter().take(self.columns)),
                _ => scratch.extend(from.iter().step_by(column.max(1)).take(self.columns)),
            }
        }
        scratch
    }
}

#[derive(Default)]
struct Scratch {
    panels: F32Panels,
    rows: Vec<f32>,
    out: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The product of `a` and `b`: `put` takes it in blocks, each from a row on.
///
/// An element is summed in the order of `b`'s rows, whatever else is computed.
pub(crate) fn product(
    cpu: Cpu,
    a: Matrix<'_>,
    b: Matrix<'_>,
    mut put: impl FnMut(usize, &mut [f32]),
) {
    const BLOCK: usize = 48;
    let epilogue = &Epilogue::default();
    SCRATCH.with_borrow_mut(|Scratch { panels, rows, out }| {
        panels.pack(&b);
        for first in (0..a.rows).step_by(BLOCK) {
            let part = a.part(first..(first + BLOCK).min(a.rows), 0..a.columns);
            out.resize(part.rows * b.columns, 0.0);
            let rows = Rows::<f32, f32> {
                rows: part.gathered(rows),
                residual: &[],
                epilogue,
            };
            product_f32(cpu, panels, &rows, out);
            put(first, out);
        }
    });
}
