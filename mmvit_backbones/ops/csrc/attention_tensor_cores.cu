// Attention to varied-size windows on GPUs with tensor cores: 16-bit features, up to 64 tokens and 64 channels.
//
// A block of four warps has a window of a head; all its keys fit one tile, so that the softmax needs no second pass.
// Each warp has 16 queries (in the backward pass then 16 keys). Sampled keys, values and probabilities are rounded to
// 16 bits for the products; sums, softmax and positions have 32.
#include "window_device.cuh"

namespace mmvit {
namespace {

constexpr int TOKENS = 64;           // rows of a tile
constexpr int TILE_ROWS = 16;        // of a warp
constexpr int LOGIT_ROW = TOKENS + 8;  // rows are 8 elements longer, against bank conflicts

// Shared memory of a block. T has 16 bits, CHANNELS is 32 or 64.
template <typename T, int CHANNELS>
struct Tiles {
  static constexpr int ROW = CHANNELS + 8;
  static constexpr int SUM_ROW = CHANNELS + 4;
  T *k, *v, *q, *grad_out, *p, *grad_logits;
  float *grad_k, *grad_v;  // in place of q and what follows, once those are used up
  float *bias, *scratch;
  Tap<float>* taps;

  MMVIT_INLINE size_t place(const Shape& s, bool backward, unsigned char* start) {
    k = reinterpret_cast<T*>(start);
    v = k + TOKENS * ROW;
    q = v + TOKENS * ROW;
    T* next = q + TOKENS * ROW;
    if (backward) {
      grad_out = next;
      p = grad_out + TOKENS * ROW;
      grad_logits = p + TOKENS * LOGIT_ROW;
      next = grad_logits + TOKENS * LOGIT_ROW;
      grad_k = reinterpret_cast<float*>(q);
      grad_v = grad_k + TOKENS * SUM_ROW;
      static_assert(2 * TOKENS * SUM_ROW * sizeof(float) <= 2 * TOKENS * (ROW + LOGIT_ROW) * sizeof(T), "no room");
    }
    bias = reinterpret_cast<float*>(next);
    scratch = bias + s.bias_rows();
    taps = reinterpret_cast<Tap<float>*>(scratch + THREADS / WARP * 4);
    return reinterpret_cast<unsigned char*>(taps + 2 * s.window_size) - start;
  }
};

// ---- fragments of mma.m16n8k16: lane n has row n / 4 (and that + 8) and columns n % 4 * 2 and the next (and + 8)

template <typename T>
__device__ __forceinline__ uint32_t pair(float low, float high) {
  const T values[2] = {T(low), T(high)};
  uint32_t bits;
  memcpy(&bits, values, sizeof(bits));
  return bits;
}

__device__ __forceinline__ uint32_t load_pair(const void* data) { return *static_cast<const uint32_t*>(data); }

// Rows [0, 16) and columns [0, 16) of a tile, as the left factor.
template <typename T>
__device__ __forceinline__ void load_left(uint32_t (&a)[4], const T* tile, int row) {
  const int lane = threadIdx.x % WARP;
  const T* corner = tile + lane / 4 * row + lane % 4 * 2;
  a[0] = load_pair(corner);
  a[1] = load_pair(corner + 8 * row);
  a[2] = load_pair(corner + 8);
  a[3] = load_pair(corner + 8 * row + 8);
}

// The left factor out of two neighbouring 16 x 8 results.
template <typename T>
__device__ __forceinline__ void pack_left(uint32_t (&a)[4], const float (&first)[4], const float (&second)[4]) {
  a[0] = pair<T>(first[0], first[1]);
  a[1] = pair<T>(first[2], first[3]);
  a[2] = pair<T>(second[0], second[1]);
  a[3] = pair<T>(second[2], second[3]);
}

// Columns [0, 16) of the transposed tile's rows [0, 16), as the left factor.
template <typename T>
__device__ __forceinline__ void load_left_transposed(uint32_t (&a)[4], const T* tile, int row) {
  const int lane = threadIdx.x % WARP, matrix = lane / 8;
  load_transposed(a, tile + (lane % 8 + matrix / 2 * 8) * row + matrix % 2 * 8);
}

// The transpose of a tile's rows [0, 8) and columns [0, 16), as the right factor (16 x 8).
template <typename T>
__device__ __forceinline__ void load_right_transposed(uint32_t (&b)[2], const T* tile, int row) {
  const int lane = threadIdx.x % WARP;
  const T* corner = tile + lane / 4 * row + lane % 4 * 2;
  b[0] = load_pair(corner);
  b[1] = load_pair(corner + 8);
}

// A tile's rows [0, 16) and columns [0, 8), as the right factor.
template <typename T>
__device__ __forceinline__ void load_right(uint32_t (&b)[2], const T* tile, int row) {
  load_transposed(b, tile + threadIdx.x % 16 * row);
}

// Row and column, within 16 x 8, of the n-th element that a lane has of a result.
__device__ __forceinline__ int result_row(int n) { return threadIdx.x % WARP / 4 + n / 2 * 8; }
__device__ __forceinline__ int result_column(int n) { return threadIdx.x % 4 * 2 + n % 2; }

// Sum over the four lanes that share the rows of a result.
__device__ __forceinline__ float row_sum(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

__device__ __forceinline__ float row_maximum(float x) {
  x = fmaxf(x, shuffle_xor(x, 1));
  return fmaxf(x, shuffle_xor(x, 2));
}

// left (16 x CHANNELS, rows of a tile) times right (TOKENS x CHANNELS) transposed.
template <typename T, int CHANNELS>
__device__ __forceinline__ void multiply_transposed(float (&out)[TOKENS / 8][4], const T* left, const T* right,
                                                    int tokens) {
  constexpr int ROW = Tiles<T, CHANNELS>::ROW;
#pragma unroll
  for (int n = 0; n < TOKENS / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) out[n][i] = 0;
#pragma unroll
  for (int k = 0; k < CHANNELS / 16; ++k) {
    uint32_t a[4];
    load_left(a, left + k * 16, ROW);
#pragma unroll
    for (int n = 0; n < TOKENS / 8; ++n) {
      if (n * 8 >= tokens) continue;
      uint32_t b[2];
      load_right_transposed(b, right + n * 8 * ROW + k * 16, ROW);
      multiply(out[n], a, b, T());
    }
  }
}

// left (16 x TOKENS, results of the function above) times right (TOKENS x CHANNELS).
template <typename T, int CHANNELS>
__device__ __forceinline__ void multiply_results(float (&out)[CHANNELS / 8][4], const float (&left)[TOKENS / 8][4],
                                                 const T* right, int tokens) {
  constexpr int ROW = Tiles<T, CHANNELS>::ROW;
#pragma unroll
  for (int n = 0; n < CHANNELS / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) out[n][i] = 0;
#pragma unroll
  for (int k = 0; k < TOKENS / 16; ++k) {
    if (k * 16 >= tokens) continue;
    uint32_t a[4];
    pack_left<T>(a, left[2 * k], left[2 * k + 1]);
#pragma unroll
    for (int n = 0; n < CHANNELS / 8; ++n) {
      uint32_t b[2];
      load_right(b, right + k * 16 * ROW + n * 8, ROW);
      multiply(out[n], a, b, T());
    }
  }
}

// left (TOKENS x 16, columns of a tile) transposed times right (TOKENS x CHANNELS).
template <typename T, int CHANNELS>
__device__ __forceinline__ void multiply_left_transposed(float (&out)[CHANNELS / 8][4], const T* left, const T* right,
                                                         int tokens) {
  constexpr int ROW = Tiles<T, CHANNELS>::ROW;
#pragma unroll
  for (int n = 0; n < CHANNELS / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) out[n][i] = 0;
#pragma unroll
  for (int k = 0; k < TOKENS / 16; ++k) {
    if (k * 16 >= tokens) continue;
    uint32_t a[4];
    load_left_transposed(a, left + k * 16 * LOGIT_ROW, LOGIT_ROW);
#pragma unroll
    for (int n = 0; n < CHANNELS / 8; ++n) {
      uint32_t b[2];
      load_right(b, right + k * 16 * ROW + n * 8, ROW);
      multiply(out[n], a, b, T());
    }
  }
}

// ---- tiles

template <typename T>
struct Problem {
  Shape shape;
  float softmax_scale;
  Map<const T> q, k, v;
  const float *scale, *offset, *bias_table;
  Map<float> lse;
};

// The queries of a window, zeros in the padding and beyond the window's tokens and channels.
template <typename T, int CHANNELS>
__device__ void load_queries(const Shape& s, const Window& w, const Map<const T>& map, T* tile) {
  constexpr int GROUPS = CHANNELS / WIDE<T>;
  const T* plane = map.plane(w.batch, w.head);
  for (int i = threadIdx.x; i < TOKENS * GROUPS; i += blockDim.x) {
    const int token = i / GROUPS, channel = i % GROUPS * WIDE<T>;
    const int64_t pixel = token < s.tokens() && channel < s.channels ? query_pixel(s, w, map, token) : -1;
    *reinterpret_cast<Pack<T, WIDE<T>>*>(tile + token * Tiles<T, CHANNELS>::ROW + channel) =
        pixel < 0 ? zero_pack<T, WIDE<T>>() : load_pack<T, WIDE<T>>(plane + pixel + channel);
  }
}

// Keys and values of a window, its queries and the biases of its head; all threads have them afterwards.
template <typename T, int CHANNELS>
__device__ void load_window(const Problem<T>& p, const Window& w, const Tiles<T, CHANNELS>& tiles) {
  constexpr int ROW = Tiles<T, CHANNELS>::ROW, N = WIDE<T>, GROUPS = CHANNELS / N;
  const Shape& s = p.shape;
  make_taps(s, w, p.scale, p.offset, tiles.taps);
  for (int i = threadIdx.x; i < s.bias_rows(); i += blockDim.x) tiles.bias[i] = p.bias_table[i * s.heads + w.head];
  for (int i = threadIdx.x; i < TOKENS * GROUPS; i += blockDim.x) {
    const int token = i / GROUPS, channel = i % GROUPS * N;
    if (token < s.tokens() && channel < s.channels) continue;
    *reinterpret_cast<Pack<T, N>*>(tiles.k + token * ROW + channel) = zero_pack<T, N>();
    *reinterpret_cast<Pack<T, N>*>(tiles.v + token * ROW + channel) = zero_pack<T, N>();
  }
  load_queries<T, CHANNELS>(s, w, p.q, tiles.q);
  __syncthreads();
  sample_window<N>(s, p.k, p.k.plane(w.batch, w.head), p.v, p.v.plane(w.batch, w.head), tiles.taps,
                   [&](int32_t token, int32_t channel, const float(&key)[N], const float(&value)[N]) {
                     Pack<T, N> keys, values;
#pragma unroll
                     for (int n = 0; n < N; ++n) {
                       keys.values[n] = T(key[n]);
                       values.values[n] = T(value[n]);
                     }
                     *reinterpret_cast<Pack<T, N>*>(tiles.k + token * ROW + channel) = keys;
                     *reinterpret_cast<Pack<T, N>*>(tiles.v + token * ROW + channel) = values;
                   });
  __syncthreads();
}

// A warp's 16 queries times all keys, scaled, with biases; -inf beyond the window's keys.
template <typename T, int CHANNELS>
__device__ __forceinline__ void compute_logits(const Problem<T>& p, const Tiles<T, CHANNELS>& tiles, int first,
                                               float (&logits)[TOKENS / 8][4]) {
  const int tokens = p.shape.tokens(), ws = p.shape.window_size;
  multiply_transposed<T, CHANNELS>(logits, tiles.q + first * Tiles<T, CHANNELS>::ROW, tiles.k, tokens);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int query = min(first + result_row(i), tokens - 1);
#pragma unroll
    for (int n = 0; n < TOKENS / 8; ++n) {
      const int key = n * 8 + result_column(i);
      logits[n][i] = key < tokens ? logits[n][i] * p.softmax_scale + tiles.bias[bias_row(query, key, ws)] : -INFINITY;
    }
  }
}

// Writes a warp's rows, times a factor each for the upper and lower eight, to the pixels of its queries.
template <typename T, int CHANNELS>
__device__ __forceinline__ void store_queries(const Shape& s, const Window& w, const Map<T>& map, int first,
                                              const float (&rows)[CHANNELS / 8][4], const float (&factor)[2]) {
  T* plane = map.plane(w.batch, w.head);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + result_row(half * 2);
    const int64_t pixel = query < s.tokens() ? query_pixel(s, w, map, query) : -1;
#pragma unroll
    for (int n = 0; n < CHANNELS / 8; ++n)
      if (pixel >= 0 && n * 8 < s.channels)
        *reinterpret_cast<uint32_t*>(plane + pixel + n * 8 + result_column(0)) =
            pair<T>(rows[n][half * 2] * factor[half], rows[n][half * 2 + 1] * factor[half]);
  }
}

// ---- kernels

template <typename T, int CHANNELS>
__global__ void __launch_bounds__(THREADS) forward(Problem<T> p, Map<T> out) {
  const Shape& s = p.shape;
  Tiles<T, CHANNELS> tiles;
  tiles.place(s, false, shared_memory());
  const int first = threadIdx.x / WARP * TILE_ROWS;
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    load_window<T, CHANNELS>(p, w, tiles);
    if (first >= s.tokens()) continue;  // a warp without queries; it meets the others at the top
    float logits[TOKENS / 8][4];
    compute_logits<T, CHANNELS>(p, tiles, first, logits);
    float maximum[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, inverse[2];
#pragma unroll
    for (int n = 0; n < TOKENS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) maximum[i / 2] = fmaxf(maximum[i / 2], logits[n][i]);
#pragma unroll
    for (int half = 0; half < 2; ++half) maximum[half] = row_maximum(maximum[half]);
#pragma unroll
    for (int n = 0; n < TOKENS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        logits[n][i] = fast_exponential(logits[n][i] - maximum[i / 2]);
        sum[i / 2] += logits[n][i];
      }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum[half] = row_sum(sum[half]);
      inverse[half] = 1 / sum[half];
      const int query = first + result_row(half * 2);
      const int64_t pixel = query < s.tokens() ? query_pixel(s, w, p.lse, query) : -1;
      if (pixel >= 0 && threadIdx.x % 4 == 0)
        p.lse.plane(w.batch, w.head)[pixel] = maximum[half] + logf(sum[half]);
    }
    float result[CHANNELS / 8][4];
    multiply_results<T, CHANNELS>(result, logits, tiles.v, s.tokens());
    store_queries<T, CHANNELS>(s, w, out, first, result, inverse);
  }
}

