// CUDA kernels of varied-size window attention, for all dtypes. Each block of threads processes one window of one head.
// Shared memory holds the sampled keys and values, and ROWS queries at a time.
#include "window_device.cuh"

namespace mmvit {
namespace {

constexpr int ROWS = 8;
// Number of channels that a thread samples at once; eight channels in half precision would need too many registers.
template <typename T> constexpr int GROUP = WIDE<T> < 4 ? WIDE<T> : 4;

template <typename T, typename A>
struct Attention {
  Shape shape;
  A softmax_scale;
  Map<const T> q, k, v;
  const A *scale, *offset, *bias_table;
  Map<A> lse;
};

// Arrays in shared memory; cuda_bytes() in varied_size_window.py computes their size, too. The odd row stride avoids
// bank conflicts.
template <typename A>
struct Tiles {
  int32_t row;
  A *scratch, *k, *v, *grad_k, *grad_v, *q, *grad_out, *logits, *grad_logits, *bias;
  Tap<A>* taps;

  MMVIT_INLINE size_t place(const Shape& s, bool backward, unsigned char* start) {
    const int64_t tokens = s.tokens();
    row = s.channels | 1;
    A* next = reinterpret_cast<A*>(start);
    scratch = next;
    k = scratch + THREADS / WARP * 4;
    v = k + tokens * row;
    q = v + tokens * row;
    logits = q + ROWS * row;
    next = logits + ROWS * tokens;
    if (backward) {
      grad_out = next;
      grad_logits = grad_out + ROWS * row;
      grad_k = grad_logits + ROWS * tokens;
      grad_v = grad_k + tokens * row;
      bias = grad_v + tokens * row;
      next = bias + s.bias_rows();
    }
    taps = reinterpret_cast<Tap<A>*>(next);
    return reinterpret_cast<unsigned char*>(taps + 2 * s.window_size) - start;
  }
};

// Loads queries [first, first + ROWS), multiplied by a factor, with zeros in the padding.
template <typename T, typename A>
__device__ void load_queries(const Shape& s, const Window& w, const Map<const T>& map, A factor, int32_t first,
                             A* out, int32_t out_row) {
  const T* plane = map.plane(w.batch, w.head);
  for (int32_t i = threadIdx.x; i < ROWS * s.channels; i += blockDim.x) {
    const int32_t row = i / s.channels, channel = i % s.channels;
    const int64_t pixel = first + row < s.tokens() ? query_pixel(s, w, map, first + row) : -1;
    out[row * out_row + channel] = pixel < 0 ? A(0) : factor * A(plane[pixel + channel]);
  }
}

template <typename A>
__device__ __forceinline__ A dot(const A* a, const A* b, int32_t count) {
  A sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Returns the sum over i of factor[i * factor_row] * x[i * x_row].
template <typename A>
__device__ __forceinline__ A weigh(const A* factor, int32_t factor_row, const A* x, int32_t x_row, int32_t count) {
  A sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += factor[i * factor_row] * x[i * x_row];
  return sum;
}

template <int N, typename T, typename A>
__device__ void sample_to_tiles(const Attention<T, A>& p, const Window& w, const Tiles<A>& tiles) {
  make_taps(p.shape, w, p.scale, p.offset, tiles.taps);
  __syncthreads();
  sample_window<N>(p.shape, p.k, p.k.plane(w.batch, w.head), p.v, p.v.plane(w.batch, w.head), tiles.taps,
                   [&](int32_t token, int32_t channel, const A(&key)[N], const A(&value)[N]) {
#pragma unroll
                     for (int n = 0; n < N; ++n) {
                       tiles.k[token * tiles.row + channel + n] = key[n];
                       tiles.v[token * tiles.row + channel + n] = value[n];
                     }
                   });
}

template <typename T, typename A>
__device__ void compute_logits(const Attention<T, A>& p, const Window& w, const Tiles<A>& tiles, int32_t first) {
  const Shape& s = p.shape;
  for (int32_t i = threadIdx.x; i < ROWS * s.tokens(); i += blockDim.x) {
    const int32_t row = i / s.tokens(), key = i % s.tokens();
    if (first + row >= s.tokens()) break;
    const A bias = p.bias_table[int64_t(bias_row(first + row, key, s.window_size)) * s.heads + w.head];
    tiles.logits[i] = bias + dot(tiles.q + row * tiles.row, tiles.k + key * tiles.row, s.channels);
  }
}

template <int N, typename T, typename A>
__global__ void __launch_bounds__(THREADS) attention_forward(Attention<T, A> p, Map<T> out) {
  const Shape& s = p.shape;
  Tiles<A> tiles;
  tiles.place(s, false, shared_memory());
  const int32_t tokens = s.tokens(), lane = threadIdx.x % WARP;
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    sample_to_tiles<N>(p, w, tiles);
    for (int32_t first = 0; first < tokens; first += ROWS) {
      load_queries(s, w, p.q, p.softmax_scale, first, tiles.q, tiles.row);
      __syncthreads();
      compute_logits(p, w, tiles, first);
      __syncthreads();
      const int32_t rows = tokens - first < ROWS ? tokens - first : ROWS;
      for (int32_t row = threadIdx.x / WARP; row < rows; row += THREADS / WARP) {
        A* logits = tiles.logits + row * tokens;
        A maximum = logits[0], sum = 0;
        for (int32_t key = lane; key < tokens; key += WARP) maximum = logits[key] > maximum ? logits[key] : maximum;
        maximum = warp_maximum(maximum);
        for (int32_t key = lane; key < tokens; key += WARP) sum += logits[key] = exponential(logits[key] - maximum);
        sum = warp_sum(sum);
        for (int32_t key = lane; key < tokens; key += WARP) logits[key] /= sum;
        const int64_t pixel = query_pixel(s, w, p.lse, first + row);
        if (lane == 0 && pixel >= 0) p.lse.plane(w.batch, w.head)[pixel] = maximum + log(sum);
      }
      __syncthreads();
      for (int32_t i = threadIdx.x; i < rows * s.channels; i += blockDim.x) {
        const int32_t row = i / s.channels, channel = i % s.channels;
        const int64_t pixel = query_pixel(s, w, out, first + row);
        if (pixel >= 0)
          out.plane(w.batch, w.head)[pixel + channel] =
              T(weigh(tiles.logits + row * tokens, 1, tiles.v + channel, tiles.row, tokens));
      }
    }
  }
}

template <typename T, typename A>
struct AttentionGradients {
  Map<const T> grad_out;
  Map<T> grad_q;
  Map<A> grad_k, grad_v;  // null in deterministic mode
  A *grad_scale, *grad_offset, *grad_bias;
  int64_t slots;
  BufferGradient<A> grad_sampled_k, grad_sampled_v;
};

// Replaces logits by probabilities, and the gradients of the probabilities by the gradients of the logits.
template <typename T, typename A>
__device__ void softmax_backward(const Attention<T, A>& p, const Window& w, const Tiles<A>& tiles, int32_t first,
                                 int32_t rows) {
  const int32_t tokens = p.shape.tokens(), lane = threadIdx.x % WARP;
  for (int32_t row = threadIdx.x / WARP; row < rows; row += THREADS / WARP) {
    A *logits = tiles.logits + row * tokens, *grads = tiles.grad_logits + row * tokens;
    const int64_t pixel = query_pixel(p.shape, w, p.lse, first + row);
    const A lse = pixel < 0 ? A(0) : p.lse.plane(w.batch, w.head)[pixel];
    A mean = 0;
    for (int32_t key = lane; key < tokens; key += WARP) {
      logits[key] = pixel < 0 ? A(0) : exponential(logits[key] - lse);
      mean += logits[key] * grads[key];
    }
    mean = warp_sum(mean);
    for (int32_t key = lane; key < tokens; key += WARP) grads[key] = logits[key] * (grads[key] - mean);
  }
}

template <int N, typename T, typename A>
__global__ void __launch_bounds__(THREADS, 4) attention_backward(Attention<T, A> p, AttentionGradients<T, A> g) {
  const Shape& s = p.shape;
  Tiles<A> tiles;
  tiles.place(s, true, shared_memory());
  const int32_t tokens = s.tokens();
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    for (int32_t i = threadIdx.x; i < tokens * tiles.row; i += blockDim.x) tiles.grad_k[i] = tiles.grad_v[i] = 0;
    for (int32_t i = threadIdx.x; i < s.bias_rows(); i += blockDim.x) tiles.bias[i] = 0;
    sample_to_tiles<N>(p, w, tiles);
    for (int32_t first = 0; first < tokens; first += ROWS) {
      const int32_t rows = tokens - first < ROWS ? tokens - first : ROWS;
      load_queries(s, w, p.q, p.softmax_scale, first, tiles.q, tiles.row);
      load_queries(s, w, g.grad_out, A(1), first, tiles.grad_out, tiles.row);
      __syncthreads();
      compute_logits(p, w, tiles, first);
      for (int32_t i = threadIdx.x; i < rows * tokens; i += blockDim.x)
        tiles.grad_logits[i] =
            dot(tiles.grad_out + i / tokens * tiles.row, tiles.v + i % tokens * tiles.row, s.channels);
      __syncthreads();
      softmax_backward(p, w, tiles, first, rows);
      __syncthreads();
      for (int32_t i = threadIdx.x; i < rows * s.channels; i += blockDim.x) {
        const int32_t row = i / s.channels, channel = i % s.channels;
        const int64_t pixel = query_pixel(s, w, g.grad_q, first + row);
        if (pixel >= 0)
          g.grad_q.plane(w.batch, w.head)[pixel + channel] =
              T(p.softmax_scale * weigh(tiles.grad_logits + row * tokens, 1, tiles.k + channel, tiles.row, tokens));
      }
      for (int32_t i = threadIdx.x; i < tokens * s.channels; i += blockDim.x) {
        const int32_t key = i / s.channels, channel = i % s.channels, at = key * tiles.row + channel;
        tiles.grad_k[at] += weigh(tiles.grad_logits + key, tokens, tiles.q + channel, tiles.row, rows);
        tiles.grad_v[at] += weigh(tiles.logits + key, tokens, tiles.grad_out + channel, tiles.row, rows);
      }
      for (int32_t i = threadIdx.x; i < s.bias_rows(); i += blockDim.x)
        tiles.bias[i] += bias_gradient<A>(i, s.window_size, first, first + rows, [&](int32_t query, int32_t key) {
          return tiles.grad_logits[(query - first) * tokens + key];
        });
      __syncthreads();
    }
    WindowGradient<A> grad;
    const TileGradient<A> grad_k = {tiles.grad_k, tiles.row}, grad_v = {tiles.grad_v, tiles.row};
    scatter_window(s, w, tiles.taps, grad_k, p.k, g.grad_k, grad);
    scatter_window(s, w, tiles.taps, grad_v, p.v, g.grad_v, grad);
    write_window_gradient(s, w, grad, tiles.scratch, g.grad_scale, g.grad_offset);
    if (g.grad_sampled_k.data)
      for (int32_t i = threadIdx.x; i < tokens * s.channels; i += blockDim.x) {
        const int32_t token = i / s.channels, channel = i % s.channels;
        *g.grad_sampled_k.place(s, w, token, channel) = tiles.grad_k[token * tiles.row + channel];
        *g.grad_sampled_v.place(s, w, token, channel) = tiles.grad_v[token * tiles.row + channel];
      }
    A* slot = g.grad_bias + (index / s.heads % g.slots * s.heads + w.head) * s.bias_rows();
    for (int32_t i = threadIdx.x; i < s.bias_rows(); i += blockDim.x) atomic_add(slot + i, tiles.bias[i]);
  }
}

template <typename T, typename A>
Attention<T, A> typed_problem(const AttentionProblem& p) {
  return {p.shape,
          A(p.softmax_scale),
          typed<const T>(p.q),
          typed<const T>(p.k),
          typed<const T>(p.v),
          static_cast<const A*>(p.scale),
          static_cast<const A*>(p.offset),
          static_cast<const A*>(p.bias_table),
          lse_map<A>(p.shape, p.lse)};
}

bool reads_wide(const AttentionProblem& p, int64_t item_bytes) {
  return is_wide(p.k, p.shape.channels, item_bytes) && is_wide(p.v, p.shape.channels, item_bytes);
}

}  // namespace

