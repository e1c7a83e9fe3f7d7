//! An ended instance and the sub-orchestrations below it, which are deleted with it.

use std::collections::VecDeque;

use super::{PAGE, Piece};
use crate::model::InstanceNumber;
use crate::store::{Descendant, Error, Store};

/// Above this depth, an instance keeps the page of its children in memory while the walk is below one of them.
const PAGES: usize = 32;

/// A walk through a tree, in two rounds: the first looks for instances that have not ended, the second deletes, children
/// before their parents. So a tree that is left halfway, because the host ended, is still connected to its root.
///
/// Its memory is bounded by the depth of the tree, and each step makes at most one query.
pub(super) struct Tree {
    root: (InstanceNumber, u64),
    /// From the root down to where the walk is.
    path: Vec<Node>,
    is_checked: bool,
}

/// An instance whose children are being looked at.
struct Node {
    instance: InstanceNumber,
    bytes: u64,
    /// The last child that was read.
    after: Option<InstanceNumber>,
    /// Children that were read, and not looked at.
    page: VecDeque<Descendant>,
    /// Whether there are no more children to read.
    is_read: bool,
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// The walk goes on.
    More,
    /// The whole tree is in pieces, with the root as the last.
    Done,
    /// An instance has not ended, so the tree is kept for now.
    HasLive,
}

impl Node {
    fn new(instance: InstanceNumber, bytes: u64) -> Self {
        Self {
            instance,
            bytes,
            after: None,
            page: VecDeque::new(),
            is_read: false,
        }
    }
}

impl Tree {
    /// The tree of an ended instance.
    pub(super) fn new(root: InstanceNumber, bytes: u64) -> Self {
        Self {
            root: (root, bytes),
            path: vec![Node::new(root, bytes)],
            is_checked: false,
        }
    }

    /// Makes a step, which adds at most one instance to the piece.
    pub(super) async fn step(&mut self, store: &Store, piece: &mut Piece) -> Result<Walked, Error> {
        let depth = self.path.len();
        let Some(node) = self.path.last_mut() else {
            return Ok(Walked::Done);
        };
        if let Some(child) = node.page.pop_front() {
            if !child.status.has_ended() {
                return Ok(Walked::HasLive);
            }
            if child.has_children {
                if depth > PAGES {
                    // Read again when the walk comes back.
                    node.page = VecDeque::new();
                    node.after = Some(child.instance);
                    node.is_read = false;
                }
                self.path.push(Node::new(child.instance, child.bytes));
            } else if self.is_checked {
                piece.add(child.instance, child.bytes);
            }
            return Ok(Walked::More);
        }
        if !node.is_read {
            piece.count_read();
            let page = store.descendants(node.instance, node.after, PAGE).await?;
            node.is_read = page.len() < PAGE as usize;
            node.after = page.last().map_or(node.after, |last| Some(last.instance));
            node.page = page.into();
            return Ok(Walked::More);
        }
        let (instance, bytes) = (node.instance, node.bytes);
        self.path.pop();
        if self.is_checked {
            piece.add(instance, bytes);
        } else if self.path.is_empty() {
            self.is_checked = true;
            self.path.push(Node::new(self.root.0, self.root.1));
        }
        Ok(if self.path.is_empty() {
            Walked::Done
        } else {
            Walked::More
        })
    }
}
