//! An orchestration that imports sockets. The host refuses it at upload.

use std::io::Write;
use std::net::TcpStream;

use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [phones_home]);

/// Opens a connection.
#[orchestrator(name = "HostilePhonesHome")]
async fn phones_home() -> Result<()> {
    TcpStream::connect("127.0.0.1:9")?.write_all(b"hello")?;
    Ok(())
}
