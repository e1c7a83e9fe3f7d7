//! Bounds the cost of validating a value with a schema.
//!
//! Some keywords evaluate other schemas on the *same* part of the value (`allOf`, `anyOf`, `$ref`, …), others on the
//! parts *inside* it (`properties`, `items`, …). From this follows, for each depth, how often at most a part of the value
//! at that depth is visited, and how often each byte of a string or name at that depth is matched with patterns; the sum
//! over all parts of a value bounds the cost. Nodes that evaluate each other on the same part in a cycle would never end,
//! and are rejected ([`survey`](super::survey)).

use serde_json::Value;

use super::survey::{Node, Surveyed};

/// Deepest level of a value that is distinguished; the parser of payloads stops at 128 as well.
const MAX_DEPTH: usize = 128;
/// Bytes of a string or a name that count as one part of a value.
const BYTES_PER_PART: usize = 64;
/// The time to call a pattern, in bytes of text that are matched in that time.
const BYTES_PER_MATCH: usize = 8;
/// Memory of an error, in bytes, without the paths in it.
const ERROR_BYTES: u64 = 512;

/// The maximum cost, by the depth of a part of the value.
#[derive(Debug)]
pub(super) struct CostTable {
    work: Vec<Work>,
    /// How many schemas deep the evaluation of a part at that depth is nested, and so how much stack it takes.
    nesting: Vec<u64>,
    /// Memory of an error at the root of a value, in bytes.
    error_bytes: u64,
}

/// What happens to one part of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Work {
    /// How often the part is visited.
    visits: u64,
    /// Visits to each byte of the part, if it is a string.
    text: u64,
    /// Visits to each byte of the names in the part, if it is an object.
    names: u64,
    /// Errors that are collected to explain why no alternative matches.
    errors: u64,
}

/// The maximum cost of validating one value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Visits of a schema to a part of the value. A visit takes about 20 nanoseconds.
    pub(super) visits: u64,
    /// Nested evaluations of schemas.
    pub(super) nesting: u64,
    /// Memory for the explanation why the value does not match, in bytes.
    pub(super) explanation_bytes: u64,
}

impl CostTable {
    /// Computes the table of a schema.
    pub(super) fn of(schema: &Surveyed) -> Self {
        Self {
            work: work_by_depth(schema),
            nesting: nesting_by_depth(schema),
            error_bytes: ERROR_BYTES + 2 * schema.longest_path,
        }
    }

    /// The maximum cost of validating the value.
    pub(super) fn of_value(&self, value: &Value) -> Cost {
        let mut sum = Sum {
            table: self,
            visits: 0,
            explanation_bytes: 0,
            deepest: 0,
        };
        sum.add(value, 0, 0);
        Cost {
            visits: sum.visits,
            nesting: self.nesting[..=sum.deepest].iter().copied().max().unwrap_or(0),
            explanation_bytes: sum.explanation_bytes,
        }
    }
}

/// The cost of the parts of a value so far.
struct Sum<'t> {
    table: &'t CostTable,
    visits: u64,
    explanation_bytes: u64,
    deepest: usize,
}

impl Sum<'_> {
    /// Adds a part and everything in it. `path` is the length of its path in bytes.
    fn add(&mut self, value: &Value, depth: usize, path: u64) {
        let depth = depth.min(MAX_DEPTH);
        self.deepest = depth.max(self.deepest);
        let work = self.table.work[depth];
        let error_bytes = self.table.error_bytes.saturating_add(path);
        self.explanation_bytes = self
            .explanation_bytes
            .saturating_add(work.errors.saturating_mul(error_bytes));
        self.visit(work.visits, 1);
        match value {
            Value::String(text) => {
                self.visit(work.visits, text.len() / BYTES_PER_PART);
                self.visit(work.text, text.len() + BYTES_PER_MATCH);
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item, depth + 1, path + 8)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.visit(work.visits, name.len() / BYTES_PER_PART);
                    self.visit(work.names, name.len() + BYTES_PER_MATCH);
                    self.add(field, depth + 1, path + 1 + name.len() as u64);
                }
            }
            _ => {}
        }
    }

    fn visit(&mut self, visits: u64, times: usize) {
        self.visits = self.visits.saturating_add(visits.saturating_mul(times as u64));
    }
}

impl Work {
    fn plus(self, other: Self) -> Self {
        Self {
            visits: self.visits.saturating_add(other.visits),
            text: self.text.saturating_add(other.text),
            names: self.names.saturating_add(other.names),
            errors: self.errors.saturating_add(other.errors),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            visits: self.visits.max(other.visits),
            text: self.text.max(other.text),
            names: self.names.max(other.names),
            errors: self.errors.max(other.errors),
        }
    }
}

/// The work of all nodes at one depth.
#[derive(PartialEq, Eq)]
struct Level {
    /// To find out whether a part matches.
    quiet: Vec<Work>,
    /// To find out why it does not match, too.
    explained: Vec<Work>,
    /// The errors of a part that violates everything, each of them once.
    errors: Vec<u64>,
}

