// The sampling operators for CUDA tensors.
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

// The order of atomic additions differs between runs.
void alert_not_deterministic() { at::globalContext().alertNotDeterministic("varied_size_window_sample_backward_cuda"); }

// Returns the tokens of windows in a map (batch, heads, channels, rows * window_size, columns * window_size).
template <typename T>
Tokens<T> tokens_of_map(const Shape& s, const Tensor& x) {
  const auto map = map_of<T>(x);
  return {map.data, map.batch, map.head, map.row * s.window_size, map.column * s.window_size, map.row, map.column};
}

// Returns the tokens of windows (batch * rows * columns, heads, tokens, channels).
template <typename T>
Tokens<T> tokens_of_windows(const Shape& s, const Tensor& x) {
  const int64_t window = x.stride(0), token = x.stride(2);
  return {static_cast<T*>(x.data_ptr()), s.rows * s.columns * window, x.stride(1), s.columns * window, window,
          s.window_size * token, token};
}

Tensor sample_cuda(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                   int64_t left) {
  const DeviceGuard guard(features.device());
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = with_contiguous_channels(features), s = scale.contiguous(), o = offset.contiguous();
  const auto out = empty_token_major(shape.batch, shape.heads, shape.channels, shape.rows * window_size,
                                     shape.columns * window_size, x.options());
  if (out.numel() == 0) return out;
  const SampleProblem problem = {current_stream(), type_of(x), shape, 1, {map_of<const void>(x)}, s.data_ptr(),
                                 o.data_ptr()};
  const auto tokens = tokens_of_map<void>(shape, out);
  check_launch(launch_sample(problem, &tokens));
  return out;
}

Tensor3 sample_backward_cuda(const Tensor& grad_sampled, const Tensor& features, const Tensor& scale,
                             const Tensor& offset, int64_t window_size, int64_t top, int64_t left) {
  alert_not_deterministic();
  const DeviceGuard guard(features.device());
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = with_contiguous_channels(features);
  const auto grad = with_contiguous_channels(grad_sampled.to(features.scalar_type()));
  const auto s = scale.contiguous(), o = offset.contiguous();
  const auto sums = zeros_token_major_like(x, s.options());
  const auto grad_s = at::zeros(s.sizes(), s.options()), grad_o = at::zeros(o.sizes(), o.options());
  if (grad.numel() > 0) {
    const SampleProblem problem = {current_stream(), type_of(x), shape, 1, {map_of<const void>(x)}, s.data_ptr(),
                                   o.data_ptr()};
    check_launch(launch_sample_backward(problem, {{tokens_of_map<const void>(shape, grad)}, {map_of<void>(sums)}, {},
                                                  grad_s.data_ptr(), grad_o.data_ptr()}));
  }
  return {sums.to(features.scalar_type()), grad_s, grad_o};
}

// ---- windows of a packed projection (batch, height, width, 3, heads, channels)

constexpr int64_t KEY = 1, VALUE = 2;  // in the projection's fourth dimension; the query is 0

// Returns a part of a projection as a map (batch, heads, channels, height, width).
template <typename T>
Map<T> map_of_part(const Tensor& packed, int64_t part) {
  return map_of<T>(packed.select(3, part).permute({0, 3, 4, 1, 2}));
}

Tensor3 windows_cuda(const Tensor& qkv, const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                     int64_t left) {
  const DeviceGuard guard(qkv.device());
  const Shape shape = check_packed(qkv, 3, scale, offset, window_size, top, left);
  const auto x = with_contiguous_last(qkv), s = scale.contiguous(), o = offset.contiguous();
  const auto empty = [&] {
    return at::empty({shape.batch * shape.rows * shape.columns, shape.heads, shape.tokens(), shape.channels},
                     x.options());
  };
  const auto query = empty(), key = empty(), value = empty();
  if (query.numel() > 0) {
    const SampleProblem problem = {current_stream(), type_of(x), shape, MOST_MAPS,
                                   {map_of_part<const void>(x, KEY), map_of_part<const void>(x, VALUE),
                                    map_of_part<const void>(x, 0)},
                                   s.data_ptr(), o.data_ptr()};
    const Tokens<void> tokens[] = {tokens_of_windows<void>(shape, key), tokens_of_windows<void>(shape, value),
                                   tokens_of_windows<void>(shape, query)};
    check_launch(launch_sample(problem, tokens));
  }
  return {query, key, value};
}

// `kv` are the keys and values of the projection, (batch, height, width, 2, heads, channels).
Tensor3 windows_backward_cuda(const Tensor& grad_q, const Tensor& grad_k, const Tensor& grad_v, const Tensor& kv,
                              const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                              int64_t left) {
  alert_not_deterministic();
  const DeviceGuard guard(kv.device());
  const Shape shape = check_packed(kv, 2, scale, offset, window_size, top, left);
  const auto x = with_contiguous_last(kv), s = scale.contiguous(), o = offset.contiguous();
  const auto grad = at::empty({shape.batch, shape.height, shape.width, 3, shape.heads, shape.channels}, x.options());
  const auto grad_kv = grad.slice(3, KEY, VALUE + 1);
  // Sums in half precision would lose small gradients.
  const bool is_exact = x.scalar_type() == s.scalar_type();
  const auto sums = is_exact ? grad_kv.zero_() : at::zeros(grad_kv.sizes(), s.options());
  const auto grad_s = at::zeros(s.sizes(), s.options()), grad_o = at::zeros(o.sizes(), o.options());
  const auto prepare = [&](const Tensor& tokens) { return with_contiguous_last(tokens.to(x.scalar_type())); };
  const auto query = prepare(grad_q), key = prepare(grad_k), value = prepare(grad_v);
  if (query.numel() > 0) {
    const SampleProblem problem = {current_stream(), type_of(x), shape, MOST_MAPS,
                                   {map_of_part<const void>(x, 0), map_of_part<const void>(x, 1)},
                                   s.data_ptr(), o.data_ptr()};
    const SampleGradients gradients = {
        {tokens_of_windows<const void>(shape, key), tokens_of_windows<const void>(shape, value),
         tokens_of_windows<const void>(shape, query)},
        {map_of_part<void>(sums, 0), map_of_part<void>(sums, 1)}, map_of_part<void>(grad, 0), grad_s.data_ptr(),
        grad_o.data_ptr()};
    check_launch(launch_sample_backward(problem, gradients));
  }
  if (!is_exact) grad_kv.copy_(sums);
  return {grad, grad_s, grad_o};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvit, MMVIT_DEVICE_KEY, m) {
  m.impl("vsa_sample", &sample_cuda);
  m.impl("vsa_sample_backward", &sample_backward_cuda);
  m.impl("vsa_windows", &windows_cuda);
  m.impl("vsa_windows_backward", &windows_backward_cuda);
}

}  // namespace mmvit
