// GPU features that the kernels use. The tests replace this header by tests/ops/emulated/block.h, which emulates the
// features on the CPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace mmvit {

__device__ __forceinline__ unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return memory;
}

template <typename A>
__device__ __forceinline__ A shuffle_xor(A value, int lanes) {
  return __shfl_xor_sync(0xffffffffu, value, lanes);
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool VECTOR_ATOMICS = true;  // of four adjacent floats
#else
constexpr bool VECTOR_ATOMICS = false;
#endif

// Adds N adjacent values. Four floats must be aligned to 16 bytes.
template <int N, typename A>
__device__ __forceinline__ void atomic_add(A* sums, const A (&values)[N]) {
  if constexpr (N % 4 == 0 && VECTOR_ATOMICS) {
#pragma unroll
    for (int n = 0; n < N; n += 4)
      atomicAdd(reinterpret_cast<float4*>(sums + n),
                make_float4(values[n], values[n + 1], values[n + 2], values[n + 3]));
  } else {
#pragma unroll
    for (int n = 0; n < N; ++n) atomicAdd(sums + n, values[n]);
  }
}

// Launches a kernel and returns the first error.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_kernel(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
                          cudaStream_t stream, const Arguments&... arguments) {
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace mmvit
