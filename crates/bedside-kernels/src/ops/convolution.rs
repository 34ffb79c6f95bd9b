//! Convolutions over NHWC, dense and depthwise.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use tract_core::internal::*;

use crate::kernel::cpu::Cpu;
use crate::kernel::depthwise::{Depthwise, Expansion, Map, Source, Strip, Window, grow, strip};
use crate::kernel::epilogue::{Element, Epilogue, Quant, Sink};
use crate::kernel::lanes::{LANES, Lanes};
use crate::kernel::product::{F32Panels, I8Panels, Rows, product_f32, product_u8};
use crate::ops::dynamic::reader;
use crate::ops::{block_rows, filled, for_blocks, for_each, slice, stored, threads};
use crate::passes::project::is_gelu;

thread_local! {
    static CODES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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
    /// Bytes of a core's own cache.
    pub(crate) cache: usize,
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
    /// A convolution of single pixels whose input is this one's output, computed while that is in
    /// the cache.
    projection: Option<Arc<ConvolutionPlan>>,
}

impl From<ConvolutionPlan> for Convolution {
    fn from(plan: ConvolutionPlan) -> Self {
        Self {
            plan: Arc::new(plan),
            expansion: None,
            projection: None,
        }
    }
}

impl PartialEq for Convolution {
    fn eq(&self, other: &Self) -> bool {
        self.plans()
            .map(Arc::as_ptr)
            .eq(other.plans().map(Arc::as_ptr))
            && self.expansion.is_some() == other.expansion.is_some()
    }
}

impl Eq for Convolution {}

impl Convolution {
    /// In the order in which they are computed.
    fn plans(&self) -> impl Iterator<Item = &Arc<ConvolutionPlan>> {
        let (before, after) = (self.expansion.iter(), self.projection.iter());
        before.chain([&self.plan]).chain(after)
    }

    /// Whose output this stores.
    fn last(&self) -> &ConvolutionPlan {
        self.projection.as_ref().unwrap_or(&self.plan)
    }

    fn run<R: Element, O: Element>(
        &self,
        input: &Tensor,
        residual: &[R],
        out: &mut [O],
    ) -> TractResult<()> {
        match (&self.expansion, &self.projection) {
            (expansion, Some(projection)) => {
                let bands = Bands {
                    depthwise: &self.plan,
                    projection,
                    residual,
                };
                bands.run(expansion.as_deref(), input, out)
            }
            (Some(expansion), None) => self.plan.expanded(expansion, input, out),
            (None, None) => self.plan.run(input, residual, out),
        }
    }
}

impl ConvolutionPlan {
    fn out_shape(&self) -> [usize; 4] {
        let [h, w] = self.window.output;
        [1, h, w, self.out_channels]
    }

    fn in_shape(&self) -> [usize; 4] {
        let [h, w] = self.window.input;
        [1, h, w, self.window.channels]
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

    /// The same with a GELU behind it; for a depthwise kernel that does nothing else to its sums.
    fn with_gelu(&self) -> Option<Self> {
        let Kernel::Depthwise(depthwise) = &self.kernel else {
            return None;
        };
        (self.epilogue == Epilogue::default()).then(|| Self {
            kernel: Kernel::Depthwise(depthwise.clone()),
            epilogue: Epilogue {
                gelu: true,
                ..Epilogue::default()
            },
            ..*self
        })
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

    /// Whether this can be computed from what `before` stores while that is in the cache, and gains
    /// by it: what fits the cache whole is there anyway.
    fn projects(&self, before: &Self) -> bool {
        let element = match before.epilogue.out {
            Some(_) => size_of::<u8>(),
            None => size_of::<f32>(),
        };
        let bytes = before.out_shape().iter().product::<usize>() * element;
        matches!(before.kernel, Kernel::Depthwise(_))
            && !matches!(self.kernel, Kernel::Depthwise(_))
            && self.direct()
            && before.epilogue.residual.is_none()
            && bytes > self.cache / 2
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
            let finish = |rows: &[T], out: &mut [O]| {
                let epilogue = &self.epilogue;
                let rows = Rows {
                    rows,
                    residual,
                    epilogue,
                };
                product(rows, out);
            };
            if self.direct() {
                finish(input.get(first * self.depth..).unwrap_or_default(), out);
                return;
            }
            let count = out.len() / width;
            scratch.with_borrow_mut(|rows| {
                // What is written too much of a row, the next one overwrites.
                grow(rows, count * self.depth + LANES, T::default());
                self.gather(input, first..first + count, padding, rows);
                finish(rows, out);
            });
        });
    }

