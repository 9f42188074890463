// The few words of CUDA that `paged.cuh` uses, on a processor: a block's threads are coroutines that run one after the
// other, in one order or the other, until they must wait. Owns: waiting. For tests only.

#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __device__
#define __shared__ static

struct Indices {
  unsigned x, y, z;
};
inline Indices threadIdx, blockIdx, gridDim;

namespace lps {

class Block {
 public:
  explicit Block(int threads) : fibers_(threads) {
    for (auto& fiber : fibers_) {
      fiber.stack.resize(STACK_BYTES);
    }
  }

  // Runs `body` in all threads, to their ends.
  void run(std::function<void()> body, bool backwards) {
    current_ = this;
    body_ = std::move(body);
    for (auto& fiber : fibers_) {
      fiber.ended = fiber.waits_for_block = false;
      fiber.block_waits = fiber.exchanges = 0;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = &scheduler_;
      makecontext(&fiber.context, &Block::enter, 0);
    }
    const int warps = int(fibers_.size()) / WARP;
    for (ended_ = 0; ended_ < int(fibers_.size());) {
      bool moved = false;
      for (int i = 0; i < warps; ++i) {
        // Each as far as it can go: whoever relies on another warp without waiting for it is found out.
        while (step(backwards ? warps - 1 - i : i, backwards)) {
          moved = true;
        }
      }
      if (!moved) {
        std::fprintf(stderr, "emulated CUDA: threads of a block wait for others that do not come\n");
        std::abort();
      }
    }
  }

  static Block& current() {
    return *current_;
  }

  void wait_for_block() {
    Fiber& fiber = fibers_[running_];
    ++fiber.block_waits;
    fiber.waits_for_block = true;
    swapcontext(&fiber.context, &scheduler_);
  }

  // What the lane at `distance` has; every lane of the warp asks.
  float exchange(float value, int distance) {
    const int lane = running_;
    Fiber& fiber = fibers_[lane];
    // Two places, used in turns: a lane that is one exchange ahead leaves alone what others have still to read.
    fiber.offered[++fiber.exchanges % 2] = value;
    fiber.waits_for_block = false;
    swapcontext(&fiber.context, &scheduler_);
    return fibers_[lane ^ distance].offered[fibers_[lane].exchanges % 2];
  }

 private:
  static constexpr size_t STACK_BYTES = 64 << 10;
  static constexpr int WARP = 32;

  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool ended = false;
    bool waits_for_block = false;
    int block_waits = 0;
    int exchanges = 0;
    float offered[2] = {};
  };

  // Lets every thread of a warp run until it waits again; false when none can.
  bool step(int warp, bool backwards) {
    bool moved = false;
    for (int i = 0; i < WARP; ++i) {
      running_ = warp * WARP + (backwards ? WARP - 1 - i : i);
      Fiber& fiber = fibers_[running_];
      if (fiber.ended || !may_go_on(fiber)) {
        continue;
      }
      moved = true;
      threadIdx = {unsigned(running_), 0, 0};
      swapcontext(&scheduler_, &fiber.context);
      ended_ += fiber.ended;
    }
    return moved;
  }

  // A thread that has ended waits for nobody, and nobody may wait for it.
  bool may_go_on(const Fiber& fiber) const {
    const int at = int(&fiber - fibers_.data());
    const int first = fiber.waits_for_block ? 0 : at / WARP * WARP;
    const int last = fiber.waits_for_block ? int(fibers_.size()) : first + WARP;
    for (int i = first; i < last; ++i) {
      const Fiber& other = fibers_[i];
      if (fiber.waits_for_block ? other.block_waits < fiber.block_waits : other.exchanges < fiber.exchanges) {
        return false;
      }
    }
    return true;
  }

  static void enter() {
    Block& block = current();
    block.body_();
    block.fibers_[block.running_].ended = true;
  }

  static inline Block* current_ = nullptr;
  std::vector<Fiber> fibers_;
  std::function<void()> body_;
  ucontext_t scheduler_;
  int running_ = 0;
  int ended_ = 0;
};

} // namespace lps

inline void __syncthreads() {
  lps::Block::current().wait_for_block();
}

inline float __shfl_xor_sync(unsigned, float value, int distance) {
  return lps::Block::current().exchange(value, distance);
}

inline float __uint_as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
