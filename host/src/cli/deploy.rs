//! `windlass deploy`: uploads modules.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures::stream;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use indicatif::{ProgressBar, ProgressStyle};

use crate::http::SIGNATURE_HEADER;

use super::{
    client::{Answer, Body, Client},
    error::CliError,
    modules,
    output::Output,
};

/// The size of a chunk, in bytes; the progress bar moves in these steps.
const STEP_BYTES: usize = 64 * 1024;

/// How long the host may take to compile a module after the upload.
const COMPILE_TIME: std::time::Duration = std::time::Duration::from_secs(240);

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// Components to upload; the name of a module is that of its file without `.wasm`. A signature beside a file
    /// (`FILE.sig`) is sent along
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the module, for a single file
    #[arg(long)]
    name: Option<String>,
}

impl Deploy {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        if self.name.is_some() && self.files.len() != 1 {
            return Err(CliError::Usage("--name works with a single file only".into()));
        }
        let mut deployed = Vec::new();
        for file in &self.files {
            let name = match &self.name {
                Some(name) => name.clone(),
                None => stem(file)?,
            };
            let answer = upload(client, &name, file, output).await?;
            if output.json() {
                output.object(answer.raw()?)?;
            } else {
                deployed.push(answer.read()?);
            }
        }
        if output.json() {
            Ok(())
        } else {
            modules::table(&deployed, output)
        }
    }
}

fn stem(file: &Path) -> Result<String, CliError> {
    file.file_stem()
        .and_then(|stem| stem.to_str())
        .map(str::to_owned)
        .ok_or_else(|| {
            CliError::Usage(format!(
                "the name of {} is not a valid module name; pass --name",
                file.display()
            ))
        })
}

async fn upload(client: &Client, name: &str, file: &Path, output: &Output) -> Result<Answer, CliError> {
    let bytes = tokio::fs::read(file)
        .await
        .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", file.display())))?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let progress = progress_bar(name, length, output);
    let body = body(bytes.into(), progress.clone());
    let call = client.call(Method::PUT, &["modules", name]).body(length, body);
    let call = call.header_if(SIGNATURE_HEADER, signature(file).await?.as_deref());
    let answer = call.patience(COMPILE_TIME).send().await;
    progress.finish_and_clear();
    answer
}

/// The signature in the file beside a module, if there is one, as hexadecimal digits: `FILE.sig`, 64 bytes as written
/// by OpenSSL.
async fn signature(file: &Path) -> Result<Option<String>, CliError> {
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    let path = PathBuf::from(path);
    match tokio::fs::read(&path).await {
        Ok(bytes) if bytes.len() == 64 => Ok(Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())),
        Ok(bytes) => Err(CliError::Usage(format!(
            "{} is not an Ed25519 signature: it has {} bytes, not 64",
            path.display(),
            bytes.len()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::Usage(format!("cannot read {}: {error}", path.display()))),
    }
}

fn body(bytes: Bytes, progress: ProgressBar) -> Body {
    let steps = stream::unfold((bytes, progress), |(mut rest, progress)| async move {
        if rest.is_empty() {
            progress.set_message("the host is checking and compiling it");
            return None;
        }
        let step = rest.split_to(STEP_BYTES.min(rest.len()));
        progress.inc(u64::try_from(step.len()).unwrap_or(0));
        Some((Ok(Frame::data(step)), (rest, progress)))
    });
    StreamBody::new(steps).boxed_unsync()
}

fn progress_bar(name: &str, length: u64, output: &Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {bar:30} {bytes}/{total_bytes} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style)
        .with_prefix(super::output::clean(name))
}
