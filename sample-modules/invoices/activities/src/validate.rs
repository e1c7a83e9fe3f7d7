//! Whether an invoice makes sense.

use invoices_api::Invoice;
use windlass_sdk::prelude::*;

pub fn check(invoice: &Invoice) -> Result<()> {
    let refuse = |error_type: &str, message: String| Err(Failure::new(error_type, message).non_retryable());
    // Dates like 2025-03-31 sort as text.
    if invoice.due < invoice.issued {
        return refuse(
            "DueBeforeIssue",
            format!("due on {}, issued on {}", invoice.due, invoice.issued),
        );
    }
    let lines: i64 = invoice.line_cents.iter().sum();
    if lines != invoice.subtotal_cents {
        return refuse(
            "LinesMismatch",
            format!("the items cost {lines} cents, the net is {}", invoice.subtotal_cents),
        );
    }
    let sum = invoice.subtotal_cents + invoice.tax_cents;
    if sum != invoice.total_cents {
        return refuse(
            "TotalMismatch",
            format!("net and tax are {sum} cents, the total is {}", invoice.total_cents),
        );
    }
    Ok(())
}
