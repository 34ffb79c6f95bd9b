//! What happens to a sum of products before it is stored.
#![allow(unsafe_code, reason = "threads write elements that lie side by side")]

use std::marker::PhantomData;

use super::cpu::{Simd, compiled_for_each};
use super::lanes::{LANES, Lanes, multiply_add};
use super::vector::Reals;

/// An affine u8 code: `real = (code - zero) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quant {
    /// Real value of one step.
    pub(crate) scale: f32,
    /// Code of the real 0.
    pub(crate) zero: u8,
}

/// 1.5 * 2^23: adding it to a small number and taking it away rounds to even, in vectors and without
/// a library.
pub(crate) const MAGIC: f32 = 12_582_912.0;

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

    /// Codes of steps.
    #[inline(always)]
    pub(crate) fn codes(self, steps: &[f32; LANES]) -> [u8; LANES] {
        #[cfg(target_arch = "aarch64")]
        return super::arm::codes(steps, self.zero);
        #[cfg(not(target_arch = "aarch64"))]
        {
            let mut codes = [0; LANES];
            for lane in 0..LANES {
                codes[lane] = self.code(steps[lane]);
            }
            codes
        }
    }

    /// The real value of a code.
    #[inline(always)]
    pub(crate) fn real(self, code: u8) -> f32 {
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
    /// Whether elements are codes.
    const CODED: bool;
    /// The real value.
    fn real(self, quant: Option<Quant>) -> f32;
    /// Store a real value. An f32 that has a code becomes steps from its zero.
    fn store<const FMA: bool>(real: f32, quant: Option<Quant>) -> Self;
    /// Store steps of `quant`.
    fn store_steps(steps: f32, quant: Quant) -> Self;
    /// Store sixteen real values.
    #[inline(always)]
    fn store_row<const FMA: bool>(reals: &[f32; LANES], quant: Option<Quant>) -> [Self; LANES] {
        let mut stored = [Self::default(); LANES];
        for lane in 0..LANES {
            stored[lane] = Self::store::<FMA>(reals[lane], quant);
        }
        stored
    }
    /// Store sixteen times steps of `quant`.
    #[inline(always)]
    fn store_steps_row(steps: &[f32; LANES], quant: Quant) -> [Self; LANES] {
        let mut stored = [Self::default(); LANES];
        for lane in 0..LANES {
            stored[lane] = Self::store_steps(steps[lane], quant);
        }
        stored
    }
    /// Elements that are reals as they lie there.
    fn reals(_: &[Self]) -> Option<&[f32]> {
        None
    }
    /// Elements that are codes.
    #[cfg(target_arch = "aarch64")]
    fn codes(_: &[Self]) -> Option<&[u8]> {
        None
    }
}

impl Element for f32 {
    const CODED: bool = false;
    fn reals(elements: &[Self]) -> Option<&[f32]> {
        Some(elements)
    }
    #[inline(always)]
    fn real(self, _: Option<Quant>) -> f32 {
        self
    }
    #[inline(always)]
    fn store<const FMA: bool>(real: f32, quant: Option<Quant>) -> Self {
        match quant {
            Some(quant) => quant.round(quant.steps::<FMA>(real)),
            None => real,
        }
    }
    #[inline(always)]
    fn store_steps(steps: f32, quant: Quant) -> Self {
        quant.round(steps)
    }
}

impl Element for u8 {
    const CODED: bool = true;
    #[inline(always)]
    fn real(self, quant: Option<Quant>) -> f32 {
        match quant {
            Some(quant) => quant.real(self),
            None => f32::from(self),
        }
    }
    #[inline(always)]
    fn store<const FMA: bool>(real: f32, quant: Option<Quant>) -> Self {
        match quant {
            Some(quant) => quant.quantize::<FMA>(real),
            None => 0,
        }
    }
    #[inline(always)]
    fn store_steps(steps: f32, quant: Quant) -> Self {
        quant.code(steps)
    }
    #[inline(always)]
    fn store_row<const FMA: bool>(reals: &[f32; LANES], quant: Option<Quant>) -> [Self; LANES] {
        let Some(quant) = quant else {
            return [0; LANES];
        };
        let mut steps = [0.0; LANES];
        for lane in 0..LANES {
            steps[lane] = quant.steps::<FMA>(reals[lane]);
        }
        quant.codes(&steps)
    }
    #[inline(always)]
    fn store_steps_row(steps: &[f32; LANES], quant: Quant) -> [Self; LANES] {
        quant.codes(steps)
    }
    #[cfg(target_arch = "aarch64")]
    fn codes(elements: &[Self]) -> Option<&[u8]> {
        Some(elements)
    }
}

/// Output that several threads write, each its own elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sink<'a, O> {
    start: *mut O,
    len: usize,
    owner: PhantomData<&'a mut [O]>,
}

