//! Every migration runs on a database with rows.

use super::*;
use crate::store::sqlite::migrate::{CREATES_EVENTS, MIGRATIONS, migrate_to};

/// Rows for each version, in the tables that it added.
const ROWS: [&[&str]; 28] = [
    &[
        "INSERT INTO tenants (tenant, name) VALUES (2, 'other')",
        "INSERT INTO function_names (function, tenant, name) VALUES (7, 1, 'Order')",
        "INSERT INTO modules (module, tenant, name, digest, kind, description, size, uploaded_at_ms)
         VALUES (1, 1, 'orders', zeroblob(32), 0, x'010001054f726465720000000000', 3, 1)",
        "INSERT INTO module_bytes (module, bytes) VALUES (1, x'000102')",
        "INSERT INTO module_names (tenant, name, module) VALUES (1, 'orders', 1)",
        "INSERT INTO functions (tenant, kind, function, module_name) VALUES (1, 0, 'Order', 'orders')",
        "UPDATE counters SET reserved = 500",
    ],
    &[
        "INSERT INTO instances
            (partition, instance, tenant, id, function, module, status, execution, last_turn, in_flight, unclean_ends,
             created_at_ms, updated_at_ms, fuel)
         VALUES (0, 1, 1, 'a', 7, 1, 1, 1, 0, 0, 0, 1, 1, 0)",
        "INSERT INTO logs (partition, instance, seq, execution, level, at_ms, message) VALUES (0, 1, 1, 1, 2, 1, 'hello')",
        // A resumption, and events called Go and ÄRGER.
        "INSERT INTO inbox (partition, instance, seq, control, item)
         VALUES (0, 1, 10, 1, x'010500'), (0, 1, 11, 0, x'010202476f0131'), (0, 1, 12, 0, x'010206c384524745520132')",
    ],
    &["INSERT INTO garbage (partition, instance, what, execution) VALUES (0, 99, 0, 0)"],
    &["INSERT INTO api_keys (id, tenant, role, hash, label, created_at_ms)
         VALUES ('a', 1, 3, x'0000000000000000000000000000000000000000000000000000000000000000', 'mine', 1)"],
    &[
        "INSERT INTO usage (tenant, day, kind, function, count, failed, fuel, wall_ms, bytes_in, bytes_out)
         VALUES (1, 1, 0, 'Order', 1, 0, 1, 1, 1, 1)",
    ],
    &[
        "INSERT INTO settings (tenant, kind, name, value, modules, updated_at_ms)
         VALUES (1, 0, 'region', x'6575', '[\"orders\"]', 1)",
    ],
    &[
        // A log that was counted as full, which the last migration counts anew.
        "UPDATE instances SET log_bytes = log_bytes + 1",
        "UPDATE tenants SET stored_bytes = stored_bytes + 1 WHERE tenant = 1",
    ],
    &["UPDATE usage SET http_sent = 2, http_received = 3"],
    &["UPDATE modules SET events = x'0101054f7264657202676f00'"],
    &["INSERT INTO attempts_to_prune (partition, instance, execution, task) VALUES (0, 1, 1, 1)"],
    &[
        "INSERT INTO events (partition, instance, name, seq, item) VALUES (0, 1, 'go', 3, x'010202476f0133')",
        "UPDATE instances SET event_bytes = event_bytes + 39",
        "UPDATE tenants SET stored_bytes = stored_bytes + 39 WHERE tenant = 1",
    ],
    &[
        "INSERT INTO settings (tenant, kind, name, value, modules, updated_at_ms)
         VALUES (1, 2, 'certificate', x'00', '[]', 1)",
    ],
    &[
        "UPDATE modules SET compiled_bytes = 1000",
        // With 26 bytes of its description and its events.
        "UPDATE tenants SET stored_bytes = stored_bytes + 1026 WHERE tenant = 1",
    ],
    &[
        "INSERT INTO logs (partition, instance, seq, execution, level, at_ms, message) VALUES (0, 1, 2, 0, 2, 1, 'old')",
        "UPDATE instances SET log_bytes = 37, old_log_bytes = 35",
        "INSERT INTO idempotency_keys (partition, tenant, key, fingerprint, instance_id, expires_at_ms)
         VALUES (0, 1, 'k', zeroblob(32), 'a', 9999999999999)",
        "UPDATE tenants SET stored_bytes = stored_bytes + 36 + 35 + 130 WHERE tenant = 1",
    ],
    &[],
    &[
        // An entity without a state, and a signal that is due later.
        "INSERT INTO instances
            (partition, instance, tenant, id, function, module, status, execution, last_turn, in_flight, unclean_ends,
             created_at_ms, updated_at_ms, fuel, entity)
         VALUES (0, 2, 1, '@a@b', 7, 1, 1, 1, 0, 0, 0, 1, 1, 0, x'010000000000')",
        "INSERT INTO inbox (partition, instance, seq, control, item, due_at_ms)
         VALUES (0, 2, 20, 0, x'0106036164640131000001e807', 1000)",
    ],
    &[
        "INSERT INTO tags (partition, instance, key, value, tenant) VALUES (0, 1, 'customer', 'ada', 1)",
        "UPDATE instances SET tag_bytes = 43 WHERE instance = 1",
        "UPDATE tenants SET stored_bytes = stored_bytes + 43 WHERE tenant = 1",
    ],
    &[
        "UPDATE idempotency_keys SET answer = x'01000131'",
        "UPDATE tenants SET stored_bytes = stored_bytes + 4 WHERE tenant = 1",
    ],
    &["UPDATE instances SET rewinds = x'0101010203' WHERE instance = 1"],
    &[
        "INSERT INTO schedules
            (partition, tenant, name, revision, next_at_ms, state, definition_bytes, created_at_ms, updated_at_ms)
         VALUES (0, 1, 'report', 1, 1000, x'01', 1, 1, 1)",
        "INSERT INTO schedule_definitions (partition, tenant, name, definition) VALUES (0, 1, 'report', x'01')",
        "UPDATE tenants SET stored_bytes = stored_bytes + 72 WHERE tenant = 1",
    ],
    &[
        "INSERT INTO heartbeats (partition, instance, execution, task, details, at_ms) VALUES (0, 1, 1, 1, '7', 1)",
        "UPDATE instances SET execution_bytes = execution_bytes + 33 WHERE instance = 1",
        "UPDATE tenants SET stored_bytes = stored_bytes + 33 WHERE tenant = 1",
    ],
    &[
        // A cancelled instance.
        "INSERT INTO instances
            (partition, instance, tenant, id, function, module, status, execution, last_turn, in_flight, unclean_ends,
             created_at_ms, updated_at_ms, fuel)
         VALUES (0, 3, 1, 'cancelled', 7, 1, 13, 1, 0, 0, 0, 1, 1, 0)",
    ],
    &[
        "INSERT INTO broadcasts (tenant, id, fingerprint, event, payload, filter, created_at_ms, below, bytes)
         VALUES (1, 'b', zeroblob(32), 'Go', '1', '{}', 1, 0, 300)",
        "UPDATE tenants SET stored_bytes = stored_bytes + 300 WHERE tenant = 1",
    ],
    &[
        "INSERT INTO completions
            (partition, instance, execution, task, token, state, attempt, ordinal, fuel, started_at_ms)
         VALUES (0, 1, 1, 1, zeroblob(32), 1, 1, 1, 5, 1)",
        "UPDATE instances SET execution_bytes = execution_bytes + 128 WHERE instance = 1",
        "UPDATE tenants SET stored_bytes = stored_bytes + 128 WHERE tenant = 1",
        // A sub-orchestration whose parent was purged.
        "UPDATE instances SET parent = 77 WHERE instance = 3",
    ],
    &[
        "UPDATE instances SET parent = NULL WHERE instance = 3",
        "INSERT INTO retention_rules (tenant, function, status, max_age_ms, max_count, updated_at_ms)
         VALUES (1, '', 13, 1000, NULL, 1)",
    ],
    &[
        "INSERT INTO broadcasts
            (tenant, id, fingerprint, event, payload, filter, created_at_ms, below, finished_at_ms, ended_as, problem, bytes)
         VALUES (1, 'c', zeroblob(32), 'Go', '1', '?', 1, 0, 1, 2, 'damaged', 300)",
        "UPDATE tenants SET stored_bytes = stored_bytes + 300 WHERE tenant = 1",
    ],
    &[],
    &["UPDATE host_keys SET key = zeroblob(32)"],
];

async fn open(folder: &std::path::Path) -> SqliteConnection {
    let settings = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.join("windlass.db"))
        .create_if_missing(true);
    settings.connect().await.unwrap()
}

