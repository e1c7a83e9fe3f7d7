//! Tests of the repository's structure: which modules may use which libraries and other modules, and whether the
//! documents match the code.
//!
//! These tests only read the files of the repository. Tests that need to call the code are next to that code. If a rule
//! prevents a good change, change the rule here and in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A file of the repository.
struct Text {
    /// Relative to the root of the repository.
    path: String,
    content: String,
}

/// Folders whose files are built, downloaded or vendored.
const NOT_OURS: [&str; 5] = ["target", ".git", "windlass-data", "sample-backend-data", "deps"];

/// The path of this file. Some tests skip it, because it contains the words that they forbid elsewhere.
const THIS: &str = "host/tests/tidy.rs";

#[test]
fn only_the_sqlite_folder_uses_sqlx() {
    only_in("", &["host/src/store/sqlite/"], &["sqlx"]);
}

#[test]
fn only_the_sandbox_uses_wasmtime() {
    let words = ["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"];
    only_in("", &["host/src/sandbox/", "host/src/sandbox.rs"], &words);
}

#[test]
fn only_http_and_the_sample_backend_use_axum() {
    let allowed = ["host/src/http/", "host/src/http.rs", "sample-modules/backend/"];
    only_in("", &allowed, &["axum", "utoipa_axum"]);
}

#[test]
fn model_and_replay_are_pure() {
    let words = [
        "tokio",
        "async",
        "await",
        "thread",
        "Instant",
        "SystemTime",
        "sqlx",
        "wasmtime",
    ];
    only_in("host/src/model", &[], &words);
    only_in("host/src/replay", &[], &words);
}

#[test]
fn engine_and_store_use_only_the_clock_that_they_receive() {
    // The simulation uses the paused clock of its runtime.
    only_in(
        "host/src/engine",
        &["host/src/engine/simulation/time.rs"],
        &["Instant", "SystemTime"],
    );
    only_in("host/src/store", &["host/src/store/tests"], &["SystemTime"]);
}

/// The modules that each module of the host may use. A module may only use modules above it in this table.
///
/// ARCHITECTURE.md has the same table. Tests may use other modules, too.
const MODULES: [(&str, &[&str]); 22] = [
    ("model", &[]),
    ("byte_order_mark", &[]),
    ("entropy", &[]),
    ("metrics", &[]),
    ("priority", &[]),
    ("shutdown", &[]),
    ("tls", &[]),
    ("clock", &["model"]),
    ("grants", &["model"]),
    ("memory", &["model"]),
    ("schema", &["model"]),
    ("config", &["byte_order_mark", "memory"]),
    ("telemetry", &["config"]),
    ("replay", &["model"]),
    ("entity", &["model", "replay"]),
    ("store", &["metrics", "model", "priority"]),
    (
        "sandbox",
        &[
            "entity", "grants", "memory", "metrics", "model", "priority", "replay", "schema", "tls",
        ],
    ),
    (
        "tenancy",
        &["clock", "config", "entropy", "grants", "metrics", "model", "store"],
    ),
    (
        "engine",
        &[
            "clock", "config", "entity", "entropy", "grants", "memory", "metrics", "model", "priority", "replay",
            "sandbox", "schema", "store", "tenancy",
        ],
    ),
    (
        "http",
        &[
            "byte_order_mark",
            "engine",
            "memory",
            "metrics",
            "model",
            "store",
            "tenancy",
            "tls",
        ],
    ),
    (
        "cli",
        &[
            "byte_order_mark",
            "clock",
            "config",
            "engine",
            "entropy",
            "grants",
            "http",
            "memory",
            "metrics",
            "model",
            "priority",
            "sandbox",
            "shutdown",
            "store",
            "telemetry",
            "tenancy",
            "tls",
        ],
    ),
    ("main", &["cli"]),
];

