//! Builds what the `torch` feature needs: compiles the shim against the headers of libtorch and makes programs find its
//! libraries without an environment variable. Owns: paths and flags. Without the feature it does nothing.

#[expect(
    clippy::disallowed_methods,
    reason = "cargo talks to build scripts through the environment"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cpp/shim.cpp");
    if std::env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    // torch-sys has found libtorch (environment variable `LIBTORCH`) and tells those who depend on it.
    let libraries =
        std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names libtorch's folder");
    let include = std::path::Path::new(&libraries).with_file_name("include");
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
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libraries}");
    // The flag above reaches this crate's own programs and tests only. A crate that links the engine reads
    // `DEP_LPS_ENGINE_LIBTORCH_LIB` in its build script and sets the same flag.
    println!("cargo:libtorch_lib={libraries}");
}
