//! tract on an NVIDIA GPU.

use std::any::Any;
use std::panic::catch_unwind;

use bedside_bundle::Bytes;
use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;
use tract_core::runtime::{RunOptions, runtime_for_name};
use tract_cuda::utils::ensure_cuda_runtime_dependencies;
use tract_cuda::with_cuda_stream;
use tract_gpu::fact::DeviceTypedFactExt;
use tract_gpu::sync::DeviceSync;

use crate::backend::{Backend, LoadOptions, OpTime, Placement, Session};
use crate::device::nvidia;
use crate::error::{EngineError, ErrorKind};
use crate::guard::guarded;
use crate::signature::Signature;
use crate::tract_cpu::{TractSession, load};
use crate::value::Value;

/// tract on the first NVIDIA GPU, with tract's own operators.
///
/// CUDA's libraries are loaded when the backend is first asked for something, so a program with it
/// runs where they are not. Kernels are compiled at first use and kept in tract's cache. A node
/// without a kernel runs on the CPU, with copies around it: see [`Placement`]. Outputs stay on the
/// GPU until their numbers are read, and go into another session without a copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct TractCuda;

impl Backend for TractCuda {
    fn name(&self) -> &'static str {
        "tract-cuda"
    }

    fn fingerprint(&self) -> Option<String> {
        nvidia()
    }

    fn available(&self) -> Result<(), EngineError> {
        guarded("tract-cuda", "", ErrorKind::Unavailable, start).map_err(|e| {
            e.with_hint("install what docs/backends.md lists, or name the backend tract-cpu")
        })
    }

    fn load(&self, onnx: &Bytes, options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        self.available()?;
        let mut placement = Placement::default();
        let inner = load(onnx, options, false, |model, run_options| {
            let plan = on_gpu(model, run_options)?;
            placement = place(plan.model());
            Ok(plan)
        })?;
        if options.require_device && !placement.host.is_empty() {
            let message = format!(
                "{placement}, and a device is required; hint: export the graph without these \
                 operators, or require no device"
            );
            return Err(EngineError::new(
                ErrorKind::Unavailable,
                &options.label,
                message,
            ));
        }
        Ok(Box::new(CudaSession { inner, placement }))
    }
}

/// Load CUDA's libraries and, at the first use on a device, compile tract's kernels.
fn start() -> TractResult<()> {
    ensure_cuda_runtime_dependencies("CUDA is not usable here")?;
    // tract panics when it can't make its context, be it for want of a header.
    match catch_unwind(|| with_cuda_stream(|_| Ok(()))) {
        Ok(started) => started,
        Err(panic) => bail!("{}", panic_text(panic.as_ref())),
    }
}

/// What a caught panic said.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

fn on_gpu(model: TypedModel, options: &RunOptions) -> TractResult<Arc<TypedSimplePlan>> {
    let runtime = runtime_for_name("cuda")?.context("no CUDA runtime in this build of tract")?;
    let runnable = runtime.prepare_with_options(model, options)?;
    let plan = runnable.typed_plan().context("CUDA gave no plan")?;
    Ok(plan.clone())
}

/// A node is on the device when what it gives is.
fn place(model: &TypedModel) -> Placement {
    let mut placement = Placement::default();
    for node in &model.nodes {
        if node.op_is::<Const>() || node.op_is::<TypedSource>() || node.op_is::<DeviceSync>() {
            continue;
        }
        let on_device = |o: &Outlet<TypedFact>| o.fact.as_device_fact().is_some();
        if node.outputs.iter().any(on_device) {
            placement.device += 1;
        } else {
            *placement.host.entry(node.op.name().into()).or_default() += 1;
        }
    }
    placement
}

struct CudaSession {
    inner: TractSession,
    placement: Placement,
}

impl Session for CudaSession {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EngineError> {
        self.inner.run(inputs)
    }

    fn placement(&self) -> Option<&Placement> {
        Some(&self.placement)
    }

    /// Times to launch, not to finish, except where a node waits for the device.
    fn profile(&mut self, inputs: &[Value]) -> Result<Vec<OpTime>, EngineError> {
        self.inner.profile(inputs)
    }
}

/// Without a GPU, what can be known of a plan: tract's own translation, node by node, run with a
/// stand-in for the device's memory. tract makes its context before the rewrites that precede it,
/// so those that it keeps to itself are left out here.
#[cfg(test)]
mod tests {
    use std::ops::Deref;

    use bedside_bundle::{Bundle, Precision};
    use tract_core::model::translator::Translate;
    use tract_core::ops::cnn::{conv::rewrite_kernel_conv_in_oihw, rewrite_conv_with_n_axis};
    use tract_core::ops::einsum::prefix_matmul::rewrite_einsum_to_prefix_matmul;
    use tract_cuda::CudaTransform;
    use tract_gpu::device::{DeviceBuffer, DeviceContext};
    use tract_gpu::tensor::{DeviceTensor, OwnedDeviceTensor};
    use tract_linalg::multithread::Executor;

