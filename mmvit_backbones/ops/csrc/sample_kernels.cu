// CUDA kernels of varied-size window sampling.
#ifdef MMVIT_DEVICE_PRIMITIVES
#include MMVIT_DEVICE_PRIMITIVES
#else
#include "device_primitives.cuh"
#endif

#include <initializer_list>

#include "cuda_kernels.h"

namespace mmvit {
namespace {

constexpr int WARP = 32;
constexpr int THREADS = 128;
constexpr int64_t MOST_BLOCKS = 1 << 30;  // with more work, blocks process several parts of it

template <typename T> struct AccumulatorOf { using Type = float; };
template <> struct AccumulatorOf<double> { using Type = double; };
template <typename T> using Accumulator = typename AccumulatorOf<T>::Type;

template <typename T, typename V>
MMVIT_INLINE Map<T> typed(const Map<V>& map) {
  return {static_cast<T*>(map.data), map.batch, map.head, map.row, map.column};
}

template <typename T, typename V>
MMVIT_INLINE Tokens<T> typed(const Tokens<V>& x) {
  return {static_cast<T*>(x.data), x.batch, x.head, x.row, x.column, x.token_row, x.token_column};
}

// Divides an index and returns the remainder. Most indices have 32 bits, whose division takes a fraction of the time.
__device__ __forceinline__ int32_t split(int64_t& index, int64_t divisor) {
  const int64_t dividend = index;
  index = ((dividend | divisor) >> 32) == 0 ? uint32_t(dividend) / uint32_t(divisor) : dividend / divisor;
  return int32_t(dividend - index * divisor);
}

int64_t blocks_for(int64_t count) { return count < MOST_BLOCKS ? count : MOST_BLOCKS; }

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

// ---- vectors of channels

// N adjacent elements that are read or written by one instruction.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

template <typename T> constexpr int WIDE = 16 / sizeof(T);

// Returns whether strides keep accesses of 16 bytes aligned.
bool is_wide(const void* data, int32_t channels, int64_t item_bytes, std::initializer_list<int64_t> strides) {
  const int64_t wide = 16 / item_bytes;
  for (const int64_t stride : strides)
    if (stride % wide != 0) return false;
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && channels % wide == 0;
}

template <typename T>
bool is_wide(const Map<T>& x, int32_t channels) {
  return is_wide(x.data, channels, sizeof(T), {x.batch, x.head, x.row, x.column});
}

template <typename T>
bool is_wide(const Tokens<T>& x, int32_t channels) {
  return is_wide(x.data, channels, sizeof(T), {x.batch, x.head, x.row, x.column, x.token_row, x.token_column});
}

template <int N, typename T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* data) {
  return *reinterpret_cast<const Pack<T, N>*>(data);
}

template <int N, typename T>
__device__ __forceinline__ void store_pack(T* data, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(data) = pack;
}

template <int N, typename T>
__device__ __forceinline__ Pack<T, N> zero_pack() {
  Pack<T, N> zeros;
#pragma unroll
  for (int i = 0; i < N; ++i) zeros.values[i] = T(0.f);
  return zeros;
}

// The values of N adjacent channels at the four corners of a token, with zeros outside the map. All are loaded before they
// are used, to overlap the loads.
template <int N, typename T>
struct CornerPacks {
  Pack<T, N> corner[4];

  template <typename A>
  __device__ __forceinline__ CornerPacks(const Map<const T>& map, const T* plane, const Corners<A>& corners,
                                         const Tap<A>& y, const Tap<A>& x) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      corner[i] = corners.inside[i] ? load_pack<N>(plane + corner_pixel(map, y, x, i)) : zero_pack<N, T>();
  }
};

// ---- forward

// What a kernel reads and writes: of one map, varied windows are sampled; of three, key, value and query, varied windows
// of key and value are sampled, and fixed windows of the query are copied.
template <typename T, int COUNT>
struct Parts {
  Map<const T> maps[COUNT];
  Tokens<T> tokens[COUNT];
};

template <int COUNT> constexpr int SAMPLED = COUNT == 1 ? 1 : 2;

// Returns whether a window's token is a pixel of the map.
MMVIT_INLINE bool is_pixel(const Window& w, int32_t y, int32_t x) {
  return y >= w.row_begin && y < w.row_end && x >= w.column_begin && x < w.column_end;
}

