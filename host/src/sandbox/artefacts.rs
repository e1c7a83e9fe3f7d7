//! Compiled modules on disk, keyed by digest and engine fingerprint.
//!
//! An artefact is machine code that will be run, so it is only ever read from a folder that belongs to this user and
//! that nobody else can write (mode 0700), and only if its checksum holds. What is missing, cut off, damaged or made
//! by another version is compiled again; nothing here is precious.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

use crate::model::ModuleDigest;

/// First bytes of a file; the last one counts up with this format, and with what the fingerprint does not see of how
/// modules are compiled.
const MAGIC: &[u8; 8] = b"WLCWASM\x02";
/// Bytes of the checksum that follows.
const CHECKSUM_BYTES: usize = 32;

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub(super) struct Artefacts {
    folder: PathBuf,
}

impl Artefacts {
    /// Opens the folder, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or others may write to it.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = fs::metadata(folder)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            let message = format!(
                "{} belongs to another user; compiled code is not read from there",
                folder.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, digest: ModuleDigest, fingerprint: u64) -> PathBuf {
        let digest = digest.to_string();
        let digits = digest.split_once(':').map_or(digest.as_str(), |(_, digits)| digits);
        self.folder.join(format!("{digits}-{fingerprint:016x}.cwasm"))
    }

    /// A path for the compiler to write to, on the same file system and unique to this call.
    pub(super) fn scratch(&self) -> io::Result<tempfile::TempPath> {
        Ok(tempfile::Builder::new()
            .prefix("compiling-")
            .tempfile_in(&self.folder)?
            .into_temp_path())
    }

    /// Loads an artefact. None if there is no sound one.
    pub(super) fn load(&self, digest: ModuleDigest, engine: &Engine, fingerprint: u64) -> Option<Component> {
        let bytes = fs::read(self.path(digest, fingerprint)).ok()?;
        let artefact = unwrap(&bytes)?;
        // A file of another version or of other settings fails here and is replaced.
        deserialize(engine, artefact).ok()
    }

    /// Keeps an artefact: written beside its place, flushed and renamed, so that no reader sees half of it.
    ///
    /// # Errors
    /// When the disk is full, for example. The module then runs, but is compiled again next time.
    pub(super) fn store(&self, digest: ModuleDigest, fingerprint: u64, artefact: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix("storing-").tempfile_in(&self.folder)?;
        io::Write::write_all(&mut file, MAGIC)?;
        io::Write::write_all(&mut file, &Sha256::digest(artefact))?;
        io::Write::write_all(&mut file, artefact)?;
        file.as_file().sync_all()?;
        file.persist(self.path(digest, fingerprint))
            .map_err(|error| error.error)?;
        Ok(())
    }
}

/// The artefact in a file's bytes, if they are whole.
fn unwrap(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, artefact) = rest.split_at_checked(CHECKSUM_BYTES)?;
    (Sha256::digest(artefact).as_slice() == checksum).then_some(artefact)
}

/// Makes compiled code runnable.
///
/// # Errors
/// When it is for another version, processor or configuration, or needs more than the engine's pool gives a guest.
pub(super) fn deserialize(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be the unmodified output of Wasmtime's compiler. They come straight from it, in this
    // process or through a file of a child of ours in a folder of mode 0700 that belongs to this user; what was stored
    // is only used when its checksum holds. Whoever can write there can already act as this user. Version,
    // processor and settings are checked by Wasmtime itself.
    unsafe { Component::deserialize(engine, artefact) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> ModuleDigest {
        ModuleDigest([7; 32])
    }

    fn component(engine: &Engine) -> Vec<u8> {
        engine
            .precompile_component(&wat::parse_str("(component)").unwrap())
            .unwrap()
    }

    #[test]
    fn an_artefact_is_found_again_and_a_damaged_one_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let artefacts = Artefacts::open(&folder.path().join("a/b")).unwrap();
        assert!(artefacts.load(digest(), &engine, 1).is_none());
        artefacts.store(digest(), 1, &component(&engine)).unwrap();
        assert!(artefacts.load(digest(), &engine, 1).is_some());
        assert!(artefacts.load(digest(), &engine, 2).is_none(), "another fingerprint");

        let path = artefacts.path(digest(), 1);
        let whole = fs::read(&path).unwrap();
        for (at, what) in [(0, "magic"), (10, "checksum"), (200, "code")] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(artefacts.load(digest(), &engine, 1).is_none(), "{what}");
        }
        for length in [0, 7, 39, 40, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                artefacts.load(digest(), &engine, 1).is_none(),
                "cut off after {length} bytes"
            );
        }
        artefacts.store(digest(), 1, b"not an artefact").unwrap();
        assert!(artefacts.load(digest(), &engine, 1).is_none(), "foreign content");
    }

    #[test]
    fn the_folder_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        Artefacts::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Artefacts::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }
}
