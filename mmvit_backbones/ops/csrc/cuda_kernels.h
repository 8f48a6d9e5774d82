// Interface between the CUDA operators (cuda_operators.cpp) and their kernels (sample_kernels.cu), which do not include
// torch.
#pragma once

#include <cuda_runtime_api.h>

#include "window.h"

namespace mmvit {

enum class Type { HALF, BFLOAT16, FLOAT, DOUBLE };

// The tokens of windows, with contiguous channels; the other strides are in elements. `row` and `column` are the strides
// of windows, `token_row` and `token_column` those of a window's tokens.
template <typename T>
struct Tokens {
  T* data;
  int64_t batch, head, row, column, token_row, token_column;

  MMVIT_INLINE T* at(const Window& w, int32_t y, int32_t x) const {
    return data + w.batch * batch + w.head * head + w.row * row + w.column * column + y * token_row + x * token_column;
  }
};

constexpr int MOST_MAPS = 3;

// Maps and tokens have the dtype `type`. Other arrays are double if it is DOUBLE, and float otherwise.
struct SampleProblem {
  cudaStream_t stream;
  Type type;
  Shape shape;
  int count;                      // number of maps, 1 or 3
  Map<const void> maps[MOST_MAPS];  // of one map, varied windows are sampled; of three, key, value and query, varied
                                  // windows of key and value are sampled, and fixed windows of the query are copied
  const void *scale, *offset;     // (batch, heads, 2, rows, columns)
};

struct SampleGradients {
  Tokens<const void> tokens[MOST_MAPS];
  Map<void> sums[2];  // gradients of the sampled maps, double or float; must be initialized with zeros
  Map<void> query;    // gradient of the query, in the dtype `type`
  void *grad_scale, *grad_offset;
};

// Each function returns the first error of its kernel launch.
cudaError_t launch_sample(const SampleProblem&, const Tokens<void> tokens[]);
cudaError_t launch_sample_backward(const SampleProblem&, const SampleGradients&);

}  // namespace mmvit
