//! Activities that take long.

use std::time::Duration;

use long_calls_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [import_rows, ask]);

/// Imports rows one by one. Reports each row, so that the next attempt goes on after it, and cleans up when the import is
/// cancelled.
#[activity(signature = long_calls_api::import_rows)]
fn import_rows(ctx: Activity, import: Import) -> Result<Imported> {
    let resumed_after = ctx.heartbeat_details()?.unwrap_or(0);
    for row in resumed_after + 1..=import.rows {
        let imported = ctx.sleep(Duration::from_millis(import.row_ms));
        if let Err(cancelled) = imported.and_then(|()| ctx.heartbeat(&row)) {
            if import.stubborn {
                // Longer than it may clean up.
                std::thread::sleep(Duration::from_secs(3_600));
            }
            info!("cancelled: removed the rows up to {row}");
            return Err(cancelled);
        }
        let is_first = ctx.attempt() == 1;
        if is_first && import.fails_after == Some(row) {
            return Err(Failure::new("ConnectionLost", format!("no connection after row {row}")));
        }
        if is_first && import.hangs_after == Some(row) {
            std::thread::sleep(Duration::from_secs(3_600));
        }
    }
    Ok(Imported {
        rows: import.rows,
        resumed_after,
        attempt: ctx.attempt(),
    })
}

/// Asks a person, who answers by completing the call.
#[activity(signature = long_calls_api::ask)]
fn ask(ctx: Activity, question: Question) -> Result<String> {
    let about = ctx.instance_id().to_string();
    let later = ctx.complete_later(|completion| question.backend.send_token(completion, &question.to, &about));
    if question.impatient {
        Ok("no time".into())
    } else {
        later
    }
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing;

    use super::*;

    fn import(fails_after: Option<u64>) -> Import {
        Import {
            rows: 5,
            row_ms: 60_000,
            fails_after,
            hangs_after: None,
            stubborn: false,
        }
    }

    #[test]
    fn the_next_attempt_goes_on_after_the_last_row() {
        let first = testing::activity(1);
        let failure = import_rows(first.clone(), import(Some(3))).unwrap_err();
        assert!(failure.is("ConnectionLost"), "{failure}");
        assert_eq!(first.heartbeats(), ["1", "2", "3"]);
        let second = testing::activity(2).with_heartbeat_details(&3);
        let imported = import_rows(second.clone(), import(Some(3))).unwrap();
        assert_eq!((imported.resumed_after, imported.attempt), (3, 2));
        assert_eq!(second.heartbeats(), ["4", "5"]);
    }

    #[test]
    fn a_cancelled_import_ends() {
        let ctx = testing::activity(1).cancelled_after(4);
        let failure = import_rows(ctx.clone(), import(None)).unwrap_err();
        assert!(failure.is(failure_types::CANCELLED), "{failure}");
        assert_eq!(ctx.heartbeats(), ["1", "2"]);
    }
}
