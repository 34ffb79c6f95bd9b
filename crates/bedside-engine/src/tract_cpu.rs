//! tract on the CPU.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bedside_bundle::manifest::{DType, Dim, TensorSpec};
use bedside_kernels::{Coded, Constants, Cpu, Stored};
use rayon::ThreadPoolBuilder;
use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::runtime::RunOptions;
use tract_linalg::multithread::Executor;
use tract_onnx::Onnx;
use tract_onnx::model::ParseResult;
use tract_onnx::pb::GraphProto;
use tract_onnx::prelude::{Framework, InferenceModel, InferenceModelExt};
use tract_onnx::tensor::load_tensor;
use tract_onnx::tract_hir::infer::Factoid;

use crate::Bytes;
use crate::backend::{Backend, LoadOptions, OpTime, Session};
use crate::error::{EngineError, ErrorKind};
use crate::guard::guarded;
use crate::signature::Signature;
use crate::steady::{Split, Steady, split};
use crate::value::Value;
use crate::weights;

/// tract on the CPU, with the operators of [`bedside_kernels`] for the image network.
///
/// A symbolic dimension stays symbolic in the plan, so that one plan serves every number of
/// prompts. tract picks matrix-vector kernels for a batch of one, which round otherwise than the
/// matrix kernels; where a graph has products left that are tract's, a batch of one is therefore
/// run as two of the same, so that a prompt gets the same bits in any company.
#[derive(Debug, Clone, Copy, Default)]
pub struct TractCpu;

impl Backend for TractCpu {
    fn name(&self) -> &'static str {
        "tract-cpu"
    }

    fn fingerprint(&self) -> Option<String> {
        Cpu::detect().ok().map(|cpu| cpu.to_string())
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        options.refuse_device(self.name())?;
        Ok(Box::new(load(onnx, options, true, on_cpu)?))
    }
}

/// tract on the CPU with its own operators alone: what [`TractCpu`] is measured against.
#[derive(Debug, Clone, Copy, Default)]
pub struct TractStock;

impl Backend for TractStock {
    fn name(&self) -> &'static str {
        "tract-stock"
    }

    /// tract chooses its instructions by the processor alone, whatever `BEDSIDE_CPU` says.
    fn fingerprint(&self) -> Option<String> {
        Cpu::supported().last().map(Cpu::to_string)
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        options.refuse_device(self.name())?;
        Ok(Box::new(load(onnx, options, false, on_cpu)?))
    }
}

/// Load a graph, with our operators if they are wanted; `plan` makes it ready for its device.
pub(crate) fn load(
    onnx: &Bytes,
    options: &LoadOptions,
    own: bool,
    plan: impl FnMut(TypedModel, &RunOptions) -> TractResult<Arc<TypedSimplePlan>> + Send,
) -> Result<TractSession, EngineError> {
    let label = options.label.as_str();
    let threads = options.threads.max(1);
    let pool = guarded("tract", label, ErrorKind::Run, || {
        ThreadPoolBuilder::new().num_threads(threads).build()
    })?;
    let pool = Arc::new(pool);
    let executor = match threads {
        1 => Executor::SingleThread,
        _ => Executor::MultiThread(pool.clone()),
    };
    let steady = if own { &*options.steady } else { &[] };
    let inputs = &options.expected.inputs;
    let prepare = || pool.install(|| prepare(onnx, inputs, &executor, own, steady, plan));
    let prepared = guarded("tract", label, ErrorKind::Graph, prepare)?;
    prepared.signature.check(&options.expected, label)?;
    guarded("tract", label, ErrorKind::Graph, || {
        TractSession::new(label, prepared, executor, own)
    })
}

fn on_cpu(model: TypedModel, options: &RunOptions) -> TractResult<Arc<TypedSimplePlan>> {
    TypedSimplePlan::new_with_options(model.into_optimized()?, options)
}

/// A graph as plans.
pub(crate) struct Prepared {
    pub(crate) signature: Signature,
    pub(crate) plan: Arc<TypedSimplePlan>,
    /// The plan for what depends on steady inputs alone, and their positions.
    pub(crate) early: Option<(Arc<TypedSimplePlan>, Vec<usize>)>,
}

/// Plans with their buffers.
pub(crate) struct TractSession {
    label: String,
    signature: Signature,
    /// Which inputs have the batch as their outermost dimension; none where a batch of one needs no
    /// doubling.
    batch: Vec<bool>,
    executor: Executor,
    steady: Option<Steady>,
    state: TypedSimpleState,
    /// After a panic the state can't be trusted.
    broken: Option<EngineError>,
}

