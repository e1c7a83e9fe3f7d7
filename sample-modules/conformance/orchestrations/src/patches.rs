//! Patches, of an execution that is new.

use windlass_sdk::prelude::*;

use crate::transcript::Transcript;

/// The transcript of the execution before.
#[payload]
#[derive(Default)]
pub struct Before {
    #[serde(default)]
    lines: Vec<String>,
}

#[orchestrator(name = "ConformancePatches")]
pub async fn patches(ctx: Orchestration, before: Before) -> Result<Vec<String>> {
    let mut lines = before.lines;
    let mut seen = Transcript::new(&ctx);
    ctx.sleep(millis(10)).await;
    let first = ctx.history().payload_bytes;
    ctx.sleep(millis(10)).await;
    let second = ctx.history().payload_bytes;
    seen.saw("a patch", ctx.patched("new-tax"));
    seen.saw("the same patch", ctx.patched("new-tax"));
    ctx.deprecate_patch("old-tax");
    ctx.deprecate_patch("old-tax");
    ctx.deprecate_patch("new-tax");
    seen.saw("a patch after it was deprecated", ctx.patched("old-tax"));
    ctx.sleep(millis(10)).await;
    // A turn with a timer and with names, compared with one that has only a timer.
    let names = ctx.history().payload_bytes - second - (second - first);
    seen.saw("bytes of names in the history", names);
    seen.saw("the same patch in the next turn", ctx.patched("new-tax"));
    lines.extend(seen.lines());
    if ctx.execution() == 1 {
        return ctx.continue_as_new(&Before { lines });
    }
    Ok(lines)
}

/// Asks for a patch whose name is not valid.
#[orchestrator(name = "ConformanceInvalidPatch")]
pub async fn invalid_patch(ctx: Orchestration) -> Result<bool> {
    Ok(ctx.patched(&"x".repeat(257)))
}
