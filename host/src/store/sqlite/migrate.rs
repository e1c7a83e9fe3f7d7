//! Migrates a database to the schema of this host.
//!
//! SQLite has two integers in a file's header for this purpose: the application id identifies files of Windlass, and
//! the user version counts the migrations that ran. Each migration increments the version in its own transaction, so a
//! crash leaves the file at one version or the next. (sqlx's own runner keeps a table of checksums instead, which a
//! foreign or newer file may lack.)

use sqlx::sqlite::SqliteConnection;

use super::events;
use crate::store::Error;

/// "WNDL": marks the file as a database of Windlass.
const APPLICATION_ID: i64 = 0x574e_444c;

/// All migrations in order; the version of a database is how many of them have run. Released migrations never change.
pub(super) const MIGRATIONS: [&str; 28] = [
    include_str!("../../../migrations/sqlite/0001_create_tenants_and_modules.sql"),
    include_str!("../../../migrations/sqlite/0002_create_instances.sql"),
    include_str!("../../../migrations/sqlite/0003_create_idempotency_keys_and_garbage.sql"),
    include_str!("../../../migrations/sqlite/0004_create_keys_and_tenant_settings.sql"),
    include_str!("../../../migrations/sqlite/0005_create_usage.sql"),
    include_str!("../../../migrations/sqlite/0006_create_settings.sql"),
    include_str!("../../../migrations/sqlite/0007_measure_what_is_stored.sql"),
    include_str!("../../../migrations/sqlite/0008_usage_http.sql"),
    include_str!("../../../migrations/sqlite/0009_declare_events.sql"),
    include_str!("../../../migrations/sqlite/0010_note_attempts_to_prune.sql"),
    include_str!("../../../migrations/sqlite/0011_create_events.sql"),
    include_str!("../../../migrations/sqlite/0012_allow_new_kinds.sql"),
    include_str!("../../../migrations/sqlite/0013_count_modules.sql"),
    include_str!("../../../migrations/sqlite/0014_count_logs_and_keys.sql"),
    include_str!("../../../migrations/sqlite/0015_find_control_messages.sql"),
    include_str!("../../../migrations/sqlite/0016_create_entities.sql"),
    include_str!("../../../migrations/sqlite/0017_create_tags.sql"),
    include_str!("../../../migrations/sqlite/0018_keep_answers_of_operations.sql"),
    include_str!("../../../migrations/sqlite/0019_rewind_instances.sql"),
    include_str!("../../../migrations/sqlite/0020_create_schedules.sql"),
    include_str!("../../../migrations/sqlite/0021_create_heartbeats.sql"),
    include_str!("../../../migrations/sqlite/0022_allow_new_statuses.sql"),
    include_str!("../../../migrations/sqlite/0023_create_broadcasts.sql"),
    include_str!("../../../migrations/sqlite/0024_create_completions.sql"),
    include_str!("../../../migrations/sqlite/0025_create_retention_rules.sql"),
    include_str!("../../../migrations/sqlite/0026_end_broadcasts.sql"),
    include_str!("../../../migrations/sqlite/0027_keep_long_values_out_of_keys.sql"),
    include_str!("../../../migrations/sqlite/0028_create_host_keys.sql"),
];

/// The migration that creates the table `events`. Rust code moves the events there, because SQL cannot decode their
/// names.
pub(super) const CREATES_EVENTS: usize = 11;

/// The version of a database before and after it was opened; zero before it existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) before: usize,
    pub(super) now: usize,
}

/// Checks the header of the file and runs the missing migrations.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<Schema, Error> {
    let before = check_header(connection).await?;
    if (1..MIGRATIONS.len()).contains(&before) {
        tracing::info!(
            from = before,
            to = MIGRATIONS.len(),
            "migrating the database to a newer schema"
        );
    }
    migrate_to(connection, MIGRATIONS.len()).await?;
    Ok(Schema {
        before,
        now: MIGRATIONS.len(),
    })
}

/// Checks that the file is a database of Windlass, and not written by a newer host.
pub(super) async fn check_version(connection: &mut SqliteConnection) -> Result<(), Error> {
    match check_header(connection).await? {
        0 => Err(Error::Unusable("windlass.db is empty".into())),
        _ => Ok(()),
    }
}

/// Runs migrations up to a version; only tests pass an old one.
pub(super) async fn migrate_to(connection: &mut SqliteConnection, target: usize) -> Result<(), Error> {
    let version = check_header(connection).await?;
    for (number, migration) in MIGRATIONS.iter().enumerate().take(target).skip(version) {
        if let Err(error) = run(connection, number + 1, migration).await {
            // The failed statement left the transaction open.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            return Err(error);
        }
    }
    Ok(())
}

/// Runs one migration in a transaction, which is left open if it fails.
async fn run(connection: &mut SqliteConnection, number: usize, migration: &str) -> Result<(), Error> {
    let begin = format!("BEGIN IMMEDIATE; {migration}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(begin))
        .execute(&mut *connection)
        .await?;
    if number == CREATES_EVENTS {
        events::move_from_inboxes(connection).await?;
    }
    let end = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;");
    sqlx::raw_sql(sqlx::AssertSqlSafe(end))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Checks the header and returns the version of the schema, zero for an empty file.
async fn check_header(connection: &mut SqliteConnection) -> Result<usize, Error> {
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await?;
    if (application, version, objects) == (0, 0, 0) {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(Error::Unusable("windlass.db is not a database of Windlass".into()));
    }
    let known = MIGRATIONS.len();
    usize::try_from(version)
        .ok()
        .filter(|version| *version <= known)
        .ok_or_else(|| {
            Error::Unusable(format!(
                "windlass.db has schema version {version}, this host knows versions up to {known}: it was written by a \
             newer host"
            ))
        })
}
