//! Operators of tract's graph. Activations are [1, h, w, channels], f32 or u8 codes.

pub(crate) mod attention;
pub(crate) mod axes;
pub(crate) mod contract;
pub(crate) mod dynamic;
pub(crate) mod norm;
pub(crate) mod recode;
pub(crate) mod view;

use std::cell::RefCell;
use std::sync::Arc;

use rayon::prelude::*;
use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::depthwise::{Depthwise, Expansion, Map, Source, Strip, Window, strip};
use crate::kernel::epilogue::{Element, Epilogue, Place, Quant, Sink, copy};
use crate::kernel::lanes::{LANES, Lanes, flat};
use crate::kernel::product::{F32Panels, I8Panels, Rows, product_f32, product_u8};

/// Run `work(index, block)` on blocks of `len` elements, beside each other where the caller runs
/// in a pool of threads.
pub(crate) fn for_blocks<O: Send>(
    out: &mut [O],
    len: usize,
    work: impl Fn(usize, &mut [O]) + Sync,
) {
    if threads() > 1 && out.len() > len {
        out.par_chunks_mut(len)
            .enumerate()
            .for_each(|(i, block)| work(i, block));
    } else {
        for (i, block) in out.chunks_mut(len).enumerate() {
            work(i, block);
        }
    }
}

/// Run `work(index)` for every index below `count`, beside each other as [`for_blocks`] does.
pub(crate) fn for_each(count: usize, work: impl Fn(usize) + Send + Sync) {
    if threads() > 1 {
        (0..count).into_par_iter().for_each(work);
    } else {
        (0..count).for_each(work);
    }
}

/// Threads of the pool that this runs in, 1 outside of any.
pub(crate) fn threads() -> usize {
    rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads())
}

/// How many of `rows` make a block: bytes of a row that it reads fill half a common L2 cache at
/// most, and every thread gets its share.
pub(crate) fn block_rows(rows: usize, bytes: usize) -> usize {
    const CACHE: usize = 256 << 10;
    let share = match threads() {
        1 => rows,
        threads => rows.div_ceil(2 * threads),
    };
    share
        .min((CACHE / bytes.max(1)).max(24))
        .next_multiple_of(12)
}

thread_local! {
    pub(crate) static CODES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static REALS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static PADDED: RefCell<Vec<Lanes<f32>>> = const { RefCell::new(Vec::new()) };
}

/// The weights of a [`Convolution`], ready for the kernels.
#[derive(Debug)]
pub(crate) enum Kernel {
    F32(F32Panels),
    U8(I8Panels),
    Depthwise(Depthwise),
}

/// A convolution over NHWC, dense or depthwise, with all that follows it up to what is stored.
#[derive(Debug)]
pub(crate) struct ConvolutionPlan {
    pub(crate) cpu: Cpu,
    /// `channels` are the input's.
    pub(crate) window: Window,
    pub(crate) out_channels: usize,
    /// Length of a row of a dense kernel, filled up for the int8 kernels.
    pub(crate) depth: usize,
    /// The code of 0 in the input; what padding is.
    pub(crate) zero: u8,
    pub(crate) kernel: Kernel,
    pub(crate) epilogue: Epilogue,
}

/// See [`ConvolutionPlan`]. Inputs: the activation, and what is added if anything is.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    pub(crate) plan: Arc<ConvolutionPlan>,
    /// A convolution of single pixels whose output is this one's input, computed as it is read.
    expansion: Option<Arc<ConvolutionPlan>>,
}

impl From<ConvolutionPlan> for Convolution {
    fn from(plan: ConvolutionPlan) -> Self {
        Self {
            plan: Arc::new(plan),
            expansion: None,
        }
    }
}

impl PartialEq for Convolution {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b)| Arc::ptr_eq(a, b);
        Arc::ptr_eq(&self.plan, &other.plan)
            && self.expansion.is_some() == other.expansion.is_some()
            && self.expansion.iter().zip(&other.expansion).all(same)
    }
}

impl Eq for Convolution {}

impl ConvolutionPlan {
    fn out_shape(&self) -> [usize; 4] {
        let [h, w] = self.window.output;
        [1, h, w, self.out_channels]
    }

