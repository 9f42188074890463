// What libtorch's CUDA half has and tch lacks, and our own kernels, behind C. Owns: crossing the language border, and
// nothing else: every exception is caught and becomes a text. Built by `scripts/cuda.sh` into `liblps_cuda.so`, which the
// engine loads after libtorch_cuda; so the engine itself needs no CUDA.

#include "cuda.h"

#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "../cuda/paged_launch.h"
#include "guarded.h"

namespace {

using at::cuda::CUDAGraph;

// The only device that the engine uses; CUDA_VISIBLE_DEVICES says which one that is.
constexpr c10::DeviceIndex DEVICE = 0;

const char* reason() {
  return last_error.c_str();
}

// In words of CUDA, and what to do about it.
void must_have_device() {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found == cudaSuccess && count > 0) {
    return;
  }
  const std::string said = cudaGetErrorString(found);
  if (found == cudaErrorInsufficientDriver) {
    throw std::runtime_error(
        "there is no NVIDIA driver in here, or it is older than this CUDA; it comes with the machine, and into a container "
        "by the NVIDIA container runtime (CUDA says: " + said + ")");
  }
  if (found == cudaSuccess || found == cudaErrorNoDevice) {
    throw std::runtime_error(
        "the driver shows no device; is one given to this process (nvidia.com/gpu of the pod, CUDA_VISIBLE_DEVICES)?");
  }
  throw std::runtime_error("CUDA cannot be used: " + said);
}

int device(LpsDevice* device) {
  return guarded([&] {
    must_have_device();
    // Before the first tensor libtorch knows nothing of the device's memory, and fails when it is asked.
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    cudaDeviceProp properties;
    C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, DEVICE));
    *device = LpsDevice{};
    static_assert(sizeof device->name == sizeof properties.name);
    std::memcpy(device->name, properties.name, sizeof device->name);
    std::snprintf(device->torch, sizeof device->torch, "%s", TORCH_VERSION);
    device->memory_bytes = properties.totalGlobalMem;
    device->major = properties.major;
    device->minor = properties.minor;
    device->multiprocessors = properties.multiProcessorCount;
    C10_CUDA_CHECK(cudaDriverGetVersion(&device->driver));
    C10_CUDA_CHECK(cudaRuntimeGetVersion(&device->runtime));
  });
}

int memory(LpsMemory* memory) {
  return guarded([&] {
    size_t free = 0;
    size_t total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(DEVICE);
    const auto bytes = [](int64_t count) { return uint64_t(std::max<int64_t>(count, 0)); };
    constexpr auto ALL = size_t(c10::CachingAllocator::StatType::AGGREGATE);
    memory->free_bytes = free;
    memory->allocated_bytes = bytes(stats.allocated_bytes[ALL].current);
    memory->allocated_peak_bytes = bytes(stats.allocated_bytes[ALL].peak);
    memory->reserved_bytes = bytes(stats.reserved_bytes[ALL].current);
  });
}

int stream_begin() {
  return guarded([] { c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool(false, DEVICE)); });
}

int event_record(void** event) {
  return guarded([&] {
    cudaEvent_t made = nullptr;
    C10_CUDA_CHECK(cudaEventCreate(&made));
    // Handed over first: whoever asked frees it, whatever comes.
    *event = made;
    C10_CUDA_CHECK(cudaEventRecord(made, c10::cuda::getCurrentCUDAStream(DEVICE)));
  });
}

int event_elapsed_ms(void* from, void* to, float* ms) {
  return guarded([&] {
    C10_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(to)));
    C10_CUDA_CHECK(cudaEventElapsedTime(ms, static_cast<cudaEvent_t>(from), static_cast<cudaEvent_t>(to)));
  });
}

void event_free(void* event) {
  // What an earlier failure left behind is of no use here.
  C10_CUDA_IGNORE_ERROR(cudaEventDestroy(static_cast<cudaEvent_t>(event)));
}

int graph_begin(void** graph) {
  return guarded([&] {
    static const auto pool = at::cuda::graph_pool_handle();
    auto made = std::make_unique<CUDAGraph>();
    // Other threads may do as they like: none of them uses this device.
    made->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    *graph = made.release();
  });
}

int graph_end(void* graph) {
  return guarded([&] { static_cast<CUDAGraph*>(graph)->capture_end(); });
}

int graph_replay(void* graph) {
  return guarded([&] { static_cast<CUDAGraph*>(graph)->replay(); });
}

void graph_free(void* graph) {
  guarded([&] { delete static_cast<CUDAGraph*>(graph); });
}

int paged_decode(const LpsPagedDecode* asked) {
  return guarded([&] {
    C10_CUDA_CHECK(lps::launch_paged_decode(*asked, c10::cuda::getCurrentCUDAStream(DEVICE)));
  });
}

} // namespace

extern "C" __attribute__((visibility("default"))) const LpsCuda lps_cuda = {
    LPS_CUDA_STAMP,
    reason,
    device,
    memory,
    stream_begin,
    event_record,
    event_elapsed_ms,
    event_free,
    graph_begin,
    graph_end,
    graph_replay,
    graph_free,
    paged_decode,
};
