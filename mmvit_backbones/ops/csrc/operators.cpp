// Schemas of the operators, and their implementations for meta tensors, autograd and autocast. The library does not use
// Python, so that one build works with every Python version.
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <string>

#include "operators.h"

namespace mmvit {
namespace {

using c10::SymInt;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Tensor2 = std::tuple<Tensor, Tensor>;
using Tensor6 = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename Signature>
c10::TypedOperatorHandle<Signature> find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// ---- calls through the dispatcher

Tensor sample(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size, SymInt top,
              SymInt left) {
  static const auto op = find_operator<decltype(sample)>("mmvit::vsa_sample");
  return op.call(features, scale, offset, window_size, std::move(top), std::move(left));
}

Tensor3 sample_backward(const Tensor& grad_sampled, const Tensor& features, const Tensor& scale, const Tensor& offset,
                        int64_t window_size, SymInt top, SymInt left) {
  static const auto op = find_operator<decltype(sample_backward)>("mmvit::vsa_sample_backward");
  return op.call(grad_sampled, features, scale, offset, window_size, std::move(top), std::move(left));
}

Tensor3 windows(const Tensor& qkv, const Tensor& scale, const Tensor& offset, int64_t window_size, SymInt top,
                SymInt left) {
  static const auto op = find_operator<decltype(windows)>("mmvit::vsa_windows");
  return op.call(qkv, scale, offset, window_size, std::move(top), std::move(left));
}

Tensor3 windows_backward(const Tensor& grad_q, const Tensor& grad_k, const Tensor& grad_v, const Tensor& kv,
                         const Tensor& scale, const Tensor& offset, int64_t window_size, SymInt top, SymInt left) {
  static const auto op = find_operator<decltype(windows_backward)>("mmvit::vsa_windows_backward");
  return op.call(grad_q, grad_k, grad_v, kv, scale, offset, window_size, std::move(top), std::move(left));
}

Tensor2 attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale, const Tensor& offset,
                  const Tensor& bias_table, int64_t window_size, SymInt top, SymInt left, double softmax_scale) {
  static const auto op = find_operator<decltype(attention)>("mmvit::vsa_attention");
  return op.call(q, k, v, scale, offset, bias_table, window_size, std::move(top), std::move(left), softmax_scale);
}

Tensor6 attention_backward(const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v,
                           const Tensor& scale, const Tensor& offset, const Tensor& bias_table, const Tensor& lse,
                           int64_t window_size, SymInt top, SymInt left, double softmax_scale) {
  static const auto op = find_operator<decltype(attention_backward)>("mmvit::vsa_attention_backward");
  return op.call(grad_out, q, k, v, scale, offset, bias_table, lse, window_size, std::move(top), std::move(left),
                 softmax_scale);
}

// ---- meta tensors

Tensor sample_meta(const Tensor& features, const Tensor& scale, const Tensor&, int64_t window_size, SymInt, SymInt) {
  return empty_token_major(features.sym_size(0), features.sym_size(1), features.sym_size(2),
                           scale.sym_size(3) * window_size, scale.sym_size(4) * window_size, features.options());
}

Tensor3 sample_backward_meta(const Tensor&, const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t,
                             SymInt, SymInt) {
  return {empty_token_major_like(features, features.options()),
          at::empty_symint(scale.sym_sizes(), scale.options()),
          at::empty_symint(offset.sym_sizes(), offset.options())};
}

Tensor3 windows_meta(const Tensor& qkv, const Tensor& scale, const Tensor&, int64_t window_size, SymInt, SymInt) {
  const auto empty = [&] {
    return at::empty_symint({scale.sym_size(0) * scale.sym_size(3) * scale.sym_size(4), qkv.sym_size(4),
                             window_size * window_size, qkv.sym_size(5)}, qkv.options());
  };
  return {empty(), empty(), empty()};
}

Tensor3 windows_backward_meta(const Tensor&, const Tensor&, const Tensor&, const Tensor& kv, const Tensor& scale,
                              const Tensor& offset, int64_t, SymInt, SymInt) {
  const auto size = kv.sym_sizes();
  return {at::empty_symint({size[0], size[1], size[2], 3, size[4], size[5]}, kv.options()), at::empty_symint(scale.sym_sizes(), scale.options()),
          at::empty_symint(offset.sym_sizes(), offset.options())};
}

Tensor2 attention_meta(const Tensor& q, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                       int64_t, SymInt, SymInt, double) {
  return {empty_token_major_like(q, q.options()),
          at::empty_symint({q.sym_size(0), q.sym_size(1), q.sym_size(3), q.sym_size(4)},
                           q.options().dtype(position_dtype(q)))};
}

Tensor6 attention_backward_meta(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
                                const Tensor& offset, const Tensor& bias_table, const Tensor&, int64_t, SymInt, SymInt,
                                double) {
  return {empty_token_major_like(q, q.options()),
          empty_token_major_like(k, k.options()),
          empty_token_major_like(v, v.options()),
          at::empty_symint(scale.sym_sizes(), scale.options()),
          at::empty_symint(offset.sym_sizes(), offset.options()),
          at::empty_symint(bias_table.sym_sizes(), bias_table.options())};
}

// ---- autograd

struct Sample : torch::autograd::Function<Sample> {
  static Tensor forward(AutogradContext* context, const Tensor& features, const Tensor& scale, const Tensor& offset,
                        int64_t window_size, SymInt top, SymInt left) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({features, scale, offset});
    context->saved_data["window_size"] = window_size;
    context->saved_data["top"] = top;
    context->saved_data["left"] = left;
    return sample(features, scale, offset, window_size, top, left);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto [features, scale, offset] =
        sample_backward(grads[0], saved[0], saved[1], saved[2], context->saved_data["window_size"].toInt(),
                        context->saved_data["top"].toSymInt(), context->saved_data["left"].toSymInt());
    return {features, scale, offset, Tensor(), Tensor(), Tensor()};
  }
};

