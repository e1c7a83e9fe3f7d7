//! Builds components from WebAssembly text, with a description in static memory and a given body of `run`.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

use crate::model::FunctionKind;

/// The address at which static data begins. Below it is scratch space for results.
const DATA: u32 = 4096;
/// The size of a page of memory in bytes.
const PAGE_BYTES: usize = 64 << 10;
/// The size of a `function-description` in the canonical ABI in bytes.
const FUNCTION_BYTES: usize = 136;

/// A builder of components.
#[derive(Clone)]
pub(super) struct Guest {
    kind: FunctionKind,
    wit: Wit,
    functions: Vec<Function>,
    /// WIT imports in addition to those of the kind.
    wit_imports: String,
    /// Core imports.
    imports: String,
    /// Body of `run`, with the parameters `$name`, `$name_len`, `$input`, `$input_len`. It leaves the address of its
    /// result on the stack.
    run: String,
    /// Body of `describe` before it returns the description.
    describe: String,
    /// Further items of the core module.
    items: String,
}

/// The version of `windlass:durable` that a component is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wit {
    Current,
    /// The version before the first release, with `subscribe` in `orchestration`.
    Draft,
}

#[derive(Clone)]
struct Function {
    name: String,
    input_schema: Option<String>,
}

/// Code that ends `run` with the input as the output.
pub(super) const RETURN_INPUT: &str = "
    (i32.store8 (i32.const 512) (i32.const 0))
    (i32.store (i32.const 516) (local.get $input))
    (i32.store (i32.const 520) (local.get $input_len))
    (i32.const 512)";

impl Guest {
    /// A guest with the function `Echo`, which returns its input.
    pub(super) fn new(kind: FunctionKind) -> Self {
        Self {
            kind,
            wit: Wit::Current,
            functions: Vec::new(),
            wit_imports: String::new(),
            imports: String::new(),
            run: RETURN_INPUT.into(),
            describe: String::new(),
            items: String::new(),
        }
        .function("Echo", None)
    }

    pub(super) fn orchestrator() -> Self {
        Self::new(FunctionKind::Orchestration)
    }

    pub(super) fn activity() -> Self {
        Self::new(FunctionKind::Activity)
    }

    /// Uses the WIT package from before the first release.
    pub(super) fn of_draft(mut self) -> Self {
        self.wit = Wit::Draft;
        self
    }

    /// Removes all functions from the description.
    pub(super) fn without_functions(mut self) -> Self {
        self.functions.clear();
        self
    }

    pub(super) fn function(mut self, name: &str, input_schema: Option<&str>) -> Self {
        self.functions.push(Function {
            name: name.into(),
            input_schema: input_schema.map(Into::into),
        });
        self
    }

    pub(super) fn import(mut self, interface: &str, function: &str, signature: &str) -> Self {
        let name = function.rsplit(['.', ']']).next().unwrap();
        self.imports += &format!("(import {interface:?} {function:?} (func ${name} {signature}))\n");
        self
    }

    /// Adds an import of the durable interface.
    pub(super) fn durable(self, function: &str, signature: &str) -> Self {
        self.import("windlass:durable/orchestration@0.1.0", function, signature)
    }

    pub(super) fn wit_import(mut self, interface: &str) -> Self {
        self.wit_imports += &format!("import {interface};\n");
        self
    }

    /// Sets the body of `run`. It leaves the address of the result on the stack, or does not return.
    pub(super) fn run(mut self, body: &str) -> Self {
        self.run = body.into();
        self
    }

    /// Sets the code that `run` executes before it returns the input.
    pub(super) fn run_first(self, body: &str) -> Self {
        self.run(&format!("{body}{RETURN_INPUT}"))
    }

    pub(super) fn describe(mut self, body: &str) -> Self {
        self.describe = body.into();
        self
    }

    pub(super) fn item(mut self, item: &str) -> Self {
        self.items += item;
        self
    }

