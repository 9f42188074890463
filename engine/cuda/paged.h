// Attention of single tokens over the KV pages: what it is asked. Owns: the words that caller and kernel share; the caller
// is `src/kernels/cuda/paged.rs`, which has the same structure field by field. Plain C, so that both sides can read it.

#pragma once

#include <stdint.h>

// Most parts in which one sequence's tokens are read, each by a block of threads of its own.
#define LPS_SPLITS 32

// A sequence has one new token, whose keys and values are in the pages already. Tensors are without gaps.
struct LpsPagedDecode {
  const void* query;     // a row for each token of the step, `query_stride` numbers apart: [heads, head_dim]
  const void* keys;      // [slots, kv_heads, head_dim]
  const void* values;    // the same
  void* out;             // [tokens, heads, head_dim]
  float* parts;          // [sequences, heads, LPS_SPLITS, head_dim], to write in
  float* sums;           // [sequences, heads, LPS_SPLITS, 2], to write in
  const int64_t* rows;   // [sequences]: the row of each in `query` and `out`
  const int64_t* ends;   // [sequences]: tokens of each, the new one included
  const int64_t* starts; // [sequences]: where in `table` its pages begin
  const int64_t* table;  // pages
  int64_t query_stride;
  int32_t sequences; // at least 1
  int32_t heads;
  int32_t kv_heads; // divides `heads`
  int32_t head_dim; // a multiple of 8, at most 256
  int32_t block_tokens;
  int32_t window; // how many tokens are seen, the new one included; 0: all
  float scale;    // scores are multiplied with this
  float cap;      // then cap * tanh(score / cap); 0: not
  int32_t half;   // whether numbers are bfloat16; else they are float
};
