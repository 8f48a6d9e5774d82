// Runs a CUDA kernel on the CPU, for tests: each thread of a block is a fiber that runs until it has to wait for others.
// Kernels that wait wrongly (a barrier that not all threads reach) are found; the order of the fibers can be reversed,
// which shows results that depend on it.
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
inline uint64_t exchange[1024];  // what the lanes of warps show each other

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

// Lets go the fibers of [begin, end) if all of them that have not ended wait for the same.
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
      std::fprintf(stderr, "threads of a block wait for different things\n");
      std::abort();
    }
  }
}

}  // namespace emulated

inline void __syncthreads() { emulated::wait(emulated::Wait::BLOCK); }

namespace mmvit {

using std::log;
using std::memcpy;
using std::min;

inline unsigned char* shared_memory() { return emulated::shared.data() + (64 - uintptr_t(emulated::shared.data()) % 64); }

// Shows a value to the warp, waits, looks, and lets every lane look before the next exchange.
template <typename A>
A shuffle_xor(A value, int lanes) {
  static_assert(sizeof(value) <= sizeof(emulated::exchange[0]), "too large");
  memcpy(&emulated::exchange[threadIdx.x], &value, sizeof(value));
  emulated::wait(emulated::Wait::WARP);
  memcpy(&value, &emulated::exchange[threadIdx.x ^ lanes], sizeof(value));
  emulated::wait(emulated::Wait::WARP);
  return value;
}

template <typename A>
void atomic_add(A* sum, A value) {
  *sum += value;
}

inline float exponential(float x) { return std::exp(x); }
inline double exponential(double x) { return std::exp(x); }

template <typename... Parameters, typename... Arguments>
cudaError_t launch_kernel(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
                          cudaStream_t, const Arguments&... arguments) {
  emulated::body = [&] { kernel(arguments...); };
  // Few blocks, so that they take several windows each; garbage in shared memory.
  gridDim.x = unsigned(std::min<int64_t>(blocks, 3));
  blockDim.x = unsigned(threads);
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
    emulated::shared.assign(shared_bytes + 64, 0xff);
    emulated::run_block(unsigned(threads));
  }
  return cudaSuccess;
}

}  // namespace mmvit
