// What `liblps_cuda.so` gives to the engine: one table of functions, under the one name `lps_cuda`. The Rust side,
// `src/kernels/cuda/library.rs`, has the same structures field by field. Functions give 0 when all went well; else
// `last_error` has this thread's reason.

#pragma once

#include <stdint.h>

#include "../cuda/paged.h"

struct LpsDevice {
  char name[256];
  char torch[32]; // libtorch's version
  uint64_t memory_bytes;
  int32_t major; // of its compute capability
  int32_t minor;
  int32_t multiprocessors;
  int32_t driver;  // 1000 * major + 10 * minor of the CUDA that the driver knows
  int32_t runtime; // of the one in use
};

struct LpsMemory {
  uint64_t free_bytes;
  uint64_t allocated_bytes;      // by tensors that live
  uint64_t allocated_peak_bytes; // the most so far
  uint64_t reserved_bytes;       // with what libtorch keeps for later ones
};

struct LpsCuda {
  // Of the sources that this library was built from; the engine's own must be the same. Stays the first field.
  uint64_t stamp;
  const char* (*last_error)();
  // The first device. Fails with a reason for people where there is none.
  int (*device)(LpsDevice* device);
  int (*memory)(LpsMemory* memory);
  // From now on this thread's work goes to a stream of its own: the one that all share cannot be recorded.
  int (*stream_begin)();
  // An event in this thread's stream. Elapsed time waits for both.
  int (*event_record)(void** event);
  int (*event_elapsed_ms)(void* from, void* to, float* ms);
  void (*event_free)(void* event);
  // Work of this thread's stream is recorded, not done, until the end. All graphs take memory from one pool: what one
  // gives is lost when another is replayed.
  int (*graph_begin)(void** graph);
  int (*graph_end)(void* graph);
  int (*graph_replay)(void* graph);
  void (*graph_free)(void* graph);
  int (*paged_decode)(const LpsPagedDecode* asked);
};
