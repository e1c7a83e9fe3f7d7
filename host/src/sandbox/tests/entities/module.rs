//! Builds modules of entities from WebAssembly text. The guest dispatches on the name of the operation.

use std::collections::BTreeMap;

use crate::sandbox::tests::guests::component;

/// The address at which static data begins. Below it is scratch space: the operation is at 1024.
const DATA: u32 = 8192;
/// The size of an `entity-description` in the canonical ABI in bytes.
const ENTITY_BYTES: usize = 36;
/// The size of an `operation-description` in the canonical ABI in bytes.
const OPERATION_BYTES: usize = 40;

/// Completes the operation with its input as the output.
pub(super) const KEEP: &str =
    "(drop (call $complete (local.get $input) (local.get $input_len) (i32.const 0) (i32.const 0) (i32.const 0)))";

/// Completes the operation with the number of operations of this instance as the output, a digit.
pub(super) const COUNT: &str = "(i32.store8 (i32.const 2000) (i32.add (i32.const 48) (global.get $count)))
    (drop (call $complete (i32.const 2000) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))";

/// Computes for about five units of fuel a round.
pub(super) fn spin(rounds: u32) -> String {
    format!(
        "(local.set $i (i32.const {rounds}))
         (loop $spin (br_if $spin (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
    )
}

/// A builder of modules.
#[derive(Clone)]
pub(super) struct EntityModule {
    entities: Vec<Entity>,
    wit_imports: String,
    imports: String,
    items: String,
    describe: String,
    start: String,
    end: String,
    operations: Vec<(String, String)>,
}

#[derive(Clone)]
pub(super) struct Entity {
    pub(super) name: String,
    pub(super) state_schema: Option<String>,
    pub(super) operations: Vec<(String, Option<String>)>,
}

impl EntityModule {
    /// A module with the entity `Account`, which passes on all operations: `count`, `read`, `set` and `delete`.
    pub(super) fn new() -> Self {
        Self {
            entities: Vec::new(),
            wit_imports: String::new(),
            imports: String::new(),
            items: String::new(),
            describe: String::new(),
            start: String::new(),
            end: "return".into(),
            operations: Vec::new(),
        }
        .entity("Account", None, &[])
        .context("next-operation", "(param i32)")
        .context(
            "complete-operation",
            "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)",
        )
        .on("count", COUNT)
        .on(
            "read",
            "(drop (call $complete (local.get $state) (local.get $state_len) (i32.const 0) (i32.const 0) (i32.const 0)))",
        )
        .on(
            "set",
            "(local.set $state (local.get $input)) (local.set $state_len (local.get $input_len))
             (drop (call $complete (local.get $input) (local.get $input_len) (i32.const 1) (local.get $input) (local.get $input_len)))",
        )
        .on(
            "delete",
            "(drop (call $complete (local.get $input) (local.get $input_len) (i32.const 2) (i32.const 0) (i32.const 0)))",
        )
    }

    /// Removes all entities from the description.
    pub(super) fn without_entities(mut self) -> Self {
        self.entities.clear();
        self
    }

    /// Adds an entity to the description, with operations and the schemas of their inputs.
    pub(super) fn entity(
        mut self,
        name: &str,
        state_schema: Option<&str>,
        operations: &[(&str, Option<&str>)],
    ) -> Self {
        self.entities.push(Entity {
            name: name.into(),
            state_schema: state_schema.map(Into::into),
            operations: operations
                .iter()
                .map(|(name, schema)| ((*name).into(), schema.map(Into::into)))
                .collect(),
        });
        self
    }

    /// Handles an operation. The code uses `$operation` (the address of its name), `$input`, `$input_len` and the
    /// parameters of `run`: `$name`, `$key`, `$has_state`, `$state`.
    pub(super) fn on(mut self, operation: &str, code: &str) -> Self {
        self.operations.push((operation.into(), code.into()));
        self
    }

    /// Adds the function `$signal`, and the operation `signal`, which counts as well.
    pub(super) fn signalling(self) -> Self {
        self.context("signal-entity", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)")
            .item(
                r#"(data (i32.const 3900) "Otherxpoke1")
                (func $signal (call $signal-entity
                    (i32.const 3900) (i32.const 5) (i32.const 3905) (i32.const 1) (i32.const 3906) (i32.const 4)
                    (i32.const 3910) (i32.const 1) (i32.const 1) (i64.const 5000)))"#,
            )
            .on("signal", &format!("(call $signal) {COUNT}"))
    }

    /// Adds an import of the entity's interface.
    pub(super) fn context(self, function: &str, signature: &str) -> Self {
        self.import("windlass:durable/entity-context@0.1.0", function, signature)
    }

    pub(super) fn import(mut self, interface: &str, function: &str, signature: &str) -> Self {
        let name = function.rsplit(['.', ']']).next().unwrap();
        self.imports += &format!("(import {interface:?} {function:?} (func ${name} {signature}))\n");
        self
    }

    pub(super) fn wit_import(mut self, interface: &str) -> Self {
        self.wit_imports += &format!("import {interface};\n");
        self
    }

    pub(super) fn item(mut self, item: &str) -> Self {
        self.items += item;
        self
    }

    /// Sets the body of `describe` before it returns the description.
    pub(super) fn describe(mut self, body: &str) -> Self {
        self.describe = body.into();
        self
    }

    /// Sets what `run` does first.
    pub(super) fn start(mut self, code: &str) -> Self {
        self.start = code.into();
        self
    }

    /// Sets what `run` does when there are no more operations.
    pub(super) fn end(mut self, code: &str) -> Self {
        self.end = code.into();
        self
    }

    /// The bytes of the component.
    pub(super) fn build(&self) -> Vec<u8> {
        let (description, data) = self.data();
        let pages = 2.max((DATA as usize + data.len() / 3).div_ceil(64 << 10));
        let heap = (pages - 1) << 16;
        let Self {
            wit_imports,
            imports,
            items,
            describe,
            start,
            end,
            operations,
            ..
        } = self;
        let dispatch: String = operations
            .iter()
            .map(|(name, code)| {
                // Names differ in their first two bytes and their length.
                let bytes = u16::from_le_bytes(name.as_bytes()[..2].try_into().unwrap());
                format!(
                    "(if (i32.and (i32.eq (local.get $bytes) (i32.const {bytes})) (i32.eq (local.get $length) (i32.const {})))
                        (then {code} (br $next)))\n",
                    name.len()
                )
            })
            .collect();
        let core = format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (data (i32.const {DATA}) "{data}")
                (global $heap (mut i32) (i32.const {heap}))
                (global $count (mut i32) (i32.const 0))
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $heap)
                    (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 7)) (i32.const -8))))
                (func $complete (param i32 i32 i32 i32 i32) (result i32)
                    (call $complete-operation (i32.const 0) (local.get 0) (local.get 1) (local.get 2) (local.get 3)
                        (local.get 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
                (func $quoted (param i32 i32)
                    (i32.store8 (i32.const 3000) (i32.const 34))
                    (memory.copy (i32.const 3001) (local.get 0) (local.get 1))
                    (i32.store8 (i32.add (i32.const 3001) (local.get 1)) (i32.const 34))
                    (drop (call $complete (i32.const 3000) (i32.add (local.get 1) (i32.const 2)) (i32.const 0) (i32.const 0) (i32.const 0))))
                {items}
                (func (export "windlass:durable/entity@0.1.0#describe") (result i32) {describe} (i32.const {description}))
                (func (export "windlass:durable/entity@0.1.0#run")
                    (param $name i32) (param $name_len i32) (param $key i32) (param $key_len i32)
                    (param $has_state i32) (param $state i32) (param $state_len i32)
                    (local $operation i32) (local $bytes i32) (local $length i32) (local $input i32)
                    (local $input_len i32) (local $i i32)
                    {start}
                    (loop $next
                        (call $next-operation (i32.const 1024))
                        (if (i32.eqz (i32.load8_u (i32.const 1024))) (then {end}))
                        (local.set $operation (i32.load (i32.const 1028)))
                        (local.set $bytes (i32.load16_u (local.get $operation)))
                        (local.set $length (i32.load (i32.const 1032)))
                        (local.set $input (i32.load (i32.const 1036)))
                        (local.set $input_len (i32.load (i32.const 1040)))
                        (global.set $count (i32.add (global.get $count) (i32.const 1)))
                        {dispatch}
                        unreachable)))"#
        );
        let wit = format!(
            "package test:guest;
            world guest {{ include windlass:durable/entity-module@0.1.0; {wit_imports} }}"
        );
        component(&core, &wit)
    }

    /// The address of the description, and its data as the text of a data segment.
    fn data(&self) -> (u32, String) {
        let mut data = Data::default();
        let description = data.reserve(16);
        let entities = data.list(description, self.entities.len(), ENTITY_BYTES);
        for (i, entity) in self.entities.iter().enumerate() {
            let at = entities + i * ENTITY_BYTES;
            data.text(at, &entity.name);
            data.optional(at + 16, entity.state_schema.as_deref());
            let operations = data.list(at + 28, entity.operations.len(), OPERATION_BYTES);
            for (i, (name, schema)) in entity.operations.iter().enumerate() {
                let at = operations + i * OPERATION_BYTES;
                data.text(at, name);
                data.optional(at + 16, schema.as_deref());
            }
        }
        let text = data.bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        (DATA, text)
    }
}