template <typename T>
struct Gradients {
  Map<const T> grad_out;
  Map<T> grad_q;
  Map<float> grad_k, grad_v;  // without data in the deterministic kernel
  float *grad_scale, *grad_offset, *grad_bias;
  int64_t slots;
  BufferGradient<float> grad_sampled_k, grad_sampled_v;
};

// For a warp's 16 queries: probabilities and gradients of logits into their tiles, and the gradient of the queries.
template <typename T, int CHANNELS>
__device__ __forceinline__ void query_gradients(const Problem<T>& p, const Gradients<T>& g, const Window& w,
                                                const Tiles<T, CHANNELS>& tiles, int first) {
  const Shape& s = p.shape;
  float probabilities[TOKENS / 8][4], grads[TOKENS / 8][4];
  compute_logits<T, CHANNELS>(p, tiles, first, probabilities);
  multiply_transposed<T, CHANNELS>(grads, tiles.grad_out + first * Tiles<T, CHANNELS>::ROW, tiles.v, s.tokens());
  float mean[2] = {0, 0}, lse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + result_row(half * 2);
    const int64_t pixel = query < s.tokens() ? query_pixel(s, w, p.lse, query) : -1;
    lse[half] = pixel >= 0 ? p.lse.plane(w.batch, w.head)[pixel] : INFINITY;  // no query, no probabilities
  }
