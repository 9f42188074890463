//! Builds what the `torch` feature needs: compiles the shim against the headers of libtorch and makes programs find its
//! libraries without an environment variable. Owns: paths and flags. Without the feature it does nothing.

use std::path::{Path, PathBuf};

#[expect(
    clippy::disallowed_methods,
    reason = "cargo talks to build scripts through the environment"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-changed=cuda");
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    // torch-sys has found libtorch (environment variable `LIBTORCH`) and tells those who depend on it.
    let libraries =
        std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names libtorch's folder");
    let include = Path::new(&libraries).with_file_name("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(2)
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("cpp/shim.cpp")
        .compile("lps_shim");
    // The CUDA kernels on a processor. Only tests call them, so they are in no program.
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(2)
        .flag("-Wno-unknown-pragmas")
        .file("cuda/emulated.cpp")
        .compile("lps_emulated");
    println!("cargo:rustc-env=LPS_CUDA_STAMP={}", cuda_stamp());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libraries}");
    // The flag above reaches this crate's own programs and tests only. A crate that links the engine reads
    // `DEP_LPS_ENGINE_LIBTORCH_LIB` in its build script and sets the same flag.
    println!("cargo:libtorch_lib={libraries}");
}

/// FNV-1a of all sources, as `scripts/cuda.sh` computes it: by this number the engine knows its CUDA library.
fn cuda_stamp() -> u64 {
    let files = |folder: &str| {
        let entries = std::fs::read_dir(folder).expect("the folder is in the sources");
        entries.map(|entry| entry.expect("it can be read").path())
    };
    // Editors leave hidden files.
    let is_hidden = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.')
    };
    let files = files("cpp").chain(files("cuda"));
    let mut sources: Vec<PathBuf> = files.filter(|file| !is_hidden(file)).collect();
    sources.sort();
    let bytes = sources
        .iter()
        .flat_map(|source| std::fs::read(source).expect("sources can be read"));
    bytes.fold(0xcbf2_9ce4_8422_2325, |value, byte| {
        (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
