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

// Gradients of a window's scale and offset, from the gradients of sampled tokens.
template <typename A>
struct PlaceGradients {
  SampleArguments<A> forward;  // `sampled` is not read
  Map<const A> grad_sampled;
  A *grad_scale, *grad_offset;
};

// Gradients of the pixels of a map, from the gradients of sampled tokens. Windows can add gradients to the same pixel.
// Each call therefore adds to its own pixels, which are one of `bands` equal parts of a map's rows.
template <typename A>
struct PixelGradients {
  Shape shape;
  const A *scale, *offset;
  Map<const A> grad_sampled;
  Map<A> grad_features;  // must be initialized with zeros
  int64_t bands;
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
  Map<A> grad_q;
  Map<A> grad_sampled_k, grad_sampled_v;  // as `sampled`
  A *grad_scale, *grad_offset;
  A* grad_bias;  // (batch, heads, rows, bias_rows)
};

// `begin` and `end` are indices of windows, except in attention_backward, where they are indices of rows of windows
// (batch, head, row), and in pixel_gradients, where they are indices of bands (batch, head, band).
template <typename A>
struct CpuKernels {
  int64_t (*padded)(int64_t count);                    // rounds up to a multiple of LANES
  int64_t (*workspace)(const Shape&, bool attention);  // number of elements per thread
  void (*sample)(const SampleArguments<A>&, A* workspace, int64_t begin, int64_t end);
  void (*place_gradients)(const PlaceGradients<A>&, A* workspace, int64_t begin, int64_t end);
  void (*pixel_gradients)(const PixelGradients<A>&, A* workspace, int64_t begin, int64_t end);
  void (*attention)(const AttentionArguments<A>&, A* workspace, int64_t begin, int64_t end);
  void (*attention_backward)(const AttentionGradients<A>&, A* workspace, int64_t begin, int64_t end);
};

// One function per instruction set.
namespace DEFAULT { template <typename A> CpuKernels<A> kernels(); }
namespace AVX2 { template <typename A> CpuKernels<A> kernels(); }
namespace AVX512 { template <typename A> CpuKernels<A> kernels(); }

}  // namespace mmvit
