//! Splits a schema into nodes, and estimates the memory of the compiled schema.
//!
//! Both are done before anything is compiled, in time proportional to the text of the schema, and end as soon as the
//! estimate exceeds its limit: a few bytes of a schema may compile to many (patterns, unevaluated properties, long paths).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::pattern::{MAX_PATTERN_BYTES, Pattern};

/// Maximum memory of a compiled schema, in bytes.
pub(super) const MAX_COMPILED_BYTES: u64 = 16 << 20;
/// Maximum number of nodes of a schema.
const MAX_NODES: usize = 20_000;
/// Maximum number of references of a schema.
const MAX_REFERENCES: usize = 2_000;
/// Maximum nesting of schemas. Surveying, compiling and evaluating a schema recurse to this depth.
const MAX_NESTING: usize = 256;
/// Memory of a node, in bytes, without its keywords: the parsed schema, the compiled node, and what refers to it.
const NODE_BYTES: u64 = 1_280;
/// Memory of a keyword, in bytes.
const KEYWORD_BYTES: u64 = 256;
/// Memory of a value that a keyword compares with, in bytes, and of an object among these.
const VALUE_BYTES: u64 = 224;
const OBJECT_BYTES: u64 = 1_792;
/// Memory of a node that is evaluated on the same part as `unevaluatedProperties` or `unevaluatedItems`, in bytes. It is
/// compiled again for each of them, and as often as references lead to it.
const EVALUATED_BYTES: u64 = 8 << 10;
/// Memory of the name of a property in such a node, in bytes.
const EVALUATED_NAME_BYTES: u64 = 256;

/// Keywords that this host does not support: they make the target of a reference depend on the context.
const UNSUPPORTED: [&str; 5] = [
    "$dynamicRef",
    "$recursiveRef",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$anchor",
];

/// What may be spent on finding out whether the DFAs of patterns are small, in states of the NFA for each transition. The
/// default is about a tenth of a second. A pattern for which nothing is left counts as if its DFA were large.
#[derive(Debug)]
pub struct PatternWork(u64);

impl Default for PatternWork {
    fn default() -> Self {
        Self(64_000_000)
    }
}

/// A schema, split into nodes.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) nodes: Vec<Node>,
    /// The nodes, sorted so that each comes after those that it evaluates on the same part.
    pub(super) order: Vec<usize>,
    /// The node of the whole schema.
    pub(super) root: usize,
    /// Estimated memory of the compiled schema, in bytes.
    pub(super) bytes: u64,
    /// The length of the longest path of a node, in bytes. Errors contain the path.
    pub(super) longest_path: u64,
    /// What was spent on patterns.
    pub(super) pattern_work: u64,
}

/// A schema or subschema.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The visits to the part itself: keywords and the values they compare with.
    pub(super) own: u64,
    /// The visits to each byte of the part, if it is a string.
    pub(super) text: u64,
    /// The visits to each byte of the names in the part, if it is an object.
    pub(super) names: u64,
    /// Schemas that are evaluated on the same part.
    pub(super) same: Vec<usize>,
    /// Those of `same` that are evaluated once more to explain why none or too many match.
    pub(super) alternatives: Vec<usize>,
    /// Whether `same` is evaluated more than once (to find out what was left unevaluated).
    pub(super) twice: bool,
    /// Schemas of which at most one is evaluated on each part inside.
    pub(super) one_of_inside: Vec<usize>,
    /// Schemas that are all evaluated on each part inside.
    pub(super) all_inside: Vec<usize>,
    /// Schemas that are evaluated on the names of the parts inside.
    pub(super) on_names: Vec<usize>,
    /// The number of properties and patterns of properties.
    named: u64,
}

struct Survey<'s> {
    root: &'s Value,
    nodes: Vec<Node>,
    /// The node of each schema, by its address.
    known: HashMap<*const Value, usize>,
    patterns: HashMap<&'s str, Pattern>,
    pattern_work: &'s mut PatternWork,
    references: usize,
    /// The nesting depth of the schema that is being surveyed.
    nesting: usize,
    bytes: u64,
    longest_path: u64,
}

