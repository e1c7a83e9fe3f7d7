//! Parses the command line and serves until interrupted; everything else is in the library.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use sample_backend::{Backend, Options};

/// Runs the services that the Windlass samples call: orders, payments, stock, invoices and others.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Loopback address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Folder of the data files; filled with the samples' data on first use.
    #[arg(long, default_value = "./sample-backend-data")]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let backend = Backend::bind(Options {
        listen: arguments.listen,
        data: arguments.data,
    })
    .await?;
    println!("sample-backend listening on {}", backend.url());
    backend
        .run(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await
}
