//! From tract's typed graph to one that runs on this crate's operators.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::cast::Cast;
use tract_core::ops::cnn::{Conv, KernelFormat};
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::konst::Const;
use tract_core::ops::nn::DataFormat;
use tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearU8};

use crate::kernel::cpu::Cpu;
use crate::kernel::depthwise::{Depthwise, MOST_TAPS, Window};
use crate::kernel::epilogue::{Epilogue, Quant};
use crate::kernel::lanes::lanes;
use crate::kernel::product::{DEEPEST, F32Panels, I8Panels};
use crate::ops::convolution::{Convolution, ConvolutionPlan, Kernel};
use crate::ops::recode::Recode;
use crate::ops::relayout::Relayout;
use crate::ops::sum::Sum;
use crate::ops::upsample::Upsample2x;

/// A constant that a graph holds as integers and dequantizes: `value * scale`, of zero point 0.
#[derive(Debug, Clone)]
pub struct Coded {
    /// i8 weights, or i32 biases.
    values: Arc<Tensor>,
    /// One scale, or one for each index of the outermost dimension.
    scales: Vec<f32>,
}

impl Coded {
    /// From values and one scale, or as many as the values' outermost dimension has.
    ///
    /// # Errors
    /// When there is another number of scales, or they are not f32.
    pub fn new(values: Tensor, scales: &Tensor) -> TractResult<Self> {
        let scales = scales.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        let channels = values.shape().first().copied().unwrap_or(1);
        ensure!(
            !scales.is_empty() && values.len() > 0,
            "no values or no scales"
        );
        ensure!(
            scales.len() == 1 || scales.len() == channels,
            "{} scales for {channels} channels",
            scales.len()
        );
        let values = Arc::new(values);
        Ok(Self { values, scales })
    }

    /// The real values, f32.
    ///
    /// # Errors
    /// When the values are no numbers that become f32.
    pub fn reals(&self) -> TractResult<Tensor> {
        let mut reals = self.values.cast_to::<f32>()?.into_owned();
        let stretch = reals.len() / self.scales.len();
        let mut plain = reals.try_as_plain_ram_mut()?;
        let values = plain.as_slice_mut::<f32>()?;
        for (values, scale) in values.chunks_mut(stretch.max(1)).zip(&self.scales) {
            values.iter_mut().for_each(|v| *v *= scale);
        }
        Ok(reals)
    }

    fn scale(&self, channel: usize) -> Option<f32> {
        match self.scales.as_slice() {
            [one] => Some(*one),
            many => many.get(channel).copied(),
        }
    }
}

/// Replace what this crate has operators for: convolutions of one image with constant weights,
/// in f32 or between a DequantizeLinear and a QuantizeLinear, with the sums, limits and codes that
/// follow them. All else stays as it is.
///
/// `model` is as tract's ONNX reader types it, before decluttering, which takes convolutions
/// apart. `coded` are constants that the ONNX graph dequantizes, by the name that their reals have
/// in `model`. A constant that is missing there leaves its convolution in f32. `cache` is the bytes of a
/// core's own cache: what one operator leaves there for the next is cut to fit.
///
/// # Errors
/// tract's, when the new graph can't be built.
pub(crate) fn rewrite(
    model: &TypedModel,
    coded: &HashMap<String, Coded>,
    cpu: Cpu,
    cache: usize,
) -> TractResult<TypedModel> {
    let mut rewriter = Rewriter {
        source: model,
        coded,
        cpu,
        cache,
        target: TypedModel {
            symbols: model.symbols.clone(),
            ..TypedModel::default()
        },
        values: HashMap::new(),
        done: HashSet::new(),
        waiting: HashMap::new(),
    };
    for input in model.input_outlets()? {
        let node = model.node(input.node);
        let source = rewriter
            .target
            .add_source(&node.name, model.outlet_fact(*input)?.clone())?;
        rewriter.values.insert(*input, Mapped::plain(source));
        rewriter.done.insert(node.id);
    }
    for id in model.eval_order()? {
        rewriter.node(model.node(id))?;
    }
    rewriter.finish()
}

/// The widest window, stride and padding that the kernels take: past all that networks use, and so
/// small that no size computed from them wraps or fills the memory.
const REACH: usize = 64;

