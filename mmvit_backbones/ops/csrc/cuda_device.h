// Device, stream and limits of a call, from torch. The tests put a header of their own in the place of this one.
#pragma once

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>  // ATen/cuda/CUDAContext.h wants headers of cuSPARSE, which not every CUDA has
#include <cuda_runtime_api.h>

#define MMVIT_DEVICE_KEY CUDA

namespace mmvit {

using DeviceGuard = c10::cuda::CUDAGuard;

inline cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

inline const char* error_text(cudaError_t error) { return cudaGetErrorString(error); }

// Bytes of shared memory that a block of the current device may ask for.
inline int32_t shared_memory_limit() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 48 * 1024;
  return bytes;
}

}  // namespace mmvit