#[test]
fn each_module_of_the_host_uses_only_allowed_modules() {
    let (mut problems, mut unused) = (Vec::new(), BTreeSet::new());
    for (module, may) in MODULES {
        unused.extend(may.iter().map(|other| (module, *other)));
    }
    for file in rust_files().iter().filter(|file| !is_test(&file.path)) {
        let Some(module) = module_of("host/src/", &file.path).filter(|module| *module != "lib") else {
            continue;
        };
        let Some((module, may)) = MODULES.iter().find(|(name, _)| *name == module) else {
            problems.push(format!(
                "{} belongs to a module that is not in the table of {THIS}: add it there",
                file.path
            ));
            continue;
        };
        let krate = if *module == "main" { "windlass::" } else { "crate::" };
        for other in named_after(&without_tests(&file.content), &[krate]) {
            let is_known = MODULES.iter().any(|(name, _)| *name == other);
            if is_known && other != *module && !may.contains(&other.as_str()) {
                problems.push(format!(
                    "{} uses `{other}`, but `{module}` may not: pass in what it needs, or move that to a module that both \
                     may use, or change the table in {THIS} and in ARCHITECTURE.md",
                    file.path
                ));
            }
            unused.retain(|used| *used != (module, other.as_str()));
        }
    }
    let unused = unused.iter().map(|(module, other)| {
        format!("`{module}` may use `{other}`, but does not: remove it from the table in {THIS} and in ARCHITECTURE.md")
    });
    problems.extend(unused);
    none(problems);
}

#[test]
fn the_table_of_modules_has_no_cycle_and_matches_the_architecture() {
    let architecture = content_of("ARCHITECTURE.md");
    let mut problems = Vec::new();
    for (position, (module, may)) in MODULES.iter().enumerate() {
        let above: Vec<&str> = MODULES[..position].iter().map(|(name, _)| *name).collect();
        let below = may.iter().filter(|other| !above.contains(other));
        problems.extend(below.map(|other| format!("`{module}` uses `{other}`, which is not above it in the table")));
        let listed: Vec<String> = may.iter().map(|other| format!("`{other}`")).collect();
        let row = format!("| `{module}` | {} |", listed.join(", ")).replace("|  |", "| no other |");
        if !architecture.contains(&row) {
            problems.push(format!("ARCHITECTURE.md does not show {row}"));
        }
    }
    none(problems);
}

#[test]
fn the_modules_of_the_engine_have_no_cycle() {
    const ENGINE: &str = "host/src/engine/";
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files().iter().filter(|file| !is_test(&file.path)) {
        let Some(module) = module_of(ENGINE, &file.path) else {
            continue;
        };
        // In `engine/a.rs`, `super` is the engine; in `engine/a/b.rs`, `super::super` is.
        let depth = file.path[ENGINE.len()..].matches('/').count();
        let upwards = "super::".repeat(depth + 1);
        let used = named_after(&without_tests(&file.content), &["crate::engine::", &upwards]);
        let others = used.into_iter().filter(|other| other != module);
        uses.entry(module.to_owned()).or_default().extend(others);
    }
    assert!(
        uses["owner_loop"].contains("owner"),
        "the test finds the uses of modules"
    );
    // A module that uses none of the remaining modules is not in a cycle.
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        let before = uses.len();
        uses.retain(|_, used| used.iter().any(|other| left.contains(other)));
        if uses.len() == before {
            break;
        }
    }
    none(uses.iter().map(|(module, used)| {
        format!("engine/{module} is in a cycle or uses one: it uses {used:?}; replace one use by a closure or a trait")
    }));
}

#[test]
fn files_of_the_host_begin_with_module_documentation() {
    let undocumented = rust_files().into_iter().filter(|file| {
        let has_docs = file.content.starts_with("//!");
        file.path.starts_with("host/") && !has_docs
    });
    none(undocumented.map(|file| format!("{} does not begin with //!", file.path)));
}

#[test]
fn the_architecture_explains_exactly_the_dependencies() {
    let section = section("ARCHITECTURE.md", "## Dependencies");
    // The names are in the first column of the tables.
    let named: Vec<&str> = section.lines().filter_map(|line| line.split(" | ").next()).collect();
    let explained: BTreeSet<String> = between(&named.join("\n"), "`", "`")
        .filter(|name| !name.ends_with(".toml"))
        .collect();
    let manifests = ["host/Cargo.toml", "guest-sdk/Cargo.toml", "guest-sdk/macros/Cargo.toml"];
    let mut used: BTreeSet<String> = manifests.into_iter().flat_map(dependencies).collect();
    // Only the documentation examples of the macros use the SDK.
    used.remove("windlass-sdk");
    let difference = used.symmetric_difference(&explained);
    none(difference.map(|name| format!("{name} is only in one of ARCHITECTURE.md and Cargo.toml")));
}

