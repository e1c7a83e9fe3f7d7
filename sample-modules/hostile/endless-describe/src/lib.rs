//! A module whose `describe` never returns. The host refuses it at upload.

use std::borrow::Cow;
use std::hint::black_box;

use windlass_sdk::prelude::*;
use windlass_sdk::schemars::{JsonSchema, Schema, SchemaGenerator};
use windlass_sdk::serde::{Deserialize, Serialize};

windlass_sdk::export!(orchestrators: [never_described]);

#[derive(Serialize, Deserialize)]
#[serde(crate = "windlass_sdk::serde")]
struct Endless;

impl JsonSchema for Endless {
    fn schema_name() -> Cow<'static, str> {
        "Endless".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut rounds = 0_u64;
        loop {
            rounds = black_box(rounds.wrapping_add(1));
        }
    }
}

/// Its input has a schema that takes forever to generate.
#[orchestrator(name = "HostileNeverDescribed")]
async fn never_described(input: Endless) -> Result<()> {
    let Endless = input;
    Ok(())
}
