//! Resource types of interfaces whose functions are refused at upload.
//!
//! A guest that merely uses `std::fs` or `std::net` imports the types for their destructors. No instance of them can
//! exist, because every function that could make one is missing, so the destructors are never called.

use wasmtime::{
    Result,
    component::{Linker, ResourceType},
};

use super::Never;

const SOCKETS: [(&str, &[&str]); 4] = [
    ("wasi:sockets/network@0.2.12", &["network"]),
    ("wasi:sockets/tcp@0.2.12", &["tcp-socket"]),
    (
        "wasi:sockets/udp@0.2.12",
        &["udp-socket", "incoming-datagram-stream", "outgoing-datagram-stream"],
    ),
    ("wasi:sockets/ip-name-lookup@0.2.12", &["resolve-address-stream"]),
];

const HTTP: [(&str, &[&str]); 1] = [(
    "wasi:http/types@0.2.12",
    &[
        "fields",
        "incoming-request",
        "outgoing-request",
        "request-options",
        "response-outparam",
        "incoming-response",
        "incoming-body",
        "future-trailers",
        "outgoing-response",
        "outgoing-body",
        "future-incoming-response",
    ],
)];

/// The resource types of `wasi:sockets`.
pub(in crate::sandbox) fn add_sockets<T: 'static>(linker: &mut Linker<T>) -> Result<()> {
    add(linker, &SOCKETS)
}

/// The resource types of `wasi:http`.
pub(super) fn add_http<T: 'static>(linker: &mut Linker<T>) -> Result<()> {
    add(linker, &HTTP)
}

fn add<T: 'static>(linker: &mut Linker<T>, interfaces: &[(&str, &[&str])]) -> Result<()> {
    for (interface, resources) in interfaces {
        let mut instance = linker.instance(interface)?;
        for resource in *resources {
            instance.resource(resource, ResourceType::host::<Never>(), |_, _| Ok(()))?;
        }
    }
    Ok(())
}
