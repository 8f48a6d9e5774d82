// Arithmetic of a varied-size window, shared by CPU and GPU kernels (VSA, arXiv 2204.08446, section 3.2).
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define MMVIT_INLINE __host__ __device__ __forceinline__
#else
#define MMVIT_INLINE inline __attribute__((always_inline))
#endif

namespace mmvit {

// Sizes of the tensors. The grid of `rows` x `columns` windows begins `top` pixels above and `left` pixels left of the
// map.
struct Shape {
  int64_t batch;
  int32_t heads, channels, height, width, rows, columns, window_size, top, left;

  MMVIT_INLINE int32_t tokens() const { return window_size * window_size; }
  MMVIT_INLINE int64_t windows() const { return batch * rows * columns * heads; }
  MMVIT_INLINE int32_t bias_rows() const { return (2 * window_size - 1) * (2 * window_size - 1); }
};

// A map (batch, heads, channels, height, width) with contiguous channels; the other strides are in elements.
template <typename T>
struct Map {
  T* data;
  int64_t batch, head, row, column;

  MMVIT_INLINE T* plane(int64_t b, int32_t h) const { return data + b * batch + h * head; }
};

// One window of one head. Its rows [row_begin, row_end) and columns [column_begin, column_end) are inside the map.
struct Window {
  int64_t batch;
  int32_t head, row, column;
  int32_t row_begin, row_end, column_begin, column_end;

  // The head is the fastest index, so that consecutive windows are close in memory.
  MMVIT_INLINE Window(const Shape& s, int64_t index) {
    head = int32_t(index % s.heads);
    index /= s.heads;
    column = int32_t(index % s.columns);
    index /= s.columns;
    row = int32_t(index % s.rows);
    batch = index / s.rows;
    clip(s);
  }

  MMVIT_INLINE Window(const Shape& s, int64_t batch, int32_t head, int32_t row, int32_t column)
      : batch(batch), head(head), row(row), column(column) {
    clip(s);
  }

  MMVIT_INLINE void clip(const Shape& s) {
    clip_axis(int64_t(row) * s.window_size - s.top, s.window_size, s.height, row_begin, row_end);
    clip_axis(int64_t(column) * s.window_size - s.left, s.window_size, s.width, column_begin, column_end);
  }

  MMVIT_INLINE static void clip_axis(int64_t start, int32_t length, int32_t size, int32_t& begin, int32_t& end) {
    begin = start >= 0 ? 0 : (-start < length ? int32_t(-start) : length);
    end = start + length <= size ? length : (start < size ? int32_t(size - start) : 0);
    if (end < begin) end = begin;
  }

  MMVIT_INLINE int32_t queries() const { return (row_end - row_begin) * (column_end - column_begin); }

  // Returns the token index of the n-th query inside the map.
  MMVIT_INLINE int32_t query_token(int32_t n, int32_t window_size) const {
    const int32_t width = column_end - column_begin;
    return (row_begin + n / width) * window_size + column_begin + n % width;
  }

  // Returns the index of scale and offset along x. The index along y is larger by rows * columns.
  MMVIT_INLINE int64_t parameter(const Shape& s) const {
    return (((batch * s.heads + head) * 2) * s.rows + row) * s.columns + column;
  }

  // Returns the offset of a token in a plane of the map of all windows' tokens.
  template <typename T>
  MMVIT_INLINE int64_t token(const Shape& s, const Map<T>& map, int32_t token) const {
    const int64_t y = int64_t(row) * s.window_size + token / s.window_size;
    const int64_t x = int64_t(column) * s.window_size + token % s.window_size;
    return y * map.row + x * map.column;
  }

