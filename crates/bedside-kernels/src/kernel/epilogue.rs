//! What happens to a sum of products before it is stored.

use std::marker::PhantomData;

use crate::kernel::lanes::{LANES, Lanes, multiply_add};

/// An affine u8 code: `real = (code - zero) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quant {
    /// Real value of one step.
    pub scale: f32,
    /// Code of the real 0.
    pub zero: u8,
}

/// 1.5 * 2^23: adding it to a small number and taking it away rounds to even, in vectors and without
/// a library.
const MAGIC: f32 = 12_582_912.0;

impl Quant {
    /// Steps from zero, rounded half to even, within what the code can say; NaN gives the least.
    #[inline(always)]
    fn round(self, steps: f32) -> f32 {
        let zero = f32::from(self.zero);
        (within(steps, -zero, 255.0 - zero) + MAGIC) - MAGIC
    }

    #[inline(always)]
    fn code(self, steps: f32) -> u8 {
        let zero = f32::from(self.zero);
        // What was rounded stands in the lowest bits.
        let whole = (within(steps, -zero, 255.0 - zero) + MAGIC).to_bits();
        whole.wrapping_add(u32::from(self.zero)) as u8
    }

    /// The real value of a code.
    #[inline(always)]
    pub fn real(self, code: u8) -> f32 {
        (f32::from(code) - f32::from(self.zero)) * self.scale
    }

    /// The code of a real value, as ONNX's QuantizeLinear has it.
    #[inline(always)]
    pub(crate) fn quantize<const FMA: bool>(self, real: f32) -> u8 {
        self.code(self.steps::<FMA>(real))
    }

    /// The quotient of a real value and the scale, correctly rounded where it is no more than a
    /// code can say.
    ///
    /// With fused multiply-adds a product with the reciprocal, and one with what that leaves, take
    /// the place of a division, which takes some 16 cycles for sixteen numbers (Brisebarre, Muller
    /// and Raina, Accelerating correctly rounded floating-point division when the divisor is known
    /// in advance, 2004).
    #[inline(always)]
    fn steps<const FMA: bool>(self, real: f32) -> f32 {
        if !FMA {
            return real / self.scale;
        }
        let inverse = self.scale.recip();
        let near = real * inverse;
        // Infinity leaves no number; what is too much still leaves too much.
        let near = if near < 512.0 { near } else { 512.0 };
        let rest = (-near).mul_add(self.scale, real);
        rest.mul_add(inverse, near)
    }
}

/// An element of an activation: f32, or u8 that a [`Quant`] explains.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// The real value.
    fn real(self, quant: Option<Quant>) -> f32;
    /// Store a real value.
    fn store<const FMA: bool>(real: f32, quant: Option<Quant>) -> Self;
    /// Store steps of `quant`.
    fn store_steps(steps: f32, quant: Quant) -> Self;
    /// Elements that are reals as they lie there.
    fn reals(_: &[Self]) -> Option<&[f32]> {
        None
    }
}

impl Element for f32 {
    fn reals(elements: &[Self]) -> Option<&[f32]> {
        Some(elements)
    }
    #[inline(always)]
    fn real(self, _: Option<Quant>) -> f32 {
        self
    }
    #[inline(always)]
    fn store<const FMA: bool>(real: f32, _: Option<Quant>) -> Self {
        real
    }
    #[inline(always)]
    fn store_steps(steps: f32, quant: Quant) -> Self {
        quant.round(steps) * quant.scale
    }
}

impl Element for u8 {
    #[inline(always)]
    fn real(self, quant: Option<Quant>) -> f32 {
        quant.map_or(f32::from(self), |q| q.real(self))
    }
    #[inline(always)]
    fn store<const FMA: bool>(real: f32, quant: Option<Quant>) -> Self {
        quant.map_or(0, |q| q.quantize::<FMA>(real))
    }
    #[inline(always)]
    fn store_steps(steps: f32, quant: Quant) -> Self {
        quant.code(steps)
    }
}

/// Steps of a code from its zero, as f32: what a window's products are made of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Steps(f32);

impl Element for Steps {
    #[inline(always)]
    fn real(self, quant: Option<Quant>) -> f32 {
        quant.map_or(self.0, |q| self.0 * q.scale)
    }
    #[inline(always)]
    fn store<const FMA: bool>(real: f32, quant: Option<Quant>) -> Self {
        quant.map_or(Self(real), |q| Self(q.round(q.steps::<FMA>(real))))
    }
    #[inline(always)]
    fn store_steps(steps: f32, quant: Quant) -> Self {
        Self(quant.round(steps))
    }
}

