//! Validates the data of an invoice.

use std::fmt;

use invoices_api::Invoice;
use windlass_sdk::prelude::*;

/// Why an invoice is invalid. It is not retried.
#[derive(Debug, FailureType)]
#[failure(non_retryable)]
pub enum InvalidInvoice {
    DueBeforeIssue { due: String, issued: String },
    LinesMismatch { lines: i64, subtotal: i64 },
    TotalMismatch { sum: i64, total: i64 },
}

impl fmt::Display for InvalidInvoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DueBeforeIssue { due, issued } => write!(f, "due on {due}, issued on {issued}"),
            Self::LinesMismatch { lines, subtotal } => {
                write!(f, "the items cost {lines} cents, the net is {subtotal}")
            }
            Self::TotalMismatch { sum, total } => write!(f, "net and tax are {sum} cents, the total is {total}"),
        }
    }
}

pub fn check(invoice: &Invoice) -> Result<(), InvalidInvoice> {
    // Dates like 2025-03-31 sort as text.
    if invoice.due < invoice.issued {
        return Err(InvalidInvoice::DueBeforeIssue {
            due: invoice.due.clone(),
            issued: invoice.issued.clone(),
        });
    }
    let (lines, subtotal) = (invoice.line_cents.iter().sum::<i64>(), invoice.subtotal_cents);
    if lines != subtotal {
        return Err(InvalidInvoice::LinesMismatch { lines, subtotal });
    }
    let (sum, total) = (subtotal + invoice.tax_cents, invoice.total_cents);
    if sum != total {
        return Err(InvalidInvoice::TotalMismatch { sum, total });
    }
    Ok(())
}
