//! onnxruntime, through a shared library that the user brings.

use std::env;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bedside_bundle::Bytes;
use bedside_bundle::manifest::{DType, Dim, TensorSpec};
use bedside_bundle::onnx::check_self_contained;
use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;
use ort::session::{Session as OrtGraph, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};
use tract_core::internal::{Tensor, TractError, TractResult, bail};

use crate::backend::{Backend, LoadOptions, OpTime, Session};
use crate::device::nvidia;
use crate::error::{EngineError, ErrorKind};
use crate::guard::guarded;
use crate::signature::Signature;
use crate::tract_cpu::batch_symbol;
use crate::value::Value;

/// onnxruntime on one of its execution providers.
///
/// The shared library is the user's own, version 1.22 or later: the file that the environment
/// variable `ORT_DYLIB_PATH` names, else what the loader finds as `libonnxruntime.so`. A provider
/// that the library lacks is an error; single operators that a provider lacks run on the CPU
/// unless a device is required, and onnxruntime does not say which. Outputs come back to the host.
///
/// As with tract, onnxruntime rounds a batch of one otherwise than larger ones, so it is run as
/// two of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ort {
    /// On the CPU.
    Cpu,
    /// On an NVIDIA GPU.
    Cuda,
    /// On an NVIDIA GPU through TensorRT, what that can't run through CUDA. TensorRT builds its
    /// engines at the first run, which takes minutes, and keeps them in `tensorrt` below
    /// [`LoadOptions::cache`].
    TensorRt,
}

impl Backend for Ort {
    fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "ort-cpu",
            Self::Cuda => "ort-cuda",
            Self::TensorRt => "ort-tensorrt",
        }
    }

    /// The build of the library and, on a GPU, the driver and the GPUs.
    fn fingerprint(&self) -> Option<String> {
        environment().ok()?;
        let library = catch_unwind(ort::info).ok()?;
        match self {
            Self::Cpu => Some(library.to_owned()),
            Self::Cuda | Self::TensorRt => Some(format!("{library}; {}", nvidia()?)),
        }
    }

    fn available(&self) -> Result<(), EngineError> {
        self.builder(None).map(|_| ())
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let label = options.label.as_str();
        if *self == Self::Cpu {
            options.refuse_device(self.name())?;
        }
        let builder = self.builder(options.cache.as_deref())?;
        let (graph, signature) = guarded("onnxruntime", label, ErrorKind::Graph, || {
            // onnxruntime would read the files that a graph names, from the current folder.
            check_self_contained(onnx)?;
            let graph = commit(builder, onnx, options)?;
            let signature = signature(&graph)?.narrowed(&options.expected);
            TractResult::Ok((graph, signature))
        })?;
        signature.check(&options.expected, label)?;
        Ok(Box::new(OrtSession {
            label: label.to_owned(),
            batch: batch_symbol(&signature),
            signature,
            graph,
            broken: None,
        }))
    }
}

impl Ort {
    /// A session's options with the provider in them, which loads its libraries.
    fn builder(self, cache: Option<&Path>) -> Result<SessionBuilder, EngineError> {
        let environment = environment()?;
        guarded(
            self.name(),
            "",
            ErrorKind::Unavailable,
            || -> ort::Result<_> {
                let builder = OrtGraph::builder(environment)?;
                Ok(builder.with_execution_providers(self.providers(cache))?)
            },
        )
        .map_err(|e| {
            e.with_hint("use an onnxruntime with this provider, and install what it needs")
        })
    }

    fn providers(self, cache: Option<&Path>) -> Vec<ExecutionProviderDispatch> {
        let cuda = || ep::CUDA::default().build().error_on_failure();
        match self {
            Self::Cpu => Vec::new(),
            Self::Cuda => vec![cuda()],
            Self::TensorRt => {
                let mut tensorrt = ep::TensorRT::default();
                if let Some(cache) = cache {
                    tensorrt = tensorrt
                        .with_engine_cache(true)
                        .with_engine_cache_path(cache.join("tensorrt").display());
                }
                vec![tensorrt.build().error_on_failure(), cuda()]
            }
        }
    }
}

fn commit(builder: SessionBuilder, onnx: &[u8], options: &LoadOptions) -> ort::Result<OrtGraph> {
    let alone = if options.require_device { "1" } else { "0" };
    builder
        .with_intra_threads(options.threads.max(1))?
        .with_config_entry("session.disable_cpu_ep_fallback", alone)?
        .commit_from_memory(onnx)
}

