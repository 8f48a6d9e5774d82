// Interface between the CPU operators (cpu_operators.cpp) and their kernels (cpu_kernels.cpp), which are compiled once
// per instruction set. A is float or double. All maps have contiguous channels.
#pragma once

#include "window.h"

namespace mmvit {

template <typename A>
struct SampleArguments {
  Shape shape;
  Map<const A> features;
  const A *scale, *offset;  // (batch, heads, 2, rows, columns)
  Map<A> sampled;           // (batch, heads, channels, rows * window_size, columns * window_size)
};

template <typename A>
struct SampleGradients {
  SampleArguments<A> forward;  // `sampled` is not read
  Map<const A> grad_sampled;
  Map<A> grad_features;  // must be initialized with zeros
  A *grad_scale, *grad_offset;
};

template <typename A>
struct AttentionArguments {
  Shape shape;
  A softmax_scale;
  Map<const A> q, k, v;
  const A *scale, *offset;
  const A* bias;  // (heads, tokens, padded(tokens)), -inf in the padding
  Map<A> out;
  A* lse;  // (batch, heads, height, width): log-sum-exp of the logits
};

template <typename A>
struct AttentionGradients {
  AttentionArguments<A> forward;  // `out` is not read
  Map<const A> grad_out;
  Map<A> grad_q, grad_k, grad_v;  // grad_k and grad_v must be initialized with zeros
  A *grad_scale, *grad_offset;
  A* grad_bias;  // (batch, heads, bias_rows)
};

// `begin` and `end` are indices of windows in forward kernels, and of planes (batch, head) in backward kernels. In the
// backward pass, one thread processes all windows of a plane, because windows can add gradients to the same pixel.
template <typename A>
struct CpuKernels {
  int64_t (*padded)(int64_t count);                    // rounds up to a multiple of LANES
  int64_t (*workspace)(const Shape&, bool attention);  // number of elements per thread
  void (*sample)(const SampleArguments<A>&, A* workspace, int64_t begin, int64_t end);
  void (*sample_backward)(const SampleGradients<A>&, A* workspace, int64_t begin, int64_t end);
  void (*attention)(const AttentionArguments<A>&, A* workspace, int64_t begin, int64_t end);
  void (*attention_backward)(const AttentionGradients<A>&, A* workspace, int64_t begin, int64_t end);
};

// One function per instruction set.
namespace DEFAULT { template <typename A> CpuKernels<A> kernels(); }
namespace AVX2 { template <typename A> CpuKernels<A> kernels(); }
namespace AVX512 { template <typename A> CpuKernels<A> kernels(); }

}  // namespace mmvit
