// Device functions that the CUDA kernels share: taps, sampling into shared memory, and gradients of pixels.
#pragma once

#ifdef MMVIT_DEVICE_PRIMITIVES
#include MMVIT_DEVICE_PRIMITIVES
#else
#include "device_primitives.cuh"
#endif

#include "cuda_kernels.h"

namespace mmvit {

constexpr int WARP = 32;
constexpr int THREADS = 128;
constexpr int64_t MOST_BLOCKS = 1 << 30;  // with more windows, blocks process several of them

template <typename T> struct AccumulatorOf { using Type = float; };
template <> struct AccumulatorOf<double> { using Type = double; };
template <typename T> using Accumulator = typename AccumulatorOf<T>::Type;

template <typename T, typename V>
MMVIT_INLINE Map<T> typed(const Map<V>& map) {
  return {static_cast<T*>(map.data), map.batch, map.head, map.row, map.column};
}

inline int64_t blocks_for(int64_t count) { return count < MOST_BLOCKS ? count : MOST_BLOCKS; }

// Calls a function with a value of the C++ type for `type`.
template <typename Function>
cudaError_t with_type(Type type, Function function) {
  switch (type) {
    case Type::HALF: return function(__half());
    case Type::BFLOAT16: return function(__nv_bfloat16());
    case Type::FLOAT: return function(float());
    default: return function(double());
  }
}

// ---- memory

// N adjacent elements that are read or written by one instruction.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

template <typename T> constexpr int WIDE = 16 / sizeof(T);

// Returns whether channels are aligned for accesses of 16 bytes.
template <typename V>
bool is_wide(const Map<V>& map, int32_t channels, int64_t item_bytes) {
  const int64_t wide = 16 / item_bytes;
  return reinterpret_cast<uintptr_t>(map.data) % 16 == 0 && channels % wide == 0 && map.batch % wide == 0 &&
         map.head % wide == 0 && map.row % wide == 0 && map.column % wide == 0;
}

template <typename T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(const T* data) {
  return *reinterpret_cast<const Pack<T, N>*>(data);
}

template <typename T, int N>
__device__ __forceinline__ Pack<T, N> zero_pack() {
  Pack<T, N> zeros;
#pragma unroll
  for (int i = 0; i < N; ++i) zeros.values[i] = T(0.f);
  return zeros;
}

// ---- sampling

// Computes the taps of a window's columns, then of its rows. The caller must call __syncthreads() before reading them.
template <typename A>
__device__ void make_taps(const Shape& s, const Window& w, const A* scale, const A* offset, Tap<A>* taps) {
  for (int32_t i = threadIdx.x; i < 2 * s.window_size; i += blockDim.x) {
    const bool is_y = i >= s.window_size;
    const int32_t token = is_y ? i - s.window_size : i;
    const int64_t parameter = w.parameter(s) + (is_y ? int64_t(s.rows) * s.columns : 0);
    const A position = token_position(is_y ? w.row : w.column, token, s.window_size, is_y ? s.top : s.left,
                                      scale[parameter], offset[parameter]);
    taps[i] = Tap<A>(position, is_y ? s.height : s.width);
  }
}

// Samples N adjacent channels of a token. All four corners are loaded before they are used, to overlap the loads.
template <int N, typename T, typename A>
__device__ __forceinline__ void sample_channels(const Map<const T>& map, const T* plane, const Tap<A>& y,
                                                const Tap<A>& x, A (&out)[N]) {
  const Corners<A> corners(y, x);
  Pack<T, N> packs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    packs[i] = corners.inside[i] ? load_pack<T, N>(plane + corner_pixel(map, y, x, i)) : zero_pack<T, N>();
#pragma unroll
  for (int n = 0; n < N; ++n) {
    out[n] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) out[n] += corners.weight[i] * A(packs[i].values[n]);
  }
}

