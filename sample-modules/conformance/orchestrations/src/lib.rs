//! The conformance suite: orchestrations that record what they observe.
//!
//! Each returns a transcript, a list of lines. The host and `windlass_sdk::testing` must behave in the same way, so the
//! end-to-end tests run the orchestrations on both and compare. Lines contain no times, which are real in the host, but
//! only whether enough time passed.

mod cancellation;
mod children;
mod events;
mod executions;
mod fan_out;
mod patches;
mod payloads;
mod retries;
mod timeouts;
mod timers;
mod transcript;

/// Exports the cases and the orchestrations that they call, and defines [`in_test_world`].
macro_rules! suite {
    (cases: [$($case:path),+ $(,)?], called: [$($called:path),+ $(,)?]) => {
        windlass_sdk::export!(orchestrators: [$($case,)+ $($called),+]);

        /// The name of each case, and its transcript from `windlass_sdk::testing`.
        #[cfg(not(target_arch = "wasm32"))]
        pub fn in_test_world() -> Vec<(&'static str, Vec<String>)> {
            use windlass_sdk::OrchestrationSignature;

            let world = || test_world()$(.orchestration($called))+;
            vec![$((<$case as OrchestrationSignature>::NAME, world().run($case, &Default::default()).output().clone())),+]
        }
    };
}

suite! {
    cases: [
        retries::retries,
        timeouts::timeouts,
        timers::timers,
        timers::cancels,
        events::early_events,
        events::waits,
        events::declared_events,
        children::children,
        children::child_attempts,
        executions::executions,
        fan_out::fan_out,
        patches::patches,
        payloads::payloads,
    ],
    called: [
        cancellation::cancellable,
        cancellation::cancelled_twice,
        cancellation::parent,
        children::child,
        children::countdown,
        children::idle,
        events::listener,
        patches::invalid_patch,
    ]
}

/// A world with the activity of the suite.
#[cfg(not(target_arch = "wasm32"))]
fn test_world() -> windlass_sdk::testing::World {
    windlass_sdk::testing::World::new().activity(conformance_api::step, |call| {
        let act = call.input.act(call.attempt);
        call.takes(act.duration());
        act.outcome(call.attempt)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_completes_with_a_transcript() {
        for (name, transcript) in super::in_test_world() {
            println!("{name}\n  {}", transcript.join("\n  "));
            assert!(transcript.len() > 3, "{name}");
        }
    }

    #[test]
    fn an_invalid_name_of_a_patch_fails_the_orchestration() {
        let run = super::test_world().run(super::patches::invalid_patch, &());
        assert!(run.failure().is("windlass.limit"));
    }
}
