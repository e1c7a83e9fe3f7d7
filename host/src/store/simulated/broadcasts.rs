//! The table of broadcasts.

use std::sync::Arc;

use super::super::{
    Broadcast, BroadcastEnd, BroadcastOutcome, BroadcastPage, BroadcastSummary, Cursor, EndBroadcast, EndOfBroadcast,
    Error, MAX_BROADCASTS, MAX_UNFINISHED_BROADCASTS, NewBroadcast, NextBroadcast,
    broadcasts::{Advance, FORGOTTEN_AT_ONCE},
    page::Page,
};
use super::{Content, Disk, Session};
use crate::model::{InstanceNumber, TenantId, Timestamp};

/// A row of the table.
#[derive(Debug, Clone)]
pub(crate) struct BroadcastRow {
    pub(super) broadcast: Broadcast,
    fingerprint: [u8; 32],
    pub(super) bytes: u64,
    /// How it ended, if it is finished.
    pub(crate) end: BroadcastEnd,
}

impl BroadcastRow {
    /// The broadcast.
    pub(crate) fn broadcast(&self) -> &Broadcast {
        &self.broadcast
    }

    fn summary(&self) -> BroadcastSummary {
        let Broadcast {
            id,
            event,
            created_at,
            raised,
            skipped,
            finished_at,
            ..
        } = &self.broadcast;
        BroadcastSummary {
            id: id.clone(),
            event: event.name.to_string(),
            created_at: *created_at,
            raised: *raised,
            skipped: *skipped,
            ended: finished_at.map(|at| (at, self.end.clone())),
        }
    }
}

fn create(content: &mut Content, new: &NewBroadcast) -> BroadcastOutcome {
    if content.catalogue.rows_of_tenant(new.tenant).is_none() {
        return BroadcastOutcome::TenantGone;
    }
    let own = || {
        content
            .broadcasts
            .iter()
            .filter(|row| row.broadcast.tenant == new.tenant)
    };
    if let Some(row) = own().find(|row| row.broadcast.id == new.key.key) {
        return match new.key.is_of(&row.fingerprint) {
            true => BroadcastOutcome::Repeated,
            false => BroadcastOutcome::KeyReused,
        };
    }
    let unfinished = own().filter(|row| row.broadcast.finished_at.is_none()).count() as u64;
    if unfinished >= MAX_UNFINISHED_BROADCASTS {
        return BroadcastOutcome::TooMany(MAX_UNFINISHED_BROADCASTS);
    }
    if own().count() as u64 >= MAX_BROADCASTS {
        return BroadcastOutcome::TooMany(MAX_BROADCASTS);
    }
    let instances = content.existing().filter(|(_, row, _)| row.tenant == new.tenant);
    let newest = instances.map(|(number, ..)| number.0).max().unwrap_or(0);
    let row = BroadcastRow {
        broadcast: Broadcast {
            tenant: new.tenant,
            id: new.key.key.clone(),
            event: new.event.clone(),
            filter: new.filter.clone(),
            created_at: new.at,
            from: Cursor::below(InstanceNumber(newest + 1)),
            raised: 0,
            skipped: 0,
            finished_at: None,
        },
        fingerprint: new.key.fingerprint,
        bytes: new.bytes(),
        end: BroadcastEnd::Finished,
    };
    Arc::make_mut(&mut content.broadcasts).push(row);
    BroadcastOutcome::Created
}

fn advance(content: &mut Content, advance: &Advance<'_>) -> bool {
    let piece = advance.piece;
    let mut rows = Arc::make_mut(&mut content.broadcasts).iter_mut();
    let found = rows.find(|row| (row.broadcast.tenant, &row.broadcast.id) == (piece.tenant, &piece.id));
    let found = found.map(|row| &mut row.broadcast);
    let Some(row) = found.filter(|row| row.finished_at.is_none() && row.from == piece.from) else {
        return false;
    };
    row.from = Cursor::below(advance.below());
    row.raised += advance.raised;
    row.skipped += advance.skipped;
    row.finished_at = advance.finished_at();
    true
}

