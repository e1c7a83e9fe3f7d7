//! Validates the exports and imports of a component before the host compiles or runs any of it.
//!
//! The imported functions matter, not the interfaces: a guest that merely uses `std::fs` imports resource types of
//! `wasi:sockets` for their destructors, which is harmless.

use wasmparser::{
    Parser, Payload, Validator,
    component_types::{ComponentEntityType, ComponentInstanceTypeId},
    types::Types,
};

use crate::model::FunctionKind;

use super::{engine::FEATURES, upload::UploadError};

/// Maximum exports that an error lists.
const MAX_LISTED: usize = 10;

/// A valid component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validated {
    pub(super) kind: FunctionKind,
}

/// Whether modules may import the functions of an interface, or only its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Functions,
    Types,
}

/// Validates a component and determines its kind.
pub(super) fn validate(bytes: &[u8], max_bytes: usize) -> Result<Validated, UploadError> {
    if bytes.is_empty() {
        return Err(UploadError::Empty);
    }
    if bytes.len() > max_bytes {
        return Err(UploadError::TooLarge {
            bytes: bytes.len(),
            limit: max_bytes,
        });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(UploadError::NotWasm);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(UploadError::CoreModule);
    }
    let types = Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map_err(invalid)?;
    let names = top_level_names(bytes).map_err(invalid)?;
    let kind = kind(&names.exports)?;
    for import in &names.imports {
        check_import(kind, import, &types)?;
    }
    Ok(Validated { kind })
}

fn invalid(error: wasmparser::BinaryReaderError) -> UploadError {
    let message = format!("{} (at byte {})", error.message(), error.offset());
    // The parser's own flag for a truncated file is private.
    let truncated = error.message().starts_with("unexpected end");
    if truncated {
        UploadError::Truncated { message }
    } else {
        UploadError::Invalid { message }
    }
}

#[derive(Debug, Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// The names at the outermost level. Nested components have their own.
fn top_level_names(bytes: &[u8]) -> Result<Names, wasmparser::BinaryReaderError> {
    let mut names = Names::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    names.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn kind(exports: &[String]) -> Result<FunctionKind, UploadError> {
    let exported = |wanted: &str| exports.iter().find(|name| interface(name) == Some((wanted, true)));
    let orchestrator = exported("windlass:durable/orchestrator");
    let activity = exported("windlass:durable/activity");
    let entity = exported("windlass:durable/entity");
    let kinds: Vec<_> = [orchestrator, activity, entity]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    match (orchestrator, activity, entity) {
        _ if kinds.len() > 1 => Err(UploadError::SeveralKinds { found: kinds }),
        (Some(_), ..) => Ok(FunctionKind::Orchestration),
        (_, Some(_), _) => Ok(FunctionKind::Activity),
        (.., Some(_)) => Ok(FunctionKind::Entity),
        (None, None, None) => Err(UploadError::NoKnownExport {
            found: exports.iter().take(MAX_LISTED).cloned().collect(),
        }),
    }
}

/// The name of an interface without its version, and whether this host supports that version.
fn interface(name: &str) -> Option<(&str, bool)> {
    let (interface, version) = name.split_once('@')?;
    let offered = match interface.split_once(':')?.0 {
        "wasi" => is_release_of(version, "0.2."),
        "windlass" => is_release_of(version, "0.1."),
        _ => false,
    };
    Some((interface, offered))
}

/// Whether the version is a release (not a release candidate) with that prefix.
fn is_release_of(version: &str, line: &str) -> bool {
    version
        .strip_prefix(line)
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

fn check_import(kind: FunctionKind, import: &str, types: &Types) -> Result<(), UploadError> {
    let unknown = || UploadError::UnknownImport {
        import: import.to_owned(),
    };
    let Some(ComponentEntityType::Instance(instance)) = types.component_item_for_import(import).map(|item| item.ty)
    else {
        return Err(unknown());
    };
    let function = first_function(instance, types);
    let offer = interface(import)
        .filter(|(_, offered)| *offered)
        .and_then(|(interface, _)| offer(kind, interface));
    match (offer, function) {
        (Some(Offer::Functions), _) | (Some(Offer::Types), None) => Ok(()),
        (Some(Offer::Types), Some(function)) => {
            let interface = import.split_once('@').map_or(import, |(interface, _)| interface);
            Err(UploadError::ForbiddenImport {
                kind,
                import: format!("{interface}#{function}"),
            })
        }
        (None, Some(function)) => Err(UploadError::UnknownImport {
            import: format!("{import}#{function}"),
        }),
        (None, None) => Err(unknown()),
    }
}

fn first_function(instance: ComponentInstanceTypeId, types: &Types) -> Option<&str> {
    let exports = &types[instance].exports;
    exports
        .iter()
        .find(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
        .map(|(name, _)| name.as_str())
}

/// What modules of a kind may import from an interface; `None` if this host does not know it.
fn offer(kind: FunctionKind, interface: &str) -> Option<Offer> {
    let own: &[_] = match kind {
        FunctionKind::Orchestration => &["orchestration", "orchestration-poll"],
        FunctionKind::Activity => &["activity-context"],
        FunctionKind::Entity => &["entity-context"],
    };
    let (package, name) = interface.split_once('/')?;
    match package {
        "windlass:durable" => {
            let functions = own.contains(&name) || name == "types";
            Some(if functions { Offer::Functions } else { Offer::Types })
        }
        "wasi:io" | "wasi:random" | "wasi:filesystem" => Some(Offer::Functions),
        "wasi:clocks" if matches!(name, "wall-clock" | "monotonic-clock") => Some(Offer::Functions),
        "wasi:cli" if name != "run" => Some(Offer::Functions),
        "wasi:http" if kind == FunctionKind::Activity && matches!(name, "types" | "outgoing-handler") => {
            Some(Offer::Functions)
        }
        "wasi:http" | "wasi:sockets" => Some(Offer::Types),
        _ => None,
    }
}