    /// Multiply-adds of a run.
    fn products(&self) -> usize {
        let outputs: usize = self.out_shape().iter().product();
        outputs
            * match &self.kernel {
                Kernel::Depthwise(_) => self.window.kernel.iter().product(),
                _ => self.depth,
            }
    }

    /// Whether this can compute what `before` stores as it reads it.
    fn expands(&self, before: &Self) -> bool {
        matches!(self.kernel, Kernel::Depthwise(_))
            && !matches!(before.kernel, Kernel::Depthwise(_))
            && before.direct()
            && self.epilogue.residual.is_none()
            && before.epilogue.residual.is_none()
            && before.epilogue.out.map_or(0, |code| code.zero) == self.zero
    }

    /// Whether a row of the product is a pixel of the input as it lies there.
    fn direct(&self) -> bool {
        self.window.kernel == [1, 1]
            && self.window.stride == [1, 1]
            && self.window.input == self.window.output
            && self.depth == self.window.channels
    }

    fn run<R: Element, O: Element>(
        &self,
        input: &Tensor,
        residual: &[R],
        out: &mut [O],
    ) -> TractResult<()> {
        match &self.kernel {
            Kernel::F32(panels) => {
                let input = slice::<f32>(input)?;
                self.dense(input, residual, out, &REALS, |rows, out| {
                    product_f32(self.cpu, panels, &rows, out);
                });
            }
            Kernel::U8(panels) => {
                let input = slice::<u8>(input)?;
                self.dense(input, residual, out, &CODES, |rows, out| {
                    product_u8(self.cpu, panels, &rows, out);
                });
            }
            Kernel::Depthwise(Depthwise { zero, .. }) => match input.datum_type() {
                DatumType::U8 => self.depthwise(*zero, slice::<u8>(input)?, residual, out),
                _ => self.depthwise(*zero, slice::<f32>(input)?, residual, out),
            },
        }
        Ok(())
    }