#pragma unroll
  for (int n = 0; n < TOKENS / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      probabilities[n][i] = fast_exponential(probabilities[n][i] - lse[i / 2]);
      mean[i / 2] += probabilities[n][i] * grads[n][i];
    }
#pragma unroll
  for (int half = 0; half < 2; ++half) mean[half] = row_sum(mean[half]);
#pragma unroll
  for (int n = 0; n < TOKENS / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) grads[n][i] = probabilities[n][i] * (grads[n][i] - mean[i / 2]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = (first + result_row(half * 2)) * LOGIT_ROW + n * 8 + result_column(0);
      *reinterpret_cast<uint32_t*>(tiles.p + at) = pair<T>(probabilities[n][half * 2], probabilities[n][half * 2 + 1]);
      *reinterpret_cast<uint32_t*>(tiles.grad_logits + at) = pair<T>(grads[n][half * 2], grads[n][half * 2 + 1]);
    }
  }
  float result[CHANNELS / 8][4];
  multiply_results<T, CHANNELS>(result, grads, tiles.k, s.tokens());
  const float factor[2] = {p.softmax_scale, p.softmax_scale};
  store_queries<T, CHANNELS>(s, w, g.grad_q, first, result, factor);
}

template <typename T, int CHANNELS>
__global__ void __launch_bounds__(THREADS) backward(Problem<T> p, Gradients<T> g) {
  constexpr int SUM_ROW = Tiles<T, CHANNELS>::SUM_ROW;
  const Shape& s = p.shape;
  const int tokens = s.tokens();
  Tiles<T, CHANNELS> tiles;
  tiles.place(s, true, shared_memory());
  const int first = threadIdx.x / WARP * TILE_ROWS;
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    load_queries<T, CHANNELS>(s, w, g.grad_out, tiles.grad_out);
    load_window<T, CHANNELS>(p, w, tiles);
    query_gradients<T, CHANNELS>(p, g, w, tiles, first);  // all warps: rows beyond the tokens become zeros
    __syncthreads();
    float* slot = g.grad_bias + (index / s.heads % g.slots * s.heads + w.head) * s.bias_rows();
    for (int i = threadIdx.x; i < s.bias_rows(); i += blockDim.x)
      atomic_add(slot + i, bias_gradient<float>(i, s.window_size, 0, tokens, [&](int32_t query, int32_t key) {
                   return float(tiles.grad_logits[query * LOGIT_ROW + key]);
                 }));
    float grad_k[CHANNELS / 8][4], grad_v[CHANNELS / 8][4];  // of a warp's 16 keys
    multiply_left_transposed<T, CHANNELS>(grad_k, tiles.grad_logits + first, tiles.q, tokens);
    multiply_left_transposed<T, CHANNELS>(grad_v, tiles.p + first, tiles.grad_out, tokens);
    __syncthreads();
#pragma unroll
    for (int n = 0; n < CHANNELS / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = (first + result_row(i)) * SUM_ROW + n * 8 + result_column(i);
        tiles.grad_k[at] = grad_k[n][i] * p.softmax_scale;
        tiles.grad_v[at] = grad_v[n][i];
      }
    __syncthreads();
    WindowGradient<float> grad;
    const TileGradient<float> tile_k = {tiles.grad_k, SUM_ROW}, tile_v = {tiles.grad_v, SUM_ROW};
    scatter_window(s, w, tiles.taps, tile_k, p.k, g.grad_k, grad);
    scatter_window(s, w, tiles.taps, tile_v, p.v, g.grad_v, grad);
    write_window_gradient(s, w, grad, tiles.scratch, g.grad_scale, g.grad_offset);
    if (g.grad_sampled_k.data)
      for (int i = threadIdx.x; i < tokens * s.channels; i += blockDim.x) {
        const int token = i / s.channels, channel = i % s.channels;
        *g.grad_sampled_k.place(s, w, token, channel) = tiles.grad_k[token * SUM_ROW + channel];
        *g.grad_sampled_v.place(s, w, token, channel) = tiles.grad_v[token * SUM_ROW + channel];
      }
  }
}

