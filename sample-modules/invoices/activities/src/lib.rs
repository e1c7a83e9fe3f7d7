//! The steps of the invoice workflow. Extracting, parsing and validating have no side effects; each has its own file.

mod extract;
mod parse;
mod validate;

use backend_client::{escape, json};
use invoices_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [
    list_invoices,
    download_invoice_pdf,
    extract_text_from_pdf,
    parse_invoice_data,
    validate_invoice_data,
    save_invoice_to_database,
    log_invoice_error,
]);

/// Lists the names of the files in a container.
#[activity(signature = invoices_api::list_invoices)]
fn list_invoices(batch: InvoiceBatch) -> Result<Vec<String>> {
    let blobs: Vec<BlobEntry> = batch.backend.get(&format!("/blobs/{}", escape(&batch.container)))?;
    Ok(blobs.into_iter().map(|blob| blob.name).collect())
}

#[payload]
struct BlobEntry {
    name: String,
}

/// Downloads one file.
#[activity(signature = invoices_api::download_invoice_pdf)]
fn download_invoice_pdf(blob: Blob) -> Result<Bytes> {
    blob.backend
        .bytes(&format!("/blobs/{}/{}", escape(&blob.container), escape(&blob.file)))
}

/// Extracts the text of a PDF, one line per row of its pages.
#[activity(signature = invoices_api::extract_text_from_pdf)]
fn extract_text_from_pdf(pdf: Bytes) -> Result<String> {
    extract::text_of(&pdf)
}

/// Extracts number, dates, line items and sums from the text of an invoice.
#[activity(signature = invoices_api::parse_invoice_data)]
fn parse_invoice_data(text: String) -> Result<Invoice> {
    parse::invoice(&text)
}

/// Checks that an invoice adds up.
#[activity(signature = invoices_api::validate_invoice_data)]
fn validate_invoice_data(invoice: Invoice) -> Result<()> {
    Ok(validate::check(&invoice)?)
}

/// Saves an invoice. Fails with `InvoiceExists` if the seller has another invoice with this number.
#[activity(signature = invoices_api::save_invoice_to_database)]
fn save_invoice_to_database(ctx: Activity, InvoiceToSave { file, invoice, backend }: InvoiceToSave) -> Result<()> {
    let body = json!({
        "file": file,
        "number": invoice.number,
        "seller": invoice.seller,
        "issued": invoice.issued,
        "due": invoice.due,
        "currency": invoice.currency,
        "lines": invoice.line_cents.len(),
        "subtotalCents": invoice.subtotal_cents,
        "taxCents": invoice.tax_cents,
        "totalCents": invoice.total_cents,
    });
    backend.tell(&ctx, "/invoices", &body)
}

/// Writes to the error log why a file could not be processed.
#[activity(signature = invoices_api::log_invoice_error)]
fn log_invoice_error(ctx: Activity, error: InvoiceError) -> Result<()> {
    error
        .backend
        .log_error(&ctx, &error.file, &error.error_type, &error.message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use windlass_sdk::serde_json::{Value, from_str, json};

    use super::*;

    /// Runs the pure steps. The error has the step that failed.
    fn read(pdf: &[u8]) -> Result<Invoice, (&'static str, Failure)> {
        let text = extract::text_of(pdf).map_err(|failure| ("ExtractTextFromPdf", failure))?;
        let invoice = parse::invoice(&text).map_err(|failure| ("ParseInvoiceData", failure))?;
        validate::check(&invoice).map_err(|error| ("ValidateInvoiceData", error.into()))?;
        Ok(invoice)
    }

    #[test]
    fn every_sample_invoice_is_read_as_expected() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
        let expected: Vec<Value> = from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
        assert!(expected.len() >= 30);
        for entry in expected {
            let file = entry["file"].as_str().unwrap();
            let pdf = std::fs::read(folder.join("invoices").join(file)).unwrap();
            match read(&pdf) {
                Ok(invoice) => {
                    let found = json!({
                        "number": invoice.number,
                        "issued": invoice.issued,
                        "due": invoice.due,
                        "seller": invoice.seller,
                        "currency": invoice.currency,
                        "lines": invoice.line_cents.len(),
                        "subtotalCents": invoice.subtotal_cents,
                        "taxCents": invoice.tax_cents,
                        "totalCents": invoice.total_cents,
                    });
                    assert_eq!(found, entry["invoice"], "{file}");
                }
                Err((step, failure)) => {
                    let found = json!({ "step": step, "type": failure.error_type() });
                    assert_eq!(found, entry["error"], "{file}: {failure}");
                    assert!(failure.is_non_retryable(), "{file}");
                }
            }
        }
    }
}