// SAFETY: `put` is the only way to the elements, and whoever calls it sees to it that no two
// threads write the same.
unsafe impl<O: Send> Sync for Sink<'_, O> {}

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

    /// Write the first `count` of `values` from element `at` on, which must fit.
    ///
    /// # Safety
    /// No other thread writes these elements.
    #[inline(always)]
    pub(crate) unsafe fn put(self, at: usize, count: usize, values: &[O; LANES]) {
        let fits = at.checked_add(count).is_some_and(|end| end <= self.len);
        assert!(fits && count <= LANES, "past the output's end");
        // SAFETY: within the elements, which are the caller's alone.
        unsafe {
            let out = self.start.add(at);
            match count {
                LANES => out.cast::<[O; LANES]>().write_unaligned(*values),
                _ => std::ptr::copy_nonoverlapping(values.as_ptr(), out, count),
            }
        }
    }

    /// Write all `values` from element `at` on, which must fit.
    ///
    /// # Safety
    /// No other thread writes these elements.
    pub(crate) unsafe fn put_row(self, at: usize, values: &[O]) {
        let end = at.checked_add(values.len());
        assert!(
            end.is_some_and(|end| end <= self.len),
            "past the output's end"
        );
        // SAFETY: within the elements, which are the caller's alone.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len());
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
    /// The code of what is stored: as u8, or as f32 steps from its zero.
    pub(crate) out: Option<Quant>,
}

/// Where sums are stored: rows of sixteen channels or fewer.
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
    /// End rows of sums, and store them: `residual`, when something is added, lies as `out` does.
    ///
    /// # Safety
    /// No other thread writes these rows.
    pub(crate) unsafe fn store<R: Element, O: Element>(
        &self,
        simd: Simd,
        sums: &[Lanes<f32>],
        place: Place,
        residual: &[R],
        out: Sink<'_, O>,
    ) {
        finish(simd, self, sums, place, residual, out);
    }

    /// The limits, when that is all there is.
    pub(crate) fn limits(&self) -> Option<(f32, f32)> {
        let alone = matches!(self.kind(), kind::BARE | kind::CLIPPED);
        alone.then(|| self.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY)))
    }

    /// Factors and the code whose steps are stored, when that is all there is.
    pub(crate) fn stepped(&self) -> Option<(&[Lanes<f32>], Quant)> {
        let alone = self.kind() == kind::CODED;
        self.factor.as_deref().zip(self.steps).filter(|_| alone)
    }

    /// What the inner loops for these steps are compiled for.
    fn kind(&self) -> u8 {
        let Self {
            factor,
            bias,
            steps,
            residual,
            clip,
            gelu,
            out,
        } = self;
        let added = residual.is_some();
        let real = steps.is_none() && out.is_none() && !matches!(residual, Some(Some(_)));
        match (factor.is_some(), bias.is_some(), *gelu) {
            (false, false, false) if real && added => kind::ADDED,
            (false, false, false) if real && clip.is_some() => kind::CLIPPED,
            (false, false, false) if real => kind::BARE,
            (false, false, true) if real && !added && clip.is_none() => kind::GELU,
            (_, _, false) if real => kind::SCALED,
            (_, _, true) if real && !added && clip.is_none() => kind::SCALED_GELU,
            (true, false, false) if !added && clip.is_none() && out.is_some() && out == steps => {
                kind::CODED
            }
            (true, false, false)
                if matches!(residual, Some(Some(_))) && steps.is_some() && out.is_some() =>
            {
                kind::CODED_ADDED
            }
            _ => kind::ANY,
        }
    }

    #[inline(always)]
    fn rows<const KIND: u8, const FMA: bool, R: Element, O: Element>(
        &self,
        sums: &[Lanes<f32>],
        place: Place,
        residual: &[R],
        out: Sink<'_, O>,
    ) {
        let mut factor = [1.0; LANES];
        if let Some(found) = self
            .factor
            .as_ref()
            .and_then(|f| f.get(place.column / LANES))
        {
            factor = found.0;
        }
        // Nothing changes when -0 is added to it.
        let mut bias = [-0.0; LANES];
        if let Some(found) = self.bias.as_ref().and_then(|b| b.get(place.column / LANES)) {
            bias = found.0;
        }
        // What this kind has, so that the loops over rows don't ask for it.
        let there = |code: Option<Quant>| match KIND {
            kind::CODED_ADDED => Some(code.unwrap_or(Quant {
                scale: 1.0,
                zero: 0,
            })),
            _ => code,
        };
        // A copy, which stores to the output can't change: what rows share is made once for all.
        let fixed = Fixed {
            steps: there(self.steps),
            residual: match KIND {
                kind::CODED_ADDED => Some(there(self.residual.flatten())),
                _ => self.residual,
            },
            clip: self.clip,
            gelu: self.gelu,
            out: there(self.out),
        };
        let added = match KIND {
            kind::ADDED | kind::SCALED | kind::ANY => self.residual.is_some(),
            _ => KIND == kind::CODED_ADDED,
        };
        const HALF: usize = LANES / 2;
        // One check for all rows.
        let end = (sums.len().saturating_sub(1).checked_mul(place.stride))
            .and_then(|last| last.checked_add(place.start)?.checked_add(place.columns));
        assert!(
            place.columns <= LANES
                && end.is_some_and(|end| end <= out.len && (!added || end <= residual.len())),
            "past the end of the output, or of what is added"
        );
        // SAFETY: as was checked; the caller of `store` vouches for the rows.
        unsafe {
            let (from, to) = (
                residual.as_ptr().wrapping_add(place.start),
                out.start.add(place.start),
            );
            match place.columns {
                // Without a call, so that what rows share stays in registers.
                LANES => {
                    for (m, sums) in sums.iter().enumerate() {
                        let at = m * place.stride;
                        let mut other = [R::default(); LANES];
                        if added {
                            other = from.add(at).cast::<[R; LANES]>().read_unaligned();
                        }
                        let values = fixed.row::<KIND, FMA, R, O>(sums.0, &factor, &bias, &other);
                        to.add(at).cast::<[O; LANES]>().write_unaligned(values);
                    }
                }
                // Half a group, as many networks have it, without a call either.
                HALF => {
                    for (m, sums) in sums.iter().enumerate() {
                        let at = m * place.stride;
                        let mut other = [R::default(); LANES];
                        if added {
                            let from = from.add(at).cast::<[R; HALF]>().read_unaligned();
                            other[..HALF].copy_from_slice(&from);
                        }
                        let values = fixed.row::<KIND, FMA, R, O>(sums.0, &factor, &bias, &other);
                        let values = *values.first_chunk::<HALF>().unwrap_unchecked();
                        to.add(at).cast::<[O; HALF]>().write_unaligned(values);
                    }
                }
                count => {
                    for (m, sums) in sums.iter().enumerate() {
                        let at = m * place.stride;
                        let mut other = [R::default(); LANES];
                        if added {
                            std::ptr::copy_nonoverlapping(from.add(at), other.as_mut_ptr(), count);
                        }
                        let values = fixed.row::<KIND, FMA, R, O>(sums.0, &factor, &bias, &other);
                        std::ptr::copy_nonoverlapping(values.as_ptr(), to.add(at), count);
                    }
                }
            }
        }
    }
}

