//! Checks what must hold at the end.

use std::sync::Arc;

use super::super::guests::Functions;
use super::super::programs::Program;
use super::{Records, Watch, entities};
use crate::model::{
    Arrival, Decision, EntityId, InstanceNumber, InstanceStatus, RewindPoint, Rewinds, Started, Turn, codec,
    failure::types,
};
use crate::replay::{Execution, Player, TurnLimits};
use crate::store::simulated::Content;

impl Watch {
    /// Checks that everything has ended and was swept, and that every history replays to the same decisions.
    pub(in super::super) fn at_the_end(&self, content: &Content, programs: &Arc<Vec<Program>>) {
        let mut records = self.lock();
        for (number, rows) in &content.instances {
            match &rows.row {
                None => records.report(*number, "rows of it were never swept"),
                Some(row) if EntityId::of(&row.id).is_some() => {
                    if let Some(what) = entities::unfinished(row, rows) {
                        records.report(*number, format!("the entity {what}: {row:?}"));
                    }
                }
                Some(row) if !row.status.has_ended() => records.report(*number, format!("it never ended: {row:?}")),
                // A failed instance keeps what it may need after a rewind.
                Some(row) if row.status == InstanceStatus::Failed => {}
                Some(_) if !rows.inbox.is_empty() => records.report(*number, "it has ended and has messages"),
                Some(_) => {}
            }
        }
        if !records.running.is_empty() {
            let running = records.running.len();
            records.violations.push(format!("{running} attempts still run"));
        }
        records.replay_everything(programs);
        records.entities_fit(content);
    }
}

impl Records {
    fn replay_everything(&mut self, programs: &Arc<Vec<Program>>) {
        let runs: Vec<_> = self.runs.keys().copied().collect();
        for (number, execution) in runs {
            let all = (number, execution, crate::model::TurnNumber(0))..;
            let of_run = self
                .turns
                .range(all)
                .take_while(|((n, e, _), _)| (*n, *e) == (number, execution));
            let turns: Vec<Turn> = of_run.filter_map(|(_, body)| codec::decode(body).ok()).collect();
            if let Err(what) = self.replay(number, &turns, programs) {
                self.report(number, format!("execution {execution} does not replay: {what}"));
            }
        }
    }

    /// Replays a history cold and runs it anew: both must give what was recorded.
    fn replay(&self, number: InstanceNumber, turns: &[Turn], programs: &Arc<Vec<Program>>) -> Result<(), String> {
        let Some(Arrival::Started(started)) = turns.first().and_then(|turn| turn.arrivals.first()) else {
            // Terminated before the first turn of an execution.
            return Ok(());
        };
        let Some(id) = self.ids.get(&number) else {
            // Created, ended and purged in one batch, so no commit showed it.
            return Ok(());
        };
        let player = || {
            let program = programs.iter().find(|program| program.name == started.function);
            let script = program.expect("only programs were started").script(&started.input);
            let started: Arc<Started> = Arc::new((**started).clone());
            let directory = Arc::new(Functions(programs.clone()));
            Player::new(
                script,
                Execution::new(id.clone(), started, directory, TurnLimits::default()),
            )
        };
        let mut rewinds = Rewinds::none(started.execution);
        for turn in turns {
            if let Some(Arrival::Rewound { from, .. }) = turn.arrivals.first() {
                let (from, row) = (*from, turn.number);
                rewinds = rewinds.with(RewindPoint { from, row });
            }
        }
        let (mut cold, mut fresh) = (player(), player());
        cold = cold.with_rewinds(rewinds.clone());
        fresh = fresh.with_rewinds(rewinds.clone());
        for turn in turns {
            cold.replay(turn).map_err(|error| error.to_string())?;
            if rewinds.supersede(turn.number) || turn.is_rewind() {
                fresh.replay(turn).map_err(|error| error.to_string())?;
                continue;
            }
            if cut_off(turn) {
                break;
            }
            let again = fresh
                .advance(turn.at, turn.arrivals.clone())
                .map_err(|error| error.to_string())?;
            if codec::encode(&again.turn) != codec::encode(turn) {
                return Err(format!("{turn:?} became {:?}", again.turn));
            }
        }
        Ok(())
    }
}

/// Whether the host, not the guest, ended the execution with this turn.
fn cut_off(turn: &Turn) -> bool {
    let terminated = matches!(turn.arrivals.last(), Some(Arrival::Terminated { .. }));
    let limited = matches!(&turn.decisions[..], [Decision::Fail { failure }] if failure.error_type == types::LIMIT);
    terminated || limited || turn.ends_before_start()
}