// Each thread processes N channels of one token. Adjacent threads have adjacent channels, then adjacent tokens of a
// window, which share pixels.
template <int N, int COUNT, typename T, typename A>
__global__ void __launch_bounds__(THREADS)
    sample_forward(Shape s, const A* scale, const A* offset, Parts<T, COUNT> parts) {
  constexpr int MAPS = SAMPLED<COUNT>;
  const int32_t groups = s.channels / N;
  const int64_t count = s.windows() * s.tokens() * groups;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    int64_t rest = i;
    const int32_t channel = split(rest, groups) * N, token_x = split(rest, s.window_size);
    const int32_t token_y = split(rest, s.window_size), head = split(rest, s.heads), column = split(rest, s.columns);
    const int32_t row = split(rest, s.rows);
    const Window w(s, rest, head, row, column);
    const int64_t px = w.parameter(s), py = px + int64_t(s.rows) * s.columns;
    const Tap<A> y(token_position(row, token_y, s.window_size, s.top, scale[py], offset[py]), s.height);
    const Tap<A> x(token_position(column, token_x, s.window_size, s.left, scale[px], offset[px]), s.width);
    const Corners<A> corners(y, x);
    if constexpr (COUNT > MAPS) {
      const Map<const T>& map = parts.maps[MAPS];
      const T* pixel = map.plane(w.batch, head) + w.pixel(s, map, token_y * s.window_size + token_x) + channel;
      store_pack<N>(parts.tokens[MAPS].at(w, token_y, token_x) + channel,
                    is_pixel(w, token_y, token_x) ? load_pack<N>(pixel) : zero_pack<N, T>());
    }
#pragma unroll 1  // two maps at once would need too many registers
    for (int m = 0; m < MAPS; ++m) {
      const CornerPacks<N, T> values(parts.maps[m], parts.maps[m].plane(w.batch, head) + channel, corners, y, x);
      Pack<T, N> out;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        A sum = 0;
#pragma unroll
        for (int c = 0; c < 4; ++c) sum += corners.weight[c] * A(values.corner[c].values[n]);
        out.values[n] = T(sum);
      }
      store_pack<N>(parts.tokens[m].at(w, token_y, token_x) + channel, out);
    }
  }
}

// ---- backward

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

template <typename T, typename A, int COUNT>
struct Gradients {
  Map<const T> maps[SAMPLED<COUNT>];
  Tokens<const T> tokens[COUNT];
  Map<A> sums[SAMPLED<COUNT>];
  Map<T> query;
};

// Adds the gradients of N channels of a token to the sums of pixels, and to the gradients of scale and offset.
template <int N, typename T, typename A>
__device__ __forceinline__ void scatter_token(const Pack<T, N>& grad, const CornerPacks<N, T>& values,
                                              const Map<A>& sums, A* plane, const Corners<A>& corners, const Tap<A>& y,
                                              const Tap<A>& x, A& grad_y, A& grad_x) {
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (!corners.inside[c]) continue;
    A weighted[N];
#pragma unroll
    for (int n = 0; n < N; ++n) weighted[n] = corners.weight[c] * A(grad.values[n]);
    atomic_add<N>(plane + corner_pixel(sums, y, x, c), weighted);
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    A value[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) value[c] = A(values.corner[c].values[n]);
    grad_x += A(grad.values[n]) * derivative_x(value, y);
    grad_y += A(grad.values[n]) * derivative_y(value, x);
  }
}

// Adds the gradients of a window's tokens to those of pixels, scale and offset. Each thread processes N channels of a
// token. Adjacent threads have adjacent channels, so that atomic additions of a warp are combined.
template <int N, int COUNT, typename T, typename A>
__device__ void scatter_window(const Shape& s, const Window& w, const Tap<A>* taps, const Gradients<T, A, COUNT>& g,
                               WindowGradient<A>& window) {
  constexpr int MAPS = SAMPLED<COUNT>;
  const int32_t groups = s.channels / N;
  const int64_t items = int64_t(s.tokens()) * groups;
  for (int64_t i = threadIdx.x; i < items; i += blockDim.x) {
    int64_t rest = i;
    const int32_t channel = split(rest, groups) * N, token_x = split(rest, s.window_size), token_y = int32_t(rest);
    const Tap<A>&x = taps[token_x], &y = taps[s.window_size + token_y];
    const Corners<A> corners(y, x);
    if constexpr (COUNT > MAPS) {
      if (is_pixel(w, token_y, token_x))
        store_pack<N>(g.query.plane(w.batch, w.head) + w.pixel(s, g.query, token_y * s.window_size + token_x) + channel,
                      load_pack<N>(g.tokens[MAPS].at(w, token_y, token_x) + channel));
    }
    A grad_y = 0, grad_x = 0;
#pragma unroll 1
    for (int m = 0; m < MAPS; ++m) {
      const Pack<T, N> grad = load_pack<N>(g.tokens[m].at(w, token_y, token_x) + channel);
      const CornerPacks<N, T> values(g.maps[m], g.maps[m].plane(w.batch, w.head) + channel, corners, y, x);
      scatter_token<N>(grad, values, g.sums[m], g.sums[m].plane(w.batch, w.head) + channel, corners, y, x, grad_y,
                       grad_x);
    }
    window.add(token_y * s.window_size + token_x, s.window_size, grad_x, grad_y);
  }
}

