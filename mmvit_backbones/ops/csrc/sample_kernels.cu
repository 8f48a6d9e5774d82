// CUDA kernels of varied-size window sampling.
#include "window_device.cuh"

namespace mmvit {
namespace {

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
    A values[N];
    sample_channels<N>(features, features.plane(w.batch, head) + channel, y, x, values);
    Pack<T, N> pack;
#pragma unroll
    for (int n = 0; n < N; ++n) pack.values[n] = T(values[n]);
    T* out = sampled.plane(w.batch, head) + row * sampled.row + column * sampled.column + channel;
    *reinterpret_cast<Pack<T, N>*>(out) = pack;
  }
}

template <typename T, typename A>
__global__ void __launch_bounds__(THREADS)
    sample_backward(Shape s, Map<const T> features, const A* scale, const A* offset, MapGradient<T> gradient,
                    Map<A> sums, A* grad_scale, A* grad_offset) {
  A* scratch = reinterpret_cast<A*>(shared_memory());
  Tap<A>* taps = reinterpret_cast<Tap<A>*>(scratch + THREADS / WARP * 4);
  for (int64_t index = blockIdx.x; index < s.windows(); index += gridDim.x) {
    const Window w(s, index);
    __syncthreads();
    make_taps(s, w, scale, offset, taps);
    __syncthreads();
    WindowGradient<A> grad;
    scatter_window(s, w, taps, gradient, features, sums, grad);
    write_window_gradient(s, w, grad, scratch, grad_scale, grad_offset);
  }
}

}  // namespace

cudaError_t launch_sample(const Launch& launch, const SampleProblem& p, const Map<void>& sampled) {
  return with_type(launch.type, [&](auto zero) {
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
    return launch_kernel(kernel, blocks, THREADS, 0, launch.stream, s, features, scale, offset, out);
  });
}

cudaError_t launch_sample_backward(const Launch& launch, const SampleGradientProblem& p) {
  return with_type(launch.type, [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulator<T>;
    const Shape& s = p.forward.shape;
    const auto *scale = static_cast<const A*>(p.forward.scale), *offset = static_cast<const A*>(p.forward.offset);
    const MapGradient<T> gradient = {typed<const T>(p.grad_sampled)};
    const auto sums = typed<A>(p.grad_features);
    const size_t bytes = THREADS / WARP * 4 * sizeof(A) + 2 * s.window_size * sizeof(Tap<A>);
    const cudaError_t error = launch_kernel(
        sample_backward<T, A>, blocks_for(s.windows()), THREADS, bytes, launch.stream, s,
        typed<const T>(p.forward.features), scale, offset, gradient, p.deterministic ? Map<A>{} : sums,
        static_cast<A*>(p.grad_scale), static_cast<A*>(p.grad_offset));
    if (error != cudaSuccess || !p.deterministic) return error;
    return launch_scatter_in_order(launch.stream, s, scale, offset, gradient, sums);
  });
}

}  // namespace mmvit
