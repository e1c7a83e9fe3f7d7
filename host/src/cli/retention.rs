//! `windlass retention`: rules that say how long ended instances are kept, and what they would delete.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    client::{Call, Client},
    error::CliError,
    output::{Output, clean},
};
use crate::http::{ExpiredInstanceDocument, PreviewDocument, PreviewGroupDocument, RetentionDocument};

/// Arguments of `retention`.
#[derive(Debug, Args)]
pub(super) struct Retention {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set a rule, or replace the one for the same instances: the host deletes what it does not keep
    Set(Set),
    /// Show the rules, and how many instances were deleted because of them
    Show,
    /// Delete a rule
    Delete(Scope),
    /// Show what the rules would delete now
    Preview,
}

/// Which ended instances a rule is for.
#[derive(Debug, Args)]
struct Scope {
    /// Orchestration that the rule is for [default: all]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Final status that the rule is for: completed, failed, terminated or canceled [default: all]
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    limits: Limits,
    /// Change nothing, and show what would be deleted now
    #[arg(long)]
    dry_run: bool,
}

/// How long instances are kept.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Delete instances this long after their end, for example 30d
    #[arg(long, value_name = "TIME")]
    max_age: Option<String>,
    /// Keep only this many instances of each orchestration, those that ended last
    #[arg(long, value_name = "NUMBER")]
    max_count: Option<u32>,
    /// Delete nothing, although a wider rule says so
    #[arg(long, conflicts_with_all = ["max_age", "max_count"])]
    keep_forever: bool,
}

impl Scope {
    fn add(&self, call: Call) -> Call {
        call.query_if("name", self.name.as_deref())
            .query_if("runtimeStatus", self.status.as_deref())
    }

    /// In words, to follow "rule".
    fn words(&self) -> String {
        let name = self.name.as_deref().map_or("all orchestrations".into(), clean);
        let status = self
            .status
            .as_deref()
            .map(|status| format!(", status {}", clean(status)));
        format!("for {name}{}", status.unwrap_or_default())
    }
}

impl Retention {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.what {
            What::Set(set) => set.run(client, output).await,
            What::Show => show(client, output).await,
            What::Delete(scope) => delete(&scope, client, output).await,
            What::Preview => preview(|call| call, client, output).await,
        }
    }
}

impl Set {
    async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let limits = &self.limits;
        if self.dry_run {
            let add = |call: Call| {
                self.scope
                    .add(call)
                    .query_if("maxAge", limits.max_age.as_deref())
                    .query_if("maxCount", limits.max_count)
                    .query_if("keepForever", limits.keep_forever.then_some(true))
            };
            return preview(add, client, output).await;
        }
        let mut body = Map::new();
        if let Some(age) = &limits.max_age {
            body.insert("maxAge".into(), json!(age));
        }
        if let Some(count) = limits.max_count {
            body.insert("maxCount".into(), json!(count));
        }
        if limits.keep_forever {
            body.insert("keepForever".into(), json!(true));
        }
        let call = self.scope.add(client.call(Method::PUT, &["retention", "rule"]));
        call.json(Some(Value::Object(body).to_string())).send().await?;
        if output.json() {
            return Ok(());
        }
        output.line(&format!("set the rule {}", self.scope.words()))
    }
}

async fn show(client: &Client, output: &Output) -> Result<(), CliError> {
    let retention: RetentionDocument = client.get(&["retention"]).send().await?.read()?;
    if output.json() {
        return output.value(&json!(retention));
    }
    let rows = retention.rules.into_iter().map(|rule| {
        [
            rule.name.unwrap_or_else(|| "(all)".into()),
            rule.runtime_status.unwrap_or_else(|| "(all)".into()),
            match (rule.max_age, rule.keep_forever) {
                (_, true) => "for ever".into(),
                (age, false) => age.unwrap_or_default(),
            },
            rule.max_count.map(|count| count.to_string()).unwrap_or_default(),
            rule.last_updated_time,
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        output.line("no rules: ended instances are kept until they are purged")?;
    } else {
        output.table(["Orchestration", "Status", "Max age", "Max count", "Set"], rows)?;
    }
    let finished = retention
        .finished_time
        .map(|time| format!(", up to date at {}", clean(&time)));
    output.line(&format!(
        "{} instances deleted since the host started{}",
        retention.instances_deleted,
        finished.unwrap_or_default()
    ))
}

async fn delete(scope: &Scope, client: &Client, output: &Output) -> Result<(), CliError> {
    let call = client.call(Method::DELETE, &["retention", "rule"]);
    scope.add(call).send().await?;
    if output.json() {
        return Ok(());
    }
    output.line(&format!("deleted the rule {}", scope.words()))
}

/// Reads all pages of a preview; `add` adds the parameters of one more rule.
async fn preview(add: impl Fn(Call) -> Call, client: &Client, output: &Output) -> Result<(), CliError> {
    let (mut groups, mut cursor) = (Vec::new(), None);
    loop {
        let call = add(client.get(&["retention", "preview"])).query_if("cursor", cursor.as_deref());
        let page: PreviewDocument = call.send().await?.read()?;
        groups.extend(page.groups);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if output.json() {
        return output.value(&json!({ "groups": groups }));
    }
    if groups.is_empty() {
        return output.line("nothing would be deleted now");
    }
    let rows = groups.iter().map(|group| {
        [
            group.name.clone(),
            rule(group),
            format!("{}{}", if group.more { "more than " } else { "" }, group.instances),
            first(&group.first),
        ]
    });
    output.table(["Orchestration", "Rule", "Instances", "First"], rows.collect())
}

/// The rule of a group, in a few words.
fn rule(group: &PreviewGroupDocument) -> String {
    let name = group.rule_name.as_deref().unwrap_or("(all)");
    match &group.rule_runtime_status {
        Some(status) => format!("{name} {status}"),
        None => name.to_owned(),
    }
}

fn first(instances: &[ExpiredInstanceDocument]) -> String {
    let ids: Vec<_> = instances.iter().map(|instance| instance.instance_id.as_str()).collect();
    ids.join(", ")
}
