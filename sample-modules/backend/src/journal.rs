//! A keyed table in memory, backed by an append-only file of JSON lines.
//!
//! A line is one change, `{"key", "value"}`. It is written and synced before the change is visible; a line cut off by a
//! kill is ignored at the next start. The table does not interpret its values.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) struct Journal<V> {
    path: PathBuf,
    /// Held only while a line is appended; no await happens meanwhile.
    table: Mutex<Table<V>>,
}

struct Table<V> {
    file: File,
    entries: Entries<V>,
}

/// The values by key, with the order in which the keys were inserted.
pub(crate) struct Entries<V>(BTreeMap<String, (usize, V)>);

impl<V> Entries<V> {
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.0.get(key).map(|(_, value)| value)
    }

    /// The values, oldest key first.
    pub(crate) fn values(&self) -> Vec<&V> {
        let mut values: Vec<_> = self.0.values().collect();
        values.sort_by_key(|(number, _)| *number);
        values.into_iter().map(|(_, value)| value).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, key: String, value: V) {
        let number = self.0.get(&key).map_or(self.0.len(), |(number, _)| *number);
        self.0.insert(key, (number, value));
    }
}

#[derive(Serialize, Deserialize)]
struct Line<V> {
    key: String,
    value: V,
}

impl<V: Serialize + DeserializeOwned + Clone> Journal<V> {
    /// Opens `<folder>/<name>.jsonl` and rewrites it, without an incomplete last line and old values.
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!("{name}.jsonl"));
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let (whole, _torn) = text.rsplit_once('\n').unwrap_or(("", ""));
        let mut entries = Entries(BTreeMap::new());
        for line in whole.lines() {
            let line: Line<V> = serde_json::from_str(line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))?;
            entries.put(line.key, line.value);
        }

        let fresh = path.with_extension("tmp");
        let mut file = File::create(&fresh)?;
        let mut ordered: Vec<_> = entries.0.iter().collect();
        ordered.sort_by_key(|(_, (number, _))| *number);
        for (key, (_, value)) in ordered {
            file.write_all(&encode(key, value)?)?;
        }
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self {
            path,
            table: Mutex::new(Table { file, entries }),
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        self.lock().entries.get(key).cloned()
    }

    /// All values, oldest key first.
    pub(crate) fn values(&self) -> Vec<V> {
        self.lock().entries.values().into_iter().cloned().collect()
    }

    pub(crate) fn put(&self, key: &str, value: V) -> io::Result<()> {
        self.change(key, |_| (Some(value), ()))
    }

    /// Calls `decide` with the table and atomically sets the value of `key` to the one it returns (`None`: unchanged).
    pub(crate) fn change<R>(&self, key: &str, decide: impl FnOnce(&Entries<V>) -> (Option<V>, R)) -> io::Result<R> {
        let mut table = self.lock();
        let (value, result) = decide(&table.entries);
        if let Some(value) = value {
            table.file.write_all(&encode(key, &value)?)?;
            table.file.sync_data()?;
            table.entries.put(key.to_owned(), value);
        }
        Ok(result)
    }

    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut table = self.lock();
        table.file = OpenOptions::new().write(true).truncate(true).open(&self.path)?;
        table.file = OpenOptions::new().append(true).open(&self.path)?;
        table.entries.0.clear();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Table<V>> {
        self.table.lock().expect("no thread panics while it holds the table")
    }
}

fn encode<V: Serialize>(key: &str, value: &V) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Line {
        key: key.to_owned(),
        value,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), "t").unwrap();
        for (key, value) in [("b", 1), ("a", 2), ("b", 3)] {
            journal.put(key, value).unwrap();
        }
        let again = Journal::<i32>::open(folder.path(), "t").unwrap();
        assert_eq!(again.values(), [3, 2]);
        assert_eq!(again.get("a"), Some(2));
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_ignored_and_the_file_stays_usable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        std::fs::write(&path, "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"val").unwrap();
        Journal::open(folder.path(), "t").unwrap().put("c", 3).unwrap();
        let again = Journal::<i32>::open(folder.path(), "t").unwrap();
        assert_eq!(again.values(), [1, 3]);
    }

    #[test]
    fn a_line_damaged_in_the_middle_is_reported_rather_than_skipped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("t.jsonl"),
            "{\"key\":\"a\",\n{\"key\":\"b\",\"value\":2}\n",
        )
        .unwrap();
        assert!(Journal::<i32>::open(folder.path(), "t").is_err());
    }
}
