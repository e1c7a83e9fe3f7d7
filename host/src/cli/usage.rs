//! `windlass usage`: shows the usage of a tenant.

use clap::Args;
use serde::Deserialize;

use super::{client::Client, error::CliError, output::Output};

/// Arguments of `usage`.
#[derive(Debug, Args)]
pub(super) struct Usage {
    /// From the day of this time, for example 2027-01-01T00:00:00Z; days start at midnight UTC
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    functions: Vec<Function>,
    total: Amount,
    next_cursor: Option<String>,
    schedules: Schedules,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schedules {
    count: u64,
    max_schedules: u64,
}

#[derive(Debug, Deserialize)]
struct Function {
    kind: String,
    function: String,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Amount {
    count: u64,
    failed: u64,
    fuel: u64,
    wall_ms: u64,
    bytes_in: u64,
    bytes_out: u64,
    http_sent: u64,
    http_received: u64,
}

impl Usage {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let (mut rows, mut cursor) = (Vec::new(), None);
        let (total, schedules) = loop {
            let call = client.get(&["usage"]).query_if("cursor", cursor);
            let call = call.query_if("from", self.from.as_deref());
            let answer = call.query_if("to", self.to.as_deref()).send().await?;
            if output.json() {
                output.object(answer.raw()?)?;
            }
            let page: Document = answer.read()?;
            let functions = page.functions.into_iter();
            rows.extend(functions.map(|Function { kind, function, amount }| row(kind, function, &amount)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break (page.total, page.schedules);
            }
        };
        if output.json() {
            return Ok(());
        }
        rows.push(row("total".into(), String::new(), &total));
        let heads = [
            "Kind",
            "Function",
            "Runs",
            "Failed",
            "Fuel",
            "Seconds",
            "Bytes in",
            "Bytes out",
            "HTTP sent",
            "HTTP received",
        ];
        output.table(heads, rows)?;
        let Schedules { count, max_schedules } = schedules;
        output.line(&format!("{count} of at most {max_schedules} schedules"))
    }
}

fn row(kind: String, function: String, amount: &Amount) -> [String; 10] {
    [
        kind,
        function,
        amount.count.to_string(),
        amount.failed.to_string(),
        amount.fuel.to_string(),
        format!("{}.{:03}", amount.wall_ms / 1_000, amount.wall_ms % 1_000),
        amount.bytes_in.to_string(),
        amount.bytes_out.to_string(),
        amount.http_sent.to_string(),
        amount.http_received.to_string(),
    ]
}
