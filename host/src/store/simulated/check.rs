//! Checks whether the rows of the disk are consistent with each other.

use super::super::{Error, page::Page, sizes::ROW_BYTES};
use super::queries::history;
use super::{Content, Disk};
use crate::model::TurnNumber;

impl Disk {
    pub(in crate::store) async fn check(&self) -> Result<Vec<String>, Error> {
        self.read(|content| Ok(problems(content))).await
    }
}

fn problems(content: &Content) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, rows) in &content.instances {
        if rows.row.is_none() && !content.garbage.iter().any(|(instance, ..)| instance == number) {
            problems.push(format!(
                "rows of instance {number} have no instance and are not garbage"
            ));
        }
    }
    for (number, row, rows) in content.existing() {
        let last = row.last_turn;
        match history(
            content,
            number,
            row.execution,
            TurnNumber::NONE,
            u32::MAX,
            Page::of(usize::MAX),
        ) {
            Ok(turns) if turns.len() == last.0 as usize => {}
            Ok(turns) => problems.push(format!(
                "instance {number} should have {last} turns and has {}",
                turns.len()
            )),
            Err(error) => problems.push(error.to_string()),
        }
        let events = rows.inbox.values().filter(|message| message.event.is_some());
        let bytes: u64 = events.map(|event| event.item.len() as u64 + ROW_BYTES).sum();
        if !row.status.has_ended() && bytes != row.sizes.events {
            let counted = row.sizes.events;
            problems.push(format!(
                "of the events of instance {number} {counted} bytes are counted, there are {bytes}"
            ));
        }
        let lines: u64 = rows
            .lines
            .values()
            .map(|line| line.message.len() as u64 + ROW_BYTES)
            .sum();
        let counted = row.sizes.log + row.sizes.old_logs;
        if lines != counted {
            problems.push(format!(
                "of the logs of instance {number} {counted} bytes are counted, there are {lines}"
            ));
        }
        let tags: u64 = rows
            .tags
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64 + ROW_BYTES)
            .sum();
        if tags != row.sizes.tags {
            let counted = row.sizes.tags;
            problems.push(format!(
                "of the tags of instance {number} {counted} bytes are counted, there are {tags}"
            ));
        }
        if content.ids.get(&(row.tenant, row.id.clone())) != Some(&number) {
            problems.push(format!("instance {number} is not found by its id"));
        }
    }
    problems
}