// Samples the keys and values of a window, and passes them to `store`.
template <int N, typename T, typename A, typename Store>
__device__ void sample_window(const Shape& s, const Map<const T>& k, const T* k_plane, const Map<const T>& v,
                              const T* v_plane, const Tap<A>* taps, Store store) {
  const int32_t groups = s.channels / N;
  for (int32_t i = threadIdx.x; i < s.tokens() * groups; i += blockDim.x) {
    const int32_t token = i / groups, channel = i % groups * N;
    const Tap<A>&x = taps[token % s.window_size], &y = taps[s.window_size + token / s.window_size];
    A key[N], value[N];
    sample_channels<N>(k, k_plane + channel, y, x, key);
    sample_channels<N>(v, v_plane + channel, y, x, value);
    store(token, channel, key, value);
  }
}

// ---- gradients

template <typename A>
__device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
  for (int lanes = WARP / 2; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
  return x;
}

template <typename A>
__device__ __forceinline__ A warp_maximum(A x) {
#pragma unroll
  for (int lanes = WARP / 2; lanes > 0; lanes /= 2) {
    const A other = shuffle_xor(x, lanes);
    x = other > x ? other : x;
  }
  return x;
}

// Gradients of a window's sampled tokens in shared memory.
template <typename A>
struct TileGradient {
  const A* data;
  int32_t row;
  __device__ A at(const Shape&, const Window&, int32_t token, int32_t channel) const {
    return data[token * row + channel];
  }
};

// Gradients of sampled tokens in a map.
template <typename T>
struct MapGradient {
  Map<const T> map;
  __device__ Accumulator<T> at(const Shape& s, const Window& w, int32_t token, int32_t channel) const {
    const int64_t y = int64_t(w.row) * s.window_size + token / s.window_size;
    const int64_t x = int64_t(w.column) * s.window_size + token % s.window_size;
    return Accumulator<T>(map.plane(w.batch, w.head)[y * map.row + x * map.column + channel]);
  }
};

// Gradients of sampled tokens in a buffer (windows, tokens, channels).
template <typename A>
struct BufferGradient {
  A* data;
  __device__ A* place(const Shape& s, const Window& w, int32_t token, int32_t channel) const {
    const int64_t window = ((w.batch * s.rows + w.row) * s.columns + w.column) * s.heads + w.head;
    return data + (window * s.tokens() + token) * s.channels + channel;
  }
  __device__ A at(const Shape& s, const Window& w, int32_t token, int32_t channel) const {
    return *place(s, w, token, channel);
  }
};

// Adds the gradients of a window's tokens to the gradients of scale and offset, and to those of pixels unless `sums` is
// null. Each warp processes one token, and its lanes process adjacent channels.
template <typename T, typename A, typename Gradient>
__device__ void scatter_window(const Shape& s, const Window& w, const Tap<A>* taps, const Gradient& gradient,
                               const Map<const T>& map, const Map<A>& sums, WindowGradient<A>& window) {
  const int32_t lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  const T* plane = map.plane(w.batch, w.head);
  A* sum_plane = sums.data ? sums.plane(w.batch, w.head) : nullptr;
  for (int32_t token = threadIdx.x / WARP; token < s.tokens(); token += warps) {
    const Tap<A>&x = taps[token % s.window_size], &y = taps[s.window_size + token / s.window_size];
    const Corners<A> corners(y, x);
    for (int32_t c = lane; c < s.channels; c += WARP) {
      const A grad = gradient.at(s, w, token, c);
      A value[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        value[i] = corners.inside[i] ? A(plane[corner_pixel(map, y, x, i) + c]) : A(0);
        if (corners.inside[i] && sum_plane)
          atomic_add(sum_plane + corner_pixel(sums, y, x, i) + c, corners.weight[i] * grad);
      }
      window.add(token, s.window_size, grad * derivative_x(value, y), grad * derivative_y(value, x));
    }
  }
}

