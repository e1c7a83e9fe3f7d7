//! A consistent copy of a database that a host may be using.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions as _, Connection as _};

use super::{Error, migrate, open};

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Its length, in bytes.
    pub bytes: u64,
    /// Instances in it, ended ones included.
    pub instances: u64,
}

/// Writes a copy of the database in a data folder to a new file: everything that was committed before it began. A host
/// may use the folder meanwhile; its log cannot start over until the copy is written. The file appears under its name
/// when it is complete and on disk, readable by its owner only, like the folder it comes from.
///
/// # Errors
/// [`Error::Unusable`] when there is no database of ours, [`Error::Backup`] when the file exists or cannot be written.
pub async fn backup(data_dir: &Path, file: &Path) -> Result<Backup, Error> {
    let failed = |what: &str, error: io::Error| Error::Backup(format!("{what} {} failed: {error}", file.display()));
    if file.exists() {
        return Err(Error::Backup(format!("{} exists already", file.display())));
    }
    let settings = open::existing(data_dir)?;
    let mut connection = settings
        .connect()
        .await
        .map_err(|error| open::unusable(data_dir, error))?;
    migrate::check_version(&mut connection).await?;
    let partial = Partial::create(file).map_err(|error| failed("writing", error))?;
    // Reads in one transaction, and packs the rows: what was deleted is not in the copy.
    let text = partial.0.to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO ?").bind(text).execute(&mut connection).await?;
    connection.close().await?;
    let found = check(&partial.0).await?;
    File::open(&partial.0)
        .and_then(|copy| copy.sync_all())
        .and_then(|()| fs::hard_link(&partial.0, file))
        .map_err(|error| failed("writing", error))?;
    Ok(found)
}

/// Opens the copy as a host would, and looks through its pages.
async fn check(copy: &Path) -> Result<Backup, Error> {
    let bytes = fs::metadata(copy).map_or(0, |metadata| metadata.len());
    let mut connection = open::file(copy).read_only(true).connect().await?;
    let answer: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await?;
    if answer != "ok" {
        return Err(Error::Damaged(format!("the copy is not sound: {answer}")));
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

/// A file beside the one that is wanted; gone when this is dropped.
struct Partial(PathBuf);

impl Partial {
    fn create(file: &Path) -> io::Result<Self> {
        let mut name = file.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".partial-{}", std::process::id()));
        let path = file.with_file_name(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
