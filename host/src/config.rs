//! The configuration of the host: one table of settings, read from flags, environment, file and defaults, in this
//! order.
//!
//! [`Settings`] is what one source gives, and rejects unknown keys; [`Config`] is complete and checked. Each setting is
//! one entry of the table below; its flag, environment variable and key in the file share its name.

mod units;

use std::{fs, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::byte_order_mark;
use crate::memory::Memory;

pub use units::{ByteSize, Capacity, LogFormat, MemorySize, Span, Synchronous};

/// The default port of the host, and of the `--url` of commands.
pub const DEFAULT_PORT: u16 = 7411;

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr, $variable:literal, $value:literal;)+) => {
        /// Settings of one source; what it does not give is `None`.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $(
                $(#[doc = $doc])+
                #[arg(long, env = $variable, value_name = $value, hide_env = true)]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )+
            /// Allow activities to reach this address, for example http://127.0.0.1:8090 or https://*.example.com; repeatable
            #[arg(long, env = "WINDLASS_ALLOW", value_name = "RULE", value_delimiter = ',', hide_env = true)]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub allow: Option<Vec<String>>,
            /// Proxy in front of the host whose forwarding headers are trusted for links: an address or a network such as
            /// 10.0.0.0/8; repeatable
            #[arg(long, env = "WINDLASS_TRUSTED_PROXY", value_name = "NETWORK", value_delimiter = ',', hide_env = true)]
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub trusted_proxy: Option<Vec<String>>,
        }

        /// Complete, checked settings.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $(
                $(#[doc = $doc])+
                pub $name: $type,
            )+
            /// Addresses that activities may reach.
            pub allow: Vec<String>,
            /// Proxies whose forwarding headers are trusted for links.
            pub trusted_proxy: Vec<String>,
        }

        impl Settings {
            /// The defaults of all settings.
            pub fn defaults() -> Self {
                Self { $($name: Some($default),)+ allow: Some(Vec::new()), trusted_proxy: Some(Vec::new()) }
            }

            /// These settings, completed with `others`.
            #[must_use]
            pub fn or(self, others: Self) -> Self {
                Self {
                    $($name: self.$name.or(others.$name),)+
                    allow: self.allow.or(others.allow),
                    trusted_proxy: self.trusted_proxy.or(others.trusted_proxy),
                }
            }

            fn complete(self) -> Config {
                let Self { $($name,)+ allow, trusted_proxy } = self.or(Self::defaults());
                Config {
                    $($name: $name.unwrap_or_else(|| $default),)+
                    allow: allow.unwrap_or_default(),
                    trusted_proxy: trusted_proxy.unwrap_or_default(),
                }
            }
        }
    };
}

