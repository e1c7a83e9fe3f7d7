//! Tests of tenants that share a host without trusting each other: roles, isolation, signed modules and keys.

use std::net::{Ipv4Addr, SocketAddr};

use harness::{Answer, World, module, until};
use reqwest::Method;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const MODULES: &[&str] = &["bench", "bench_activities"];

/// Starts a host that requires keys; requests use an administrator's key.
pub(crate) async fn with_keys(modules: &[&str]) -> World {
    let mut world = World::start(modules).await;
    let key = create_key(&world, &json!({ "role": "admin", "label": "of the test" })).await;
    world.set_key(&key);
    world
}

async fn create_key(world: &World, request: &Value) -> String {
    let created = world.post("/v1/keys", request).await.expect(201);
    created["key"].as_str().expect("a key").to_owned()
}

/// A tenant with the modules of the tests, and a key for each role except admin.
pub(crate) struct Tenant<'a> {
    world: &'a World,
    pub(crate) client: String,
    pub(crate) operator: String,
    pub(crate) deployer: String,
}

impl<'a> Tenant<'a> {
    pub(crate) async fn create(world: &'a World, name: &str, quotas: Value) -> Self {
        let body = json!({ "name": name, "quotas": quotas });
        world.post("/v1/tenants", &body).await.expect(201);
        let key = async |role: &str| create_key(world, &json!({ "tenant": name, "role": role })).await;
        let tenant = Self {
            world,
            client: key("client").await,
            operator: key("operator").await,
            deployer: key("deployer").await,
        };
        for name in MODULES {
            tenant.upload(name, module(name)).await.expect(201);
        }
        tenant
    }

    pub(crate) async fn upload(&self, name: &str, bytes: Vec<u8>) -> Answer {
        let path = format!("/v1/modules/{name}");
        let request = self.world.request_as(Some(&self.deployer), Method::PUT, &path);
        self.world.send(request.body(bytes)).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str) -> Answer {
        let request = self.world.request_as(Some(&self.operator), method, path);
        self.world.send(request).await
    }

    pub(crate) async fn start(&self, function: &str, id: &str, input: &Value) -> Answer {
        let path = format!("/v1/orchestrations/{function}?instanceId={id}&wait=30");
        let request = self.world.request_as(Some(&self.client), Method::POST, &path);
        self.world.send(request.json(input)).await
    }
}

/// All operations of the OpenAPI document, with the names of path parameters as their values.
async fn operations(world: &World) -> Vec<(Method, String)> {
    let document = world.get("/v1/openapi.json").await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, methods) in paths {
        let path = path.replace(['{', '}'], "");
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase().parse().expect("a method");
            operations.push((method, path.clone()));
        }
    }
    assert!(operations.len() > 20, "{operations:?}");
    operations
}

#[tokio::test]
async fn once_a_key_exists_every_operation_requires_one() {
    let world = with_keys(&[]).await;
    let unknown = format!("wl_{}_{}", "0".repeat(16), "0".repeat(64));
    for (method, path) in operations(&world).await {
        // The token of a completion is what allows it.
        let open = [
            "/healthz",
            "/readyz",
            "/v1/openapi.json",
            "/docs/errors/code",
            "/v1/completions/token",
        ];
        let open = open.contains(&path.as_str());
        for key in [None, Some(unknown.as_str()), Some("")] {
            let answer = world.send(world.request_as(key, method.clone(), &path)).await;
            if open {
                assert_ne!(answer.status, 401, "{method} {path}");
            } else {
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path}");
                answer.refused(401, "unauthenticated");
            }
        }
    }
    let two_keys = world.request(Method::GET, "/v1/modules").bearer_auth(unknown);
    world.send(two_keys).await.refused(401, "unauthenticated");
    // The last administrator's key cannot be deleted, because the host would be open to everybody again.
    let keys = world.get("/v1/keys").await.expect(200);
    let id = keys["keys"][0]["id"].as_str().expect("an id");
    assert!(keys["keys"][0].get("key").is_none(), "{keys:#}");
    world
        .delete(&format!("/v1/keys/{id}"))
        .await
        .refused(409, "last-admin-key");
    world.stop().await;
}

