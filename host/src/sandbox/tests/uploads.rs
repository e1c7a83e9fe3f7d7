//! Tests of accepted and refused uploads, with the code of each refusal.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use expect_test::{Expect, expect};

use crate::model::FunctionKind;
use crate::sandbox::{Compiler, UploadError};

use super::{
    guests::{Guest, component},
    sandbox, sandbox_with,
};

async fn check(component: impl Into<Bytes>, expected: Expect) {
    let refused = sandbox().sandbox.inspect(component.into()).await.unwrap_err();
    expected.assert_eq(&format!("{}: {refused}", refused.code()));
}

#[tokio::test]
async fn a_valid_module_is_described() {
    let sandbox = sandbox();
    for kind in [FunctionKind::Orchestration, FunctionKind::Activity] {
        let component = Guest::new(kind)
            .function("With schema", Some(r#"{"type":"string"}"#))
            .build();
        let inspected = sandbox.sandbox.inspect(component.into()).await.unwrap();
        assert_eq!(inspected.description.kind, kind);
        let functions = &inspected.description.functions;
        assert_eq!(
            functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["Echo", "With schema"]
        );
        assert_eq!(functions[1].input_schema.as_deref(), Some(r#"{"type":"string"}"#));
    }
}

#[tokio::test]
async fn bytes_that_are_not_a_component_are_refused() {
    check(
        "",
        expect!["module-empty: the upload is empty; send the .wasm file as the body"],
    )
    .await;
    check(
        "<html>",
        expect![[r#"module-not-wasm: this is not WebAssembly: the file does not start with \0asm"#]],
    )
    .await;
    check(
        wat::parse_str("(module)").unwrap(),
        expect![
            "module-core: this is a core WebAssembly module, not a component; build it for the target wasm32-wasip2"
        ],
    )
    .await;
    let whole = Guest::orchestrator().build();
    check(
        whole[..whole.len() / 2].to_vec(),
        expect!["module-truncated: the component is cut off: unexpected end-of-file (at byte 1557)"],
    )
    .await;
    check(whole[..8].to_vec(), expect!["module-no-known-export: the component exports none of windlass:durable/orchestrator, windlass:durable/activity and windlass:durable/entity, only nothing"]).await;
    let mut damaged = whole.clone();
    damaged[12..20].fill(0xff);
    check(damaged, expect!["module-invalid: the component is not valid: invalid leading byte (0xff) for component defined type (at byte 12)"]).await;
    let small = sandbox_with(|options| options.max_module_bytes = 100);
    let refused = small.sandbox.inspect(vec![0; 101].into()).await.unwrap_err();
    expect!["the module has 101 bytes, at most 100 are allowed"].assert_eq(&refused.to_string());
}

#[tokio::test]
async fn a_component_must_be_of_one_kind() {
    check(wat::parse_str("(component)").unwrap(), expect!["module-no-known-export: the component exports none of windlass:durable/orchestrator, windlass:durable/activity and windlass:durable/entity, only nothing"]).await;
    let core = |exports: &[&str]| {
        let functions: String = exports
            .iter()
            .flat_map(|export| {
                [
                    format!(r#"(func (export "{export}#describe") (result i32) unreachable)"#),
                    format!(r#"(func (export "{export}#run") (param i32 i32 i32 i32) (result i32) unreachable)"#),
                ]
            })
            .collect();
        format!(
            r#"(module (memory (export "memory") 1) {functions}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#
        )
    };
    let both = ["windlass:durable/orchestrator@0.1.0", "windlass:durable/activity@0.1.0"];
    let wit = "package test:guest; world guest {
        export windlass:durable/orchestrator@0.1.0; export windlass:durable/activity@0.1.0; }";
    check(component(&core(&both), wit), expect!["module-several-kinds: a module has one kind, but this component exports windlass:durable/orchestrator@0.1.0, windlass:durable/activity@0.1.0; split it in two"]).await;

    let other = r#"(module (func (export "wasi:cli/run@0.2.12#run") (result i32) unreachable))"#;
    check(
        component(other, "package test:guest; world guest { export wasi:cli/run@0.2.12; }"),
        expect!["module-no-known-export: the component exports none of windlass:durable/orchestrator, windlass:durable/activity and windlass:durable/entity, only wasi:cli/run@0.2.12"],
    )
    .await;
}

#[tokio::test]
async fn forbidden_imports_are_refused_with_their_name() {
    let sockets = |guest: Guest| {
        guest
            .wit_import("wasi:sockets/tcp@0.2.12")
            .import(
                "wasi:sockets/tcp@0.2.12",
                "[method]tcp-socket.is-listening",
                "(param i32) (result i32)",
            )
            .run_first("(drop (call $is-listening (i32.const 0)))")
            .build()
    };
    check(sockets(Guest::orchestrator()), expect![[r#"module-forbidden-import: a module of kind "orchestration" may not import wasi:sockets/tcp#[method]tcp-socket.is-listening"#]]).await;
    check(sockets(Guest::activity()), expect![[r#"module-forbidden-import: a module of kind "activity" may not import wasi:sockets/tcp#[method]tcp-socket.is-listening"#]]).await;
    let http = |guest: Guest| {
        guest
            .wit_import("wasi:http/types@0.2.12")
            .import("wasi:http/types@0.2.12", "[constructor]fields", "(result i32)")
            .run_first("(drop (call $fields))")
            .build()
    };
    check(http(Guest::orchestrator()), expect![[r#"module-forbidden-import: a module of kind "orchestration" may not import wasi:http/types#[constructor]fields"#]]).await;
    sandbox().sandbox.inspect(http(Guest::activity()).into()).await.unwrap();

    let foreign = r#"(module (import "other:thing/api" "do" (func)) (memory (export "memory") 1)
        (func (export "windlass:durable/orchestrator@0.1.0#describe") (result i32) unreachable)
        (func (export "windlass:durable/orchestrator@0.1.0#run") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#;
    let wit = "package test:guest;
        interface unused {}
        world guest { import other: interface { do: func(); } export windlass:durable/orchestrator@0.1.0; }";
    check(
        component(&foreign.replace("other:thing/api", "other"), wit),
        expect!["module-unknown-import: this host does not offer the import other#do"],
    )
    .await;
}

#[tokio::test]
async fn resource_types_of_sockets_and_http_without_functions_are_accepted() {
    for kind in [FunctionKind::Orchestration, FunctionKind::Activity] {
        let component = Guest::new(kind)
            .wit_import("wasi:sockets/tcp@0.2.12")
            .wit_import("wasi:sockets/udp@0.2.12")
            .wit_import("wasi:http/types@0.2.12")
            .import("wasi:sockets/tcp@0.2.12", "[resource-drop]tcp-socket", "(param i32)")
            .import("wasi:sockets/udp@0.2.12", "[resource-drop]udp-socket", "(param i32)")
            .import("wasi:http/types@0.2.12", "[resource-drop]fields", "(param i32)")
            .build();
        sandbox().sandbox.inspect(component.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_component_that_exceeds_the_limits_of_the_pool_is_refused() {
    check(
        Guest::orchestrator().item("(table 200000 funcref)").build(),
        expect!["module-too-demanding: the component needs more than a guest is allowed: module table does not fit in pooling allocator requirements: table index 0 has a minimum element size of 200000 which exceeds the limit of 100000"],
    )
    .await;
    check(
        Guest::orchestrator()
            .item("(memory 1) (memory 1) (memory 1) (memory 1)")
            .build(),
        expect!["module-too-demanding: the component needs more than a guest is allowed: module memory does not fit in pooling allocator requirements: defined memories count of 5 exceeds the per-instance limit of 4"],
    )
    .await;
    check(Guest::orchestrator().item("(memory 1000)").build(), expect!["module-too-demanding: the component needs more than a guest is allowed: module memory does not fit in pooling allocator requirements: memory index 1 is unsupported in this pooling allocator configuration: memory has a minimum byte size of 65536000 which exceeds the limit of 0x400000 bytes"]).await;
}

#[tokio::test]
async fn disabled_wasm_proposals_are_refused() {
    check(
        Guest::orchestrator().item("(memory i64 1)").build(),
        expect![
            "module-invalid: the component is not valid: memory64 must be enabled for 64-bit memories (at byte 558)"
        ],
    )
    .await;
    check(
        Guest::orchestrator().item("(memory 1 1 shared)").build(),
        expect![
            "module-invalid: the component is not valid: threads must be enabled for shared memories (at byte 558)"
        ],
    )
    .await;
}

#[tokio::test]
async fn start_up_code_and_describe_have_limits() {
    check(Guest::orchestrator().describe("unreachable").build(), expect!["module-describe-failed: the module could not describe itself: wasm trap: wasm `unreachable` instruction executed"]).await;
    check(
        Guest::activity().describe("(loop $l (br $l))").build(),
        expect!["module-describe-limit: the module could not describe itself within its limits: the guest used up its 10000000 units of fuel"],
    )
    .await;
    check(
        Guest::orchestrator()
            .item("(func $s (loop $l (br $l))) (start $s)")
            .build(),
        expect!["module-describe-limit: the module could not describe itself within its limits: the guest used up its 10000000 units of fuel"],
    )
    .await;
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    check(Guest::orchestrator().describe(grow).build(), expect!["module-describe-limit: the module could not describe itself within its limits: the guest exceeded its limit of 4194304 bytes of memory"]).await;
    let timer = |guest: Guest| guest.durable("create-timer", "(param i64) (result i32)");
    let call = "(drop (call $create-timer (i64.const 0)))";
    check(timer(Guest::orchestrator()).describe(call).build(), expect!["module-describe-failed: the module could not describe itself: scheduling and waiting are not allowed in start-up code or in `describe`"]).await;
    let start = format!("(func $s {call}) (start $s)");
    check(timer(Guest::orchestrator()).item(&start).build(), expect!["module-describe-failed: the module could not describe itself: scheduling and waiting are not allowed in start-up code or in `describe`"]).await;

    let parked = Guest::activity()
        .wit_import("wasi:clocks/monotonic-clock@0.2.12")
        .import(
            "wasi:clocks/monotonic-clock@0.2.12",
            "subscribe-duration",
            "(param i64) (result i32)",
        )
        .import("wasi:io/poll@0.2.12", "[method]pollable.block", "(param i32)")
        .describe("(call $block (call $subscribe-duration (i64.const 3600000000000)))");
    let impatient = sandbox_with(|options| options.describe.timeout = Duration::from_millis(50));
    let refused = impatient.sandbox.inspect(parked.build().into()).await.unwrap_err();
    expect!["module-describe-limit: the module could not describe itself within its limits: it took longer than 50ms"]
        .assert_eq(&format!("{}: {refused}", refused.code()));
}

#[tokio::test]
async fn only_an_accepted_module_leaves_compiled_code() {
    let sandbox = sandbox();
    for refused in [
        Guest::orchestrator().describe("unreachable").build(),
        Guest::activity().describe("(loop $l (br $l))").build(),
    ] {
        sandbox.sandbox.inspect(refused.into()).await.unwrap_err();
        assert_eq!(sandbox.artefact_bytes(), 0);
    }
    let accepted = Bytes::from(Guest::activity().build());
    let inspected = sandbox.sandbox.inspect(accepted.clone()).await.unwrap();
    assert!(inspected.is_new && sandbox.artefact_bytes() > 0);
    assert!(!sandbox.sandbox.inspect(accepted).await.unwrap().is_new);
    let kind = inspected.description.kind;
    sandbox.sandbox.discard(inspected.digest, kind).await;
    assert_eq!(sandbox.artefact_bytes(), 0);
}

#[tokio::test]
async fn modules_whose_compiled_code_is_missing_are_compiled_a_few_at_a_time() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    const MODULES: usize = 12;
    let sandbox = sandbox();
    let mut modules = Vec::new();
    for number in 0..MODULES {
        let module = Bytes::from(Guest::activity().function(&format!("F{number}"), None).build());
        let inspected = sandbox.sandbox.inspect(module.clone()).await.unwrap();
        assert!(inspected.compiled_bytes > module.len() as u64);
        modules.push((inspected.digest, inspected.description.kind, module));
    }
    let removed = async |limit| {
        let others = sandbox.sandbox.discard_others(BTreeSet::new(), Duration::ZERO, limit);
        others.await
    };
    assert_eq!((removed(8).await, removed(8).await), (8, MODULES - 8));
    assert_eq!(sandbox.artefact_bytes(), 0);

    let (active, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let loads = modules.into_iter().map(|(digest, kind, module)| {
        let (sandbox, active, most) = (&sandbox.sandbox, &active, &most);
        async move {
            let bytes = || {
                most.fetch_max(active.fetch_add(1, Relaxed) + 1, Relaxed);
                async { Ok::<_, std::io::Error>(module) }
            };
            sandbox.load(digest, kind, bytes).await.unwrap();
            active.fetch_sub(1, Relaxed);
        }
    });
    futures::future::join_all(loads).await;
    assert_eq!(most.into_inner(), super::super::MAX_LOADS_THAT_COMPILE);
}

#[tokio::test]
async fn an_invalid_description_is_refused() {
    let functions = || Guest::orchestrator().without_functions();
    check(
        functions().build(),
        expect!["module-no-functions: the module describes no functions"],
    )
    .await;
    check(
        functions().function("A", None).function("A", None).build(),
        expect![[r#"module-duplicate-function: the module describes two functions named "A""#]],
    )
    .await;
    check(
        functions().function("", None).build(),
        expect![[r#"module-bad-function-name: the function name "" must not be empty"#]],
    )
    .await;
    check(
        functions().function("a\nb", None).build(),
        expect![[r#"module-bad-function-name: the function name "a\nb" must not contain '\n'"#]],
    )
    .await;
    check(functions().function("A", Some("{")).build(), expect![[r#"module-bad-schema: the input schema of the function "A" is not JSON: EOF while parsing an object at line 1 column 1"#]]).await;
    check(
        functions().function("A", Some(r#"{"type":"strin"}"#)).build(),
        expect![[r#"module-bad-schema: the input schema of the function "A" is not a JSON Schema: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword"#]],
    )
    .await;
    let reference = r#"{"$ref":"http://example.com/schema.json"}"#;
    check(functions().function("A", Some(reference)).build(), expect![[r#"module-bad-schema: the input schema of the function "A" refers to "http://example.com/schema.json"; only references within it, like #/$defs/Name, are followed"#]]).await;
}

#[tokio::test]
async fn scattered_data_becomes_an_image_up_to_a_limit() {
    const DATA: usize = 512 << 10;
    // The guest's own data is in its first memory; this data is in a second one.
    let artefact_bytes = async |span: usize| {
        let text = "a".repeat(DATA - 1);
        let memory = format!(
            r#"(memory $snapshot 33) (data (memory $snapshot) (i32.const 0) "{text}")
               (data (memory $snapshot) (i32.const {}) "z")"#,
            span - 1
        );
        let sandbox = sandbox();
        let component = Guest::orchestrator().item(&memory).build();
        sandbox.sandbox.inspect(component.into()).await.unwrap();
        sandbox.artefact_bytes() as usize
    };
    let dense = artefact_bytes(4 * DATA).await;
    assert!(dense > 4 * DATA, "{dense}");
    let sparse = artefact_bytes(4 * DATA + 1).await;
    assert!(sparse < 2 * DATA, "{sparse}");
}

#[tokio::test]
async fn errors_of_the_host_do_not_reveal_its_files() {
    let sandbox = sandbox_with(|options| options.compiler = Compiler::child("/no/such/compiler"));
    let component = Bytes::from(Guest::activity().build());
    for what in ["the compiler is missing", "the folder is missing"] {
        let refused = sandbox.sandbox.inspect(component.clone()).await.unwrap_err();
        assert_eq!(refused, UploadError::Host, "{what}");
        expect!["the host could not inspect the module; the cause is in the host's log"]
            .assert_eq(&refused.to_string());
        std::fs::remove_dir_all(&sandbox.sandbox.options().cache_dir).unwrap_or_default();
    }
}

#[tokio::test]
async fn the_error_output_of_a_compiling_child_is_only_shown_if_it_refused_the_module() {
    use std::os::unix::fs::PermissionsExt;

    let check = async |exit_code: u8, expected: Expect| {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("compiler");
        std::fs::write(
            &program,
            format!("#!/bin/sh\necho /srv/windlass: no >&2\nexit {exit_code}\n"),
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let sandbox = sandbox_with(|options| options.compiler = Compiler::child(&program));
        let refused = sandbox
            .sandbox
            .inspect(Guest::activity().build().into())
            .await
            .unwrap_err();
        expected.assert_eq(&format!("{}: {refused}", refused.code()));
    };
    check(
        1,
        expect!["module-compile-failed: the component could not be compiled: /srv/windlass: no"],
    )
    .await;
    check(
        3,
        expect!["module-host-error: the host could not inspect the module; the cause is in the host's log"],
    )
    .await;
    check(
        101,
        expect![
            "module-compile-failed: the component could not be compiled: the compiler ended with exit status: 101 (it may use 60 s of CPU time and 4294967296 bytes of address space)"
        ],
    )
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_work_of_an_upload_gives_way_to_that_of_the_host() {
    let niceness = || rustix::process::getpriority_process(None).unwrap();
    let own = niceness();
    assert!(crate::sandbox::in_background(niceness).await.unwrap() > own);
    assert_eq!(niceness(), own);
}
