//! Checks entities: every operation that was decided is applied exactly once (after a rewind of its sender, at least once),
//! those of one sender in order, and no lock is left.

use std::collections::{BTreeMap, BTreeSet};

use super::Records;
use crate::model::{Decision, EntityId, EntityState, InstanceStatus, Payload, Timestamp, Turn, codec};
use crate::store::simulated::{Content, InstanceRow, InstanceRows};

fn state(row: &InstanceRow) -> EntityState {
    let stored = row.entity.as_ref();
    stored.map_or_else(EntityState::default, |bytes| {
        codec::decode(bytes).expect("a state was encoded")
    })
}

/// Why an entity that nothing happens to should do something; `None` if it has nothing to do.
pub(super) fn forgotten(row: &InstanceRow, rows: &InstanceRows, now: Timestamp) -> Option<&'static str> {
    if row.status != InstanceStatus::Running {
        return None;
    }
    let is_locked = state(row).lock.is_some();
    let waits = rows.inbox.values().any(|message| match message.due_at {
        Some(due_at) => due_at <= now && !is_locked,
        None => message.control || !is_locked,
    });
    waits.then_some("has messages")
}

/// What is left of an entity at the end, although all orchestrations have ended.
pub(in super::super) fn unfinished(row: &InstanceRow, rows: &InstanceRows) -> Option<String> {
    let EntityState {
        lock, left_sections, ..
    } = state(row);
    if row.status == InstanceStatus::Stuck {
        Some("is stuck".into())
    } else if !rows.inbox.is_empty() {
        Some(format!("has {} messages", rows.inbox.len()))
    } else if let Some(lock) = lock {
        Some(format!("is locked by {lock:?}"))
    } else if left_sections.is_empty() {
        None
    } else {
        Some(format!("remembers {left_sections:?}"))
    }
}

/// The operations that a sender decided, in order: the entity, the operation, its input, and whether it is delayed.
type Sent = (EntityId, String, String, bool);

fn sent(turn: &Turn) -> impl Iterator<Item = Sent> {
    turn.decisions.iter().filter_map(|decision| match decision {
        Decision::CallEntity {
            entity,
            operation,
            input,
            ..
        } => Some((entity.clone(), operation.clone(), text(input), false)),
        Decision::SignalEntity {
            entity,
            operation,
            input,
            due_at,
            ..
        } => Some((entity.clone(), operation.clone(), text(input), due_at.is_some())),
        _ => None,
    })
}

fn text(input: &Payload) -> String {
    serde_json::from_str(input.as_str()).expect("the input of an operation is a text")
}

impl Records {
    /// Checks the final states of all entities against everything that was decided.
    pub(super) fn entities_fit(&mut self, content: &Content) {
        let applied: BTreeMap<EntityId, Vec<String>> = content
            .existing()
            .filter_map(|(_, row, _)| {
                let id = EntityId::of(&row.id)?;
                let state = state(row).state;
                let tokens = state.map(|state| serde_json::from_str(state.as_str()).expect("the state is a list"));
                // Tenants have entities of the same names; their tokens differ.
                Some((row.tenant, id, tokens.unwrap_or_default()))
            })
            .fold(BTreeMap::new(), |mut all, (_, id, tokens): (_, _, Vec<String>)| {
                all.entry(id).or_insert_with(Vec::new).extend(tokens);
                all
            });
        let mut places: BTreeMap<(&EntityId, &str), Vec<usize>> = BTreeMap::new();
        for (id, tokens) in &applied {
            for (place, token) in tokens.iter().enumerate() {
                places.entry((id, token.as_str())).or_default().push(place);
            }
        }
        let mut wrong = Vec::new();
        let told = EntityId::new("cell", "told").expect("a valid id");
        let mut last: BTreeMap<(super::Run, EntityId), usize> = BTreeMap::new();
        let mut expected = 0;
        // What superseded turns sent is not taken back, and may be sent again.
        let mut rewound: BTreeSet<super::Run> = BTreeSet::new();
        for ((number, execution, _), body) in &self.turns {
            let turn: Turn = codec::decode(body).expect("a turn was encoded");
            if turn.is_rewind() {
                rewound.insert((*number, *execution));
            }
        }
        let mut seen: BTreeSet<(EntityId, String)> = BTreeSet::new();
        for ((number, execution, _), body) in &self.turns {
            let turn: Turn = codec::decode(body).expect("a turn was encoded");
            for (entity, operation, token, delayed) in sent(&turn) {
                let found = places.get(&(&entity, token.as_str())).map_or(&[][..], Vec::as_slice);
                let fails = matches!(operation.as_str(), "fail" | "trap");
                let may_repeat = rewound.contains(&(*number, *execution)) && !fails;
                if may_repeat && !seen.insert((entity.clone(), token.clone())) {
                    continue;
                }
                let is_right = match may_repeat {
                    true => !found.is_empty(),
                    false => found.len() == usize::from(!fails),
                };
                if !is_right {
                    wrong.push(format!(
                        "{operation} {token} of {entity} was applied {} times",
                        found.len()
                    ));
                    continue;
                }
                expected += found.len();
                if operation == "tell" {
                    expected += found.len();
                    let reply = format!("told {token}");
                    if places.get(&(&told, reply.as_str())).map(Vec::len) != Some(found.len()) {
                        wrong.push(format!("{reply:?} was not told once for each"));
                    }
                }
                let (Some(place), false) = (found.first(), delayed || may_repeat) else {
                    continue;
                };
                let before = last.insert(((*number, *execution), entity.clone()), *place);
                if before.is_some_and(|before| before > *place) {
                    wrong.push(format!(
                        "{token} of {entity} was applied before an earlier one of the same sender"
                    ));
                }
            }
        }
        let all: usize = applied.values().map(Vec::len).sum();
        if all != expected {
            wrong.push(format!("{all} operations were applied, {expected} were decided"));
        }
        self.violations.extend(wrong);
    }
}
