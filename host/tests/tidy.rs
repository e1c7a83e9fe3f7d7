//! Taste as a test: who may name which library, what is absent on purpose, and documents that must not drift.
//!
//! It reads files and nothing else; a rule that needs the code itself has its test beside that code. When a rule gets in
//! the way for a good reason, change it here and in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A file of the repository.
struct Text {
    /// From the top of the repository.
    path: String,
    content: String,
}

/// Folders that are built, fetched or vendored rather than written.
const NOT_OURS: [&str; 5] = ["target", ".git", "windlass-data", "sample-backend-data", "deps"];

/// This file names what it forbids.
const THIS: &str = "host/tests/tidy.rs";

#[test]
fn the_folder_of_sqlite_alone_names_sqlx() {
    only_in("", &["host/src/store/sqlite/"], &["sqlx"]);
}

#[test]
fn the_sandbox_alone_names_wasmtime() {
    let words = ["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"];
    only_in("", &["host/src/sandbox/", "host/src/sandbox.rs"], &words);
}

#[test]
fn http_and_the_samples_backend_alone_name_axum() {
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
fn engine_and_store_read_no_clock_but_the_one_they_are_given() {
    // The simulation's clock is the paused one of its runtime.
    only_in(
        "host/src/engine",
        &["host/src/engine/simulation/time.rs"],
        &["Instant", "SystemTime"],
    );
    only_in("host/src/store", &["host/src/store/tests"], &["SystemTime"]);
}

/// What each module of the host may use, the modules without one another's rows first: each uses those above it only.
///
/// ARCHITECTURE.md shows the same table. Tests may use more.
const MODULES: [(&str, &[&str]); 19] = [
    ("model", &[]),
    ("byte_order_mark", &[]),
    ("entropy", &[]),
    ("metrics", &[]),
    ("shutdown", &[]),
    ("tls", &[]),
    ("clock", &["model"]),
    ("grants", &["model"]),
    ("schema", &["model"]),
    ("config", &["byte_order_mark"]),
    ("telemetry", &["config"]),
    ("replay", &["model"]),
    ("store", &["metrics", "model"]),
    ("sandbox", &["grants", "metrics", "model", "replay", "schema", "tls"]),
    (
        "tenancy",
        &["clock", "config", "entropy", "grants", "metrics", "model", "store"],
    ),
    (
        "engine",
        &[
            "clock", "config", "entropy", "grants", "metrics", "model", "replay", "sandbox", "schema", "store",
            "tenancy",
        ],
    ),
    (
        "http",
        &[
            "byte_order_mark",
            "engine",
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
            "metrics",
            "model",
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
fn each_module_of_the_host_uses_those_that_it_may() {
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
                "{} is of no module in the table of {THIS}: add it there",
                file.path
            ));
            continue;
        };
        let krate = if *module == "main" { "windlass::" } else { "crate::" };
        for other in named_after(&without_tests(&file.content), &[krate]) {
            let is_known = MODULES.iter().any(|(name, _)| *name == other);
            if is_known && other != *module && !may.contains(&other.as_str()) {
                problems.push(format!(
                    "{} uses `{other}`, which `{module}` may not: hand in what it needs, or move that to a module that both \
                     may use, or change the table in {THIS} and in ARCHITECTURE.md",
                    file.path
                ));
            }
            unused.retain(|used| *used != (module, other.as_str()));
        }
    }
    let unused = unused.iter().map(|(module, other)| {
        format!("`{module}` may use `{other}` and does not: take it out of the table in {THIS} and in ARCHITECTURE.md")
    });
    problems.extend(unused);
    none(problems);
}

#[test]
fn the_table_of_modules_has_no_circle_and_the_architecture_shows_it() {
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
fn the_modules_of_the_engine_use_one_another_without_a_circle() {
    const ENGINE: &str = "host/src/engine/";
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files().iter().filter(|file| !is_test(&file.path)) {
        let Some(module) = module_of(ENGINE, &file.path) else {
            continue;
        };
        // Below a module, `super` is that module.
        let depth = file.path[ENGINE.len()..].matches('/').count();
        let upwards = "super::".repeat(depth + 1);
        let used = named_after(&without_tests(&file.content), &["crate::engine::", &upwards]);
        let others = used.into_iter().filter(|other| other != module);
        uses.entry(module.to_owned()).or_default().extend(others);
    }
    assert!(uses["owner_loop"].contains("owner"), "uses are found");
    // Whoever uses nothing that is left is in no circle.
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        let before = uses.len();
        uses.retain(|_, used| used.iter().any(|other| left.contains(other)));
        if uses.len() == before {
            break;
        }
    }
    none(uses.iter().map(|(module, used)| {
        format!(
            "engine/{module} is in or above a circle: it uses {used:?}; hand in a closure or a trait on one of the ways"
        )
    }));
}

#[test]
fn files_of_the_host_begin_by_saying_what_they_are_for() {
    let silent = rust_files().into_iter().filter(|file| {
        let begins = file.content.starts_with("//!");
        file.path.starts_with("host/") && !begins
    });
    none(silent.map(|file| format!("{} does not begin with //!", file.path)));
}

#[test]
fn every_dependency_has_its_reason_in_the_architecture_and_nothing_else_has() {
    let section = section("ARCHITECTURE.md", "## Dependencies");
    // Of a table, the names are in the first column.
    let named: Vec<&str> = section.lines().filter_map(|line| line.split(" | ").next()).collect();
    let explained: BTreeSet<String> = between(&named.join("\n"), "`", "`")
        .filter(|name| !name.ends_with(".toml"))
        .collect();
    let manifests = ["host/Cargo.toml", "guest-sdk/Cargo.toml", "guest-sdk/macros/Cargo.toml"];
    let mut used: BTreeSet<String> = manifests.into_iter().flat_map(dependencies).collect();
    // The macros' examples use the SDK around them.
    used.remove("windlass-sdk");
    let difference = used.symmetric_difference(&explained);
    none(difference.map(|name| format!("{name} is only in one of ARCHITECTURE.md and Cargo.toml")));
}

