// The CPU kernels, vectorized with ATen. This file is compiled once per instruction set, with CPU_CAPABILITY defined as
// DEFAULT, AVX2 or AVX512. Object files that run on every processor must be linked first, because the linker takes each
// inline function from the first file that contains it.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

#include <initializer_list>

#include "cpu_kernels.h"

namespace mmvit {
namespace CPU_CAPABILITY {
namespace {

// ---- vectors

template <typename A> using Vector = at::vec::Vectorized<A>;
template <typename A> constexpr int LANES = Vector<A>::size();

template <typename A>
MMVIT_INLINE Vector<A> load(const A* data) {
  return Vector<A>::loadu(data);
}

template <typename A>
MMVIT_INLINE A sum(const Vector<A>& x) {
  return at::vec::vec_reduce_all<A>([](const Vector<A>& a, const Vector<A>& b) { return a + b; }, x);
}

template <typename A>
MMVIT_INLINE int64_t padded(int64_t count) {
  return (count + LANES<A> - 1) / LANES<A> * LANES<A>;
}

// ---- small matrix products c += a b, where c has a multiple of LANES columns

template <typename A, int ROWS, int VECTORS>
MMVIT_INLINE void multiply_tile(A* c, int64_t c_row, const A* a, int64_t a_row, int64_t a_column, const A* b,
                                int64_t b_row, int64_t depth) {
  Vector<A> sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) sums[i][j] = load(c + i * c_row + j * LANES<A>);
  for (int64_t k = 0; k < depth; ++k) {
    Vector<A> values[VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) values[j] = load(b + k * b_row + j * LANES<A>);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const Vector<A> factor(a[i * a_row + k * a_column]);
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; ++j) sums[i][j] = at::vec::fmadd(factor, values[j], sums[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) sums[i][j].store(c + i * c_row + j * LANES<A>);
}

// multiply() uses tiles of seven rows, because they divide the 49 tokens of a 7 x 7 window, and fit in the registers of
// AVX2 and AVX-512. Without AVX, some sums are spilled.
template <typename A, int ROWS, int VECTORS>
MMVIT_INLINE void multiply_rows(A* c, int64_t c_row, const A* a, int64_t a_row, int64_t a_column, const A* b,
                                int64_t b_row, int64_t rows, int64_t depth) {
  for (; rows >= ROWS; rows -= ROWS, c += ROWS * c_row, a += ROWS * a_row)
    multiply_tile<A, ROWS, VECTORS>(c, c_row, a, a_row, a_column, b, b_row, depth);
  if constexpr (ROWS > 1)
    if (rows) multiply_rows<A, (ROWS + 1) / 2, VECTORS>(c, c_row, a, a_row, a_column, b, b_row, rows, depth);
}

template <typename A>
void multiply(A* c, int64_t c_row, const A* a, int64_t a_row, int64_t a_column, const A* b, int64_t b_row,
              int64_t rows, int64_t columns, int64_t depth) {
  constexpr int VECTORS = LANES<float> == 16 ? 2 : 1;
  int64_t j = 0;
  for (; j + VECTORS * LANES<A> <= columns; j += VECTORS * LANES<A>)
    multiply_rows<A, 7, VECTORS>(c + j, c_row, a, a_row, a_column, b + j, b_row, rows, depth);
  for (; j < columns; j += LANES<A>) multiply_rows<A, 7, 1>(c + j, c_row, a, a_row, a_column, b + j, b_row, rows, depth);
}

template <typename A>
void transpose(A* out, int64_t out_row, const A* x, int64_t x_row, int64_t rows, int64_t columns) {
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = 0; i < rows; ++i) out[j * out_row + i] = x[i * x_row + j];
}

template <typename A>
void fill(A* data, int64_t count, A value) {
  for (int64_t i = 0; i < count; ++i) data[i] = value;
}

// ---- sampling

// Computes the taps of each column and each row of a window.
template <typename A>
void make_taps(const Shape& s, const Window& w, const A* scale, const A* offset, Tap<A>* x, Tap<A>* y) {
  const int64_t px = w.parameter(s), py = px + int64_t(s.rows) * s.columns;
  for (int32_t t = 0; t < s.window_size; ++t) {
    x[t] = Tap<A>(token_position(w.column, t, s.window_size, s.left, scale[px], offset[px]), s.width);
    y[t] = Tap<A>(token_position(w.row, t, s.window_size, s.top, scale[py], offset[py]), s.height);
  }
}

template <typename A>
MMVIT_INLINE void sample_token(const A* plane, const Map<const A>& map, const Tap<A>& y, const Tap<A>& x,
                               const A* zeros, int32_t channels, A* out) {
  const Corners<A> corners(y, x);
  const A* row[4];
  for (int i = 0; i < 4; ++i) row[i] = corners.inside[i] ? plane + corner_pixel(map, y, x, i) : zeros;
  const Vector<A> weight[4] = {Vector<A>(corners.weight[0]), Vector<A>(corners.weight[1]),
                               Vector<A>(corners.weight[2]), Vector<A>(corners.weight[3])};
  int32_t c = 0;
  for (; c + LANES<A> <= channels; c += LANES<A>)
    (weight[0] * load(row[0] + c) + weight[1] * load(row[1] + c) + weight[2] * load(row[2] + c) +
     weight[3] * load(row[3] + c))
        .store(out + c);
  for (; c < channels; ++c)
    out[c] = corners.weight[0] * row[0][c] + corners.weight[1] * row[1][c] + corners.weight[2] * row[2][c] +
             corners.weight[3] * row[3][c];
}

// Adds a token's gradient to the gradients of the window's scale and offset.
template <typename A>
MMVIT_INLINE void add_place_gradient(const A* grad, const A* plane, const Map<const A>& map, const Shape& s,
                                     int32_t token, const Tap<A>& y, const Tap<A>& x, WindowGradient<A>& window) {
  const Corners<A> corners(y, x);
  A product[4] = {0, 0, 0, 0};  // gradient times corner, summed over channels
  for (int i = 0; i < 4; ++i) {
    if (!corners.inside[i]) continue;
    const A* value = plane + corner_pixel(map, y, x, i);
    Vector<A> products(0);
    int32_t c = 0;
    for (; c + LANES<A> <= s.channels; c += LANES<A>)
      products = at::vec::fmadd(load(grad + c), load(value + c), products);
    for (; c < s.channels; ++c) product[i] += grad[c] * value[c];
    product[i] += sum(products);
  }
  window.add(token, s.window_size, derivative_x(product, y), derivative_y(product, x));
}

template <typename A>
MMVIT_INLINE void add_scaled(A* out, A factor, const A* x, int32_t count) {
  const Vector<A> factors(factor);
  int32_t c = 0;
  for (; c + LANES<A> <= count; c += LANES<A>) at::vec::fmadd(factors, load(x + c), load(out + c)).store(out + c);
  for (; c < count; ++c) out[c] += factor * x[c];
}

template <typename A>
void write_window_gradient(const Shape& s, const Window& w, const WindowGradient<A>& grad, A* grad_scale,
                           A* grad_offset) {
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t index = w.parameter(s) + axis * int64_t(s.rows) * s.columns;
    grad_scale[index] = grad.scale[axis];
    grad_offset[index] = grad.offset[axis];
  }
}

// ---- memory of a thread

template <typename A>
struct Workspace {
  int64_t channels, keys;  // rounded up to a multiple of LANES
  A *q, *k, *v, *out, *grad_q, *grad_k, *grad_v;  // tokens x channels
  A *k_transposed, *v_transposed;                 // channels x keys
  A *logits, *grad_logits, *grad_bias;            // tokens x keys
  A* zeros;
  Tap<A>*x, *y;

