// Replaces cuda_device.h in the emulation: the operators of the CUDA kernels are registered for CPU tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#define MMVIT_DEVICE_KEY CPU

namespace mmvit {

struct DeviceGuard {
  explicit DeviceGuard(const at::Device&) {}
};

inline cudaStream_t current_stream() { return nullptr; }
inline const char* error_text(cudaError_t) { return "an error"; }

}  // namespace mmvit
