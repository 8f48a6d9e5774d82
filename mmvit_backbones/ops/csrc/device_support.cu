// Tells whether a GPU can run the library's kernels, all of which are compiled for the same architectures.
#include <cuda_runtime_api.h>

#define MMVIT_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

__global__ void empty_kernel() {}

}  // namespace

// Returns the name of the error that launches on the current GPU would give, or a null pointer.
MMVIT_EXPORT const char* mmvit_why_not_on_this_gpu() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(&empty_kernel));
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();  // otherwise, torch would report the error after its next launch
  return cudaGetErrorName(error);
}

// Returns the architectures as in TORCH_CUDA_ARCH_LIST.
MMVIT_EXPORT const char* mmvit_architectures() { return MMVIT_ARCHITECTURES; }