impl Surveyed {
    /// Surveys a schema.
    ///
    /// # Errors
    /// Why it is rejected; the text follows "the schema".
    pub(super) fn of(schema: &Value, pattern_work: &mut PatternWork) -> Result<Self, String> {
        let work_before = pattern_work.0;
        let mut survey = Survey {
            root: schema,
            nodes: Vec::new(),
            known: HashMap::new(),
            patterns: HashMap::new(),
            pattern_work,
            references: 0,
            nesting: 0,
            bytes: 0,
            longest_path: 0,
        };
        let root = survey.node(schema, 0)?;
        let order = order(&survey.nodes)?;
        survey.take_evaluated()?;
        Ok(Self {
            order,
            root,
            bytes: survey.bytes,
            longest_path: survey.longest_path,
            nodes: survey.nodes,
            pattern_work: work_before - survey.pattern_work.0,
        })
    }
}

impl<'s> Survey<'s> {
    /// Adds to the estimated memory.
    fn take(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_COMPILED_BYTES {
            return Err(format!(
                "takes more than {} MiB of memory when it is compiled",
                MAX_COMPILED_BYTES >> 20
            ));
        }
        Ok(())
    }

    /// The node of a schema, surveyed first if necessary. `path` is the length of its path in bytes.
    fn node(&mut self, schema: &'s Value, path: u64) -> Result<usize, String> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*known);
        }
        let index = self.nodes.len();
        if index >= MAX_NODES {
            return Err(format!("has more than {MAX_NODES} parts"));
        }
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(format!("has more than {MAX_NESTING} schemas that lead into each other"));
        }
        // The node, the compiled schema and each keyword contain the path.
        let keywords = schema.as_object().map_or(1, Map::len) as u64;
        self.take(NODE_BYTES + KEYWORD_BYTES * keywords + path * (2 + keywords))?;
        self.longest_path = self.longest_path.max(path);
        // Inserted before its parts are surveyed, so that the survey of a recursive schema ends.
        self.known.insert(std::ptr::from_ref(schema), index);
        self.nodes.push(Node::default());
        self.nodes[index] = match schema {
            Value::Bool(_) => Node {
                own: 1,
                ..Node::default()
            },
            Value::Object(keywords) => self.keywords(keywords, path, std::ptr::eq(schema, self.root))?,
            _ => return Err("must be an object or a boolean, and so must the schemas in it".into()),
        };
        self.nesting -= 1;
        Ok(index)
    }

    fn keywords(&mut self, keywords: &'s Map<String, Value>, path: u64, is_root: bool) -> Result<Node, String> {
        let mut node = Node {
            own: 1,
            ..Node::default()
        };
        for (keyword, value) in keywords {
            let path = path + step(keyword);
            match keyword.as_str() {
                unsupported if UNSUPPORTED.contains(&unsupported) => return Err(format!("uses {unsupported}")),
                "$id" | "id" if !is_root && value.is_string() => return Err("has a nested $id".into()),
                "$ref" => node.same.push(self.reference(value)?),
                "anyOf" | "oneOf" => {
                    self.list(value, path, &mut node.alternatives)?;
                    node.same.extend_from_slice(&node.alternatives);
                }
                "allOf" => self.list(value, path, &mut node.same)?,
                "not" | "if" | "then" | "else" => node.same.push(self.node(value, path)?),
                "dependentSchemas" | "dependencies" => self.dependencies(value, path, &mut node.same)?,
                "properties" => {
                    node.own += self.names(value, &mut node)?;
                    self.map(value, path, &mut node.one_of_inside)?;
                }
                "prefixItems" => self.list(value, path, &mut node.one_of_inside)?,
                "items" if value.is_array() => self.list(value, path, &mut node.one_of_inside)?,
                "propertyNames" => node.on_names.push(self.node(value, path)?),
                "items" | "additionalItems" | "contains" | "additionalProperties" => {
                    node.all_inside.push(self.node(value, path)?);
                }
                "unevaluatedItems" | "unevaluatedProperties" => {
                    node.all_inside.push(self.node(value, path)?);
                    node.twice = true;
                }
                "patternProperties" => {
                    self.names(value, &mut node)?;
                    for pattern in value.as_object().into_iter().flat_map(Map::keys) {
                        node.names += self.pattern(pattern)?;
                    }
                    self.map(value, path, &mut node.all_inside)?;
                }
                "pattern" => {
                    node.own += 1;
                    // Anything but a string is rejected by the compiler of schemas.
                    node.text += value.as_str().map_or(Ok(0), |pattern| self.pattern(pattern))?;
                }
                "$defs" | "definitions" => {}
                _ => node.own = node.own.saturating_add(self.value(value)?),
            }
        }
        Ok(node)
    }

    /// The cost of matching a byte with a pattern. Its memory is counted once, because equal patterns are shared.
    fn pattern(&mut self, pattern: &'s str) -> Result<u64, String> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!("has a pattern of more than {MAX_PATTERN_BYTES} bytes"));
        }
        self.take(KEYWORD_BYTES + pattern.len() as u64)?;
        if let Some(known) = self.patterns.get(pattern) {
            return Ok(known.visits_per_byte);
        }
        let measured = Pattern::measure(pattern, &mut self.pattern_work.0);
        self.take(measured.bytes)?;
        self.patterns.insert(pattern, measured);
        Ok(measured.visits_per_byte)
    }

    /// Counts the names of properties or patterns.
    fn names(&mut self, value: &Value, node: &mut Node) -> Result<u64, String> {
        let Some(fields) = value.as_object() else {
            return Ok(0);
        };
        self.take(fields.keys().map(|name| 4 * name.len() as u64).sum())?;
        node.named += fields.len() as u64;
        Ok(fields.len() as u64)
    }

    /// The number of values in a keyword's value, including itself.
    fn value(&mut self, value: &Value) -> Result<u64, String> {
        let mut count = 1;
        match value {
            Value::Array(items) => {
                self.take(VALUE_BYTES)?;
                for item in items {
                    count += self.value(item)?;
                }
            }
            Value::Object(fields) => {
                self.take(OBJECT_BYTES)?;
                for (name, field) in fields {
                    self.take(4 * name.len() as u64)?;
                    count += self.value(field)?;
                }
            }
            Value::String(text) => self.take(VALUE_BYTES + 4 * text.len() as u64)?,
            _ => self.take(VALUE_BYTES)?,
        }
        Ok(count)
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
        // In a URI fragment the pointer may be percent-encoded. Names that need this are rejected, rather than decoded
        // in two places that might differ.
        let pointer = pointer.filter(|pointer| !pointer.contains('%')).ok_or_else(outside)?;
        let root = self.root;
        let target = root
            .pointer(pointer)
            .ok_or_else(|| format!("refers to {text:?}, which is not in it"))?;
        self.take(4 * text.len() as u64)?;
        self.node(target, pointer.len() as u64)
    }

    fn list(&mut self, value: &'s Value, path: u64, nodes: &mut Vec<usize>) -> Result<(), String> {
        // Anything but a list is rejected by the compiler of schemas, which has better messages.
        for (index, schema) in value.as_array().into_iter().flatten().enumerate() {
            nodes.push(self.node(schema, path + step(&index.to_string()))?);
        }
        Ok(())
    }

    fn map(&mut self, value: &'s Value, path: u64, nodes: &mut Vec<usize>) -> Result<(), String> {
        for (name, schema) in value.as_object().into_iter().flatten() {
            nodes.push(self.node(schema, path + step(name))?);
        }
        Ok(())
    }

    /// The value of each name is a schema or a list of names.
    fn dependencies(&mut self, value: &'s Value, path: u64, nodes: &mut Vec<usize>) -> Result<(), String> {
        for (name, schema) in value.as_object().into_iter().flatten() {
            if schema.is_array() {
                self.value(schema)?;
            } else {
                nodes.push(self.node(schema, path + step(name))?);
            }
        }
        Ok(())
    }

    /// Counts the memory of `unevaluatedProperties` and `unevaluatedItems`: each collects what all schemas on the same
    /// part evaluate, along every path to them.
    fn take_evaluated(&mut self) -> Result<(), String> {
        for start in 0..self.nodes.len() {
            if !self.nodes[start].twice {
                continue;
            }
            let mut open = vec![start];
            while let Some(index) = open.pop() {
                let named = self.nodes[index].named;
                self.take(EVALUATED_BYTES + EVALUATED_NAME_BYTES * named)?;
                open.extend_from_slice(&self.nodes[index].same);
            }
        }
        Ok(())
    }
}

