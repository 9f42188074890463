// Attention of single tokens over the KV pages, on CUDA. Owns: the arithmetic. Compiled by nvcc (`paged.cu`), and as plain
// C++ for tests (`emulated.cpp`), where the few words of CUDA that it uses come from `emulated.h`.
//
// A block of threads reads a part of one sequence's tokens for the query heads of one key-value head. So many lanes as
// cover a head in pieces of 8 numbers make a team; a team takes every n-th token and keeps an online softmax of its own
// (Milakov and Gimelshein, arXiv 1805.02867), in 32 bits. At the end of a part the teams are merged, and a second kernel
// merges the parts (Flash-Decoding). Scores are to the base of 2.
//
// Where parts begin depends on the sequence alone, and so does the order of every sum: a token's result is the same, bit
// by bit, whatever else is in the batch and however many blocks there are.

#pragma once

#include "paged.h"

namespace lps {

constexpr int THREADS = 128;
constexpr int PIECE = 8;
// Tokens that a team has on their way from memory at once.
constexpr int AHEAD = 4;
// Shorter parts are not worth a block.
constexpr int PART_TOKENS = 256;
constexpr float LOG2_E = 1.44269504088896340736f;

using Float = float;
struct Half {
  uint16_t bits;
};

// 16 bytes, read at once.
struct alignas(16) Quad {
  uint32_t words[4];
};

// A lane's numbers of one token, as they come from memory.
template <typename Number>
struct Piece {
  Quad quads[PIECE * sizeof(Number) / sizeof(Quad)];
};

template <typename Number>
__device__ inline Piece<Number> load(const Number* from) {
  Piece<Number> piece;
  const Quad* quads = reinterpret_cast<const Quad*>(from);
#pragma unroll
  for (int i = 0; i < int(sizeof(piece) / sizeof(Quad)); ++i) {
    piece.quads[i] = quads[i];
  }
  return piece;
}

__device__ inline float number(const Piece<Float>& piece, int i) {
  return __uint_as_float(piece.quads[i / 4].words[i % 4]);
}

__device__ inline float number(const Piece<Half>& piece, int i) {
  const uint32_t two = piece.quads[0].words[i / 2];
  return __uint_as_float(i % 2 == 0 ? two << 16 : two & 0xffff0000u);
}

__device__ inline void store(Float* to, float value) {
  *to = value;
}

// To the nearest, to even between two; what is no number stays none.
__device__ inline void store(Half* to, float value) {
  const uint32_t bits = __float_as_uint(value);
  const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  to->bits = uint16_t((value != value ? 0x7fc00000u : rounded) >> 16);
}

// What a sequence's new token sees, and in which parts.
struct Sight {
  int begin;
  int end;
  int part_tokens;
  int parts;
};

__device__ inline Sight sight(const LpsPagedDecode& asked, int64_t sequence) {
  Sight sight;
  sight.end = int(asked.ends[sequence]);
  sight.begin = asked.window > 0 && sight.end > asked.window ? sight.end - asked.window : 0;
  const int seen = sight.end - sight.begin;
  const int units = (seen + PART_TOKENS - 1) / PART_TOKENS;
  sight.part_tokens = PART_TOKENS * ((units + LPS_SPLITS - 1) / LPS_SPLITS);
  sight.parts = seen > 0 ? (seen + sight.part_tokens - 1) / sight.part_tokens : 0;
  return sight;
}

// 2 to the power of `x - top`; nothing where nothing was seen.
__device__ inline float weight(float x, float top) {
  return x == -INFINITY ? 0.0f : exp2f(x - top);
}

// What a team knows of its tokens so far, for each of `HEADS` query heads.
template <int HEADS>
struct Softmax {
  float top[HEADS];
  float sum[HEADS];
  float values[HEADS][PIECE];
};

// Adds `AHEAD` tokens, of which some may be beyond the end.
template <typename Number, int HEADS>
__device__ inline void add(
    Softmax<HEADS>& softmax,
    const float (&scores)[AHEAD][HEADS],
    const bool (&there)[AHEAD],
    const Piece<Number> (&values)[AHEAD]) {
#pragma unroll
  for (int h = 0; h < HEADS; ++h) {
    float top = softmax.top[h];
#pragma unroll
    for (int t = 0; t < AHEAD; ++t) {
      top = there[t] ? fmaxf(top, scores[t][h]) : top;
    }
    const float kept = weight(softmax.top[h], top);
    softmax.top[h] = top;
    softmax.sum[h] *= kept;
#pragma unroll
    for (int i = 0; i < PIECE; ++i) {
      softmax.values[h][i] *= kept;
    }
#pragma unroll
    for (int t = 0; t < AHEAD; ++t) {
      const float share = there[t] ? weight(scores[t][h], top) : 0.0f;
      softmax.sum[h] += share;
#pragma unroll
      for (int i = 0; i < PIECE; ++i) {
        softmax.values[h][i] += share * number(values[t], i);
      }
    }
  }
}

// The places of one block's work: which sequence, key-value head and query heads.
struct Place {
  int64_t sequence;
  int64_t kv_head;
  int64_t first_head;
  int heads;
};

template <int HEADS>
__device__ inline Place place(const LpsPagedDecode& asked) {
  const int64_t shared = asked.heads / asked.kv_heads;
  const int64_t chunks = (shared + HEADS - 1) / HEADS;
  const int64_t chunk = blockIdx.y % chunks;
  Place place;
  place.sequence = blockIdx.x;
  place.kv_head = blockIdx.y / chunks;
  place.first_head = place.kv_head * shared + chunk * HEADS;
  place.heads = int(shared - chunk * HEADS < HEADS ? shared - chunk * HEADS : HEADS);
  return place;
}

// Reads the tokens `first..last` of a part; all threads of the block run in step.
template <typename Number, int LANES, int HEADS>
__device__ inline Softmax<HEADS> read_part(
    const LpsPagedDecode& asked,
    const Place& place,
    const float (&query)[HEADS][PIECE],
    int first,
    int last) {
  constexpr int TEAMS = THREADS / LANES;
  const int team = threadIdx.x / LANES;
  const int offset = threadIdx.x % LANES * PIECE;
  const bool covers = offset < asked.head_dim;
  const int64_t* pages = asked.table + asked.starts[place.sequence];
  Softmax<HEADS> softmax;
#pragma unroll
  for (int h = 0; h < HEADS; ++h) {
    softmax.top[h] = -INFINITY;
    softmax.sum[h] = 0.0f;
#pragma unroll
    for (int i = 0; i < PIECE; ++i) {
      softmax.values[h][i] = 0.0f;
    }
  }
  // Of 32 bits: a division of 64 takes as long as all the rest.
  const unsigned block_tokens = unsigned(asked.block_tokens);
  for (int base = first; base < last; base += TEAMS * AHEAD) {
    Piece<Number> keys[AHEAD] = {};
    Piece<Number> values[AHEAD] = {};
    bool there[AHEAD];
#pragma unroll
    for (int t = 0; t < AHEAD; ++t) {
      const int token = base + t * TEAMS + team;
      there[t] = token < last;
      if (there[t] && covers) {
        const unsigned page = unsigned(token) / block_tokens;
        const int64_t slot = pages[page] * block_tokens + unsigned(token) % block_tokens;
        const int64_t at = (slot * asked.kv_heads + place.kv_head) * asked.head_dim + offset;
        keys[t] = load(static_cast<const Number*>(asked.keys) + at);
        values[t] = load(static_cast<const Number*>(asked.values) + at);
      }
    }
    float scores[AHEAD][HEADS];
#pragma unroll
    for (int t = 0; t < AHEAD; ++t) {
#pragma unroll
      for (int h = 0; h < HEADS; ++h) {
        float score = 0.0f;
#pragma unroll
        for (int i = 0; i < PIECE; ++i) {
          score += query[h][i] * number(keys[t], i);
        }
#pragma unroll
        for (int distance = LANES / 2; distance > 0; distance /= 2) {
          score += __shfl_xor_sync(0xffffffffu, score, distance);
        }
        scores[t][h] = (asked.cap > 0.0f ? asked.cap * tanhf(score / asked.cap) : score) * LOG2_E;
      }
    }
    add<Number, HEADS>(softmax, scores, there, values);
  }
  return softmax;
}

// Merges the teams of a block and writes the part. Every thread of the block comes here.
template <int LANES, int HEADS>
__device__ inline void write_part(
    const LpsPagedDecode& asked,
    const Place& place,
    const Softmax<HEADS>& softmax,
    int part) {
  constexpr int TEAMS = THREADS / LANES;
  constexpr int WIDTH = LANES * PIECE;
  __shared__ float tops[TEAMS][HEADS];
  __shared__ float sums[TEAMS][HEADS];
  __shared__ float values[TEAMS][HEADS][WIDTH];
  const int team = threadIdx.x / LANES;
  const int lane = threadIdx.x % LANES;
  // Whoever still reads the part before must be done.
  __syncthreads();
#pragma unroll
  for (int h = 0; h < HEADS; ++h) {
    if (lane == 0) {
      tops[team][h] = softmax.top[h];
      sums[team][h] = softmax.sum[h];
    }
#pragma unroll
    for (int i = 0; i < PIECE; ++i) {
      values[team][h][lane * PIECE + i] = softmax.values[h][i];
    }
  }
  __syncthreads();
  for (int at = int(threadIdx.x); at < place.heads * WIDTH; at += THREADS) {
    const int h = at / WIDTH;
    const int i = at % WIDTH;
    if (i >= asked.head_dim) {
      continue;
    }
    float top = -INFINITY;
    for (int t = 0; t < TEAMS; ++t) {
      top = fmaxf(top, tops[t][h]);
    }
    float sum = 0.0f;
    float value = 0.0f;
    for (int t = 0; t < TEAMS; ++t) {
      const float share = weight(tops[t][h], top);
      sum += share * sums[t][h];
      value += share * values[t][h][i];
    }
    const int64_t written = (place.sequence * asked.heads + place.first_head + h) * LPS_SPLITS + part;
    asked.parts[written * asked.head_dim + i] = value;
    if (i == 0) {
      asked.sums[2 * written] = top;
      asked.sums[2 * written + 1] = sum;
    }
  }
}

// Blocks: (sequences, key-value heads times chunks of `HEADS` of their query heads, any number that shares the parts).
template <typename Number, int LANES, int HEADS>
__device__ inline void attend(const LpsPagedDecode& asked) {
  const Place at = place<HEADS>(asked);
  const Sight seen = sight(asked, at.sequence);
  const int offset = threadIdx.x % LANES * PIECE;
  const Number* row = static_cast<const Number*>(asked.query) + asked.rows[at.sequence] * asked.query_stride;
  float query[HEADS][PIECE];
#pragma unroll
  for (int h = 0; h < HEADS; ++h) {
    Piece<Number> piece = {};
    if (h < at.heads && offset < asked.head_dim) {
      piece = load(row + (at.first_head + h) * asked.head_dim + offset);
    }
#pragma unroll
    for (int i = 0; i < PIECE; ++i) {
      query[h][i] = number(piece, i) * asked.scale;
    }
  }
  for (int part = int(blockIdx.z); part < seen.parts; part += int(gridDim.z)) {
    const int first = seen.begin + part * seen.part_tokens;
    const int last = first + seen.part_tokens < seen.end ? first + seen.part_tokens : seen.end;
    const Softmax<HEADS> softmax = read_part<Number, LANES, HEADS>(asked, at, query, first, last);
    write_part<LANES, HEADS>(asked, at, softmax, part);
  }
}

// Merges the parts. Blocks: (sequences, heads).
template <typename Number>
__device__ inline void merge(const LpsPagedDecode& asked) {
  const int64_t sequence = blockIdx.x;
  const int64_t head = blockIdx.y;
  const Sight seen = sight(asked, sequence);
  const float* sums = asked.sums + (sequence * asked.heads + head) * LPS_SPLITS * 2;
  const float* parts = asked.parts + (sequence * asked.heads + head) * LPS_SPLITS * asked.head_dim;
  float top = -INFINITY;
  for (int part = 0; part < seen.parts; ++part) {
    top = fmaxf(top, sums[2 * part]);
  }
  for (int i = int(threadIdx.x); i < asked.head_dim; i += THREADS) {
    float sum = 0.0f;
    float value = 0.0f;
    for (int part = 0; part < seen.parts; ++part) {
      const float share = weight(sums[2 * part], top);
      sum += share * sums[2 * part + 1];
      value += share * parts[part * asked.head_dim + i];
    }
    Number* row = static_cast<Number*>(asked.out) + asked.rows[sequence] * asked.heads * asked.head_dim;
    // Who sees nothing, which no caller asks for, gets nothing.
    store(row + head * asked.head_dim + i, sum > 0.0f ? value / sum : value);
  }
}

// How the blocks of both kernels stand.
struct Grid {
  unsigned x;
  unsigned y;
  unsigned z;
};

// Blocks that keep a large device busy several times over. More would stand idle where sequences are short.
constexpr int64_t BLOCKS = 2048;

inline Grid attend_grid(const LpsPagedDecode& asked, int heads) {
  const int64_t shared = asked.heads / asked.kv_heads;
  const int64_t rows = asked.kv_heads * ((shared + heads - 1) / heads);
  const int64_t parts = BLOCKS / (asked.sequences * rows);
  return Grid{
      unsigned(asked.sequences),
      unsigned(rows),
      unsigned(parts < 1 ? 1 : parts > LPS_SPLITS ? LPS_SPLITS : parts)};
}

// Calls `run.template operator()<Number, LANES, HEADS>()` with what fits; false when nothing does.
template <typename Number, int LANES, typename Run>
bool with_heads(const LpsPagedDecode& asked, Run run) {
  const int64_t shared = asked.heads / asked.kv_heads;
  if (shared == 1) {
    run.template operator()<Number, LANES, 1>();
  } else if (shared == 2) {
    run.template operator()<Number, LANES, 2>();
  } else if (shared <= 4) {
    run.template operator()<Number, LANES, 4>();
  } else {
    run.template operator()<Number, LANES, 8>();
  }
  return true;
}

template <typename Number, typename Run>
bool with_lanes(const LpsPagedDecode& asked, Run run) {
  if (asked.head_dim % PIECE != 0 || asked.head_dim < PIECE || asked.head_dim > 256) {
    return false;
  }
  if (asked.head_dim <= 64) {
    return with_heads<Number, 8>(asked, run);
  }
  if (asked.head_dim <= 128) {
    return with_heads<Number, 16>(asked, run);
  }
  return with_heads<Number, 32>(asked, run);
}

template <typename Run>
bool with_kernel(const LpsPagedDecode& asked, Run run) {
  return asked.half != 0 ? with_lanes<Half>(asked, run) : with_lanes<Float>(asked, run);
}

} // namespace lps