struct Windows : torch::autograd::Function<Windows> {
  static variable_list forward(AutogradContext* context, const Tensor& qkv, const Tensor& scale, const Tensor& offset,
                               int64_t window_size, SymInt top, SymInt left) {
    at::AutoDispatchBelowADInplaceOrView guard;
    context->save_for_backward({qkv, scale, offset});
    context->saved_data["window_size"] = window_size;
    context->saved_data["top"] = top;
    context->saved_data["left"] = left;
    auto [q, k, v] = windows(qkv, scale, offset, window_size, top, left);
    return {q, k, v};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const auto [qkv, scale, offset] =
        windows_backward(grads[0], grads[1], grads[2], saved[0].slice(3, 1, 3), saved[1], saved[2],
                         data["window_size"].toInt(), data["top"].toSymInt(), data["left"].toSymInt());
    return {qkv, scale, offset, Tensor(), Tensor(), Tensor()};
  }
};

struct Attention : torch::autograd::Function<Attention> {
  static variable_list forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                               const Tensor& scale, const Tensor& offset, const Tensor& bias_table,
                               int64_t window_size, SymInt top, SymInt left, double softmax_scale) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [out, lse] = attention(q, k, v, scale, offset, bias_table, window_size, top, left, softmax_scale);
    context->save_for_backward({q, k, v, scale, offset, bias_table, lse});
    context->mark_non_differentiable({lse});
    context->saved_data["window_size"] = window_size;
    context->saved_data["top"] = top;
    context->saved_data["left"] = left;
    context->saved_data["softmax_scale"] = softmax_scale;
    return {out, lse};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto x = context->get_saved_variables();
    auto& data = context->saved_data;
    const auto [q, k, v, scale, offset, bias_table] =
        attention_backward(grads[0], x[0], x[1], x[2], x[3], x[4], x[5], x[6], data["window_size"].toInt(),
                           data["top"].toSymInt(), data["left"].toSymInt(), data["softmax_scale"].toDouble());
    return {q, k, v, scale, offset, bias_table, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

// Raises an error in double backward, where gradients would otherwise silently be 0.
struct NoSecondDerivative : torch::autograd::Function<NoSecondDerivative> {
  static Tensor forward(AutogradContext*, const Tensor& grad, const Tensor&) { return grad; }

  static variable_list backward(AutogradContext*, variable_list) {
    TORCH_CHECK(false, "varied-size windows: kernels have only first derivatives; for second derivatives, compute the "
                       "forward pass inside `with mmvit_backbones.ops.plain_pytorch():`");
  }
};

void refuse_second_derivatives(variable_list& grads, const variable_list& sources) {
  if (!at::GradMode::is_enabled()) return;
  for (const Tensor& source : sources) {
    if (!source.requires_grad()) continue;
    for (Tensor& grad : grads) grad = NoSecondDerivative::apply(grad, source);
    return;
  }
}

// Calls an autograd function; if PyTorch cannot run it in a transform of torch.func or in forward mode, names the remedy.
template <typename Function>
auto differentiate(Function apply) {
  try {
    return apply();
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    if (message.find("functorch") == std::string::npos && message.find("jvp") == std::string::npos) throw;
    TORCH_CHECK(false, "varied-size windows: kernels do not run in this transform; use "
                       "`with mmvit_backbones.ops.plain_pytorch():` (", message, ")");
  }
}

Tensor sample_autograd(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size,
                       SymInt top, SymInt left) {
  return differentiate([&] { return Sample::apply(features, scale, offset, window_size, top, left); });
}

Tensor3 windows_autograd(const Tensor& qkv, const Tensor& scale, const Tensor& offset, int64_t window_size, SymInt top,
                         SymInt left) {
  auto results = Windows::apply(qkv, scale, offset, window_size, top, left);
  return {results[0], results[1], results[2]};
}

Tensor3 windows_backward_autograd(const Tensor& grad_q, const Tensor& grad_k, const Tensor& grad_v, const Tensor& kv,
                                  const Tensor& scale, const Tensor& offset, int64_t window_size, SymInt top,
                                  SymInt left) {
  variable_list grads;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [x, s, o] = windows_backward(grad_q, grad_k, grad_v, kv, scale, offset, window_size, top, left);
    grads = {x, s, o};
  }
  refuse_second_derivatives(grads, {grad_q, grad_k, grad_v, kv, scale, offset});
  return {grads[0], grads[1], grads[2]};
}