/// Output that several threads write, each its own elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sink<'a, O> {
    start: *mut O,
    len: usize,
    owner: PhantomData<&'a mut [O]>,
}

#[allow(unsafe_code, reason = "threads write channels that lie side by side")]
// SAFETY: `put` is the only way to the elements, and whoever calls it sees to it that no two
// threads write the same.
unsafe impl<O: Send> Sync for Sink<'_, O> {}

#[allow(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl<O: Send> Send for Sink<'_, O> {}

impl<'a, O: Copy> Sink<'a, O> {
    pub(crate) fn new(out: &'a mut [O]) -> Self {
        Self {
            start: out.as_mut_ptr(),
            len: out.len(),
            owner: PhantomData,
        }
    }

    /// Write the first `count` of `values` from element `at` on; nothing when they do not fit.
    ///
    /// # Safety
    /// No other thread writes these elements.
    #[inline(always)]
    #[allow(unsafe_code, reason = "as above")]
    pub(crate) unsafe fn put(self, at: usize, count: usize, values: &[O; LANES]) {
        if at.checked_add(count).is_some_and(|end| end <= self.len) {
            // SAFETY: within the elements, which are the caller's alone.
            let out = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), count) };
            copy(values, out);
        }
    }

    /// Write all `values` from element `at` on; nothing when they do not fit.
    ///
    /// # Safety
    /// No other thread writes these elements.
    #[allow(unsafe_code, reason = "as above")]
    pub(crate) unsafe fn put_row(self, at: usize, values: &[O]) {
        let end = at.checked_add(values.len());
        if end.is_some_and(|end| end <= self.len) {
            // SAFETY: within the elements, which are the caller's alone.
            let out = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), values.len()) };
            out.copy_from_slice(values);
        }
    }
}

/// From the sum of products to the stored element, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Epilogue {
    /// Factor of each channel; of integer sums, their scale over [`Self::steps`]' scale.
    pub(crate) factor: Option<Vec<Lanes<f32>>>,
    /// What is added to each channel after its factor.
    pub(crate) bias: Option<Vec<Lanes<f32>>>,
    /// The value is in steps of this code and is rounded to it, as a quantized graph says.
    pub(crate) steps: Option<Quant>,
    /// Another activation of the same shape is added; its code when it is coded.
    pub(crate) residual: Option<Option<Quant>>,
    /// Values are kept within these.
    pub(crate) clip: Option<(f32, f32)>,
    /// Values go through GELU.
    pub(crate) gelu: bool,
    /// The code of what is stored, when it is coded.
    pub(crate) out: Option<Quant>,
}

/// Where a tile is stored: `M` rows of a channel count, sixteen columns or fewer of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// First channel.
    pub(crate) column: usize,
    /// Channels, at most sixteen.
    pub(crate) columns: usize,
    /// Index of the first row's first element.
    pub(crate) start: usize,
    /// Elements from a row to the next.
    pub(crate) stride: usize,
}

/// Which steps an epilogue has: what its inner loops are compiled for.
mod kind {
    /// Sums are stored.
    pub(super) const BARE: u8 = 0;
    /// Sums are kept within limits and stored.
    pub(super) const CLIPPED: u8 = 1;
    /// Sums are multiplied, rounded to steps and stored as their code.
    pub(super) const CODED: u8 = 2;
    /// Sums go through GELU and are stored.
    pub(super) const GELU: u8 = 3;
    /// An f32 activation is added, and the sum kept within limits where there are some.
    pub(super) const ADDED: u8 = 4;
    /// Sums are multiplied and rounded to steps, codes are added, the sum is kept within limits
    /// where there are some, and stored as its code.
    pub(super) const CODED_ADDED: u8 = 5;
    /// Sums are multiplied, and a bias added; then as [`ADDED`] where there is what to add.
    pub(super) const SCALED: u8 = 6;
    /// Sums are multiplied, a bias is added, and they go through GELU.
    pub(super) const SCALED_GELU: u8 = 7;
    /// Any steps.
    pub(super) const ANY: u8 = 8;
}