/// How a tensor of the source graph is held in the new one.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    outlet: OutletId,
    nhwc: bool,
    /// An f32 tensor that is held as these codes.
    code: Option<Quant>,
}

impl Mapped {
    fn plain(outlet: OutletId) -> Self {
        Self {
            outlet,
            nhwc: false,
            code: None,
        }
    }
}

struct Rewriter<'a> {
    source: &'a TypedModel,
    coded: &'a HashMap<String, Coded>,
    cpu: Cpu,
    cache: usize,
    target: TypedModel,
    values: HashMap<OutletId, Mapped>,
    /// Nodes that one before them has taken in.
    done: HashSet<usize>,
    /// Convolutions that wait for what is added to them, by the outlet that the sum reads.
    waiting: HashMap<OutletId, usize>,
}

/// What follows a convolution or a sum and is computed with it.
#[derive(Default)]
struct Tail {
    steps: Option<Quant>,
    residual: Option<OutletId>,
    clip: Option<(f32, f32)>,
    out: Option<Quant>,
    /// What would be added is not there yet.
    early: bool,
    /// The last outlet that is computed with it; the source's f32 or code.
    end: Option<OutletId>,
    taken: Vec<usize>,
}

impl Rewriter<'_> {
    fn node(&mut self, node: &TypedNode) -> TractResult<()> {
        if self.done.contains(&node.id) {
            return Ok(());
        }
        let done = if node.op_is::<Conv>() {
            self.convolution(node)?
        } else if self.is_add(node) {
            self.sum(node)?
        } else if node.op_is::<DequantizeLinearF32>() {
            self.dequantize(node)?
        } else if quantizer(node).is_some() {
            self.quantize(node)?
        } else if node.op_is::<AxisOp>() {
            self.moved(node)? || self.upsample2x(node)? || self.heads(node)?
        } else {
            false
        };
        if !done { self.keep(node) } else { Ok(()) }
    }

    /// Leave an operator as it is, on tensors as the source graph has them.
    fn keep(&mut self, node: &TypedNode) -> TractResult<()> {
        let inputs = node
            .inputs
            .iter()
            .map(|i| self.plain(*i))
            .collect::<TractResult<TVec<_>>>()?;
        let outlets = self
            .target
            .wire_node(&node.name, node.op.clone(), &inputs)?;
        for (slot, outlet) in outlets.into_iter().enumerate() {
            self.values
                .insert(OutletId::new(node.id, slot), Mapped::plain(outlet));
        }
        Ok(())
    }

    fn finish(mut self) -> TractResult<TypedModel> {
        let mut outputs = Vec::new();
        for (i, outlet) in self.source.output_outlets()?.iter().enumerate() {
            let mut plain = self.plain(*outlet)?;
            if outputs.contains(&plain) {
                // Two outputs of one tensor: each has a name of its own.
                let name = format!("output {i}");
                plain =
                    self.target
                        .wire_node(name, tract_core::ops::identity::Identity, &[plain])?[0];
            }
            let label = self
                .source
                .outlet_label(*outlet)
                .unwrap_or_else(|| &self.source.node(outlet.node).name);
            self.target.set_outlet_label(plain, label.to_owned())?;
            outputs.push(plain);
        }
        self.target.select_output_outlets(&outputs)?;
        Ok(self.target)
    }

    fn held(&self, outlet: OutletId) -> TractResult<Mapped> {
        self.values
            .get(&outlet)
            .copied()
            .with_context(|| format!("{outlet:?} is not there yet"))
    }

    /// A name that no node of the new graph has.
    fn name(&self, outlet: OutletId, what: &str) -> String {
        format!(
            "{}.{}.{what}.{}",
            self.source.node(outlet.node).name,
            outlet.slot,
            self.target.nodes.len()
        )
    }

    /// A tensor as the source graph has it.
    fn plain(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        let Mapped {
            outlet: held,
            nhwc,
            code,
        } = self.held(outlet)?;
        // Codes that the source graph itself has as codes stay such.
        let real = self.source.outlet_fact(outlet)?.datum_type == DatumType::F32;
        let code = code.filter(|_| real);
        let op: Box<dyn TypedOp> = match (nhwc, code) {
            (false, None) => return Ok(held),
            (false, Some(quant)) => Box::new(Recode {
                cpu: self.cpu,
                quant,
                to_codes: false,
            }),
            // Where nothing is coded tract moves the axis, or finds that it need not.
            (true, None) => Box::new(AxisOp::Move(3, 1)),
            (true, code) => Box::new(Relayout {
                cpu: self.cpu,
                to_nhwc: false,
                code,
                out: None,
            }),
        };
        let outlet = self
            .target
            .wire_node(self.name(outlet, "plain"), op, &[held])?[0];
        Ok(outlet)
    }

    /// A tensor [1, c, h, w] of the source graph as [1, h, w, c], f32 or coded; its codes.
    fn nhwc(&mut self, outlet: OutletId) -> TractResult<(OutletId, Option<Quant>)> {
        let Mapped {
            outlet: held,
            nhwc,
            code,
        } = self.held(outlet)?;
        if nhwc {
            return Ok((held, code));
        }
        let op: Box<dyn TypedOp> = match code {
            None => Box::new(AxisOp::Move(1, 3)),
            code => Box::new(Relayout {
                cpu: self.cpu,
                to_nhwc: true,
                code,
                out: code,
            }),
        };
        let held = self
            .target
            .wire_node(self.name(outlet, "nhwc"), op, &[held])?[0];
        self.values.insert(
            outlet,
            Mapped {
                outlet: held,
                nhwc: true,
                code,
            },
        );
        Ok((held, code))
    }

    /// Shape of an f32 tensor [1, c, h, w].
    fn image(&self, outlet: OutletId) -> TractResult<Option<[usize; 4]>> {
        let fact = self.source.outlet_fact(outlet)?;
        let shape = fact
            .shape
            .as_concrete()
            .and_then(|s| <[usize; 4]>::try_from(s).ok());
        Ok(shape.filter(|s| s[0] == 1 && !s.contains(&0) && fact.datum_type == DatumType::F32))
    }

    /// The f32 constant that a node's input is, and the name of the node that holds it.
    fn constant(&self, outlet: OutletId) -> Option<(&str, Arc<Tensor>)> {
        let node = self.source.node(outlet.node);
        if node.op_is::<Cast>() {
            let to = self.source.outlet_fact(outlet).ok()?.datum_type;
            let input = *node.inputs.first()?;
            return self.constant(input).filter(|_| to == DatumType::F32);
        }
        let tensor = node.op_as::<Const>()?.val();
        (tensor.datum_type() == DatumType::F32).then(|| (node.name.as_str(), tensor.clone()))
    }

    /// The codes of a constant of that name, when they are the constant's.
    fn coded(&self, name: &str, constant: &Tensor) -> Option<&Coded> {
        let found = self.coded.get(name);
        let found = found.or_else(|| self.coded.get(name.strip_suffix(".0")?))?;
        let reals = found.reals().ok()?;
        (reals.shape() == constant.shape() && reals.as_bytes() == constant.as_bytes())
            .then_some(found)
    }

    fn is_add(&self, node: &TypedNode) -> bool {
        node.op.name() == "Add" && node.inputs.len() == 2
    }

    /// The only node that reads an outlet, when it is no output of the graph.
    fn reader(&self, outlet: OutletId) -> Option<&TypedNode> {
        match self.source.outlet_successors(outlet) {
            [one] if !self.source.outputs.contains(&outlet) => Some(self.source.node(one.node)),
            _ => None,
        }
    }

    /// A limit that `node` sets: (least, most).
    fn limit(&self, node: &TypedNode, of: OutletId) -> Option<(f32, f32)> {
        let other = *node.inputs.iter().find(|i| **i != of)?;
        let (_, value) = self.constant(other)?;
        let value = match value.len() {
            1 => *value
                .try_as_plain_ram()
                .ok()?
                .as_slice::<f32>()
                .ok()?
                .first()?,
            _ => return None,
        };
        match node.op.name().as_ref() {
            "Max" => Some((value, f32::INFINITY)),
            "Min" => Some((f32::NEG_INFINITY, value)),
            _ => None,
        }
    }

    /// The code of a QuantizeLinear node. tract holds the reciprocal of its scale; a
    /// DequantizeLinear that reads it has the scale itself.
    fn code(&self, node: &TypedNode) -> Option<Quant> {
        let op = quantizer(node)?;
        let readers = self.source.outlet_successors(node.id.into()).iter();
        let scale = readers
            .filter_map(|i| self.source.node(i.node).op_as::<DequantizeLinearF32>())
            .find(|d| {
                d.zero_point == i32::from(op.zero_point) && (d.scale * op.scale - 1.0).abs() < 1e-5
            })
            .map_or(op.scale.recip(), |d| d.scale);
        Some(Quant {
            scale,
            zero: op.zero_point,
        })
    }

    /// Follow what is done to `outlet` alone. `sums` tells whether an addition may be taken in.
    fn tail(&self, outlet: OutletId, sums: bool) -> TractResult<Tail> {
        let mut tail = Tail {
            end: Some(outlet),
            ..Tail::default()
        };
        let shape = self.image(outlet)?;
        let mut at = outlet;
        while let Some(node) = self.reader(at) {
            if let Some((low, high)) = self.limit(node, at) {
                let (l, h) = tail.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                if low > h {
                    // A least that is set after a lower most overrules it.
                    break;
                }
                tail.clip = Some((l.max(low), h.min(high)));
            } else if self.is_add(node) && sums && tail.residual.is_none() && tail.clip.is_none() {
                let other = node.inputs.iter().find(|i| **i != at);
                let Some(other) = other.filter(|o| !self.waiting.contains_key(o)) else {
                    break;
                };
                if self.image(*other)? != shape || self.constant(*other).is_some() {
                    break;
                }
                if !self.values.contains_key(other) {
                    tail.early = true;
                    break;
                }
                tail.residual = Some(*other);
            } else if let Some(quant) = self.code(node) {
                let coded: OutletId = node.id.into();
                tail.taken.push(node.id);
                // Codes that go on as reals into a sum are rounded on the way.
                let onward = self
                    .reader(coded)
                    .filter(|n| {
                        n.op_as::<DequantizeLinearF32>().is_some_and(|d| {
                            d.scale == quant.scale && d.zero_point == i32::from(quant.zero)
                        })
                    })
                    .filter(|_| sums && tail.residual.is_none() && tail.clip.is_none());
                if let Some(dequantize) = onward {
                    let real: OutletId = dequantize.id.into();
                    let sum = self.reader(real).filter(|n| self.is_add(n));
                    let other = sum.and_then(|n| n.inputs.iter().find(|i| **i != real));
                    if let Some(other) = other.filter(|o| !self.waiting.contains_key(o))
                        && self.image(*other)? == shape
                        && self.constant(*other).is_none()
                    {
                        tail.steps = Some(quant);
                        tail.taken.push(dequantize.id);
                        tail.end = Some(real);
                        if !self.values.contains_key(other) {
                            tail.early = true;
                            return Ok(tail);
                        }
                        at = real;
                        continue;
                    }
                }
                tail.out = Some(quant);
                tail.end = Some(coded);
                return Ok(tail);
            } else {
                break;
            }
            at = node.id.into();
            tail.taken.push(node.id);
            tail.end = Some(at);
        }
        Ok(tail)
    }

    /// Wire an operator with what follows it.
    fn wire(
        &mut self,
        node: &TypedNode,
        op: impl Into<Box<dyn TypedOp>>,
        mut inputs: TVec<OutletId>,
        residual: Option<OutletId>,
        tail: Tail,
    ) -> TractResult<()> {
        inputs.extend(residual);
        let outlet = self.target.wire_node(&node.name, op, &inputs)?[0];
        self.done.extend(tail.taken);
        if let Some(end) = tail.end {
            // A code is read by a DequantizeLinear, which knows what it means.
            let held = Mapped {
                outlet,
                nhwc: true,
                code: tail.out,
            };
            self.values.insert(end, held);
        }
        Ok(())
    }

    /// What is added, as NHWC, and the epilogue that adds it.
    fn epilogue(&mut self, tail: &Tail) -> TractResult<(Option<OutletId>, Epilogue)> {
        let residual = tail.residual.map(|r| self.nhwc(r)).transpose()?;
        let epilogue = Epilogue {
            factor: None,
            bias: None,
            steps: tail.steps,
            residual: residual.map(|(_, code)| code),
            clip: tail.clip,
            gelu: false,
            out: tail.out,
        };
        Ok((residual.map(|(outlet, _)| outlet), epilogue))
    }

    fn convolution(&mut self, node: &TypedNode) -> TractResult<bool> {
        let Some(conv) = node.op_as::<Conv>() else {
            return Ok(false);
        };
        let (Some([_, channels, h, w]), Some([_, out_channels, out_h, out_w])) =
            (self.image(node.inputs[0])?, self.image(node.id.into())?)
        else {
            return Ok(false);
        };
        let spec = &conv.pool_spec;
        let depthwise = conv.group == channels && channels == out_channels && channels > 1;
        let plain = conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && spec.data_format == DataFormat::NCHW
            && spec.dilations().iter().all(|d| *d == 1)
            && (depthwise || conv.group == 1)
            && spec.kernel_shape.iter().all(|k| (1..=REACH).contains(k))
            && spec.strides().iter().all(|s| (1..=REACH).contains(s));
        let (Some((weight_name, weights)), Some((bias_name, bias))) =
            (self.constant(node.inputs[1]), self.constant(node.inputs[2]))
        else {
            return Ok(false);
        };
        let raw_bias = bias;
        let bias = per_channel(&raw_bias, out_channels)?;
        let (Some(bias), true) = (bias, plain) else {
            return Ok(false);
        };
        let padding = spec.computed_padding(&[h, w]);
        if padding.iter().any(|p| p.pad_before > REACH) {
            return Ok(false);
        }
        let window = Window {
            channels,
            input: [h, w],
            output: [out_h, out_w],
            kernel: [spec.kernel_shape[0], spec.kernel_shape[1]],
            stride: [spec.stride(0), spec.stride(1)],
            before: [padding[0].pad_before, padding[1].pad_before],
        };
        // No bias is 0 in any units.
        let unbiased = bias.iter().all(|b| *b == 0.0);
        let coded = self.coded(weight_name, &weights).and_then(|w| {
            let b = self.coded(bias_name, &raw_bias);
            (unbiased || b.is_some()).then(|| (w.clone(), b.cloned()))
        });
        let code = self.held(node.inputs[0])?.code;
        let tail = self.tail(node.id.into(), true)?;
        if let (true, Some(end)) = (tail.early, tail.end) {
            self.done.extend(tail.taken);
            self.waiting.insert(end, node.id);
            return Ok(true);
        }
        let (residual, mut epilogue) = self.epilogue(&tail)?;
        let taps = window.kernel[0] * window.kernel[1];
        let depth = if depthwise { taps } else { channels * taps };
        // OIHW: a row of the product is a window, tap by tap, so weights are read across.
        let at = |row: usize, column: usize| {
            let (tap, channel) = if depthwise {
                (row, 0)
            } else {
                (row / channels, row % channels)
            };
            (column * if depthwise { 1 } else { channels } + channel) * taps + tap
        };
        // Longer sums would not be exact.
        let exact = depth <= if depthwise { MOST_TAPS } else { DEEPEST };
        let coded = code.zip(coded).filter(|_| exact);
        let integers = coded.and_then(|(code, (w, b))| {
            let integers = Integers::new(code, &w, b.as_ref(), out_channels)?;
            epilogue.factor = Some(lanes(&integers.factors(tail.steps.or(epilogue.out))));
            if tail.steps.is_none() && tail.clip.is_none() && tail.residual.is_none() {
                epilogue.steps = epilogue.out;
            } else if tail.steps.is_none() {
                epilogue.factor = Some(lanes(&integers.factors(None)));
            }
            Some(integers)
        });
        if let (None, Some(steps)) = (&integers, tail.steps) {
            epilogue.factor = Some(lanes(&vec![steps.scale.recip(); out_channels]));
        }
        let input = if integers.is_some() {
            self.nhwc(node.inputs[0])?.0
        } else {
            self.real_nhwc(node.inputs[0])?
        };
        let zero = if integers.is_some() {
            code.map_or(0, |c| c.zero)
        } else {
            0
        };
        let (padded, kernel) = match integers {
            Some(i) if depthwise => {
                let weight = |c: usize, tap: usize| i.weights.get(at(tap, c)).copied().unwrap_or(0);
                let made = Depthwise::of_codes(self.cpu.dot, window, zero, &i.bias, weight);
                (depth, Kernel::Depthwise(made))
            }
            Some(i) => {
                let padded = depth.next_multiple_of(4);
                let weight = |k: usize, c: usize| match k < depth {
                    true => i.weights.get(at(k, c)).copied().unwrap_or(0),
                    false => 0,
                };
                (
                    padded,
                    Kernel::U8(I8Panels::new(self.cpu.dot, padded, zero, &i.bias, weight)),
                )
            }
            None => {
                let weights = weights.try_as_plain_ram()?.as_slice::<f32>()?;
                let weight = |k: usize, c: usize| weights.get(at(k, c)).copied().unwrap_or(0.0);
                (
                    depth,
                    match depthwise {
                        true => Kernel::Depthwise(Depthwise::new(window, 0, &bias, |c, tap| {
                            weight(tap, c)
                        })),
                        false => Kernel::F32(F32Panels::new(depth, &bias, weight)),
                    },
                )
            }
        };
        let plan = ConvolutionPlan {
            cpu: self.cpu,
            cache: self.cache,
            window,
            out_channels,
            depth: padded,
            zero,
            kernel,
            epilogue,
        };
        self.wire(
            node,
            Box::new(Convolution::from(plan)) as Box<dyn TypedOp>,
            tvec!(input),
            residual,
            tail,
        )?;
        Ok(true)
    }

    /// A tensor as f32 in NHWC.
    fn real_nhwc(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        match self.held(outlet)?.code {
            None => Ok(self.nhwc(outlet)?.0),
            Some(_) => {
                let plain = self.plain(outlet)?;
                let op = Relayout {
                    cpu: self.cpu,
                    to_nhwc: true,
                    code: None,
                    out: None,
                };
                Ok(self
                    .target
                    .wire_node(self.name(outlet, "real"), op, &[plain])?[0])
            }
        }
    }

    /// A sum of two images, or of an image and one value a channel.
    fn sum(&mut self, node: &TypedNode) -> TractResult<bool> {
        // A convolution that came before what is added to it takes the sum in.
        if let Some(waiting) = node.inputs.iter().find_map(|i| self.waiting.remove(i)) {
            return self.convolution(self.source.node(waiting));
        }
        let Some(shape) = self.image(node.id.into())? else {
            return Ok(false);
        };
        let [a, b] = *node.inputs else {
            return Ok(false);
        };
        let whole = |s: &Self, o| Ok::<_, TractError>(s.image(o)? == Some(shape));
        let (a, b) = if whole(self, a)? { (a, b) } else { (b, a) };
        let spread = self.image(b)? == Some([1, shape[1], 1, 1]);
        let near = |s: &Self, o| s.held(o).is_ok_and(|h| h.nhwc);
        if !whole(self, a)? || !(spread || whole(self, b)?) || !(near(self, a) || near(self, b)) {
            return Ok(false);
        }
        let tail = self.tail(node.id.into(), false)?;
        let (_, mut epilogue) = self.epilogue(&tail)?;
        let (a, code) = self.nhwc(a)?;
        let (b, other) = self.nhwc(b)?;
        epilogue.residual = Some(other);
        let op: Box<dyn TypedOp> = Box::new(Sum {
            cpu: self.cpu,
            code,
            epilogue,
        });
        self.wire(node, op, tvec!(a, b), None, tail)?;
        Ok(true)
    }

    /// Reals of codes are held as the codes.
    fn dequantize(&mut self, node: &TypedNode) -> TractResult<bool> {
        let Some(op) = node.op_as::<DequantizeLinearF32>() else {
            return Ok(false);
        };
        let held = self.held(node.inputs[0])?;
        let dtype = self.target.outlet_fact(held.outlet)?.datum_type;
        let (DatumType::U8, Ok(zero)) = (dtype, u8::try_from(op.zero_point)) else {
            return Ok(false);
        };
        let code = Some(Quant {
            scale: op.scale,
            zero,
        });
        self.values.insert(node.id.into(), Mapped { code, ..held });
        Ok(true)
    }

    /// Codes of an image are made where its layout changes, or not at all when it has them.
    fn quantize(&mut self, node: &TypedNode) -> TractResult<bool> {
        let (Some(quant), Some(_)) = (self.code(node), self.image(node.inputs[0])?) else {
            return Ok(false);
        };
        let held = self.held(node.inputs[0])?;
        let outlet = if held.code == Some(quant) {
            self.nhwc(node.inputs[0])?.0
        } else if held.code.is_none() {
            let op: Box<dyn TypedOp> = match held.nhwc {
                true => Box::new(Recode {
                    cpu: self.cpu,
                    quant,
                    to_codes: true,
                }),
                false => Box::new(Relayout {
                    cpu: self.cpu,
                    to_nhwc: true,
                    code: None,
                    out: Some(quant),
                }),
            };
            self.target.wire_node(&node.name, op, &[held.outlet])?[0]
        } else {
            return Ok(false);
        };
        self.values.insert(
            node.id.into(),
            Mapped {
                outlet,
                nhwc: true,
                code: Some(quant),
            },
        );
        Ok(true)
    }

    /// An axis moved between the two layouts moves nothing: the tensor is held as it is.
    fn moved(&mut self, node: &TypedNode) -> TractResult<bool> {
        let input = node.inputs[0];
        let held = match (node.op_as::<AxisOp>(), self.image(input)?) {
            (Some(AxisOp::Move(3, 1)), Some(_)) => {
                let Mapped { outlet, nhwc, code } = self.held(input)?;
                if nhwc {
                    return Ok(false);
                }
                Mapped {
                    outlet,
                    nhwc: true,
                    code,
                }
            }
            (Some(AxisOp::Move(1, 3)), Some(_)) => {
                let (outlet, code) = self.nhwc(input)?;
                Mapped {
                    outlet,
                    nhwc: false,
                    code,
                }
            }
            _ => return Ok(false),
        };
        self.values.insert(node.id.into(), held);
        Ok(true)
    }

    /// Groups of an image's channels, each of them as [pixels, channels]: what lies so in NHWC need
    /// not be turned into planes and back.
    fn heads(&mut self, node: &TypedNode) -> TractResult<bool> {
        let input = node.inputs[0];
        let Some([_, channels, h, w]) = self.image(input)? else {
            return Ok(false);
        };
        let Mapped {
            outlet: held,
            nhwc,
            code,
        } = self.held(input)?;
        let (mut taken, mut outlet) = (Vec::new(), input);
        let mut reader = Some(node);
        while let Some(node) = reader.filter(|n| matches!(n.op_as(), Some(AxisOp::Reshape(..)))) {
            taken.push(node.id);
            outlet = node.id.into();
            reader = self.reader(outlet);
        }
        let turns = |n: &&TypedNode| {
            let either = [AxisOp::Move(2, 3), AxisOp::Move(3, 2)];
            n.op_as::<AxisOp>().is_some_and(|op| either.contains(op))
        };
        let (Some([1, groups, inner, pixels]), Some(turned)) =
            (self.image(outlet)?, reader.filter(turns))
        else {
            return Ok(false);
        };
        let split = groups.checked_mul(inner) == Some(channels) && h.checked_mul(w) == Some(pixels);
        if !nhwc || !split || taken.is_empty() {
            return Ok(false);
        }
        let turned = turned.id;
        let mut at = held;
        if let Some(quant) = code {
            let op = Recode {
                cpu: self.cpu,
                quant,
                to_codes: false,
            };
            at = self.target.wire_node(self.name(input, "real"), op, &[at])?[0];
        }
        let dims = |dims: &[usize]| dims.iter().map(|d| d.to_dim()).collect();
        let (from, to) = (dims(&[h, w, channels]), dims(&[pixels, groups, inner]));
        let split = AxisOp::Reshape(1, from, to);
        at = self.target.wire_node(&node.name, split, &[at])?[0];
        let name = self.name(outlet, "heads");
        let outlet = self.target.wire_node(name, AxisOp::Move(2, 1), &[at])?[0];
        self.done.extend(taken);
        self.done.insert(turned);
        self.values.insert(turned.into(), Mapped::plain(outlet));
        Ok(true)
    }

    /// Upsample2x the size by repeating pixels, which exporters write as concatenations and reshapes.
    fn upsample2x(&mut self, node: &TypedNode) -> TractResult<bool> {
        let Some([n, c, h, w]) = self.image(node.inputs[0])? else {
            return Ok(false);
        };
        let mut at: OutletId = node.id.into();
        let mut taken = Vec::new();
        let expected: [&[usize]; 5] = [
            &[n, c, h, w, 1],
            &[n, c, h, w, 2],
            &[n, c, h, 2 * w],
            &[n, c, h, 4 * w],
            &[n, c, 2 * h, 2 * w],
        ];
        for (i, shape) in expected.into_iter().enumerate() {
            let fact = self.source.outlet_fact(at)?;
            if fact.shape.as_concrete() != Some(shape) {
                return Ok(false);
            }
            if i + 1 == expected.len() {
                break;
            }
            // A concatenation of a tensor with itself reads it twice.
            let readers: HashSet<usize> = self
                .source
                .outlet_successors(at)
                .iter()
                .map(|i| i.node)
                .collect();
            let mut readers = readers.into_iter();
            let (Some(reader), None) = (readers.next(), readers.next()) else {
                return Ok(false);
            };
            let reader = self.source.node(reader);
            let fits = match reader.op_as::<TypedConcat>() {
                Some(concat) => {
                    reader.inputs.iter().all(|i| *i == at)
                        && concat.axis == if i == 0 { 4 } else { 3 }
                }
                None => {
                    let reshape = matches!(reader.op_as::<AxisOp>(), Some(AxisOp::Reshape(..)));
                    reshape && i % 2 == 1
                }
            };
            if !fits || self.source.outputs.contains(&at) {
                return Ok(false);
            }
            at = reader.id.into();
            taken.push(reader.id);
        }
        let (input, code) = self.nhwc(node.inputs[0])?;
        let outlet = self.target.wire_node(&node.name, Upsample2x, &[input])?[0];
        self.done.extend(taken);
        self.values.insert(
            at,
            Mapped {
                outlet,
                nhwc: true,
                code,
            },
        );
        Ok(true)
    }
}

