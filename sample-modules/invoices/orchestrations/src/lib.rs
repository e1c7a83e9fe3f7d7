//! A batch of PDF invoices: one chain of activities per invoice, all chains in parallel.

use std::cell::Cell;
use std::collections::BTreeMap;

use invoices_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [process_invoices]);

#[payload]
#[serde(rename_all = "camelCase")]
pub struct InvoiceReport {
    pub saved: usize,
    pub failed: Vec<FailedInvoice>,
    /// The total amounts due, in cents by currency.
    pub totals: BTreeMap<String, i64>,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct FailedInvoice {
    pub file: String,
    pub error_type: String,
    pub message: String,
}

/// The custom status while the batch runs.
#[payload]
pub struct Progress {
    pub done: usize,
    pub of: usize,
}

/// Reads, checks and saves all invoices of a container; those that fail are logged and reported.
#[orchestrator(name = "ProcessInvoicesBatch")]
async fn process_invoices(ctx: Orchestration, batch: InvoiceBatch) -> Result<InvoiceReport> {
    let files = ctx.call(list_invoices, &batch).retry(patient()).await?;
    let (done, of) = (Cell::new(0), files.len());
    ctx.set_custom_status(Progress { done: 0, of });

    let outcomes = join_all(files.iter().map(async |file| {
        let outcome = process_invoice(&ctx, &batch, file).await;
        done.set(done.get() + 1);
        ctx.set_custom_status(Progress { done: done.get(), of });
        outcome
    }))
    .await;

    let mut report = InvoiceReport {
        saved: 0,
        failed: Vec::new(),
        totals: BTreeMap::new(),
    };
    for (file, outcome) in files.into_iter().zip(outcomes) {
        match outcome {
            Ok(invoice) => {
                report.saved += 1;
                *report.totals.entry(invoice.currency).or_default() += invoice.total_cents;
            }
            Err(failure) => {
                let (error_type, message) = (failure.error_type().to_owned(), failure.message().to_owned());
                report.failed.push(FailedInvoice {
                    file,
                    error_type,
                    message,
                });
            }
        }
    }
    Ok(report)
}

/// Processes one file. Logs a failure before it returns it.
async fn process_invoice(ctx: &Orchestration, batch: &InvoiceBatch, file: &str) -> Result<Invoice> {
    let outcome = read_and_save(ctx, batch, file).await;
    if let Err(failure) = &outcome {
        let error = InvoiceError {
            file: file.to_owned(),
            error_type: failure.error_type().to_owned(),
            message: failure.message().to_owned(),
            backend: batch.backend.clone(),
        };
        ctx.call(log_invoice_error, &error).retry(patient()).await?;
    }
    outcome
}

async fn read_and_save(ctx: &Orchestration, batch: &InvoiceBatch, file: &str) -> Result<Invoice> {
    let InvoiceBatch { container, backend } = batch.clone();
    let blob = Blob {
        container,
        file: file.to_owned(),
        backend: backend.clone(),
    };

    let pdf = ctx.call(download_invoice_pdf, &blob).retry(patient()).await?;
    let text = ctx.call(extract_text_from_pdf, &pdf).await?;
    let invoice = ctx.call(parse_invoice_data, &text).await?;
    ctx.call(validate_invoice_data, &invoice).await?;

    let to_save = InvoiceToSave {
        file: file.to_owned(),
        invoice: invoice.clone(),
        backend,
    };
    ctx.call(save_invoice_to_database, &to_save).retry(patient()).await?;
    Ok(invoice)
}

/// The retry policy of the steps that call the backend. The other steps are not retried: they would fail in the same way.
fn patient() -> Retry {
    Retry::exponential(secs(1)).max_attempts(5)
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    fn invoice() -> Invoice {
        Invoice {
            number: "1".into(),
            seller: "Lakeside Rope Co.".into(),
            issued: "2025-03-01".into(),
            due: "2025-03-31".into(),
            currency: "CAD".into(),
            line_cents: vec![100],
            subtotal_cents: 100,
            tax_cents: 13,
            total_cents: 113,
        }
    }

    #[test]
    fn a_broken_file_is_reported_and_the_others_are_saved() {
        let run = World::new()
            .activity(list_invoices, |_| {
                Ok(vec!["good.pdf".into(), "bad.pdf".into(), "fine.pdf".into()])
            })
            .activity(download_invoice_pdf, |call| {
                Ok(call.input.file.clone().into_bytes().into())
            })
            .activity(extract_text_from_pdf, |call| match &*call.input {
                b"bad.pdf" => Err(Failure::new("NotAPdf", "an error page").non_retryable()),
                _ => Ok("text".into()),
            })
            .activity(parse_invoice_data, |_| Ok(invoice()))
            .activity(validate_invoice_data, |_| Ok(()))
            .activity(save_invoice_to_database, |_| Ok(()))
            .activity(log_invoice_error, |_| Ok(()))
            .run(
                process_invoices,
                &InvoiceBatch {
                    container: "invoices".into(),
                    backend: Backend::default(),
                },
            );
        let report = run.output();
        assert_eq!((report.saved, report.totals["CAD"]), (2, 226));
        assert_eq!(
            (report.failed[0].file.as_str(), report.failed[0].error_type.as_str()),
            ("bad.pdf", "NotAPdf")
        );
        assert_eq!(run.inputs_of(log_invoice_error)[0].file, "bad.pdf");
        assert_eq!(run.inputs_of(save_invoice_to_database).len(), 2);
    }
}
