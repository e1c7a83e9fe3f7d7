//! Tests of TLS in the host and in commands.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use harness::{Command, Encrypted, Host, HostOptions, PATIENCE, modules, until};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connections::wait_half_closed;

/// The file names of a certificate and its key in the folder of certificates.
type Pair = (&'static str, &'static str);

const SERVICE: Pair = ("service.pem", "service.key");
const RENEWED: Pair = ("renewed.pem", "renewed.key");

/// A host that uses TLS, with a pair of files that tests may change.
struct Secured {
    host: Host,
    files: Files,
}

/// The files of `--tls-cert` and `--tls-key`.
struct Files(TempDir);

impl Files {
    fn with((certificate, key): Pair) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder for the test"));
        files.bring_certificate(certificate);
        files.bring_key(key);
        files
    }

    fn bring_certificate(&self, name: &str) {
        fs::copy(Encrypted::file(name), self.certificate()).expect("the test's own folder");
    }

    fn bring_key(&self, name: &str) {
        fs::copy(Encrypted::file(name), self.key()).expect("the test's own folder");
        self.open_key_to(0o600);
    }

    fn open_key_to(&self, mode: u32) {
        fs::set_permissions(self.key(), Permissions::from_mode(mode)).expect("the test's own file");
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("host.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("host.key")
    }

    fn flags(&self) -> Vec<String> {
        let (certificate, key) = (self.certificate(), self.key());
        vec![
            "--tls-cert".into(),
            certificate.display().to_string(),
            "--tls-key".into(),
            key.display().to_string(),
        ]
    }
}

impl Secured {
    async fn start(further: &[&str]) -> Self {
        Self::with(Files::with(SERVICE), further).await
    }

    async fn with(files: Files, further: &[&str]) -> Self {
        let mut args = files.flags();
        args.extend(further.iter().map(ToString::to_string));
        let options = HostOptions {
            args,
            ..HostOptions::default()
        };
        let host = Host::start(options).await;
        assert!(host.url().starts_with("https://127.0.0.1:"), "{}", host.url());
        Self { host, files }
    }

    /// Runs a command that trusts the authority of the tests.
    async fn cli(&self, args: &[&str]) -> Command {
        let authority = Encrypted::authority().display().to_string();
        let args: Vec<&str> = args.iter().copied().chain(["--ca", &authority]).collect();
        self.host.cli(&args).await
    }

    /// Runs such a command, which must succeed.
    async fn done(&self, args: &[&str]) -> Command {
        let command = self.cli(args).await;
        assert_eq!(command.code, 0, "{command:?}");
        command
    }