template <typename A>
__device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
  for (int lanes = WARP / 2; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
  return x;
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

template <bool IS_WIDE, int COUNT, typename T, typename A>
__global__ void __launch_bounds__(THREADS)
    sample_backward(Shape s, const A* scale, const A* offset, Gradients<T, A, COUNT> g, A* grad_scale, A* grad_offset) {
  // Without atomic additions of vectors, several channels per thread would spread those of a warp over more memory.
  constexpr int N = IS_WIDE && VECTOR_ATOMICS && sizeof(A) == 4 ? WIDE<T> : 1;
  A* scratch = reinterpret_cast<A*>(shared_memory());
  Tap<A>* taps = reinterpret_cast<Tap<A>*>(scratch + THREADS / WARP * 4);
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    make_taps(s, w, scale, offset, taps);
    __syncthreads();
    WindowGradient<A> grad;
    scatter_window<N>(s, w, taps, g, grad);
    write_window_gradient(s, w, grad, scratch, grad_scale, grad_offset);
  }
}

template <int COUNT, typename T>
cudaError_t launch_forward(const SampleProblem& p, const Tokens<void> tokens[]) {
  using A = Accumulator<T>;
  const Shape& s = p.shape;
  Parts<T, COUNT> parts;
  bool wide = true;
  for (int m = 0; m < COUNT; ++m) {
    parts.maps[m] = typed<const T>(p.maps[m]);
    parts.tokens[m] = typed<T>(tokens[m]);
    wide = wide && is_wide(parts.maps[m], s.channels) && is_wide(parts.tokens[m], s.channels);
  }
  const int64_t items = s.windows() * s.tokens() * (s.channels / (wide ? WIDE<T> : 1));
  const auto kernel = wide ? sample_forward<WIDE<T>, COUNT, T, A> : sample_forward<1, COUNT, T, A>;
  return launch_kernel(kernel, blocks_for((items + THREADS - 1) / THREADS), THREADS, 0, p.stream, s,
                       static_cast<const A*>(p.scale), static_cast<const A*>(p.offset), parts);
}

template <int COUNT, typename T>
cudaError_t launch_backward(const SampleProblem& p, const SampleGradients& g) {
  using A = Accumulator<T>;
  const Shape& s = p.shape;
  Gradients<T, A, COUNT> gradients;
  bool wide = true;
  for (int m = 0; m < COUNT; ++m) {
    gradients.tokens[m] = typed<const T>(g.tokens[m]);
    wide = wide && is_wide(gradients.tokens[m], s.channels);
  }
  for (int m = 0; m < SAMPLED<COUNT>; ++m) {
    gradients.maps[m] = typed<const T>(p.maps[m]);
    gradients.sums[m] = typed<A>(g.sums[m]);
    wide = wide && is_wide(gradients.maps[m], s.channels) && is_wide(gradients.sums[m], s.channels);
  }
  gradients.query = typed<T>(g.query);
  wide = wide && (COUNT == 1 || is_wide(gradients.query, s.channels));
  const size_t bytes = THREADS / WARP * 4 * sizeof(A) + 2 * s.window_size * sizeof(Tap<A>);
  const auto kernel = wide ? sample_backward<true, COUNT, T, A> : sample_backward<false, COUNT, T, A>;
  return launch_kernel(kernel, blocks_for(s.windows()), THREADS, bytes, p.stream, s, static_cast<const A*>(p.scale),
                       static_cast<const A*>(p.offset), gradients, static_cast<A*>(g.grad_scale),
                       static_cast<A*>(g.grad_offset));
}

}  // namespace

cudaError_t launch_sample(const SampleProblem& p, const Tokens<void> tokens[]) {
  return with_type(p.type, [&](auto zero) {
    using T = decltype(zero);
    return p.count == 1 ? launch_forward<1, T>(p, tokens) : launch_forward<MOST_MAPS, T>(p, tokens);
  });
}

cudaError_t launch_sample_backward(const SampleProblem& p, const SampleGradients& g) {
  return with_type(p.type, [&](auto zero) {
    using T = decltype(zero);
    return p.count == 1 ? launch_backward<1, T>(p, g) : launch_backward<MOST_MAPS, T>(p, g);
  });
}

}  // namespace mmvit
