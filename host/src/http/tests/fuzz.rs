//! Fuzzes requests and the values in them.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::harness::TestHost;
use crate::fuzz::Target;
use crate::http::{ModuleName, parse_duration, positions::Positions};
use crate::model::{InstanceStatus, TenantId};
use crate::store::{Cursor, PositionKey};

/// Tokens of requests, including those that often break parsers.
const WORDS: &[&str] = &[
    "GET ",
    "PUT ",
    "DELETE ",
    "OPTIONS ",
    "/v1/instances/running",
    "/v1/instances?",
    "/v1/orchestrations/Order",
    "/v1/modules/orders",
    "/events/approval",
    "/terminate",
    "/logs",
    "/docs/errors/",
    "/../",
    "/runtime/webhooks/durabletask/instances/running",
    "/runtime/webhooks/durabletask/instances/",
    "/Runtime/Webhooks/DurableTask/orchestrators/Order",
    "/api/orchestrators/Order",
    "/raiseEvent/approval",
    "/restart",
    "/durableClient",
    "code=wl_",
    "timeout=0",
    "showHistory=True",
    "top=5",
    "\r\nx-ms-continuation-token: ",
    "\r\ncontent-type: application/json",
    "//",
    "%2F",
    "%00",
    "%",
    "?",
    "&",
    "=",
    "runtimeStatus=Running,",
    "createdTimeFrom=9999-12-31T23:59:59Z",
    "limit=1000",
    "cursor=1ffffffffffffffff",
    "wait=0",
    "history=true",
    "\r\n",
    "\r\nhost: localhost",
    "\r\ncontent-length: 5",
    "\r\ntransfer-encoding: chunked",
    "\r\ncontent-encoding: gzip",
    "\r\nidempotency-key: a",
    "\r\nexpect: 100-continue",
    "\r\norigin: null",
    "\r\nconnection: close",
    "0\r\n\r\n",
    "{\"amount\":1e400}",
    "\u{0}",
];

#[test]
fn fuzz_request_is_answered_or_refused_and_never_breaks_the_host() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host = runtime.block_on(async {
        let host = TestHost::start().await;
        host.running("running").await;
        host.completed("completed", "[1.0]").await;
        host.failed("failed").await;
        host
    });
    // The host's own allocations happen on other threads. Measured here are the responses; an input with many requests
    // may get many.
    let target = Target::new("request")
        .words(WORDS)
        .cases(1_000)
        .memory(16 << 20, 10_000);
    target.run(|request| {
        let answer = runtime.block_on(host.raw(request, true));
        let Some((head, _)) = answer.split_once("\r\n") else {
            assert_eq!(answer, "", "a connection is answered in HTTP or closed");
            return false;
        };
        let mut status = head.split(' ').skip(1).filter_map(|status| status.parse::<u16>().ok());
        let status = status.next().unwrap_or_else(|| panic!("{head}"));
        // 501: what only Durable Functions can do.
        assert!((200..500).contains(&status) || status == 501, "{answer}");
        status < 400
    });
    assert_eq!(runtime.block_on(host.get("/readyz")).status, 200);
}

#[test]
fn fuzz_parameter_is_read_or_refused() {
    fn check<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) -> bool {
        let Ok(value) = text.parse::<T>() else { return false };
        assert_eq!(value.to_string().parse::<T>().expect("it was written"), value);
        true
    }
    // The key of the seed.
    let positions = Positions::new(PositionKey([1; 32]));
    let words = ["18446744073709551615", "y", "ms", " ", "1", "-", "+", "T", "Z", "é"];
    Target::new("parameter").words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        positions.open::<Cursor>(TenantId::DEFAULT, &text).is_some()
            | check::<ModuleName>(&text)
            | parse_duration(&text).is_ok()
            | InstanceStatus::from_name(&text).is_some()
    });
}