#[tokio::test]
async fn rows_of_every_older_version_survive_the_migrations() {
    assert_eq!(
        ROWS.len(),
        MIGRATIONS.len(),
        "a new migration needs rows here, to test the next one"
    );
    for version in 1..=MIGRATIONS.len() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = open(folder.path()).await;
        migrate_to(&mut connection, version).await.unwrap();
        for statement in ROWS[..version].concat() {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
        sqlx::Connection::close(connection).await.unwrap();

        let store = TestStore::empty(Place::Folder(folder)).await;
        store.assert_sound().await;
        assert_eq!(store.rows("tenants").await, 2);
        let modules = store.tenant(TENANT).modules(None, 100).await.unwrap().modules;
        assert_eq!(modules.len(), 1);
        let declares = version > 8;
        assert_eq!(modules[0].description.events.len(), usize::from(declares));
        assert_eq!(store.declares_events(TENANT).await.unwrap(), declares);
        assert_eq!(
            store.rows("instances").await,
            i64::from(version > 1) + i64::from(version > 15) + i64::from(version > 21)
        );
        let usage = store
            .tenant(TENANT)
            .usage(Days::between(None, None), None, 100)
            .await
            .unwrap();
        assert_eq!(usage.functions.len(), usize::from(version > 4));
        let ended = store.next_ended_function(TENANT, None).await.unwrap();
        assert_eq!(ended.is_some(), version > 21, "also the one whose parent was purged");
        assert!(store.started("new").await >= InstanceNumber(500));
        assert_eq!(store.status("a").await.is_some(), version > 1);
        if version > 1 {
            check_messages(&store, version).await;
        }
    }
}

