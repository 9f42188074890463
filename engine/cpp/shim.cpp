// What libtorch has and tch lacks, behind C. Owns: crossing the language border, and nothing else: every exception is
// caught and becomes a text. Who calls it, and why it is sound, stands in `src/kernels/native.rs`.

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>

#include <dlfcn.h>

#include <exception>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

thread_local std::string last_error;

// Runs `body`; 0 when it went well, else 1, with the reason for `lps_last_error`.
template <typename Body>
int guarded(Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an exception of unknown kind";
  }
  return 1;
}

using Pack = at::Tensor(const at::Tensor&, std::optional<int64_t>);
using PackedLinear = at::Tensor(
    const at::Tensor&,
    const at::Tensor&,
    const std::optional<at::Tensor>&,
    std::string_view,
    c10::List<std::optional<at::Scalar>>,
    std::optional<std::string_view>);

} // namespace

extern "C" {

// The reason of this thread's last failure; valid until its next one.
const char* lps_last_error() {
  return last_error.c_str();
}

// Neither gradients nor version counters on this thread until the guard is given back.
int lps_inference_begin(void** guard) {
  return guarded([&] { *guard = new c10::InferenceMode(); });
}

void lps_inference_end(void* guard) {
  delete static_cast<c10::InferenceMode*>(guard);
}

// `weight` [out, in] into the layout that oneDNN multiplies with; `out` is a new handle to an opaque tensor.
int lps_pack_linear(const at::Tensor* weight, at::Tensor** out) {
  return guarded([&] {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                               .typed<Pack>();
    *out = new at::Tensor(op.call(*weight, std::nullopt));
  });
}

// `x` [rows, in] times a packed weight, plus `bias` [out] when given.
int lps_packed_linear(
    const at::Tensor* x,
    const at::Tensor* packed,
    const at::Tensor* bias,
    at::Tensor** out) {
  return guarded([&] {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                               .typed<PackedLinear>();
    const auto added = bias == nullptr ? std::optional<at::Tensor>() : std::optional<at::Tensor>(*bias);
    *out = new at::Tensor(op.call(*x, *packed, added, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt));
  });
}

// Loads libtorch's CUDA half into the process. Must come before any question about CUDA: an earlier one makes
// libtorch remember that there is none.
int lps_load_cuda() {
  return guarded([] {
    if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char* reason = dlerror();
      throw std::runtime_error(reason == nullptr ? "libtorch_cuda.so cannot be loaded" : reason);
    }
  });
}

// Bytes of the accelerator's memory that are free.
int lps_device_free_bytes(uint64_t* bytes) {
  return guarded([&] { *bytes = at::accelerator::getMemoryInfo(0).first; });
}

} // extern "C"
