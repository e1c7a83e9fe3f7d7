//! Bounds the cost of validating a value with a schema.
//!
//! The schema is split into nodes. Some keywords evaluate other schemas on the *same* part of the value (`allOf`,
//! `anyOf`, `$ref`, …), others on the parts *inside* it (`properties`, `items`, …). These relations
//! determine the maximum number of visits to a part of the value at each depth. The sum over all parts bounds the cost
//! of a value. Nodes that evaluate each other on the same part in a cycle would never end, so they are rejected.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Maximum depth of the tables. The parser of payloads accepts at most 128 levels, too.
const MAX_DEPTH: usize = 128;
/// Maximum number of nodes of a schema.
const MAX_NODES: usize = 20_000;
/// Maximum number of references of a schema.
const MAX_REFERENCES: usize = 2_000;
/// Maximum nesting of schemas. The survey, the compilation and the evaluation of a schema recurse to this depth.
const MAX_NESTING: usize = 256;
/// Number of bytes of a string that count as one part of a value.
const BYTES_PER_PART: usize = 64;

/// Keywords that this host does not support, because they make the target of a reference depend on the context.
const UNSUPPORTED: [&str; 5] = [
    "$dynamicRef",
    "$recursiveRef",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$anchor",
];

/// The maximum cost, by the depth of a part of the value.
#[derive(Debug)]
pub(super) struct CostTable {
    /// The maximum number of visits to a part at this depth.
    visits: Vec<u64>,
    /// The maximum number of nested evaluations at this depth, which determines how much stack validation needs.
    nesting: Vec<u64>,
    /// Whether the schema has patterns. Matching visits each byte of a string.
    patterns: bool,
}

/// A schema or subschema.
#[derive(Debug, Default)]
struct Node {
    /// The cost at the part itself: the number of keywords, and of the values that they compare with.
    own: u64,
    /// Schemas that are evaluated on the same part.
    same: Vec<usize>,
    /// Whether `same` is evaluated twice, as `unevaluatedItems` and `unevaluatedProperties` require.
    twice: bool,
    /// Schemas of which at most one is evaluated on each part inside.
    one_of_inside: Vec<usize>,
    /// Schemas that are all evaluated on each part inside.
    all_inside: Vec<usize>,
}

/// Splits a schema into nodes.
struct Survey<'s> {
    root: &'s Value,
    nodes: Vec<Node>,
    /// The node of each schema, by its address.
    known: HashMap<*const Value, usize>,
    references: usize,
    /// The nesting depth of the schema that is being surveyed.
    nesting: usize,
    patterns: bool,
}

/// The maximum cost of validating one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Visits of a schema to a part of the value.
    pub(super) visits: u64,
    /// Nested evaluations of schemas.
    pub(super) nesting: u64,
}

impl CostTable {
    /// Computes the table of a schema.
    ///
    /// # Errors
    /// Why the cost cannot be bounded. The text continues a sentence that begins with "the schema".
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let mut survey = Survey {
            root: schema,
            nodes: Vec::new(),
            known: HashMap::new(),
            references: 0,
            nesting: 0,
            patterns: false,
        };
        let root = survey.node(schema)?;
        let order = order(&survey.nodes)?;
        let visits = by_depth(&survey.nodes, &order, root, Node::visits);
        let nesting = by_depth(&survey.nodes, &order, root, Node::nesting);
        Ok(Self {
            visits,
            nesting,
            patterns: survey.patterns,
        })
    }

    /// The maximum cost of validating the value.
    pub(super) fn of_value(&self, value: &Value) -> Cost {
        let mut deepest = 0;
        let visits = self.visits(value, 0, &mut deepest);
        Cost {
            visits,
            nesting: self.nesting[..=deepest].iter().copied().max().unwrap_or(0),
        }
    }

    fn visits(&self, value: &Value, depth: usize, deepest: &mut usize) -> u64 {
        let depth = depth.min(MAX_DEPTH);
        *deepest = depth.max(*deepest);
        let parts = match value {
            Value::String(text) if self.patterns => 1 + text.len(),
            Value::String(text) => 1 + text.len() / BYTES_PER_PART,
            _ => 1,
        };
        let own = self.visits[depth].saturating_mul(parts as u64);
        let inside: u64 = match value {
            Value::Array(items) => items
                .iter()
                .fold(0, |sum, item| sum.saturating_add(self.visits(item, depth + 1, deepest))),
            Value::Object(fields) => fields.values().fold(0, |sum, field| {
                sum.saturating_add(self.visits(field, depth + 1, deepest))
            }),
            _ => 0,
        };
        own.saturating_add(inside)
    }
}

