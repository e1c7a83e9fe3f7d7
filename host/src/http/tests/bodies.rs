//! Tests of bodies that are refused, and change nothing.

use super::harness::{MODULE_BYTES, PAYLOAD_BYTES, TestHost};

const START: &str = "/v1/orchestrations/Order?instanceId=never";
const EVENT: &str = "/v1/instances/waits/events/approval";

async fn check_refused(host: &TestHost, body: impl Into<reqwest::Body> + Clone, status: u16, code: &str) {
    for target in [START, EVENT] {
        assert_eq!(
            host.post(target, body.clone()).await.refusal(),
            (status, code.into()),
            "{target}"
        );
    }
    check_unchanged(host).await;
}

async fn check_unchanged(host: &TestHost) {
    assert_eq!(
        host.get("/v1/instances/never").await.refusal(),
        (404, "unknown-instance".into())
    );
    let waits = host.get("/v1/instances/waits").await;
    assert_eq!((waits.status, &waits.json()["turns"]), (202, &1.into()));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_with_its_position() {
    let host = TestHost::start().await;
    host.running("waits").await;
    for body in [
        &b"order-7"[..],
        b" ",
        b"{\"a\":}",
        b"1 2",
        b"\"\xff\"",
        b"\xff\xfe1\x00",
    ] {
        check_refused(&host, body, 400, "not-json").await;
    }
    let problem = host.post(START, "{\n  \"a\": x}").await.json();
    assert_eq!((&problem["line"], &problem["column"]), (&2.into(), &8.into()));
}

#[tokio::test]
async fn a_byte_order_mark_in_front_of_json_is_ignored() {
    let host = TestHost::start().await;
    let marked = |text: &str| format!("\u{feff}{text}");
    let started = host
        .post("/v1/orchestrations/Order?instanceId=marked", marked(" 1.0"))
        .await;
    assert_eq!(started.status, 202, "{started:?}");
    let status = host.get("/v1/instances/marked").await;
    assert!(status.text.contains("\"input\":1.0"), "{status:?}");
    assert!(!status.text.contains('\u{feff}'), "{status:?}");
    let raised = host.post("/v1/instances/marked/events/e", marked("\"x\"")).await;
    assert_eq!(raised.status, 202, "{raised:?}");
    let set = host
        .put("/v1/config/region", marked(r#"{"value":"eu","modules":["orders"]}"#))
        .await;
    assert_eq!(set.status, 204, "{set:?}");
    let largest = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES - 2));
    let raised = host.post("/v1/instances/marked/events/e", marked(&largest)).await;
    assert_eq!(raised.status, 202, "{raised:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_is_sent() {
    let host = TestHost::start().await;
    host.running("waits").await;
    let large = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES));
    check_refused(&host, large, 413, "body-too-large").await;
    let huge = vec![b' '; 8 << 20];
    check_refused(&host, huge.clone(), 413, "body-too-large").await;
    let chunks = move || {
        futures::stream::iter(
            huge.chunks(1 << 16)
                .map(|c| Ok::<_, std::io::Error>(c.to_vec()))
                .collect::<Vec<_>>(),
        )
    };
    let chunked = host.post(START, reqwest::Body::wrap_stream(chunks())).await;
    assert_eq!(chunked.refusal(), (413, "body-too-large".into()));
    let module = host.put("/v1/modules/large", vec![0; MODULE_BYTES + 1]).await;
    assert_eq!(module.refusal(), (413, "body-too-large".into()));
    assert_eq!(module.json()["limit"], MODULE_BYTES);
    check_unchanged(&host).await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_changes_nothing() {
    let host = TestHost::start().await;
    host.running("waits").await;
    for target in [START, EVENT] {
        let short = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n\"1\"");
        let answer = host.raw(short.as_bytes(), true).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        let chunked =
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\"1\"\r\n");
        let answer = host.raw(chunked.as_bytes(), true).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        let nonsense = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        let answer = host.raw(nonsense.as_bytes(), false).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    check_unchanged(&host).await;
}

#[tokio::test]
async fn a_compressed_body_and_a_bad_key_are_refused() {
    let host = TestHost::start().await;
    host.running("waits").await;
    let with = async |name: &'static str, value: &'static str| {
        host.send(|client, base| client.post(format!("{base}{EVENT}")).header(name, value).body("1"))
            .await
            .refusal()
    };
    assert_eq!(
        with("content-encoding", "gzip").await,
        (415, "unsupported-encoding".into())
    );
    assert_eq!(
        with("idempotency-key", "two words").await,
        (400, "invalid-idempotency-key".into())
    );
    assert_eq!(
        with("idempotency-key", "").await,
        (400, "invalid-idempotency-key".into())
    );
    check_unchanged(&host).await;
}

#[tokio::test]
async fn the_reason_of_a_cancellation_is_in_the_body_or_the_query() {
    let host = TestHost::start().await;
    host.running("waits").await;
    let long = "x".repeat(4097);
    for body in ["[]", "\"none\"", "{\"reason\": 1}", "{\"raeson\": \"none\"}"] {
        let answer = host.post("/v1/instances/waits/cancel", body).await;
        assert_eq!(answer.refusal(), (400, "invalid-body".into()), "{body}");
    }
    let answer = host
        .post(&format!("/v1/instances/waits/cancel?reason={long}"), "")
        .await;
    assert_eq!(answer.refusal(), (400, "invalid-parameter".into()));
    check_unchanged(&host).await;
    for (query, body) in [("", ""), ("?reason=none", ""), ("", "{}"), ("", "{\"reason\": null}")] {
        let answer = host.post(&format!("/v1/instances/waits/cancel{query}"), body).await;
        assert_eq!(answer.status, 202, "{query} {body}");
    }
}

#[tokio::test]
async fn requests_without_a_body_refuse_one() {
    let host = TestHost::start().await;
    host.running("waits").await;
    for what in ["terminate", "suspend", "resume"] {
        let answer = host
            .post(&format!("/v1/instances/waits/{what}"), "{\"reason\": \"none\"}")
            .await;
        assert_eq!(answer.refusal(), (400, "unexpected-body".into()));
    }
    check_unchanged(&host).await;
}

#[tokio::test]
async fn the_content_type_of_json_does_not_matter() {
    let host = TestHost::start().await;
    for kind in [
        "text/plain",
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
    ] {
        let answer = host
            .send(|client, base| {
                let target = format!("{base}/v1/orchestrations/NoSuch");
                client.post(target).header("content-type", kind).body("{}")
            })
            .await;
        assert_eq!(answer.refusal(), (404, "unknown-function".into()), "{kind}");
    }
}
