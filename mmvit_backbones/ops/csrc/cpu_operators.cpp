// The operators for CPU tensors. Half precision is computed in float.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <string>

#include "cpu_kernels.h"
#include "operators.h"

namespace mmvit {
namespace {

// Returns the kernels for the instruction set that torch has selected.
template <typename A>
const CpuKernels<A>& kernels() {
  static const CpuKernels<A> chosen = [] {
#if defined(__x86_64__)
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return AVX512::kernels<A>();
    if (capability == "AVX2") return AVX2::kernels<A>();
#endif
    return DEFAULT::kernels<A>();
  }();
  return chosen;
}

template <typename Arguments, typename A>
void run(void (*kernel)(const Arguments&, A*, int64_t, int64_t), const Arguments& arguments, const Shape& shape,
         bool attention, int64_t count) {
  const int64_t elements = kernels<A>().workspace(shape, attention);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const Tensor workspace = at::empty({elements}, c10::CppTypeToScalarType<A>::value);
    kernel(arguments, workspace.data_ptr<A>(), begin, end);
  });
}

// Adds the gradients of sampled tokens to the gradients of pixels. The number of bands does not change the results.
template <typename A>
void add_pixel_gradients(const Shape& shape, const Tensor& scale, const Tensor& offset, const Tensor& grad_sampled,
                         const Tensor& grad_features) {
  const int64_t planes = shape.batch * shape.heads;
  if (planes == 0) return;
  const int64_t tasks = 4 * at::get_num_threads();  // at least, so that no thread waits long for others
  const int64_t bands = std::clamp<int64_t>((tasks + planes - 1) / planes, 1, std::max(shape.height, 1));
  const PixelGradients<A> arguments = {shape,
                                       scale.data_ptr<A>(),
                                       offset.data_ptr<A>(),
                                       map_of<const A>(grad_sampled),
                                       map_of<A>(grad_features),
                                       bands};
  run(kernels<A>().pixel_gradients, arguments, shape, false, planes * bands);
}

template <typename Function>
auto with_accumulator(const Tensor& x, Function function) {
  return x.scalar_type() == at::kDouble ? function(double()) : function(float());
}

Tensor prepare(const Tensor& x, at::ScalarType dtype) { return with_contiguous_channels(x.to(dtype)); }

// ---- sampling

Tensor sample_cpu(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size, int64_t top,
                  int64_t left) {
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = prepare(features, scale.scalar_type()), s = scale.contiguous(), o = offset.contiguous();
  const auto out = empty_token_major(shape.batch, shape.heads, shape.channels, shape.rows * window_size,
                                     shape.columns * window_size, x.options());
  with_accumulator(x, [&](auto zero) {
    using A = decltype(zero);
    const SampleArguments<A> arguments = {shape, map_of<const A>(x), s.data_ptr<A>(), o.data_ptr<A>(), map_of<A>(out)};
    run(kernels<A>().sample, arguments, shape, false, shape.windows());
  });
  return out.to(features.scalar_type());
}

std::tuple<Tensor, Tensor, Tensor> sample_backward_cpu(const Tensor& grad_sampled, const Tensor& features,
                                                       const Tensor& scale, const Tensor& offset, int64_t window_size,
                                                       int64_t top, int64_t left) {
  const Shape shape = check_sample(features, scale, offset, window_size, top, left);
  const auto x = prepare(features, scale.scalar_type()), grad = prepare(grad_sampled, scale.scalar_type());
  const auto s = scale.contiguous(), o = offset.contiguous();
  const auto grad_x = zeros_token_major_like(x, x.options());
  const auto grad_s = at::empty(s.sizes(), s.options()), grad_o = at::empty(o.sizes(), o.options());
  with_accumulator(x, [&](auto zero) {
    using A = decltype(zero);
    const SampleArguments<A> forward = {shape, map_of<const A>(x), s.data_ptr<A>(), o.data_ptr<A>(), {}};
    const PlaceGradients<A> arguments = {forward, map_of<const A>(grad), grad_s.data_ptr<A>(), grad_o.data_ptr<A>()};
    run(kernels<A>().place_gradients, arguments, shape, false, shape.windows());
    add_pixel_gradients<A>(shape, s, o, grad, grad_x);
  });
  return {grad_x.to(features.scalar_type()), grad_s, grad_o};
}

// ---- attention

