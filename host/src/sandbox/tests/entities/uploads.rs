//! Tests of accepted and refused modules of entities.

use expect_test::{Expect, expect};

use crate::model::{EntityDescription, FunctionKind, OperationDescription};

use super::{Guest, module::EntityModule, sandbox};

async fn check(component: Vec<u8>, expected: Expect) {
    let refused = sandbox().sandbox.inspect(component.into()).await.unwrap_err();
    expected.assert_eq(&format!("{}: {refused}", refused.code()));
}

fn none() -> EntityModule {
    EntityModule::new().without_entities()
}

#[tokio::test]
async fn a_module_of_entities_is_described() {
    let schema = r#"{"type":"integer"}"#;
    let module = EntityModule::new().entity("Bank Vault", Some(schema), &[("open", Some(schema)), ("Open", None)]);
    let inspected = sandbox().sandbox.inspect(module.build().into()).await.unwrap();
    let description = inspected.description;
    assert_eq!(description.kind, FunctionKind::Entity);
    let functions: Vec<_> = description.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(functions, ["account", "bank vault"]);
    let operation = |name: &str, input_schema: Option<&str>| OperationDescription {
        name: name.into(),
        doc: String::new(),
        input_schema: input_schema.map(Into::into),
        output_schema: None,
    };
    assert_eq!(
        description.entities,
        [
            EntityDescription {
                name: "Account".into(),
                state_schema: None,
                operations: Vec::new(),
            },
            EntityDescription {
                name: "Bank Vault".into(),
                state_schema: Some(schema.into()),
                operations: vec![operation("open", Some(schema)), operation("Open", None)],
            },
        ]
    );
}

#[tokio::test]
async fn compiled_entities_are_loaded_again() {
    let sandbox = sandbox();
    let module = sandbox.module(EntityModule::new().build()).await;
    assert_eq!(module.kind(), FunctionKind::Entity);
    assert!(module.code_bytes() > 0 && sandbox.artefact_bytes() > 0);
    sandbox.sandbox.discard(module.digest(), FunctionKind::Entity).await;
    assert_eq!(sandbox.artefact_bytes(), 0);
}