impl Session for TractSession {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError> {
        self.guarded_run(inputs, TypedSimpleState::run)
    }

    fn share(&self) -> Result<Option<Box<dyn Session>>, EngineError> {
        let shared = guarded("tract", &self.label, ErrorKind::Run, || {
            Ok::<_, TractError>(Self {
                label: self.label.clone(),
                signature: self.signature.clone(),
                batch: self.batch.clone(),
                executor: self.executor.clone(),
                steady: self.steady.as_ref().map(Steady::share).transpose()?,
                state: self.state.plan().spawn()?,
                broken: None,
            })
        })?;
        Ok(Some(Box::new(shared)))
    }

    fn profile(&mut self, inputs: &[Value]) -> Result<Vec<OpTime>, EngineError> {
        let mut times = Vec::new();
        self.guarded_run(inputs, |state, inputs| {
            state.run_plan_with_eval(inputs, |context, op_state, node, inputs| {
                let start = Instant::now();
                let result = tract_core::plan::eval(context, op_state, node, inputs);
                times.push(OpTime {
                    node: node.name.clone(),
                    op: node.op.name().into_owned(),
                    time: start.elapsed(),
                });
                result
            })
        })?;
        Ok(times)
    }
}

impl TractSession {
    fn new(label: &str, prepared: Prepared, executor: Executor, own: bool) -> TractResult<Self> {
        let Prepared {
            signature,
            plan,
            early,
        } = prepared;
        let mut batch = batch_symbol(&signature);
        let rounds = |plan: &Arc<TypedSimplePlan>| plan.model().nodes().iter().any(rounds_by_batch);
        if own && !rounds(&plan) && !early.iter().any(|(early, _)| rounds(early)) {
            batch.fill(false);
        }
        let spawn = |(early, inputs): (Arc<TypedSimplePlan>, _)| {
            Ok::<_, TractError>(Steady::new(early.spawn()?, inputs))
        };
        Ok(Self {
            label: label.to_owned(),
            batch,
            signature,
            executor,
            steady: early.map(spawn).transpose()?,
            state: plan.spawn()?,
            broken: None,
        })
    }

    fn guarded_run(
        &mut self,
        inputs: &[Value],
        mut run: impl FnMut(&mut TypedSimpleState, TVec<TValue>) -> TractResult<TVec<TValue>> + Send,
    ) -> Result<Vec<Value>, EngineError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.signature.check_inputs(inputs, &self.label)?;
        let batched = || {
            inputs
                .iter()
                .zip(&self.batch)
                .filter(|(_, b)| **b)
                .map(|(v, _)| v)
        };
        let single = batched()
            .next()
            .is_some_and(|v| v.shape().first() == Some(&1));
        let (state, batch, executor) = (&mut self.state, &self.batch, &self.executor);
        let steady = &mut self.steady;
        let result = guarded("tract", &self.label, ErrorKind::Run, || {
            let tensors = inputs.iter().zip(batch).map(|(value, batched)| {
                let tensor: &Arc<Tensor> = value.tensor();
                Ok(match single && *batched {
                    true => {
                        Tensor::stack_tensors(0, &[tensor.as_ref(), tensor.as_ref()])?.into_tvalue()
                    }
                    false => TValue::from_const(tensor.clone()),
                })
            });
            let tensors = tensors.collect::<TractResult<TVec<_>>>()?;
            let run = || {
                let mut tensors = tensors;
                if let Some(steady) = steady {
                    let kept = steady.outputs(inputs, &tensors, &mut run)?;
                    tensors.extend(kept.into_iter().map(TValue::from_const));
                }
                run(state, tensors)
            };
            // Within the pool, where operators find its threads without a hand-over each.
            let outputs = match executor {
                Executor::MultiThread(pool) => pool.install(run),
                _ => run(),
            }?;
            let outputs = outputs.into_iter().map(|output| match single {
                true => output.slice(0, 0, 1).map(Arc::new),
                false => Ok(output.into_arc_tensor()),
            });
            outputs.collect::<TractResult<Vec<_>>>()
        });
        if let Err(error) = &result
            && error.kind() == ErrorKind::Panicked
        {
            self.broken = Some(error.clone());
        }
        Ok(result?.into_iter().map(Value::from_tensor).collect())
    }
}

