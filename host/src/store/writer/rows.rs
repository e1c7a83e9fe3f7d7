//! The rows that a batch is going to write, table by table.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::SqliteConnection;

use crate::{
    model::InstanceNumber,
    store::{
        Error,
        attempts::{self, NewAttempt},
        garbage::{self, Garbage},
        history::{self, NewTurn},
        idempotency::{self, NewKey},
        inbox::{self, ConsumedMessage, NewMessage},
        instances::{self, ByNumber, ChangedInstance, CreatedInstance},
        logs::{self, NewLine},
    },
};

/// Rows collected from many operations, to be written table by table.
#[derive(Default)]
pub(super) struct Rows<'a> {
    created: Vec<CreatedInstance<'a>>,
    created_numbers: HashSet<InstanceNumber>,
    changed: Vec<ChangedInstance<'a>>,
    changed_at: HashMap<InstanceNumber, usize>,
    deleted: Vec<ByNumber>,
    pub(super) turns: Vec<NewTurn<'a>>,
    pub(super) messages: Vec<NewMessage<'a>>,
    pub(super) consumed: Vec<ConsumedMessage>,
    pub(super) attempts: Vec<NewAttempt<'a>>,
    pub(super) lines: Vec<NewLine<'a>>,
    pub(super) garbage: Vec<Garbage>,
    pub(super) keys: Vec<NewKey<'a>>,
}

impl<'a> Rows<'a> {
    /// Creates an instance.
    pub(super) fn create(&mut self, instance: CreatedInstance<'a>) {
        self.created_numbers.insert(instance.number);
        self.created.push(instance);
    }

    /// Whether the instance is created by these very rows. They must be written before it can be changed.
    pub(super) fn creates(&self, instance: InstanceNumber) -> bool {
        self.created_numbers.contains(&instance)
    }

    /// Changes an instance, on top of an earlier change in the same rows: one statement changes each row only once.
    pub(super) fn change(&mut self, change: ChangedInstance<'a>) {
        let Some(at) = self.changed_at.get(&change.number) else {
            self.changed_at.insert(change.number, self.changed.len());
            self.changed.push(change);
            return;
        };
        let earlier = &mut self.changed[*at];
        *earlier = ChangedInstance {
            fuel: earlier.fuel.saturating_add(change.fuel),
            custom_status: change.custom_status.or(earlier.custom_status),
            took_a_turn: earlier.took_a_turn || change.took_a_turn,
            ..change
        };
    }

    /// Deletes an instance with all that belongs to it.
    pub(super) fn delete(&mut self, instance: InstanceNumber) {
        self.deleted.push(ByNumber(instance));
        self.garbage.push(Garbage::Instance(instance));
    }

    /// Writes everything and says how many rows it wrote.
    ///
    /// The order matters in three places: an id is freed before it is taken again, a message is written before it can be
    /// consumed, and what is left in an inbox is noted as garbage when the inbox is as it will be.
    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<u64, Error> {
        let changed = instances::change(connection, &self.changed).await?;
        if changed != self.changed.len() as u64 {
            return Err(Error::Contradiction(format!(
                "of {} instances to be changed {changed} exist",
                self.changed.len()
            )));
        }
        let mut rows = changed;
        rows += instances::delete(connection, &self.deleted).await?;
        rows += instances::create(connection, &self.created).await?;
        rows += history::append(connection, &self.turns).await?;
        rows += inbox::append(connection, &self.messages).await?;
        rows += inbox::consume(connection, &self.consumed).await?;
        rows += attempts::append(connection, &self.attempts).await?;
        rows += logs::append(connection, &self.lines).await?;
        rows += garbage::note(connection, &self.garbage).await?;
        rows += idempotency::put(connection, &self.keys).await?;
        Ok(rows)
    }
}