// Stores the sum of `grad` over the threads of the block. All threads must call this function. `scratch` must have 4
// elements per warp.
template <typename A>
__device__ void write_window_gradient(const Shape& s, const Window& w, const WindowGradient<A>& grad, A* scratch,
                                      A* grad_scale, A* grad_offset) {
  const A sums[4] = {warp_sum(grad.scale[0]), warp_sum(grad.scale[1]), warp_sum(grad.offset[0]),
                     warp_sum(grad.offset[1])};
  if (threadIdx.x % WARP == 0)
    for (int i = 0; i < 4; ++i) scratch[threadIdx.x / WARP * 4 + i] = sums[i];
  __syncthreads();
  if (threadIdx.x < 4) {
    A total = 0;
    for (int32_t warp = 0; warp < int32_t(blockDim.x / WARP); ++warp) total += scratch[warp * 4 + threadIdx.x];
    const int64_t index = w.parameter(s) + threadIdx.x % 2 * int64_t(s.rows) * s.columns;
    (threadIdx.x < 2 ? grad_scale : grad_offset)[index] = total;
  }
}

// Computes the gradients of pixels deterministically: each thread adds the gradients of a channel in a fixed order.
template <typename A, typename Gradient>
__global__ void scatter_in_order(Shape s, const A* scale, const A* offset, Gradient gradient, Map<A> sums) {
  for (int64_t plane = blockIdx.x; plane < s.batch * s.heads; plane += gridDim.x)
    for (int64_t n = 0; n < int64_t(s.rows) * s.columns; ++n) {
      const Window w(s, plane / s.heads, int32_t(plane % s.heads), int32_t(n / s.columns), int32_t(n % s.columns));
      const int64_t px = w.parameter(s), py = px + int64_t(s.rows) * s.columns;
      A* sum_plane = sums.plane(w.batch, w.head);
      for (int32_t token = 0; token < s.tokens(); ++token) {
        const int32_t i = token / s.window_size, j = token % s.window_size;
        const Tap<A> y(token_position(w.row, i, s.window_size, s.top, scale[py], offset[py]), s.height);
        const Tap<A> x(token_position(w.column, j, s.window_size, s.left, scale[px], offset[px]), s.width);
        const Corners<A> corners(y, x);
        for (int32_t c = threadIdx.x; c < s.channels; c += blockDim.x) {
          const A grad = gradient.at(s, w, token, c);
          for (int corner = 0; corner < 4; ++corner)
            if (corners.inside[corner])
              sum_plane[corner_pixel(sums, y, x, corner) + c] += corners.weight[corner] * grad;
        }
      }
    }
}

template <typename A, typename Gradient>
cudaError_t launch_scatter_in_order(cudaStream_t stream, const Shape& s, const A* scale, const A* offset,
                                    const Gradient& gradient, const Map<A>& sums) {
  return launch_kernel(scatter_in_order<A, Gradient>, blocks_for(s.batch * s.heads), THREADS, 0, stream, s, scale,
                       offset, gradient, sums);
}

// Returns the gradient of an entry of the bias table: the sum of `grad_logit(query, key)` over all pairs that share the
// entry, for queries [first, last).
template <typename A, typename GradLogit>
__device__ __forceinline__ A bias_gradient(int32_t entry, int32_t window_size, int32_t first, int32_t last,
                                           GradLogit grad_logit) {
  const int32_t dy = entry / (2 * window_size - 1) - window_size + 1;
  const int32_t dx = entry % (2 * window_size - 1) - window_size + 1;
  A sum = 0;
  for (int32_t query = first; query < last; ++query) {
    const int32_t i = query / window_size - dy, j = query % window_size - dx;
    if (i >= 0 && i < window_size && j >= 0 && j < window_size) sum += grad_logit(query, i * window_size + j);
  }
  return sum;
}

// Returns the offset of a query's pixel in a plane of a map, or -1 if it is in the padding.
template <typename T>
__device__ __forceinline__ int64_t query_pixel(const Shape& s, const Window& w, const Map<T>& map, int32_t token) {
  const int32_t i = token / s.window_size, j = token % s.window_size;
  const bool on_map = i >= w.row_begin && i < w.row_end && j >= w.column_begin && j < w.column_end;
  return on_map ? w.pixel(s, map, token) : -1;
}

template <typename A>
MMVIT_INLINE Map<A> lse_map(const Shape& s, void* lse) {
  const int64_t area = int64_t(s.height) * s.width;
  return {static_cast<A*>(lse), s.heads * area, area, s.width, 1};
}

}  // namespace mmvit
