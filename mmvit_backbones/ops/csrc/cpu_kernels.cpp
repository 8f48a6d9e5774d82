// The CPU backend, in plain C++: compiled once per instruction set, which MMVIT_CAPABILITY (generic, avx2, avx512) names.
// No header with inline functions of others may come in: they would be compiled for instructions that not all have.
#include <initializer_list>

#include "cpu_kernels.h"

#if defined(__AVX512F__)
#define MMVIT_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define MMVIT_VECTOR_BYTES 32
#else
#define MMVIT_VECTOR_BYTES 16
#endif

namespace mmvit {
namespace MMVIT_CAPABILITY {
namespace {

// ---- vectors

template <typename A> struct Vectors;
template <> struct Vectors<float> {
  typedef float Vector __attribute__((vector_size(MMVIT_VECTOR_BYTES)));
  typedef int32_t Integers __attribute__((vector_size(MMVIT_VECTOR_BYTES)));
};
template <> struct Vectors<double> {
  typedef double Vector __attribute__((vector_size(MMVIT_VECTOR_BYTES)));
};
template <typename A> using Vector = typename Vectors<A>::Vector;
template <typename A> constexpr int LANES = MMVIT_VECTOR_BYTES / sizeof(A);

template <typename A>
MMVIT_INLINE Vector<A> load(const A* data) {
  Vector<A> x;
  __builtin_memcpy(&x, data, sizeof(x));
  return x;
}

template <typename A>
MMVIT_INLINE void store(A* data, Vector<A> x) {
  __builtin_memcpy(data, &x, sizeof(x));
}

template <typename A>
MMVIT_INLINE A sum(Vector<A> x) {
  A total = 0;
  for (int i = 0; i < LANES<A>; ++i) total += x[i];
  return total;
}

template <typename A>
MMVIT_INLINE int64_t padded(int64_t count) {
  return (count + LANES<A> - 1) / LANES<A> * LANES<A>;
}

// exp of values that are at most a little above 0: 2^n (n whole) times a polynomial on [-ln 2 / 2, ln 2 / 2].
MMVIT_INLINE Vector<float> exponential(Vector<float> x) {
  x = x < -87.f ? Vector<float>{} - 87.f : x;
  const Vector<float> shifter = Vector<float>{} + 12582912.f;  // 1.5 * 2^23: adding it rounds to whole numbers
  const Vector<float> n = (x * 1.44269504f + shifter) - shifter;
  const Vector<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector<float> p = r * (1.f / 5040) + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  typedef Vectors<float>::Integers Integers;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  Vector<float> power;
  __builtin_memcpy(&power, &exponent, sizeof(power));
  return p * power;
}

MMVIT_INLINE Vector<double> exponential(Vector<double> x) {
  for (int i = 0; i < LANES<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

// ---- small matrix products: c (rows x columns) += a b, columns being whole vectors

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
      const A factor = a[i * a_row + k * a_column];
#pragma GCC unroll 8
      for (int j = 0; j < VECTORS; ++j) sums[i][j] += factor * values[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; ++j) store(c + i * c_row + j * LANES<A>, sums[i][j]);
}

// Seven rows fit the registers of all instruction sets, and windows of seven tokens.
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
  constexpr int VECTORS = MMVIT_VECTOR_BYTES == 64 ? 2 : 1;
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

// The taps of a window's columns and rows; a grid of tokens needs no more.
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
  int32_t c = 0;
  for (; c + LANES<A> <= channels; c += LANES<A>)
    store<A>(out + c, corners.weight[0] * load(row[0] + c) + corners.weight[1] * load(row[1] + c) +
                          corners.weight[2] * load(row[2] + c) + corners.weight[3] * load(row[3] + c));
  for (; c < channels; ++c)
    out[c] = corners.weight[0] * row[0][c] + corners.weight[1] * row[1][c] + corners.weight[2] * row[2][c] +
             corners.weight[3] * row[3][c];
}

// Hands a token's gradient on to the pixels it was sampled from, and to its position.
template <typename A>
MMVIT_INLINE void scatter_token(const A* grad, const A* plane, const Map<const A>& map, A* grad_plane,
                                const Map<A>& grad_map, const Shape& s, int32_t token, const Tap<A>& y,
                                const Tap<A>& x, WindowGradient<A>& window) {
  const Corners<A> corners(y, x);
  A product[4] = {0, 0, 0, 0};  // of gradient and corner
  for (int i = 0; i < 4; ++i) {
    if (!corners.inside[i]) continue;
    const A* value = plane + corner_pixel(map, y, x, i);
    A* out = grad_plane + corner_pixel(grad_map, y, x, i);
    Vector<A> products = {};
    int32_t c = 0;
    for (; c + LANES<A> <= s.channels; c += LANES<A>) {
      const Vector<A> g = load(grad + c);
      products += g * load(value + c);
      store<A>(out + c, load(out + c) + corners.weight[i] * g);
    }
    for (; c < s.channels; ++c) {
      product[i] += grad[c] * value[c];
      out[c] += corners.weight[i] * grad[c];
    }
    product[i] += sum<A>(products);
  }
  window.add(token, s.window_size, derivative_x(product, y), derivative_y(product, x));
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

// ---- workspace of a thread

template <typename A>
struct Workspace {
  int64_t channels, keys;  // padded to whole vectors
  A *q, *k, *v, *out, *grad_q, *grad_k, *grad_v;  // tokens x channels
  A *k_transposed, *v_transposed;                 // channels x keys
  A *logits, *grad_logits, *grad_bias;            // tokens x keys
  A* zeros;
  Tap<A>*x, *y;

  // Lays the arrays out from `start` on and gives the number of elements; sampling alone needs few of them.
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
    for (int32_t i = 0; i < s.window_size; ++i)
      for (int32_t j = 0; j < s.window_size; ++j) {
        A* out = a.sampled.plane(w.batch, w.head) + (int64_t(w.row) * s.window_size + i) * a.sampled.row +
                 (int64_t(w.column) * s.window_size + j) * a.sampled.column;
        sample_token(plane, a.features, ws.y[i], ws.x[j], ws.zeros, s.channels, out);
      }
  }
}

template <typename A>
void sample_backward(const SampleGradients<A>& a, A* workspace, int64_t begin, int64_t end) {
  const Shape& s = a.forward.shape;
  Workspace<A> ws(s, false, workspace);
  for (int64_t plane = begin; plane < end; ++plane)
    for (int32_t row = 0; row < s.rows; ++row)
      for (int32_t column = 0; column < s.columns; ++column) {
        const Window w(s, plane / s.heads, int32_t(plane % s.heads), row, column);
        make_taps(s, w, a.forward.scale, a.forward.offset, ws.x, ws.y);
        WindowGradient<A> grad;
        for (int32_t t = 0; t < s.tokens(); ++t) {
          const int32_t i = t / s.window_size, j = t % s.window_size;
          const A* grad_token = a.grad_sampled.plane(w.batch, w.head) +
                                (int64_t(row) * s.window_size + i) * a.grad_sampled.row +
                                (int64_t(column) * s.window_size + j) * a.grad_sampled.column;
          scatter_token(grad_token, a.forward.features.plane(w.batch, w.head), a.forward.features,
                        a.grad_features.plane(w.batch, w.head), a.grad_features, s, t, ws.y[i], ws.x[j], grad);
        }
        write_window_gradient(s, w, grad, a.grad_scale, a.grad_offset);
      }
}

// ---- attention

// Rows of the queries that are on the map, times a factor.
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

// Sampled keys and values of a window and, for its queries on the map, the logits.
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

// Softmax of a row in place, but for the division: gives the sum, and the maximum that was subtracted.
template <typename A>
MMVIT_INLINE A exponentiate(A* row, int64_t keys, A& maximum) {
  Vector<A> largest = load(row);
  for (int64_t j = LANES<A>; j < keys; j += LANES<A>) {
    const Vector<A> x = load(row + j);
    largest = x > largest ? x : largest;
  }
  maximum = largest[0];
  for (int i = 1; i < LANES<A>; ++i) maximum = largest[i] > maximum ? largest[i] : maximum;
  Vector<A> total = {};
  for (int64_t j = 0; j < keys; j += LANES<A>) {
    const Vector<A> x = exponential(load(row + j) - maximum);
    store<A>(row + j, x);
    total += x;
  }
  return sum<A>(total);
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
    A* normalizers = ws.grad_logits;  // free in the forward pass
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

// Recomputes the probabilities, then goes backward through the products to sampled keys and values.
template <typename A>
void attention_backward_window(const AttentionGradients<A>& a, const Window& w, Workspace<A>& ws) {
  const AttentionArguments<A>& f = a.forward;
  const Shape& s = f.shape;
  const int32_t queries = w.queries(), tokens = s.tokens();
  WindowGradient<A> grad;
  if (queries > 0) {
    compute_logits(f, w, ws);
    transpose(ws.v_transposed, ws.keys, ws.v, ws.channels, tokens, s.channels);
    gather_queries(s, w, a.grad_out, A(1), ws.out, ws.channels);
    fill(ws.grad_logits, queries * ws.keys, A(0));
    multiply(ws.grad_logits, ws.keys, ws.out, ws.channels, 1, ws.v_transposed, ws.keys, queries, ws.keys, s.channels);
    for (int32_t n = 0; n < queries; ++n) {
      const int32_t token = w.query_token(n, s.window_size);
      const A lse = f.lse[lse_index<A>(s, w, token)];
      A *p = ws.logits + n * ws.keys, *g = ws.grad_logits + n * ws.keys, *bias = ws.grad_bias + token * ws.keys;
      Vector<A> products = {};
      for (int64_t j = 0; j < ws.keys; j += LANES<A>) {
        const Vector<A> probability = exponential(load(p + j) - lse);
        store<A>(p + j, probability);
        products += probability * load(g + j);
      }
      const A mean = sum<A>(products);  // of the gradient under the probabilities
      for (int64_t j = 0; j < ws.keys; j += LANES<A>) {
        const Vector<A> x = load(p + j) * (load(g + j) - mean);
        store<A>(g + j, x);
        store<A>(bias + j, load(bias + j) + x);
      }
    }
    for (A* sums : {ws.grad_q, ws.grad_k, ws.grad_v}) fill(sums, tokens * ws.channels, A(0));
    multiply(ws.grad_q, ws.channels, ws.grad_logits, ws.keys, 1, ws.k, ws.channels, queries, ws.channels, tokens);
    multiply(ws.grad_k, ws.channels, ws.grad_logits, 1, ws.keys, ws.q, ws.channels, tokens, ws.channels, queries);
    multiply(ws.grad_v, ws.channels, ws.logits, 1, ws.keys, ws.out, ws.channels, tokens, ws.channels, queries);
    scatter_queries(s, w, a.grad_q, f.softmax_scale, ws.grad_q, ws.channels);
    for (int32_t t = 0; t < tokens; ++t) {
      const Tap<A>&y = ws.y[t / s.window_size], &x = ws.x[t % s.window_size];
      scatter_token(ws.grad_k + t * ws.channels, f.k.plane(w.batch, w.head), f.k, a.grad_k.plane(w.batch, w.head),
                    a.grad_k, s, t, y, x, grad);
      scatter_token(ws.grad_v + t * ws.channels, f.v.plane(w.batch, w.head), f.v, a.grad_v.plane(w.batch, w.head),
                    a.grad_v, s, t, y, x, grad);
    }
  }
  write_window_gradient(s, w, grad, a.grad_scale, a.grad_offset);
}

template <typename A>
void attention_backward(const AttentionGradients<A>& a, A* workspace, int64_t begin, int64_t end) {
  const Shape& s = a.forward.shape;
  const int32_t tokens = s.tokens();
  Workspace<A> ws(s, true, workspace);
  for (int64_t plane = begin; plane < end; ++plane) {
    fill(ws.grad_bias, tokens * ws.keys, A(0));
    for (int32_t row = 0; row < s.rows; ++row)
      for (int32_t column = 0; column < s.columns; ++column)
        attention_backward_window(a, Window(s, plane / s.heads, int32_t(plane % s.heads), row, column), ws);
    A* out = a.grad_bias + plane * s.bias_rows();
    fill(out, s.bias_rows(), A(0));
    for (int32_t query = 0; query < tokens; ++query)
      for (int32_t key = 0; key < tokens; ++key)
        out[bias_row(query, key, s.window_size)] += ws.grad_bias[query * ws.keys + key];
  }
}

}  // namespace

template <typename A>
CpuKernels<A> kernels() {
  return {padded<A>, workspace_elements<A>, sample<A>, sample_backward<A>, attention<A>, attention_backward<A>};
}

template CpuKernels<float> kernels<float>();
template CpuKernels<double> kernels<double>();

}  // namespace MMVIT_CAPABILITY
}  // namespace mmvit
