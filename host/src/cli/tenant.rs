//! `windlass tenant`: the tenants of a host, their quotas and usage.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    client::{Client, all_items},
    error::CliError,
    output::{Output, clean},
};

/// Arguments of `tenant`.
#[derive(Debug, Args)]
pub(super) struct Tenant {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a tenant
    Create {
        /// Its name: lower-case letters, digits and hyphens
        name: String,
        /// Quotas such as startsPerSecond=10 or maxPayload=64KiB
        quotas: Vec<String>,
    },
    /// List the tenants
    List,
    /// Show a tenant, its quotas and its usage
    Show {
        /// Its name
        name: String,
    },
    /// Change quotas of a tenant, effective immediately
    Set {
        /// Its name
        name: String,
        /// Quotas such as startsPerSecond=10; `maxPayload=none` removes one
        #[arg(required = true)]
        quotas: Vec<String>,
    },
    /// Refuse every request on behalf of a tenant, and hold its instances
    Disable {
        /// Its name
        name: String,
    },
    /// Enable a disabled tenant again; its instances resume
    Enable {
        /// Its name
        name: String,
    },
    /// Delete a tenant that has no instances, with its modules and keys
    Delete {
        /// Its name
        name: String,
    },
}

/// The fields that are read of a tenant.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: String,
    disabled: bool,
    held: Option<String>,
    quotas: Map<String, Value>,
    #[serde(rename = "use")]
    used: Map<String, Value>,
}

impl Tenant {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.what {
            What::List => list(client, output).await,
            What::Show { name } => {
                let answer = client.get(&["tenants", &name]).send().await?;
                show(answer.raw()?, output)
            }
            What::Create { name, quotas } => {
                let body = json!({ "name": name, "quotas": parsed(&quotas)? });
                let call = client.call(Method::POST, &["tenants"]);
                show(call.json(Some(body.to_string())).send().await?.raw()?, output)
            }
            What::Set { name, quotas } => change(client, &name, &json!({ "quotas": parsed(&quotas)? }), output).await,
            What::Disable { name } => change(client, &name, &json!({ "disabled": true }), output).await,
            What::Enable { name } => change(client, &name, &json!({ "disabled": false }), output).await,
            What::Delete { name } => {
                client.call(Method::DELETE, &["tenants", &name]).send().await?;
                if output.json() {
                    return Ok(());
                }
                output.line(&format!("deleted {}", clean(&name)))
            }
        }
    }
}

async fn change(client: &Client, name: &str, body: &Value, output: &Output) -> Result<(), CliError> {
    let call = client.call(Method::PATCH, &["tenants", name]);
    show(call.json(Some(body.to_string())).send().await?.raw()?, output)
}

async fn list(client: &Client, output: &Output) -> Result<(), CliError> {
    let tenants = all_items("tenants", |cursor| client.get(&["tenants"]).query_if("cursor", cursor)).await?;
    if output.json() {
        return tenants.iter().try_for_each(|tenant| output.object(tenant));
    }
    let mut rows = Vec::new();
    for tenant in &tenants {
        let Document {
            name,
            disabled,
            held,
            quotas,
            used,
        } = read(tenant)?;
        let used = |what: &str| used.get(what).map(Value::to_string).unwrap_or_default();
        let quotas: Vec<_> = quotas.iter().map(|(name, value)| quota(name, value)).collect();
        rows.push([
            name,
            state(disabled, held).unwrap_or_default(),
            used("modules"),
            used("liveInstances"),
            used("instances"),
            quotas.join(" "),
        ]);
    }
    output.table(["Tenant", "", "Modules", "Live", "Instances", "Quotas"], rows)
}

fn show(tenant: &RawValue, output: &Output) -> Result<(), CliError> {
    if output.json() {
        return output.object(tenant);
    }
    let Document {
        name,
        disabled,
        held,
        quotas,
        used,
    } = read(tenant)?;
    let state = state(disabled, held).map_or_else(String::new, |state| format!(" ({state})"));
    output.line(&format!("{}{state}", clean(&name)))?;
    let used = used.iter().map(|(name, value)| [name.clone(), value.to_string()]);
    output.table(["Uses", ""], used.collect())?;
    if quotas.is_empty() {
        return output.line("no quotas");
    }
    let quotas = quotas.iter().map(|(name, value)| [name.clone(), plain(value)]);
    output.table(["Quota", ""], quotas.collect())
}

/// Describes a state of a tenant other than the normal one.
fn state(disabled: bool, held: Option<String>) -> Option<String> {
    if disabled {
        return Some("disabled".into());
    }
    held.map(|why| format!("held: {}", clean(&why)))
}

fn quota(name: &str, value: &Value) -> String {
    format!("{name}={}", plain(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(tenant: &RawValue) -> Result<Document, CliError> {
    serde_json::from_str(tenant.get()).map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))
}

/// Parses `NAME=VALUE` pairs; the value is a number, a text such as `64KiB`, a JSON value, or `none`.
fn parsed(quotas: &[String]) -> Result<Map<String, Value>, CliError> {
    quotas
        .iter()
        .map(|text| {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("{text:?} is not a quota; use NAME=VALUE")))?;
            let value = match value {
                "none" => Value::Null,
                text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into())),
            };
            Ok((name.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_numbers_texts_or_none() {
        let given = ["startsPerSecond=10", "maxPayload=64KiB", "weight=none"].map(String::from);
        let expected = json!({ "startsPerSecond": 10, "maxPayload": "64KiB", "weight": null });
        assert_eq!(Value::Object(parsed(&given).unwrap()), expected);
        assert!(matches!(parsed(&["weight".into()]), Err(CliError::Usage(_))));
    }
}
