//! `windlass serve`: runs the host.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustix::process::{Resource, Rlimit};
use tokio_util::sync::CancellationToken;

use super::error::CliError;
use crate::{
    clock::SystemClock,
    config::{ByteSize, Capacity, Config, MemorySize, Settings, Synchronous},
    engine::{Engine, EngineOptions, EngineParts, flight_recorder::FlightRecorder},
    grants::{EgressPolicy, EgressRule, RuleError},
    http::{self, HttpOptions, Network, PlaceOptions, Places, PublicUrl, Server, ServerOptions},
    memory::{self, Memory},
    model::ObservableLimits,
    priority,
    sandbox::{Compiler, Sandbox, SandboxOptions},
    shutdown,
    store::{self, Store, StoreOptions},
    telemetry,
    tenancy::{Tenancy, Vault},
    tls::{Certificate, CertificateError, CertificateFiles, ExtraRoots},
};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Settings file; flags and environment variables take precedence over it
    #[arg(long, env = "WINDLASS_CONFIG", hide_env = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let config =
            Config::load(self.settings, self.config.as_deref()).map_err(|error| CliError::Usage(chain(&error)))?;
        telemetry::init(config.log_format, &config.log_level).map_err(|error| CliError::Usage(error.to_string()))?;
        host(&config).await.map_err(|error| CliError::failed(chain(&*error)))
    }
}

/// Starts the parts from the store outwards, serves until a signal, and stops them in the opposite order.
async fn host(config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stop = shutdown::on_signals()?;
    let sandbox_options = sandbox_options(config)?;
    let vault = vault(config)?;
    let certificate = certificate(config)?;
    let (public_url, trusted_proxies) = (public_url(config)?, trusted_proxies(config)?);
    let (store, service) = Store::open(&store_options(config)).await?;
    let stop_store = CancellationToken::new();
    // The writer has its own thread: it neither waits behind requests nor is woken through their event loop, which
    // takes longer than a commit should.
    let writing = {
        let (runtime, stop_writer) = (tokio::runtime::Handle::current(), stop_store.clone());
        let stop = stop.clone();
        std::thread::Builder::new()
            .name("windlass-writer".into())
            .spawn(move || {
                // A host that cannot write serves nobody, also if the writer panics.
                let _stop = stop.drop_guard();
                runtime.block_on(service.run(stop_writer))
            })?
    };
    let flights = config.data.join("flights");
    let (recorder, flights) = FlightRecorder::open(&flights)
        .map_err(|error| format!("the file {} cannot be used: {error}", flights.display()))?;
    let sandbox = Sandbox::new(sandbox_options)?;
    // The threads of commits, checkpoints and time limits have started. This one accepts connections.
    priority::give_way_to_commits();
    let options = engine_options(config, &sandbox);
    let parts = EngineParts {
        store,
        sandbox,
        clock: Arc::new(SystemClock),
        recorder: recorder.clone(),
        flights,
        vault,
        memory: memory(config),
    };
    let engine = Engine::start_up(parts, options).await?;
    tokio::spawn({
        let (recorder, stop) = (recorder, stop.clone());
        async move {
            stop.cancelled().await;
            recorder.close();
        }
    });

    refuse_unprotected(config, engine.tenancy())?;
    let places = places(config, &trusted_proxies)?;
    let server = ServerOptions {
        listen: config.listen,
        places: places.clone(),
        idle_timeout: config.idle_timeout.0,
        grace: config.shutdown_grace.0,
        certificate,
    };
    let scheme = server.scheme();
    let server = Server::bind(server).await?;
    let options = HttpOptions {
        payload_bytes: config.max_payload.as_usize(),
        module_bytes: config.max_module.as_usize(),
        own_names_only: config.listen.ip().is_loopback(),
        scheme,
        public_url,
        trusted_proxies,
    };
    let router = http::router(engine.clone(), options, places, stop.clone());
    announce(&server)?;
    server.run(router, stop).await;

    engine.stop().await;
    stop_store.cancel();
    tokio::task::spawn_blocking(move || writing.join())
        .await?
        .map_err(|_| "the database writer panicked")??;
    tracing::info!("shut down");
    Ok(())
}

/// Raises the limit of open files as far as the system allows: each connection is one, and the usual limit is low only
/// for programs that use `select`. Returns the limit.
fn max_files() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let current = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current
        .and_then(|files| usize::try_from(files).ok())
        .unwrap_or(usize::MAX)
}

/// The places for requests.
fn places(config: &Config, trusted_proxies: &[Network]) -> Result<Places, std::num::TryFromIntError> {
    let options = PlaceOptions {
        max_requests: usize::try_from(config.max_connections)?,
        max_files: max_files(),
        trusted_proxies: trusted_proxies.to_vec(),
    };
    let (wanted, max_files) = (options.max_requests, options.max_files);
    let places = Places::new(options);
    if places.max_requests() < wanted {
        tracing::warn!(
            max_files,
            max_connections = places.max_requests(),
            "the limit of open files allows fewer requests than --max-connections"
        );
    }
    Ok(places)
}

/// The environment variable with the key for secrets.
const SECRETS_KEY: &str = "WINDLASS_SECRETS_KEY";

/// The vault that encrypts secrets: with a key from a file or the environment, or without a key.
fn vault(config: &Config) -> Result<Vault, String> {
    let file = &config.secrets_key_file;
    if !file.as_os_str().is_empty() {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read the --secrets-key-file {}: {error}", file.display()))?;
        return Vault::with_key(&text).map_err(|problem| format!("the file {} {problem}", file.display()));
    }
    match std::env::var(SECRETS_KEY) {
        Ok(text) => Vault::with_key(&text).map_err(|problem| format!("{SECRETS_KEY} {problem}")),
        Err(_) => Ok(Vault::default()),
    }
}