    /// The windows of some output pixels, tap by tap, one after another.
    fn gather<T: Copy>(&self, input: &[T], pixels: Range<usize>, padding: T, rows: &mut [T]) {
        let Window {
            channels,
            input: [height, width],
            output,
            kernel,
            stride,
            before,
        } = self.window;
        let line = kernel[1] * channels;
        let (mut y, mut x) = (pixels.start / output[1], pixels.start % output[1]);
        for (i, pixel) in pixels.enumerate() {
            let row = rows.get_mut(i * self.depth..).unwrap_or_default();
            let (top, left) = (y * stride[0], x * stride[1]);
            let inside = before[0] <= top
                && top - before[0] + kernel[0] <= height
                && before[1] <= left
                && left - before[1] + kernel[1] <= width;
            if inside {
                let mut start = ((top - before[0]) * width + left - before[1]) * channels;
                for ky in 0..kernel[0] {
                    let to = row.get_mut(ky * line..).unwrap_or_default();
                    copy_short(input.get(start..).unwrap_or_default(), to, line);
                    start += width * channels;
                }
            } else {
                self.gather_at_edge(input, pixel, padding, row);
            }
            x += 1;
            if x == output[1] {
                (x, y) = (0, y + 1);
            }
        }
    }

    /// The window of output pixel `pixel`, tap by tap, at the start of `row`.
    fn gather_at_edge<T: Copy>(&self, input: &[T], pixel: usize, padding: T, row: &mut [T]) {
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
                    first: 0,
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
        let bytes = depthwise.padded_bytes();
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

/// A depthwise convolution and one of single pixels, band by band: what lies between, a few rows
/// of the output at a time, stays in the cache.
struct Bands<'a, R> {
    depthwise: &'a ConvolutionPlan,
    projection: &'a ConvolutionPlan,
    residual: &'a [R],
}

impl<R: Element> Bands<'_, R> {
    fn run<O: Element>(
        &self,
        expansion: Option<&ConvolutionPlan>,
        input: &Tensor,
        out: &mut [O],
    ) -> TractResult<()> {
        let Kernel::Depthwise(Depthwise { zero, .. }) = &self.depthwise.kernel else {
            bail!("not a depthwise convolution");
        };
        let zero = *zero;
        match expansion.map(|e| (&e.kernel, &e.epilogue)) {
            Some((Kernel::F32(panels), epilogue)) => {
                let input = slice::<f32>(input)?;
                self.of(|| Expansion::of_f32(input, panels, epilogue), out)
            }
            Some((Kernel::U8(panels), epilogue)) => {
                let input = slice::<u8>(input)?;
                self.of(|| Expansion::of_u8(input, panels, epilogue), out)
            }
            Some((Kernel::Depthwise(_), _)) => bail!("a depthwise convolution does not expand"),
            None if input.datum_type() == DatumType::U8 => {
                let input = slice::<u8>(input)?;
                self.of(|| Map { input, zero }, out)
            }
            None => {
                let input = slice::<f32>(input)?;
                self.of(|| Map { input, zero }, out)
            }
        }
    }

    fn of<O: Element, S: Source>(
        &self,
        source: impl Fn() -> S + Sync,
        out: &mut [O],
    ) -> TractResult<()> {
        let cpu = self.depthwise.cpu;
        match &self.projection.kernel {
            Kernel::F32(panels) => self.bands(source, out, &REALS, |rows, out| {
                product_f32(cpu, panels, &rows, out);
            }),
            Kernel::U8(panels) => self.bands(source, out, &CODES, |rows, out| {
                product_u8(cpu, panels, &rows, out);
            }),
            Kernel::Depthwise(_) => bail!("a depthwise convolution does not project"),
        }
    }

