//! Limits on the size of a request of `wasi:http` before it is sent, and log lines for refused headers.
//!
//! `wasi:http` limits headers and the path, but not the method and the authority. A request with a method of a megabyte
//! would cost the guest only a handle, and the host a megabyte.
//!
//! When `wasi:http` refuses a header, the guest only learns that it is invalid or forbidden, but not which one. The log of
//! the attempt names it. Values are not logged, because they may be secrets.

use wasmtime::{
    Result,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    FieldMap, FieldMapError, WasiHttpView,
    p2::{
        HeaderResult,
        bindings::http::types::{HeaderError, HostFields, HostOutgoingRequest as _, Method},
        types::HostOutgoingRequest,
    },
};

/// Maximum length of a method, in bytes.
const MAX_METHOD_BYTES: usize = 100;
/// Maximum length of an authority, in bytes: more than enough for a host name of 253 bytes with a port.
const MAX_AUTHORITY_BYTES: usize = 1_000;
/// Maximum characters of a header's name in the log.
const MAX_SHOWN_CHARS: usize = 100;

/// Writes lines of the host to the log of a guest.
pub(in crate::sandbox) trait Notes {
    /// Writes one line.
    fn note(&mut self, line: &str);
}

/// Replaces functions of `wasi:http/types`, which must be linked already, by versions with limits.
pub(in crate::sandbox) fn bound<T: WasiHttpView + Notes + 'static>(linker: &mut Linker<T>) -> Result<()> {
    type Request = Resource<HostOutgoingRequest>;
    type Fields = Resource<FieldMap>;
    type Values = Vec<Vec<u8>>;
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
    types.func_wrap(
        "[static]fields.from-list",
        |mut store, (entries,): (Vec<(String, Vec<u8>)>,)| {
            let fields = HostFields::new(&mut store.data_mut().http())?;
            for (name, value) in entries {
                let appended = store.data_mut().http().append(borrowed(&fields), name.clone(), value);
                if let Err(error) = noted(store.data_mut(), &name, appended)? {
                    HostFields::drop(&mut store.data_mut().http(), fields)?;
                    return Ok((Err(error),));
                }
            }
            Ok((Ok(fields),))
        },
    )?;
    types.func_wrap(
        "[method]fields.set",
        |mut store, (fields, name, values): (Fields, String, Values)| {
            let set = store.data_mut().http().set(fields, name.clone(), values);
            Ok((noted(store.data_mut(), &name, set)?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.append",
        |mut store, (fields, name, value): (Fields, String, Vec<u8>)| {
            let appended = store.data_mut().http().append(fields, name.clone(), value);
            Ok((noted(store.data_mut(), &name, appended)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A borrow of the handle, for a call.
fn borrowed(fields: &Resource<FieldMap>) -> Resource<FieldMap> {
    Resource::new_borrow(fields.rep())
}

/// Logs a refused header.
///
/// `wasi:http` 0.2 has no error for too many headers and would trap. Here they are an error, so that the guest can
/// continue, and the log has the reason.
fn noted<T>(notes: &mut impl Notes, name: &str, done: HeaderResult<T>) -> Result<Result<T, HeaderError>> {
    let error = match done {
        Ok(done) => return Ok(Ok(done)),
        Err(error) => error,
    };
    let (error, why) = match error.downcast() {
        Ok(HeaderError::Forbidden) => (
            HeaderError::Forbidden,
            "it belongs to the connection, which the host manages",
        ),
        Ok(HeaderError::InvalidSyntax) => (HeaderError::InvalidSyntax, "its name or value is not valid"),
        // Immutable headers, of a response or a sent request. This does not depend on the name or value, so it is not
        // logged.
        Ok(HeaderError::Immutable) => return Ok(Err(HeaderError::Immutable)),
        Err(trap) => match trap.downcast_ref() {
            Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) => {
                (HeaderError::InvalidSyntax, "the headers of this request are too long")
            }
            _ => return Err(trap),
        },
    };
    let shown: String = name.chars().take(MAX_SHOWN_CHARS).collect();
    notes.note(&format!("the header {shown:?} was refused: {why}"));
    Ok(Err(error))
}