compiled_for_each! {
    fn finish<R: Element, O: Element>(
        epilogue: &Epilogue,
        sums: &[Lanes<f32>],
        place: Place,
        residual: &[R],
        out: Sink<'_, O>,
    ) = finish_body
}

/// Pairs of elements and steps that networks have are compiled on their own.
#[inline(always)]
fn finish_body<V: Reals, const FMA: bool, R: Element, O: Element>(
    epilogue: &Epilogue,
    sums: &[Lanes<f32>],
    place: Place,
    residual: &[R],
    out: Sink<'_, O>,
) {
    macro_rules! rows {
        ($($kind:ident),+) => {
            match epilogue.kind() {
                $(kind::$kind => epilogue
                    .rows::<{ kind::$kind }, FMA, R, O>(sums, place, residual, out),)+
                _ => epilogue.rows::<{ kind::ANY }, FMA, R, O>(sums, place, residual, out),
            }
        };
    }
    if O::CODED {
        if R::CODED {
            rows!(CODED, CODED_ADDED)
        } else {
            rows!(CODED)
        }
    } else if R::CODED {
        epilogue.rows::<{ kind::ANY }, FMA, R, O>(sums, place, residual, out);
    } else {
        rows!(BARE, CLIPPED, GELU, ADDED, SCALED, SCALED_GELU, CODED)
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
        other: &[R; LANES],
    ) -> [O; LANES] {
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
            return O::store_steps_row(&v, steps);
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
                v[lane] = clip(v[lane], low, high);
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
        O::store_row::<FMA>(&v, out)
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
    let above = polynomial::<FMA, 7>(above, z2);
    let below = polynomial::<FMA, 5>(below, z2);
    let half = 0.5 * x;
    multiply_add::<FMA>(half, z * above / below, half)
}

/// The polynomial of `x` whose terms these are, the highest first.
#[inline(always)]
pub(crate) fn polynomial<const FMA: bool, const N: usize>(terms: [f32; N], x: f32) -> f32 {
    let mut sum = terms[0];
    for i in 1..N {
        sum = multiply_add::<FMA>(sum, x, terms[i]);
    }
    sum
}

/// As `clamp`, by one instruction each for the two limits: NaN stays.
#[inline(always)]
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if low > x { low } else { x };
    if high < x { high } else { x }
}

/// As `clamp`, but NaN becomes `low`: what one instruction each for the two limits gives.
#[inline(always)]
fn within(x: f32, low: f32, high: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        // These are the instructions there.
        return x.max(low).min(high);
    }
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