settings! {
    /// Address to listen on (loopback only unless there are API keys; port 0 picks a free port)
    listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)), "WINDLASS_LISTEN", "ADDRESS";
    /// Listen on a non-loopback address even without API keys: anyone who can reach it has full access
    unprotected: bool = false, "WINDLASS_UNPROTECTED", "true|false";
    /// Folder for the database and compiled modules
    data: PathBuf = "./windlass-data".into(), "WINDLASS_DATA", "DIR";
    /// What acknowledged writes survive: `full`, a power failure; `normal`, only the end of the process
    synchronous: Synchronous = Synchronous::Full, "WINDLASS_SYNCHRONOUS", "full|normal";
    /// Fuel for one turn of an orchestration (about one unit per instruction)
    turn_fuel: u64 = 2_000_000_000, "WINDLASS_TURN_FUEL", "FUEL";
    /// Time limit for one turn
    turn_timeout: Span = Span::seconds(10), "WINDLASS_TURN_TIMEOUT", "TIME";
    /// Memory limit for an orchestration
    orchestrator_memory: ByteSize = ByteSize::mib(64), "WINDLASS_ORCHESTRATOR_MEMORY", "SIZE";
    /// Fuel for one attempt of an activity (about one unit per instruction)
    activity_fuel: u64 = 50_000_000_000, "WINDLASS_ACTIVITY_FUEL", "FUEL";
    /// Time limit for one attempt of an activity; a call can ask for less
    activity_timeout: Span = Span::seconds(60), "WINDLASS_ACTIVITY_TIMEOUT", "TIME";
    /// How long an attempt of an activity that was cancelled, or whose time is over, may clean up; at most 10 minutes
    cancellation_grace: Span = Span::seconds(10), "WINDLASS_CANCELLATION_GRACE", "TIME";
    /// Memory limit for one attempt of an activity
    activity_memory: ByteSize = ByteSize::mib(256), "WINDLASS_ACTIVITY_MEMORY", "SIZE";
    /// Memory budget for what tenants make the host hold: guests, calls, messages, answers; `auto` is half of the memory
    /// of the machine or of the control group. The host needs about a quarter of it in addition
    memory: MemorySize = MemorySize::Auto, "WINDLASS_MEMORY", "SIZE|auto";
    /// Orchestrations kept in memory between turns; 0 replays on every turn, `auto` derives it from the kernel's limits
    hot: Capacity = Capacity::Auto, "WINDLASS_HOT", "NUMBER|auto";
    /// How long an idle orchestration stays in memory
    hot_idle: Span = Span::seconds(30), "WINDLASS_HOT_IDLE", "TIME";
    /// Activities that run at the same time; `auto` derives it from the kernel's limits
    activity_slots: Capacity = Capacity::Auto, "WINDLASS_ACTIVITY_SLOTS", "NUMBER|auto";
    /// Maximum number of running and waiting activity calls; above it, starts are refused
    max_queued: u32 = 20_000, "WINDLASS_MAX_QUEUED", "NUMBER";
    /// Maximum size of the database without its log; 0 for no limit. New data that does not fit is refused,
    /// stored data stays
    max_database: ByteSize = ByteSize(0), "WINDLASS_MAX_DATABASE", "SIZE";
    /// Fail an attempt of an activity when the host has crashed this many times in a row while only it ran
    max_cut_offs: u32 = 3, "WINDLASS_MAX_CUT_OFFS", "NUMBER";
    /// Maximum size of an input, output or event payload
    max_payload: ByteSize = ByteSize::mib(1), "WINDLASS_MAX_PAYLOAD", "SIZE";
    /// Maximum size of a module
    max_module: ByteSize = ByteSize::mib(64), "WINDLASS_MAX_MODULE", "SIZE";
    /// Maximum number of concurrent requests; further ones wait. Requests that wait for an instance to end leave a
    /// quarter of them free, at most 64
    max_connections: u32 = 1_024, "WINDLASS_MAX_CONNECTIONS", "NUMBER";
    /// How long a connection may stay idle between requests; use more than load balancers and proxies in front
    /// of the host do
    idle_timeout: Span = Span::seconds(75), "WINDLASS_IDLE_TIMEOUT", "TIME";
    /// Public URL of the host, for example https://windlass.example.com/base; links start with it. If empty, links
    /// start with the address that a request was sent to
    public_url: String = String::new(), "WINDLASS_PUBLIC_URL", "URL";
    /// How long requests and turns in progress may continue after a shutdown request
    shutdown_grace: Span = Span::seconds(10), "WINDLASS_SHUTDOWN_GRACE", "TIME";
    /// File with the certificate chain of the host (PEM); enables TLS. Reloaded when it changes; empty for none
    tls_cert: PathBuf = PathBuf::new(), "WINDLASS_TLS_CERT", "FILE";
    /// File with the private key of the certificate (PEM, not encrypted); empty for none
    tls_key: PathBuf = PathBuf::new(), "WINDLASS_TLS_KEY", "FILE";
    /// File with certificate authorities (PEM) that activities trust in addition to the public ones; empty for none
    egress_ca: PathBuf = PathBuf::new(), "WINDLASS_EGRESS_CA", "FILE";
    /// File with the key that encrypts secrets (64 hexadecimal digits); empty for none. To pass the key itself, set the
    /// environment variable WINDLASS_SECRETS_KEY instead
    secrets_key_file: PathBuf = PathBuf::new(), "WINDLASS_SECRETS_KEY_FILE", "FILE";
    /// Format of log lines: `text` or `json`
    log_format: LogFormat = LogFormat::Text, "WINDLASS_LOG_FORMAT", "text|json";
    /// Filter for log lines, for example `info` or `info,windlass::engine=debug`
    log_level: String = "info".into(), "WINDLASS_LOG_LEVEL", "FILTER";
}

