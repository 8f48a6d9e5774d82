// Interface between the CUDA operators (cuda_operators.cpp) and their kernels (*.cu), which do not include torch.
#pragma once

#include <cuda_runtime_api.h>

#include "window.h"

namespace mmvit {

enum class Type { HALF, BFLOAT16, FLOAT, DOUBLE };

// Features, q, k, v, out and the gradients of samples, out and q have the dtype `type`. Other arrays are double if it is
// DOUBLE, and float otherwise.
struct Launch {
  cudaStream_t stream;
  Type type;
  int32_t shared_limit;  // maximum shared memory per block, in bytes
};

struct SampleProblem {
  Shape shape;
  Map<const void> features;
  const void *scale, *offset;  // (batch, heads, 2, rows, columns)
};

struct SampleGradientProblem {
  SampleProblem forward;
  Map<const void> grad_sampled;
  Map<void> grad_features;  // sums, must be initialized with zeros
  void *grad_scale, *grad_offset;
  bool deterministic;
};

struct AttentionProblem {
  Shape shape;
  double softmax_scale;
  Map<const void> q, k, v;
  const void *scale, *offset;
  const void* bias_table;  // (bias_rows, heads)
  void* lse;               // (batch, heads, height, width): log-sum-exp of the logits
};

struct AttentionGradientProblem {
  AttentionProblem forward;
  Map<const void> grad_out;
  Map<void> grad_q;
  Map<void> grad_k, grad_v;  // sums, must be initialized with zeros
  void *grad_scale, *grad_offset;
  // Sums (slots, heads, bias_rows), must be initialized with zeros. The n-th window of a head adds to slot n % slots.
  void* grad_bias;
  int64_t slots;
  // Sums (windows, tokens, channels): gradients of sampled keys and values in deterministic mode, otherwise null.
  void *grad_sampled_k, *grad_sampled_v;
};

// Each function returns the first error of its kernel launches. launch_attention* launch no kernel and return
// cudaErrorInvalidConfiguration if a window does not fit in shared memory.
cudaError_t launch_sample(const Launch&, const SampleProblem&, const Map<void>& sampled);
cudaError_t launch_sample_backward(const Launch&, const SampleGradientProblem&);
cudaError_t launch_attention(const Launch&, const AttentionProblem&, const Map<void>& out);
cudaError_t launch_attention_backward(const Launch&, const AttentionGradientProblem&);

}  // namespace mmvit