// Returns the bias of each query and key, (heads, tokens, padded tokens), with -inf in the padding.
template <typename A>
Tensor expand_bias(const Shape& shape, const Tensor& table) {
  const int64_t tokens = shape.tokens(), padded = kernels<A>().padded(tokens);
  const Tensor source = table.contiguous();
  const Tensor bias = at::full({shape.heads, tokens, padded}, -std::numeric_limits<A>::infinity(), table.options());
  const A* from = source.data_ptr<A>();
  A* to = bias.data_ptr<A>();
  for (int32_t head = 0; head < shape.heads; ++head, to += tokens * padded)
    for_each_bias(shape.window_size, [&](int32_t query, int32_t key, int32_t row) {
      to[query * padded + key] = from[row * shape.heads + head];
    });
  return bias;
}

std::tuple<Tensor, Tensor> attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
                                         const Tensor& offset, const Tensor& bias_table, int64_t window_size,
                                         int64_t top, int64_t left, double softmax_scale) {
  const Shape shape = check_attention(q, k, v, scale, offset, bias_table, window_size, top, left);
  const auto dtype = position_dtype(q);
  const auto query = prepare(q, dtype), key = prepare(k, dtype), value = prepare(v, dtype);
  const auto s = scale.contiguous(), o = offset.contiguous();
  const auto out = empty_token_major_like(q, query.options());
  const auto lse = at::empty({shape.batch, shape.heads, shape.height, shape.width}, query.options());
  with_accumulator(query, [&](auto zero) {
    using A = decltype(zero);
    const Tensor bias = expand_bias<A>(shape, bias_table);
    const AttentionArguments<A> arguments = {
        shape, A(softmax_scale), map_of<const A>(query), map_of<const A>(key), map_of<const A>(value),
        s.data_ptr<A>(), o.data_ptr<A>(), bias.data_ptr<A>(), map_of<A>(out), lse.data_ptr<A>()};
    run(kernels<A>().attention, arguments, shape, true, shape.windows());
  });
  return {out.to(q.scalar_type()), lse};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> attention_backward_cpu(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
    const Tensor& offset, const Tensor& bias_table, const Tensor& lse, int64_t window_size, int64_t top, int64_t left,
    double softmax_scale) {
  const Shape shape = check_attention(q, k, v, scale, offset, bias_table, window_size, top, left);
  const auto dtype = position_dtype(q);
  const auto query = prepare(q, dtype), key = prepare(k, dtype), value = prepare(v, dtype);
  const auto grad = prepare(grad_out, dtype), s = scale.contiguous(), o = offset.contiguous(), l = lse.contiguous();
  const auto grad_q = empty_token_major_like(q, query.options());
  const auto grad_k = zeros_token_major_like(k, key.options()), grad_v = zeros_token_major_like(v, value.options());
  const auto grad_s = at::empty(s.sizes(), s.options()), grad_o = at::empty(o.sizes(), o.options());
  const auto grad_bias = at::empty({shape.batch, shape.heads, shape.rows, shape.bias_rows()}, s.options());
  const auto sampled_k = empty_token_major(shape.batch, shape.heads, shape.channels, shape.rows * window_size,
                                           shape.columns * window_size, key.options());
  const auto sampled_v = at::empty_like(sampled_k);
  with_accumulator(query, [&](auto zero) {
    using A = decltype(zero);
    const Tensor bias = expand_bias<A>(shape, bias_table);
    const AttentionArguments<A> forward = {
        shape, A(softmax_scale), map_of<const A>(query), map_of<const A>(key), map_of<const A>(value),
        s.data_ptr<A>(), o.data_ptr<A>(), bias.data_ptr<A>(), {}, l.data_ptr<A>()};
    const AttentionGradients<A> arguments = {
        forward, map_of<const A>(grad), map_of<A>(grad_q), map_of<A>(sampled_k), map_of<A>(sampled_v),
        grad_s.data_ptr<A>(), grad_o.data_ptr<A>(), grad_bias.data_ptr<A>()};
    run(kernels<A>().attention_backward, arguments, shape, true, shape.batch * shape.heads * shape.rows);
    add_pixel_gradients<A>(shape, s, o, sampled_k, grad_k);
    add_pixel_gradients<A>(shape, s, o, sampled_v, grad_v);
  });
  return {grad_q.to(q.scalar_type()), grad_k.to(q.scalar_type()), grad_v.to(q.scalar_type()), grad_s, grad_o,
          grad_bias.sum(at::IntArrayRef({0, 2})).t().contiguous()};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvit, CPU, m) {
  m.impl("vsa_sample", &sample_cpu);
  m.impl("vsa_sample_backward", &sample_backward_cpu);
  m.impl("vsa_attention", &attention_cpu);
  m.impl("vsa_attention_backward", &attention_backward_cpu);
}

}  // namespace mmvit