/// The library, loaded once for the process, as is the error when that fails.
fn environment() -> Result<&'static Environment, EngineError> {
    static ENVIRONMENT: OnceLock<Result<Environment, EngineError>> = OnceLock::new();
    let load = || {
        let path = match env::var_os("ORT_DYLIB_PATH") {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => default_library(),
        };
        let load = || -> TractResult<Environment> {
            let library = ort::init_from(path).map_err(|e| match e {
                // Its text leaves out what the loader said.
                LoadDynamicError::Dlopen { error, path } => {
                    TractError::new(error).context(path.display().to_string())
                }
                other => other.into(),
            });
            Ok(library?.with_telemetry(false).build()?)
        };
        guarded("onnxruntime", "", ErrorKind::Unavailable, load).map_err(|e| {
            e.with_hint("let ORT_DYLIB_PATH name the libonnxruntime.so of version 1.22 or later")
        })
    };
    ENVIRONMENT.get_or_init(load).as_ref().map_err(Clone::clone)
}

/// What the loader is asked for when the user names no file.
fn default_library() -> PathBuf {
    use env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}").into()
}

fn signature(graph: &OrtGraph) -> TractResult<Signature> {
    let specs = |outlets: &[Outlet]| outlets.iter().map(spec).collect::<TractResult<_>>();
    Ok(Signature {
        inputs: specs(graph.inputs())?,
        outputs: specs(graph.outputs())?,
    })
}

fn spec(outlet: &Outlet) -> TractResult<TensorSpec> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = outlet.dtype()
    else {
        bail!("{name} is no tensor");
    };
    let dtype = match ty {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Int64 => DType::I64,
        other => bail!("tensor {name} is of type {other:?}, only f32 and i64 are supported"),
    };
    let dim = |(n, symbol): (&i64, &String)| match usize::try_from(*n) {
        Ok(n) => Dim::Fixed(n),
        Err(_) => Dim::Symbol(symbol.clone()),
    };
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim);
    Ok(TensorSpec {
        shape: shape.collect(),
        name,
        dtype,
    })
}

struct OrtSession {
    label: String,
    signature: Signature,
    /// Which inputs have the batch as their outermost dimension; none in a graph without one.
    batch: Vec<bool>,
    graph: OrtGraph,
    /// After a panic the session can't be trusted.
    broken: Option<EngineError>,
}

impl Session for OrtSession {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.signature.check_inputs(inputs, &self.label)?;
        let (graph, batch) = (&mut self.graph, &self.batch);
        let result = guarded("onnxruntime", &self.label, ErrorKind::Run, || {
            run(graph, batch, inputs)
        });
        if let Err(error) = &result
            && error.kind() == ErrorKind::Panicked
        {
            self.broken = Some(error.clone());
        }
        result
    }

    fn profile(&mut self, _inputs: &[Value]) -> Result<Vec<OpTime>, EngineError> {
        Err(EngineError::new(
            ErrorKind::Unavailable,
            &self.label,
            "onnxruntime gives no times of operators here; hint: profile with the backend \
             tract-cpu, or with onnxruntime's own tools",
        ))
    }
}

fn run(graph: &mut OrtGraph, batch: &[bool], inputs: &[Value]) -> TractResult<Vec<Value>> {
    let one = |(value, batched): (&Value, &bool)| *batched && value.shape().first() == Some(&1);
    let single = inputs.iter().zip(batch).any(one);
    let twice = |(value, batched): (&Value, &bool)| {
        let tensor = value.tensor();
        Ok(match single && *batched {
            true => Arc::new(Tensor::stack_tensors(
                0,
                &[tensor.as_ref(), tensor.as_ref()],
            )?),
            false => tensor.clone(),
        })
    };
    let tensors = inputs.iter().zip(batch).map(twice);
    let tensors = tensors.collect::<TractResult<Vec<Arc<Tensor>>>>()?;
    let views = tensors.iter().map(|t| view(t));
    let views = views.collect::<TractResult<Vec<SessionInputValue<'_>>>>()?;
    let outputs = graph.run(&*views)?;
    let outputs = outputs.values().map(|output| {
        let tensor = tensor(&output)?;
        let tensor = if single {
            tensor.slice(0, 0, 1)?
        } else {
            tensor
        };
        Ok(Value::from_tensor(Arc::new(tensor)))
    });
    outputs.collect()
}

/// The elements are not copied.
fn view(tensor: &Tensor) -> TractResult<SessionInputValue<'_>> {
    let shape = tensor.shape().to_vec();
    let ram = tensor.try_as_plain_ram()?;
    Ok(match ram.as_slice::<f32>() {
        Ok(elements) => TensorRef::from_array_view((shape, elements))?.into(),
        Err(_) => TensorRef::from_array_view((shape, ram.as_slice::<i64>()?))?.into(),
    })
}

fn tensor(value: &DynValue) -> TractResult<Tensor> {
    fn shape(dims: &[i64]) -> TractResult<Vec<usize>> {
        Ok(dims
            .iter()
            .map(|d| usize::try_from(*d))
            .collect::<Result<_, _>>()?)
    }
    if let Ok((dims, elements)) = value.try_extract_tensor::<f32>() {
        return Tensor::from_shape(&shape(dims)?, elements);
    }
    let (dims, elements) = value.try_extract_tensor::<i64>()?;
    Tensor::from_shape(&shape(dims)?, elements)
}