    fn dense<T: Element, R: Element, O: Element>(
        &self,
        input: &[T],
        residual: &[R],
        out: &mut [O],
        scratch: &'static std::thread::LocalKey<RefCell<Vec<T>>>,
        product: impl Fn(Rows<'_, T, R>, &mut [O]) + Sync,
    ) {
        let width = self.out_channels;
        let block = block_rows(out.len() / width, self.depth.min(512) * size_of::<T>());
        let padding = T::store_steps(
            0.0,
            Quant {
                scale: 1.0,
                zero: self.zero,
            },
        );
        for_blocks(out, block * width, |index, out| {
            let first = index * block;
            let residual = residual.get(first * width..).unwrap_or_default();
            let residual = residual.get(..out.len()).unwrap_or_default();
            let epilogue = &self.epilogue;
            if self.direct() {
                let rows = input.get(first * self.depth..).unwrap_or_default();
                product(
                    Rows {
                        rows,
                        residual,
                        epilogue,
                    },
                    out,
                );
                return;
            }
            let count = out.len() / width;
            scratch.with_borrow_mut(|rows| {
                // What is written too much of a row, the next one overwrites.
                rows.resize(count * self.depth + LANES, T::default());
                for i in 0..count {
                    let row = rows.get_mut(i * self.depth..).unwrap_or_default();
                    self.gather(input, first + i, padding, row);
                }
                product(
                    Rows {
                        rows,
                        residual,
                        epilogue,
                    },
                    out,
                );
            });
        });
    }

    /// The window of output pixel `pixel`, tap by tap, at the start of `row`.
    fn gather<T: Copy>(&self, input: &[T], pixel: usize, padding: T, row: &mut [T]) {
        let Window {
            channels,
            input: [height, width],
            output,
            kernel,
            stride,
            before,
        } = self.window;
        let (oy, ox) = (pixel / output[1] * stride[0], pixel % output[1] * stride[1]);
        // Columns of the window that lie in the input: the same for all its rows.
        let first = before[1].saturating_sub(ox).min(kernel[1]);
        let last = (width + before[1])
            .saturating_sub(ox)
            .clamp(first, kernel[1]);
        let line = kernel[1] * channels;
        for ky in 0..kernel[0] {
            let row = row.get_mut(ky * line..).unwrap_or_default();
            let y = (oy + ky).wrapping_sub(before[0]);
            let start = (y
                .wrapping_mul(width)
                .wrapping_add(ox + first)
                .wrapping_sub(before[1]))
            .wrapping_mul(channels);
            let inside = (last - first) * channels;
            let source = input
                .get(start..)
                .filter(|s| y < height && inside <= s.len());
            match source {
                Some(source) if inside == line => copy_short(source, row, line),
                Some(source) => {
                    row.iter_mut().take(line).for_each(|t| *t = padding);
                    let row = row.get_mut(first * channels..).unwrap_or_default();
                    row.iter_mut()
                        .zip(source)
                        .take(inside)
                        .for_each(|(t, s)| *t = *s);
                }
                None => row.iter_mut().take(line).for_each(|t| *t = padding),
            }
        }
    }

    /// Rows of the output and groups of channels, so cut that what a strip reads (`bytes` for each
    /// row of the input) stays in a common L2 cache and that every thread gets its share.
    fn strips<R: Element, O: Element, S: Source>(
        &self,
        bytes: usize,
        residual: &[R],
        out: &mut [O],
        source: impl Fn() -> S + Send + Sync,
    ) {
        const CACHE: usize = 256 << 10;
        let Kernel::Depthwise(depthwise) = &self.kernel else {
            return;
        };
        let height = self.window.output[0];
        let rows = (CACHE / (bytes * self.window.stride[0]).max(1)).clamp(2, height.max(2));
        let strips = height.div_ceil(rows);
        // Even strips: the last is no stub.
        let rows = height.div_ceil(strips);
        let blocks = self.window.channels.div_ceil(LANES);
        let groups = match threads() {
            1 => 1,
            threads => (4 * threads).div_ceil(strips).min(blocks),
        };
        let sink = Sink::new(out);
        for_each(strips * groups, |index| {
            let (line, group) = (index / groups, index % groups);
            PADDED.with_borrow_mut(|scratch| {
                let part = Strip {
                    depthwise,
                    rows: (line * rows).min(height)..((line + 1) * rows).min(height),
                    blocks: blocks * group / groups..blocks * (group + 1) / groups,
                    residual,
                    epilogue: &self.epilogue,
                    scratch,
                    out: sink,
                };
                #[allow(unsafe_code, reason = "strips share the output")]
                // SAFETY: no two strips are of the same rows and channels.
                unsafe {
                    strip(self.cpu, part, &mut source());
                }
            });
        });
    }

    fn depthwise<T: Element, R: Element, O: Element>(
        &self,
        zero: f32,
        input: &[T],
        residual: &[R],
        out: &mut [O],
    ) {
        let bytes = self.window.input[1] * self.window.channels * size_of::<T>();
        self.strips(bytes, residual, out, || Map { input, zero });
    }

    /// The depthwise convolution of what `expansion` makes of `input`, which is never whole in
    /// memory.
    fn expanded<O: Element>(
        &self,
        expansion: &Self,
        input: &Tensor,
        out: &mut [O],
    ) -> TractResult<()> {
        let Kernel::Depthwise(depthwise) = &self.kernel else {
            bail!("not a depthwise convolution");
        };
        let bytes = depthwise.padded_width() * size_of::<Lanes<f32>>();
        let epilogue = &expansion.epilogue;
        let none = &[] as &[f32];
        match &expansion.kernel {
            Kernel::F32(panels) => {
                let input = slice::<f32>(input)?;
                let source = || Expansion::of_f32(input, panels, epilogue);
                self.strips(bytes, none, out, source);
            }
            Kernel::U8(panels) => {
                let input = slice::<u8>(input)?;
                let source = || Expansion::of_u8(input, panels, epilogue);
                self.strips(bytes, none, out, source);
            }
            Kernel::Depthwise(_) => bail!("a depthwise convolution does not expand"),
        }
        Ok(())
    }
}

/// The first `len` elements, and some more where that is quicker.
fn copy_short<T: Copy>(from: &[T], to: &mut [T], len: usize) {
    match (from.first_chunk::<LANES>(), to.first_chunk_mut::<LANES>()) {
        (Some(from), Some(to)) if len <= LANES => *to = *from,
        _ => to.iter_mut().zip(from).take(len).for_each(|(t, f)| *t = *f),
    }
}

/// An activation's elements.
pub(crate) fn slice<T: Datum>(tensor: &Tensor) -> TractResult<&[T]> {
    tensor.try_as_plain_ram()?.as_slice::<T>()
}

/// A tensor that `fill` writes whole.
pub(crate) fn filled<O: Datum + Element>(
    shape: &[usize],
    fill: impl FnOnce(&mut [O]) -> TractResult<()>,
) -> TractResult<TValue> {
    #[allow(
        unsafe_code,
        reason = "clearing what is then written whole costs a pass over it"
    )]
    // SAFETY: every operator here writes all elements, or fails, before anything reads one.
    let mut out = unsafe { Tensor::uninitialized::<O>(shape)? };
    if out.len() > 0 {
        fill(out.try_as_plain_ram_mut()?.as_slice_mut::<O>()?)?;
    }
    Ok(out.into_tvalue())
}

