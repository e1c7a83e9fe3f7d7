//! Signatures of modules: Ed25519 (RFC 8032) over the bytes of the component.

use ring::signature::{ED25519, UnparsedPublicKey};

use super::Quotas;

/// Why a module's signature was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The tenant's modules must be signed.
    #[error("modules of this tenant must be signed: send the signature of the file in the header Windlass-Signature")]
    Missing,
    /// The signature was not made by one of the tenant's signers for these bytes.
    #[error("no signer of this tenant made this signature for this file")]
    Wrong,
}

impl Quotas {
    /// Checks that a module has the required signature.
    ///
    /// # Errors
    /// If signers are set and none of them has signed the module.
    pub fn check_signature(&self, bytes: &[u8], signature: Option<&str>) -> Result<(), SignatureError> {
        let Some(signers) = &self.module_signers else {
            return Ok(());
        };
        let signature = signature.ok_or(SignatureError::Missing)?;
        let signature: [u8; 64] = from_hex(signature.trim()).ok_or(SignatureError::Wrong)?;
        let signed = signers
            .iter()
            .filter_map(|signer| from_hex::<32>(signer))
            .any(|signer| {
                let key = UnparsedPublicKey::new(&ED25519, signer);
                key.verify(bytes, &signature).is_ok()
            });
        if signed { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// Decodes exactly `2 * N` hexadecimal digits.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    fn signed_by(seeds: &[u8]) -> Quotas {
        let public = |seed: &u8| hex(signer(*seed).public_key().as_ref());
        Quotas {
            module_signers: Some(seeds.iter().map(public).collect()),
            ..Quotas::default()
        }
    }

    fn signer(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    #[test]
    fn a_module_is_accepted_if_one_of_the_signers_signed_these_bytes() {
        let quotas = signed_by(&[1, 2]);
        assert!(quotas.check().is_ok());
        let by = |seed: u8, bytes: &[u8]| hex(signer(seed).sign(bytes).as_ref());
        for seed in [1, 2] {
            assert_eq!(quotas.check_signature(b"module", Some(&by(seed, b"module"))), Ok(()));
        }
        for wrong in [&by(3, b"module"), &by(1, b"modulf"), &by(1, b"module")[2..], "", "x"] {
            let refused = quotas.check_signature(b"module", Some(wrong));
            assert_eq!(refused, Err(SignatureError::Wrong), "{wrong}");
        }
        assert_eq!(quotas.check_signature(b"module", None), Err(SignatureError::Missing));
        assert_eq!(Quotas::default().check_signature(b"module", None), Ok(()));
    }

    #[test]
    fn an_empty_list_of_signers_is_refused() {
        let no_signers = signed_by(&[]);
        let refused = no_signers.check().unwrap_err();
        assert!(
            refused.contains("moduleSigners") && refused.contains("null"),
            "{refused}"
        );
        assert_eq!(
            no_signers.check_signature(b"module", None),
            Err(SignatureError::Missing)
        );
        let changed = signed_by(&[1]).with(serde_json::from_str(r#"{"moduleSigners":[]}"#).unwrap());
        assert_eq!(changed, Err(refused));
        let taken_away = signed_by(&[1]).with(serde_json::from_str(r#"{"moduleSigners":null}"#).unwrap());
        assert_eq!(taken_away, Ok(Quotas::default()));
    }

    #[test]
    fn an_empty_list_of_signers_that_is_stored_requires_no_signature() {
        assert_eq!(Quotas::read(r#"{"moduleSigners":[]}"#), Ok(Quotas::default()));
    }

    #[test]
    fn a_public_key_is_64_digits() {
        for wrong in ["", "00", &"g".repeat(64), &"+1".repeat(32)] {
            let quotas = Quotas {
                module_signers: Some(vec![wrong.into()]),
                ..Quotas::default()
            };
            assert!(quotas.check().is_err(), "{wrong}");
        }
    }
}