/// The rows of these tables, each as one text of these columns.
async fn dump(connection: &mut SqliteConnection, columns: &[(String, Vec<String>)]) -> Vec<Vec<String>> {
    let mut dumps = Vec::new();
    for (table, columns) in columns {
        let values: Vec<_> = columns.iter().map(|column| format!("quote({column})")).collect();
        let text = format!("SELECT {} FROM {table} ORDER BY 1", values.join(" || ' ' || "));
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(&mut *connection);
        dumps.push(rows.await.unwrap());
    }
    dumps
}

#[tokio::test]
async fn tables_that_are_written_anew_keep_each_value() {
    const BEFORE: usize = 26;
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(folder.path()).await;
    migrate_to(&mut connection, BEFORE).await.unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let tables: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut connection).await.unwrap();
    let mut columns = Vec::new();
    for table in tables {
        let text = "SELECT name, type FROM pragma_table_info(?)";
        let of_table: Vec<(String, String)> = sqlx::query_as(text)
            .bind(&table)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        columns.push((table, of_table));
    }
    // Two rows in each table, with another value in each column where the checks allow it.
    for (table, columns) in columns
        .iter()
        .filter(|(table, _)| table != "counters" && table != "tenants")
    {
        for row in 0..2 {
            let values = columns
                .iter()
                .enumerate()
                .map(|(n, (name, kind))| match (&name[..], &kind[..]) {
                    ("partition" | "cut_off" | "control" | "in_flight", _) => "0".to_owned(),
                    ("wake_at_ms" | "stuck", _) if table == "instances" => "NULL".to_owned(),
                    ("status", _) => "12".to_owned(),
                    ("state", "INTEGER") => row.to_string(),
                    ("kind" | "level" | "role", _) => "1".to_owned(),
                    ("digest" | "hash" | "token" | "fingerprint", _) => "randomblob(32)".to_owned(),
                    (_, "INTEGER") => (100 * n + row + 1).to_string(),
                    (_, "BLOB") => format!("x'{n:02x}{row:02x}'"),
                    _ => format!("'{table} {n} {row}'"),
                });
            let values = values.collect::<Vec<_>>().join(", ");
            let text = format!("INSERT INTO {table} VALUES ({values})");
            sqlx::query(sqlx::AssertSqlSafe(text))
                .execute(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{table}: {error}: {values}"));
        }
    }
    let columns: Vec<_> = columns
        .into_iter()
        .map(|(table, columns)| (table, columns.into_iter().map(|(name, _)| name).collect()))
        .collect();
    let before = dump(&mut connection, &columns).await;
    migrate_to(&mut connection, BEFORE + 1).await.unwrap();
    assert_eq!(dump(&mut connection, &columns).await, before);
}

#[tokio::test]
async fn a_database_that_has_reached_its_limit_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(folder.path()).await;
    migrate_to(&mut connection, 26).await.unwrap();
    let turns = "WITH RECURSIVE n(turn) AS (SELECT 1 UNION ALL SELECT turn + 1 FROM n WHERE turn < 300)
                 INSERT INTO history SELECT 0, 1, 1, turn, zeroblob(3000) FROM n";
    for statement in ROWS[..26].concat().into_iter().chain([turns]) {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    let bytes = std::fs::metadata(folder.path().join("windlass.db")).unwrap().len();
    assert!(bytes > 1 << 20);
    let store = TestStore::open(Place::Folder(folder), |options| options.max_bytes = Some(bytes)).await;
    assert_eq!(store.rows("history").await, 300);
    store.started("another").await;
}

/// Checks that events stored by older hosts are found like those of newer ones.
async fn check_messages(store: &TestStore, version: usize) {
    let number = InstanceNumber(1);
    if version < CREATES_EVENTS {
        assert_eq!(
            store.rows("inbox").await,
            2,
            "the resumption, and the start of another instance"
        );
    }
    let inbox = store.load(number).await.unwrap().unwrap().inbox;
    assert!(inbox.iter().any(|row| matches!(row.item, InboxItem::Resume { .. })));
    let names = ["go", "ärger"].map(str::to_owned);
    let pages = store.events(number, &names).await.unwrap();
    let found: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.events)
        .map(|(seq, _)| seq.0)
        .collect();
    assert_eq!(
        found,
        if version < CREATES_EVENTS {
            vec![11, 12]
        } else {
            vec![3]
        }
    );
}

#[tokio::test]
async fn a_failed_migration_leaves_the_old_version() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(folder.path()).await;
    migrate_to(&mut connection, 1).await.unwrap();
    sqlx::query("CREATE TABLE history (in_the_way)")
        .execute(&mut connection)
        .await
        .unwrap();
    migrate_to(&mut connection, 2).await.unwrap_err();
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(version, 1);
    sqlx::query("DROP TABLE history")
        .execute(&mut connection)
        .await
        .unwrap();
    migrate_to(&mut connection, 2).await.unwrap();
}