impl Epilogue {
    /// Finish `M` rows of sums, and store them.
    #[inline(always)]
    pub(crate) fn store<const M: usize, const FMA: bool, R: Element, O: Element>(
        &self,
        sums: &[[f32; LANES]; M],
        place: Place,
        residual: &[R],
        out: &mut [O],
    ) {
        let range = |m: usize| {
            let at = place.start + m * place.stride;
            at..at + place.columns
        };
        let residual = |m| residual.get(range(m)).unwrap_or_default();
        let whole = place.columns == LANES && range(M - 1).end <= out.len();
        self.finish::<M, FMA, R, O>(sums, place.column, residual, |m, values| {
            if whole {
                #[allow(unsafe_code, reason = "one check for all rows of a tile")]
                // SAFETY: the last row ends within `out`, and has sixteen columns.
                unsafe {
                    let at = out.as_mut_ptr().add(place.start + m * place.stride);
                    at.cast::<[O; LANES]>().write_unaligned(values);
                }
            } else if let Some(out) = out.get_mut(range(m)) {
                copy(&values, out);
            }
        });
    }

    /// Finish `M` rows of sums of the channels from `column` on: `residual` gives what is added to
    /// a row, `put` takes the row.
    #[inline(always)]
    pub(crate) fn finish<'r, const M: usize, const FMA: bool, R: Element, O: Element>(
        &self,
        sums: &[[f32; LANES]; M],
        column: usize,
        residual: impl Fn(usize) -> &'r [R],
        put: impl FnMut(usize, [O; LANES]),
    ) {
        let coded = self.steps.is_some() || self.out.is_some();
        let real = !coded && !matches!(self.residual, Some(Some(_)));
        if real && (self.factor.is_some() || self.bias.is_some()) {
            return match (self.gelu, self.residual, self.clip) {
                (false, _, _) => {
                    self.rows::<{ kind::SCALED }, M, FMA, R, O>(sums, column, residual, put)
                }
                (true, None, None) => {
                    self.rows::<{ kind::SCALED_GELU }, M, FMA, R, O>(sums, column, residual, put)
                }
                _ => self.rows::<{ kind::ANY }, M, FMA, R, O>(sums, column, residual, put),
            };
        }
        let simple = self.residual.is_none() && self.out == self.steps && self.bias.is_none();
        if !self.gelu && self.bias.is_none() {
            match (&self.factor, self.steps, self.residual, self.out) {
                (None, None, Some(None), None) => {
                    return self.rows::<{ kind::ADDED }, M, FMA, R, O>(sums, column, residual, put);
                }
                (Some(_), Some(_), Some(Some(_)), Some(_)) => {
                    return self
                        .rows::<{ kind::CODED_ADDED }, M, FMA, R, O>(sums, column, residual, put);
                }
                _ => {}
            }
        }
        match (simple, &self.factor, self.clip, self.gelu, self.out) {
            (true, None, None, false, None) => {
                self.rows::<{ kind::BARE }, M, FMA, R, O>(sums, column, residual, put);
            }
            (true, None, Some(_), false, None) => {
                self.rows::<{ kind::CLIPPED }, M, FMA, R, O>(sums, column, residual, put);
            }
            (true, None, None, true, None) => {
                self.rows::<{ kind::GELU }, M, FMA, R, O>(sums, column, residual, put);
            }
            (true, Some(_), None, false, Some(_)) => {
                self.rows::<{ kind::CODED }, M, FMA, R, O>(sums, column, residual, put);
            }
            _ => self.rows::<{ kind::ANY }, M, FMA, R, O>(sums, column, residual, put),
        }
    }

    #[inline(always)]
    fn rows<'r, const KIND: u8, const M: usize, const FMA: bool, R: Element, O: Element>(
        &self,
        sums: &[[f32; LANES]; M],
        column: usize,
        residual: impl Fn(usize) -> &'r [R],
        mut put: impl FnMut(usize, [O; LANES]),
    ) {
        let of = |values: &Option<Vec<Lanes<f32>>>, absent: f32| {
            let found = values.as_ref().and_then(|v| v.get(column / LANES));
            found.map_or([absent; LANES], |v| v.0)
        };
        let factor = of(&self.factor, 1.0);
        // Nothing changes when -0 is added to it.
        let bias = of(&self.bias, -0.0);
        // A copy, which stores to the output can't change: what rows share is made once for all.
        let fixed = Fixed {
            steps: self.steps,
            residual: self.residual,
            clip: self.clip,
            gelu: self.gelu,
            out: self.out,
        };
        for (m, sums) in sums.iter().enumerate() {
            let residual = match KIND {
                kind::ADDED | kind::CODED_ADDED | kind::SCALED | kind::ANY => residual(m),
                _ => &[],
            };
            put(
                m,
                fixed.row::<KIND, FMA, R, O>(*sums, &factor, &bias, residual),
            );
        }
    }
}

