// Interface between the CUDA operators (cuda_operators.cpp) and their kernels (sample_kernels.cu), which do not include
// torch.
#pragma once

#include <cuda_runtime_api.h>

#include "window.h"

namespace mmvit {

enum class Type { HALF, BFLOAT16, FLOAT, DOUBLE };

// Features and the gradients of samples have the dtype `type`. Other arrays are double if it is DOUBLE, and float
// otherwise.
struct SampleProblem {
  cudaStream_t stream;
  Type type;
  Shape shape;
  Map<const void> features;
  const void *scale, *offset;  // (batch, heads, 2, rows, columns)
};

struct SampleGradients {
  Map<const void> grad_sampled;
  Map<void> grad_features;  // sums, must be initialized with zeros
  void *grad_scale, *grad_offset;
};

// Each function returns the first error of its kernel launch.
cudaError_t launch_sample(const SampleProblem&, const Map<void>& sampled);
cudaError_t launch_sample_backward(const SampleProblem&, const SampleGradients&);

}  // namespace mmvit
