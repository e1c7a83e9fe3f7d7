//! Tests of TLS in the host and in the commands.

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

/// The names of a certificate file and its key file in the harness's folder of certificates.
type Pair = (&'static str, &'static str);

const SERVICE: Pair = ("service.pem", "service.key");
const RENEWED: Pair = ("renewed.pem", "renewed.key");

/// A host that uses TLS, with copies of a certificate and its key that tests may change.
struct Secured {
    host: Host,
    files: Files,
}

/// The files of `--tls-cert` and `--tls-key`.
struct Files(TempDir);

impl Files {
    fn with((certificate, key): Pair) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder for the test"));
        files.install_certificate(certificate);
        files.install_key(key);
        files
    }

    fn install_certificate(&self, name: &str) {
        fs::copy(Encrypted::file(name), self.certificate()).expect("the folder is writable");
    }

    fn install_key(&self, name: &str) {
        fs::copy(Encrypted::file(name), self.key()).expect("the folder is writable");
        self.set_key_mode(0o600);
    }

    fn set_key_mode(&self, mode: u32) {
        fs::set_permissions(self.key(), Permissions::from_mode(mode)).expect("the file can be changed");
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
    async fn start(more_args: &[&str]) -> Self {
        Self::with(Files::with(SERVICE), more_args).await
    }

    async fn with(files: Files, more_args: &[&str]) -> Self {
        let mut args = files.flags();
        args.extend(more_args.iter().map(ToString::to_string));
        let options = HostOptions {
            args,
            ..HostOptions::default()
        };
        let host = Host::start(options).await;
        assert!(host.url().starts_with("https://127.0.0.1:"), "{}", host.url());
        Self { host, files }
    }

    /// Runs a command that trusts the test authority.
    async fn cli(&self, args: &[&str]) -> Command {
        let authority = Encrypted::authority().display().to_string();
        let args: Vec<&str> = args.iter().copied().chain(["--ca", &authority]).collect();
        self.host.cli(&args).await
    }

    /// Runs a command that trusts the test authority, and asserts that it succeeds.
    async fn succeed(&self, args: &[&str]) -> Command {
        let command = self.cli(args).await;
        assert_eq!(command.code, 0, "{command:?}");
        command
    }

    /// Sends a GET on a new connection that trusts only `authority`. Returns the raw response, or `None` if the
    /// connection fails.
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
        self.host.url().strip_prefix("https://").expect("the host uses TLS")
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

/// Waits until the host closes or resets a connection without sending anything.
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
        .succeed(&["deploy", &module("bench"), &module("bench_activities")])
        .await;
    let started = secured
        .succeed(&["start", "BenchChain", "--input", "\"hello\"", "--wait", "--json"])
        .await;
    assert_eq!(started.json()["output"], json!("hello"));

    let started = secured
        .succeed(&["start", "BenchParked", "--id", "one", "--json"])
        .await;
    let links = started.json();
    let link = links["statusQueryGetUri"].as_str().expect("a link");
    assert_eq!(link, format!("{}/v1/instances/one", secured.host.url()));

    // The load generator of `bench` opens its own connections, which must use TLS as well.
    let folder = modules().display().to_string();
    let url = secured.host.url().to_owned();
    let bench = ["bench", "alone", "--alone", "3", "--modules", &folder, "--url", &url];
    secured.succeed(&bench).await;
    secured.stop().await;
}

#[tokio::test]
async fn commands_refuse_a_host_that_they_do_not_trust() {
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
    // Nothing listens on port 1. The command warns because the address is not a loopback address.
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

    fs::remove_file(mixed.key()).expect("the file can be changed");
    let refused = serve(&mixed.flags()).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("host.key cannot be read"), "{refused:?}");

    let refused = serve(&mixed.flags()[..2]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("tls_key is missing"), "{refused:?}");
    assert!(!data.path().join("data").exists(), "the data folder was created");
}

#[tokio::test]
async fn a_key_file_that_others_can_read_causes_a_warning() {
    let files = Files::with(SERVICE);
    files.set_key_mode(0o640);
    let secured = Secured::with(files, &[]).await;
    assert!(secured.host.log().contains("chmod 600"), "{}", secured.host.log());
    secured.stop().await;
}

