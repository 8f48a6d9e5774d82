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

constexpr int QUERY = 0, KEY = 1, VALUE = 2;  // in the fourth dimension
constexpr int ORDER[MOST_MAPS] = {KEY, VALUE, QUERY};  // of the kernels

// Returns query, key or value as a map (batch, heads, channels, height, width).
Tensor part_of(const Tensor& packed, int part) { return packed.select(3, part).permute({0, 3, 4, 1, 2}); }

SampleProblem window_problem(const Shape& shape, const Tensor& qkv, const Tensor& scale, const Tensor& offset) {
  SampleProblem problem = {current_stream(), type_of(qkv), shape, MOST_MAPS, {}, scale.data_ptr(), offset.data_ptr()};
  for (int m = 0; m < MOST_MAPS; ++m) problem.maps[m] = map_of<const void>(part_of(qkv, ORDER[m]));
  return problem;
}

Tensor3 windows_cuda(const Tensor& qkv, const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                     int64_t left) {
  const DeviceGuard guard(qkv.device());
  const Shape shape = check_packed(qkv, scale, offset, window_size, top, left);
  const auto x = with_contiguous_last(qkv), s = scale.contiguous(), o = offset.contiguous();
  Tensor windows[MOST_MAPS];
  Tokens<void> tokens[MOST_MAPS];
  for (int m = 0; m < MOST_MAPS; ++m) {
    windows[ORDER[m]] = at::empty({shape.batch * shape.rows * shape.columns, shape.heads, shape.tokens(),
                                   shape.channels}, x.options());
    tokens[m] = tokens_of_windows<void>(shape, windows[ORDER[m]]);
  }
  if (windows[QUERY].numel() > 0) check_launch(launch_sample(window_problem(shape, x, s, o), tokens));
  return {windows[QUERY], windows[KEY], windows[VALUE]};
}

Tensor3 windows_backward_cuda(const Tensor& grad_q, const Tensor& grad_k, const Tensor& grad_v, const Tensor& qkv,
                              const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                              int64_t left) {
  alert_not_deterministic();
  const DeviceGuard guard(qkv.device());
  const Shape shape = check_packed(qkv, scale, offset, window_size, top, left);
  const auto x = with_contiguous_last(qkv), s = scale.contiguous(), o = offset.contiguous();
  const auto grad = at::empty(x.sizes(), x.options());
  // Half precision would lose small gradients of pixels that many tokens share.
  const bool is_exact = x.scalar_type() == s.scalar_type();
  const auto keys_and_values = grad.slice(3, KEY, VALUE + 1);
  const auto sums = is_exact ? keys_and_values.zero_() : at::zeros(keys_and_values.sizes(), s.options());
  const auto grad_s = at::zeros(s.sizes(), s.options()), grad_o = at::zeros(o.sizes(), o.options());
  const Tensor windows[MOST_MAPS] = {with_contiguous_last(grad_q.to(x.scalar_type())),
                                     with_contiguous_last(grad_k.to(x.scalar_type())),
                                     with_contiguous_last(grad_v.to(x.scalar_type()))};
  if (windows[QUERY].numel() > 0) {
    SampleGradients gradients = {{}, {}, map_of<void>(part_of(grad, QUERY)), grad_s.data_ptr(), grad_o.data_ptr()};
    for (int m = 0; m < MOST_MAPS; ++m)
      gradients.tokens[m] = tokens_of_windows<const void>(shape, windows[ORDER[m]]);
    for (int m = 0; m < 2; ++m) gradients.sums[m] = map_of<void>(part_of(sums, m));
    check_launch(launch_sample_backward(window_problem(shape, x, s, o), gradients));
  }
  if (!is_exact) keys_and_values.copy_(sums);
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
