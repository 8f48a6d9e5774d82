// The CUDA backend's interface between torch (cuda_operators.cpp) and the kernels (*.cu), which know nothing of torch.
#pragma once

#include <cuda_runtime_api.h>

#include "window.h"

namespace mmvit {

enum class Type { HALF, BFLOAT16, FLOAT, DOUBLE };

// Where a launch runs, and what for. Features are of `type`; positions, biases and sums are float (double for DOUBLE).
struct Launch {
  cudaStream_t stream;
  Type type;
  int32_t shared_limit;  // bytes of shared memory that a block of the device may have
};

struct SampleProblem {
  Shape shape;
  Map<const void> features;
  const void *scale, *offset;  // (batch, heads, 2, rows, columns)
};

struct SampleGradientProblem {
  SampleProblem forward;
  Map<const void> grad_sampled;
  Map<void> grad_features;  // sums, zeros at first
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
  Map<void> grad_q;          // of `type`
  Map<void> grad_k, grad_v;  // sums, zeros at first
  void *grad_scale, *grad_offset;
  void* grad_bias;  // sums (slots, heads, bias_rows), zeros at first: window n adds to slot n % slots
  int64_t slots;
  // For the deterministic kernel, else null: gradients of sampled keys and values, sums (windows, tokens, channels).
  void *grad_sampled_k, *grad_sampled_v;
};

// Each returns the first error of its launches.
cudaError_t launch_sample(const Launch&, const SampleProblem&, const Map<void>& sampled);
cudaError_t launch_sample_backward(const Launch&, const SampleGradientProblem&);
cudaError_t launch_attention(const Launch&, const AttentionProblem&, const Map<void>& out);
cudaError_t launch_attention_backward(const Launch&, const AttentionGradientProblem&);

}  // namespace mmvit
