//! A host on a free port with its own store, and functions that fill the store.

use std::{net::SocketAddr, path::Path, sync::Arc};

use http::uri::Scheme;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::contract;
use crate::{
    clock::SystemClock,
    engine::{Engine, EngineOptions, EngineParts, flight_recorder::FlightRecorder},
    http::{HttpOptions, PlaceOptions, Places, Server, ServerOptions, router},
    memory::Memory,
    model::{
        Arrival, Decision, ExecutionNumber, Failure, FromStored, FunctionDescription, FunctionKind, InstanceId,
        InstanceNumber, InstanceStatus, LogLevel, LogLine, ModuleDescription, ModuleDigest, ModuleNumber,
        ObservableLimits, Parent, Payload, Started, TaskId, TenantId, Timestamp, Turn, TurnNumber,
    },
    sandbox::{Sandbox, SandboxOptions},
    store::{NewInstance, PutModule, PutModuleOutcome, StartOutcome, Store, StoreOptions, Summary, TurnCommit},
    tenancy::Vault,
};

/// Limits small enough for tests to exceed.
pub(super) const PAYLOAD_BYTES: usize = 4 * 1024;
pub(super) const MODULE_BYTES: usize = 64 * 1024;

/// The time of everything in the tests' stores: 2023-11-14T22:13:20Z.
pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(super) struct TestHost {
    pub(super) address: SocketAddr,
    pub(super) store: Store,
    pub(super) engine: Engine,
    pub(super) stop: CancellationToken,
    pub(super) server: Option<JoinHandle<()>>,
    module: ModuleNumber,
    client: reqwest::Client,
    _folder: TempDir,
    _stop: DropGuard,
}

/// A response, read completely.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}: {self:?}"))
            .to_str()
            .unwrap()
    }

    /// The status and code of an error response, whose form is checked on the way.
    pub(super) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("/docs/errors/{code}"));
        for member in ["title", "detail"] {
            assert!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        (self.status, code)
    }
}