    /// The bytes of the component.
    pub(super) fn build(&self) -> Vec<u8> {
        let (world, export) = match self.kind {
            FunctionKind::Orchestration => ("orchestrator-module", "windlass:durable/orchestrator@0.1.0"),
            FunctionKind::Activity => ("activity-module", "windlass:durable/activity@0.1.0"),
            FunctionKind::Entity => unreachable!("`EntityModule` builds entities"),
        };
        let (description, data) = self.data();
        // Each byte of data is written as three characters.
        let pages = 2.max((DATA as usize + data.len() / 3).div_ceil(PAGE_BYTES));
        let Self {
            imports,
            run,
            describe,
            items,
            ..
        } = self;
        let core = format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (data (i32.const {DATA}) "{data}")
                {items}
                (global $heap (mut i32) (i32.const 65536))
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $heap)
                    (global.set $heap (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 7)) (i32.const -8))))
                (func (export "{export}#describe") (result i32) {describe} (i32.const {description}))
                (func (export "{export}#run")
                    (param $name i32) (param $name_len i32) (param $input i32) (param $input_len i32) (result i32)
                    (local $i i32) (local $j i32) (local $k i64)
                    {run}))"#
        );
        let wit = format!(
            "package test:guest;
            world guest {{ include windlass:durable/{world}@0.1.0; {} }}",
            self.wit_imports
        );
        encode(resolve(self.wit), &core, &wit)
    }

    /// The address of the description, and its data as the text of a data segment.
    fn data(&self) -> (u32, String) {
        let mut bytes = vec![0; 16 + self.functions.len() * FUNCTION_BYTES];
        let put = |bytes: &mut Vec<u8>, at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(&mut bytes, 0, DATA + 16);
        put(&mut bytes, 4, u32::try_from(self.functions.len()).unwrap());
        for (i, function) in self.functions.iter().enumerate() {
            let record = 16 + i * FUNCTION_BYTES;
            let texts = [
                (0, Some(&function.name), false),
                (16, function.input_schema.as_ref(), true),
            ];
            for (offset, text, optional) in texts {
                let Some(text) = text else { continue };
                let address = DATA + u32::try_from(bytes.len()).unwrap();
                bytes.extend_from_slice(text.as_bytes());
                let mut at = record + offset;
                if optional {
                    put(&mut bytes, at, 1);
                    at += 4;
                }
                put(&mut bytes, at, address);
                put(&mut bytes, at + 4, u32::try_from(text.len()).unwrap());
            }
        }
        (DATA, bytes.iter().map(|byte| format!("\\{byte:02x}")).collect())
    }
}

/// Wraps a core module as a component of the only world in `wit`.
pub(super) fn component(core: &str, wit: &str) -> Vec<u8> {
    encode(resolve(Wit::Current), core, wit)
}

/// All imports of a world of `windlass:durable`. Tools for languages other than Rust import all of them.
pub(super) fn imports_of_world(world: &str) -> Vec<String> {
    let resolve = resolve(Wit::Current);
    let (_, world) = resolve
        .worlds
        .iter()
        .find(|(_, found)| found.name == world)
        .expect("there is such a world");
    world.imports.keys().map(|key| resolve.name_world_key(key)).collect()
}

/// All packages that a component may refer to.
fn resolve(wit: Wit) -> Resolve {
    let mut resolve = Resolve::default();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    for package in ["io", "clocks", "random", "filesystem", "sockets", "cli", "http"] {
        resolve.push_path(format!("{folder}/deps/{package}")).unwrap();
    }
    let mut durable = SourceMap::default();
    for file in std::fs::read_dir(format!("{folder}/durable")).unwrap() {
        let path = file.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        if wit == Wit::Draft {
            let interface = "interface orchestration {";
            let subscribe = "use wasi:io/poll@0.2.12.{pollable}; subscribe: func(task: task-id) -> pollable;";
            text = text.replace(interface, &format!("{interface} {subscribe}"));
        }
        durable.push(&path, text);
    }
    let durable = durable.parse().map_err(|(_, error)| error).unwrap();
    resolve.push_group(durable).unwrap();
    resolve
}

fn encode(mut resolve: Resolve, core: &str, wit: &str) -> Vec<u8> {
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(core).unwrap_or_else(|error| panic!("{error}\n{core}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap_or_else(|error| panic!("{error:?}"))
}
