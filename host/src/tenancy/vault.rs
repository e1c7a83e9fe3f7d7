//! Encrypts secrets for the database: AES-256-GCM with a key that the operator stores elsewhere.
//!
//! An encrypted secret is a version byte (1), a nonce of 12 random bytes, and the ciphertext with its tag of 16 bytes.
//! Tenant and name are authenticated as well, so that write access to the database is not enough to give one tenant's
//! secret to another. With random nonces, a key is good for some billions of secrets (NIST SP 800-38D, section 8.3).

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::signature::from_hex;
use crate::entropy::Entropy;
use crate::model::{Secret, TenantId};

const VERSION: u8 = 1;

/// Encrypts and decrypts secrets. Without a key, it refuses to.
#[derive(Default)]
pub struct Vault(Option<LessSafeKey>);

/// Why a secret cannot be encrypted or decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The host was started without a key.
    #[error("the host has no key for secrets; pass one with `serve --secrets-key-file FILE`")]
    NoKey,
    /// It was encrypted with another key, or changed since.
    #[error("the secret cannot be decrypted with the host's key for secrets")]
    Sealed,
}

impl Vault {
    /// A vault with a key of 64 hexadecimal digits, such as `openssl rand -hex 32` prints.
    ///
    /// # Errors
    /// What is wrong with the key, as the end of a sentence about it; never contains a part of the key.
    pub fn with_key(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "is not 64 hexadecimal digits, such as `openssl rand -hex 32` prints";
        let key: [u8; 32] = from_hex(text.trim()).ok_or(WRONG)?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| WRONG)?;
        Ok(Self(Some(LessSafeKey::new(key))))
    }

    /// Whether secrets can be encrypted.
    pub fn has_key(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn seal(
        &self,
        entropy: &dyn Entropy,
        tenant: TenantId,
        name: &str,
        secret: &Secret,
    ) -> Result<Vec<u8>, VaultError> {
        let key = self.0.as_ref().ok_or(VaultError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut bytes = secret.expose().as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(tenant, name), &mut bytes)
            .map_err(|_| VaultError::Sealed)?;
        Ok([&[VERSION][..], &nonce, &bytes].concat())
    }

    pub(super) fn open(&self, tenant: TenantId, name: &str, sealed: &[u8]) -> Result<Secret, VaultError> {
        let key = self.0.as_ref().ok_or(VaultError::NoKey)?;
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(VaultError::Sealed)?;
        let (nonce, bytes) = rest.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::Sealed)?;
        let mut bytes = bytes.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.open_in_place(nonce, aad(tenant, name), &mut bytes);
        let length = opened.map_err(|_| VaultError::Sealed)?.len();
        bytes.truncate(length);
        String::from_utf8(bytes)
            .map(Secret::new)
            .map_err(|_| VaultError::Sealed)
    }
}

fn aad(tenant: TenantId, name: &str) -> Aad<Vec<u8>> {
    Aad::from([b"windlass secret\0", &tenant.0.to_le_bytes()[..], name.as_bytes()].concat())
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_key() { "Vault(***)" } else { "Vault(no key)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn vault(digit: &str) -> Vault {
        Vault::with_key(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn a_secret_is_decrypted_only_with_its_key_tenant_and_name() {
        let (tenant, secret) = (TenantId(7), Secret::new("correct horse"));
        let sealed = vault("a").seal(&SystemEntropy, tenant, "token", &secret).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"correct"));
        assert_eq!(
            vault("a").open(tenant, "token", &sealed).unwrap().expose(),
            "correct horse"
        );
        let refused = [
            vault("b").open(tenant, "token", &sealed),
            vault("a").open(TenantId(8), "token", &sealed),
            vault("a").open(tenant, "other", &sealed),
            vault("a").open(tenant, "token", &sealed[..20]),
            vault("a").open(tenant, "token", b""),
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err(), VaultError::Sealed);
        }
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 1;
            assert!(vault("a").open(tenant, "token", &changed).is_err(), "{position}");
        }
        assert_eq!(
            Vault::default().open(tenant, "token", &sealed).unwrap_err(),
            VaultError::NoKey
        );
    }

    #[test]
    fn the_same_secret_is_encrypted_differently_each_time() {
        let seal = || {
            vault("a")
                .seal(&SystemEntropy, TenantId(1), "x", &Secret::new("y"))
                .unwrap()
        };
        assert_ne!(seal(), seal());
    }

    #[test]
    fn invalid_keys_are_refused() {
        for text in ["", "a", &"g".repeat(64), &"é".repeat(32), &"a".repeat(66)] {
            assert!(Vault::with_key(text).is_err(), "{text}");
        }
        assert!(Vault::with_key(&format!("{}\n", "0f".repeat(32))).is_ok());
    }
}
