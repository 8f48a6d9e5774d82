// The operators for CUDA tensors.
#include <ATen/Context.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>

#ifdef MMVIT_DEVICE_HEADER
#include MMVIT_DEVICE_HEADER
#else
#include "cuda_device.h"
#endif

#include "cuda_kernels.h"
#include "operators.h"

namespace mmvit {
namespace {

// Maximum number of tables for the gradient of the bias; deterministic mode has one per window. Several tables reduce
// contention between atomic additions.
constexpr int64_t BIAS_SLOTS = 128;

Launch launch_for(const Tensor& features) {
  const auto type = [&] {
    switch (features.scalar_type()) {
      case at::kHalf: return Type::HALF;
      case at::kBFloat16: return Type::BFLOAT16;
      case at::kFloat: return Type::FLOAT;
      case at::kDouble: return Type::DOUBLE;
      default:
        TORCH_CHECK(false, "features: expected float16, bfloat16, float32 or float64, got ", features.scalar_type());
    }
  }();
  return {current_stream(), type, shared_memory_limit()};
}

void check_launch(cudaError_t error, const Shape& shape) {
  TORCH_CHECK(error != cudaErrorInvalidConfiguration, "varied-size windows: ", shape.window_size, " x ",
              shape.window_size, " tokens of ", shape.channels,
              " channels exceed the shared memory of this device; use smaller windows or backend='reference'");
  TORCH_CHECK(error == cudaSuccess, "varied-size windows: CUDA error: ", error_text(error));
}

Map<const void> input(const Tensor& x) { return map_of<const void>(x); }
Map<void> output(const Tensor& x) { return map_of<void>(x); }

// ---- sampling

Tensor sample_cuda(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                   int64_t left) {
  const DeviceGuard guard(features.device());
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = with_contiguous_channels(features), s = scale.contiguous(), o = offset.contiguous();
  const auto out = empty_token_major(shape.batch, shape.heads, shape.channels, shape.rows * window_size,
                                     shape.columns * window_size, x.options());
  if (out.numel() == 0) return out;
  const SampleProblem problem = {shape, input(x), s.data_ptr(), o.data_ptr()};
  check_launch(launch_sample(launch_for(x), problem, output(out)), shape);
  return out;
}

std::tuple<Tensor, Tensor, Tensor> sample_backward_cuda(const Tensor& grad_sampled, const Tensor& features,
                                                        const Tensor& scale, const Tensor& offset, int64_t window_size,
                                                        int64_t top, int64_t left) {
  const DeviceGuard guard(features.device());
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = with_contiguous_channels(features);
  const auto grad = with_contiguous_channels(grad_sampled.to(features.scalar_type()));
  const auto s = scale.contiguous(), o = offset.contiguous();
  const auto sums = zeros_token_major_like(x, s.options());
  const auto grad_s = at::zeros(s.sizes(), s.options()), grad_o = at::zeros(o.sizes(), o.options());
  if (grad.numel() > 0) {
    const SampleGradientProblem problem = {{shape, input(x), s.data_ptr(), o.data_ptr()},
                                           input(grad),
                                           output(sums),
                                           grad_s.data_ptr(),
                                           grad_o.data_ptr(),
                                           at::globalContext().deterministicAlgorithms()};
    check_launch(launch_sample_backward(launch_for(x), problem), shape);
  }
  return {sums.to(features.scalar_type()), grad_s, grad_o};
}

// ---- attention

std::tuple<Tensor, Tensor> attention_cuda(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
                                          const Tensor& offset, const Tensor& bias_table, int64_t window_size,
                                          int64_t top, int64_t left, double softmax_scale) {
  const DeviceGuard guard(q.device());
  const Shape shape = check_attention(q, k, v, scale, offset, bias_table, window_size, top, left);
  const auto query = with_contiguous_channels(q), key = with_contiguous_channels(k);
  const auto value = with_contiguous_channels(v);
  const auto s = scale.contiguous(), o = offset.contiguous(), table = bias_table.contiguous();
  const auto out = empty_token_major_like(q, q.options());
  const auto lse = at::empty({shape.batch, shape.heads, shape.height, shape.width}, s.options());
  if (out.numel() == 0) return {out, lse};
  const AttentionProblem problem = {shape,        softmax_scale, input(query),     input(key),    input(value),
                                    s.data_ptr(), o.data_ptr(),  table.data_ptr(), lse.data_ptr()};
  check_launch(launch_attention(launch_for(q), problem, output(out)), shape);
  return {out, lse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> attention_backward_cuda(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
    const Tensor& offset, const Tensor& bias_table, const Tensor& lse, int64_t window_size, int64_t top, int64_t left,
    double softmax_scale) {
  const DeviceGuard guard(q.device());
  const Shape shape = check_attention(q, k, v, scale, offset, bias_table, window_size, top, left);
  const auto query = with_contiguous_channels(q), key = with_contiguous_channels(k);
  const auto value = with_contiguous_channels(v), grad = with_contiguous_channels(grad_out.to(q.scalar_type()));
  const auto s = scale.contiguous(), o = offset.contiguous(), table = bias_table.contiguous(), l = lse.contiguous();
  const bool deterministic = at::globalContext().deterministicAlgorithms();
  const int64_t grid = shape.batch * shape.rows * shape.columns;
  const int64_t slots = deterministic ? grid : std::min(grid, BIAS_SLOTS);
  const auto grad_q = empty_token_major_like(q, q.options());
  const auto sums_k = zeros_token_major_like(k, s.options()), sums_v = zeros_token_major_like(v, s.options());
  const auto grad_s = at::zeros(s.sizes(), s.options()), grad_o = at::zeros(o.sizes(), o.options());
  const auto grad_bias = at::zeros({slots, shape.heads, shape.bias_rows()}, s.options());
  Tensor sampled_k, sampled_v;
  if (deterministic) {
    sampled_k = at::empty({shape.windows(), shape.tokens(), shape.channels}, s.options());
    sampled_v = at::empty_like(sampled_k);
  }
  if (grad.numel() > 0) {
    const AttentionGradientProblem problem = {
        {shape, softmax_scale, input(query), input(key), input(value), s.data_ptr(), o.data_ptr(), table.data_ptr(),
         l.data_ptr()},
        input(grad),
        output(grad_q),
        output(sums_k),
        output(sums_v),
        grad_s.data_ptr(),
        grad_o.data_ptr(),
        grad_bias.data_ptr(),
        slots,
        deterministic ? sampled_k.data_ptr() : nullptr,
        deterministic ? sampled_v.data_ptr() : nullptr};
    check_launch(launch_attention_backward(launch_for(q), problem), shape);
  }
  return {grad_q, sums_k.to(k.scalar_type()), sums_v.to(v.scalar_type()), grad_s, grad_o,
          grad_bias.sum(0).t().contiguous()};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvit, MMVIT_DEVICE_KEY, m) {
  m.impl("vsa_sample", &sample_cuda);
  m.impl("vsa_sample_backward", &sample_backward_cuda);
  m.impl("vsa_attention", &attention_cuda);
  m.impl("vsa_attention_backward", &attention_backward_cuda);
}

}  // namespace mmvit
