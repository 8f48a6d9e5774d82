// Emulates CUDA kernels on the CPU for tests. Each thread of a block is a fiber that runs until it waits for others.
// The emulation aborts if some threads of a warp wait in a shuffle and the others at a barrier. The order of the fibers
// can be reversed, to detect results that depend on the order.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#undef __launch_bounds__
#define __launch_bounds__(...)

struct Index {
  unsigned x;
};
inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

enum class Wait { NOTHING, WARP, BLOCK, FOREVER };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(256 * 1024);
  Wait wait = Wait::NOTHING;
};

inline ucontext_t scheduler;
inline std::vector<Fiber> fibers;
inline std::function<void()> body;
inline std::vector<unsigned char> shared;
inline uint64_t exchange[1024];  // values exchanged by the lanes of warps

inline void run_body() {
  body();
  fibers[threadIdx.x].wait = Wait::FOREVER;
  setcontext(&scheduler);
}

inline void wait(Wait what) {
  Fiber& self = fibers[threadIdx.x];
  self.wait = what;
  swapcontext(&self.context, &scheduler);
}

// Resumes the fibers [begin, end) if all fibers that have not ended are waiting for `what`.
inline bool release(unsigned begin, unsigned end, Wait what) {
  bool any = false;
  for (unsigned t = begin; t < end; ++t) {
    if (fibers[t].wait == Wait::FOREVER) continue;
    if (fibers[t].wait != what) return false;
    any = true;
  }
  for (unsigned t = begin; t < end; ++t)
    if (fibers[t].wait == what) fibers[t].wait = Wait::NOTHING;
  return any;
}

inline void run_block(unsigned threads) {
  const char* order = std::getenv("MMVIT_EMULATED_ORDER");
  const bool reverse = order && std::strcmp(order, "reverse") == 0;
  fibers.resize(threads);
  for (Fiber& fiber : fibers) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    fiber.wait = Wait::NOTHING;
    makecontext(&fiber.context, run_body, 0);
  }
  for (;;) {
    bool progress = false;
    for (unsigned i = 0; i < threads; ++i) {
      const unsigned t = reverse ? threads - 1 - i : i;
      if (fibers[t].wait != Wait::NOTHING) continue;
      threadIdx.x = t;
      swapcontext(&scheduler, &fibers[t].context);
      progress = true;
    }
    bool released = false;
    for (unsigned warp = 0; warp < threads; warp += 32) released |= release(warp, warp + 32, Wait::WARP);
    if (!released) released = release(0, threads, Wait::BLOCK);
    if (released) continue;
    if (!progress) {
      const bool ended = std::all_of(fibers.begin(), fibers.end(), [](auto& f) { return f.wait == Wait::FOREVER; });
      if (ended) return;
      std::fprintf(stderr, "deadlock: some threads of a block do not reach a barrier\n");
      std::abort();
    }
  }
}

}  // namespace emulated

inline void __syncthreads() { emulated::wait(emulated::Wait::BLOCK); }

namespace mmvit {

using std::memcpy;
using std::min;

inline unsigned char* shared_memory() { return emulated::shared.data() + (64 - uintptr_t(emulated::shared.data()) % 64); }

// The second wait ensures that every lane has read its value before the next exchange.
template <typename A>
A shuffle_xor(A value, int lanes) {
  static_assert(sizeof(value) <= sizeof(emulated::exchange[0]), "too large");
  memcpy(&emulated::exchange[threadIdx.x], &value, sizeof(value));
  emulated::wait(emulated::Wait::WARP);
  memcpy(&value, &emulated::exchange[threadIdx.x ^ lanes], sizeof(value));
  emulated::wait(emulated::Wait::WARP);
  return value;
}

constexpr bool VECTOR_ATOMICS = true;  // covers the wide kernels; test data with odd channels cover the others

template <int N, typename A>
void atomic_add(A* sums, const A (&values)[N]) {
  for (int n = 0; n < N; ++n) sums[n] += values[n];
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch_kernel(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
                          cudaStream_t, const Arguments&... arguments) {
  emulated::body = [&] { kernel(arguments...); };
  // With few blocks, each block processes several windows. NaN in shared memory makes missing writes visible.
  gridDim.x = unsigned(std::min<int64_t>(blocks, 3));
  blockDim.x = unsigned(threads);
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
    emulated::shared.assign(shared_bytes + 64, 0xff);
    emulated::run_block(unsigned(threads));
  }
  return cudaSuccess;
}

}  // namespace mmvit
