//! Tests that concern files: the folder, checkpoints, backups, migrations, damage, query plans, and the readers of
//! clients.

mod attempts;
mod backups;
mod checkpoints;
mod damage;
mod folder;
mod full_disk;
mod migrations;
mod people;
mod plans;
mod throughput;

use sqlx::{
    ConnectOptions as _, Row as _,
    sqlite::{SqliteConnection, SqlitePool},
};

use crate::store::{
    backend::Readers,
    tests::{Place, *},
    *,
};

impl Place {
    /// The folder of a database file.
    fn path(&self) -> &std::path::Path {
        match self {
            Self::Folder(folder) => folder.path(),
            Self::Memory(_) => panic!("not a folder"),
        }
    }

    /// Opens a connection to the file in addition to the host's.
    async fn connect(&self) -> SqliteConnection {
        let settings = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path().join("windlass.db"));
        settings.connect().await.unwrap()
    }
}

impl TestStore {
    fn pool(&self) -> &SqlitePool {
        match &self.store.readers {
            Readers::Sqlite(readers) => &readers.0,
            Readers::Simulated(_) => panic!("not a file"),
        }
    }

    /// How many rows a table has.
    pub(in crate::store) async fn rows_of_file(&self, table: &'static str) -> i64 {
        let text = format!("SELECT count(*) FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// Changes the database behind the writer's back.
    async fn damage(&self, statement: &'static str) {
        let mut connection = self.place.connect().await;
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        assert_ne!(done.rows_affected(), 0, "the statement finds something to damage");
    }

    /// SQLite's query plan for a statement.
    async fn plan(&self, statement: &str) -> String {
        let text = format!("EXPLAIN QUERY PLAN {statement}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_all(self.pool())
            .await
            .unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(3)).collect();
        lines.join("; ")
    }
}
