// CUDA kernels of varied-size window sampling.
#ifdef MMVIT_DEVICE_PRIMITIVES
#include MMVIT_DEVICE_PRIMITIVES
#else
#include "device_primitives.cuh"
#endif

#include "cuda_kernels.h"

namespace mmvit {
namespace {

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

// ---- forward

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

template <int N, typename T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* data) {
  return *reinterpret_cast<const Pack<T, N>*>(data);
}

template <int N, typename T>
__device__ __forceinline__ Pack<T, N> zero_pack() {
  Pack<T, N> zeros;
#pragma unroll
  for (int i = 0; i < N; ++i) zeros.values[i] = T(0.f);
  return zeros;
}

// Samples N adjacent channels of a token. All four corners are loaded before they are used, to overlap the loads.
template <int N, typename T, typename A>
__device__ __forceinline__ Pack<T, N> sample_channels(const Map<const T>& map, const T* plane, const Tap<A>& y,
                                                      const Tap<A>& x) {
  const Corners<A> corners(y, x);
  Pack<T, N> packs[4], out;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    packs[i] = corners.inside[i] ? load_pack<N>(plane + corner_pixel(map, y, x, i)) : zero_pack<N, T>();
#pragma unroll
  for (int n = 0; n < N; ++n) {
    A sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += corners.weight[i] * A(packs[i].values[n]);
    out.values[n] = T(sum);
  }
  return out;
}

// Each thread samples N channels of one token. Adjacent threads write to adjacent memory.
template <int N, typename T, typename A>
__global__ void sample_forward(Shape s, Map<const T> features, const A* scale, const A* offset, Map<T> sampled) {
  const int32_t groups = s.channels / N;
  const int64_t width = int64_t(s.columns) * s.window_size, height = int64_t(s.rows) * s.window_size;
  const int64_t count = s.batch * height * width * s.heads * groups;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    int64_t rest = i;
    const int32_t channel = int32_t(rest % groups) * N;
    rest /= groups;
    const int32_t head = int32_t(rest % s.heads);
    rest /= s.heads;
    const int64_t column = rest % width;
    rest /= width;
    const int64_t row = rest % height;
    const Window w(s, rest / height, head, int32_t(row / s.window_size), int32_t(column / s.window_size));
    const int64_t px = w.parameter(s), py = px + int64_t(s.rows) * s.columns;
    const Tap<A> y(token_position(w.row, int32_t(row % s.window_size), s.window_size, s.top, scale[py], offset[py]),
                   s.height);
    const Tap<A> x(
        token_position(w.column, int32_t(column % s.window_size), s.window_size, s.left, scale[px], offset[px]),
        s.width);
    T* out = sampled.plane(w.batch, head) + row * sampled.row + column * sampled.column + channel;
    *reinterpret_cast<Pack<T, N>*>(out) =
        sample_channels<N>(features, features.plane(w.batch, head) + channel, y, x);
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

// Adds the gradients of a window's tokens to the gradients of pixels, scale and offset. Each warp processes one token,
// and its lanes process adjacent channels.
template <typename T, typename A>
__device__ void scatter_window(const Shape& s, const Window& w, const Tap<A>* taps, const Map<const T>& grad_sampled,
                               const Map<const T>& map, const Map<A>& sums, WindowGradient<A>& window) {
  const int32_t lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
  const T *plane = map.plane(w.batch, w.head), *grad_plane = grad_sampled.plane(w.batch, w.head);
  A* sum_plane = sums.plane(w.batch, w.head);
  for (int32_t token = threadIdx.x / WARP; token < s.tokens(); token += warps) {
    const Tap<A>&x = taps[token % s.window_size], &y = taps[s.window_size + token / s.window_size];
    const Corners<A> corners(y, x);
    const T* grad_token = grad_plane + w.token(s, grad_sampled, token);
    for (int32_t c = lane; c < s.channels; c += WARP) {
      const A grad = A(grad_token[c]);
      A value[4];
#pragma unroll
      for (int corner = 0; corner < 4; ++corner) {
        value[corner] = corners.inside[corner] ? A(plane[corner_pixel(map, y, x, corner) + c]) : A(0);
        if (corners.inside[corner])
          atomic_add(sum_plane + corner_pixel(sums, y, x, corner) + c, corners.weight[corner] * grad);
      }
      window.add(token, s.window_size, grad * derivative_x(value, y), grad * derivative_y(value, x));
    }
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

template <typename T, typename A>
__global__ void __launch_bounds__(THREADS)
    sample_backward(Shape s, Map<const T> features, const A* scale, const A* offset, Map<const T> grad_sampled,
                    Map<A> sums, A* grad_scale, A* grad_offset) {
  A* scratch = reinterpret_cast<A*>(shared_memory());
  Tap<A>* taps = reinterpret_cast<Tap<A>*>(scratch + THREADS / WARP * 4);
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    make_taps(s, w, scale, offset, taps);
    __syncthreads();
    WindowGradient<A> grad;
    scatter_window(s, w, taps, grad_sampled, features, sums, grad);
    write_window_gradient(s, w, grad, scratch, grad_scale, grad_offset);
  }
}

}  // namespace

cudaError_t launch_sample(const SampleProblem& p, const Map<void>& sampled) {
  return with_type(p.type, [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    const Shape& s = p.shape;
    const auto features = typed<const T>(p.features);
    const auto out = typed<T>(sampled);
    const auto *scale = static_cast<const A*>(p.scale), *offset = static_cast<const A*>(p.offset);
    const bool wide = is_wide(features, s.channels, sizeof(T)) && is_wide(out, s.channels, sizeof(T));
    const int64_t items = s.windows() * s.tokens() * (s.channels / (wide ? WIDE<T> : 1));
    const int64_t blocks = blocks_for((items + THREADS - 1) / THREADS);
    const auto kernel = wide ? sample_forward<WIDE<T>, T, A> : sample_forward<1, T, A>;
    return launch_kernel(kernel, blocks, THREADS, 0, p.stream, s, features, scale, offset, out);
  });
}

cudaError_t launch_sample_backward(const SampleProblem& p, const SampleGradients& g) {
  return with_type(p.type, [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    const Shape& s = p.shape;
    const size_t bytes = THREADS / WARP * 4 * sizeof(A) + 2 * s.window_size * sizeof(Tap<A>);
    return launch_kernel(sample_backward<T, A>, blocks_for(s.windows()), THREADS, bytes, p.stream, s,
                         typed<const T>(p.features), static_cast<const A*>(p.scale), static_cast<const A*>(p.offset),
                         typed<const T>(g.grad_sampled), typed<A>(g.grad_features), static_cast<A*>(g.grad_scale),
                         static_cast<A*>(g.grad_offset));
  });
}

}  // namespace mmvit
