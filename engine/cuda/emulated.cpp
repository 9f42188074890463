// Attention of single tokens over the KV pages as the CUDA kernels compute it, on a processor, thread by thread. Owns:
// the order of blocks. For tests only.

#include "emulated.h"

#include <mutex>

#include "paged.cuh"

namespace {

// There is one device.
std::mutex device;

struct Run {
  const LpsPagedDecode& asked;
  bool backwards;

  template <typename Number, int LANES, int HEADS>
  void operator()() {
    grid(lps::attend_grid(asked, HEADS), [this] { lps::attend<Number, LANES, HEADS>(asked); });
    grid({unsigned(asked.sequences), unsigned(asked.heads), 1}, [this] { lps::merge<Number>(asked); });
  }

  template <typename Body>
  void grid(lps::Grid size, Body body) {
    static lps::Block block(lps::THREADS);
    gridDim = {size.x, size.y, size.z};
    const unsigned count = size.x * size.y * size.z;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned at = backwards ? count - 1 - i : i;
      blockIdx = {at % size.x, at / size.x % size.y, at / size.x / size.y};
      block.run(body, backwards);
    }
  }
};

} // namespace

// 0 when a kernel fits. `backwards`: blocks and threads run in the other order, which must change nothing.
extern "C" int lps_emulated_paged_decode(const LpsPagedDecode* asked, int backwards) {
  const std::lock_guard<std::mutex> alone(device);
  return lps::with_kernel(*asked, Run{*asked, backwards != 0}) ? 0 : 1;
}