#[test]
fn the_guide_lists_the_failures_of_the_host_and_the_sdk_knows_no_others() {
    let types = |text: &str, mark: &'static str| -> BTreeSet<String> {
        let quoted = between(text, mark, mark);
        quoted.filter(|name| name.starts_with("windlass.")).collect()
    };
    let host = types(&content_of("host/src/model/failure.rs"), "\"");
    let guide = section("docs/events-timers-retries.md", "## Failures that come from the host");
    assert_eq!(host, types(&guide, "`"));
    let sdk = types(&content_of("guest-sdk/src/failure_types.rs"), "\"");
    none(sdk.difference(&host).map(|name| format!("the host knows no {name}")));
}

#[test]
fn the_guide_lists_every_setting() {
    let settings: BTreeSet<String> = between(&content_of("host/src/config.rs"), "\"WINDLASS_", "\"").collect();
    assert!(settings.len() > 15, "the settings are found");
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
                problems.push(format!("{path} links to {target}, which is not there"));
            } else if !anchor.is_empty() && !anchors(&content_of(&linked)).contains(anchor) {
                problems.push(format!("{path} links to {target}, which has no such heading"));
            }
        }
    }
    none(problems);
}

#[test]
fn every_guide_is_linked_from_somewhere() {
    let mut linked = BTreeSet::new();
    for Text { path, content } in documents() {
        linked.extend(between(&prose(&content), "](", ")").map(|target| follow(&path, &target).0));
    }
    let lost = documents()
        .into_iter()
        .filter(|document| document.path.starts_with("docs/") && !linked.contains(&document.path));
    none(lost.map(|document| format!("nothing links to {}", document.path)));
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let names = [
        "/work/",
        "/root/",
        "/home/",
        // Where packages come from is the business of each machine's own configuration.
        "index.crates.io",
        "static.crates.io",
        "deb.debian.org",
        "pypi.org/simple",
        "registry.npmjs.org",
    ];
    let mut problems = Vec::new();
    for Text { path, content } in texts().into_iter().filter(|text| text.path != THIS) {
        let found = names.iter().filter(|name| content.contains(**name));
        problems.extend(found.map(|name| format!("{path} names {name}")));
    }
    none(problems);
}

#[test]
fn the_sdk_reads_no_file_outside_of_its_crate() {
    // Its package would lack the file.
    let sdk = rust_files()
        .into_iter()
        .filter(|file| file.path.starts_with("guest-sdk/"));
    let reaching = sdk.filter(|file| code(&file.content).contains("\"../"));
    none(reaching.map(|file| format!("{} reads a file outside of guest-sdk/", file.path)));
}

#[test]
fn packages_come_from_the_public_registry() {
    let mut problems = Vec::new();
    for lock in ["Cargo.lock", "sample-modules/Cargo.lock"] {
        let content = content_of(lock);
        let sources = between(&content, "source = \"", "\"");
        let others = sources.filter(|source| source != "registry+https://github.com/rust-lang/crates.io-index");
        problems.extend(others.map(|source| format!("{lock} takes a package from {source}")));
    }
    none(problems);
}

// ---- what the rules are made of ----

#[track_caller]
fn none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Each Rust file whose path begins with `scope` names none of `words`, unless its path begins with one of `allowed`.
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
        problems.extend(found.map(|word| format!("{path} names {word}")));
    }
    none(problems);
}

/// The lines without their comments. (A `//` within a text hides the rest of its line, which loses nothing here.)
fn code(content: &str) -> String {
    let lines = content.lines();
    let code = lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.collect::<Vec<_>>().join("\n")
}

/// The module below that folder that a file belongs to.
fn module_of<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder)?;
    let module = rest.split_once('/').map_or(rest, |(module, _)| module);
    Some(module.trim_end_matches(".rs"))
}

/// Whether the whole file is for tests.
fn is_test(path: &str) -> bool {
    let parts = ["tests", "fuzz", "simulation", "simulated"];
    let mut of_path = path.split('/').map(|part| part.trim_end_matches(".rs"));
    of_path.any(|part| parts.contains(&part))
}

/// The code before the module of tests at the end of a file.
fn without_tests(content: &str) -> String {
    let code = code(content);
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code[..end].to_owned()
}

/// The names of modules that stand after one of these prefixes, also several of them in braces.
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
    // Types and functions of the module itself are no modules.
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

/// All texts between two marks on one line.
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

/// A document's part from that heading to the next one of level two.
fn section(document: &str, heading: &str) -> String {
    let content = content_of(document);
    let (_, rest) = content
        .split_once(heading)
        .unwrap_or_else(|| panic!("{document} has no {heading}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// A document without its blocks of code.
fn prose(markdown: &str) -> String {
    let pieces = markdown.split("\n```").step_by(2);
    pieces.collect::<Vec<_>>().join("\n")
}

/// Path and anchor of a link that stands in that document.
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

/// The anchors of a document's headings, as the usual renderers make them.
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

/// Everything that we wrote and that is text.
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
    assert!(found.len() > 100, "the walk finds the repository");
    found
}

fn content_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    let host = Path::new(env!("CARGO_MANIFEST_DIR"));
    host.parent().expect("the host is a member of the workspace").into()
}
