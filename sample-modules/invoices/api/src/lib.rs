//! The types and signatures that the invoice workflow and its activities share.

pub use backend_client::Backend;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "ListInvoices")]
    pub fn list_invoices(request: InvoiceBatch) -> Result<Vec<String>>;
    #[activity(name = "DownloadInvoicePdf")]
    pub fn download_invoice_pdf(blob: Blob) -> Result<Bytes>;
    #[activity(name = "ExtractTextFromPdf")]
    pub fn extract_text_from_pdf(pdf: Bytes) -> Result<String>;
    #[activity(name = "ParseInvoiceData")]
    pub fn parse_invoice_data(text: String) -> Result<Invoice>;
    #[activity(name = "ValidateInvoiceData")]
    pub fn validate_invoice_data(invoice: Invoice) -> Result<()>;
    #[activity(name = "SaveInvoiceToDatabase")]
    pub fn save_invoice_to_database(invoice: InvoiceToSave) -> Result<()>;
    #[activity(name = "LogInvoiceError")]
    pub fn log_invoice_error(error: InvoiceError) -> Result<()>;
}

/// The invoices of a container of the blob store.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct InvoiceBatch {
    #[serde(default = "invoices")]
    pub container: String,
    #[serde(default)]
    pub backend: Backend,
}

fn invoices() -> String {
    "invoices".into()
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    pub container: String,
    pub file: String,
    pub backend: Backend,
}

/// The data of an invoice. Money is in cents, dates are like 2025-03-31.
#[payload]
#[derive(PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Invoice {
    pub number: String,
    pub seller: String,
    pub issued: String,
    pub due: String,
    pub currency: String,
    /// The amount of each line item.
    pub line_cents: Vec<i64>,
    pub subtotal_cents: i64,
    pub tax_cents: i64,
    pub total_cents: i64,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct InvoiceToSave {
    pub file: String,
    pub invoice: Invoice,
    pub backend: Backend,
}

/// Why a file could not be processed.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct InvoiceError {
    pub file: String,
    pub error_type: String,
    pub message: String,
    pub backend: Backend,
}
