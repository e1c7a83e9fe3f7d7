//! Fuzz tests with damaged history rows.

use super::script::{Op, player};
use crate::fuzz::Target;
use crate::model::{Turn, codec};
use crate::replay::{Ledger, Outstanding};

#[test]
fn fuzz_history_rows_are_folded_and_replayed_or_refused() {
    let program = [
        vec![Op::Call("a".into()), Op::EventOrSleep("b".into(), 5)],
        vec![Op::Child("c".into()), Op::ContinueAsNew(1)],
    ];
    // An arrival or a decision of two bytes uses several hundred in memory, and a list grows by doubling.
    Target::new("history").memory(4 << 20, 2_000).run(|row| {
        let Ok(turn) = codec::decode::<Turn>(row) else {
            return false;
        };
        let written = codec::encode(&turn);
        let again: Turn = codec::decode(&written).expect("an encoded turn can be decoded");
        // Compared as bytes, because NaN is not equal to itself.
        assert_eq!(codec::encode(&again), written);
        let mut ledger = Ledger::default();
        if ledger.apply(&turn).is_err() {
            return true;
        }
        let _ = (ledger.next_due(), ledger.due_at(turn.at).count());
        for (_, outstanding) in ledger.tasks() {
            match outstanding {
                Outstanding::Activity(call) => drop(call.deadline()),
                Outstanding::SubOrchestration(call) => drop((call.deadline(), call.child_id(2))),
                Outstanding::Entity(_) | Outstanding::Lock | Outstanding::Timer { .. } => {}
            }
        }
        // The row is not of this program. Replay must return, with any result.
        let _ = player(&program).replay(&turn);
        true
    });
}
