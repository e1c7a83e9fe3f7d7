//! Positions that clients get and return unchanged: cursors of lists and histories, places in logs, versions of entities.
//!
//! They contain numbers that come from counters of the whole host. From two of its own, a tenant could tell how many
//! instances were created, or messages sent, by all tenants between them. So a position is encrypted with AES-256-GCM-SIV
//! (RFC 8452), with a key of the database. Its kind and its tenant are authenticated as well: a position of another list or
//! of another tenant is rejected like any other text. The nonce is constant, so that equal positions have equal texts; this
//! cipher is made to stay safe then.

use std::{fmt, sync::Arc};

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::error::Refusal;
use crate::{
    model::{ExecutionNumber, InstanceNumber, TenantId, TurnNumber},
    store::{Cursor, HistoryCursor, LogSeq, PositionKey},
};

/// The first character of a text, so that later formats can be distinguished.
const FORMAT: char = '2';

/// Encrypts and decrypts positions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Positions(Arc<Aes256GcmSiv>);

/// The kinds of positions, each with a number that is never reused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PositionKind {
    List = 1,
    History = 2,
    Log = 3,
    EntityState = 4,
    RetentionPreview = 5,
}

/// What a client can get a position of.
pub(crate) trait Position: Sized {
    /// Its kind.
    const KIND: PositionKind;

    /// What the position consists of.
    fn numbers(&self) -> Vec<u64>;

    /// The opposite of [`numbers`](Self::numbers).
    fn from_numbers(numbers: &[u64]) -> Option<Self>;
}

impl Positions {
    pub(crate) fn new(PositionKey(key): PositionKey) -> Self {
        Self(Arc::new(Aes256GcmSiv::new(&key.into())))
    }

    /// The form of a position that clients of a tenant get.
    pub(crate) fn seal<P: Position>(&self, tenant: TenantId, position: &P) -> String {
        let bytes: Vec<u8> = position.numbers().into_iter().flat_map(u64::to_le_bytes).collect();
        let payload = Payload {
            msg: &bytes,
            aad: &context::<P>(tenant),
        };
        let sealed = self.0.encrypt(&Nonce::default(), payload);
        let sealed = sealed.expect("a few bytes can be encrypted");
        format!("{FORMAT}{}", URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The position in a text that a client of a tenant got; `None` if it is no such text.
    pub(crate) fn open<P: Position>(&self, tenant: TenantId, text: &str) -> Option<P> {
        let sealed = URL_SAFE_NO_PAD.decode(text.strip_prefix(FORMAT)?).ok()?;
        let payload = Payload {
            msg: &sealed,
            aad: &context::<P>(tenant),
        };
        let bytes = self.0.decrypt(&Nonce::default(), payload).ok()?;
        let (numbers, rest) = bytes.as_chunks();
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        rest.is_empty().then(|| P::from_numbers(&numbers)).flatten()
    }

    /// The position in a parameter of a request, if the request has it.
    ///
    /// # Errors
    /// If it is not one that the tenant got.
    pub(crate) fn given<P: Position>(
        &self,
        tenant: TenantId,
        name: &str,
        text: Option<&str>,
    ) -> Result<Option<P>, Refusal> {
        let Some(text) = text else { return Ok(None) };
        let position = self.open(tenant, text);
        position.map(Some).ok_or_else(|| Refusal::InvalidParameter {
            name: name.into(),
            message: "is not from an earlier page".into(),
        })
    }
}

/// What is authenticated besides the position itself.
fn context<P: Position>(tenant: TenantId) -> Vec<u8> {
    let tenant = tenant.0.to_le_bytes();
    [&[P::KIND as u8], &tenant[..]].concat()
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Positions(***)")
    }
}

impl Position for Cursor {
    const KIND: PositionKind = PositionKind::List;

    fn numbers(&self) -> Vec<u64> {
        vec![self.number().0]
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let [number] = *numbers else { return None };
        Some(Self::below(InstanceNumber(number)))
    }
}

impl Position for HistoryCursor {
    const KIND: PositionKind = PositionKind::History;

    fn numbers(&self) -> Vec<u64> {
        vec![self.instance.0, self.execution.0.into(), self.after.0.into()]
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let [instance, execution, after] = *numbers else {
            return None;
        };
        Some(Self {
            instance: InstanceNumber(instance),
            execution: ExecutionNumber(execution.try_into().ok()?),
            after: TurnNumber(after.try_into().ok()?),
        })
    }
}

impl Position for LogSeq {
    const KIND: PositionKind = PositionKind::Log;

    fn numbers(&self) -> Vec<u64> {
        vec![self.0]
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let [seq] = *numbers else { return None };
        Some(Self(seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(7);

    fn positions(byte: u8) -> Positions {
        Positions::new(PositionKey([byte; 32]))
    }

    #[test]
    fn a_position_is_only_read_with_its_key_tenant_and_kind() {
        for number in [0, 1, 0xabc, u64::MAX] {
            let cursor = Cursor::below(InstanceNumber(number));
            let text = positions(1).seal(TENANT, &cursor);
            assert_eq!(positions(1).open(TENANT, &text), Some(cursor));
            assert_eq!(positions(2).open::<Cursor>(TENANT, &text), None);
            assert_eq!(positions(1).open::<Cursor>(TenantId(8), &text), None);
            assert_eq!(positions(1).open::<LogSeq>(TENANT, &text), None);
        }
        let cursor = HistoryCursor {
            instance: InstanceNumber(u64::MAX),
            execution: ExecutionNumber(u32::MAX),
            after: TurnNumber(3),
        };
        let text = positions(1).seal(TENANT, &cursor);
        assert_eq!(positions(1).open(TENANT, &text), Some(cursor));
    }

    #[test]
    fn texts_show_no_numbers_and_equal_positions_have_equal_texts() {
        let text = |seq| positions(1).seal(TENANT, &LogSeq(seq));
        assert_eq!(text(5), text(5));
        let (a, b) = (text(5), text(6));
        assert_eq!(a.len(), b.len());
        let equal = a.bytes().zip(b.bytes()).filter(|(a, b)| a == b).count();
        assert!(equal < 10, "{a} {b}");
        assert_eq!(text(0).len(), text(u64::MAX).len());
    }

    /// What is stored by clients must stay readable.
    #[test]
    fn the_format_stays() {
        let text = positions(1).seal(TENANT, &Cursor::below(InstanceNumber(5)));
        expect_test::expect!["2_jAgPM5_5JWFyDmI0Gzq3EcKQ0rsLhUS"].assert_eq(&text);
    }

    #[test]
    fn other_texts_are_no_positions() {
        let text = positions(1).seal(TENANT, &LogSeq(5));
        let changed = (0..text.len()).map(|at| {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(changed).unwrap()
        });
        let others = ["", "2", "1a", "2é", "2====", &text[..text.len() - 1], &text[1..]].map(str::to_owned);
        for other in changed.chain(others) {
            assert_eq!(positions(1).open::<LogSeq>(TENANT, &other), None, "{other:?}");
        }
    }
}