/// The certificate of the host, if it uses TLS.
fn certificate(config: &Config) -> Result<Option<Certificate>, CertificateError> {
    if config.tls_cert.as_os_str().is_empty() {
        return Ok(None);
    }
    let files = CertificateFiles {
        certificate: config.tls_cert.clone(),
        key: config.tls_key.clone(),
    };
    Certificate::load(files).map(Some)
}

fn public_url(config: &Config) -> Result<Option<PublicUrl>, String> {
    let url = &config.public_url;
    if url.is_empty() {
        return Ok(None);
    }
    let parsed = url.parse::<PublicUrl>();
    parsed
        .map(Some)
        .map_err(|problem| format!("the --public-url {url:?} {problem}"))
}

fn trusted_proxies(config: &Config) -> Result<Vec<Network>, String> {
    let rules = config.trusted_proxy.iter().map(|rule| {
        rule.parse::<Network>()
            .map_err(|problem| format!("the --trusted-proxy {rule:?} {problem}"))
    });
    rules.collect()
}

/// Refuses to listen on other than loopback addresses without keys: anyone who reaches the socket has full access.
fn refuse_unprotected(config: &Config, tenancy: &Tenancy) -> Result<(), String> {
    let listen = config.listen;
    if listen.ip().is_loopback() || !tenancy.is_open() {
        return Ok(());
    }
    if config.unprotected {
        tracing::warn!(%listen, "there are no API keys: anyone who can reach this address has full access");
        return Ok(());
    }
    Err(format!(
        "refusing to listen on {listen}: there are no API keys, so anyone who can reach it would have full access; create \
         one with `windlass key create --role admin` while the host listens on 127.0.0.1, or pass `--unprotected true`"
    ))
}

fn store_options(config: &Config) -> StoreOptions {
    let synchronous = match config.synchronous {
        Synchronous::Full => store::Synchronous::Full,
        Synchronous::Normal => store::Synchronous::Normal,
    };
    StoreOptions {
        synchronous,
        max_bytes: (config.max_database.0 > 0).then_some(config.max_database.0),
        ..StoreOptions::new(&config.data)
    }
}

/// The memory budget.
fn memory(config: &Config) -> Memory {
    let bytes = match config.memory {
        MemorySize::Bytes(ByteSize(bytes)) => bytes,
        MemorySize::Auto => memory::available_bytes().map_or(MEMORY_IF_UNKNOWN, |available| available / 2),
    };
    Memory::new(bytes.max(Memory::MIN_BYTES))
}

/// The memory budget, in bytes, if the system does not tell how much memory there is.
const MEMORY_IF_UNKNOWN: u64 = 1 << 30;

/// Guests that may exist in addition to the hot ones, for turns that run or are paused while that limit is reached.
const GUESTS_BESIDE_HOT: u32 = 128;

fn sandbox_options(config: &Config) -> Result<SandboxOptions, Box<dyn std::error::Error + Send + Sync>> {
    let mut options = SandboxOptions::new(config.data.join("compiled"));
    options.compiler = Compiler::child(std::env::current_exe()?);
    if let Capacity::Number(hot) = config.hot {
        options.hot_guests = hot.saturating_add(GUESTS_BESIDE_HOT);
    }
    if let Capacity::Number(slots) = config.activity_slots {
        options.activity_slots = slots.max(1);
    }
    options.max_module_bytes = config.max_module.as_usize();
    options.turn_fuel = config.turn_fuel;
    options.turn_timeout = config.turn_timeout.0;
    options.orchestrator_memory_bytes = config.orchestrator_memory.0;
    options.activity.fuel = config.activity_fuel;
    options.activity.timeout = config.activity_timeout.0;
    options.activity.memory_bytes = config.activity_memory.0;
    options.activity.payload_bytes = config.max_payload.as_usize();
    let rules = config.allow.iter().map(|rule| {
        let parsed: Result<EgressRule, RuleError> = rule.parse();
        parsed.map_err(|error| format!("the --allow rule {rule:?} {error}"))
    });
    options.egress = EgressPolicy::new(rules.collect::<Result<_, _>>()?);
    if !config.egress_ca.as_os_str().is_empty() {
        options.egress_roots = roots(&config.egress_ca)
            .map_err(|reason| format!("the --egress-ca file {} {reason}", config.egress_ca.display()))?;
    }
    Ok(options)
}

/// The certificate authorities of a file. The error follows the name of the file.
fn roots(file: &Path) -> Result<ExtraRoots, String> {
    let pem = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    ExtraRoots::from_pem(&pem).map_err(|error| error.to_string())
}

fn engine_options(config: &Config, sandbox: &Sandbox) -> EngineOptions {
    let sandbox = sandbox.options();
    EngineOptions {
        hot_guests: match config.hot {
            Capacity::Auto => sandbox.hot_guests.saturating_sub(GUESTS_BESIDE_HOT),
            Capacity::Number(hot) => hot,
        } as usize,
        hot_idle: config.hot_idle.0,
        activity_slots: sandbox.activity_slots as usize,
        cancellation_grace: config.cancellation_grace.0,
        public_url: Some(config.public_url.clone()).filter(|url| !url.is_empty()),
        max_cut_offs: config.max_cut_offs,
        max_queued: config.max_queued as usize,
        observable: ObservableLimits {
            memory_bytes: sandbox.orchestrator_memory_bytes,
            payload_bytes: config.max_payload.0,
        },
        stop_timeout: config.shutdown_grace.0,
        turn_limits: EngineOptions::turn_limits_with(config.max_payload.0),
        ..EngineOptions::default()
    }
}

/// Prints the only line on standard output; scripts wait for it and read the address from it.
fn announce(server: &Server) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "windlass listening on {}", server.url())?;
    output.flush()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