/// Why the settings are invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not a valid settings file.
    #[error("{path:?} is not a valid settings file: {message}")]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// The problem and its position.
        message: String,
    },
    /// A value is out of range.
    #[error("the setting {name} {problem}")]
    Invalid {
        /// The name of the setting.
        name: &'static str,
        /// The problem; the text follows the name.
        problem: String,
    },
}

impl Config {
    /// Completes the settings of flags and environment with those of the file, if there is one, and the defaults, and
    /// checks them.
    ///
    /// # Errors
    /// If the file cannot be read or a value is invalid.
    pub fn load(given: Settings, file: Option<&Path>) -> Result<Self, ConfigError> {
        let from_file = file.map(read).transpose()?.unwrap_or_default();
        let config = given.or(from_file).complete();
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |name, problem: &str| {
            Err(ConfigError::Invalid {
                name,
                problem: problem.into(),
            })
        };
        for (name, number) in [
            ("turn_fuel", self.turn_fuel),
            ("activity_fuel", self.activity_fuel),
            ("max_cut_offs", self.max_cut_offs.into()),
            ("max_queued", self.max_queued.into()),
            ("max_connections", self.max_connections.into()),
            ("max_payload", self.max_payload.0),
            ("max_module", self.max_module.0),
            ("orchestrator_memory", self.orchestrator_memory.0),
            ("activity_memory", self.activity_memory.0),
        ] {
            if number == 0 {
                return invalid(name, "must not be 0");
            }
        }
        for (name, span) in [
            ("turn_timeout", self.turn_timeout),
            ("activity_timeout", self.activity_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if span.0 == Duration::ZERO {
                return invalid(name, "must not be 0");
            }
        }
        if self.cancellation_grace.0 > MAX_CANCELLATION_GRACE {
            return invalid("cancellation_grace", "must be at most 10m");
        }
        if self.max_payload.0 > MAX_MAX_PAYLOAD {
            return invalid(
                "max_payload",
                "must be at most 64MiB: payloads are held in memory and stored in rows",
            );
        }
        if (1..MIN_MAX_DATABASE).contains(&self.max_database.0) {
            return invalid("max_database", "must be 0 for no limit, or at least 1MiB");
        }
        for (name, file, other) in [
            ("tls_cert", &self.tls_cert, &self.tls_key),
            ("tls_key", &self.tls_key, &self.tls_cert),
        ] {
            if file.as_os_str().is_empty() && !other.as_os_str().is_empty() {
                return invalid(name, "is missing: TLS needs both a certificate and its key");
            }
        }
        if matches!(self.memory, MemorySize::Bytes(ByteSize(bytes)) if bytes < Memory::MIN_BYTES) {
            return invalid("memory", "must be at least 128MiB");
        }
        if self.activity_slots == Capacity::Number(0) {
            return invalid("activity_slots", "must not be 0");
        }
        Ok(())
    }
}

/// The upper limit of `cancellation_grace`: an attempt keeps its slot for that long.
const MAX_CANCELLATION_GRACE: Duration = Duration::from_secs(600);

/// The upper limit of `max_payload`, in bytes.
const MAX_MAX_PAYLOAD: u64 = 64 << 20;

/// The lower limit of `max_database`, in bytes: a smaller database would hold hardly more than its empty tables.
const MIN_MAX_DATABASE: u64 = 1 << 20;

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let bytes = fs::read(path).map_err(|cause| ConfigError::Read {
        path: path.to_owned(),
        cause,
    })?;
    let wrong = |message: String| ConfigError::Parse {
        path: path.to_owned(),
        message,
    };
    let text = byte_order_mark::skip(&bytes).map_err(|other| wrong(other.to_string()))?;
    let text = str::from_utf8(text).map_err(|_| wrong("it is not UTF-8".into()))?;
    toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
