// Attention of single tokens over the KV pages, on CUDA. Owns: the kernels and their launch.

#include <math_constants.h>

#include <cmath>

#include "paged.cuh"
#include "paged_launch.h"

namespace lps {

template <typename Number, int LANES, int HEADS>
__global__ void __launch_bounds__(THREADS) attend_kernel(const LpsPagedDecode asked) {
  attend<Number, LANES, HEADS>(asked);
}

template <typename Number>
__global__ void __launch_bounds__(THREADS) merge_kernel(const LpsPagedDecode asked) {
  merge<Number>(asked);
}

struct Launch {
  const LpsPagedDecode& asked;
  cudaStream_t stream;

  template <typename Number, int LANES, int HEADS>
  void operator()() {
    const Grid grid = attend_grid(asked, HEADS);
    attend_kernel<Number, LANES, HEADS><<<dim3(grid.x, grid.y, grid.z), THREADS, 0, stream>>>(asked);
    const dim3 merged(unsigned(asked.sequences), unsigned(asked.heads));
    merge_kernel<Number><<<merged, THREADS, 0, stream>>>(asked);
  }
};

cudaError_t launch_paged_decode(const LpsPagedDecode& asked, cudaStream_t stream) {
  if (!with_kernel(asked, Launch{asked, stream})) {
    return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

} // namespace lps