#[tokio::test]
async fn an_invalid_description_is_refused() {
    check(
        none().build(),
        expect!["module-no-entities: the module describes no entities"],
    )
    .await;
    check(
        none().entity("", None, &[]).build(),
        expect![[r#"module-bad-entity: the entity "" has a name that must not be empty"#]],
    )
    .await;
    check(
        none().entity("a@b", None, &[]).build(),
        expect![[r#"module-bad-entity: the entity "a@b" has a name that must not contain '@'"#]],
    )
    .await;
    check(none().entity(&"a".repeat(201), None, &[]).build(), expect![[r#"module-bad-entity: the entity "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" has a name that is 201 bytes long, at most 200 are allowed"#]]).await;
    check(
        EntityModule::new().entity("ACCOUNT", None, &[]).build(),
        expect![[r#"module-bad-entity: the entity "ACCOUNT" is described twice; letter case does not matter"#]],
    )
    .await;
    check(none().entity("A", Some("{"), &[]).build(), expect![[r#"module-bad-entity: the entity "A" has a state schema that is not JSON: EOF while parsing an object at line 1 column 1"#]]).await;
    check(
        none().entity("A", None, &[("", None)]).build(),
        expect![[r#"module-bad-operation: the operation "" of the entity "A" has a name that must not be empty"#]],
    )
    .await;
    check(
        none().entity("A", None, &[("a\nb", None)]).build(),
        expect![[
            r#"module-bad-operation: the operation "a\nb" of the entity "A" has a name that must not contain '\n'"#
        ]],
    )
    .await;
    check(
        none().entity("A", None, &[("a", None), ("a", None)]).build(),
        expect![[r#"module-bad-operation: the operation "a" of the entity "A" is described twice"#]],
    )
    .await;
    check(
        none().entity("A", None, &[("a", Some(r#"{"type":"strin"}"#))]).build(),
        expect![[r#"module-bad-operation: the operation "a" of the entity "A" has an input schema that is not a JSON Schema: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword"#]],
    )
    .await;
}

#[tokio::test]
async fn a_module_can_have_many_entities_but_not_too_many() {
    let names: Vec<String> = (0..1_001).map(|n| format!("E{n}")).collect();
    let many = |names: &[String]| names.iter().fold(none(), |module, name| module.entity(name, None, &[]));
    sandbox()
        .sandbox
        .inspect(many(&names[..1_000]).build().into())
        .await
        .unwrap();
    check(
        many(&names).build(),
        expect!["module-too-many-entities: the module describes 1001 entities, at most 1000 are allowed"],
    )
    .await;
    let operations: Vec<_> = (0..2_501).map(|n| format!("o{n}")).collect();
    let operations: Vec<_> = operations.iter().map(|name| (name.as_str(), None)).collect();
    let two = |of_second: usize| {
        none()
            .entity("A", None, &operations[1..])
            .entity("B", None, &operations[..of_second])
    };
    sandbox().sandbox.inspect(two(2_500).build().into()).await.unwrap();
    check(
        two(2_501).build(),
        expect![
            "module-too-many-operations: the entities of the module have 5001 operations, at most 5000 are allowed"
        ],
    )
    .await;
}

#[tokio::test]
async fn the_schemas_of_all_operations_are_bounded_together() {
    // The DFA of this pattern does not fit into its cache, so it takes a cache for each thread.
    let schema = r#"{"type":"string","pattern":"(a|b)*a(a|b){12}"}"#;
    let operations: Vec<_> = (0..200).map(|n| format!("o{n}")).collect();
    let operations: Vec<_> = operations.iter().map(|name| (name.as_str(), Some(schema))).collect();
    let module = none().entity("A", None, &operations);
    let refused = sandbox().sandbox.inspect(module.build().into()).await.unwrap_err();
    expect![[r#"module-bad-operation: the operation "o117" of the entity "A" has an input schema that takes, together with the other schemas of the module, more than 64 MiB when it is compiled"#]].assert_eq(&format!("{}: {refused}", refused.code()));
}

#[tokio::test]
async fn describe_has_limits() {
    check(EntityModule::new().describe("unreachable").build(), expect!["module-describe-failed: the module could not describe itself: wasm trap: wasm `unreachable` instruction executed"]).await;
    check(EntityModule::new().describe("(loop $l (br $l))").build(), expect!["module-describe-limit: the module could not describe itself within its limits: the guest used up its 10000000 units of fuel"]).await;
    check(
        EntityModule::new()
            .describe("(call $next-operation (i32.const 2048))")
            .build(),
        expect!["module-describe-failed: the module could not describe itself: scheduling and waiting are not allowed in start-up code or in `describe`"],
    )
    .await;
}

#[tokio::test]
async fn the_interfaces_of_other_kinds_are_refused() {
    let orchestrating = EntityModule::new()
        .wit_import("windlass:durable/orchestration@0.1.0")
        .import(
            "windlass:durable/orchestration@0.1.0",
            "create-timer",
            "(param i64) (result i32)",
        )
        .on("sleep", "(drop (call $create-timer (i64.const 5000)))");
    check(orchestrating.build(), expect![[r#"module-forbidden-import: a module of kind "entity" may not import windlass:durable/orchestration#create-timer"#]]).await;
    let applying = Guest::orchestrator()
        .wit_import("windlass:durable/entity-context@0.1.0")
        .import("windlass:durable/entity-context@0.1.0", "now-ms", "(result i64)")
        .run_first("(drop (call $now-ms))");
    check(applying.build(), expect![[r#"module-forbidden-import: a module of kind "orchestration" may not import windlass:durable/entity-context#now-ms"#]]).await;
}
