//! The generated bindings, one module per world. No other module calls `bindgen!`.
//!
//! Resources are mapped to our own types, so that no handle is a bare integer. The functions `wait`, `poll` and
//! `pollable.block` suspend the guest and refuel its store; `next-operation` and `complete-operation` refuel and measure
//! it. Generated imports have no access to the store, so these five are registered by hand (in [`super::imports`]).

/// The world of orchestrators with the whole virtual WASI, which entities have as well.
pub(super) mod orchestrator {
    wasmtime::component::bindgen!({
        path: [
            "../wit/deps/io",
            "../wit/deps/clocks",
            "../wit/deps/random",
            "../wit/deps/filesystem",
            "../wit/deps/sockets",
            "../wit/deps/cli",
            "../wit/durable",
        ],
        inline: "
            package windlass:host;
            world orchestrator {
                include windlass:durable/orchestrator-module@0.1.0;
                import windlass:durable/orchestration-poll@0.1.0;
                import wasi:io/error@0.2.12;
                import wasi:io/poll@0.2.12;
                import wasi:io/streams@0.2.12;
                import wasi:clocks/wall-clock@0.2.12;
                import wasi:clocks/monotonic-clock@0.2.12;
                import wasi:random/random@0.2.12;
                import wasi:random/insecure@0.2.12;
                import wasi:random/insecure-seed@0.2.12;
                import wasi:cli/environment@0.2.12;
                import wasi:cli/exit@0.2.12;
                import wasi:cli/stdin@0.2.12;
                import wasi:cli/stdout@0.2.12;
                import wasi:cli/stderr@0.2.12;
                import wasi:cli/terminal-input@0.2.12;
                import wasi:cli/terminal-output@0.2.12;
                import wasi:cli/terminal-stdin@0.2.12;
                import wasi:cli/terminal-stdout@0.2.12;
                import wasi:cli/terminal-stderr@0.2.12;
                import wasi:filesystem/types@0.2.12;
                import wasi:filesystem/preopens@0.2.12;
            }
        ",
        world: "windlass:host/orchestrator",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasi:io/poll.pollable": crate::sandbox::imports::poll::Pollable,
            "wasi:io/error.error": crate::sandbox::imports::Never,
            "wasi:io/streams.input-stream": crate::sandbox::imports::streams::EmptyInput,
            "wasi:io/streams.output-stream": crate::sandbox::imports::streams::LogStream,
            "wasi:cli/terminal-input.terminal-input": crate::sandbox::imports::Never,
            "wasi:cli/terminal-output.terminal-output": crate::sandbox::imports::Never,
            "wasi:filesystem/types.descriptor": crate::sandbox::imports::Never,
            "wasi:filesystem/types.directory-entry-stream": crate::sandbox::imports::Never,
        },
    });
}

/// The additional export of orchestrators that declare events.
pub(super) mod events {
    wasmtime::component::bindgen!({
        path: ["../wit/deps/io", "../wit/durable"],
        inline: "
            package windlass:host;
            world events {
                export windlass:durable/orchestrator-events@0.1.0;
            }
        ",
        world: "windlass:host/events",
        exports: { default: async },
    });
}

/// The world of activities; their WASI comes from `wasmtime-wasi` and `wasmtime-wasi-http`.
pub(super) mod activity {
    wasmtime::component::bindgen!({
        path: ["../wit/deps/io", "../wit/durable"],
        world: "windlass:durable/activity-module",
        imports: {
            "windlass:durable/activity-context@0.1.0.complete-later": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "windlass:durable/types": crate::sandbox::bindings::orchestrator::windlass::durable::types },
    });
}

/// The world of entities; their WASI is that of orchestrators.
pub(super) mod entity {
    wasmtime::component::bindgen!({
        path: ["../wit/deps/io", "../wit/durable"],
        world: "windlass:durable/entity-module",
        imports: { default: trappable },
        exports: { default: async },
        with: { "windlass:durable/types": crate::sandbox::bindings::orchestrator::windlass::durable::types },
    });
}

pub(super) use entity::exports::windlass::durable::entity as wit_entity;
pub(super) use events::exports::windlass::durable::orchestrator_events::EventDescription as WitEvent;
pub(super) use orchestrator::windlass::durable::types as wit;
