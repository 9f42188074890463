// What `paged.cu` gives to `cpp/cuda.cpp`.

#pragma once

#include <cuda_runtime_api.h>

#include "paged.h"

namespace lps {

// On the given stream; does not wait.
cudaError_t launch_paged_decode(const LpsPagedDecode& asked, cudaStream_t stream);

} // namespace lps