Tensor2 attention_autograd(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
                           const Tensor& offset, const Tensor& bias_table, int64_t window_size, SymInt top,
                           SymInt left, double softmax_scale) {
  auto results = differentiate([&] {
    return Attention::apply(q, k, v, scale, offset, bias_table, window_size, top, left, softmax_scale);
  });
  return {results[0], results[1]};
}

Tensor3 sample_backward_autograd(const Tensor& grad_sampled, const Tensor& features, const Tensor& scale,
                                 const Tensor& offset, int64_t window_size, SymInt top, SymInt left) {
  variable_list grads;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [x, s, o] = sample_backward(grad_sampled, features, scale, offset, window_size, top, left);
    grads = {x, s, o};
  }
  refuse_second_derivatives(grads, {grad_sampled, features, scale, offset});
  return {grads[0], grads[1], grads[2]};
}

Tensor6 attention_backward_autograd(const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& scale, const Tensor& offset, const Tensor& bias_table,
                                    const Tensor& lse, int64_t window_size, SymInt top, SymInt left,
                                    double softmax_scale) {
  variable_list grads;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [gq, gk, gv, gs, go, gb] = attention_backward(grad_out, q, k, v, scale, offset, bias_table, lse, window_size,
                                                       top, left, softmax_scale);
    grads = {gq, gk, gv, gs, go, gb};
  }
  refuse_second_derivatives(grads, {grad_out, q, k, v, scale, offset, bias_table});
  return {grads[0], grads[1], grads[2], grads[3], grads[4], grads[5]};
}

// ---- autocast: attention runs in the autocast dtype, sampling in the dtype of its features, positions in float32

