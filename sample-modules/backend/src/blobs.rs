//! The blob store: plain files in a folder per container. The container `invoices` comes with the sample PDFs.

use std::fs;
use std::io;
use std::path::{Path as Folder, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use include_dir::{Dir, include_dir};
use serde::Serialize;

use crate::error::{ApiError, Json, Path};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    (
        "GET",
        "/blobs/{container}",
        "names and sizes of the blobs in a container",
    ),
    ("GET", "/blobs/{container}/{name}", "the bytes of a blob"),
    ("PUT", "/blobs/{container}/{name}", "stores a blob"),
    ("DELETE", "/blobs/{container}/{name}", "removes a blob"),
];

static INVOICES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../data/invoices");

/// Maximum size of a blob, in bytes. A sample invoice has about 25 kB.
const MAX_BLOB_BYTES: usize = 8 * 1024 * 1024;

#[derive(Serialize)]
struct Blob {
    name: String,
    size: u64,
}

pub(crate) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    pub(crate) fn open(folder: &Folder) -> io::Result<Self> {
        let folder = folder.join("blobs");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    pub(crate) fn seed(&self) -> io::Result<()> {
        for file in INVOICES.files() {
            let name = file
                .path()
                .file_name()
                .and_then(|name| name.to_str())
                .expect("sample files have plain names");
            self.write("invoices", name, file.contents())?;
        }
        Ok(())
    }

    pub(crate) fn clear(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.folder)?;
        fs::create_dir_all(&self.folder)
    }

    /// Writes atomically: to another file, which is then renamed.
    fn write(&self, container: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let container = self.folder.join(container);
        fs::create_dir_all(&container)?;
        let unfinished = container.join(format!(".{name}.tmp"));
        fs::write(&unfinished, bytes)?;
        fs::rename(unfinished, container.join(name))
    }

    fn list(&self, container: &str) -> io::Result<Vec<Blob>> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(self.folder.join(container))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                blobs.push(Blob {
                    name,
                    size: entry.metadata()?.len(),
                });
            }
        }
        blobs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(blobs)
    }
}

/// Accepts letters, digits, dots, hyphens and underscores, but not a leading dot: no name leaves the folder.
fn check_name(name: &str) -> Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 120 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(ApiError::bad_request(
            "bad_name",
            format!("\"{name}\" cannot be the name of a container or blob"),
        ));
    }
    Ok(())
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/blobs/{container}", get(list))
        .route("/blobs/{container}/{name}", get(download).put(upload).delete(remove))
        .layer(DefaultBodyLimit::max(MAX_BLOB_BYTES))
}

async fn list(State(world): State<Arc<World>>, Path(container): Path<String>) -> Result<Json<Vec<Blob>>, ApiError> {
    check_name(&container)?;
    world
        .blobs
        .list(&container)
        .map(Json)
        .map_err(|error| missing(error, &container))
}

async fn download(
    State(world): State<Arc<World>>,
    Path((container, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    check_name(&container)?;
    check_name(&name)?;
    let bytes = fs::read(world.blobs.folder.join(container).join(&name)).map_err(|error| missing(error, &name))?;
    let kind = if name.ends_with(".pdf") {
        "application/pdf"
    } else {
        "application/octet-stream"
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes))
}

async fn upload(
    State(world): State<Arc<World>>,
    Path((container, name)): Path<(String, String)>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Blob>), ApiError> {
    check_name(&container)?;
    check_name(&name)?;
    let existed = world.blobs.folder.join(&container).join(&name).exists();
    world.blobs.write(&container, &name, &bytes)?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok((
        status,
        Json(Blob {
            name,
            size: bytes.len() as u64,
        }),
    ))
}

async fn remove(
    State(world): State<Arc<World>>,
    Path((container, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    check_name(&container)?;
    check_name(&name)?;
    fs::remove_file(world.blobs.folder.join(container).join(&name)).map_err(|error| missing(error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}

fn missing(error: io::Error, name: &str) -> ApiError {
    match error.kind() {
        io::ErrorKind::NotFound => ApiError::not_found(format!("there is no \"{name}\"")),
        _ => error.into(),
    }
}
