//! From the bytes of a PDF to text. The file may be anything; the sandbox is what keeps the host safe from it.

use pdf_extract::{Error, OutputError};
use windlass_sdk::prelude::*;

/// A PDF begins with this, possibly after some other bytes.
const MAGIC: &[u8] = b"%PDF-";

/// How far from its start a PDF's mark may be, in bytes; readers commonly allow this much.
const MAX_MAGIC_OFFSET: usize = 1024;

pub fn text_of(pdf: &[u8]) -> Result<String> {
    let start = &pdf[..pdf.len().min(MAX_MAGIC_OFFSET)];
    if !start.windows(MAGIC.len()).any(|window| window == MAGIC) {
        return Err(refuse("NotAPdf", "the file does not begin like a PDF"));
    }
    let text = pdf_extract::extract_text_from_mem(pdf).map_err(|error| match error {
        OutputError::PdfError(Error::Decryption(_)) => refuse("EncryptedPdf", "the file needs a password"),
        other => refuse("BrokenPdf", &format!("the file cannot be read: {other}")),
    })?;
    if text.trim().is_empty() {
        return Err(refuse("NoText", "the file has no text, perhaps it was scanned"));
    }
    Ok(text)
}

fn refuse(error_type: &str, message: &str) -> Failure {
    Failure::new(error_type, message).non_retryable()
}