/// Static data from [`DATA`] on. Positions are relative to it.
#[derive(Default)]
struct Data {
    bytes: Vec<u8>,
    /// The positions of texts. Equal ones share their bytes.
    texts: BTreeMap<String, usize>,
}

impl Data {
    fn reserve(&mut self, bytes: usize) -> usize {
        let at = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(at + bytes, 0);
        at
    }

    fn put(&mut self, at: usize, value: usize) {
        let value = u32::try_from(value).unwrap();
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Writes a list at `at`, and returns the position of its elements.
    fn list(&mut self, at: usize, length: usize, element_bytes: usize) -> usize {
        let elements = self.reserve(length * element_bytes);
        self.put(at, DATA as usize + elements);
        self.put(at + 4, length);
        elements
    }

    fn text(&mut self, at: usize, text: &str) {
        let position = match self.texts.get(text) {
            Some(position) => *position,
            None => {
                let position = self.reserve(text.len());
                self.bytes[position..position + text.len()].copy_from_slice(text.as_bytes());
                self.texts.insert(text.into(), position);
                position
            }
        };
        self.put(at, DATA as usize + position);
        self.put(at + 4, text.len());
    }

    fn optional(&mut self, at: usize, text: Option<&str>) {
        if let Some(text) = text {
            self.put(at, 1);
            self.text(at + 4, text);
        }
    }
}
