//! Old records, and the clean-ups that remove them. A clean-up is one write; the remaining records follow from both
//! journals.

use std::collections::BTreeSet;
use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Json};
use crate::journal::Journal;
use crate::once::{Answered, IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("GET", "/records", "the records that are left"),
    ("GET", "/cleanups", "the clean-ups so far"),
    (
        "POST",
        "/cleanups",
        "removes the oldest records above an age, up to a limit",
    ),
];

/// Number of records at first, with ages of 1, 2, 3, … days.
const SEEDED: u32 = 60;

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    age_days: u32,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CleanupRequest {
    older_than_days: u32,
    limit: usize,
}

#[derive(Clone, Serialize, Deserialize)]
struct Cleanup {
    deleted: Vec<String>,
    /// Number of records above the age that remain.
    remaining: usize,
}

pub(crate) struct Records(Journal<Record>);

pub(crate) struct Cleanups(Once<CleanupRequest, Cleanup>);

impl Records {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Journal::open(folder, "records")?))
    }

    pub(crate) fn seed(&self) -> std::io::Result<()> {
        (1..=SEEDED).try_for_each(|age_days| {
            let id = format!("record-{age_days:03}");
            self.0.put(&id.clone(), Record { id, age_days })
        })
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }

    fn left<'a>(&self, cleanups: impl Iterator<Item = &'a Cleanup>) -> Vec<Record> {
        let deleted: BTreeSet<_> = cleanups.flat_map(|cleanup| &cleanup.deleted).collect();
        self.0
            .values()
            .into_iter()
            .filter(|record| !deleted.contains(&record.id))
            .collect()
    }
}

impl Cleanups {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Once::open(folder, "cleanups")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/records", get(list))
        .route("/cleanups", post(clean).get(list_cleanups))
}

async fn list(State(world): State<Arc<World>>) -> Json<Vec<Record>> {
    Json(world.records.left(world.cleanups.0.answers().iter()))
}

async fn list_cleanups(State(world): State<Arc<World>>) -> Json<Vec<Cleanup>> {
    Json(world.cleanups.0.answers())
}

async fn clean(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<CleanupRequest>,
) -> Result<Answered<Cleanup>, ApiError> {
    world.cleanups.0.answer(key, request, |request, before| {
        let mut old = world.records.left(before.values().into_iter().map(|done| &done.answer));
        old.retain(|record| record.age_days > request.older_than_days);
        old.sort_by_key(|record| std::cmp::Reverse(record.age_days));
        let remaining = old.len().saturating_sub(request.limit);
        old.truncate(request.limit);
        Ok(Cleanup {
            deleted: old.into_iter().map(|record| record.id).collect(),
            remaining,
        })
    })
}
