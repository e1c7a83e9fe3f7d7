//! A consistent copy of a database that a host may be using.
//!
//! The copy is written to a partial file beside its target, and renamed when it is complete. The writing process holds
//! a lock on the partial file, so that a later backup can recognize and remove the file of a killed process.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::NamedTempFile;

use super::{migrate, open};
use crate::store::Error;

/// The size and contents of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// The size of the file in bytes.
    pub bytes: u64,
    /// How many instances it contains, including ended ones.
    pub instances: u64,
}

/// Copies the database of a data folder, with everything that was committed before the backup began, to a new file. A
/// host may be using the folder; its write-ahead log cannot start over until the copy is written. The file gets its
/// name when it is complete and on disk. Only its owner can read it, like the data folder.
///
/// # Errors
/// [`Error::Unusable`] when the folder has no database that this host can read, [`Error::Backup`] when the file exists
/// or cannot be written.
pub async fn backup(data_dir: &Path, file: &Path) -> Result<Backup, Error> {
    if file.exists() {
        return Err(exists(file));
    }
    let settings = open::existing(data_dir)?;
    let mut connection = settings
        .connect()
        .await
        .map_err(|error| open::unusable(data_dir, error))?;
    migrate::check_version(&mut connection).await?;
    remove_stale(file);
    let partial = Partial::create(file)?;
    // Reads in one transaction and compacts: the copy contains no deleted rows.
    let path = partial.file.path();
    sqlx::query("VACUUM INTO ?")
        .bind(path.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await
        .map_err(|error| failed(path, &error))?;
    connection.close().await?;
    let found = check(path).await?;
    partial.persist(file)?;
    Ok(found)
}

fn exists(file: &Path) -> Error {
    Error::Backup(format!("{} already exists", file.display()))
}

fn failed(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Backup(format!("writing {} failed: {error}", path.display()))
}

/// Opens the copy as a host would, and checks its pages.
async fn check(copy: &Path) -> Result<Backup, Error> {
    let bytes = fs::metadata(copy).map_or(0, |metadata| metadata.len());
    let mut connection = open::file(copy).read_only(true).connect().await?;
    let answer: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await?;
    if answer != "ok" {
        return Err(Error::Damaged(format!("the copy is damaged: {answer}")));
    }
    let instances: i64 = sqlx::query_scalar("SELECT count(*) FROM instances")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(Backup {
        bytes,
        instances: instances.unsigned_abs(),
    })
}

/// A locked file beside the target, readable by its owner only; removed on drop unless it was persisted.
struct Partial {
    file: NamedTempFile,
    /// Dropped after the file.
    _journal: Journal,
}

/// The journal that SQLite keeps beside a file while it writes it, and leaves behind when the disk is full. Removed on
/// drop.
struct Journal(PathBuf);

impl Journal {
    fn of(file: &Path) -> Self {
        let mut path = file.as_os_str().to_os_string();
        path.push("-journal");
        Self(path.into())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Usually there is none. If it cannot be removed, the next backup to the same target removes it.
        fs::remove_file(&self.0).ok();
    }
}

impl Partial {
    /// How often creating the file is tried: another backup may remove it as stale before it is locked.
    const ATTEMPTS: usize = 10;

    fn create(target: &Path) -> Result<Self, Error> {
        for _ in 0..Self::ATTEMPTS {
            let created = tempfile::Builder::new()
                .prefix(&prefix(target))
                .rand_bytes(12)
                .tempfile_in(folder(target));
            // The error names the folder.
            let partial = created.map_err(|error| failed(target, &error))?;
            if partial.as_file().try_lock().is_ok() && is_at(partial.as_file(), partial.path()) {
                let _journal = Journal::of(partial.path());
                return Ok(Self {
                    file: partial,
                    _journal,
                });
            }
        }
        let error = io::Error::other("other backups removed the partial file");
        Err(failed(target, &error))
    }

    /// Renames the complete file to the target, which must not exist.
    fn persist(self, target: &Path) -> Result<(), Error> {
        let path = self.file.path().to_owned();
        self.file.as_file().sync_all().map_err(|error| failed(&path, &error))?;
        match self.file.persist_noclobber(target) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(target)),
            Err(error) => return Err(failed(target, &error.error)),
        }
        // A new name is durable once the folder is synced.
        File::open(folder(target))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed(target, &error))
    }
}

/// Removes partial copies of a target whose processes have ended. A file that cannot be removed does no harm: new
/// copies have other names.
fn remove_stale(target: &Path) {
    let prefix = prefix(target);
    let Ok(entries) = fs::read_dir(folder(target)) else {
        return;
    };
    for entry in entries.flatten() {
        let is_partial = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes());
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_partial
            && is_file
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(file = %entry.path().display(), %error, "a partial backup could not be removed");
        }
    }
}

/// Whether a path still refers to an open file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The prefix of the names of a target's partial copies.
fn prefix(target: &Path) -> OsString {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".partial-");
    name
}

/// The folder of a target. Partial copies are in the same folder, so that they can be renamed.
fn folder(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
