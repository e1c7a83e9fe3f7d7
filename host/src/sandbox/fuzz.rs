//! Fuzz tests with malformed components, descriptions, rules, addresses and output.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    bindings::{WitEvent, wit, wit_entity},
    describe::Described,
    description,
    line_buffer::{LineBuffer, MAX_LINE_BYTES},
    tests::sandbox,
    trap::PanicWatch,
    validate,
};
use crate::fuzz::{Target, corpus, drive, near};
use crate::grants::{Destination, EgressRule};
use crate::model::{FunctionKind, entity::entity_name};
use crate::schema::SchemaValidator;

/// Maximum size of a component that is compiled and described, in bytes, because compiling is slow.
const COMPILED_BYTES: usize = 8 << 10;

/// The sample modules, if they are built.
fn sample_modules() -> Vec<Vec<u8>> {
    let folder: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "../sample-modules/target/wasm32-wasip2/release",
    ]
    .iter()
    .collect();
    ["bench_activities", "hostile_no_export", "std_everywhere"]
        .iter()
        .filter_map(|name| fs::read(folder.join(name).with_extension("wasm")).ok())
        .collect()
}

#[test]
fn fuzz_upload_is_accepted_or_refused() {
    let sandbox = sandbox();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // A validator keeps types in memory, and small components may be compiled.
    let target = Target::new("upload").cases(1_000).memory(16 << 20, 100);
    target.seeds(sample_modules()).run(|component| {
        if validate::validate(component, 1 << 20).is_err() {
            return false;
        }
        if component.len() > COMPILED_BYTES {
            return true;
        }
        let inspected = runtime.block_on(sandbox.sandbox.inspect(Bytes::copy_from_slice(component)));
        if let Err(refused) = inspected {
            assert!(!refused.is_transient(), "the error is not the host's: {refused}");
            assert!(refused.to_string().len() < 10_000, "{refused}");
        }
        true
    });
}