impl TestHost {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, service) = Store::open(&StoreOptions::new(folder.path())).await.unwrap();
        tokio::spawn(service.run(CancellationToken::new()));
        let module = put_module(&store).await;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let grace = std::time::Duration::from_secs(5);
        let places = Places::new(PlaceOptions {
            max_requests: 64,
            max_files: 10_000,
            trusted_proxies: Vec::new(),
        });
        let server = Server::bind(ServerOptions {
            listen,
            places: places.clone(),
            idle_timeout: std::time::Duration::from_secs(75),
            grace,
            certificate: None,
        })
        .await
        .unwrap();
        let stop = CancellationToken::new();
        let options = HttpOptions {
            payload_bytes: PAYLOAD_BYTES,
            module_bytes: MODULE_BYTES,
            own_names_only: true,
            scheme: Scheme::HTTP,
            public_url: None,
            trusted_proxies: Vec::new(),
        };
        let engine = engine(store.clone(), folder.path()).await;
        let router = router(engine.clone(), options, places, stop.clone());
        let address = server.address();
        let server = Some(tokio::spawn(server.run(router, stop.clone())));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            address,
            store,
            engine,
            server,
            module,
            client,
            _folder: folder,
            _stop: stop.clone().drop_guard(),
            stop,
        }
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        self.send(|client, base| client.get(format!("{base}{target}"))).await
    }

    pub(super) async fn delete(&self, target: &str) -> Answer {
        self.send(|client, base| client.delete(format!("{base}{target}"))).await
    }

    pub(super) async fn post(&self, target: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(|client, base| client.post(format!("{base}{target}")).body(body))
            .await
    }

    pub(super) async fn put(&self, target: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(|client, base| client.put(format!("{base}{target}")).body(body))
            .await
    }

    pub(super) async fn send(&self, request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder) -> Answer {
        let base = format!("http://{}", self.address);
        let request = request(&self.client, &base).build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = self.client.execute(request).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let answer = Answer {
            status,
            headers,
            text: answer.text().await.unwrap(),
        };
        contract::check(&method, &path, &answer);
        answer
    }

    /// Sends raw bytes, then closes that half of the connection if `close` is set, and reads the response.
    pub(super) async fn raw(&self, request: &[u8], close: bool) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        if close {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// Stores an instance that has not taken a turn yet.
    pub(super) async fn pending(&self, id: &str, input: &str) -> InstanceNumber {
        self.pending_of(id, started(input)).await
    }

    async fn pending_of(&self, id: &str, started: Started) -> InstanceNumber {
        let instance = NewInstance {
            tenant: TenantId::DEFAULT,
            id: InstanceId::from_stored(id).unwrap(),
            module: self.module,
            started,
            created_at: NOW,
        };
        match self.store.start(instance, None).await.unwrap() {
            StartOutcome::Created(number) => number,
            other => panic!("{other:?}"),
        }
    }

    /// Stores an instance that waits for an event.
    pub(super) async fn running(&self, id: &str) -> InstanceNumber {
        let number = self.pending(id, "{\"amount\" : 1.0}").await;
        let decision = Decision::WaitForEvent {
            task: TaskId(1),
            name: "approval".parse().unwrap(),
        };
        self.turn(number, first_arrival(), vec![decision], InstanceStatus::Running)
            .await;
        number
    }

    /// Stores an instance that waits for an event and is suspended.
    pub(super) async fn suspended(&self, id: &str) {
        let number = self.running(id).await;
        self.nth_turn(number, TurnNumber(2), vec![], vec![], InstanceStatus::Suspended)
            .await;
    }

    /// Stores a sub-orchestration of another instance.
    pub(super) async fn running_child_of(&self, parent: &str, id: &str) -> InstanceNumber {
        let parent_id = parent.parse().unwrap();
        let number = self.store.tenant(TenantId::DEFAULT).number(&parent_id).await.unwrap();
        let parent = Parent {
            instance: number.unwrap(),
            instance_id: parent_id,
            execution: ExecutionNumber::FIRST,
            task: TaskId(1),
            attempt: 1,
        };
        let started = Started {
            parent: Some(parent),
            ..started("null")
        };
        let number = self.pending_of(id, started).await;
        self.turn(number, first_arrival(), vec![], InstanceStatus::Running)
            .await;
        number
    }

    /// Completes an instance that has taken one turn.
    pub(super) async fn complete(&self, number: InstanceNumber) {
        let decision = Decision::Complete { output: payload("1") };
        self.nth_turn(number, TurnNumber(2), vec![], vec![decision], InstanceStatus::Completed)
            .await;
    }

    /// Stores an instance that has completed with that output.
    pub(super) async fn completed(&self, id: &str, output: &str) {
        let number = self.pending(id, "{\"amount\" : 1.0}").await;
        let decision = Decision::Complete {
            output: payload(output),
        };
        self.turn(number, first_arrival(), vec![decision], InstanceStatus::Completed)
            .await;
    }

    /// Stores an instance that has failed because of a declined payment.
    pub(super) async fn failed(&self, id: &str) {
        let number = self.pending(id, "null").await;
        let cause = Failure {
            details: Some(payload("{\"code\": 7.0}")),
            ..Failure::new("Declined", "no money")
        };
        let failure = Failure::new("OrderFailed", "the payment failed")
            .permanent()
            .caused_by(cause);
        self.turn(
            number,
            first_arrival(),
            vec![Decision::Fail { failure }],
            InstanceStatus::Failed,
        )
        .await;
    }

    /// Stores an instance that was terminated before its first turn.
    pub(super) async fn terminated(&self, id: &str, reason: &str) {
        let number = self.pending(id, "null").await;
        let arrival = Arrival::Terminated { reason: reason.into() };
        self.turn(number, vec![arrival], vec![], InstanceStatus::Terminated)
            .await;
    }

    /// Stores an instance with these turns, in all of which the time is [`NOW`]. The first one begins with its start.
    pub(super) async fn with_turns(
        &self,
        id: &str,
        turns: Vec<(Vec<Arrival>, Vec<Decision>)>,
        status: InstanceStatus,
    ) -> InstanceNumber {
        let number = self.pending(id, "{\"amount\" : 1.0}").await;
        let last = turns.len();
        for (position, (arrivals, decisions)) in turns.into_iter().enumerate() {
            let arrivals = if position == 0 {
                first_arrival().into_iter().chain(arrivals).collect()
            } else {
                arrivals
            };
            let status = if position + 1 == last {
                status
            } else {
                InstanceStatus::Running
            };
            let turn = TurnNumber(u32::try_from(position).unwrap() + 1);
            self.nth_turn(number, turn, arrivals, decisions, status).await;
        }
        number
    }

    async fn turn(
        &self,
        instance: InstanceNumber,
        arrivals: Vec<Arrival>,
        decisions: Vec<Decision>,
        status: InstanceStatus,
    ) {
        self.nth_turn(instance, TurnNumber(1), arrivals, decisions, status)
            .await;
    }

    async fn nth_turn(
        &self,
        instance: InstanceNumber,
        number: TurnNumber,
        arrivals: Vec<Arrival>,
        decisions: Vec<Decision>,
        status: InstanceStatus,
    ) {
        let line = |level, message: &str| LogLine {
            at: NOW,
            execution: ExecutionNumber::FIRST,
            task: None,
            attempt: None,
            level,
            message: message.into(),
        };
        let commit = TurnCommit {
            instance,
            creation: None,
            tenant: TenantId::DEFAULT,
            execution: ExecutionNumber::FIRST,
            turn: Some(Turn {
                number,
                at: NOW,
                arrivals,
                decisions,
                fuel: 1_234,
            }),
            consumed: Vec::new(),
            taken_events: Vec::new(),
            kept: Vec::new(),
            children: Vec::new(),
            messages: Vec::new(),
            max_waiting_operations: u64::MAX,
            rewound: Vec::new(),
            rewinds: None,
            entity: None,
            attempts: Vec::new(),
            usage: Vec::new(),
            max_log_bytes: u64::MAX,
            logs: vec![line(LogLevel::Info, "begun"), line(LogLevel::Warn, "slow")],
            summary: Summary {
                status,
                execution: ExecutionNumber::FIRST,
                last_turn: number,
                wake_at: None,
                in_flight: 0,
                custom_status: Some(Some(payload("[ 1.0 ]"))),
                stuck: None,
                module: self.module,
                fuel: 1_234,
                updated_at: NOW,
            },
            next_execution: None,
        };
        self.store.commit(commit).await.unwrap();
    }
}