/// The length of a step of a path, which is a JSON Pointer.
fn step(name: &str) -> u64 {
    let escaped = name.bytes().filter(|byte| matches!(byte, b'~' | b'/')).count();
    (1 + name.len() + escaped) as u64
}

/// Sorts the nodes so that each comes after those it evaluates on the same part.
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
        // Uses an explicit stack: a chain of references may be longer than the thread's stack allows.
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            if next == 0 {
                match marks[node] {
                    Mark::Done => continue,
                    Mark::Open => return Err("refers to itself without going into the value".into()),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fuzz::most_taken;
    use crate::schema::SchemaValidator;

    /// A schema with many properties.
    fn properties(count: usize, schema: impl Fn(usize) -> Value) -> Value {
        let fields: Map<_, _> = (0..count).map(|n| (format!("k{n}"), schema(n))).collect();
        json!({ "properties": fields })
    }

    fn nested(levels: usize, outer: impl Fn(Value) -> Value, innermost: Value) -> Value {
        (0..levels).fold(innermost, |inner, _| outer(inner))
    }

    /// Definitions that refer to the next one.
    fn chain(length: usize, link: impl Fn(Value) -> Value, last: Value) -> Value {
        let reference = |n: usize| json!({ "$ref": format!("#/$defs/d{n}") });
        let mut definitions: Map<_, _> = (0..length).map(|n| (format!("d{n}"), link(reference(n + 1)))).collect();
        definitions.insert(format!("d{length}"), last);
        json!({ "$ref": "#/$defs/d0", "$defs": definitions })
    }

    fn patterns(count: usize, pattern: impl Fn(usize) -> String) -> Value {
        let fields: Map<_, _> = (0..count).map(|n| (pattern(n), json!(true))).collect();
        json!({ "patternProperties": fields })
    }

    #[test]
    fn the_estimate_covers_what_compiling_takes() {
        let string = |_| json!({ "type": "string" });
        let unevaluated = |inner| json!({ "allOf": [inner], "unevaluatedProperties": false });
        let schemas = [
            ("a boolean", json!(true)),
            ("properties", properties(5_000, string)),
            ("empty", properties(5_000, |_| json!({}))),
            (
                "keywords",
                properties(1_000, |_| {
                    json!({
                        "minLength": 1, "maxLength": 5, "minimum": 2, "maximum": 4, "multipleOf": 0.5, "minItems": 1,
                        "uniqueItems": true, "minProperties": 1, "exclusiveMinimum": 3, "format": "x", "type": "string"
                    })
                }),
            ),
            (
                "closed",
                properties(
                    1_000,
                    |_| json!({ "additionalProperties": false, "properties": { "a": true } }),
                ),
            ),
            (
                "long paths",
                nested(
                    25,
                    |inner| json!({ "properties": { "x".repeat(2_000): inner } }),
                    properties(20, string),
                ),
            ),
            (
                "objects to compare with",
                json!({ "enum": (0..5_000).map(|n| json!({ "a": n })).collect::<Vec<_>>() }),
            ),
            (
                "texts to compare with",
                json!({ "enum": (0..5_000).map(|n| format!("text {n}")).collect::<Vec<_>>() }),
            ),
            ("unknown keywords", json!({ "default": vec![json!([]); 20_000] })),
            (
                "required",
                json!({ "dependentRequired": (0..5_000).map(|n| (format!("k{n}"), json!(["a"]))).collect::<Map<_, _>>() }),
            ),
            (
                "alternatives",
                json!({ "anyOf": (0..5_000).map(|n| json!({ "const": n })).collect::<Vec<_>>() }),
            ),
            (
                "references",
                json!({ "$defs": { "a": properties(2_000, string) }, "allOf": vec![json!({ "$ref": "#/$defs/a" }); 1_500] }),
            ),
            ("unevaluated", nested(30, unevaluated, properties(100, string))),
            ("an unevaluated chain", chain(50, unevaluated, properties(50, string))),
            (
                "unevaluated twice",
                chain(
                    7,
                    |next| json!({ "anyOf": [next, next], "unevaluatedProperties": false }),
                    properties(50, string),
                ),
            ),
            (
                "unevaluated items",
                nested(
                    30,
                    |inner| json!({ "anyOf": [inner, true], "unevaluatedItems": false }),
                    json!({ "prefixItems": vec![string(0); 100] }),
                ),
            ),
            ("a pattern", json!({ "pattern": "^[a-z]+(-[0-9]+)*$" })),
            ("small patterns", patterns(100, |n| format!("^(a|b{n})x*[c-d]"))),
            ("sequences", patterns(100, |n| format!("^[a-z]{{2}}-{n}-[0-9]{{1,8}}$"))),
            ("literals", patterns(500, |n| format!("^a{n}"))),
            ("large patterns", patterns(20, |n| format!(r"\p{{L}}0x{n}"))),
            ("groups", patterns(10, |n| format!(r"^(\p{{L}}|{n})+$"))),
            (
                "words",
                json!({ "pattern": (0..700).map(|n| format!("w{n}")).collect::<Vec<_>>().join("|") }),
            ),
        ];
        // The first schema also compiles the schema of schemas.
        SchemaValidator::compile(r#"{"pattern": "(a|b)*"}"#).unwrap();
        for (name, schema) in schemas {
            let text = schema.to_string();
            let mut estimate = 0;
            let taken = most_taken(|| {
                let compiled = SchemaValidator::compile(&text);
                // One that is refused compiles nothing.
                estimate = compiled.map_or(MAX_COMPILED_BYTES, |compiled| compiled.bytes());
            });
            // Parsing a pattern with large classes takes up to a megabyte for a moment.
            assert!(
                taken as u64 <= estimate + (1 << 20),
                "{name}: {taken} bytes, estimated {estimate}"
            );
            println!("{name}: {taken} bytes, estimated {estimate}");
        }
    }

    #[test]
    fn a_schema_that_takes_too_much_memory_is_refused_before_it_is_compiled() {
        let hostile = [
            patterns(12_000, |n| format!(r"\p{{L}}0x{n}")),
            nested(
                50,
                |inner| json!({ "properties": { "x".repeat(2_000): inner } }),
                properties(200, |_| json!(true)),
            ),
            chain(
                20,
                |next| json!({ "anyOf": [next, next], "unevaluatedProperties": false }),
                json!(true),
            ),
            chain(
                100,
                |next| json!({ "allOf": [next], "unevaluatedProperties": false }),
                properties(500, |_| json!(true)),
            ),
        ];
        for schema in hostile {
            let text = schema.to_string();
            let taken = most_taken(|| {
                let error = SchemaValidator::compile(&text).unwrap_err().to_string();
                assert_eq!(error, "takes more than 16 MiB of memory when it is compiled");
            });
            assert!(taken < 32 << 20, "{taken} bytes");
        }
    }

    #[test]
    fn an_ordinary_schema_is_far_from_the_limits() {
        let schema = properties(
            100,
            |n| json!({ "type": "string", "pattern": format!("^[a-z]{{2}}-{n}(-[0-9a-f]{{4}})*$"), "maxLength": 100 }),
        );
        let surveyed = Surveyed::of(&schema, &mut PatternWork::default()).unwrap();
        assert!(surveyed.bytes < MAX_COMPILED_BYTES / 2, "{}", surveyed.bytes);
    }
}
