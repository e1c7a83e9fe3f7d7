//! A module with fifteen schemas that would compile to gigabytes. The host refuses it at upload.

use std::borrow::Cow;

use windlass_sdk::prelude::*;
use windlass_sdk::schemars::{JsonSchema, Schema, SchemaGenerator};
use windlass_sdk::serde::{Deserialize, Serialize};
use windlass_sdk::serde_json::{Map, Value, json};

/// The patterns of one schema. Each matches any letter, so it compiles to about 67 KB.
const PATTERNS: usize = 4_000;

#[derive(Serialize, Deserialize)]
#[serde(crate = "windlass_sdk::serde")]
struct Large;

impl JsonSchema for Large {
    fn schema_name() -> Cow<'static, str> {
        "Large".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let patterns: Map<_, _> = (0..PATTERNS).map(|n| (format!(r"\p{{L}}0x{n}"), json!({}))).collect();
        let mut schema = Map::new();
        schema.insert("patternProperties".into(), Value::Object(patterns));
        schema.into()
    }
}

macro_rules! with_large_inputs {
    ($($function:ident: $name:literal),*) => {
        windlass_sdk::export!(orchestrators: [$($function),*]);

        $(
            #[doc = "Its input has a large schema."]
            #[orchestrator(name = $name)]
            async fn $function(input: Large) -> Result<()> {
                let Large = input;
                Ok(())
            }
        )*
    };
}

with_large_inputs!(
    large_1: "HostileLarge1", large_2: "HostileLarge2", large_3: "HostileLarge3", large_4: "HostileLarge4",
    large_5: "HostileLarge5", large_6: "HostileLarge6", large_7: "HostileLarge7", large_8: "HostileLarge8",
    large_9: "HostileLarge9", large_10: "HostileLarge10", large_11: "HostileLarge11", large_12: "HostileLarge12",
    large_13: "HostileLarge13", large_14: "HostileLarge14", large_15: "HostileLarge15"
);
