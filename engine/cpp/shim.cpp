// What libtorch has and tch lacks, behind C. Owns: crossing the language border, and nothing else: every exception is
// caught and becomes a text. Who calls it, and why it is sound, stands in `src/kernels/native.rs`.

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/InferenceMode.h>

#include <dlfcn.h>

#include <optional>
#include <stdexcept>

#include "guarded.h"

namespace {

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

// Loads a library into the process for good, with its names for all that come later.
int lps_load_library(const char* name, void** library) {
  return guarded([&] {
    *library = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
    if (*library == nullptr) {
      const char* reason = dlerror();
      throw std::runtime_error(reason == nullptr ? "it cannot be loaded" : reason);
    }
  });
}

// The address of a name of a library.
int lps_find_symbol(void* library, const char* name, const void** symbol) {
  return guarded([&] {
    *symbol = dlsym(library, name);
    if (*symbol == nullptr) {
      throw std::runtime_error(std::string("it has no ") + name);
    }
  });
}

} // extern "C"