/// Whether an operator of tract's own rounds by the number of rows.
fn rounds_by_batch(node: &TypedNode) -> bool {
    use tract_core::ops::{cnn::Conv, einsum::EinSum, matmul::optimized::OptMatMul};
    node.op_is::<OptMatMul>() || node.op_is::<EinSum>() || node.op_is::<Conv>()
}

/// For each input whether its outermost dimension is the batch: the symbol that is the outermost
/// dimension of every output.
pub(crate) fn batch_symbol(signature: &Signature) -> Vec<bool> {
    let outermost = |spec: &TensorSpec| match spec.shape.first() {
        Some(Dim::Symbol(symbol)) => Some(symbol.clone()),
        _ => None,
    };
    let symbol = signature.outputs.first().and_then(outermost);
    let everywhere = signature.outputs.iter().all(|o| outermost(o) == symbol);
    let is_batch = |spec| symbol.is_some() && everywhere && outermost(spec) == symbol;
    signature.inputs.iter().map(is_batch).collect()
}

/// Parse, put in our own operators, declutter, plan: for inputs as they are expected, where these
/// say more than the graph.
pub(crate) fn prepare(
    onnx: &Bytes,
    expected: &[TensorSpec],
    executor: &Executor,
    own: bool,
    steady: &[String],
    mut plan: impl FnMut(TypedModel, &RunOptions) -> TractResult<Arc<TypedSimplePlan>> + Send,
) -> TractResult<Prepared> {
    let cpu = Cpu::detect().map_err(TractError::msg)?;
    let (mut model, constants) = read(onnx, own)?;
    narrow(&mut model, expected)?;
    let typed = model.into_typed()?;
    let model = match constants {
        Some(constants) => bedside_kernels::lower(typed, &constants, cpu)?,
        None => typed.into_decluttered()?,
    };
    let signature = signature(&model)?;
    let options = RunOptions {
        executor: Some(executor.clone()),
        ..RunOptions::default()
    };
    let names = signature.inputs.iter().map(|spec| &spec.name);
    let steady = names.enumerate().filter(|(_, name)| steady.contains(name));
    let (early, late) = match split(&model, steady.map(|(i, _)| i).collect())? {
        Some(Split {
            early,
            late,
            inputs,
        }) => {
            drop(model);
            (Some((plan(early, &options)?, inputs)), late)
        }
        None => (None, model),
    };
    Ok(Prepared {
        signature,
        plan: plan(late, &options)?,
        early,
    })
}

/// Give symbols of the graph's inputs the numbers that are expected in their place, so that all that
/// follows from them is known before the first run.
fn narrow(model: &mut InferenceModel, expected: &[TensorSpec]) -> TractResult<()> {
    for outlet in model.input_outlets()?.to_vec() {
        let name = &model.node(outlet.node).name;
        let Some(stated) = expected.iter().find(|t| t.name == *name) else {
            continue;
        };
        let mut fact = model.outlet_fact(outlet)?.clone();
        let rank = stated.shape.len();
        if fact.shape.rank().concretize() != Some(rank as i64) {
            continue;
        }
        for (axis, dim) in stated.shape.iter().enumerate() {
            let known = fact.shape.dim(axis).and_then(|dim| dim.concretize());
            if let (Dim::Fixed(n), Some(symbol)) = (dim, known)
                && symbol.to_usize().is_err()
            {
                fact.shape.set_dim(axis, n.to_dim());
            }
        }
        model.set_outlet_fact(outlet, fact)?;
    }
    Ok(())
}

/// The graph as tract has it and, where our own operators will run, what they must know of its
/// constants.
fn read(onnx: &Bytes, own: bool) -> TractResult<(InferenceModel, Option<Constants<'_>>)> {
    let reader = tract_onnx::onnx();
    let (rest, mut weights) = weights::split(onnx)?;
    let mut proto = reader.proto_model_for_read(&mut &*rest)?;
    let mut reals = HashMap::new();
    let mut constants = None;
    if let (true, Some(graph)) = (own, &mut proto.graph) {
        let coded;
        (coded, reals) = self::coded(&reader, graph, &weights)?;
        let stored = weights::matrices(graph, &mut weights);
        constants = Some(Constants { coded, stored });
    }
    let ParseResult {
        mut model,
        unresolved_inputs,
        outlets_by_name,
    } = reader.parse(&proto, None)?;
    for name in unresolved_inputs {
        let Some(outlet) = outlets_by_name.get(&name) else {
            bail!("input {name} of a node is nowhere in the graph");
        };
        if let Some(stored) = constants.as_ref().and_then(|c| c.stored.get(&name)) {
            let fact = TypedFact::dt_shape(stored.dtype, &*stored.shape);
            model.set_outlet_fact(*outlet, fact.into())?;
            continue;
        }
        let constant = match (reals.remove(&name), weights.remove(&name)) {
            (Some(constant), _) => constant,
            (None, Some(weight)) => weight.tensor()?,
            (None, None) => bail!("input {name} of a node is nowhere in the graph"),
        };
        let constant = Arc::new(constant);
        let fact = TypedFact::try_from(constant.clone())?;
        model.set_outlet_fact(*outlet, fact.into())?;
        model.node_mut(outlet.node).op = Const::new(constant)?.into();
        model.inputs.retain(|input| input != outlet);
    }
    Ok((model, constants))
}

