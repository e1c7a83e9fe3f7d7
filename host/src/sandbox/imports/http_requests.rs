//! Bounds on what a request of `wasi:http` holds before it is sent, and log lines for the headers that are refused.
//!
//! Lists of headers have a limit there, and so has a path; a method and an authority are kept as they are handed over. A
//! request with either of a megabyte costs the guest a handle and the host a megabyte.
//!
//! A guest whose header is refused learns that it is invalid or forbidden, and not which one. The log of its attempt
//! says it. Values are not shown: they may be secrets.

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

/// Longest method that a guest may name, in bytes. Those in use are words.
const MAX_METHOD_BYTES: usize = 100;
/// Longest authority, in bytes: a host name of 253 with a port, and then some.
const MAX_AUTHORITY_BYTES: usize = 1_000;
/// Most characters of a header's name that are shown in the log.
const MAX_SHOWN_CHARS: usize = 100;

/// Writes a line of the host's own into the log of a guest.
pub(in crate::sandbox) trait Notes {
    /// Writes that line.
    fn note(&mut self, line: &str);
}

/// Puts the bounds before the functions of `wasi:http/types` that are linked already.
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

/// The same handle once more, for a call that borrows it.
fn borrowed(fields: &Resource<FieldMap>) -> Resource<FieldMap> {
    Resource::new_borrow(fields.rep())
}

/// Tells the log of a header that was refused.
///
/// Too many headers would be a trap of `wasi:http`, whose version 0.2 has no error for them. A guest can go on after a
/// refusal, and its log says what the matter is.
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
        // Headers that came with an answer, or were sent: nothing about this one.
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