  // Returns the offset of a query's pixel in a plane of a map.
  template <typename T>
  MMVIT_INLINE int64_t pixel(const Shape& s, const Map<T>& map, int32_t token) const {
    const int64_t y = int64_t(row) * s.window_size + token / s.window_size - s.top;
    const int64_t x = int64_t(column) * s.window_size + token % s.window_size - s.left;
    return y * map.row + x * map.column;
  }
};

// Returns the distance of a token from the center of its window, which is also d position / d scale.
template <typename A>
MMVIT_INLINE A token_distance(int32_t token, int32_t window_size) {
  return A(token) - A(window_size - 1) / 2;
}

// Returns the position of a token along one axis, in pixels.
template <typename A>
MMVIT_INLINE A token_position(int32_t window, int32_t token, int32_t window_size, int32_t pad, A scale, A offset) {
  const A center = A(int64_t(window) * window_size) + A(window_size - 1) / 2 - A(pad);
  return center + (1 + scale) * token_distance<A>(token, window_size) + offset;
}

// The two pixels around a position along one axis: `low` with weight 1 - fraction, and `low + 1` with weight fraction.
// Positions far outside the map or not finite have no pixels. Comparing a position before converting it avoids an
// integer overflow.
template <typename A>
struct Tap {
  int32_t low;
  bool has_low, has_high;
  A fraction;

  MMVIT_INLINE Tap() {}
  MMVIT_INLINE Tap(A position, int32_t size) {
    const bool near = position >= -1 && position < A(size);
    const A floor = near ? A(std::floor(position)) : A(-2);
    low = int32_t(floor);
    fraction = near ? position - floor : A(0);
    has_low = low >= 0 && low < size;
    has_high = near && low + 1 < size;
  }
};

// The four pixels around a token, in the order (y low, x low), (y low, x high), (y high, x low), (y high, x high).
template <typename A>
struct Corners {
  A weight[4];
  bool inside[4];

  MMVIT_INLINE Corners(const Tap<A>& y, const Tap<A>& x) {
    weight[0] = (1 - y.fraction) * (1 - x.fraction);
    weight[1] = (1 - y.fraction) * x.fraction;
    weight[2] = y.fraction * (1 - x.fraction);
    weight[3] = y.fraction * x.fraction;
    inside[0] = y.has_low && x.has_low;
    inside[1] = y.has_low && x.has_high;
    inside[2] = y.has_high && x.has_low;
    inside[3] = y.has_high && x.has_high;
  }
};

// Returns the offset of a corner's pixel in a plane of a map. The corner must be inside the map.
template <typename A, typename T>
MMVIT_INLINE int64_t corner_pixel(const Map<T>& map, const Tap<A>& y, const Tap<A>& x, int corner) {
  return (int64_t(y.low) + corner / 2) * map.row + (int64_t(x.low) + corner % 2) * map.column;
}

// Returns the derivative of an interpolated value with respect to its position, from the values of the four corners. At
// whole pixels, it is the right-hand derivative.
template <typename A>
MMVIT_INLINE A derivative_x(const A value[4], const Tap<A>& y) {
  return (1 - y.fraction) * (value[1] - value[0]) + y.fraction * (value[3] - value[2]);
}

template <typename A>
MMVIT_INLINE A derivative_y(const A value[4], const Tap<A>& x) {
  return (1 - x.fraction) * (value[2] - value[0]) + x.fraction * (value[3] - value[1]);
}

// Gradients of a window's scale and offset, summed over tokens and channels; index 0 is x.
template <typename A>
struct WindowGradient {
  A scale[2], offset[2];

  MMVIT_INLINE WindowGradient() : scale{0, 0}, offset{0, 0} {}

  MMVIT_INLINE void add(int32_t token, int32_t window_size, A grad_x, A grad_y) {
    scale[0] += grad_x * token_distance<A>(token % window_size, window_size);
    scale[1] += grad_y * token_distance<A>(token / window_size, window_size);
    offset[0] += grad_x;
    offset[1] += grad_y;
  }
};

// Calls `use(query, key, bias_row)` for each query and key of a window, and their row of the bias table.
template <typename Use>
MMVIT_INLINE void for_each_bias(int32_t window_size, Use use) {
  const int32_t side = 2 * window_size - 1;
  for (int32_t i = 0, query = 0; i < window_size; ++i)
    for (int32_t j = 0; j < window_size; ++j, ++query)
      for (int32_t k = 0, key = 0; k < window_size; ++k)
        for (int32_t l = 0; l < window_size; ++l, ++key)
          use(query, key, (i - k + window_size - 1) * side + j - l + window_size - 1);
}

}  // namespace mmvit