#[test]
fn the_guide_lists_all_failures_of_the_host_and_the_sdk_has_no_others() {
    let types = |text: &str, mark: &'static str| -> BTreeSet<String> {
        let quoted = between(text, mark, mark);
        quoted.filter(|name| name.starts_with("windlass.")).collect()
    };
    let host = types(&content_of("host/src/model/failure.rs"), "\"");
    let guide = section("docs/events-timers-retries.md", "## Failures that come from the host");
    assert_eq!(host, types(&guide, "`"));
    let sdk = types(&content_of("guest-sdk/src/failure_types.rs"), "\"");
    none(
        sdk.difference(&host)
            .map(|name| format!("the SDK has {name}, but the host does not")),
    );
}

#[test]
fn the_guide_lists_every_setting() {
    let settings: BTreeSet<String> = between(&content_of("host/src/config.rs"), "\"WINDLASS_", "\"").collect();
    assert!(settings.len() > 15, "the test finds the settings");
    let guide = content_of("docs/running.md");
    let flags = settings
        .iter()
        .map(|name| format!("`--{} ", name.to_lowercase().replace('_', "-")));
    let missing = flags.filter(|flag| !guide.contains(flag));
    none(missing.map(|flag| format!("docs/running.md does not list {flag}…`")));
}

#[test]
fn links_between_documents_resolve() {
    let mut problems = Vec::new();
    for Text { path, content } in documents() {
        for target in between(&prose(&content), "](", ")").filter(|target| !target.contains("://")) {
            let (linked, anchor) = follow(&path, &target);
            if !root().join(&linked).exists() {
                problems.push(format!("{path} links to {target}, which does not exist"));
            } else if !anchor.is_empty() && !anchors(&content_of(&linked)).contains(anchor) {
                problems.push(format!("{path} links to {target}, which has no such heading"));
            }
        }
    }
    none(problems);
}

#[test]
fn every_guide_is_linked() {
    let mut linked = BTreeSet::new();
    for Text { path, content } in documents() {
        linked.extend(between(&prose(&content), "](", ")").map(|target| follow(&path, &target).0));
    }
    let unlinked = documents()
        .into_iter()
        .filter(|document| document.path.starts_with("docs/") && !linked.contains(&document.path));
    none(unlinked.map(|document| format!("no document links to {}", document.path)));
}

#[test]
fn no_file_contains_paths_or_registries_of_one_machine() {
    let names = [
        "/work/",
        "/root/",
        "/home/",
        // The configuration of each machine decides where packages are downloaded from.
        "index.crates.io",
        "static.crates.io",
        "deb.debian.org",
        "pypi.org/simple",
        "registry.npmjs.org",
    ];
    let mut problems = Vec::new();
    for Text { path, content } in texts().into_iter().filter(|text| text.path != THIS) {
        let found = names.iter().filter(|name| content.contains(**name));
        problems.extend(found.map(|name| format!("{path} contains {name}")));
    }
    none(problems);
}

#[test]
fn the_sdk_reads_no_file_outside_of_its_crate() {
    // The published package would not contain the file.
    let sdk = rust_files()
        .into_iter()
        .filter(|file| file.path.starts_with("guest-sdk/"));
    let outside = sdk.filter(|file| code(&file.content).contains("\"../"));
    none(outside.map(|file| format!("{} reads a file outside of guest-sdk/", file.path)));
}

#[test]
fn packages_come_from_the_public_registry() {
    let mut problems = Vec::new();
    for lock in ["Cargo.lock", "sample-modules/Cargo.lock"] {
        let content = content_of(lock);
        let sources = between(&content, "source = \"", "\"");
        let others = sources.filter(|source| source != "registry+https://github.com/rust-lang/crates.io-index");
        problems.extend(others.map(|source| format!("{lock} has a package from {source}")));
    }
    none(problems);
}

// ---- helpers ----

