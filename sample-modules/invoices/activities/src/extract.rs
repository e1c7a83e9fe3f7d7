//! Extracts the text of a PDF. The file is untrusted; the sandbox protects the host from bugs of the parser.

use std::fmt;

use pdf_extract::{Error, OutputError};
use windlass_sdk::prelude::*;

/// The first bytes of a PDF, possibly after some other bytes.
const MAGIC: &[u8] = b"%PDF-";

/// The maximum offset of these bytes, which PDF readers commonly allow.
const MAX_MAGIC_OFFSET: usize = 1024;

/// Why a file has no usable text. It is not retried: reading it again would give the same result.
#[derive(Debug, FailureType)]
#[failure(non_retryable)]
enum UnreadableFile {
    NotAPdf,
    EncryptedPdf,
    BrokenPdf(OutputError),
    NoText,
}

impl fmt::Display for UnreadableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPdf => f.write_str("the file is not a PDF"),
            Self::EncryptedPdf => f.write_str("the file needs a password"),
            Self::BrokenPdf(error) => write!(f, "the file cannot be read: {error}"),
            Self::NoText => f.write_str("the file has no text, perhaps it was scanned"),
        }
    }
}

pub fn text_of(pdf: &[u8]) -> Result<String> {
    Ok(read(pdf)?)
}

fn read(pdf: &[u8]) -> Result<String, UnreadableFile> {
    let start = &pdf[..pdf.len().min(MAX_MAGIC_OFFSET)];
    if !start.windows(MAGIC.len()).any(|window| window == MAGIC) {
        return Err(UnreadableFile::NotAPdf);
    }
    let text = pdf_extract::extract_text_from_mem(pdf).map_err(|error| match error {
        OutputError::PdfError(Error::Decryption(_)) => UnreadableFile::EncryptedPdf,
        other => UnreadableFile::BrokenPdf(other),
    })?;
    if text.trim().is_empty() {
        return Err(UnreadableFile::NoText);
    }
    Ok(text)
}
