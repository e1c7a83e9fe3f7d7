//! Tests of a batch that parses real PDF files inside the sandbox.

use std::collections::BTreeMap;
use std::fs;

use harness::World;
use serde_json::{Value, json};

#[tokio::test]
async fn every_invoice_is_parsed_correctly_or_rejected_for_the_right_reason() {
    let expected = expected();
    let world = World::start(&["invoices", "invoices_activities"]).await;
    let input = world.input(json!({}));
    world.begin("ProcessInvoicesBatch", "all", &input).await;
    let report = world.output_of("all").await;

    let good: Vec<_> = expected.iter().filter(|file| file["invoice"].is_object()).collect();
    let broken: Vec<_> = expected.iter().filter(|file| file["error"].is_object()).collect();
    assert!(good.len() >= 20 && broken.len() >= 5);
    assert_eq!(report["saved"], good.len(), "{report:#}");

    let saved = world.backend.get("/invoices").await;
    let saved: BTreeMap<_, _> = list(&saved)
        .iter()
        .map(|invoice| (text(&invoice["file"]), invoice))
        .collect();
    for file in &good {
        let (name, wanted) = (text(&file["file"]), &file["invoice"]);
        let found = saved[name];
        for field in [
            "number",
            "seller",
            "issued",
            "due",
            "currency",
            "subtotalCents",
            "taxCents",
            "totalCents",
        ] {
            assert_eq!(found[field], wanted[field], "{name}: {field}");
        }
        let lines = found["lines"]
            .as_array()
            .map_or_else(|| found["lines"].as_u64(), |lines| u64::try_from(lines.len()).ok());
        assert_eq!(lines, wanted["lines"].as_u64(), "{name}: lines");
    }

    let failed: BTreeMap<_, _> = list(&report["failed"])
        .iter()
        .map(|failed| (text(&failed["file"]), text(&failed["errorType"])))
        .collect();
    let wanted: BTreeMap<_, _> = broken
        .iter()
        .map(|file| (text(&file["file"]), text(&file["error"]["type"])))
        .collect();
    assert_eq!(failed, wanted);
    let logged = world.backend.get("/errors").await;
    let logged: BTreeMap<_, _> = list(&logged)
        .iter()
        .map(|error| (text(&error["source"]), text(&error["errorType"])))
        .collect();
    assert_eq!(logged, wanted);

    let mut totals = BTreeMap::<_, i64>::new();
    for file in &good {
        let cents = file["invoice"]["totalCents"].as_i64().expect("cents");
        *totals.entry(text(&file["invoice"]["currency"])).or_default() += cents;
    }
    assert_eq!(report["totals"], json!(totals));
    let done = world.status("all").await["customStatus"].clone();
    assert_eq!(done, json!({ "done": expected.len(), "of": expected.len() }));
    world.stop().await;
}

fn expected() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sample-modules/data/expected.json");
    let text = fs::read_to_string(path).expect("the data of the samples is in the repository");
    serde_json::from_str(&text).expect("a list")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