cudaError_t launch_attention(const Launch& launch, const AttentionProblem& p, const Map<void>& out) {
  return with_type(launch.type, [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    const size_t bytes = Tiles<A>().place(p.shape, false, nullptr);
    if (bytes > size_t(launch.shared_limit)) return cudaErrorInvalidConfiguration;
    const auto kernel = reads_wide(p, sizeof(T)) ? attention_forward<GROUP<T>, T, A> : attention_forward<1, T, A>;
    return launch_kernel(kernel, blocks_for(p.shape.windows()), THREADS, bytes, launch.stream, typed_problem<T, A>(p),
                         typed<T>(out));
  });
}

cudaError_t launch_attention_backward(const Launch& launch, const AttentionGradientProblem& g) {
  const AttentionProblem& p = g.forward;
  return with_type(launch.type, [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    const bool deterministic = g.grad_sampled_k != nullptr;
    const BufferGradient<A> sampled_k = {static_cast<A*>(g.grad_sampled_k)};
    const BufferGradient<A> sampled_v = {static_cast<A*>(g.grad_sampled_v)};
    const size_t bytes = Tiles<A>().place(p.shape, true, nullptr);
    if (bytes > size_t(launch.shared_limit)) return cudaErrorInvalidConfiguration;
    const auto kernel = reads_wide(p, sizeof(T)) ? attention_backward<GROUP<T>, T, A> : attention_backward<1, T, A>;
    const AttentionGradients<T, A> gradients = {typed<const T>(g.grad_out),
                                                typed<T>(g.grad_q),
                                                deterministic ? Map<A>{} : typed<A>(g.grad_k),
                                                deterministic ? Map<A>{} : typed<A>(g.grad_v),
                                                static_cast<A*>(g.grad_scale),
                                                static_cast<A*>(g.grad_offset),
                                                static_cast<A*>(g.grad_bias),
                                                g.slots,
                                                sampled_k,
                                                sampled_v};
    cudaError_t error = launch_kernel(kernel, blocks_for(p.shape.windows()), THREADS, bytes, launch.stream,
                                      typed_problem<T, A>(p), gradients);
    if (error != cudaSuccess || !deterministic) return error;
    const auto *scale = static_cast<const A*>(p.scale), *offset = static_cast<const A*>(p.offset);
    error = launch_scatter_in_order(launch.stream, p.shape, scale, offset, sampled_k, typed<A>(g.grad_k));
    if (error != cudaSuccess) return error;
    return launch_scatter_in_order(launch.stream, p.shape, scale, offset, sampled_v, typed<A>(g.grad_v));
  });
}

}  // namespace mmvit
