//! The cache of compiled modules on disk, keyed by digest and engine fingerprint.
//!
//! An artefact is machine code that the host runs. So it is only read from a folder that belongs to this user and that
//! no other user can write (mode 0700), and only if its checksum is correct. A module whose artefact is missing,
//! truncated, damaged or of another version is compiled again.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

use crate::model::ModuleDigest;

/// First bytes of a file. The last one is incremented when this format changes, or when modules are compiled in another
/// way that the fingerprint does not reflect.
const MAGIC: &[u8; 8] = b"WLCWASM\x02";
/// Bytes of the checksum that follows [`MAGIC`].
const CHECKSUM_BYTES: usize = 32;

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub(super) struct Artefacts {
    folder: PathBuf,
}

impl Artefacts {
    /// Opens the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created, or belongs to another user.
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

    /// A unique path in the folder that the compiler can write to.
    pub(super) fn scratch(&self) -> io::Result<tempfile::TempPath> {
        Ok(tempfile::Builder::new()
            .prefix("compiling-")
            .tempfile_in(&self.folder)?
            .into_temp_path())
    }

    /// Loads an artefact. Returns `None` if there is no valid one.
    pub(super) fn load(&self, digest: ModuleDigest, engine: &Engine, fingerprint: u64) -> Option<Component> {
        let bytes = fs::read(self.path(digest, fingerprint)).ok()?;
        let artefact = unwrap(&bytes)?;
        // A file of another version or with other settings fails here and is replaced.
        deserialize(engine, artefact).ok()
    }

    /// Removes an artefact. If that fails, the file stays, and nothing else depends on it.
    pub(super) fn remove(&self, digest: ModuleDigest, fingerprint: u64) {
        let path = self.path(digest, fingerprint);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a compiled module could not be removed");
        }
    }

    /// Stores an artefact. It is written to a temporary file, flushed and renamed, so that no reader sees a part of it.
    ///
    /// # Errors
    /// When the disk is full, for example. The module can still run, but must be compiled again next time.
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

/// The artefact in the bytes of a file, if its checksum is correct.
fn unwrap(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, artefact) = rest.split_at_checked(CHECKSUM_BYTES)?;
    (Sha256::digest(artefact).as_slice() == checksum).then_some(artefact)
}

/// Loads compiled code into an engine.
///
/// # Errors
/// When it is for another version, processor or configuration, or needs more than the engine's pool allows.
pub(super) fn deserialize(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be the unmodified output of Wasmtime's compiler. They come directly from it, in this process
    // or through a file that our child process wrote in a folder of mode 0700 that belongs to this user. A stored file is
    // only used if its checksum is correct. Anyone who can write there can already act as this user. Wasmtime itself
    // checks version, processor and settings.
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
    fn a_stored_artefact_is_loaded_and_a_damaged_one_is_not() {
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
    fn the_folder_is_not_accessible_to_other_users() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        Artefacts::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Artefacts::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }
}