impl Level {
    fn new(schema: &Surveyed, before: Option<&Self>) -> Self {
        let none = vec![Work::default(); schema.nodes.len()];
        let mut level = Self {
            quiet: none.clone(),
            explained: none,
            errors: vec![0; schema.nodes.len()],
        };
        level.fill(schema, before);
        if before.is_none() && schema.nodes.iter().any(|node| !node.on_names.is_empty()) {
            // The schemas of names may come later in the order, and their work is known only now.
            level.fill(schema, before);
        }
        level
    }

    fn fill(&mut self, schema: &Surveyed, before: Option<&Self>) {
        for &index in &schema.order {
            let node = &schema.nodes[index];
            self.errors[index] = node.errors(&self.errors, before.map(|before| &*before.errors));
            self.quiet[index] = node.work(&self.quiet, before.map(|before| &*before.quiet));
            let explained = node.work(&self.explained, before.map(|before| &*before.explained));
            let tried = node.alternatives.iter().fold(Work::default(), |sum, alternative| {
                sum.plus(self.quiet[*alternative]).plus(Work {
                    errors: self.errors[*alternative],
                    ..Work::default()
                })
            });
            self.explained[index] = explained.plus(tried);
        }
    }
}

impl Node {
    /// The work for a part at a depth, computed from that of the same schemas at that depth (`now`) and that of the
    /// schemas inside at the previous depth.
    fn work(&self, now: &[Work], before: Option<&[Work]>) -> Work {
        let times = if self.twice { 2 } else { 1 };
        let own = match before {
            None => Work {
                visits: self.own,
                text: self.text,
                // `unevaluatedProperties` matches all names once more.
                names: self
                    .on_names
                    .iter()
                    .fold(self.names.saturating_mul(times), |sum, schema| {
                        sum.saturating_add(now[*schema].text)
                    }),
                errors: 0,
            },
            Some(before) => self.inside(before),
        };
        let same = self.same.iter().fold(Work::default(), |sum, same| sum.plus(now[*same]));
        let own = own.plus(same);
        if self.twice { own.plus(same) } else { own }
    }

    fn inside(&self, before: &[Work]) -> Work {
        let one = self
            .one_of_inside
            .iter()
            .fold(Work::default(), |most, inside| most.max(before[*inside]));
        let all = self
            .all_inside
            .iter()
            .fold(one, |sum, inside| sum.plus(before[*inside]));
        // A name has no parts inside.
        self.on_names.iter().fold(all, |sum, schema| {
            sum.plus(Work {
                text: 0,
                names: 0,
                ..before[*schema]
            })
        })
    }

    /// The errors of a part at a depth, computed like [`work`](Self::work). A keyword reports at most as many as it is
    /// visited.
    fn errors(&self, now: &[u64], before: Option<&[u64]>) -> u64 {
        let own = before.map_or(self.own, |before| {
            let one = self.one_of_inside.iter().map(|inside| before[*inside]).max();
            let all = self.all_inside.iter().chain(&self.on_names);
            all.fold(one.unwrap_or(0), |sum, inside| sum.saturating_add(before[*inside]))
        });
        self.same.iter().fold(own, |sum, same| sum.saturating_add(now[*same]))
    }

    /// Maximum nesting of schemas on the way to a part at a depth.
    fn nesting(&self, now: &[u64], before: Option<&[u64]>) -> u64 {
        let same = self.same.iter().map(|same| now[*same]);
        let inside = self.one_of_inside.iter().chain(&self.all_inside).chain(&self.on_names);
        let inside = before
            .into_iter()
            .flat_map(|before| inside.clone().map(|inside| before[*inside]));
        same.chain(inside).max().unwrap_or(0) + 1
    }
}

/// The work at the root, for each depth of a part of the value.
fn work_by_depth(schema: &Surveyed) -> Vec<Work> {
    let mut table = Vec::with_capacity(MAX_DEPTH + 1);
    let mut before: Option<Level> = None;
    while table.len() <= MAX_DEPTH {
        let level = Level::new(schema, before.as_ref());
        let work = level.explained[schema.root];
        table.push(work);
        if before.as_ref() == Some(&level) {
            // All deeper levels are equal to this one.
            table.resize(MAX_DEPTH + 1, work);
        }
        before = Some(level);
    }
    table
}

/// The nesting at the root, for each depth of a part of the value.
fn nesting_by_depth(schema: &Surveyed) -> Vec<u64> {
    let mut table = Vec::with_capacity(MAX_DEPTH + 1);
    let mut before: Option<Vec<u64>> = None;
    while table.len() <= MAX_DEPTH {
        let mut now = vec![0; schema.nodes.len()];
        for &index in &schema.order {
            now[index] = schema.nodes[index].nesting(&now, before.as_deref());
        }
        table.push(now[schema.root]);
        if before.as_ref() == Some(&now) {
            table.resize(MAX_DEPTH + 1, now[schema.root]);
        }
        before = Some(now);
    }
    table
}