impl Op for Convolution {
    fn name(&self) -> StaticName {
        match (&self.plan.kernel, &self.expansion) {
            (Kernel::F32(_), _) => "Convolution.f32".into(),
            (Kernel::U8(_), _) => "Convolution.u8".into(),
            (Kernel::Depthwise(_), None) => "Depthwise".into(),
            (Kernel::Depthwise(_), Some(_)) => "ExpandDepthwise".into(),
        }
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let plans = self.expansion.iter().chain([&self.plan]);
        let line = |plan: &Arc<ConvolutionPlan>| {
            let ConvolutionPlan { cpu, window, .. } = &**plan;
            format!("{cpu} {window:?} to {} channels", plan.out_channels)
        };
        Ok(plans.map(line).collect())
    }

    op_as_typed_op!();
}

impl EvalOp for Convolution {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = &self.plan;
        let input = &inputs[0];
        let shape = plan.out_shape();
        if let Some(expansion) = &self.expansion {
            return Ok(tvec!(match plan.epilogue.out {
                Some(_) => filled::<u8>(&shape, |out| plan.expanded(expansion, input, out))?,
                None => filled::<f32>(&shape, |out| plan.expanded(expansion, input, out))?,
            }));
        }
        let other = inputs.get(1);
        let coded = other.is_some_and(|o| o.datum_type() == DatumType::U8);
        let out = match (plan.epilogue.out.is_some(), other) {
            (true, None) => filled(&shape, |out| plan.run::<u8, u8>(input, &[], out))?,
            (false, None) => filled(&shape, |out| plan.run::<f32, f32>(input, &[], out))?,
            (true, Some(o)) if coded => {
                filled(&shape, |out| plan.run::<u8, u8>(input, slice(o)?, out))?
            }
            (true, Some(o)) => filled(&shape, |out| plan.run::<f32, u8>(input, slice(o)?, out))?,
            (false, Some(o)) if coded => {
                filled(&shape, |out| plan.run::<u8, f32>(input, slice(o)?, out))?
            }
            (false, Some(o)) => filled(&shape, |out| plan.run::<f32, f32>(input, slice(o)?, out))?,
        };
        Ok(tvec!(out))
    }
}

/// The type of what an epilogue stores.
fn stored(epilogue: &Epilogue) -> DatumType {
    if epilogue.out.is_some() {
        DatumType::U8
    } else {
        DatumType::F32
    }
}

impl TypedOp for Convolution {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(
            stored(&self.plan.epilogue).fact(self.plan.out_shape())
        ))
    }

    fn cost(&self, _: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let plans = self.expansion.iter().chain([&self.plan]);
        let products: usize = plans.map(|plan| plan.products()).sum();
        Ok(tvec!((Cost::FMA(f32::datum_type()), products.to_dim())))
    }

    /// A depthwise convolution takes in the convolution of single pixels before it, so that what
    /// lies between, the largest activations of many networks, is never written to memory.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        let from = node.inputs[0];
        let before = model.node(from.node);
        let Some(expansion) = before.op_as::<Self>() else {
            return Ok(None);
        };
        let alone = model.outlet_successors(from).len() == 1 && !model.outputs.contains(&from);
        if !alone || !self.plan.expands(&expansion.plan) || self.expansion.is_some() {
            return Ok(None);
        }
        let op = Self {
            plan: self.plan.clone(),
            expansion: Some(expansion.plan.clone()),
        };
        let mut patch = TypedModelPatch::default();
        let input = patch.tap_model(model, before.inputs[0])?;
        let outlet = patch.wire_node(&node.name, op, &[input])?[0];
        patch.shunt_outside(model, node.id.into(), outlet)?;
        Ok(Some(patch))
    }

    as_op!();
}