  // Places the arrays in memory from `start` on, and returns the number of elements.
  int64_t place(const Shape& s, bool attention, A* start) {
    const int64_t tokens = attention ? s.tokens() : 0;
    channels = padded<A>(s.channels);
    keys = padded<A>(tokens);
    A* next = start;
    const auto take = [&](int64_t count) {
      A* taken = next;
      next += (count + 15) / 16 * 16;
      return taken;
    };
    for (A** rows : {&q, &k, &v, &out, &grad_q, &grad_k, &grad_v}) *rows = take(tokens * channels);
    for (A** columns : {&k_transposed, &v_transposed}) *columns = take(channels * keys);
    for (A** square : {&logits, &grad_logits, &grad_bias}) *square = take(tokens * keys);
    zeros = take(channels);
    const int64_t tap_elements = s.window_size * int64_t(sizeof(Tap<A>) / sizeof(A) + 1);
    x = reinterpret_cast<Tap<A>*>(take(tap_elements));
    y = reinterpret_cast<Tap<A>*>(take(tap_elements));
    return next - start;
  }

  Workspace(const Shape& s, bool attention, A* start) { fill(start, place(s, attention, start), A(0)); }
  Workspace() = default;
};

template <typename A>
int64_t workspace_elements(const Shape& s, bool attention) {
  return Workspace<A>().place(s, attention, nullptr);
}

// ---- the sampling operator

template <typename A>
void sample(const SampleArguments<A>& a, A* workspace, int64_t begin, int64_t end) {
  const Shape& s = a.shape;
  Workspace<A> ws(s, false, workspace);
  for (int64_t index = begin; index < end; ++index) {
    const Window w(s, index);
    make_taps(s, w, a.scale, a.offset, ws.x, ws.y);
    const A* plane = a.features.plane(w.batch, w.head);
    A* out = a.sampled.plane(w.batch, w.head);
    for (int32_t t = 0; t < s.tokens(); ++t)
      sample_token(plane, a.features, ws.y[t / s.window_size], ws.x[t % s.window_size], ws.zeros, s.channels,
                   out + w.token(s, a.sampled, t));
  }
}

template <typename A>
void place_gradients(const PlaceGradients<A>& a, A* workspace, int64_t begin, int64_t end) {
  const SampleArguments<A>& f = a.forward;
  const Shape& s = f.shape;
  Workspace<A> ws(s, false, workspace);
  for (int64_t index = begin; index < end; ++index) {
    const Window w(s, index);
    make_taps(s, w, f.scale, f.offset, ws.x, ws.y);
    const A *plane = f.features.plane(w.batch, w.head), *grads = a.grad_sampled.plane(w.batch, w.head);
    WindowGradient<A> grad;
    for (int32_t t = 0; t < s.tokens(); ++t)
      add_place_gradient(grads + w.token(s, a.grad_sampled, t), plane, f.features, s, t, ws.y[t / s.window_size],
                         ws.x[t % s.window_size], grad);
    write_window_gradient(s, w, grad, a.grad_scale, a.grad_offset);
  }
}

// Adds the gradients of a row of a window's tokens to the gradients of a row of pixels.
template <typename A>
MMVIT_INLINE void scatter_row(const A* grads, int64_t grad_column, A* pixels, int64_t pixel_column, A weight,
                              const Tap<A>* x, const Shape& s) {
  for (int32_t j = 0; j < s.window_size; ++j, grads += grad_column) {
    A* low = pixels + x[j].low * pixel_column;
    if (x[j].has_low) add_scaled(low, weight * (1 - x[j].fraction), grads, s.channels);
    if (x[j].has_high) add_scaled(low + pixel_column, weight * x[j].fraction, grads, s.channels);
  }
}

template <typename A>
void pixel_gradients(const PixelGradients<A>& a, A* workspace, int64_t begin, int64_t end) {
  const Shape& s = a.shape;
  Workspace<A> ws(s, false, workspace);
  for (int64_t index = begin; index < end; ++index) {
    const int64_t plane = index / a.bands, band = index % a.bands;
    const int64_t first = s.height * band / a.bands, last = s.height * (band + 1) / a.bands;
    const auto in_band = [&](int64_t row) { return row >= first && row < last; };
    for (int64_t n = 0; n < int64_t(s.rows) * s.columns; ++n) {
      const Window w(s, plane / s.heads, int32_t(plane % s.heads), int32_t(n / s.columns), int32_t(n % s.columns));
      make_taps(s, w, a.scale, a.offset, ws.x, ws.y);
      const A* grads = a.grad_sampled.plane(w.batch, w.head);
      A* pixels = a.grad_features.plane(w.batch, w.head);
      for (int32_t i = 0; i < s.window_size; ++i) {
        const Tap<A>& y = ws.y[i];
        const A* row = grads + w.token(s, a.grad_sampled, i * s.window_size);
        A* low = pixels + y.low * a.grad_features.row;
        if (y.has_low && in_band(y.low))
          scatter_row(row, a.grad_sampled.column, low, a.grad_features.column, 1 - y.fraction, ws.x, s);
        if (y.has_high && in_band(int64_t(y.low) + 1))
          scatter_row(row, a.grad_sampled.column, low + a.grad_features.row, a.grad_features.column, y.fraction, ws.x,
                      s);
      }
    }
  }
}

// ---- attention

// Copies the queries inside the map, multiplied by a factor.
template <typename A>
void gather_queries(const Shape& s, const Window& w, const Map<const A>& map, A factor, A* out, int64_t out_row) {
  const A* plane = map.plane(w.batch, w.head);
  for (int32_t n = 0; n < w.queries(); ++n) {
    const A* row = plane + w.pixel(s, map, w.query_token(n, s.window_size));
    for (int32_t c = 0; c < s.channels; ++c) out[n * out_row + c] = factor * row[c];
  }
}

template <typename A>
void scatter_queries(const Shape& s, const Window& w, const Map<A>& map, A factor, const A* x, int64_t x_row) {
  A* plane = map.plane(w.batch, w.head);
  for (int32_t n = 0; n < w.queries(); ++n) {
    A* row = plane + w.pixel(s, map, w.query_token(n, s.window_size));
    for (int32_t c = 0; c < s.channels; ++c) row[c] = factor * x[n * x_row + c];
  }
}

template <typename A>
int64_t lse_index(const Shape& s, const Window& w, int32_t token) {
  const Map<A> map = {nullptr, 0, 0, s.width, 1};
  return (w.batch * s.heads + w.head) * int64_t(s.height) * s.width + w.pixel(s, map, token);
}

// Samples the keys and values of a window, and computes the logits of the queries inside the map.
template <typename A>
void compute_logits(const AttentionArguments<A>& a, const Window& w, Workspace<A>& ws) {
  const Shape& s = a.shape;
  make_taps(s, w, a.scale, a.offset, ws.x, ws.y);
  const A *keys = a.k.plane(w.batch, w.head), *values = a.v.plane(w.batch, w.head);
  for (int32_t t = 0; t < s.tokens(); ++t) {
    const Tap<A>&y = ws.y[t / s.window_size], &x = ws.x[t % s.window_size];
    sample_token(keys, a.k, y, x, ws.zeros, s.channels, ws.k + t * ws.channels);
    sample_token(values, a.v, y, x, ws.zeros, s.channels, ws.v + t * ws.channels);
  }
  transpose(ws.k_transposed, ws.keys, ws.k, ws.channels, s.tokens(), s.channels);
  gather_queries(s, w, a.q, a.softmax_scale, ws.q, ws.channels);
  for (int32_t n = 0; n < w.queries(); ++n) {
    const A* bias = a.bias + (int64_t(w.head) * s.tokens() + w.query_token(n, s.window_size)) * ws.keys;
    __builtin_memcpy(ws.logits + n * ws.keys, bias, ws.keys * sizeof(A));
  }
  multiply(ws.logits, ws.keys, ws.q, ws.channels, 1, ws.k_transposed, ws.keys, w.queries(), ws.keys, s.channels);
}

// Replaces a row of logits by exponentials relative to their maximum, and returns the sum of the exponentials.
template <typename A>
MMVIT_INLINE A exponentiate(A* row, int64_t keys, A& maximum) {
  Vector<A> largest = load(row), total(0);
  for (int64_t j = LANES<A>; j < keys; j += LANES<A>) largest = at::vec::maximum(largest, load(row + j));
  maximum = at::vec::vec_reduce_all<A>(
      [](const Vector<A>& a, const Vector<A>& b) { return at::vec::maximum(a, b); }, largest);
  for (int64_t j = 0; j < keys; j += LANES<A>) {
    const Vector<A> x = (load(row + j) - Vector<A>(maximum)).exp();
    x.store(row + j);
    total = total + x;
  }
  return sum(total);
}

template <typename A>
void attention(const AttentionArguments<A>& a, A* workspace, int64_t begin, int64_t end) {
  const Shape& s = a.shape;
  Workspace<A> ws(s, true, workspace);
  for (int64_t index = begin; index < end; ++index) {
    const Window w(s, index);
    const int32_t queries = w.queries();
    if (queries == 0) continue;
    compute_logits(a, w, ws);
    fill(ws.out, queries * ws.channels, A(0));
    A* normalizers = ws.grad_logits;  // this array is unused in the forward pass
    for (int32_t n = 0; n < queries; ++n) {
      A maximum;
      const A total = exponentiate(ws.logits + n * ws.keys, ws.keys, maximum);
      normalizers[n] = 1 / total;
      a.lse[lse_index<A>(s, w, w.query_token(n, s.window_size))] = maximum + A(__builtin_log(total));
    }
    multiply(ws.out, ws.channels, ws.logits, ws.keys, 1, ws.v, ws.channels, queries, ws.channels, s.tokens());
    for (int32_t n = 0; n < queries; ++n)
      for (int64_t c = 0; c < ws.channels; ++c) ws.out[n * ws.channels + c] *= normalizers[n];
    scatter_queries(s, w, a.out, A(1), ws.out, ws.channels);
  }
}

// Recomputes the probabilities of a window, and computes the gradients of its queries, sampled keys and values, scale
// and offset. Adds the gradients of its logits to `ws.grad_bias`.
template <typename A>
void attention_backward_window(const AttentionGradients<A>& a, const Window& w, Workspace<A>& ws) {
  const AttentionArguments<A>& f = a.forward;
  const Shape& s = f.shape;
  const int32_t queries = w.queries(), tokens = s.tokens();
  compute_logits(f, w, ws);
  transpose(ws.v_transposed, ws.keys, ws.v, ws.channels, tokens, s.channels);
  gather_queries(s, w, a.grad_out, A(1), ws.out, ws.channels);
  fill(ws.grad_logits, queries * ws.keys, A(0));
  multiply(ws.grad_logits, ws.keys, ws.out, ws.channels, 1, ws.v_transposed, ws.keys, queries, ws.keys, s.channels);
  for (int32_t n = 0; n < queries; ++n) {
    const int32_t token = w.query_token(n, s.window_size);
    const A lse = f.lse[lse_index<A>(s, w, token)];
    A *p = ws.logits + n * ws.keys, *g = ws.grad_logits + n * ws.keys, *bias = ws.grad_bias + token * ws.keys;
    Vector<A> products(0);
    for (int64_t j = 0; j < ws.keys; j += LANES<A>) {
      const Vector<A> probability = (load(p + j) - Vector<A>(lse)).exp();
      probability.store(p + j);
      products = at::vec::fmadd(probability, load(g + j), products);
    }
    const Vector<A> mean(sum(products));  // expected gradient under the probabilities
    for (int64_t j = 0; j < ws.keys; j += LANES<A>) {
      const Vector<A> x = load(p + j) * (load(g + j) - mean);
      x.store(g + j);
      (load(bias + j) + x).store(bias + j);
    }
  }
  for (A* sums : {ws.grad_q, ws.grad_k, ws.grad_v}) fill(sums, tokens * ws.channels, A(0));
  multiply(ws.grad_q, ws.channels, ws.grad_logits, ws.keys, 1, ws.k, ws.channels, queries, ws.channels, tokens);
  multiply(ws.grad_k, ws.channels, ws.grad_logits, 1, ws.keys, ws.q, ws.channels, tokens, ws.channels, queries);
  multiply(ws.grad_v, ws.channels, ws.logits, 1, ws.keys, ws.out, ws.channels, tokens, ws.channels, queries);
  scatter_queries(s, w, a.grad_q, f.softmax_scale, ws.grad_q, ws.channels);
  const A *keys = f.k.plane(w.batch, w.head), *values = f.v.plane(w.batch, w.head);
  A *out_k = a.grad_sampled_k.plane(w.batch, w.head), *out_v = a.grad_sampled_v.plane(w.batch, w.head);
  WindowGradient<A> grad;
  for (int32_t t = 0; t < tokens; ++t) {
    const Tap<A>&y = ws.y[t / s.window_size], &x = ws.x[t % s.window_size];
    const A *grad_k = ws.grad_k + t * ws.channels, *grad_v = ws.grad_v + t * ws.channels;
    add_place_gradient(grad_k, keys, f.k, s, t, y, x, grad);
    add_place_gradient(grad_v, values, f.v, s, t, y, x, grad);
    __builtin_memcpy(out_k + w.token(s, a.grad_sampled_k, t), grad_k, s.channels * sizeof(A));
    __builtin_memcpy(out_v + w.token(s, a.grad_sampled_v, t), grad_v, s.channels * sizeof(A));
  }
  write_window_gradient(s, w, grad, a.grad_scale, a.grad_offset);
}

template <typename A>
void attention_backward(const AttentionGradients<A>& a, A* workspace, int64_t begin, int64_t end) {
  const Shape& s = a.forward.shape;
  const int32_t tokens = s.tokens();
  Workspace<A> ws(s, true, workspace);
  for (int64_t index = begin; index < end; ++index) {
    const int64_t plane = index / s.rows;
    fill(ws.grad_bias, tokens * ws.keys, A(0));
    for (int32_t column = 0; column < s.columns; ++column)
      attention_backward_window(
          a, Window(s, plane / s.heads, int32_t(plane % s.heads), int32_t(index % s.rows), column), ws);
    A* out = a.grad_bias + index * s.bias_rows();
    fill(out, s.bias_rows(), A(0));
    for_each_bias(s.window_size, [&](int32_t query, int32_t key, int32_t row) {
      out[row] += ws.grad_bias[query * ws.keys + key];
    });
  }
}

}  // namespace

template <typename A>
CpuKernels<A> kernels() {
  return {padded<A>, workspace_elements<A>, sample<A>, place_gradients<A>, pixel_gradients<A>,
          attention<A>, attention_backward<A>};
}

template CpuKernels<float> kernels<float>();
template CpuKernels<double> kernels<double>();

}  // namespace CPU_CAPABILITY
}  // namespace mmvit
