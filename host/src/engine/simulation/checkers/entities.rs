//! Checks entities: every operation that was decided is applied exactly once, those of one sender in order, and no lock is
//! left. A call that is made again after a rewind of its sender is the same operation; a signal is sent again.

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

/// An operation that a sender decided.
struct Sent {
    entity: EntityId,
    operation: String,
    token: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Call,
    Signal { delayed: bool },
}

fn sent(turn: &Turn) -> impl Iterator<Item = Sent> {
    turn.decisions.iter().filter_map(|decision| match decision {
        Decision::CallEntity {
            entity,
            operation,
            input,
            ..
        } => Some(Sent {
            entity: entity.clone(),
            operation: operation.clone(),
            token: text(input),
            kind: Kind::Call,
        }),
        Decision::SignalEntity {
            entity,
            operation,
            input,
            due_at,
            ..
        } => Some(Sent {
            entity: entity.clone(),
            operation: operation.clone(),
            token: text(input),
            kind: Kind::Signal {
                delayed: due_at.is_some(),
            },
        }),
        _ => None,
    })
}

fn fails(operation: &str) -> bool {
    matches!(operation, "fail" | "trap")
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
        let rewound: BTreeSet<super::Run> = self
            .turns
            .iter()
            .filter(|(_, body)| codec::decode::<Turn>(body).expect("a turn was encoded").is_rewind())
            .map(|((number, execution, _), _)| (*number, *execution))
            .collect();
        // In a rewound execution, the code may send a token several times, with the same operation or another one.
        let mut of_rewound: BTreeMap<(EntityId, String), BTreeMap<String, (usize, usize)>> = BTreeMap::new();
        for ((number, execution, _), body) in &self.turns {
            let turn: Turn = codec::decode(body).expect("a turn was encoded");
            let run = (*number, *execution);
            for Sent {
                entity,
                operation,
                token,
                kind,
            } in sent(&turn)
            {
                if rewound.contains(&run) {
                    let times = of_rewound
                        .entry((entity, token))
                        .or_default()
                        .entry(operation)
                        .or_default();
                    match kind {
                        Kind::Call => times.0 += 1,
                        Kind::Signal { .. } => times.1 += 1,
                    }
                    continue;
                }
                let found = places.get(&(&entity, token.as_str())).map_or(&[][..], Vec::as_slice);
                if found.len() != usize::from(!fails(&operation)) {
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
                        wrong.push(format!("{reply:?} was not told once"));
                    }
                }
                let (Some(place), false) = (found.first(), kind == Kind::Signal { delayed: true }) else {
                    continue;
                };
                let before = last.insert((run, entity.clone()), *place);
                if before.is_some_and(|before| before > *place) {
                    wrong.push(format!(
                        "{token} of {entity} was applied before an earlier one of the same sender"
                    ));
                }
            }
        }
        for ((entity, token), operations) in of_rewound {
            // Calls of an operation are one, each signal is one more.
            let times = |(calls, signals): &(usize, usize)| usize::from(*calls > 0) + signals;
            let succeed = operations.iter().filter(|(operation, _)| !fails(operation));
            let wanted: usize = succeed.map(|(_, sent)| times(sent)).sum();
            let found = places.get(&(&entity, token.as_str())).map_or(0, Vec::len);
            let told_times = operations.get("tell").map_or(0, times);
            let reply = format!("told {token}");
            let replies = places.get(&(&told, reply.as_str())).map_or(0, Vec::len);
            if (found, replies) != (wanted, told_times) {
                wrong.push(format!(
                    "{token} of {entity} was applied {found} times and told {replies} times: {operations:?}"
                ));
            }
            expected += found + replies;
        }
        let all: usize = applied.values().map(Vec::len).sum();
        if all != expected {
            wrong.push(format!("{all} operations were applied, {expected} were decided"));
        }
        self.violations.extend(wrong);
    }
}