/// Where a dimension of a product's output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A dimension of the first input.
    First(usize),
    /// A dimension of the second input, which may be the weights.
    Second(usize),
    One,
}

impl Extent {
    pub(crate) fn of<D: Clone + From<usize>>(self, first: &[D], second: &[D]) -> D {
        let found = match self {
            Self::First(axis) => first.get(axis),
            Self::Second(axis) => second.get(axis),
            Self::One => None,
        };
        found.cloned().unwrap_or_else(|| 1.into())
    }
}

/// The output's dimensions, from the letters of the two inputs and the output; `None` when one that is not 1 comes from nowhere.
pub(crate) fn extents([first, second, out]: [&[char]; 3], output: &[TDim]) -> Option<Vec<Extent>> {
    let extent = |(letter, size): (&char, &TDim)| {
        let at = |of: &[char]| of.iter().position(|l| l == letter);
        match (*size == 1.to_dim(), at(first), at(second)) {
            (true, _, _) => Some(Extent::One),
            (_, Some(axis), _) => Some(Extent::First(axis)),
            (_, _, Some(axis)) => Some(Extent::Second(axis)),
            _ => None,
        }
    };
    out.iter().zip(output).map(extent).collect()
}

/// A product with constant weights over the innermost dimensions, with all that follows it.
#[derive(Debug)]
pub(crate) struct ProjectionPlan {
    pub(crate) cpu: Cpu,
    pub(crate) panels: F32Panels,
    pub(crate) epilogue: Epilogue,
    /// Shape of the weights as the graph had them.
    pub(crate) weights: TVec<usize>,
    pub(crate) shape: Vec<Extent>,
}

/// See [`ProjectionPlan`]. Inputs: the activation, and what is added if anything is.
#[derive(Debug, Clone)]
pub(crate) struct Projection(pub(crate) Arc<ProjectionPlan>);

impl PartialEq for Projection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Projection {}

impl ProjectionPlan {
    fn shape<D: Clone + From<usize>>(&self, input: &[D]) -> TVec<D> {
        let weights: TVec<D> = self.weights.iter().map(|d| (*d).into()).collect();
        let extent = |extent: &Extent| extent.of(input, &weights);
        self.shape.iter().map(extent).collect()
    }
}

impl Op for Projection {
    fn name(&self) -> StaticName {
        "Projection".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let ProjectionPlan { cpu, panels, .. } = &*self.0;
        Ok(vec![format!(
            "{cpu} {} to {}",
            panels.depth(),
            panels.width()
        )])
    }

    op_as_typed_op!();
}

impl EvalOp for Projection {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = &*self.0;
        let input = slice::<f32>(&inputs[0])?;
        let added = inputs
            .get(1)
            .map(|r| slice::<f32>(r))
            .transpose()?
            .unwrap_or_default();
        let (depth, width) = (plan.panels.depth(), plan.panels.width());
        let out = filled::<f32>(&plan.shape(inputs[0].shape()), |out| {
            let block = block_rows(out.len() / width, depth.min(512) * size_of::<f32>());
            for_blocks(out, block * width, |index, out| {
                let rows = input.get(index * block * depth..).unwrap_or_default();
                let residual = added.get(index * block * width..).unwrap_or_default();
                let epilogue = &plan.epilogue;
                let rows = Rows {
                    rows,
                    residual,
                    epilogue,
                };
                product_f32(plan.cpu, &plan.panels, &rows, out);
            });
            Ok(())
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for Projection {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(DatumType::F32.fact(self.0.shape(&inputs[0].shape))))
    }

    as_op!();
}

/// The sum of two activations, the second of the same shape or one value a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sum {
    pub(crate) cpu: Cpu,
    /// The first's code, when it is coded.
    pub(crate) code: Option<Quant>,
    pub(crate) epilogue: Epilogue,
}

impl Eq for Sum {}

