//! `windlass serve`: the host.

use std::{io::Write, path::PathBuf};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::{
    config::{Config, Settings, Synchronous},
    engine::Engine,
    http::{self, HttpOptions, Server, ServerOptions},
    shutdown,
    store::{self, Store, StoreOptions},
    telemetry,
};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// File of settings; flags and environment variables win over it
    #[arg(long, env = "WINDLASS_CONFIG", hide_env = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Trouble> {
        let config =
            Config::load(self.settings, self.config.as_deref()).map_err(|error| Trouble::Usage(chain(&error)))?;
        telemetry::init(config.log_format, &config.log_level).map_err(|error| Trouble::Usage(error.to_string()))?;
        host(&config).await.map_err(|error| Trouble::failed(chain(&*error)))
    }
}

/// Brings the parts up from the store outwards, serves until a signal, and takes them down in the opposite order.
async fn host(config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stop = shutdown::on_signals()?;
    let server = Server::bind(ServerOptions {
        listen: config.listen,
        max_connections: usize::try_from(config.max_connections)?,
        grace: config.shutdown_grace.0,
    })
    .await?;
    let (store, service) = Store::open(&store_options(config)).await?;
    let stop_store = CancellationToken::new();
    let store_task = tokio::spawn(service.run(stop_store.clone()));
    let engine = Engine::new(store);

    let options = HttpOptions {
        payload_bytes: config.max_payload.as_usize(),
        module_bytes: config.max_module.as_usize(),
    };
    let router = http::router(engine, options, stop.clone());
    announce(&server)?;
    server.run(router, stop).await;

    stop_store.cancel();
    store_task.await??;
    tracing::info!("ended");
    Ok(())
}

fn store_options(config: &Config) -> StoreOptions {
    let synchronous = match config.synchronous {
        Synchronous::Full => store::Synchronous::Full,
        Synchronous::Normal => store::Synchronous::Normal,
    };
    StoreOptions {
        synchronous,
        ..StoreOptions::new(&config.data)
    }
}

/// The one line on standard output; scripts wait for it and read the address from it.
fn announce(server: &Server) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "windlass listening on http://{}", server.address())?;
    output.flush()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
