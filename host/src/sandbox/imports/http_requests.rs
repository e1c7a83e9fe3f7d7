//! Bounds on what a request of `wasi:http` holds before it is sent.
//!
//! Lists of headers have a limit there, and so has a path; a method and an authority are kept as they are handed over. A
//! request with either of a megabyte costs the guest a handle and the host a megabyte.

use wasmtime::{
    Result,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::http::types::{HostOutgoingRequest as _, Method},
        types::HostOutgoingRequest,
    },
};

/// Longest method that a guest may name, in bytes. Those in use are words.
const MAX_METHOD_BYTES: usize = 100;
/// Longest authority, in bytes: a host name of 253 with a port, and then some.
const MAX_AUTHORITY_BYTES: usize = 1_000;

/// Puts the bounds before the functions of `wasi:http/types` that are linked already.
pub(in crate::sandbox) fn bound<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    type Request = Resource<HostOutgoingRequest>;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store, (request, method): (Request, Method)| match &method {
            Method::Other(name) if name.len() > MAX_METHOD_BYTES => Ok((Err(()),)),
            _ => Ok((store.data_mut().http().set_method(request, method)?,)),
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store, (request, authority): (Request, Option<String>)| match &authority {
            Some(authority) if authority.len() > MAX_AUTHORITY_BYTES => Ok((Err(()),)),
            _ => Ok((store.data_mut().http().set_authority(request, authority)?,)),
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