impl Sum {
    fn run<T: Element, R: Element, O: Element>(
        &self,
        channels: usize,
        a: &[T],
        b: &[R],
        out: &mut [O],
    ) {
        let spread = b.len() == channels;
        let block = block_rows(out.len() / channels, channels * 8) * channels;
        for_blocks(out, block, |index, out| {
            let first = index * block;
            let a = a.get(first..).unwrap_or_default();
            if spread {
                for (out, a) in out.chunks_mut(channels).zip(a.chunks(channels)) {
                    self.add(a, b, out);
                }
            } else {
                self.add(a, b.get(first..).unwrap_or_default(), out);
            }
        });
    }

    /// Element by element.
    fn add<T: Element, R: Element, O: Element>(&self, a: &[T], b: &[R], out: &mut [O]) {
        /// As many as stay in the nearest cache.
        const GROUPS: usize = 32;
        let mut reals = [Lanes([0.0; LANES]); GROUPS];
        let mut done = 0;
        while done < out.len() {
            // What fills no group is one of its own.
            let left = out.len() - done;
            let (columns, groups) = match left / LANES {
                0 => (left, 1),
                groups => (LANES, groups.min(GROUPS)),
            };
            let len = columns * groups;
            let (from, to) = (a.get(done..).unwrap_or_default(), &mut reals[..groups]);
            for (real, x) in flat(to).iter_mut().zip(from) {
                *real = x.real(self.code);
            }
            let place = Place {
                column: 0,
                columns,
                start: done,
                stride: LANES,
            };
            let sink = Sink::new(out);
            #[allow(unsafe_code, reason = "elements that lie side by side")]
            // SAFETY: the output is lent to this alone.
            unsafe {
                self.epilogue.store(self.cpu.simd, to, place, b, sink);
            }
            done += len;
        }
    }
}