#[tokio::test]
async fn each_role_may_call_exactly_its_operations() {
    let world = with_keys(&[]).await;
    let acme = Tenant::create(&world, "acme", json!({})).await;
    let may = |role: &str, method: &Method, path: &str| {
        let reads = *method == Method::GET;
        match path.split('/').nth(2) {
            _ if path.starts_with("/metrics") => false,
            Some("tenants" | "keys") => false,
            Some("config" | "secrets") => role == "deployer",
            Some("modules") => reads || role == "deployer",
            Some("orchestrations") => role != "deployer",
            Some("usage" | "bulk" | "broadcasts" | "retention") => role == "operator",
            Some("instances") if role == "deployer" => false,
            Some("instances") if role == "operator" => true,
            // A client may read an instance whose id it knows, raise events for it, and run it again.
            Some("instances") => {
                (reads && path == "/v1/instances/id") || path.contains("/events/") || path.ends_with("/restart")
            }
            Some("schedules") if role == "deployer" => false,
            // A client may read a schedule whose name it knows.
            Some("schedules") => role == "operator" || path != "/v1/schedules",
            Some("entities") if role == "deployer" => false,
            Some("entities") if role == "operator" => true,
            // A client may read an entity whose key it knows, and send operations.
            Some("entities") => {
                (reads && path != "/v1/entities") || path.contains("/signals/") || path.contains("/calls/")
            }
            _ => true,
        }
    };
    for (method, path) in operations(&world).await {
        for (role, key) in [
            ("client", &acme.client),
            ("operator", &acme.operator),
            ("deployer", &acme.deployer),
        ] {
            let answer = world.send(world.request_as(Some(key), method.clone(), &path)).await;
            let forbidden = answer.body["code"] == "role-forbids";
            assert_eq!(
                !forbidden,
                may(role, &method, &path),
                "{role}: {method} {path}: {:#}",
                answer.body
            );
            if forbidden {
                answer.refused(403, "role-forbids");
            }
        }
    }
    // Only an administrator may choose the tenant that it acts for.
    let request = world.request_as(Some(&acme.operator), Method::GET, "/v1/instances");
    let request = request.header("windlass-tenant", "default");
    world.send(request).await.refused(403, "role-forbids");
    let request = world
        .request(Method::GET, "/v1/modules")
        .header("windlass-tenant", "acme");
    let modules = world.send(request).await.expect(200);
    assert_eq!(modules["modules"].as_array().map(Vec::len), Some(2), "{modules:#}");
    let request = world
        .request(Method::GET, "/v1/modules")
        .header("windlass-tenant", "nobody");
    world.send(request).await.refused(404, "unknown-tenant");
    world.stop().await;
}