// ---- launches

template <typename T>
Problem<T> typed_problem(const AttentionProblem& p) {
  return {p.shape,
          float(p.softmax_scale),
          typed<const T>(p.q),
          typed<const T>(p.k),
          typed<const T>(p.v),
          static_cast<const float*>(p.scale),
          static_cast<const float*>(p.offset),
          static_cast<const float*>(p.bias_table),
          lse_map<float>(p.shape, p.lse)};
}

template <typename T, int CHANNELS>
cudaError_t run_forward(const Launch& launch, const AttentionProblem& p, const Map<void>& out) {
  const size_t bytes = Tiles<T, CHANNELS>().place(p.shape, false, nullptr);
  return launch_kernel(forward<T, CHANNELS>, blocks_for(p.shape.windows()), THREADS, bytes, launch.stream,
                       typed_problem<T>(p), typed<T>(out));
}

template <typename T, int CHANNELS>
cudaError_t run_backward(const Launch& launch, const AttentionGradientProblem& g) {
  const size_t bytes = Tiles<T, CHANNELS>().place(g.forward.shape, true, nullptr);
  const bool deterministic = g.grad_sampled_k != nullptr;
  const Gradients<T> gradients = {typed<const T>(g.grad_out),
                                  typed<T>(g.grad_q),
                                  deterministic ? Map<float>{} : typed<float>(g.grad_k),
                                  deterministic ? Map<float>{} : typed<float>(g.grad_v),
                                  static_cast<float*>(g.grad_scale),
                                  static_cast<float*>(g.grad_offset),
                                  static_cast<float*>(g.grad_bias),
                                  g.slots,
                                  {static_cast<float*>(g.grad_sampled_k)},
                                  {static_cast<float*>(g.grad_sampled_v)}};
  return launch_kernel(backward<T, CHANNELS>, blocks_for(g.forward.shape.windows()), THREADS, bytes, launch.stream,
                       typed_problem<T>(g.forward), gradients);
}

}  // namespace