fn quantizer(node: &TypedNode) -> Option<&QuantizeLinearU8> {
    node.op_as::<ElementWiseOp>()?
        .0
        .downcast_ref::<QuantizeLinearU8>()
}

/// A bias as one value a channel.
fn per_channel(bias: &Tensor, channels: usize) -> TractResult<Option<Vec<f32>>> {
    let values = bias.try_as_plain_ram()?.as_slice::<f32>()?;
    Ok(match values {
        [one] => Some(vec![*one; channels]),
        many if many.len() == channels => Some(many.to_vec()),
        _ => None,
    })
}

/// Weights and bias of a convolution in integers.
struct Integers {
    weights: Vec<i8>,
    bias: Vec<i32>,
    /// Real value of a product's 1, by channel.
    scales: Vec<f32>,
}

impl Integers {
    /// None unless the bias, where there is one, is in units of the products, as ONNX quantizers
    /// leave it.
    fn new(code: Quant, weights: &Coded, bias: Option<&Coded>, channels: usize) -> Option<Self> {
        let scales: Vec<f32> = (0..channels)
            .map(|c| Some(weights.scale(c)? * code.scale))
            .collect::<Option<_>>()?;
        let same = |bias: &Coded, c: usize| {
            let (a, b) = (bias.scale(c)?, scales.get(c)?);
            ((a - b).abs() <= 1e-5 * b.abs()).then_some(())
        };
        if let Some(bias) = bias {
            (0..channels).try_for_each(|c| same(bias, c))?;
        }
        let weights = weights
            .values
            .try_as_plain_ram()
            .ok()?
            .as_slice::<i8>()
            .ok()?
            .to_vec();
        let bias = match bias {
            Some(bias) => {
                let plain = bias.values.try_as_plain_ram().ok()?;
                plain.as_slice::<i32>().ok()?.to_vec()
            }
            None => vec![0; channels],
        };
        (bias.len() == channels).then_some(Self {
            weights,
            bias,
            scales,
        })
    }

    /// From sums to steps of `out`, or to reals.
    fn factors(&self, out: Option<Quant>) -> Vec<f32> {
        self.scales
            .iter()
            .map(|s| out.map_or(*s, |q| s / q.scale))
            .collect()
    }
}