impl<'s> Survey<'s> {
    /// The node of a schema. Surveys the schema if this has not been done.
    fn node(&mut self, schema: &'s Value) -> Result<usize, String> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*known);
        }
        let index = self.nodes.len();
        if index >= MAX_NODES {
            return Err(format!("has more than {MAX_NODES} parts"));
        }
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(format!("nests schemas more than {MAX_NESTING} levels deep"));
        }
        // Inserted before its parts are surveyed, so that the survey of a recursive schema ends.
        self.known.insert(std::ptr::from_ref(schema), index);
        self.nodes.push(Node::default());
        self.nodes[index] = match schema {
            Value::Bool(_) => Node {
                own: 1,
                ..Node::default()
            },
            Value::Object(keywords) => self.keywords(keywords, std::ptr::eq(schema, self.root))?,
            _ => return Err("must be an object or a boolean, and so must the schemas in it".into()),
        };
        self.nesting -= 1;
        Ok(index)
    }

    fn keywords(&mut self, keywords: &'s Map<String, Value>, is_root: bool) -> Result<Node, String> {
        let mut node = Node {
            own: 1,
            ..Node::default()
        };
        for (keyword, value) in keywords {
            match keyword.as_str() {
                unsupported if UNSUPPORTED.contains(&unsupported) => return Err(format!("uses {unsupported}")),
                "$id" | "id" if !is_root && value.is_string() => return Err("has a nested $id".into()),
                "$ref" => node.same.push(self.reference(value)?),
                "allOf" | "anyOf" | "oneOf" => self.list(value, &mut node.same)?,
                "not" | "if" | "then" | "else" => node.same.push(self.node(value)?),
                "dependentSchemas" => self.map(value, &mut node.same)?,
                "dependencies" => self.dependencies(value, &mut node.same)?,
                "properties" => {
                    node.own += value.as_object().map_or(0, Map::len) as u64;
                    self.map(value, &mut node.one_of_inside)?;
                }
                "prefixItems" => self.list(value, &mut node.one_of_inside)?,
                "items" if value.is_array() => self.list(value, &mut node.one_of_inside)?,
                "items" | "additionalItems" | "contains" | "additionalProperties" | "propertyNames" => {
                    node.all_inside.push(self.node(value)?);
                }
                "unevaluatedItems" | "unevaluatedProperties" => {
                    node.all_inside.push(self.node(value)?);
                    node.twice = true;
                }
                "patternProperties" => {
                    self.patterns = true;
                    self.map(value, &mut node.all_inside)?;
                }
                "pattern" => {
                    self.patterns = true;
                    node.own += 1;
                }
                "$defs" | "definitions" => {}
                _ => node.own = node.own.saturating_add(size(value)),
            }
        }
        Ok(node)
    }

    /// Resolves a reference within the schema: `#`, or `#` and a JSON Pointer.
    fn reference(&mut self, value: &'s Value) -> Result<usize, String> {
        self.references += 1;
        if self.references > MAX_REFERENCES {
            return Err(format!("has more than {MAX_REFERENCES} references"));
        }
        let text = value.as_str().ok_or("has a $ref that is not a string")?;
        let pointer = text
            .strip_prefix('#')
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let outside = || format!("refers to {text:?}; only references within it, like #/$defs/Name, are followed");
        // In a URI fragment, the pointer may be percent-encoded. Names that need this are rejected, because this
        // decoder might differ from that of `jsonschema`.
        let pointer = pointer.filter(|pointer| !pointer.contains('%')).ok_or_else(outside)?;
        let root = self.root;
        let target = root
            .pointer(pointer)
            .ok_or_else(|| format!("refers to {text:?}, which is not in it"))?;
        self.node(target)
    }

    fn list(&mut self, value: &'s Value, nodes: &mut Vec<usize>) -> Result<(), String> {
        // `jsonschema` rejects anything but a list, with a better message.
        for schema in value.as_array().into_iter().flatten() {
            nodes.push(self.node(schema)?);
        }
        Ok(())
    }

    fn map(&mut self, value: &'s Value, nodes: &mut Vec<usize>) -> Result<(), String> {
        for schema in value.as_object().into_iter().flat_map(Map::values) {
            nodes.push(self.node(schema)?);
        }
        Ok(())
    }

    /// The value of each name is a schema or a list of names.
    fn dependencies(&mut self, value: &'s Value, nodes: &mut Vec<usize>) -> Result<(), String> {
        let schemas = value
            .as_object()
            .into_iter()
            .flat_map(Map::values)
            .filter(|value| !value.is_array());
        for schema in schemas {
            nodes.push(self.node(schema)?);
        }
        Ok(())
    }
}