template <c10::DispatchKey KEY, c10::DeviceType DEVICE>
Tensor sample_autocast(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size,
                       SymInt top, SymInt left) {
  c10::impl::ExcludeDispatchKeyGuard guard(KEY);
  const auto exact = [](const Tensor& x) { return at::autocast::cached_cast(at::kFloat, x, DEVICE); };
  return sample(features, exact(scale), exact(offset), window_size, top, left);
}

Tensor2 attention_autocast(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
                           const Tensor& offset, const Tensor& bias_table, int64_t window_size, SymInt top,
                           SymInt left, double softmax_scale) {
  c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKey::AutocastCPU);
  const auto dtype = at::autocast::get_autocast_dtype(c10::DeviceType::CPU);
  const auto low = [dtype](const Tensor& x) { return at::autocast::cached_cast(dtype, x, c10::DeviceType::CPU); };
  const auto exact = [](const Tensor& x) { return at::autocast::cached_cast(at::kFloat, x, c10::DeviceType::CPU); };
  return attention(low(q), low(k), low(v), exact(scale), exact(offset), exact(bias_table), window_size, top, left,
                   softmax_scale);
}

}  // namespace

TORCH_LIBRARY(mmvit, m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  m.def("vsa_sample(Tensor features, Tensor scale, Tensor offset, int window_size, SymInt top, SymInt left) -> Tensor",
        tags);
  m.def("vsa_sample_backward(Tensor grad_sampled, Tensor features, Tensor scale, Tensor offset, int window_size, "
        "SymInt top, SymInt left) -> (Tensor, Tensor, Tensor)",
        tags);
  m.def("vsa_windows(Tensor qkv, Tensor scale, Tensor offset, int window_size, SymInt top, SymInt left) "
        "-> (Tensor, Tensor, Tensor)",
        tags);
  m.def("vsa_windows_backward(Tensor grad_q, Tensor grad_k, Tensor grad_v, Tensor kv, Tensor scale, Tensor offset, "
        "int window_size, SymInt top, SymInt left) -> (Tensor, Tensor, Tensor)",
        tags);
  m.def("vsa_attention(Tensor q, Tensor k, Tensor v, Tensor scale, Tensor offset, Tensor bias_table, int window_size, "
        "SymInt top, SymInt left, float softmax_scale) -> (Tensor, Tensor)",
        tags);
  m.def("vsa_attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor scale, Tensor offset, "
        "Tensor bias_table, Tensor lse, int window_size, SymInt top, SymInt left, float softmax_scale) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
        tags);
}

TORCH_LIBRARY_IMPL(mmvit, Meta, m) {
  m.impl("vsa_sample", &sample_meta);
  m.impl("vsa_sample_backward", &sample_backward_meta);
  m.impl("vsa_windows", &windows_meta);
  m.impl("vsa_windows_backward", &windows_backward_meta);
  m.impl("vsa_attention", &attention_meta);
  m.impl("vsa_attention_backward", &attention_backward_meta);
}

TORCH_LIBRARY_IMPL(mmvit, Autograd, m) {
  m.impl("vsa_sample", &sample_autograd);
  m.impl("vsa_sample_backward", &sample_backward_autograd);
  m.impl("vsa_windows", &windows_autograd);
  m.impl("vsa_windows_backward", &windows_backward_autograd);
  m.impl("vsa_attention", &attention_autograd);
  m.impl("vsa_attention_backward", &attention_backward_autograd);
}

TORCH_LIBRARY_IMPL(mmvit, AutocastCPU, m) {
  m.impl("vsa_sample", &sample_autocast<c10::DispatchKey::AutocastCPU, c10::DeviceType::CPU>);
  m.impl("vsa_attention", &attention_autocast);
}

TORCH_LIBRARY_IMPL(mmvit, AutocastCUDA, m) {
  m.impl("vsa_sample", &sample_autocast<c10::DispatchKey::AutocastCUDA, c10::DeviceType::CUDA>);
}

}  // namespace mmvit
