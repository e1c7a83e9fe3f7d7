//! A module whose inputs take as long to check as the host allows: about a second for a kilobyte.

use std::borrow::Cow;

use windlass_sdk::prelude::*;
use windlass_sdk::schemars::{JsonSchema, Schema, SchemaGenerator};
use windlass_sdk::serde::{Deserialize, Serialize};
use windlass_sdk::serde_json::{Map, Value, json};

windlass_sdk::export!(orchestrators: [slow_input, calls_slow_inputs]);

/// The patterns of the schema. The engine simulates each of them, with hundreds of states for each byte of a name.
const PATTERNS: usize = 10;

/// An object of which the names are checked.
#[derive(Serialize, Deserialize)]
#[serde(crate = "windlass_sdk::serde")]
struct Slow(Map<String, Value>);

impl JsonSchema for Slow {
    fn schema_name() -> Cow<'static, str> {
        "Slow".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let patterns: Map<_, _> = (0..PATTERNS)
            .map(|n| (format!("(?:a|ba)[ab]{{{}}}[c-z]", 900 - n), json!({})))
            .collect();
        let mut schema = Map::new();
        schema.insert("type".into(), json!("object"));
        schema.insert("patternProperties".into(), Value::Object(patterns));
        schema.into()
    }
}

/// Returns the number of members of its input, which is slow to check.
#[orchestrator(name = "HostileSlowInput")]
async fn slow_input(input: Slow) -> Result<usize> {
    Ok(input.0.len())
}

/// What `HostileCallsSlowInputs` calls.
#[payload]
pub struct SlowCalls {
    /// How many calls.
    pub calls: usize,
    /// The name in the input of each.
    pub name: String,
}

/// Calls an orchestration with the same slow input so often in one turn, and waits for all calls.
#[orchestrator(name = "HostileCallsSlowInputs")]
async fn calls_slow_inputs(ctx: Orchestration, load: SlowCalls) -> Result<usize> {
    let input = Slow(Map::from_iter([(load.name, json!(1))]));
    let calls = (0..load.calls).map(|_| ctx.sub_orchestration_named::<usize>("HostileSlowInput", &input));
    Ok(try_join_all(calls).await?.len())
}
