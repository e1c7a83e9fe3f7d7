//! Why an upload was refused: one error for each thing that its author can fix.

use std::fmt;

/// Why an upload was refused. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The upload has no bytes.
    #[error("the upload is empty; send the .wasm file as the body")]
    Empty,
    /// The file is larger than this host accepts.
    #[error("the module has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The size of the file.
        bytes: usize,
        /// The maximum size.
        limit: usize,
    },
    /// The bytes do not start like WebAssembly.
    #[error("this is not WebAssembly: the file does not start with \\0asm")]
    NotWasm,
    /// A core module instead of a component.
    #[error("this is a core WebAssembly module, not a component; build it for the target wasm32-wasip2")]
    CoreModule,
    /// The file ends too early.
    #[error("the component is cut off: {message}")]
    Truncated {
        /// The message of the parser.
        message: String,
    },
    /// The bytes are not a valid component.
    #[error("the component is not valid: {message}")]
    Invalid {
        /// The message of the parser or compiler.
        message: String,
    },
    /// It exports none of the interfaces of a module.
    #[error("the component exports none of windlass:durable/orchestrator, windlass:durable/activity and windlass:durable/entity, only {}", Found(.found))]
    NoKnownExport {
        /// Its exports, possibly not all.
        found: Vec<String>,
    },
    /// It exports more than one of them.
    #[error("a module has one kind, but this component exports {}; split it in two", Found(.found))]
    SeveralKinds {
        /// The exports of the several kinds.
        found: Vec<String>,
    },
    /// It imports a function that modules of its kind may not use.
    #[error("a module of kind \"{}\" may not import {import}", .kind.name())]
    ForbiddenImport {
        /// The kind of the module.
        kind: crate::model::FunctionKind,
        /// The function, as `package:name/interface#function`.
        import: String,
    },
    /// It imports something that this host does not provide to any module.
    #[error("this host does not offer the import {import}")]
    UnknownImport {
        /// The import.
        import: String,
    },
    /// An interface has the right name, but its functions or types differ from the WIT package.
    #[error("the component was built against another interface: {message}")]
    WrongInterface {
        /// What differs.
        message: String,
    },
    /// It needs more memories, tables or instances than a guest can have.
    #[error("the component needs more than a guest is allowed: {message}")]
    TooDemanding {
        /// What it needs, and the limit.
        message: String,
    },
    /// The compiler rejected it or exceeded its limits.
    #[error("the component could not be compiled: {message}")]
    Compile {
        /// The message of the compiler.
        message: String,
    },
    /// Start-up code or `describe` failed.
    #[error("the module could not describe itself: {message}")]
    DescribeFailed {
        /// The message of the trap.
        message: String,
    },
    /// Start-up code or `describe` exceeded its limits.
    #[error("the module could not describe itself within its limits: {message}")]
    DescribeLimit {
        /// Which limit it exceeded.
        message: String,
    },
    /// It has no functions.
    #[error("the module describes no functions")]
    NoFunctions,
    /// It has too many functions.
    #[error("the module describes {count} functions, at most {limit} are allowed")]
    TooManyFunctions {
        /// The number of functions.
        count: usize,
        /// The maximum.
        limit: usize,
    },
    /// Two functions have the same name.
    #[error("the module describes two functions named {name:?}")]
    DuplicateFunction {
        /// The name.
        name: String,
    },
    /// The name of a function is not valid.
    #[error("the function name {name:?} {reason}")]
    BadFunctionName {
        /// The name, possibly truncated.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A schema is not a JSON Schema that this host supports.
    #[error("the {which} schema of the function {function:?} {reason}")]
    BadSchema {
        /// The function.
        function: String,
        /// "input" or "output".
        which: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It has no entities.
    #[error("the module describes no entities")]
    NoEntities,
    /// It has too many entities.
    #[error("the module describes {count} entities, at most {limit} are allowed")]
    TooManyEntities {
        /// The number of entities.
        count: usize,
        /// The maximum.
        limit: usize,
    },
    /// Its entities have too many operations in total.
    #[error("the entities of the module have {count} operations, at most {limit} are allowed")]
    TooManyOperations {
        /// The number of operations.
        count: usize,
        /// The maximum.
        limit: usize,
    },
    /// The description of an entity is not valid.
    #[error("the entity {entity:?} {reason}")]
    BadEntity {
        /// The entity.
        entity: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The description of an operation is not valid.
    #[error("the operation {operation:?} of the entity {entity:?} {reason}")]
    BadOperation {
        /// The operation.
        operation: String,
        /// The entity that it belongs to.
        entity: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It declares too many events.
    #[error("the module declares {count} events, at most {limit} are allowed")]
    TooManyEvents {
        /// The number of events.
        count: usize,
        /// The maximum.
        limit: usize,
    },
    /// The declaration of an event is not valid.
    #[error("the event {event:?} of {function:?} {reason}")]
    BadEvent {
        /// The event.
        event: String,
        /// The orchestration that declares it.
        function: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The default options of a function are not valid.
    #[error("the default options of the function {function:?}: {reason}")]
    BadOptions {
        /// The function.
        function: String,
        /// What is wrong with them.
        reason: String,
    },
    /// All slots for guests are in use. Try again later.
    #[error("the host is too busy to inspect the module: {message}")]
    Busy {
        /// The resource that is used up.
        message: String,
    },
    /// The host could not run the compiler or write to its cache; the module may be valid. The cause is only in the host's
    /// log, because it may name files of the host.
    #[error("the host could not inspect the module; the cause is in the host's log")]
    Host,
}

impl UploadError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "module-empty",
            Self::TooLarge { .. } => "module-too-large",
            Self::NotWasm => "module-not-wasm",
            Self::CoreModule => "module-core",
            Self::Truncated { .. } => "module-truncated",
            Self::Invalid { .. } => "module-invalid",
            Self::NoKnownExport { .. } => "module-no-known-export",
            Self::SeveralKinds { .. } => "module-several-kinds",
            Self::ForbiddenImport { .. } => "module-forbidden-import",
            Self::UnknownImport { .. } => "module-unknown-import",
            Self::WrongInterface { .. } => "module-wrong-interface",
            Self::TooDemanding { .. } => "module-too-demanding",
            Self::Compile { .. } => "module-compile-failed",
            Self::DescribeFailed { .. } => "module-describe-failed",
            Self::DescribeLimit { .. } => "module-describe-limit",
            Self::NoFunctions => "module-no-functions",
            Self::TooManyFunctions { .. } => "module-too-many-functions",
            Self::DuplicateFunction { .. } => "module-duplicate-function",
            Self::BadFunctionName { .. } => "module-bad-function-name",
            Self::BadSchema { .. } => "module-bad-schema",
            Self::NoEntities => "module-no-entities",
            Self::TooManyEntities { .. } => "module-too-many-entities",
            Self::TooManyOperations { .. } => "module-too-many-operations",
            Self::BadEntity { .. } => "module-bad-entity",
            Self::BadOperation { .. } => "module-bad-operation",
            Self::TooManyEvents { .. } => "module-too-many-events",
            Self::BadEvent { .. } => "module-bad-event",
            Self::BadOptions { .. } => "module-bad-options",
            Self::Busy { .. } => "module-host-busy",
            Self::Host => "module-host-error",
        }
    }

    /// Logs an error of the host for the operator, and hides its cause from the client.
    pub(super) fn host(cause: impl fmt::Display) -> Self {
        tracing::error!(error = %cause, "a module could not be inspected");
        Self::Host
    }

    /// Whether the same upload may succeed later, because the host caused the error.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Host)
    }
}

/// Formats a list as a part of a sentence.
struct Found<'a>(&'a [String]);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("nothing")
        } else {
            f.write_str(&self.0.join(", "))
        }
    }
}