/// Texts of a description: names and schemas of all kinds.
fn text() -> impl Strategy<Value = String> {
    let schemas = corpus("schema").into_iter().chain(corpus("name"));
    let near = near(schemas.collect(), Vec::new());
    prop_oneof![
        "[A-Za-z]{0,8}".prop_map(String::from),
        near.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

prop_compose! {
    fn retry_policy()(
        first_interval_ms: u64,
        backoff_coefficient: f64,
        max_interval_ms: Option<u64>,
        max_attempts: u32,
        types in prop::collection::vec(text(), 0..80),
    ) -> wit::RetryPolicy {
        wit::RetryPolicy {
            first_interval_ms,
            backoff_coefficient,
            max_interval_ms,
            max_attempts,
            non_retryable_error_types: types,
        }
    }
}

prop_compose! {
    fn function()(
        name in text(),
        doc in text(),
        input_schema in prop::option::of(text()),
        output_schema in prop::option::of(text()),
        default_options in prop::option::of((prop::option::of(retry_policy()), any::<Option<u64>>(), any::<Option<u64>>())),
    ) -> wit::FunctionDescription {
        let options = default_options.map(|(retry, attempt_timeout_ms, timeout_ms)| wit::ActivityOptions {
            retry,
            attempt_timeout_ms,
            timeout_ms,
        });
        wit::FunctionDescription { name, doc, input_schema, output_schema, default_options: options }
    }
}

/// Descriptions that modules may return.
fn described() -> impl Strategy<Value = (wit::ModuleDescription, Vec<WitEvent>)> {
    (
        prop::collection::vec(function(), 0..5),
        text(),
        prop::collection::vec(event(), 0..3),
    )
        .prop_map(|(functions, sdk, events)| (wit::ModuleDescription { functions, sdk }, events))
}

prop_compose! {
    fn event()(
        orchestration in text(),
        name in text(),
        payload_schema in prop::option::of(text()),
    ) -> WitEvent {
        WitEvent { orchestration, name, payload_schema }
    }
}

#[test]
fn fuzz_description_is_valid_or_refused() {
    let check = |(module, events)| {
        let described = Described::Functions { module, events };
        let Ok(description) = description::check(FunctionKind::Activity, described) else {
            return;
        };
        assert!(description.sdk.len() <= 100 && !description.functions.is_empty());
        for schema in description
            .events
            .iter()
            .filter_map(|event| event.payload_schema.as_ref())
        {
            assert!(SchemaValidator::compile(schema).is_ok());
        }
        for function in &description.functions {
            assert!(function.doc.len() <= 2_000);
            for schema in [&function.input_schema, &function.output_schema].into_iter().flatten() {
                assert!(SchemaValidator::compile(schema).is_ok());
            }
        }
    };
    drive("description", 300, &described(), check, |reason, described| {
        panic!("{reason}\n{described:#?}")
    });
}

prop_compose! {
    fn operation()(
        name in text(),
        doc in text(),
        input_schema in prop::option::of(text()),
        output_schema in prop::option::of(text()),
    ) -> wit_entity::OperationDescription {
        wit_entity::OperationDescription { name, doc, input_schema, output_schema }
    }
}

prop_compose! {
    fn entity()(
        name in text(),
        doc in text(),
        state_schema in prop::option::of(text()),
        operations in prop::collection::vec(operation(), 0..3),
    ) -> wit_entity::EntityDescription {
        wit_entity::EntityDescription { name, doc, state_schema, operations }
    }
}

#[test]
fn fuzz_description_of_entities_is_valid_or_refused() {
    let entities = (prop::collection::vec(entity(), 0..3), text())
        .prop_map(|(entities, sdk)| wit_entity::EntityModuleDescription { entities, sdk });
    let check = |module| {
        let Ok(description) = description::check(FunctionKind::Entity, Described::Entities(module)) else {
            return;
        };
        assert!(description.sdk.len() <= 100 && !description.entities.is_empty());
        assert_eq!(description.functions.len(), description.entities.len());
        for (function, entity) in description.functions.iter().zip(&description.entities) {
            assert_eq!(entity_name(&entity.name).as_ref(), Ok(&function.name));
            let schemas = entity.operations.iter().flat_map(|operation| {
                assert!((1..=200).contains(&operation.name.len()) && operation.doc.len() <= 2_000);
                [&operation.input_schema, &operation.output_schema]
            });
            for schema in schemas.chain([&entity.state_schema]).flatten() {
                assert!(SchemaValidator::compile(schema).is_ok());
            }
        }
    };
    drive("entity", 300, &entities, check, |reason, described| {
        panic!("{reason}\n{described:#?}")
    });
}

#[test]
fn fuzz_egress_rule_round_trips_through_its_text() {
    let words = [
        "http://",
        "https://",
        "*.",
        "[::1]",
        "::ffff:",
        "127.0.0.1",
        "@",
        ":443",
        ":0",
        "%2e",
        ".",
        "xn--",
    ];
    Target::new("egress").words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let destination = text.parse().ok().as_ref().and_then(Destination::of);
        if let Some(destination) = &destination {
            let written: EgressRule = destination.to_string().parse().expect("a destination can be allowed");
            assert_eq!(written.to_string(), destination.to_string());
        }
        let rule = text.parse::<EgressRule>();
        if let Ok(rule) = &rule {
            let again = rule.to_string().parse::<EgressRule>();
            assert_eq!(again.as_ref(), Ok(rule));
        }
        destination.is_some() || rule.is_ok()
    });
}

#[test]
fn fuzz_output_is_split_into_lines() {
    let words = [
        "\n",
        "\r\n",
        "thread 'main' panicked at ",
        "panicked at ",
        "note: ",
        "é",
        "\u{fffd}",
    ];
    Target::new("output").words(&words).run(|bytes| {
        let (mut buffer, mut watch) = (LineBuffer::default(), PanicWatch::default());
        let mut look = |line: &str| {
            // Each byte that is not UTF-8 becomes a character of three bytes.
            assert!(line.len() <= 3 * MAX_LINE_BYTES);
            watch.line(line);
            watch.logged(line);
        };
        for written in bytes.chunks(100) {
            buffer.write(written, &mut look);
        }
        buffer.finish(&mut look);
        let _ = watch.take();
        true
    });
}