/// The number of values in a keyword's value, including itself.
fn size(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(size).sum::<u64>() + 1,
        Value::Object(fields) => fields.values().map(size).sum::<u64>() + 1,
        _ => 1,
    }
}

/// Sorts the nodes so that each one comes after the nodes that it evaluates on the same part.
///
/// # Errors
/// If there is a cycle.
fn order(nodes: &[Node]) -> Result<Vec<usize>, String> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    for start in 0..nodes.len() {
        // Uses an explicit stack, because a chain of references may be too long for the thread's stack.
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                match marks[node] {
                    Mark::Done => continue,
                    Mark::Open => return Err("refers to itself without descending into the value".into()),
                    Mark::New => marks[node] = Mark::Open,
                }
            }
            match nodes[node].same.get(next) {
                Some(child) => {
                    stack.push((node, next + 1));
                    stack.push((*child, 0));
                }
                None => {
                    marks[node] = Mark::Done;
                    order.push(node);
                }
            }
        }
    }
    Ok(order)
}

impl Node {
    /// Maximum number of visits to a part, computed from the visits of the schemas on the same part (`now`) and of the
    /// schemas inside (`before`, which is the previous row of the table).
    fn visits(&self, now: &[u64], before: Option<&[u64]>) -> u64 {
        let own = before.map_or(self.own, |before| {
            let one = self
                .one_of_inside
                .iter()
                .map(|inside| before[*inside])
                .max()
                .unwrap_or(0);
            self.all_inside
                .iter()
                .fold(one, |sum, inside| sum.saturating_add(before[*inside]))
        });
        let same = self.same.iter().fold(0_u64, |sum, same| sum.saturating_add(now[*same]));
        own.saturating_add(if self.twice { same.saturating_mul(2) } else { same })
    }

    /// Maximum number of nested evaluations, computed from the same rows.
    fn nesting(&self, now: &[u64], before: Option<&[u64]>) -> u64 {
        let same = self.same.iter().map(|same| now[*same]);
        let inside = self.one_of_inside.iter().chain(&self.all_inside);
        let inside = before
            .into_iter()
            .flat_map(|before| inside.clone().map(|inside| before[*inside]));
        same.chain(inside).max().unwrap_or(0) + 1
    }
}

/// Computes visits or nesting at the root schema, for each depth of a part of the value.
fn by_depth(
    nodes: &[Node],
    order: &[usize],
    root: usize,
    quantity: fn(&Node, &[u64], Option<&[u64]>) -> u64,
) -> Vec<u64> {
    let mut table = Vec::with_capacity(MAX_DEPTH + 1);
    let mut before: Option<Vec<u64>> = None;
    for _ in 0..=MAX_DEPTH {
        let mut now = vec![0; nodes.len()];
        for &index in order {
            now[index] = quantity(&nodes[index], &now, before.as_deref());
        }
        table.push(now[root]);
        before = Some(now);
    }
    table
}
