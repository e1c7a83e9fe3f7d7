//! Tests of the backend over real HTTP: each test has its own service on port 0 with its own folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use sample_backend::{Backend, Options};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running backend and a client for it.
struct Fixture {
    url: String,
    client: Client,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Fixture {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let backend = Backend::bind(options(folder.path())).await.unwrap();
        let url = backend.url();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(backend.run(async {
            let _ = stopped.await;
        }));
        Self {
            url,
            client: Client::new(),
            folder,
            stop,
            task,
        }
    }

    async fn restart(self) -> Self {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        Self::start_in(self.folder).await
    }

    async fn send(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.send(Method::GET, path, None, None).await;
        assert_eq!(response.status(), 200, "GET {path}");
        response.json().await.unwrap()
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> (u16, Value) {
        let response = self.send(Method::POST, path, Some(key), Some(body)).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(Method::PUT, path, None, Some(body)).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

fn options(folder: &Path) -> Options {
    Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: folder.to_owned(),
    }
}

fn payment(order: &str) -> Value {
    json!({ "orderId": order, "amountCents": 1234, "currency": "EUR", "method": "card-ok" })
}

#[tokio::test]
async fn every_listed_endpoint_is_served_and_documented() {
    let backend = Fixture::start().await;
    let readme = include_str!("../README.md");
    let index = backend.get("/").await;
    for endpoint in index["endpoints"].as_array().unwrap() {
        let (method, path) = (endpoint["method"].as_str().unwrap(), endpoint["path"].as_str().unwrap());
        assert!(
            readme.contains(&format!("`{method} {path}`")),
            "the README lacks {method} {path}"
        );
        let filled = path
            .replace("{id}", "cust-ada")
            .replace("{sku}", "rope-12")
            .replace("{container}", "invoices")
            .replace("{area}", "nothing")
            .replace("{key}", "k")
            .replace("{name}", "classic-01.pdf");
        let response = backend
            .send(Method::from_bytes(method.as_bytes()).unwrap(), &filled, None, None)
            .await;
        assert_ne!(response.status(), 405, "{method} {path}");
        let text = response.text().await.unwrap();
        assert!(!text.contains("there is no such endpoint"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_payment_is_charged_once_per_key() {
    let backend = Fixture::start().await;
    let (status, first) = backend.post("/payments", "k1", payment("order-1001")).await;
    assert_eq!(status, 201);
    let again = backend
        .send(Method::POST, "/payments", Some("k1"), Some(payment("order-1001")))
        .await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let summary = backend.get("/payments/summary").await;
    assert_eq!(summary["charges"], 1);
    assert_eq!(summary["repeatedCalls"], 1);
    assert_eq!(summary["ordersChargedTwice"], json!([]));

    let (status, error) = backend.post("/payments", "k1", payment("order-1002")).await;
    assert_eq!((status, &error["code"]), (422, &json!("idempotency_key_reused")));
    let without = backend
        .send(Method::POST, "/payments", None, Some(payment("order-1002")))
        .await;
    assert_eq!(without.status(), 400);
    assert_eq!(backend.get("/payments").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn charging_one_order_under_two_keys_shows_in_the_summary() {
    let backend = Fixture::start().await;
    backend.post("/payments", "k1", payment("order-1001")).await;
    backend.post("/payments", "k2", payment("order-1001")).await;
    assert_eq!(
        backend.get("/payments/summary").await["ordersChargedTwice"],
        json!(["order-1001"])
    );
}

#[tokio::test]
async fn a_declined_payment_stays_declined_under_its_key() {
    let backend = Fixture::start().await;
    let mut broke = payment("order-3001");
    broke["method"] = "card-no-funds".into();
    for _ in 0..2 {
        let (status, error) = backend.post("/payments", "k1", broke.clone()).await;
        assert_eq!((status, &error["code"]), (402, &json!("payment_declined")));
        assert_eq!(error["message"], "insufficient funds");
    }
    backend
        .put("/control/declines", json!({ "orders": ["order-1001"], "next": 1 }))
        .await;
    assert_eq!(backend.post("/payments", "k2", payment("order-1001")).await.0, 402);
    assert_eq!(backend.post("/payments", "k3", payment("order-1002")).await.0, 402);
    assert_eq!(backend.post("/payments", "k4", payment("order-1003")).await.0, 201);
    assert_eq!(backend.get("/payments/summary").await["declines"], 3);
}

#[tokio::test]
async fn a_fault_ends_after_its_calls_or_its_time() {
    let backend = Fixture::start().await;
    backend
        .put(
            "/control/faults/payments",
            json!({ "status": 503, "times": 2, "method": "POST" }),
        )
        .await;
    assert_eq!(backend.get("/payments").await, json!([]), "only POST is out of order");
    for _ in 0..2 {
        let (status, error) = backend.post("/payments", "k", payment("order-1001")).await;
        assert_eq!((status, &error["code"]), (503, &json!("out_of_order")));
    }
    assert_eq!(backend.post("/payments", "k", payment("order-1001")).await.0, 201);

    backend
        .put("/control/faults/shipments", json!({ "status": 500, "seconds": 0.3 }))
        .await;
    let list = || backend.send(Method::GET, "/shipments", None, None);
    assert_eq!(list().await.status(), 500);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(list().await.status(), 200);

    backend.put("/control/faults/orders", json!({ "delayMs": 200 })).await;
    let asked = Instant::now();
    backend.get("/orders/order-1001").await;
    assert!(asked.elapsed() >= Duration::from_millis(200));
    let ended = backend.send(Method::DELETE, "/control/faults/orders", None, None).await;
    assert_eq!(ended.status(), 204);
    assert_eq!(backend.get("/control/faults").await, json!({}));
    assert_eq!(backend.get("/control/calls").await["POST payments"], 3);
}

#[tokio::test]
async fn after_a_lost_answer_the_next_call_gets_it_without_a_second_charge() {
    let backend = Fixture::start().await;
    backend
        .put(
            "/control/faults/payments",
            json!({ "status": 504, "after": true, "times": 1 }),
        )
        .await;
    let (status, error) = backend.post("/payments", "k", payment("order-1001")).await;
    assert_eq!((status, &error["code"]), (504, &json!("answer_lost")));
    assert_eq!(backend.post("/payments", "k", payment("order-1001")).await.0, 200);
    assert_eq!(backend.get("/payments/summary").await["charges"], 1);
}

#[tokio::test]
async fn all_data_survives_a_restart() {
    let backend = Fixture::start().await;
    backend.post("/payments", "k", payment("order-1001")).await;
    backend
        .put("/orders/order-1001/status", json!({ "status": "processed" }))
        .await;
    backend.post("/unreliable/u", "-", json!({ "failures": 1 })).await;
    let (_, started) = backend
        .post("/operations", "k", json!({ "kind": "report", "polls": 1 }))
        .await;
    let operation = started["statusUrl"].as_str().unwrap().to_owned();
    assert_eq!(backend.get(&operation).await["status"], "pending");

    let backend = backend.restart().await;
    assert_eq!(backend.post("/payments", "k", payment("order-1001")).await.0, 200);
    assert_eq!(backend.get("/orders/order-1001").await["status"], "processed");
    assert_eq!(
        backend.post("/unreliable/u", "-", json!({ "failures": 1 })).await.0,
        200
    );
    assert_eq!(backend.get(&operation).await["status"], "done");
}

/// The binary, as `make demo` starts it.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sample-backend"))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("sample-backend listening on ")
            .expect("it prints its address")
            .to_owned();
        Self { child, url }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new();
    for round in 1..=3 {
        // Dropping it is a SIGKILL.
        let program = Program::start(folder.path());
        let charge = client
            .post(format!("{}/payments", program.url))
            .header("Idempotency-Key", format!("k{round}"));
        assert_eq!(
            charge
                .json(&payment(&format!("order-{round}")))
                .send()
                .await
                .unwrap()
                .status(),
            201
        );
        let payments: Value = client
            .get(format!("{}/payments", program.url))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(payments.as_array().unwrap().len(), round);
    }
}

#[tokio::test]
async fn two_processes_cannot_share_a_folder_and_no_one_can_listen_beyond_loopback() {
    let backend = Fixture::start().await;
    let Err(error) = Backend::bind(options(backend.folder.path())).await else {
        panic!("a second backend started")
    };
    assert!(format!("{error:#}").contains("another process"), "{error:#}");
    let public = Options {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..options(backend.folder.path())
    };
    assert!(Backend::bind(public).await.is_err());
}

#[tokio::test]
async fn a_reservation_takes_all_articles_or_none() {
    let backend = Fixture::start().await;
    backend.put("/inventory/vest-1", json!({ "onHand": 3 })).await;
    let request = |quantity| json!({ "orderId": "o", "items": [{ "sku": "rope-12", "quantity": 5 }, { "sku": "vest-1", "quantity": quantity }] });
    let (status, error) = backend.post("/inventory/reservations", "k1", request(4)).await;
    assert_eq!((status, &error["code"]), (409, &json!("out_of_stock")));
    assert_eq!(
        error["details"],
        json!([{ "sku": "vest-1", "wanted": 4, "available": 3 }])
    );
    assert_eq!(backend.get("/inventory/rope-12").await["reserved"], 0);

    assert_eq!(
        backend.post("/inventory/reservations", "k1", request(2)).await.0,
        201,
        "a refusal is not stored"
    );
    assert_eq!(backend.post("/inventory/reservations", "k1", request(2)).await.0, 200);
    assert_eq!(backend.get("/inventory/vest-1").await["available"], 1);
    assert_eq!(backend.post("/inventory/reservations", "k2", request(2)).await.0, 409);
    assert_eq!(
        backend
            .get("/inventory/reservations?orderId=o")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        backend
            .post("/inventory/reservations", "k3", json!({ "orderId": "o", "items": [] }))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn orders_are_listed_by_batch_and_status_and_can_be_marked() {
    let backend = Fixture::start().await;
    let spring = backend.get("/orders?batch=spring").await;
    assert_eq!(spring.as_array().unwrap().len(), 24);
    assert_eq!(backend.get("/orders?status=cancelled").await[0]["id"], "order-2007");
    assert_eq!(
        backend
            .put("/orders/spring-01/status", json!({ "status": "processed" }))
            .await
            .0,
        200
    );
    assert_eq!(
        backend
            .get("/orders?batch=spring&status=pending")
            .await
            .as_array()
            .unwrap()
            .len(),
        23
    );
    assert_eq!(
        backend
            .put("/orders/nobody/status", json!({ "status": "processed" }))
            .await
            .0,
        404
    );
    assert_eq!(
        backend
            .put("/orders/spring-01/status", json!({ "status": "eaten" }))
            .await
            .0,
        422
    );

    assert_eq!(backend.put("/orders/mine", spring[0].clone()).await.0, 201);
    assert_eq!(backend.put("/orders/mine", spring[0].clone()).await.0, 200);
    assert_eq!(backend.get("/orders/mine").await["id"], "mine");
    let added = backend
        .send(
            Method::POST,
            "/control/orders",
            None,
            Some(json!({ "batch": "big", "count": 40 })),
        )
        .await;
    assert_eq!(added.status(), 200);
    assert_eq!(
        backend
            .get("/orders?batch=big&limit=30")
            .await
            .as_array()
            .unwrap()
            .len(),
        30
    );
}

#[tokio::test]
async fn a_slow_operation_is_pending_until_its_polls_and_its_time_are_over() {
    let backend = Fixture::start().await;
    let request = json!({ "kind": "report", "polls": 2, "seconds": 0.2 });
    let (status, started) = backend.post("/operations", "k1", request.clone()).await;
    assert_eq!((status, &started["status"]), (202, &json!("pending")));
    assert_eq!(
        backend.post("/operations", "k1", request).await.1["operationId"],
        started["operationId"]
    );
    let url = started["statusUrl"].as_str().unwrap();
    assert_eq!(backend.get(url).await["status"], "pending");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(backend.get(url).await["status"], "pending", "one poll is missing");
    assert_eq!(backend.get(url).await["result"]["kind"], "report");

    let (_, failing) = backend
        .post("/operations", "k2", json!({ "kind": "report", "outcome": "failed" }))
        .await;
    let end = backend.get(failing["statusUrl"].as_str().unwrap()).await;
    assert_eq!(
        (&end["status"], &end["error"]["code"]),
        (&json!("failed"), &json!("operation_failed"))
    );
    assert_eq!(
        backend
            .send(Method::GET, "/operations/op-99999", None, None)
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn the_unreliable_service_works_after_its_failures() {
    let backend = Fixture::start().await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(backend.post("/unreliable/a", "-", json!({ "failures": 2 })).await.0);
    }
    assert_eq!(seen, [503, 503, 200, 200]);
    assert_eq!(
        backend
            .post("/unreliable/b", "-", json!({ "failures": 1, "permanent": true }))
            .await
            .0,
        422
    );
    assert_eq!(backend.get("/unreliable/a").await["calls"], 4);
}

#[tokio::test]
async fn shipments_messages_and_log_entries_are_kept_once_per_key() {
    let backend = Fixture::start().await;
    let cases = [
        (
            "/shipments",
            json!({ "orderId": "o", "address": "Quay 4", "skus": ["rope-12"] }),
            "/shipments?orderId=o",
        ),
        (
            "/notifications",
            json!({ "kind": "reminder", "to": "a@example.com", "about": "o", "text": "?" }),
            "/notifications?about=o&kind=reminder",
        ),
        (
            "/errors",
            json!({ "source": "o", "errorType": "E", "message": "m", "details": { "a": 1 } }),
            "/errors?source=o",
        ),
    ];
    for (path, body, list) in cases {
        assert_eq!(backend.post(path, "k", body.clone()).await.0, 201, "{path}");
        assert_eq!(backend.post(path, "k", body).await.0, 200, "{path}");
        assert_eq!(backend.get(list).await.as_array().unwrap().len(), 1, "{list}");
    }
    assert_eq!(backend.get("/notifications?about=other").await, json!([]));
    let nobody = json!({ "kind": "reminder", "to": "nobody", "about": "o", "text": "?" });
    assert_eq!(backend.post("/notifications", "k2", nobody).await.0, 400);
}

#[tokio::test]
async fn a_cleanup_removes_the_oldest_records_and_repeats_nothing() {
    let backend = Fixture::start().await;
    let request = json!({ "olderThanDays": 30, "limit": 20 });
    let (status, first) = backend.post("/cleanups", "k1", request.clone()).await;
    assert_eq!(
        (status, first["deleted"].as_array().unwrap().len(), &first["remaining"]),
        (201, 20, &json!(10))
    );
    assert_eq!(first["deleted"][0], "record-060");
    assert_eq!(backend.post("/cleanups", "k1", request.clone()).await, (200, first));
    let (_, second) = backend.post("/cleanups", "k2", request).await;
    assert_eq!(
        (second["deleted"].as_array().unwrap().len(), &second["remaining"]),
        (10, &json!(0))
    );
    assert_eq!(backend.get("/records").await.as_array().unwrap().len(), 30);
    assert_eq!(backend.get("/cleanups").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_blob_store_holds_every_invoice_of_expected_json() {
    let backend = Fixture::start().await;
    let expected: Value = serde_json::from_str(include_str!("../../data/expected.json")).unwrap();
    let names: Vec<_> = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["file"].clone())
        .collect();
    let listed = backend.get("/blobs/invoices").await;
    let listed: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|blob| blob["name"].clone())
        .collect();
    assert_eq!(listed, names);

    let pdf = backend
        .send(Method::GET, "/blobs/invoices/classic-01.pdf", None, None)
        .await;
    assert_eq!(pdf.headers()["content-type"], "application/pdf");
    assert!(pdf.bytes().await.unwrap().starts_with(b"%PDF-"));
}

#[tokio::test]
async fn blobs_come_back_as_they_were_stored_and_names_cannot_leave_the_folder() {
    let backend = Fixture::start().await;
    let url = format!("{}/blobs/mine/a.bin", backend.url);
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    assert_eq!(
        backend
            .client
            .put(&url)
            .body(bytes.clone())
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    assert_eq!(
        backend
            .client
            .put(&url)
            .body(bytes.clone())
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        backend.client.get(&url).send().await.unwrap().bytes().await.unwrap(),
        bytes
    );
    assert_eq!(backend.client.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(backend.client.get(&url).send().await.unwrap().status(), 404);
    assert_eq!(
        backend
            .client
            .put(&url)
            .body(vec![0; 9_000_000])
            .send()
            .await
            .unwrap()
            .status(),
        413
    );
    for path in [
        "/blobs/invoices/..%2F..%2Fpayments.jsonl",
        "/blobs/%2E%2E/payments.jsonl",
        "/blobs/invoices/.hidden",
    ] {
        let status = backend
            .client
            .get(format!("{}{path}", backend.url))
            .send()
            .await
            .unwrap()
            .status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
}

#[tokio::test]
async fn an_invoice_number_belongs_to_one_invoice_of_its_seller() {
    let backend = Fixture::start().await;
    let invoice = json!({
        "file": "a.pdf", "number": "CS/041/25", "seller": "Capstan & Sons Ltd", "issued": "2025-06-10", "due": "2025-07-10",
        "currency": "GBP", "lines": 3, "subtotalCents": 100, "taxCents": 20, "totalCents": 120,
    });
    assert_eq!(backend.post("/invoices", "-", invoice.clone()).await.0, 201);
    assert_eq!(backend.post("/invoices", "-", invoice.clone()).await.0, 200);
    let mut other = invoice.clone();
    other["totalCents"] = 121.into();
    assert_eq!(backend.post("/invoices", "-", other).await.0, 409);
    assert_eq!(backend.get("/invoices").await, json!([invoice]));
    assert_eq!(backend.get("/invoices?seller=nobody").await, json!([]));
}

#[tokio::test]
async fn customers_have_three_services() {
    let backend = Fixture::start().await;
    assert_eq!(backend.get("/customers/cust-ada/profile").await["name"], "Ada Lovelace");
    assert_eq!(backend.get("/customers/cust-ada/credit").await["score"], 790);
    assert_eq!(
        backend.get("/customers/cust-ada/recommendations").await["skus"],
        json!(["handle-1", "vest-1"])
    );
    assert_eq!(
        backend
            .send(Method::GET, "/customers/nobody/credit", None, None)
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn bad_requests_get_an_error_with_a_code_and_change_nothing() {
    let backend = Fixture::start().await;
    let raw = |body: &'static str, content_type: &'static str| {
        let request = backend
            .client
            .post(format!("{}/payments", backend.url))
            .header("Idempotency-Key", "k");
        request.header("Content-Type", content_type).body(body).send()
    };
    let json_type = "application/json";
    let cases = [
        (raw("{\"orderId\": ", json_type).await.unwrap(), 400),
        (raw("{}", json_type).await.unwrap(), 422),
        (raw("{}", "text/plain").await.unwrap(), 415),
        (
            raw(
                r#"{"orderId":"o","amountCents":0,"currency":"EUR","method":"card-ok"}"#,
                json_type,
            )
            .await
            .unwrap(),
            400,
        ),
        (
            raw(
                r#"{"orderId":"o","amountCents":1,"currency":"EUR","method":"shells"}"#,
                json_type,
            )
            .await
            .unwrap(),
            400,
        ),
        (
            raw(
                r#"{"orderId":"o","amountCents":1,"currency":"EUR","method":"card-ok","tip":1}"#,
                json_type,
            )
            .await
            .unwrap(),
            422,
        ),
        (
            backend
                .send(Method::POST, "/payments", Some("k"), Some(json!("x".repeat(300_000))))
                .await,
            413,
        ),
        (backend.send(Method::GET, "/orders?limit=some", None, None).await, 400),
        (backend.send(Method::GET, "/nowhere", None, None).await, 404),
        (backend.send(Method::DELETE, "/payments", None, None).await, 405),
    ];
    for (response, status) in cases {
        let url = response.url().clone();
        assert_eq!(response.status(), status, "{url}");
        let error: Value = response.json().await.unwrap();
        assert!(
            error["code"].is_string() && error["message"].is_string(),
            "{url}: {error}"
        );
    }
    assert_eq!(backend.get("/payments").await, json!([]));
}

#[tokio::test]
async fn a_reset_puts_everything_back() {
    let backend = Fixture::start().await;
    let orders = backend.get("/orders").await;
    backend.post("/payments", "k", payment("order-1001")).await;
    backend
        .put("/orders/order-1001/status", json!({ "status": "processed" }))
        .await;
    backend.put("/control/faults/shipments", json!({ "status": 500 })).await;
    backend
        .client
        .delete(format!("{}/blobs/invoices/classic-01.pdf", backend.url))
        .send()
        .await
        .unwrap();
    assert_eq!(
        backend.send(Method::POST, "/control/reset", None, None).await.status(),
        204
    );
    assert_eq!(backend.get("/orders").await, orders);
    assert_eq!(backend.get("/payments").await, json!([]));
    assert_eq!(backend.get("/shipments").await, json!([]));
    assert_eq!(backend.get("/blobs/invoices").await[10]["name"], "classic-01.pdf");
}
