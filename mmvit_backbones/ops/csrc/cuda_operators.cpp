// The sampling operator for CUDA tensors.
#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#ifdef MMVIT_DEVICE_HEADER
#include MMVIT_DEVICE_HEADER
#else
#include "cuda_device.h"
#endif

#include "cuda_kernels.h"
#include "operators.h"

namespace mmvit {
namespace {

Type type_of(const Tensor& features) {
  switch (features.scalar_type()) {
    case at::kHalf: return Type::HALF;
    case at::kBFloat16: return Type::BFLOAT16;
    case at::kFloat: return Type::FLOAT;
    case at::kDouble: return Type::DOUBLE;
    default:
      TORCH_CHECK(false, "features: expected float16, bfloat16, float32 or float64, got ", features.scalar_type());
  }
}

void check_launch(cudaError_t error) {
  TORCH_CHECK(error == cudaSuccess, "varied-size windows: CUDA error: ", error_text(error));
}

Tensor sample_cuda(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                   int64_t left) {
  const DeviceGuard guard(features.device());
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = with_contiguous_channels(features), s = scale.contiguous(), o = offset.contiguous();
  const auto out = empty_token_major(shape.batch, shape.heads, shape.channels, shape.rows * window_size,
                                     shape.columns * window_size, x.options());
  if (out.numel() == 0) return out;
  const SampleProblem problem = {current_stream(),      type_of(x),   shape,
                                 map_of<const void>(x), s.data_ptr(), o.data_ptr()};
  check_launch(launch_sample(problem, map_of<void>(out)));
  return out;
}

std::tuple<Tensor, Tensor, Tensor> sample_backward_cuda(const Tensor& grad_sampled, const Tensor& features,
                                                        const Tensor& scale, const Tensor& offset, int64_t window_size,
                                                        int64_t top, int64_t left) {
  // The order of atomic additions differs between runs.
  at::globalContext().alertNotDeterministic("varied_size_window_sample_backward_cuda");
  const DeviceGuard guard(features.device());
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = with_contiguous_channels(features);
  const auto grad = with_contiguous_channels(grad_sampled.to(features.scalar_type()));
  const auto s = scale.contiguous(), o = offset.contiguous();
  const auto sums = zeros_token_major_like(x, s.options());
  const auto grad_s = at::zeros(s.sizes(), s.options()), grad_o = at::zeros(o.sizes(), o.options());
  if (grad.numel() > 0) {
    const SampleProblem problem = {current_stream(),      type_of(x),   shape,
                                   map_of<const void>(x), s.data_ptr(), o.data_ptr()};
    check_launch(launch_sample_backward(
        problem, {map_of<const void>(grad), map_of<void>(sums), grad_s.data_ptr(), grad_o.data_ptr()}));
  }
  return {sums.to(features.scalar_type()), grad_s, grad_o};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvit, MMVIT_DEVICE_KEY, m) {
  m.impl("vsa_sample", &sample_cuda);
  m.impl("vsa_sample_backward", &sample_backward_cuda);
}

}  // namespace mmvit
