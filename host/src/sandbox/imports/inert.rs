//! Resource types of interfaces whose functions modules may not import.
//!
//! A guest that merely uses `std::fs` or `std::net` imports the types for their destructors. The destructors are never
//! called, because without the functions no instances can exist.

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

/// Links the resource types of `wasi:sockets`.
pub(in crate::sandbox) fn add_sockets<T: 'static>(linker: &mut Linker<T>) -> Result<()> {
    add(linker, &SOCKETS)
}

/// Links the resource types of `wasi:http`.
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