impl Op for Sum {
    fn name(&self) -> StaticName {
        "Sum".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Sum {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (a, b) = args_2!(inputs);
        let shape = a.shape().to_vec();
        let channels = shape.last().copied().unwrap_or(1);
        let coded = |t: &Tensor| t.datum_type() == DatumType::U8;
        macro_rules! run {
            ($a:ty, $b:ty, $o:ty) => {
                filled(&shape, |out| {
                    self.run::<$a, $b, $o>(channels, slice(&a)?, slice(&b)?, out);
                    Ok(())
                })?
            };
        }
        let out = match (coded(&a), coded(&b), self.epilogue.out.is_some()) {
            (true, true, true) => run!(u8, u8, u8),
            (true, true, false) => run!(u8, u8, f32),
            (true, false, true) => run!(u8, f32, u8),
            (true, false, false) => run!(u8, f32, f32),
            (false, true, true) => run!(f32, u8, u8),
            (false, true, false) => run!(f32, u8, f32),
            (false, false, true) => run!(f32, f32, u8),
            (false, false, false) => run!(f32, f32, f32),
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Sum {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(stored(&self.epilogue).fact(inputs[0].shape.clone())))
    }

    as_op!();
}

/// Every pixel four times: twice the height and the width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Twice;

impl Twice {
    fn run<T: Element>(&self, shape: &[usize], input: &[T], out: &mut [T]) {
        let [_, _, width, channels] = *shape else {
            return;
        };
        let row = 2 * width * channels;
        for_blocks(out, 16 * row, |index, out| {
            for (y, out) in out.chunks_mut(row).enumerate() {
                let from = (index * 16 + y) / 2 * width * channels;
                let from = input.get(from..).unwrap_or_default();
                for (out, pixel) in out
                    .chunks_exact_mut(2 * channels)
                    .zip(from.chunks_exact(channels))
                {
                    out.chunks_exact_mut(channels)
                        .for_each(|o| o.copy_from_slice(pixel));
                }
            }
        });
    }
}

impl Op for Twice {
    fn name(&self) -> StaticName {
        "Twice".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Twice {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [n, h, w, c] = *input.shape() else {
            bail!("not NHWC")
        };
        let shape = [n, 2 * h, 2 * w, c];
        let out = match input.datum_type() {
            DatumType::U8 => filled::<u8>(&shape, |out| {
                self.run(input.shape(), slice(&input)?, out);
                Ok(())
            })?,
            _ => filled::<f32>(&shape, |out| {
                self.run(input.shape(), slice(&input)?, out);
                Ok(())
            })?,
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Twice {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.clone();
        for axis in [1, 2] {
            let doubled = shape[axis].clone() * 2;
            shape.set(axis, doubled);
        }
        Ok(tvec!(inputs[0].datum_type.fact(shape)))
    }

    as_op!();
}

/// Between [1, channels, h, w] and [1, h, w, channels]; codes become real where `code` says how,
/// and reals become codes where `out` does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Relayout {
    /// To NHWC, else from it.
    pub(crate) to_nhwc: bool,
    pub(crate) code: Option<Quant>,
    pub(crate) out: Option<Quant>,
}

impl Eq for Relayout {}

impl Relayout {
    fn shape(&self, from: &[usize]) -> TractResult<[usize; 4]> {
        let [n, a, b, c] = *from else {
            bail!("rank {}, not 4", from.len())
        };
        Ok(if self.to_nhwc {
            [n, b, c, a]
        } else {
            [n, c, a, b]
        })
    }

    /// A matrix [rows, columns] is turned, in squares of sixteen.
    fn run<T: Element, O: Element>(&self, columns: usize, input: &[T], out: &mut [O]) {
        let rows = input.len() / columns;
        if rows <= FEW {
            return self.interleave(rows, columns, input, out);
        }
        for_blocks(out, LANES * rows, |index, out| {
            let first = index * LANES;
            let width = out.len() / rows;
            for start in (0..rows).step_by(LANES) {
                let mut square = [[O::default(); LANES]; LANES];
                let lines = input.chunks(columns).skip(start).take(LANES);
                for (row, line) in lines.enumerate() {
                    let mut from = [T::default(); LANES];
                    copy(
                        line.get(first..first + width).unwrap_or_default(),
                        &mut from,
                    );
                    for lane in 0..LANES {
                        square[lane][row] = O::store::<false>(from[lane].real(self.code), self.out);
                    }
                }
                for (line, out) in square.iter().zip(out.chunks_mut(rows)) {
                    copy(line, out.get_mut(start..).unwrap_or_default());
                }
            }
        });
    }
}

/// So few channels are interleaved pixel by pixel.
const FEW: usize = 4;

impl Relayout {
    fn interleave<T: Element, O: Element>(
        &self,
        rows: usize,
        columns: usize,
        input: &[T],
        out: &mut [O],
    ) {
        const BLOCK: usize = 64 * LANES;
        for_blocks(out, BLOCK * rows, |index, out| {
            for (i, out) in out.chunks_mut(LANES * rows).enumerate() {
                let first = index * BLOCK + i * LANES;
                for (row, line) in input.chunks_exact(columns).enumerate() {
                    let mut from = [T::default(); LANES];
                    copy(line.get(first..).unwrap_or_default(), &mut from);
                    let stored = from.map(|x| O::store::<false>(x.real(self.code), self.out));
                    let targets = out.iter_mut().skip(row).step_by(rows);
                    targets.zip(stored).for_each(|(t, s)| *t = s);
                }
            }
        });
    }
}

impl Op for Relayout {
    fn name(&self) -> StaticName {
        if self.to_nhwc {
            "ToNHWC".into()
        } else {
            "FromNHWC".into()
        }
    }

    op_as_typed_op!();
}

impl EvalOp for Relayout {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let shape = self.shape(input.shape())?;
        let columns = match self.to_nhwc {
            true => shape[1] * shape[2],
            false => shape[1],
        };
        macro_rules! run {
            ($t:ty, $o:ty) => {
                filled(&shape, |out| {
                    self.run::<$t, $o>(columns, slice(&input)?, out);
                    Ok(())
                })?
            };
        }
        let out = match (input.datum_type(), self.out.is_some(), self.code.is_some()) {
            (DatumType::U8, true, _) => run!(u8, u8),
            (DatumType::U8, false, _) => run!(u8, f32),
            (_, true, _) => run!(f32, u8),
            (_, false, _) => run!(f32, f32),
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Relayout {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[0].shape.as_concrete().context("shape of symbols")?;
        let dtype = if self.out.is_some() {
            DatumType::U8
        } else {
            DatumType::F32
        };
        Ok(tvec!(dtype.fact(self.shape(shape)?)))
    }

    as_op!();
}