#[tokio::test]
async fn a_plain_text_request_gets_an_explanation() {
    let secured = Secured::start(&[]).await;
    let mut plain = secured.silent().await;
    // The client does not send `Connection: close`, but the host closes the connection anyway.
    let request = "GET /v1/instances HTTP/1.1\r\nHost: localhost\r\n\r\n";
    plain.write_all(request.as_bytes()).await.expect("the host reads");
    let mut answer = String::new();
    let read = timeout(PATIENCE, plain.read_to_string(&mut answer)).await;
    read.expect("the host closes the connection").expect("text");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("tls-required"), "{answer}");

    let url = format!("http://{}", secured.address());
    let forgetful = Command::run(&["list"], &url, None).await;
    assert_eq!(forgetful.code, 1, "{forgetful:?}");
    assert!(forgetful.stderr.contains("https://"), "{forgetful:?}");

    // A connection that is neither TLS nor HTTP is closed.
    let mut odd = secured.silent().await;
    odd.write_all(b"\x16\x03\x01\x00\x05hello")
        .await
        .expect("the host reads");
    let mut alert = Vec::new();
    let read = timeout(PATIENCE, odd.read_to_end(&mut alert)).await;
    assert!(read.is_ok(), "the host did not close the connection");
    secured.stop().await;
}

#[tokio::test]
async fn silent_clients_do_not_delay_others_and_are_disconnected() {
    let secured = Secured::start(&["--max-connections", "2"]).await;
    // There are more connections than the host has room for, so it closes the oldest one.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(secured.silent().await);
    }
    closed(&mut silent[0]).await;
    assert!(secured.get("/healthz").await.starts_with("HTTP/1.1 200"));
    // It closes the others when their time limit for the handshake expires.
    closed(&mut silent[19]).await;
    secured.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_still_gets_its_response() {
    let secured = Secured::start(&[]).await;
    secured.succeed(&["deploy", &module("bench")]).await;
    let stream = Encrypted::connect(secured.host.url(), &Encrypted::authority())
        .await
        .expect("a connection");
    wait_half_closed(stream, async {
        until("the start of the instance", async || {
            (secured.cli(&["status", "half"]).await.code == 0).then_some(())
        })
        .await;
        secured.succeed(&["terminate", "half"]).await;
    })
    .await;
    secured.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let secured = Secured::start(&[]).await;
    assert!(secured.try_get("/healthz", "renewed.pem").await.is_none());

    // The new key does not belong to the old certificate yet, so the host keeps the old pair.
    secured.files.install_key(RENEWED.1);
    until("the warning about the new certificate", async || {
        let log = secured.host.log();
        log.contains("the new certificate cannot be used").then_some(())
    })
    .await;
    assert!(secured.get("/healthz").await.starts_with("HTTP/1.1 200"));

    secured.files.install_certificate(RENEWED.0);
    let answer = until("the new certificate", async || {
        secured.try_get("/healthz", "renewed.pem").await
    });
    assert!(answer.await.starts_with("HTTP/1.1 200"));
    assert!(secured.try_get("/healthz", "authority.pem").await.is_none());
    secured.stop().await;
}

#[tokio::test]
async fn a_graceful_shutdown_answers_waiting_requests_and_does_not_wait_for_idle_connections() {
    let mut secured = Secured::start(&["--shutdown-grace", "60s"]).await;
    secured.succeed(&["deploy", &module("bench")]).await;
    secured.succeed(&["start", "BenchParked", "--id", "one"]).await;
    // One connection has not begun the handshake, one is idle, and one waits for an instance to end.
    let mut silent = secured.silent().await;
    let authority = Encrypted::authority();
    let mut idle = Encrypted::connect(secured.host.url(), &authority)
        .await
        .expect("a connection");
    let mut waiting = Encrypted::connect(secured.host.url(), &authority)
        .await
        .expect("a connection");
    let request = get("/v1/instances/one?wait=50s");
    waiting.write_all(request.as_bytes()).await.expect("the host reads");
    waiting.flush().await.expect("the host reads");
    until("the request to wait", async || {
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
    assert!(matches!(read, Ok(0)), "TLS was not closed properly: {read:?}");
}
