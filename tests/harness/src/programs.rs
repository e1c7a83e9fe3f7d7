//! Paths of the programs and modules under test.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of the `windlass` binary.
pub fn windlass() -> PathBuf {
    program("WINDLASS_BIN", "windlass")
}

/// The path of the `sample-backend` binary.
pub(crate) fn sample_backend() -> PathBuf {
    program("SAMPLE_BACKEND_BIN", "sample-backend")
}

/// The path of a program: from the environment variable, or else one folder above the tests, where cargo puts it.
fn program(variable: &str, name: &str) -> PathBuf {
    let path = match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => profile_folder().join(name),
    };
    assert!(
        path.exists(),
        "{} is missing: run `make build` first, or set {variable}",
        path.display()
    );
    path
}

/// `target/debug`, for tests in `target/debug/deps`.
pub(crate) fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    test.ancestors()
        .nth(2)
        .expect("cargo runs tests from target/PROFILE/deps")
        .to_owned()
}

/// The bytes of a sample module. `name` is its file name without `.wasm`.
pub fn module(name: &str) -> Vec<u8> {
    let path = modules().join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make modules` first", path.display()))
}

/// The folder of the sample modules.
pub fn modules() -> PathBuf {
    match std::env::var_os("WINDLASS_TEST_MODULES") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-modules/target/wasm32-wasip2/release"),
    }
}