#[tokio::test]
async fn data_of_another_tenant_gets_the_same_response_as_missing_data() {
    let world = with_keys(&[]).await;
    let (ours, theirs) = (
        Tenant::create(&world, "ours", json!({})).await,
        Tenant::create(&world, "theirs", json!({})).await,
    );
    theirs.start("BenchChain", "secret", &json!("theirs")).await.expect(200);
    let parked = world.request_as(
        Some(&theirs.client),
        Method::POST,
        "/v1/orchestrations/BenchParked?instanceId=waits",
    );
    world.send(parked).await.expect(202);
    let request = world.request_as(Some(&theirs.deployer), Method::PUT, "/v1/modules/patterns");
    world.send(request.body(module("patterns"))).await.expect(201);

    let instance = |id: &str| {
        [
            (Method::GET, format!("/v1/instances/{id}")),
            (Method::GET, format!("/v1/instances/{id}?history=true")),
            (Method::GET, format!("/v1/instances/{id}?wait=1ms")),
            (Method::GET, format!("/v1/instances/{id}/logs")),
            (Method::GET, format!("/v1/instances?parentInstanceId={id}")),
            (Method::POST, format!("/v1/instances/{id}/events/go")),
            (Method::POST, format!("/v1/instances/{id}/terminate")),
            (Method::POST, format!("/v1/instances/{id}/suspend")),
            (Method::POST, format!("/v1/instances/{id}/resume")),
            (Method::DELETE, format!("/v1/instances/{id}")),
        ]
    };
    for existing_id in ["secret", "waits"] {
        // The id that does not exist has the same length, so that the responses differ only in the id.
        let missing_id = "x".repeat(existing_id.len());
        for ((method, found), (_, missing)) in instance(existing_id).into_iter().zip(instance(&missing_id)) {
            let found = ours.call(method.clone(), &found).await;
            let missing = ours.call(method.clone(), &missing).await;
            assert_eq!(found.status, 404, "{method}: {:#}", found.body);
            let found_text = found.body.to_string().replace(existing_id, &missing_id);
            assert_eq!((found.status, found_text), (missing.status, missing.body.to_string()));
        }
    }
    let list = ours.call(Method::GET, "/v1/instances").await.expect(200);
    assert_eq!(list["instances"], json!([]), "{list:#}");
    ours.call(
        Method::DELETE,
        "/v1/instances?runtimeStatus=Completed&endedBefore=2100-01-01T00:00:00Z",
    )
    .await
    .expect(200);
    ours.call(Method::GET, "/v1/modules/patterns")
        .await
        .refused(404, "unknown-module");
    let request = world.request_as(Some(&ours.deployer), Method::DELETE, "/v1/modules/patterns");
    world.send(request).await.refused(404, "unknown-module");
    ours.start("FanOut", "x", &json!({}))
        .await
        .refused(404, "unknown-function");

    // The names of another tenant are free, and refer to other instances.
    let mine = ours.start("BenchChain", "secret", &json!("ours")).await.expect(200);
    assert_eq!(mine["output"], "ours");
    let still = theirs.call(Method::GET, "/v1/instances/secret").await.expect(200);
    assert_eq!(still["output"], "theirs");
    // Each tenant has its own idempotency keys.
    for (tenant, input) in [(&ours, "a"), (&theirs, "b")] {
        let path = "/v1/orchestrations/BenchChain?wait=30";
        let request = world.request_as(Some(&tenant.client), Method::POST, path);
        let request = request.header("idempotency-key", "same").json(&json!(input));
        assert_eq!(world.send(request).await.expect(200)["output"], input);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_disabled_tenant_is_refused_and_a_deleted_one_is_gone() {
    let mut world = with_keys(&[]).await;
    let (client, operator) = {
        let acme = Tenant::create(&world, "acme", json!({})).await;
        acme.start("BenchChain", "one", &json!("x")).await.expect(200);
        (acme.client, acme.operator)
    };
    let list = async |world: &World| {
        let request = world.request_as(Some(&operator), Method::GET, "/v1/instances");
        world.send(request).await
    };
    let disabled = world.cli(&["tenant", "disable", "acme"]).await;
    assert_eq!(disabled.code, 0, "{disabled:?}");
    list(&world).await.refused(403, "tenant-disabled");
    world.crash().await;
    list(&world).await.refused(403, "tenant-disabled");
    assert_eq!(world.cli(&["tenant", "enable", "acme"]).await.code, 0);
    list(&world).await.expect(200);

    let not_empty = world.cli(&["tenant", "delete", "acme"]).await;
    assert_eq!(not_empty.code, 4, "{not_empty:?}");
    let purge = world.request_as(Some(&operator), Method::DELETE, "/v1/instances/one");
    world.send(purge).await.expect(200);
    let deleted = world.cli(&["tenant", "delete", "acme"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let request = world.request_as(Some(&client), Method::POST, "/v1/orchestrations/BenchChain");
    world.send(request).await.refused(401, "unauthenticated");
    // A new tenant with the same name does not see the old data.
    let again = Tenant::create(&world, "acme", json!({})).await;
    let instances = again.call(Method::GET, "/v1/instances").await.expect(200);
    assert_eq!(instances["instances"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_arrives_after_its_key_was_revoked_is_refused() {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    let world = with_keys(&[]).await;
    let created = world.post("/v1/keys", &json!({ "role": "admin" })).await.expect(201);
    let (key, id) = (
        created["key"].as_str().expect("a key"),
        created["id"].as_str().expect("an id"),
    );
    let body = r#"{"role":"admin"}"#;
    let head = format!(
        "POST /v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(world.url().trim_start_matches("http://"))
        .await
        .expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("the host reads");
    socket
        .write_all(&body.as_bytes()[..body.len() - 1])
        .await
        .expect("the host reads");
    socket.flush().await.expect("the host reads");
    // The host must have read the head before the key is revoked; the response to another request shows that it has had
    // the time to do so.
    world.get("/v1/keys").await.expect(200);
    world.delete(&format!("/v1/keys/{id}")).await.expect(204);
    socket.write_all(b"}").await.expect("the host reads");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 401");
    world.stop().await;
}

#[tokio::test]
async fn a_tenant_with_signers_accepts_only_modules_that_one_of_them_signed() {
    let world = with_keys(&[]).await;
    let acme = Tenant::create(&world, "acme", json!({})).await;
    let signer = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let body = json!({ "quotas": { "moduleSigners": [hex(signer.public_key().as_ref())] } });
    let request = world.request(Method::PATCH, "/v1/tenants/acme").json(&body);
    world.send(request).await.expect(200);

    let bytes = module("patterns");
    acme.upload("patterns", bytes.clone())
        .await
        .refused(403, "signature-missing");
    let signed = async |signature: &str| {
        let request = world.request_as(Some(&acme.deployer), Method::PUT, "/v1/modules/patterns");
        world
            .send(request.header("windlass-signature", signature).body(bytes.clone()))
            .await
    };
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
    for wrong in [
        hex(other.sign(&bytes).as_ref()),
        hex(signer.sign(b"something else").as_ref()),
        "no signature".into(),
    ] {
        signed(&wrong).await.refused(403, "signature-wrong");
    }
    let listed = acme.call(Method::GET, "/v1/modules").await.expect(200);
    assert_eq!(
        listed["modules"].as_array().map(Vec::len),
        Some(MODULES.len()),
        "{listed:#}"
    );
    signed(&hex(signer.sign(&bytes).as_ref())).await.expect(201);

    // `deploy` sends the signature that it finds in a file beside the module.
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("approval.wasm");
    let bytes = module("approval");
    std::fs::write(&file, &bytes).expect("the folder is writable");
    let path = file.to_str().expect("UTF-8");
    let deploy = ["--tenant", "acme", "deploy", path];
    assert_ne!(world.cli(&deploy).await.code, 0);
    std::fs::write(folder.path().join("approval.wasm.sig"), signer.sign(&bytes)).expect("the folder is writable");
    let deployed = world.cli(&deploy).await;
    assert_eq!(deployed.code, 0, "{deployed:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_host_without_keys_listens_only_on_loopback_addresses() {
    let mut world = World::start(&[]).await;
    let data = world.data().display().to_string();
    world.kill().await;
    let serve = ["serve", "--listen", "0.0.0.0:0", "--data", &data];
    let refused = world.cli(&serve).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("there are no API keys"), "{refused:?}");

    // While no host runs, a key can be created in the data folder; the first one must be an administrator's.
    let made = world.cli(&["key", "create", "--role", "client", "--data", &data]).await;
    assert_eq!(made.code, 1, "{made:?}");
    let made = world.cli(&["key", "create", "--role", "admin", "--data", &data]).await;
    assert_eq!(made.code, 0, "{made:?}");
    world.restart_with(&["--listen", "0.0.0.0:0"]).await;
    world.set_key(made.stdout.trim());
    let port = world.url().rsplit(':').next().and_then(|port| port.parse().ok());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a port")));
    // Once there is a key, the host accepts any host name.
    let get = async |key: &str| {
        let request = reqwest::Client::new().get(format!("http://{address}/v1/keys"));
        let request = request.header("host", "windlass.example").bearer_auth(key);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(get(made.stdout.trim()).await, 200);
    assert_eq!(get("wl_x").await, 401);
    world.stop().await;
}

#[tokio::test]
async fn the_command_line_manages_tenants_and_keys() {
    let mut world = World::start(&[]).await;
    let admin = world.cli(&["key", "create", "--role", "admin", "--label", "me"]).await;
    assert_eq!(admin.code, 0, "{admin:?}");
    let locked_out = world.cli(&["key", "list"]).await;
    assert_eq!(locked_out.code, 1, "{locked_out:?}");
    world.set_key(admin.stdout.trim());

    let created = world
        .cli(&["tenant", "create", "acme", "startsPerSecond=5", "maxPayload=64KiB"])
        .await;
    assert_eq!(created.code, 0, "{created:?}");
    let key = world
        .cli(&["--tenant", "acme", "key", "create", "--role", "deployer", "--json"])
        .await;
    assert_eq!(key.code, 0, "{key:?}");
    let (id, secret) = (key.json()["id"].clone(), key.json()["key"].clone());
    assert!(secret.as_str().expect("a key").contains(id.as_str().expect("an id")));

    let tenants = world.cli(&["tenant", "list"]).await;
    for word in ["default", "acme", "startsPerSecond=5", "maxPayload=64KiB"] {
        assert!(tenants.stdout.contains(word), "{tenants:?}");
    }
    let keys = world.cli(&["key", "list"]).await;
    assert!(
        keys.stdout.contains("deployer") && keys.stdout.contains("me"),
        "{keys:?}"
    );
    assert!(!keys.stdout.contains(secret.as_str().expect("a key")), "{keys:?}");
    let set = world.cli(&["tenant", "set", "acme", "maxPayload=none", "--json"]).await;
    assert_eq!(set.json()["quotas"], json!({ "startsPerSecond": 5 }));
    let nonsense = world.cli(&["tenant", "set", "acme", "maxPayload"]).await;
    assert_eq!(nonsense.code, 2, "{nonsense:?}");
    let revoked = world.cli(&["key", "revoke", id.as_str().expect("an id")]).await;
    assert_eq!(revoked.code, 0, "{revoked:?}");
    assert_eq!(world.cli(&["key", "revoke", "0000"]).await.code, 3);
    assert_eq!(world.cli(&["tenant", "show", "nobody"]).await.code, 3);
    world.stop().await;
}

#[tokio::test]
async fn unfinished_uploads_of_a_tenant_do_not_delay_others() {
    let world = with_keys(&[]).await;
    let (acme, slow) = (
        Tenant::create(&world, "acme", json!({})).await,
        Tenant::create(&world, "slow", json!({})).await,
    );
    let address = world.url().trim_start_matches("http://");
    let mut uploads = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(address).await.expect("the host listens");
        let head = format!(
            "PUT /v1/modules/slow-{number} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Length: 1000000\r\n\r\n\0asm",
            slow.deployer
        );
        stream.write_all(head.as_bytes()).await.expect("the host reads");
        uploads.push(stream);
        world.is_healthy().await;
    }
    acme.upload("bench", module("bench")).await.expect(200);
    for stream in &uploads {
        let answer = stream.try_read(&mut [0; 100]).expect_err("no answer");
        assert_eq!(answer.kind(), std::io::ErrorKind::WouldBlock, "an upload has ended");
    }
    drop(uploads);
    world.stop().await;
}

#[tokio::test]
async fn metrics_are_per_tenant_and_only_for_administrators() {
    let world = with_keys(&[]).await;
    let acme = Tenant::create(&world, "acme", json!({})).await;
    let other = Tenant::create(&world, "other", json!({ "startsPerSecond": 1 })).await;
    for number in 0..3 {
        acme.start("BenchChain", &format!("one-{number}"), &json!("x"))
            .await
            .expect(200);
    }
    other.start("BenchChain", "only", &json!("x")).await.expect(200);
    let expected = [
        ("instances_started_total", [0.0, 3.0, 1.0]),
        // Six turns per instance: the start, and one for each of five results.
        ("turns_total", [0.0, 18.0, 6.0]),
        ("activity_attempts_total", [0.0, 15.0, 5.0]),
        ("activities_running", [0.0; 3]),
        ("activities_waiting", [0.0; 3]),
    ];
    // A client may see the end of an instance slightly before it is counted.
    let metrics = until("the expected counts", async || {
        let metrics = world.metrics().await;
        let of = |what: &str| {
            ["default", "acme", "other"]
                .map(|tenant| metrics.number(&format!("windlass_tenant_{what}{{tenant=\"{tenant}\"}}")))
        };
        let is_so = expected.iter().all(|(what, numbers)| of(what) == *numbers);
        is_so.then_some(metrics)
    })
    .await;
    let fuel = |label: &str| metrics.number(&format!("windlass_{label}"));
    let sum = fuel("fuel_total{by=\"turns\"}") + fuel("fuel_total{by=\"activities\"}");
    let (of_acme, others) = (
        fuel("tenant_fuel_total{tenant=\"acme\"}"),
        fuel("tenant_fuel_total{tenant=\"other\"}"),
    );
    assert!(others > 1_000.0 && of_acme > others, "{metrics:?}");
    assert_eq!(of_acme + others, sum);

    for key in [&acme.client, &acme.operator, &acme.deployer] {
        let request = world.request_as(Some(key), Method::GET, "/metrics");
        world.send(request).await.refused(403, "role-forbids");
    }
    let request = world.request_as(None, Method::GET, "/metrics");
    world.send(request).await.refused(401, "unauthenticated");
    world.stop().await;
}