/// Constants that the graph dequantizes, and their reals, by the name of these. The reals take the
/// place of the nodes that would make them, which is quicker here than node by node in tract.
fn coded(
    reader: &Onnx,
    graph: &mut GraphProto,
    weights: &HashMap<String, Stored<'_>>,
) -> TractResult<(HashMap<String, Coded>, HashMap<String, Tensor>)> {
    let small = graph.initializer.iter().map(|t| (t.name.as_str(), t));
    let small: HashMap<_, _> = small.collect();
    let known = |name: &str| small.contains_key(name) || weights.contains_key(name);
    let tensor = |name: &str| match (weights.get(name), small.get(name)) {
        (Some(large), _) => large.tensor().map(Some),
        (None, Some(small)) => load_tensor(&*reader.provider, small, None).map(Some),
        (None, None) => Ok(None),
    };
    let (mut found, mut reals) = (HashMap::new(), HashMap::new());
    for node in graph
        .node
        .iter()
        .filter(|n| n.op_type == "DequantizeLinear")
    {
        let ([values, scales, zero @ ..], [output]) = (&*node.input, &*node.output) else {
            continue;
        };
        let (Some(values), Some(scales)) = (tensor(values)?, tensor(scales)?) else {
            continue;
        };
        if zero.iter().any(|z| !z.is_empty() && !known(z)) {
            continue;
        }
        let zero = zero.first().map(|z| tensor(z)).transpose()?.flatten();
        let outermost = node.attribute.iter().any(|a| a.name == "axis" && a.i == 0);
        if zero.is_none_or(|z| z.is_all_zero().unwrap_or(false)) && (scales.len() == 1 || outermost)
        {
            let coded = Coded::new(values, &scales)?;
            reals.insert(output.clone(), coded.reals()?);
            found.insert(output.clone(), coded);
        }
    }
    graph
        .node
        .retain(|n| !n.output.iter().any(|o| found.contains_key(o)));
    Ok((found, reals))
}

