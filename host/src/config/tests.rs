//! Tests of settings from flags, environment, file and defaults, and of rejected values.

use std::io::Write;

use super::*;

/// The sample file of the documentation.
const SAMPLE: &str = include_str!("../../../docs/windlass.sample.toml");

fn load(given: Settings, file: impl AsRef<[u8]>) -> Result<Config, String> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_ref()).unwrap();
    Config::load(given, Some(on_disk.path())).map_err(|error| error.to_string())
}

#[test]
fn the_sample_file_shows_every_key_with_its_default() {
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let shown: Settings = toml::from_str(&uncommented).unwrap();
    assert_eq!(shown, Settings::defaults());
    assert_eq!(
        toml::from_str::<Settings>(SAMPLE).unwrap(),
        Settings::default(),
        "the unchanged sample has no effect"
    );
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let given = Settings {
        max_cut_offs: Some(7),
        ..Settings::default()
    };
    let config = load(
        given,
        "max_cut_offs = 5\nhot = 0\nmax_payload = \"2MiB\"\nallow = [\"http://127.0.0.1:1\"]",
    )
    .unwrap();
    assert_eq!(config.max_cut_offs, 7);
    assert_eq!(config.hot, Capacity::Number(0));
    assert_eq!(config.max_payload, ByteSize::mib(2));
    assert_eq!(config.allow, ["http://127.0.0.1:1"]);
    assert_eq!(config.turn_timeout, Span::seconds(10));
}

#[test]
fn unknown_keys_and_values_out_of_bounds_are_refused_by_name() {
    let error = |file: &str| load(Settings::default(), file).unwrap_err();
    assert!(
        error("hott = 1").contains("unknown field `hott`"),
        "{}",
        error("hott = 1")
    );
    assert!(
        error("hot = \"many\"").contains("neither a number nor `auto`"),
        "{}",
        error("hot = \"many\"")
    );
    assert_eq!(error("turn_fuel = 0"), "the setting turn_fuel must not be 0");
    assert!(error("max_payload = \"1GiB\"").contains("at most 64MiB"));
    assert!(error("max_database = 1").contains("at least 1MiB"));
}

#[test]
fn a_byte_order_mark_in_front_of_the_file_is_skipped_and_another_encoding_is_named() {
    let config = load(Settings::default(), "\u{feff}hot = 0").unwrap();
    assert_eq!(config.hot, Capacity::Number(0));
    let error = load(Settings::default(), b"\xff\xfeh\x00").unwrap_err();
    assert!(error.contains("byte order mark of UTF-16"), "{error}");
}

#[test]
fn a_certificate_and_its_key_are_given_together() {
    let both = load(Settings::default(), "tls_cert = \"host.pem\"\ntls_key = \"host.key\"").unwrap();
    assert_eq!(both.tls_cert, Path::new("host.pem"));
    for (given, missing) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        assert_eq!(
            load(Settings::default(), format!("{given} = \"a file\"")).unwrap_err(),
            format!("the setting {missing} is missing: TLS needs both a certificate and its key")
        );
    }
}
