//! The cache of compiled modules on disk, keyed by digest and engine fingerprint.
//!
//! An artefact is machine code that the host runs. So it is only read from a folder that belongs to this user and that
//! no other user can write (mode 0700), and only if it is authenticated with a key that is in a file of this folder. Who
//! can write to the data folder around it, and puts another folder in its place, does not know the key. A module whose
//! artefact is missing, truncated, damaged or of another version is compiled again.
//!
//! An artefact may have hundreds of megabytes, and is never in the memory of the host as a whole: the compiling process
//! writes it to a file, which is authenticated block by block and then mapped into memory. So it takes the memory of the
//! functions that run, which the system can take back at any time, because they are in the file.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ring::hmac;
use wasmtime::{Engine, component::Component};

use crate::model::ModuleDigest;

/// Last bytes of a file. The last one is incremented when this format changes, or when modules are compiled in another
/// way that the fingerprint does not reflect.
const MAGIC: &[u8; 8] = b"WLCWASM\x04";
/// Bytes of the HMAC-SHA256 of the artefact, which is between the artefact and [`MAGIC`].
const TAG_BYTES: usize = 32;
/// Bytes behind the artefact.
const TRAILER_BYTES: usize = TAG_BYTES + MAGIC.len();

/// How much of a file is in memory when it is authenticated, in bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// The file of the key.
const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;

/// The extension of artefacts.
const EXTENSION: &str = "cwasm";

/// An artefact that the compiler has just written. Its file is deleted if it is not [kept](Artefacts::keep).
#[derive(Debug)]
pub(super) struct FreshArtefact {
    file: fs::File,
    length: u64,
    path: tempfile::TempPath,
}

impl FreshArtefact {
    /// Like [`map`].
    pub(super) fn map(&mut self, engine: &Engine) -> wasmtime::Result<Component> {
        map(engine, &mut self.file, self.length)
    }
}

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub(super) struct Artefacts {
    folder: PathBuf,
    key: hmac::Key,
}

impl Artefacts {
    /// Opens the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created, or belongs to another user.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = fs::metadata(folder)?;
        if !is_ours(&metadata) {
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
            key: hmac::Key::new(hmac::HMAC_SHA256, &key(folder)?),
            folder: folder.to_owned(),
        })
    }

    fn path(&self, digest: ModuleDigest, fingerprint: u64) -> PathBuf {
        let digest = digest.to_string();
        let digits = digest.split_once(':').map_or(digest.as_str(), |(_, digits)| digits);
        self.folder.join(format!("{digits}-{fingerprint:016x}.{EXTENSION}"))
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
        // Opened once: what is authenticated is what is mapped.
        let mut file = fs::File::open(self.path(digest, fingerprint)).ok()?;
        let length = self.authentic_bytes(&mut file).ok()??;
        // A file of another version or with other settings fails here and is replaced.
        map(engine, &mut file, length).ok()
    }

    /// Opens an artefact that the compiler has written to a [scratch](Self::scratch) file.
    ///
    /// # Errors
    /// When it cannot be opened, or belongs to another user.
    pub(super) fn fresh(&self, path: tempfile::TempPath) -> io::Result<FreshArtefact> {
        let file = fs::File::options().read(true).append(true).open(&path)?;
        let metadata = file.metadata()?;
        if !is_ours(&metadata) {
            let message = "the file of the compiler belongs to another user";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(FreshArtefact {
            length: metadata.len(),
            file,
            path,
        })
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

    /// Keeps a fresh artefact. The file is flushed before it gets its name, so that no reader sees a part of it.
    ///
    /// # Errors
    /// When the disk is full, for example. The module can still run, but must be compiled again next time.
    pub(super) fn keep(&self, digest: ModuleDigest, fingerprint: u64, artefact: FreshArtefact) -> io::Result<()> {
        let FreshArtefact { mut file, length, path } = artefact;
        let tag = self.tag(&mut file, length)?.sign();
        file.write_all(tag.as_ref())?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        path.persist(self.path(digest, fingerprint))
            .map_err(|error| error.error)
    }

    /// The length of the artefact in a file, in bytes; `None` if the file was not written with the key of this folder.
    fn authentic_bytes(&self, file: &mut fs::File) -> io::Result<Option<u64>> {
        let Some(length) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else {
            return Ok(None);
        };
        let computed = self.tag(file, length)?.sign();
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact(&mut trailer)?;
        let (tag, magic) = trailer.split_at(TAG_BYTES);
        let is_equal = ring::constant_time::verify_slices_are_equal(tag, computed.as_ref()).is_ok();
        Ok((magic == MAGIC && is_equal).then_some(length))
    }

    /// Reads the first `length` bytes of a file into the context of their tag.
    fn tag(&self, file: &mut fs::File, length: u64) -> io::Result<hmac::Context> {
        file.rewind()?;
        let (mut context, mut block) = (hmac::Context::with_key(&self.key), vec![0; BLOCK_BYTES]);
        let mut left = length;
        while left > 0 {
            let bytes = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut block[..bytes])?;
            context.update(&block[..bytes]);
            left -= bytes as u64;
        }
        Ok(context)
    }

    /// Removes files that are older than `grace`, except the artefacts of these digests and fingerprints: what deleted
    /// modules, earlier versions of the host and interrupted compilations have left. Removes at most `limit` files, and
    /// returns how many.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn sweep(
        &self,
        digests: &BTreeSet<ModuleDigest>,
        fingerprints: [u64; 2],
        grace: Duration,
        limit: usize,
    ) -> io::Result<usize> {
        let kept = |name: &str| {
            let parts = name
                .strip_suffix(EXTENSION)
                .and_then(|name| name.strip_suffix('.')?.split_once('-'));
            let Some((digest, fingerprint)) = parts else {
                return name == KEY_FILE;
            };
            let digest: Result<ModuleDigest, _> = format!("sha256:{digest}").parse();
            let fingerprint = u64::from_str_radix(fingerprint, 16);
            fingerprint.is_ok_and(|fingerprint| fingerprints.contains(&fingerprint))
                && digest.is_ok_and(|digest| digests.contains(&digest))
        };
        let now = SystemTime::now();
        let mut removed = 0;
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            if file.file_name().to_str().is_some_and(kept) || !is_older(&file, now, grace) {
                continue;
            }
            match fs::remove_file(file.path()) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(path = %file.path().display(), %error, "a file could not be removed"),
            }
            if removed == limit {
                break;
            }
        }
        Ok(removed)
    }
}