bool fits_tensor_cores(const Launch& launch, const AttentionProblem& p) {
  const int32_t channels = p.shape.channels;
  return (launch.type == Type::HALF || launch.type == Type::BFLOAT16) && p.shape.tokens() <= TOKENS &&
         channels <= 64 && is_wide(p.q, channels, 2) && is_wide(p.k, channels, 2) && is_wide(p.v, channels, 2);
}

cudaError_t launch_attention_tensor_cores(const Launch& launch, const AttentionProblem& p, const Map<void>& out) {
  const bool narrow = p.shape.channels <= 32;
  if (launch.type == Type::HALF)
    return narrow ? run_forward<__half, 32>(launch, p, out) : run_forward<__half, 64>(launch, p, out);
  return narrow ? run_forward<__nv_bfloat16, 32>(launch, p, out) : run_forward<__nv_bfloat16, 64>(launch, p, out);
}

cudaError_t launch_attention_backward_tensor_cores(const Launch& launch, const AttentionGradientProblem& g) {
  const bool narrow = g.forward.shape.channels <= 32;
  if (launch.type == Type::HALF) return narrow ? run_backward<__half, 32>(launch, g) : run_backward<__half, 64>(launch, g);
  return narrow ? run_backward<__nv_bfloat16, 32>(launch, g) : run_backward<__nv_bfloat16, 64>(launch, g);
}

}  // namespace mmvit