/// What an [`Epilogue`] does alike in all channels.
#[derive(Clone, Copy)]
struct Fixed {
    steps: Option<Quant>,
    residual: Option<Option<Quant>>,
    clip: Option<(f32, f32)>,
    gelu: bool,
    out: Option<Quant>,
}

impl Fixed {
    /// Loops over lanes by index: compilers make vectors of these.
    #[inline(always)]
    fn row<const KIND: u8, const FMA: bool, R: Element, O: Element>(
        self,
        mut v: [f32; LANES],
        factor: &[f32; LANES],
        bias: &[f32; LANES],
        residual: &[R],
    ) -> [O; LANES] {
        let mut stored = [O::default(); LANES];
        let scaled = matches!(KIND, kind::SCALED | kind::SCALED_GELU);
        if scaled || matches!(KIND, kind::CODED | kind::CODED_ADDED | kind::ANY) {
            for lane in 0..LANES {
                v[lane] *= factor[lane];
            }
        }
        if scaled || KIND == kind::ANY {
            for lane in 0..LANES {
                v[lane] += bias[lane];
            }
        }
        if KIND == kind::CODED
            && let Some(steps) = self.steps
        {
            for lane in 0..LANES {
                stored[lane] = O::store_steps(v[lane], steps);
            }
            return stored;
        }
        if matches!(KIND, kind::CODED_ADDED | kind::ANY)
            && let Some(steps) = self.steps
        {
            for lane in 0..LANES {
                v[lane] = steps.round(v[lane]) * steps.scale;
            }
        }
        let real = matches!(KIND, kind::ADDED | kind::SCALED);
        if (real || matches!(KIND, kind::CODED_ADDED | kind::ANY))
            && let Some(quant) = self.residual
        {
            let mut other = [R::default(); LANES];
            copy(residual, &mut other);
            for lane in 0..LANES {
                v[lane] += other[lane].real(if real { None } else { quant });
            }
        }
        if !matches!(
            KIND,
            kind::BARE | kind::CODED | kind::GELU | kind::SCALED_GELU
        ) && let Some((low, high)) = self.clip
        {
            for lane in 0..LANES {
                v[lane] = within(v[lane], low, high);
            }
        }
        if KIND == kind::GELU || KIND == kind::SCALED_GELU || KIND == kind::ANY && self.gelu {
            for lane in 0..LANES {
                v[lane] = gelu::<FMA>(v[lane]);
            }
        }
        let out = match KIND {
            kind::CODED_ADDED | kind::ANY => self.out,
            _ => None,
        };
        for lane in 0..LANES {
            stored[lane] = O::store::<FMA>(v[lane], out);
        }
        stored
    }
}

/// `x * (1 + erf(x / sqrt 2)) / 2`, within some 1e-7 of the largest of |x| and 1.
///
/// erf is a ratio of polynomials in x^2 within 4, past which it is 1 to f32; the coefficients are
/// those that Eigen and TensorFlow use (Eigen/src/Core/MathFunctionsImpl.h).
#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    let z = within(x * std::f32::consts::FRAC_1_SQRT_2, -4.0, 4.0);
    let z2 = z * z;
    let above = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let below = [
        -1.456_607_2e-5,
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ];
    let at = |terms: &[f32]| {
        let mut sum = 0.0;
        for term in terms {
            sum = multiply_add::<FMA>(sum, z2, *term);
        }
        sum
    };
    let half = 0.5 * x;
    multiply_add::<FMA>(half, z * at(&above) / at(&below), half)
}

/// As `clamp`, but NaN becomes `low`: what one instruction each for the two limits gives.
#[inline(always)]
fn within(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// Copy what fits; the common full width without a loop.
#[inline(always)]
pub(crate) fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    if let (Some(from), Some(to)) = (from.first_chunk::<LANES>(), to.first_chunk_mut::<LANES>()) {
        *to = *from;
    } else {
        to.iter_mut().zip(from).for_each(|(t, f)| *t = *f);
    }
}