/// Whether a file was last written that long ago. A file of the future, after the clock was set back, was not.
fn is_older(file: &fs::DirEntry, now: SystemTime, age: Duration) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|past| past >= age))
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// The key of the folder. Draws a new one if there is none that only this user can have written and read; then all
/// modules are compiled again.
fn key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join(KEY_FILE);
    let is_private = |metadata: &fs::Metadata| metadata.is_file() && is_ours(metadata) && metadata.mode() & 0o077 == 0;
    if fs::symlink_metadata(&path).is_ok_and(|metadata| is_private(&metadata))
        && let Ok(key) = fs::read(&path)?.try_into()
    {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    // Temporary files have mode 0600.
    let mut file = tempfile::Builder::new().prefix("storing-").tempfile_in(folder)?;
    io::Write::write_all(&mut file, &key)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(key)
}

/// Maps the first `length` bytes of a file, which are compiled code, into memory. If the file cannot be mapped, because its
/// file system does not allow that code is executed, for example, it is read into memory instead.
///
/// # Errors
/// When the code is for another version, processor or configuration, or needs more than the engine's pool allows; an
/// [`io::Error`] when the file cannot be read.
fn map(engine: &Engine, file: &mut fs::File, length: u64) -> wasmtime::Result<Component> {
    // The open file, whatever its path leads to now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file must be the unmodified output of Wasmtime's compiler, and stay so. It was written by our child
    // process, to a folder of mode 0700 that belongs to this user. A stored file is only used if it is authenticated with
    // the key of the folder, and is only appended to or replaced as a whole. Anyone who can read the key can already act as
    // this user. Wasmtime itself checks version, processor and settings.
    if let Ok(component) = unsafe { Component::deserialize_file(engine, path) } {
        return Ok(component);
    }
    let mut artefact = Vec::new();
    file.rewind()?;
    io::Read::by_ref(file).take(length).read_to_end(&mut artefact)?;
    // SAFETY: as above.
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

    fn keep(artefacts: &Artefacts, digest: ModuleDigest, fingerprint: u64, artefact: &[u8]) {
        let file = artefacts.scratch().unwrap();
        fs::write(&file, artefact).unwrap();
        let fresh = artefacts.fresh(file).unwrap();
        artefacts.keep(digest, fingerprint, fresh).unwrap();
    }

    #[test]
    fn a_stored_artefact_is_loaded_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let artefacts = Artefacts::open(&folder.path().join("a/b")).unwrap();
        assert!(artefacts.load(digest(), &engine, 1).is_none());
        keep(&artefacts, digest(), 1, &component(&engine));
        assert!(artefacts.load(digest(), &engine, 1).is_some());
        assert!(artefacts.load(digest(), &engine, 2).is_none(), "another fingerprint");

        let path = artefacts.path(digest(), 1);
        let whole = fs::read(&path).unwrap();
        let end = whole.len();
        for (at, what) in [(end - 1, "magic"), (end - 20, "tag"), (200, "code")] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(artefacts.load(digest(), &engine, 1).is_none(), "{what}");
        }
        for length in [0, 7, 39, 40, end - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                artefacts.load(digest(), &engine, 1).is_none(),
                "cut off after {length} bytes"
            );
        }
        keep(&artefacts, digest(), 1, b"not an artefact");
        assert!(artefacts.load(digest(), &engine, 1).is_none(), "foreign content");
    }

    #[test]
    fn a_fresh_artefact_is_mapped_and_stays_in_use_after_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let artefacts = Artefacts::open(folder.path()).unwrap();
        let file = artefacts.scratch().unwrap();
        fs::write(&file, component(&engine)).unwrap();
        let mut fresh = artefacts.fresh(file).unwrap();
        let mapped = fresh.map(&engine).unwrap();
        artefacts.keep(digest(), 1, fresh).unwrap();
        artefacts.remove(digest(), 1);
        assert!(mapped.serialize().is_ok());

        let file = artefacts.scratch().unwrap();
        fs::write(&file, "no code").unwrap();
        let mut fresh = artefacts.fresh(file).unwrap();
        let error = fresh.map(&engine).unwrap_err();
        assert!(!format!("{error:#}").contains('/'), "tenants see the error: {error:#}");
    }

    #[test]
    fn an_artefact_of_another_folder_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let [ours, theirs] = ["ours", "theirs"].map(|name| Artefacts::open(&folder.path().join(name)).unwrap());
        keep(&theirs, digest(), 1, &component(&engine));
        fs::copy(theirs.path(digest(), 1), ours.path(digest(), 1)).unwrap();
        assert!(ours.load(digest(), &engine, 1).is_none());
        let copied = folder.path().join("theirs").join(KEY_FILE);
        let key = folder.path().join("ours").join(KEY_FILE);
        fs::copy(copied, &key).unwrap();
        let ours = Artefacts::open(&folder.path().join("ours")).unwrap();
        assert!(ours.load(digest(), &engine, 1).is_some(), "with its key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let ours = Artefacts::open(&folder.path().join("ours")).unwrap();
        assert!(
            ours.load(digest(), &engine, 1).is_none(),
            "a key that others can read is replaced"
        );
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_sweep_removes_what_no_module_needs_in_bounded_steps() {
        let folder = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(folder.path()).unwrap();
        let other = ModuleDigest([8; 32]);
        for (digest, fingerprint) in [(digest(), 1), (digest(), 2), (digest(), 3), (other, 1), (other, 2)] {
            keep(&artefacts, digest, fingerprint, b"code");
        }
        for name in ["compiling-x", "storing-y", "not-hex.cwasm"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let kept = BTreeSet::from([digest()]);
        let sweep = |grace, limit| artefacts.sweep(&kept, [1, 2], grace, limit).unwrap();
        assert_eq!(sweep(Duration::from_secs(3_600), 100), 0, "all files are young");
        assert_eq!(sweep(Duration::ZERO, 4), 4);
        assert_eq!(sweep(Duration::ZERO, 4), 2);
        assert_eq!(sweep(Duration::ZERO, 4), 0);
        let left = fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = left.map(|file| file.unwrap().path()).collect();
        left.sort();
        let mut expected = [artefacts.path(digest(), 1), artefacts.path(digest(), 2)].to_vec();
        expected.push(folder.path().join(KEY_FILE));
        assert_eq!(left, expected);
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
