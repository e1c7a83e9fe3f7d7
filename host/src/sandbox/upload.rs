//! Why bytes that were uploaded are no module for this host: one reason for each thing an author can do about it.

use std::fmt;

/// Why an upload was refused. Nothing was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// There are no bytes.
    #[error("the upload is empty; send the .wasm file as the body")]
    Empty,
    /// The file is larger than this host takes.
    #[error("the module has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
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
        /// What the parser says.
        message: String,
    },
    /// The bytes are no valid component.
    #[error("the component is not valid: {message}")]
    Invalid {
        /// What the parser or compiler says.
        message: String,
    },
    /// It exports none of the interfaces that make a module.
    #[error("the component exports neither windlass:durable/orchestrator nor windlass:durable/activity, only {}", Found(.found))]
    NoKnownExport {
        /// What it does export.
        found: Vec<String>,
    },
    /// It exports more than one of them.
    #[error("a module has one kind, but this component exports {}; split it in two", Found(.found))]
    SeveralKinds {
        /// The exports that make it of several kinds.
        found: Vec<String>,
    },
    /// It holds entities.
    #[error("the component exports windlass:durable/entity; this host does not run entities yet")]
    EntityUnsupported,
    /// It imports a function that its kind may not have.
    #[error("a module of kind \"{}\" may not import {import}", .kind.name())]
    ForbiddenImport {
        /// The kind of the module.
        kind: crate::model::FunctionKind,
        /// The function, as `package:name/interface#function`.
        import: String,
    },
    /// It imports something that this host does not know at all.
    #[error("this host does not offer the import {import}")]
    UnknownImport {
        /// The import.
        import: String,
    },
    /// An interface has the right name, but other functions or types in it than the WIT package says.
    #[error("the component was built against another interface: {message}")]
    WrongInterface {
        /// What differs.
        message: String,
    },
    /// It needs more memories, tables or instances than a guest can have.
    #[error("the component needs more than a guest is allowed: {message}")]
    TooDemanding {
        /// What it needs and may have.
        message: String,
    },
    /// The compiler gave up, ran out of its limits, or could not be started.
    #[error("the component could not be compiled: {message}")]
    Compile {
        /// What the compiler says.
        message: String,
    },
    /// Start-up code or `describe` broke.
    #[error("the module could not describe itself: {message}")]
    DescribeFailed {
        /// How it broke.
        message: String,
    },
    /// Start-up code or `describe` used up what it may use.
    #[error("the module could not describe itself within its limits: {message}")]
    DescribeLimit {
        /// Which limit.
        message: String,
    },
    /// It offers no functions.
    #[error("the module describes no functions")]
    NoFunctions,
    /// It offers more functions than a module may.
    #[error("the module describes {count} functions, at most {limit} are allowed")]
    TooManyFunctions {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Two functions have one name.
    #[error("the module describes two functions named {name:?}")]
    DuplicateFunction {
        /// The name.
        name: String,
    },
    /// The name of a function cannot be one.
    #[error("the function name {name:?} {reason}")]
    BadFunctionName {
        /// The name, cut to a reasonable length.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A schema is no JSON Schema, or one that this host does not use.
    #[error("the {which} schema of the function {function:?} {reason}")]
    BadSchema {
        /// The function.
        function: String,
        /// "input" or "output".
        which: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It declares more events than a module may.
    #[error("the module declares {count} events, at most {limit} are allowed")]
    TooManyEvents {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A declared event makes no sense.
    #[error("the event {event:?} of {function:?} {reason}")]
    BadEvent {
        /// The event.
        event: String,
        /// The orchestration that it is declared for.
        function: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Default options make no sense.
    #[error("the default options of the function {function:?}: {reason}")]
    BadOptions {
        /// The function.
        function: String,
        /// What is wrong with them.
        reason: String,
    },
    /// All slots for guests are taken; try again later.
    #[error("the host is too busy to inspect the module: {message}")]
    Busy {
        /// What is full.
        message: String,
    },
    /// The host could not run the compiler or write to its cache; the module may be fine. Why is in the host's log, and
    /// only there: it may name files of the host.
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
            Self::EntityUnsupported => "module-entity-unsupported",
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
            Self::TooManyEvents { .. } => "module-too-many-events",
            Self::BadEvent { .. } => "module-bad-event",
            Self::BadOptions { .. } => "module-bad-options",
            Self::Busy { .. } => "module-host-busy",
            Self::Host => "module-host-error",
        }
    }

    /// The host is to blame. Whoever runs it is told why.
    pub(super) fn host(cause: impl fmt::Display) -> Self {
        tracing::error!(error = %cause, "a module could not be inspected");
        Self::Host
    }

    /// Whether the same upload may succeed later: the host is to blame, not the module.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Host)
    }
}

/// A list for a sentence.
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
