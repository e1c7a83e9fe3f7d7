//! `windlass key`: API keys. A key can be created without a host, in its data folder, if no usable key is left.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    client::{Client, all_items},
    error::CliError,
    output::{Output, clean},
};
use crate::{
    clock::SystemClock,
    entropy::SystemEntropy,
    model::Role,
    store::{Store, StoreOptions},
    tenancy::{NewKey, Tenancy, Vault},
};

/// Arguments of `key`.
#[derive(Debug, Args)]
pub(super) struct Key {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Create a key and show it, only this once; the first key must have the role admin
    Create(Create),
    /// List the keys, or only those of --tenant
    List,
    /// Revoke a key
    Revoke {
        /// Its id, as `list` shows it
        id: String,
    },
}

/// Arguments of `key create`.
#[derive(Debug, Args)]
struct Create {
    /// client, operator, deployer or admin
    #[arg(long)]
    role: Role,
    /// Label for people to recognize the key by
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// When the key expires, for example 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "data")]
    expires: Option<String>,
    /// Write the key into the data folder of a host that is not running, for when no usable key is left
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The fields that are read of a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    id: String,
    tenant: String,
    role: String,
    label: String,
    created_time: String,
    #[serde(default)]
    expires_time: String,
    #[serde(default)]
    key: String,
}

impl Key {
    pub(super) async fn run(self, client: &Client, tenant: Option<&str>, output: &Output) -> Result<(), CliError> {
        match self.what {
            What::Create(create) => create.run(client, tenant, output).await,
            What::List => list(client, tenant, output).await,
            What::Revoke { id } => {
                client.call(Method::DELETE, &["keys", &id]).send().await?;
                if output.json() {
                    return Ok(());
                }
                output.line(&format!("revoked {}", clean(&id)))
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client, tenant: Option<&str>, output: &Output) -> Result<(), CliError> {
        if self.data.is_some() {
            return self.into_folder(tenant, output).await;
        }
        let mut body = json!({ "role": self.role, "label": self.label });
        if let Some(tenant) = tenant {
            body["tenant"] = tenant.into();
        }
        if let Some(expires) = self.expires {
            body["expiresTime"] = expires.into();
        }
        let call = client.call(Method::POST, &["keys"]);
        let answer = call.json(Some(body.to_string())).send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        let key: Document = answer.read()?;
        output.line(&clean(&key.key))
    }

    async fn into_folder(self, tenant: Option<&str>, output: &Output) -> Result<(), CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::failed(error.to_string());
        let folder = self.data.unwrap_or_default();
        if !folder.is_dir() {
            return Err(CliError::Usage(format!("there is no folder {}", folder.display())));
        }
        let (store, service) = Store::open(&StoreOptions::new(folder))
            .await
            .map_err(|error| failed(&error))?;
        let stop = CancellationToken::new();
        let service = tokio::spawn(service.run(stop.clone()));
        let created = async {
            let tenancy = Tenancy::open(store, Arc::new(SystemClock), Arc::new(SystemEntropy), Vault::default()).await;
            let new = NewKey {
                tenant: tenant.unwrap_or("default").parse().map_err(CliError::Usage)?,
                role: self.role,
                label: self.label,
                expires_at: None,
            };
            let created = tenancy.map_err(|error| failed(&error))?.create_key(new).await;
            created.map_err(|error| failed(&error))
        };
        let created = created.await;
        stop.cancel();
        let closed = service.await;
        let (row, secret) = created?;
        closed
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        if output.json() {
            return output.value(&json!({ "id": row.id, "role": row.role, "key": secret.reveal() }));
        }
        output.line(secret.reveal())
    }
}

async fn list(client: &Client, tenant: Option<&str>, output: &Output) -> Result<(), CliError> {
    let keys = all_items("keys", |cursor| {
        let call = client.get(&["keys"]).query_if("tenant", tenant);
        call.query_if("cursor", cursor)
    })
    .await?;
    if output.json() {
        return keys.iter().try_for_each(|key| output.object(key));
    }
    if keys.is_empty() {
        return output.line("no keys");
    }
    let mut rows = Vec::new();
    for key in &keys {
        let key: Document = serde_json::from_str(key.get())
            .map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))?;
        rows.push([
            key.id,
            key.tenant,
            key.role,
            key.label,
            key.created_time,
            key.expires_time,
        ]);
    }
    output.table(["Key", "Tenant", "Role", "Label", "Created", "Expires"], rows)
}
