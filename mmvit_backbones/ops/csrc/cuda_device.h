// Device and stream of a call. The tests replace this header by tests/ops/emulated/device.h.
#pragma once

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>  // ATen/cuda/CUDAContext.h would require the headers of cuSPARSE
#include <cuda_runtime_api.h>

#define MMVIT_DEVICE_KEY CUDA

namespace mmvit {

using DeviceGuard = c10::cuda::CUDAGuard;

inline cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

inline const char* error_text(cudaError_t error) { return cudaGetErrorString(error); }

}  // namespace mmvit