/// Fails with the list of problems, unless it is empty.
#[track_caller]
fn none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Fails if a Rust file whose path begins with `scope` contains one of `words`, unless its path begins with one of
/// `allowed`.
#[track_caller]
fn only_in(scope: &str, allowed: &[&str], words: &[&str]) {
    let mut problems = Vec::new();
    for Text { path, content } in rust_files() {
        let exempt = path == THIS || allowed.iter().any(|prefix| path.starts_with(prefix));
        if exempt || !path.starts_with(scope) {
            continue;
        }
        let code = code(&content);
        let found = words.iter().filter(|word| has_word(&code, word));
        problems.extend(found.map(|word| format!("{path} uses {word}")));
    }
    none(problems);
}

/// The lines without their comments. A `//` in a string also removes the rest of its line, which does not matter here.
fn code(content: &str) -> String {
    let lines = content.lines();
    let code = lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.collect::<Vec<_>>().join("\n")
}

/// The module in `folder` that a file belongs to.
fn module_of<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder)?;
    let module = rest.split_once('/').map_or(rest, |(module, _)| module);
    Some(module.trim_end_matches(".rs"))
}

/// Whether the whole file is test code.
fn is_test(path: &str) -> bool {
    let parts = ["tests", "fuzz", "simulation", "simulated"];
    let mut names = path.split('/').map(|part| part.trim_end_matches(".rs"));
    names.any(|name| parts.contains(&name))
}

/// The code before the module of tests at the end of a file.
fn without_tests(content: &str) -> String {
    let code = code(content);
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code[..end].to_owned()
}

/// The names of modules that follow one of the prefixes, including all names of a group in braces.
fn named_after(code: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in prefixes {
        for (at, _) in code.match_indices(prefix) {
            let is_longer = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !is_longer {
                found.extend(first_names(&code[at + prefix.len()..]));
            }
        }
    }
    // Names in upper case are types and constants, not modules.
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

/// The first name of a path, or of each path of a group in braces.
fn first_names(text: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start();
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = text.strip_prefix('{') else {
        return vec![name(text)];
    };
    let (mut depth, mut names) = (0_u32, vec![name(group)]);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(part_of_word) && !after.starts_with(part_of_word)
    })
}

/// All texts between the two marks, if both are on one line.
fn between(text: &str, open: &str, close: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some((inside, after)) = rest.split_once(open).and_then(|(_, after)| after.split_once(close)) {
            found.push(inside.to_owned());
            rest = after;
        }
    }
    found.into_iter()
}

/// The names in all dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in content_of(manifest).lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            found.push(name.trim().to_owned());
        }
    }
    found
}

/// The part of a document from `heading` to the next heading of level two.
fn section(document: &str, heading: &str) -> String {
    let content = content_of(document);
    let (_, rest) = content
        .split_once(heading)
        .unwrap_or_else(|| panic!("{document} has no {heading}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// A document without its code blocks.
fn prose(markdown: &str) -> String {
    let pieces = markdown.split("\n```").step_by(2);
    pieces.collect::<Vec<_>>().join("\n")
}

/// The path and the anchor that a link in `document` points to.
fn follow<'a>(document: &str, link: &'a str) -> (String, &'a str) {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    if file.is_empty() {
        return (document.to_owned(), anchor);
    }
    let mut folders: Vec<String> = document.split('/').map(str::to_owned).collect();
    folders.pop();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => drop(folders.pop()),
            Component::Normal(name) => folders.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    (folders.join("/"), anchor)
}

/// The anchors that Markdown renderers generate for the headings of a document.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let prose = prose(markdown);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_".contains(*c))
            .collect()
    };
    headings.map(anchor).collect()
}

fn rust_files() -> Vec<Text> {
    texts().into_iter().filter(|text| text.path.ends_with(".rs")).collect()
}

fn documents() -> Vec<Text> {
    texts().into_iter().filter(|text| text.path.ends_with(".md")).collect()
}

/// All text files of the repository, except those in the folders [`NOT_OURS`].
fn texts() -> Vec<Text> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let entry = entry.expect("a folder of the repository can be read");
            let path = entry.path();
            if NOT_OURS.contains(&entry.file_name().to_string_lossy().as_ref()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(content) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("the walk stays inside");
                found.push(Text {
                    path: path.to_string_lossy().into_owned(),
                    content,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "the walk finds the files of the repository");
    found
}

fn content_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    host.parent()
        .expect("the folder of the host is in the root of the repository")
        .into()
}