    /// Sends a GET over a new connection; returns the raw response, if this authority issued the host's certificate.
    async fn try_get(&self, path: &str, authority: &str) -> Option<String> {
        let mut stream = Encrypted::connect(self.host.url(), &Encrypted::file(authority))
            .await
            .ok()?;
        stream.write_all(get(path).as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn get(&self, path: &str) -> String {
        self.try_get(path, "authority.pem").await.expect("an answer")
    }

    /// Opens a connection and sends nothing.
    async fn silent(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("a connection")
    }

    fn address(&self) -> &str {
        self.host.url().strip_prefix("https://").expect("it speaks TLS")
    }

    async fn stop(mut self) {
        self.host.ask_to_end();
        let status = self.host.ended().await;
        assert!(status.success(), "{status}");
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Waits until the host closes a connection.
async fn closed(stream: &mut TcpStream) {
    let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await;
    let read = read.expect("the host closes the connection");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

fn module(name: &str) -> String {
    modules().join(format!("{name}.wasm")).display().to_string()
}

#[tokio::test]
async fn commands_use_tls_with_a_host_that_they_trust() {
    let secured = Secured::start(&[]).await;
    assert!(!secured.host.log().contains("chmod"), "{}", secured.host.log());
    secured
        .done(&["deploy", &module("bench"), &module("bench_activities")])
        .await;
    let started = secured
        .done(&["start", "BenchChain", "--input", "\"hello\"", "--wait", "--json"])
        .await;
    assert_eq!(started.json()["output"], json!("hello"));

    let started = secured.done(&["start", "BenchParked", "--id", "one", "--json"]).await;
    let links = started.json();
    let link = links["statusQueryGetUri"].as_str().expect("a link");
    assert_eq!(link, format!("{}/v1/instances/one", secured.host.url()));

    // The load generator opens its own connections.
    let folder = modules().display().to_string();
    let url = secured.host.url().to_owned();
    let bench = ["bench", "alone", "--alone", "3", "--modules", &folder, "--url", &url];
    secured.done(&bench).await;
    secured.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_to_a_host_that_is_not_trusted() {
    let secured = Secured::start(&[]).await;
    let untrusted = secured.host.cli(&["list"]).await;
    assert_eq!(untrusted.code, 5, "{untrusted:?}");
    assert!(untrusted.stderr.contains("--ca FILE or WINDLASS_CA"), "{untrusted:?}");

    let elsewhere = secured.host.url().replace("127.0.0.1", "localhost");
    let other_name = secured.cli(&["list", "--url", &elsewhere]).await;
    assert_eq!(other_name.code, 5, "{other_name:?}");
    assert!(
        other_name.stderr.contains("is not valid for localhost"),
        "{other_name:?}"
    );

    for (file, problem) in [
        ("service.key", "has no certificate in PEM format"),
        ("nothing.pem", "cannot be read"),
    ] {
        let file = Encrypted::file(file).display().to_string();
        let unusable = secured.host.cli(&["list", "--ca", &file]).await;
        assert_eq!(unusable.code, 2, "{unusable:?}");
        assert!(
            unusable.stderr.contains(&file) && unusable.stderr.contains(problem),
            "{unusable:?}"
        );
    }
    secured.stop().await;
}

#[tokio::test]
async fn a_key_sent_in_plain_text_causes_a_warning() {
    // Nothing listens on port 1; the address is not a loopback address.
    let exposed = Command::run(&["list"], "http://0.0.0.0:1", Some("wl_key")).await;
    assert_eq!(exposed.code, 5, "{exposed:?}");
    assert!(exposed.stderr.contains("in plain text"), "{exposed:?}");
    for (url, key) in [("http://127.0.0.1:1", Some("wl_key")), ("http://0.0.0.0:1", None)] {
        let quiet = Command::run(&["list"], url, key).await;
        assert!(!quiet.stderr.contains("in plain text"), "{quiet:?}");
    }
}

#[tokio::test]
async fn a_host_does_not_start_with_an_invalid_certificate() {
    let data = tempfile::tempdir().expect("a folder for the test");
    let serve = async |flags: &[String]| {
        let folder = data.path().join("data").display().to_string();
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--data", &folder];
        args.extend(flags.iter().map(String::as_str));
        Command::run(&args, "", None).await
    };
    let mixed = Files::with((SERVICE.0, RENEWED.1));
    let refused = serve(&mixed.flags()).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("does not belong to"), "{refused:?}");
    for file in [mixed.certificate(), mixed.key()] {
        assert!(refused.stderr.contains(&file.display().to_string()), "{refused:?}");
    }

    fs::remove_file(mixed.key()).expect("the test's own file");
    let refused = serve(&mixed.flags()).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("host.key cannot be read"), "{refused:?}");

    let refused = serve(&mixed.flags()[..2]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("tls_key is missing"), "{refused:?}");
    assert!(!data.path().join("data").exists(), "the data folder was not created");
}

#[tokio::test]
async fn a_key_file_that_others_can_read_causes_a_warning() {
    let files = Files::with(SERVICE);
    files.open_key_to(0o640);
    let secured = Secured::with(files, &[]).await;
    assert!(secured.host.log().contains("chmod 600"), "{}", secured.host.log());
    secured.stop().await;
}

#[tokio::test]
async fn a_plain_text_request_gets_an_explanation() {
    let secured = Secured::start(&[]).await;
    let mut plain = secured.silent().await;
    // The client expects to send further requests.
    let request = "GET /v1/instances HTTP/1.1\r\nHost: localhost\r\n\r\n";
    plain.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    let read = timeout(PATIENCE, plain.read_to_string(&mut answer)).await;
    read.expect("an end").expect("a text");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("tls-required"), "{answer}");

    let url = format!("http://{}", secured.address());
    let forgetful = Command::run(&["list"], &url, None).await;
    assert_eq!(forgetful.code, 1, "{forgetful:?}");
    assert!(forgetful.stderr.contains("https://"), "{forgetful:?}");

    // Anything that is neither is dropped.
    let mut odd = secured.silent().await;
    odd.write_all(b"\x16\x03\x01\x00\x05hello").await.expect("it listens");
    let mut alert = Vec::new();
    let read = timeout(PATIENCE, odd.read_to_end(&mut alert)).await;
    assert!(read.is_ok(), "it ends");
    secured.stop().await;
}

#[tokio::test]
async fn silent_clients_delay_nobody_and_are_dropped() {
    let secured = Secured::start(&["--max-connections", "2"]).await;
    // More than there is room for: the oldest one is closed.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(secured.silent().await);
    }
    closed(&mut silent[0]).await;
    assert!(secured.get("/healthz").await.starts_with("HTTP/1.1 200"));
    // The others are closed when their time limit for a handshake is over.
    closed(&mut silent[19]).await;
    secured.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_gets_its_answer() {
    let secured = Secured::start(&[]).await;
    secured.done(&["deploy", &module("bench")]).await;
    let stream = Encrypted::connect(secured.host.url(), &Encrypted::authority())
        .await
        .expect("a connection");
    wait_half_closed(stream, async {
        until("the instance", async || {
            (secured.cli(&["status", "half"]).await.code == 0).then_some(())
        })
        .await;
        secured.done(&["terminate", "half"]).await;
    })
    .await;
    secured.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let secured = Secured::start(&[]).await;
    assert!(secured.try_get("/healthz", "renewed.pem").await.is_none());

    // Only the key is there: the previous certificate stays in use.
    secured.files.bring_key(RENEWED.1);
    until("a line in the log", async || {
        let log = secured.host.log();
        log.contains("the new certificate cannot be used").then_some(())
    })
    .await;
    assert!(secured.get("/healthz").await.starts_with("HTTP/1.1 200"));

    secured.files.bring_certificate(RENEWED.0);
    let answer = until("the new certificate", async || {
        secured.try_get("/healthz", "renewed.pem").await
    });
    assert!(answer.await.starts_with("HTTP/1.1 200"));
    assert!(secured.try_get("/healthz", "authority.pem").await.is_none());
    secured.stop().await;
}

#[tokio::test]
async fn a_graceful_shutdown_answers_waiting_requests_and_waits_for_nothing_else() {
    let mut secured = Secured::start(&["--shutdown-grace", "60s"]).await;
    secured.done(&["deploy", &module("bench")]).await;
    secured.done(&["start", "BenchParked", "--id", "one"]).await;
    // One has not begun the handshake, one is idle, and one waits for the end of an instance.
    let mut silent = secured.silent().await;
    let authority = Encrypted::authority();
    let mut idle = Encrypted::connect(secured.host.url(), &authority)
        .await
        .expect("a connection");
    let mut waiting = Encrypted::connect(secured.host.url(), &authority)
        .await
        .expect("a connection");
    let request = get("/v1/instances/one?wait=50s");
    waiting.write_all(request.as_bytes()).await.expect("it listens");
    waiting.flush().await.expect("it listens");
    until("the wait", async || {
        secured
            .get("/metrics")
            .await
            .contains("windlass_http_waits 1\n")
            .then_some(())
    })
    .await;

    secured.host.ask_to_end();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let status = secured.host.ended().await;
    assert!(status.success(), "{status}");
    closed(&mut silent).await;
    let read = idle.read(&mut [0; 64]).await;
    assert!(matches!(read, Ok(0)), "TLS is closed properly: {read:?}");
}
