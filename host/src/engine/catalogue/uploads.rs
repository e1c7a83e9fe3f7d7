//! Stores and removes modules, within the quotas of their tenant.

use bytes::Bytes;

use super::Catalogue;
use crate::config::ByteSize;
use crate::engine::api::{PutModuleError, StoredModule};
use crate::model::TenantId;
use crate::store::{self, PutModule, PutModuleOutcome};
use crate::tenancy::{Exceeded, Quota, Quotas};

impl Catalogue {
    /// Stores a module and makes it the current version of its name.
    ///
    /// # Errors
    /// If the module is refused; then the previous version stays.
    pub async fn put(
        &self,
        tenant: TenantId,
        name: &str,
        bytes: Bytes,
        quotas: &Quotas,
        by: Option<&str>,
    ) -> Result<StoredModule, PutModuleError> {
        // Check before compiling, which is expensive, and again under the lock: other uploads may have used up the
        // quota.
        self.check_room(tenant, name, bytes.len(), quotas).await?;
        let inspected = self.sandbox.inspect(bytes.clone()).await?;
        let (digest, kind, is_new) = (inspected.digest, inspected.description.kind, inspected.is_new);
        let compiled_bytes = inspected.compiled_bytes;
        let put = PutModule {
            tenant,
            name: name.to_owned(),
            digest,
            bytes: bytes.into(),
            description: inspected.description,
            compiled_bytes,
            at: self.clock.now(),
            by: by.map(str::to_owned),
        };
        let stored = self.store(put, quotas).await;
        if stored.is_err() && is_new {
            self.sandbox.discard(digest, kind).await;
        }
        stored
    }

    async fn store(&self, put: PutModule, quotas: &Quotas) -> Result<StoredModule, PutModuleError> {
        let _changing = self.changing.lock().await;
        self.check_room(put.tenant, &put.name, put.bytes.len(), quotas).await?;
        self.check_stored_bytes(&put, quotas).await?;
        let (tenant, name, digest, description) = (put.tenant, put.name.clone(), put.digest, put.description.clone());
        let kind = description.kind;
        match self.store.put_module(put).await? {
            PutModuleOutcome::Stored { number, new } => {
                self.forget_other_name(number, &name);
                // The same bytes may have been uploaded to an older host, which did not record declared events.
                self.declared().forget(number);
                self.refresh(tenant).await?;
                Ok(StoredModule {
                    digest,
                    description,
                    new,
                })
            }
            PutModuleOutcome::FunctionTaken { function, module } => {
                Err(PutModuleError::FunctionTaken { kind, function, module })
            }
            PutModuleOutcome::TenantGone => Err(PutModuleError::TenantGone),
        }
    }

    /// Checks that the quotas allow this module.
    async fn check_room(
        &self,
        tenant: TenantId,
        name: &str,
        length: usize,
        quotas: &Quotas,
    ) -> Result<(), PutModuleError> {
        if quotas.max_modules.is_none() && quotas.max_module_bytes.is_none() {
            return Ok(());
        }
        let store = self.store.tenant(tenant);
        let (holdings, is_new) = (store.module_holdings().await?, store.module(name).await?.is_none());
        if let Some(limit) = quotas.max_modules
            && holdings.modules + u64::from(is_new) > limit
        {
            return Err(Exceeded::of_size(Quota::MaxModules, limit).into());
        }
        if let Some(ByteSize(limit)) = quotas.max_module_bytes
            && holdings.bytes + length as u64 > limit
        {
            return Err(Exceeded::of_size(Quota::MaxModuleBytes, limit).into());
        }
        Ok(())
    }

    /// Checks that the tenant may store the compiled code and the description, unless they are stored already.
    async fn check_stored_bytes(&self, put: &PutModule, quotas: &Quotas) -> Result<(), PutModuleError> {
        let Some(ByteSize(limit)) = quotas.max_stored_bytes else {
            return Ok(());
        };
        let current = self.store.tenant(put.tenant).module(&put.name).await?;
        if current.is_some_and(|current| current.digest == put.digest) {
            return Ok(());
        }
        let stored = self.store.stored_bytes(put.tenant);
        if stored.saturating_add(put.counted_bytes()) > limit {
            return Err(Exceeded::of_size(Quota::MaxStoredBytes, limit).into());
        }
        Ok(())
    }

    /// Removes a module's name and functions; returns whether it existed. Running instances continue.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete(&self, tenant: TenantId, name: &str) -> Result<bool, store::Error> {
        let _changing = self.changing.lock().await;
        let existed = self.store.delete_module(tenant, name, self.clock.now()).await?;
        if existed {
            self.refresh(tenant).await?;
        }
        Ok(existed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::catalogue::{functions::tests::module, tests::catalogue};
    use crate::model::{ModuleDigest, Timestamp};

    #[tokio::test]
    async fn compiled_code_needs_room_in_the_quota_of_stored_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = catalogue(folder.path()).await;
        let put = |content| PutModule {
            tenant: TenantId::DEFAULT,
            name: "orders".into(),
            digest: ModuleDigest([content; 32]),
            bytes: vec![content],
            description: module(1, "Order").description,
            compiled_bytes: 1_000,
            at: Timestamp(0),
            by: None,
        };
        let of_one = put(1).counted_bytes();
        assert!(of_one > 1_000, "{of_one}");
        let quotas = Quotas {
            max_stored_bytes: Some(ByteSize(2 * of_one - 1)),
            ..Quotas::default()
        };
        catalogue.store(put(1), &quotas).await.unwrap();
        catalogue.store(put(1), &quotas).await.unwrap();
        match catalogue.store(put(2), &quotas).await {
            Err(PutModuleError::Quota(exceeded)) => assert_eq!(exceeded.quota, Quota::MaxStoredBytes),
            other => panic!("{other:?}"),
        }
    }
}
