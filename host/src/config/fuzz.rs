//! Fuzzes settings files and single values.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::*;
use crate::fuzz::Target;

#[test]
fn fuzz_settings_are_checked_or_refused() {
    let words = [
        "= ",
        "[",
        "]",
        "\"",
        "\"\"\"",
        "99999999999999999999",
        "-1",
        "nan",
        "1979-05-27",
        "listen",
        "max_payload",
    ];
    Target::new("settings")
        .words(&words)
        .memory(1 << 20, 2_000)
        .run(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let Ok(settings) = toml::from_str::<Settings>(&text) else {
                return false;
            };
            let _ = settings.complete().check();
            true
        });
}

#[test]
fn fuzz_setting_reads_back_what_it_writes() {
    fn check<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) -> bool {
        let Ok(value) = text.parse::<T>() else { return false };
        assert_eq!(
            value.to_string().parse::<T>().expect("it was written"),
            value,
            "{text:?}"
        );
        true
    }
    let words = [
        "GiB",
        "MiB",
        "B",
        "18446744073709551615",
        "years",
        "ms",
        "ns",
        "1h ",
        "auto",
        " ",
    ];
    Target::new("setting").words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        check::<ByteSize>(&text)
            | check::<Span>(&text)
            | check::<Capacity>(&text)
            | check::<LogFormat>(&text)
            | check::<Synchronous>(&text)
    });
}
