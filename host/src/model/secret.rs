//! A value that must not be revealed by accident.

use std::fmt;

use zeroize::Zeroizing;

/// A secret of a tenant or module: a password, a token, a key.
///
/// `Debug` writes `***`, there is no `Display` and no serialisation, and the memory is overwritten when the value is
/// dropped. So it reaches a log or a response only through [`expose`](Self::expose), which is easy to search for.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the value. A `String` is not copied.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself. The caller is responsible for copies.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expose_reveals_a_secret() {
        let secret = Secret::new("hunter2!");
        assert_eq!(secret.expose(), "hunter2!");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "*** Some(\n    ***,\n)");
    }
}