    fn bands<T: Element, O: Element, S: Source>(
        &self,
        source: impl Fn() -> S + Sync,
        out: &mut [O],
        scratch: &'static std::thread::LocalKey<RefCell<Vec<T>>>,
        product: impl Fn(Rows<'_, T, R>, &mut [O]) + Sync,
    ) -> TractResult<()> {
        let Self {
            depthwise: plan,
            projection,
            residual,
        } = *self;
        let Kernel::Depthwise(depthwise) = &plan.kernel else {
            bail!("not a depthwise convolution");
        };
        let Window {
            output: [height, width],
            stride,
            channels,
            ..
        } = plan.window;
        let line = width * projection.out_channels;
        // What a row of the output asks of the cache: what is expanded, what lies between, what is
        // stored.
        let bytes = plan.cpu.simd.panels() * stride[0] * depthwise.padded_bytes()
            + width * channels * size_of::<T>()
            + line * size_of::<O>();
        let least = match threads() {
            1 => 1,
            threads => 2 * threads,
        };
        let rows = (plan.cache / 2 / bytes).clamp(2, height.max(2));
        let bands = height.div_ceil(rows).max(least);
        // Even bands: the last is no stub.
        let rows = height.div_ceil(bands);
        for_blocks(out, rows * line, |index, out| {
            let first = index * rows;
            let count = out.len() / line;
            let mut between = scratch.take();
            let len = count * width * channels;
            grow(&mut between, len, T::default());
            let between_rows = between.get_mut(..len).unwrap_or_default();
            PADDED.with_borrow_mut(|padded| {
                let part = Strip {
                    depthwise,
                    rows: first..first + count,
                    first,
                    blocks: 0..channels.div_ceil(LANES),
                    residual: &[] as &[f32],
                    epilogue: &plan.epilogue,
                    scratch: padded,
                    out: Sink::new(between_rows),
                };
                #[allow(unsafe_code, reason = "strips share their output")]
                // SAFETY: this one has its output alone.
                unsafe {
                    strip(plan.cpu, part, &mut source());
                }
            });
            let residual = residual.get(first * line..).unwrap_or_default();
            let rows = Rows {
                rows: between_rows,
                residual: residual.get(..out.len()).unwrap_or_default(),
                epilogue: &projection.epilogue,
            };
            product(rows, out);
            scratch.set(between);
        });
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

impl Op for Convolution {
    fn name(&self) -> StaticName {
        match (&self.plan.kernel, &self.expansion, &self.projection) {
            (Kernel::F32(_), ..) => "Convolution.f32".into(),
            (Kernel::U8(_), ..) => "Convolution.u8".into(),
            (Kernel::Depthwise(_), None, None) => "Depthwise".into(),
            (Kernel::Depthwise(_), Some(_), None) => "ExpandDepthwise".into(),
            (Kernel::Depthwise(_), None, Some(_)) => "DepthwiseProject".into(),
            (Kernel::Depthwise(_), Some(_), Some(_)) => "ExpandDepthwiseProject".into(),
        }
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let line = |plan: &Arc<ConvolutionPlan>| {
            let ConvolutionPlan { cpu, window, .. } = &**plan;
            format!("{cpu} {window:?} to {} channels", plan.out_channels)
        };
        Ok(self.plans().map(line).collect())
    }

    op_as_typed_op!();
}

impl EvalOp for Convolution {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = &self.plan;
        let input = &inputs[0];
        let other = inputs.get(1);
        let shape = self.last().out_shape();
        // What is shorter would leave outputs as the memory had them.
        let reads = self.expansion.as_ref().unwrap_or(plan).in_shape();
        ensure!(
            input.shape() == reads && other.is_none_or(|o| o.shape() == shape),
            "a convolution of {reads:?} to {shape:?} was given {inputs:?}"
        );
        let coded = other.is_some_and(|o| o.datum_type() == DatumType::U8);
        macro_rules! run {
            ($r:ty, $o:ty) => {
                filled(&shape, |out| {
                    let other = other.map_or(Ok(&[] as &[_]), |o| slice(o))?;
                    self.run::<$r, $o>(input, other, out)
                })?
            };
        }
        let out = match (coded || other.is_none(), self.last().epilogue.out.is_some()) {
            (true, true) => run!(u8, u8),
            (false, true) => run!(f32, u8),
            (true, false) if coded => run!(u8, f32),
            (_, false) => run!(f32, f32),
        };
        Ok(tvec!(out))
    }
}

impl TypedOp for Convolution {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(
            stored(&self.last().epilogue).fact(self.last().out_shape())
        ))
    }

    fn cost(&self, _: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let products: usize = self.plans().map(|plan| plan.products()).sum();
        Ok(tvec!((Cost::FMA(f32::datum_type()), products.to_dim())))
    }

    /// A depthwise convolution takes in the GELU that follows it. It takes in the convolution of
    /// single pixels before it, and one of single pixels takes in the depthwise before it, so that
    /// what lies between, the largest activations of many networks, is never written to memory.
    fn declutter(
        &self,
        model: &TypedModel,
        node: &TypedNode,
    ) -> TractResult<Option<TypedModelPatch>> {
        if let Some(gelu) = reader(model, node.id).filter(|n| is_gelu(n))
            && let Some(plan) = self.plan.with_gelu().filter(|_| self.projection.is_none())
        {
            let op = Self {
                plan: Arc::new(plan),
                ..self.clone()
            };
            let mut patch = TypedModelPatch::default();
            let inputs = patch.taps(model, &node.inputs)?;
            let outlet = patch.wire_node(&gelu.name, op, &inputs)?[0];
            patch.shunt_outside(model, gelu.id.into(), outlet)?;
            return Ok(Some(patch));
        }
        let from = node.inputs[0];
        let before = model.node(from.node);
        let Some(op) = before.op_as::<Self>() else {
            return Ok(None);
        };
        let alone = model.outlet_successors(from).len() == 1 && !model.outputs.contains(&from);
        if !alone || op.projection.is_some() || self.expansion.is_some() {
            return Ok(None);
        }
        let op = if op.expansion.is_none() && self.plan.expands(&op.plan) {
            Self {
                expansion: Some(op.plan.clone()),
                ..self.clone()
            }
        } else if self.projection.is_none() && self.plan.projects(&op.plan) {
            Self {
                projection: Some(self.plan.clone()),
                ..op.clone()
            }
        } else {
            return Ok(None);
        };
        let mut patch = TypedModelPatch::default();
        let inputs = before.inputs[..1].iter().chain(&node.inputs[1..]);
        let inputs: TVec<OutletId> = inputs
            .map(|input| patch.tap_model(model, *input))
            .collect::<TractResult<_>>()?;
        let outlet = patch.wire_node(&node.name, op, &inputs)?[0];
        patch.shunt_outside(model, node.id.into(), outlet)?;
        Ok(Some(patch))
    }

    as_op!();
}
