//! Compiled modules are kept from one test to the next: compiling takes seconds, and every test has a host of its own.
//!
//! The host looks into the folder `compiled` of its data by digest and fingerprint of its compiler; whatever a host has
//! put there is valid for any other host of the same build. So the copies are kept apart by the build of the host.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::programs;

/// Puts what earlier tests have compiled where a host finds it.
pub(crate) fn lend(data: &Path) {
    let target = data.join("compiled");
    if let Ok(files) = fs::read_dir(kept()) {
        create_private(&target).expect("the data folder is the test's own");
        for file in files.flatten() {
            let _ = place(&file.path(), &target);
        }
    }
}

/// Keeps what a host has compiled.
pub(crate) fn keep(data: &Path) {
    let kept = kept();
    if create_private(&kept).is_err() {
        return;
    }
    for file in fs::read_dir(data.join("compiled")).into_iter().flatten().flatten() {
        let _ = place(&file.path(), &kept);
    }
}

/// Whole or not at all: other tests do the same at the same time. Fails if it is there, which is as good.
fn place(file: &Path, folder: &Path) -> io::Result<()> {
    let is_artefact = file.extension().is_some_and(|extension| extension == "cwasm");
    match file.file_name() {
        Some(name) if is_artefact => fs::hard_link(file, folder.join(name)),
        _ => Ok(()),
    }
}

fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn kept() -> PathBuf {
    let build = fs::metadata(programs::windlass()).expect("the host is there");
    let since = build
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let stamp = since.unwrap_or_default().as_millis();
    programs::profile_folder().join(format!("tmp/compiled-{}-{stamp}", build.len()))
}
