//! Patches: how changed code asks whether an execution passed a point with the code before the change.
//!
//! A new turn takes the new branch and records a marker, a decision that creates no task. A recorded turn takes the new
//! branch if it, or a turn before it, has the marker. So the answer follows from the history alone, and is the same in a
//! guest that stayed in memory and in one that was replayed. Every answer stays for the whole execution: code that took
//! the old branch once goes on with it, although its later turns are new.
//!
//! Markers are not compared in the order of the decisions, so that `deprecate-patch` may be called earlier than `patched`
//! was. Instead, the code must have asked for each marker by the end of its turn: code that does not know a patch may be
//! the code before the change. Only deprecated markers need no code.

use std::collections::{BTreeMap, BTreeSet};

use super::{Execution, Interrupt};
use crate::model::{Decision, Failure, Turn, failure::types};

/// The maximum number of different patches that one execution may ask for.
pub const MAX_PATCHES: usize = 256;

/// The maximum length of the name of a patch, in bytes.
pub const MAX_PATCH_NAME_BYTES: usize = 256;

/// What an execution knows of patches.
#[derive(Debug, Default)]
pub(super) struct Patches {
    /// The markers of the turns so far, and whether each is deprecated.
    markers: BTreeMap<String, bool>,
    /// The answers that the guest got.
    answers: BTreeMap<String, bool>,
    /// The patches that the guest deprecated.
    deprecated: BTreeSet<String>,
}

impl Patches {
    /// Notes the markers of a turn that is replayed.
    pub(super) fn read(&mut self, turn: &Turn) {
        for decision in &turn.decisions {
            if let Decision::Patched { name, deprecated } = decision {
                self.note(name, *deprecated);
            }
        }
    }

    fn note(&mut self, name: &str, deprecated: bool) {
        let is_deprecated = self.markers.entry(name.to_owned()).or_insert(deprecated);
        *is_deprecated &= deprecated;
    }

    /// Whether the guest asked for a patch, or deprecated it.
    fn knows(&self, name: &str) -> bool {
        self.answers.contains_key(name) || self.deprecated.contains(name)
    }

    /// How many different patches the guest asked for or deprecated.
    fn known(&self) -> usize {
        let only_deprecated = self.deprecated.iter().filter(|name| !self.answers.contains_key(*name));
        self.answers.len() + only_deprecated.count()
    }

    /// A marker of a replayed turn that the guest did not ask for until the end of that turn.
    pub(super) fn unasked<'a>(&self, turn: &'a Turn) -> Option<&'a Decision> {
        turn.decisions.iter().find(|decision| match decision {
            Decision::Patched {
                name,
                deprecated: false,
            } => self.answers.get(name) != Some(&true) && !self.deprecated.contains(name),
            _ => false,
        })
    }
}

impl Execution {
    /// Whether the code after a change applies to this execution at this point.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn patched(&mut self, name: &str) -> Result<bool, Interrupt> {
        let is_replayed = self.turn()?.recorded.is_some();
        if let Some(answer) = self.patches.answers.get(name) {
            return Ok(*answer);
        }
        self.check_patch(name)?;
        let answer = !is_replayed || self.patches.markers.contains_key(name);
        if !is_replayed {
            self.mark(name, false)?;
        }
        self.patches.answers.insert(name.to_owned(), answer);
        Ok(answer)
    }

    /// Declares that the code has no old branch of a patch any more.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn deprecate_patch(&mut self, name: &str) -> Result<(), Interrupt> {
        let is_replayed = self.turn()?.recorded.is_some();
        if self.patches.knows(name) {
            self.patches.deprecated.insert(name.to_owned());
            return Ok(());
        }
        self.check_patch(name)?;
        if !is_replayed {
            self.mark(name, true)?;
        }
        self.patches.deprecated.insert(name.to_owned());
        Ok(())
    }

    /// Records a marker, unless there is one.
    fn mark(&mut self, name: &str, deprecated: bool) -> Result<(), Interrupt> {
        let recorded = self.patches.markers.get(name);
        if recorded.is_some_and(|recorded| deprecated || !recorded) {
            return Ok(());
        }
        self.decide(Decision::Patched {
            name: name.to_owned(),
            deprecated,
        })?;
        self.patches.note(name, deprecated);
        Ok(())
    }

    /// Checks a patch that the guest has not asked for before.
    fn check_patch(&mut self, name: &str) -> Result<(), Interrupt> {
        let message = if name.is_empty() || name.len() > MAX_PATCH_NAME_BYTES {
            format!("the name of a patch has 1 to {MAX_PATCH_NAME_BYTES} bytes")
        } else if self.patches.known() >= MAX_PATCHES {
            format!("an execution may ask for {MAX_PATCHES} patches")
        } else {
            return Ok(());
        };
        Err(self.stop(Interrupt::Limit(Failure::new(types::LIMIT, message).permanent())))
    }
}