    use super::*;
    use crate::tract_cpu::prepare;

    /// Memory of a device that is not there.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct StandIn(Arc<Tensor>);

    impl Deref for StandIn {
        type Target = Tensor;
        fn deref(&self) -> &Tensor {
            &self.0
        }
    }

    const NEVER_RUN: &str = "nothing runs on a stand-in";

    #[allow(clippy::panic, reason = "a test may")]
    impl OwnedDeviceTensor for StandIn {
        fn datum_type(&self) -> DatumType {
            self.0.datum_type()
        }
        fn shape(&self) -> &[usize] {
            self.0.shape()
        }
        fn strides(&self) -> &[isize] {
            self.0.strides()
        }
        fn reshaped(&self, shape: TVec<usize>) -> TractResult<DeviceTensor> {
            let tensor = self.0.as_ref().clone().into_shape(&shape)?;
            Ok(DeviceTensor::Owned(Box::new(Self(
                tensor.into_arc_tensor(),
            ))))
        }
        fn restrided(&self, _: TVec<isize>) -> TractResult<DeviceTensor> {
            bail!(NEVER_RUN)
        }
        fn exotic_fact(&self) -> Option<&dyn ExoticFact> {
            None
        }
        fn get_bytes_slice(&self, _: usize, _: usize) -> Vec<u8> {
            panic!("{NEVER_RUN}")
        }
        fn device_buffer(&self) -> &dyn DeviceBuffer {
            panic!("{NEVER_RUN}")
        }
        fn to_host(&self) -> TractResult<Arc<Tensor>> {
            Ok(self.0.clone())
        }
    }

    #[derive(Clone)]
    struct NoDevice;

    impl DeviceContext for NoDevice {
        fn tensor_to_device(&self, tensor: TValue) -> TractResult<Box<dyn OwnedDeviceTensor>> {
            Ok(Box::new(StandIn(tensor.into_arc_tensor())))
        }
        fn uninitialized_device_tensor(
            &self,
            shape: &[usize],
            dt: DatumType,
        ) -> TractResult<Box<dyn OwnedDeviceTensor>> {
            let tensor = Tensor::zero_dt(dt, shape)?;
            Ok(Box::new(StandIn(tensor.into_arc_tensor())))
        }
        fn uninitialized_device_exotic_tensor(
            &self,
            _: Box<dyn ExoticFact>,
        ) -> TractResult<Box<dyn OwnedDeviceTensor>> {
            bail!(NEVER_RUN)
        }
        fn synchronize(&self) -> TractResult<()> {
            Ok(())
        }
        fn copy_nd(
            &self,
            _: &DeviceTensor,
            _: usize,
            _: &[isize],
            _: &DeviceTensor,
            _: usize,
            _: &[usize],
            _: &[isize],
        ) -> TractResult<()> {
            bail!(NEVER_RUN)
        }
    }

    fn placement(onnx: &Bytes) -> Placement {
        let mut placement = Placement::default();
        let planned = prepare(
            onnx,
            &[],
            &Executor::SingleThread,
            false,
            &[],
            |mut model, options| {
                rewrite_einsum_to_prefix_matmul(&mut model, false)?;
                Rewriter::default()
                    .with_rule_for("oihw", rewrite_kernel_conv_in_oihw)
                    .with_rule_for("n axis", rewrite_conv_with_n_axis)
                    .rewrite(&(), &mut model)?;
                let model = CudaTransform.translate_model(&model)?;
                placement = place(&model);
                TypedSimplePlan::new_with_options(model, options)
            },
        );
        planned.unwrap();
        placement
    }

    /// What is left on the CPU only for want of a rewrite: products with a transposed output, and
    /// sums over several axes.
    const REWRITTEN_ON_A_DEVICE: [&str; 2] = ["PrefixMatMul", "Reduce<Sum>"];

    #[test]
    fn real_arithmetic_of_the_edge_model_has_kernels_and_codes_have_none() {
        if TractCuda.available().is_ok() {
            eprintln!("skipped: there is a device, on which the conformance suite runs");
            return;
        }
        tract_gpu::device::set_context(Box::new(NoDevice)).unwrap();
        let bundle = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../models/edge/edge.bedside"
        );
        let bundle = Bundle::open(bundle).unwrap();
        for precision in [Precision::F32, Precision::Int8] {
            let variant = bundle.manifest().variant(precision).unwrap().clone();
            for part in [&variant.encoder, &variant.decoder] {
                let placement = placement(&bundle.part(part).unwrap().into());
                println!("{part}: {placement}");
                let mut without: Vec<&str> = placement.host.keys().map(String::as_str).collect();
                without.retain(|op| !REWRITTEN_ON_A_DEVICE.contains(op));
                let expected: &[&str] = match part.contains("int8") {
                    true => &["DequantizeLinearF32", "QuantizeLinearU8"],
                    false => &[],
                };
                assert_eq!(without, expected, "{part}: {placement}");
                assert!(placement.device > 0, "{part}: {placement}");
            }
        }
    }
}
