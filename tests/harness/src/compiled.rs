//! A cache of compiled modules that tests share, because compiling takes seconds and every test has its own host.
//!
//! A host stores compiled modules in the folder `compiled` of its data, by digest and by fingerprint of its compiler.
//! It runs only what was written with the key of this folder. Any host of the same build and key can use them, so the
//! cache has a folder per build, with a key that it gives to all hosts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::programs;

/// The file of the key.
const KEY: &str = "key";

/// Puts the modules that earlier tests have compiled into a data folder.
pub(crate) fn lend(data: &Path) {
    let (kept, target) = (kept(), data.join("compiled"));
    create_private(&target).expect("the data folder is the test's own");
    if create_private(&kept).is_err() || write_key(&kept).is_err() {
        return;
    }
    for file in fs::read_dir(kept).into_iter().flatten().flatten() {
        let _ = place(&file.path(), &target);
    }
}

/// Writes the key of the cache, if it has none. Other tests do the same concurrently, with the same key.
fn write_key(kept: &Path) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let key = kept.join(KEY);
    if key.exists() {
        return Ok(());
    }
    let unfinished = kept.join(format!("key-{}-{:?}", std::process::id(), std::thread::current().id()));
    let mut file = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&[7; 32])?;
    fs::rename(unfinished, key)
}

/// Adds the modules that a host has compiled to the cache.
pub(crate) fn keep(data: &Path) {
    let kept = kept();
    let key_of = |folder: &Path| fs::read(folder.join(KEY)).ok();
    // A test may have damaged its own.
    if key_of(&kept).is_none() || key_of(&data.join("compiled")) != key_of(&kept) {
        return;
    }
    for file in fs::read_dir(data.join("compiled")).into_iter().flatten().flatten() {
        let _ = place(&file.path(), &kept);
    }
}

/// Links a compiled module into a folder. A link is atomic, and other tests do the same concurrently. Callers ignore
/// errors: if the file exists already, it is the same.
fn place(file: &Path, folder: &Path) -> io::Result<()> {
    let is_artefact = file.extension().is_some_and(|extension| extension == "cwasm");
    match file.file_name() {
        Some(name) if is_artefact || name == KEY => fs::hard_link(file, folder.join(name)),
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
