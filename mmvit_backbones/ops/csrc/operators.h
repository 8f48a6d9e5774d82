// Helpers of the operators for all devices: checks of arguments, memory layouts, and conversion of tensors to maps.
#pragma once

#include <ATen/core/Tensor.h>  // ATen/ATen.h would take half a minute to compile
#include <ATen/ops/empty.h>

#include <tuple>

#include "window.h"

namespace mmvit {

using at::Tensor;
using Tensor3 = std::tuple<Tensor, Tensor, Tensor>;

// Maps of tokens are stored as (batch, height, width, heads, channels), as a linear layer reads and writes them.
inline Tensor empty_token_major(c10::SymInt batch, c10::SymInt heads, c10::SymInt channels, c10::SymInt height,
                                c10::SymInt width, const at::TensorOptions& options) {
  return at::empty_symint({batch, height, width, heads, channels}, options).permute({0, 3, 4, 1, 2});
}

inline Tensor empty_token_major_like(const Tensor& x, const at::TensorOptions& options) {
  const auto size = x.sym_sizes();
  return empty_token_major(size[0], size[1], size[2], size[3], size[4], options);
}

inline Tensor zeros_token_major_like(const Tensor& x, const at::TensorOptions& options) {
  return empty_token_major_like(x, options).zero_();
}

// Returns the tensor, or a copy with contiguous channels if its channels are not contiguous.
inline Tensor with_contiguous_channels(const Tensor& x) {
  if (x.stride(2) == 1 || x.size(2) == 1) return x;
  return x.permute({0, 3, 4, 1, 2}).contiguous().permute({0, 3, 4, 1, 2});
}

// Returns the tensor, or a contiguous copy if its last dimension is not contiguous.
inline Tensor with_contiguous_last(const Tensor& x) { return x.stride(-1) == 1 || x.size(-1) == 1 ? x : x.contiguous(); }

template <typename T>
Map<T> map_of(const Tensor& x) {
  return {static_cast<T*>(x.data_ptr()), x.stride(0), x.stride(1), x.stride(3), x.stride(4)};
}

// Returns the dtype of positions, biases and sums: float64 for float64 features, float32 otherwise.
inline at::ScalarType position_dtype(const Tensor& features) {
  return features.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

inline void check_position_dtype(const char* name, const Tensor& x, const Tensor& features) {
  TORCH_CHECK(x.scalar_type() == position_dtype(features), name, ": expected ", position_dtype(features),
              " for features in ", features.scalar_type(), ", got ", x.scalar_type());
}

inline Shape check_sample(const Tensor& features, const Tensor& scale, const Tensor& offset, int64_t window_size,
                          int64_t top, int64_t left) {
  TORCH_CHECK(features.dim() == 5, "features: expected (batch, heads, channels, height, width), got ",
              features.sizes());
  TORCH_CHECK(at::isFloatingType(features.scalar_type()), "features: expected a floating dtype, got ",
              features.scalar_type());
  TORCH_CHECK(scale.dim() == 5 && scale.size(0) == features.size(0) && scale.size(1) == features.size(1) &&
                  scale.size(2) == 2,
              "scale: expected (", features.size(0), ", ", features.size(1), ", 2, rows, columns), got ",
              scale.sizes());
  TORCH_CHECK(offset.sizes() == scale.sizes(), "offset: expected ", scale.sizes(), ", got ", offset.sizes());
  TORCH_CHECK(scale.device() == features.device() && offset.device() == features.device(),
              "scale and offset: expected tensors on ", features.device(), ", got ", scale.device(), " and ",
              offset.device());
  check_position_dtype("scale", scale, features);
  check_position_dtype("offset", offset, features);
  TORCH_CHECK(window_size >= 1 && window_size <= 256, "window_size: expected 1 to 256, got ", window_size);
  constexpr int64_t LIMIT = int64_t(1) << 30;
  for (const int64_t size : {features.size(1), features.size(2), features.size(3), features.size(4),
                             scale.size(3) * window_size, scale.size(4) * window_size})
    TORCH_CHECK(size < LIMIT, "expected all sizes below ", LIMIT, ", got ", size);
  TORCH_CHECK(top >= 0 && top < LIMIT && left >= 0 && left < LIMIT, "pad: expected at least 0 and less than ", LIMIT,
              ", got ", top, " and ", left);
  const auto narrow = [](int64_t size) { return static_cast<int32_t>(size); };
  return {features.size(0),         narrow(features.size(1)), narrow(features.size(2)), narrow(features.size(3)),
          narrow(features.size(4)), narrow(scale.size(3)),    narrow(scale.size(4)),    narrow(window_size),
          narrow(top),              narrow(left)};
}

inline void check_cover(const Shape& s) {
  TORCH_CHECK(int64_t(s.rows) * s.window_size >= int64_t(s.top) + s.height &&
                  int64_t(s.columns) * s.window_size >= int64_t(s.left) + s.width,
              "scale: expected windows that cover the map of ", s.height, " x ", s.width, " pixels and the pad (", s.top,
              ", ", s.left, "), got ", s.rows, " x ", s.columns, " windows of ", s.window_size);
}

// Checks a packed projection (batch, height, width, parts, heads, channels) and the windows of its attention.
inline Shape check_packed(const Tensor& packed, int64_t parts, const Tensor& scale, const Tensor& offset,
                          int64_t window_size, int64_t top, int64_t left) {
  TORCH_CHECK(packed.dim() == 6 && packed.size(3) == parts, "projection: expected (batch, height, width, ", parts,
              ", heads, channels), got ", packed.sizes());
  const Shape shape =
      check_sample(packed.select(3, 0).permute({0, 3, 4, 1, 2}), scale, offset, window_size, top, left);
  check_cover(shape);
  return shape;
}

inline Shape check_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& scale,
                             const Tensor& offset, const Tensor& bias_table, int64_t window_size, int64_t top,
                             int64_t left) {
  const Shape shape = check_sample(q, scale, offset, window_size, top, left);
  // Each thread stores a window's logits and their gradients, up to 12 MB in float32.
  TORCH_CHECK(window_size <= 32, "window_size: expected 1 to 32 for attention, got ", window_size);
  for (const Tensor& x : {k, v}) {
    TORCH_CHECK(x.sizes() == q.sizes(), "k and v: expected the shape of q, ", q.sizes(), ", got ", x.sizes());
    TORCH_CHECK(x.scalar_type() == q.scalar_type() && x.device() == q.device(),
                "k and v: expected the dtype and device of q, ", q.scalar_type(), " on ", q.device(), ", got ",
                x.scalar_type(), " on ", x.device());
  }
  TORCH_CHECK(bias_table.dim() == 2 && bias_table.size(0) == shape.bias_rows() && bias_table.size(1) == shape.heads,
              "bias_table: expected (", shape.bias_rows(), ", ", shape.heads, "), got ", bias_table.sizes());
  TORCH_CHECK(bias_table.device() == q.device(), "bias_table: expected a tensor on ", q.device(), ", got ",
              bias_table.device());
  check_position_dtype("bias_table", bias_table, q);
  check_cover(shape);
  return shape;
}

}  // namespace mmvit