/// An engine with small limits, since nothing runs on it.
async fn engine(store: Store, folder: &Path) -> Engine {
    let mut options = SandboxOptions::new(folder.join("compiled"));
    (options.hot_guests, options.activity_slots) = (2, 1);
    let (recorder, flights) = FlightRecorder::open(&folder.join("flights")).unwrap();
    let sandbox = Sandbox::new(options).unwrap();
    let parts = EngineParts {
        store,
        sandbox,
        clock: Arc::new(SystemClock),
        recorder,
        flights,
        memory: Memory::unlimited(),
        vault: Vault::with_key(&"5".repeat(64)).unwrap(),
    };
    let observable = ObservableLimits {
        memory_bytes: 1 << 20,
        payload_bytes: PAYLOAD_BYTES as u64,
    };
    let options = EngineOptions {
        observable,
        guest_threads: 1,
        ..EngineOptions::default()
    };
    Engine::start_up(parts, options).await.unwrap()
}

/// Stores a module that can be found but not run: its bytes are not a component.
async fn put_module(store: &Store) -> ModuleNumber {
    let function = FunctionDescription {
        name: "Order".parse().unwrap(),
        doc: "processes an order".into(),
        input_schema: Some("{\"maximum\":  1.0}".into()),
        output_schema: None,
        default_options: None,
    };
    let description = ModuleDescription {
        kind: FunctionKind::Orchestration,
        functions: vec![function],
        sdk: String::new(),
        events: Vec::new(),
        entities: Vec::new(),
    };
    let put = PutModule {
        tenant: TenantId::DEFAULT,
        name: "orders".into(),
        digest: ModuleDigest([0xab; 32]),
        bytes: vec![0; 5],
        description,
        compiled_bytes: 0,
        at: NOW,
        by: None,
    };
    match store.put_module(put).await.unwrap() {
        PutModuleOutcome::Stored { number, .. } => number,
        other => panic!("{other:?}"),
    }
}

pub(super) fn payload(text: &str) -> Payload {
    Payload::parse(text, usize::MAX).unwrap()
}

fn started(input: &str) -> Started {
    Started {
        execution: ExecutionNumber::FIRST,
        function: "Order".parse().unwrap(),
        input: payload(input),
        seed: [7; 32],
        limits: ObservableLimits {
            memory_bytes: 1 << 20,
            payload_bytes: 1 << 20,
        },
        parent: None,
        events: Vec::new(),
        not_before: None,
    }
}

fn first_arrival() -> Vec<Arrival> {
    vec![Arrival::Started(Box::new(started("{\"amount\" : 1.0}")))]
}