fn end(content: &mut Content, end: &EndBroadcast) -> EndOfBroadcast {
    let mut rows = Arc::make_mut(&mut content.broadcasts).iter_mut();
    let found = rows.find(|row| (row.broadcast.tenant, &row.broadcast.id) == (end.tenant, &end.id));
    let Some(row) = found else {
        return EndOfBroadcast::Unknown;
    };
    if row.broadcast.finished_at.is_some() {
        return EndOfBroadcast::EndedBefore;
    }
    let (number, problem) = end.end.stored();
    row.broadcast.finished_at = Some(end.at);
    row.end = BroadcastEnd::read(number.into(), problem).expect("it was just written");
    EndOfBroadcast::Ended
}

fn forget(content: &mut Content, before: Timestamp) -> Vec<(TenantId, u64)> {
    let mut forgotten = Vec::new();
    Arc::make_mut(&mut content.broadcasts).retain(|row| {
        let is_old = row.broadcast.finished_at.is_some_and(|at| at < before);
        let is_gone = is_old && forgotten.len() < FORGOTTEN_AT_ONCE as usize;
        if is_gone {
            forgotten.push((row.broadcast.tenant, row.bytes));
        }
        !is_gone
    });
    forgotten
}

impl Session {
    pub(in crate::store) async fn create_broadcast(&mut self, new: &NewBroadcast) -> Result<BroadcastOutcome, Error> {
        self.step(|content| create(content, new)).await
    }

    pub(in crate::store) async fn advance_broadcast(&mut self, change: &Advance<'_>) -> Result<bool, Error> {
        self.step(|content| advance(content, change)).await
    }

    pub(in crate::store) async fn end_broadcast(&mut self, request: &EndBroadcast) -> Result<EndOfBroadcast, Error> {
        self.step(|content| end(content, request)).await
    }

    pub(in crate::store) async fn forget_broadcasts(
        &mut self,
        before: Timestamp,
    ) -> Result<Vec<(TenantId, u64)>, Error> {
        self.step(|content| forget(content, before)).await
    }
}

impl Disk {
    pub(in crate::store) async fn broadcast(&self, tenant: TenantId, id: &str) -> Result<Option<Broadcast>, Error> {
        let found = self.read(|content| {
            let mut rows = content.broadcasts.iter().map(|row| &row.broadcast);
            Ok(rows.find(|row| row.tenant == tenant && row.id == id).cloned())
        });
        found.await
    }

    pub(in crate::store) async fn broadcast_summary(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<BroadcastSummary>, Error> {
        let found = self.read(|content| {
            let mut rows = content.broadcasts.iter();
            let found = rows.find(|row| row.broadcast.tenant == tenant && row.broadcast.id == id);
            Ok(found.map(BroadcastRow::summary))
        });
        found.await
    }

    pub(in crate::store) async fn broadcasts(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<BroadcastPage, Error> {
        self.read(|content| {
            let own = content.broadcasts.iter().filter(|row| row.broadcast.tenant == tenant);
            let mut rows: Vec<_> = own
                .filter(|row| after.is_none_or(|after| row.broadcast.id.as_str() > after))
                .collect();
            rows.sort_by_key(|row| &row.broadcast.id);
            let (mut broadcasts, mut size) = (Vec::<BroadcastSummary>::new(), Page::for_answer());
            for row in rows {
                if broadcasts.len() == limit as usize || size.is_full() {
                    let next = broadcasts.last().map(|last| last.id.clone());
                    return Ok(BroadcastPage { broadcasts, next });
                }
                size.read(row.summary().bytes());
                broadcasts.push(row.summary());
            }
            Ok(BroadcastPage { broadcasts, next: None })
        })
        .await
    }

    pub(in crate::store) async fn next_broadcast(
        &self,
        after: Option<TenantId>,
    ) -> Result<Option<NextBroadcast>, Error> {
        let found = self.read(|content| {
            let rows = content.broadcasts.iter().map(|row| &row.broadcast);
            let unfinished = rows.filter(|row| row.finished_at.is_none() && Some(row.tenant) > after);
            // The first of the smallest tenant: rows are in the order of acceptance.
            let first = unfinished.min_by_key(|row| row.tenant).cloned();
            Ok(first.map(|broadcast| NextBroadcast::Readable(Box::new(broadcast))))
        });
        found.await
    }
}