fn signature(model: &TypedModel) -> TractResult<Signature> {
    let spec = |outlet: &OutletId| -> TractResult<TensorSpec> {
        let fact = model.outlet_fact(*outlet)?;
        let name = model
            .outlet_label(*outlet)
            .unwrap_or_else(|| model.node(outlet.node).name.as_str())
            .to_owned();
        let dtype = match fact.datum_type {
            DatumType::F32 => DType::F32,
            DatumType::I64 | DatumType::TDim => DType::I64,
            other => bail!("tensor {name} is of type {other:?}, only f32 and i64 are supported"),
        };
        let shape = fact
            .shape
            .iter()
            .map(|d| match d.to_usize() {
                Ok(n) => Dim::Fixed(n),
                Err(_) => Dim::Symbol(d.to_string()),
            })
            .collect();
        Ok(TensorSpec { name, dtype, shape })
    };
    Ok(Signature {
        inputs: model
            .input_outlets()?
            .iter()
            .map(spec)
            .collect::<TractResult<_>>()?,
        outputs: model
            .output_outlets()?
            .iter()
            .map(spec)
            .collect::<TractResult<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (TractSession, [Value; 1]) {
        let onnx = include_bytes!("../conformance/dynamic_matmul.onnx").to_vec();
        let onnx = &onnx.into();
        let executor = Executor::SingleThread;
        let prepared = prepare(onnx, &[], &executor, true, &[], on_cpu).unwrap();
        let session = TractSession::new("decoder", prepared, executor, true).unwrap();
        (session, [Value::f32(&[7, 16], &[0.5; 112]).unwrap()])
    }

    #[test]
    fn p_25_a_panic_is_an_error_and_the_session_answers_no_more() {
        let (mut session, inputs) = session();
        let error = session
            .guarded_run(&inputs, |_, _| panic!("index out of bounds"))
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.graph()),
            (ErrorKind::Panicked, "decoder")
        );
        assert!(error.to_string().contains("index out of bounds"), "{error}");
        assert_eq!(
            session.run(&inputs).unwrap_err().kind(),
            ErrorKind::Panicked
        );
        assert_eq!(
            session.profile(&inputs).unwrap_err().kind(),
            ErrorKind::Panicked
        );
    }

    #[test]
    fn an_error_leaves_the_session_usable() {
        let (mut session, inputs) = session();
        let error = session
            .guarded_run(&inputs, |_, _| bail!("out of scratch"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Run);
        session.run(&inputs).unwrap();
    }

    /// Kept or not, answers have the same bits; what is kept is not run again.
    #[test]
    fn what_depends_on_steady_inputs_runs_when_they_change() {
        let onnx = include_bytes!("../conformance/attention.onnx").to_vec();
        let onnx = &onnx.into();
        let load = |steady: &[&str]| {
            let executor = Executor::SingleThread;
            let steady: Vec<String> = steady.iter().map(|s| (*s).to_owned()).collect();
            let prepared = prepare(onnx, &[], &executor, true, &steady, on_cpu).unwrap();
            TractSession::new("decoder", prepared, executor, true).unwrap()
        };
        let value = |shape: &[usize], seed: usize| {
            let number = |i| (i * 7919 + seed * 104_729) % 2003;
            let count: usize = shape.iter().product();
            let data = (0..count).map(|i| number(i) as f32 / 1001.5 - 1.0);
            Value::f32(shape, &data.collect::<Vec<_>>()).unwrap()
        };
        let memory = |seed| value(&[16, 32], seed);
        let prompts = |p, seed| [value(&[p, 5, 12], seed), value(&[p, 5], seed + 1)];
        let bits = |outputs: Vec<Value>| -> Vec<u32> {
            let bits = |v: &Value| v.to_f32().unwrap().iter().map(|x| x.to_bits()).collect();
            outputs.iter().flat_map::<Vec<u32>, _>(bits).collect()
        };
        let (mut steady, mut plain) = (load(&["tokens", "token_mask", "none"]), load(&[]));
        assert!(steady.steady.is_some() && plain.steady.is_none());
        let [three, other, one] = [prompts(3, 1), prompts(3, 5), prompts(1, 9)];
        let mut answers = Vec::new();
        for (frame, [tokens, mask]) in [&three, &three, &other, &one, &three].iter().enumerate() {
            let inputs = [memory(frame), tokens.clone(), mask.clone()];
            let answer = bits(steady.run(&inputs).unwrap());
            assert_eq!(answer, bits(plain.run(&inputs).unwrap()), "frame {frame}");
            assert!(!answers.contains(&answer), "frame {frame}");
            answers.push(answer);
        }
        let mut operators = |[tokens, mask]: [Value; 2]| {
            let inputs = [memory(0), tokens, mask];
            steady.profile(&inputs).unwrap().len()
        };
        let kept = operators(three);
        let changed = operators(prompts(3, 1));
        assert!(0 < kept && kept < changed, "{kept} of {changed} operators");
        // With nothing left to run for every frame there is nothing to keep apart.
        assert!(load(&["memory", "tokens", "token_mask"]).steady.is_none());
    }

    /// Only a symbol that every output is made of row by row can be doubled and cut again.
    #[test]
    fn the_batch_is_the_outermost_symbol_of_all_outputs() {
        let spec = |shape: &[&str]| TensorSpec {
            name: "x".into(),
            dtype: DType::F32,
            shape: shape.iter().map(|s| Dim::Symbol((*s).into())).collect(),
        };
        let inputs = vec![spec(&["T", "P"]), spec(&["P", "T"]), spec(&["P"])];
        let outputs = vec![spec(&["P"]), spec(&["P", "T"])];
        let signature = Signature { inputs, outputs };
        assert_eq!(batch_symbol(&signature), [false, true, true]);
        let outputs = vec![spec(&["P"]), spec(&["T"])];
        assert_eq!(
            batch_symbol(&Signature {
                outputs,
                ..signature
            }),
            [false; 3]
        );
    }
}
