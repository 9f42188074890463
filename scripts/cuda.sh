#!/usr/bin/env bash
# Builds liblps_cuda.so, the engine's CUDA half, beside the programs that load it (target/debug and target/release). Needs no
# GPU and no CUDA on the machine: the compiler comes from PyPI into the cache. What is up to date is not built again.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$(scripts/cache-dir.sh)
# As the libtorch of scripts/setup.sh.
cuda_version=13.0.88
compiler="$cache/nvcc-$cuda_version"
configured() { sed -n "s|^$1 = \"\(.*\)\"\$|\1|p" .cargo/config.toml; }
target=$(configured target-dir)
torch=$(configured LIBTORCH)

if [ ! -f "$compiler/.complete" ]; then
  [ -x "$cache/venv-setup/bin/pip" ] || python3 -m venv "$cache/venv-setup"
  echo "cuda: nvcc $cuda_version from PyPI into $compiler (about 250 MB on disk, 10 s)"
  rm -rf "$compiler.partial"
  "$cache/venv-setup/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --target "$compiler.partial" \
    "nvidia-cuda-nvcc==$cuda_version" "nvidia-nvvm==$cuda_version" "nvidia-cuda-crt==$cuda_version"
  touch "$compiler.partial/.complete"
  rm -rf "$compiler"
  mv "$compiler.partial" "$compiler"
fi

# FNV-1a of all sources, as engine/build.rs computes it: by this number the engine knows its library.
stamp=$(python3 - engine/cpp/* engine/cuda/* <<'PYTHON'
import sys
value = 0xcbf29ce484222325
for name in sorted(sys.argv[1:]):
    for byte in open(name, "rb").read():
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
print(value)
PYTHON
)
built="$target/cuda"
# What it is made with counts too.
made="$stamp $compiler $torch"
if [ "$(cat "$built/stamp" 2>/dev/null)" != "$made" ]; then
  echo "cuda: compiling engine/cuda and engine/cpp/cuda.cpp (half a minute)"
  mkdir -p "$built"
  rm -f "$built/stamp"
  include="$(dirname "$torch")/nvidia/cu13/include"
  # Code for A100, H100 and B200; what is later makes its own of the first one's PTX.
  "$compiler/nvidia/cu13/bin/nvcc" -std=c++20 --threads 0 -I "$include" -Xcompiler -fPIC,-fvisibility=hidden \
    -gencode "arch=compute_80,code=[sm_80,compute_80]" -gencode arch=compute_90,code=sm_90 -gencode arch=compute_100,code=sm_100 \
    -c engine/cuda/paged.cu -o "$built/paged.o"
  c++ -std=c++20 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -D_GLIBCXX_USE_CXX11_ABI=1 "-DLPS_CUDA_STAMP=${stamp}u" \
    -isystem "$torch/include" -isystem "$include" -isystem "$compiler/nvidia/cu13/include" \
    -c engine/cpp/cuda.cpp -o "$built/cuda.o"
  # Every symbol must be in libtorch; what libtorch_cuda needs itself (cuDNN, cuBLAS) need not be here.
  c++ -shared -o "$built/liblps_cuda.so" "$built/cuda.o" "$built/paged.o" \
    -L "$torch/lib" -L "$(dirname "$torch")/nvidia/cu13/lib" -Wl,--no-undefined,--allow-shlib-undefined,--as-needed \
    -ltorch_cuda -lc10_cuda -ltorch_cpu -lc10 -l:libcudart.so.13
  echo "$made" > "$built/stamp"
fi
for programs in "$target/debug" "$target/release"; do
  mkdir -p "$programs"
  cmp -s "$built/liblps_cuda.so" "$programs/liblps_cuda.so" || {
    # Not over the old one: a program that runs may have it mapped.
    cp "$built/liblps_cuda.so" "$programs/liblps_cuda.so.partial"
    mv "$programs/liblps_cuda.so.partial" "$programs/liblps_cuda.so"
  }
done
