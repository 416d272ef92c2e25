//! The arrows of the house point one way: this reads every `crate::` path in `src` and fails on a wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module of the library with the modules that it may name. The order is the order of the house:
/// a module only ever names modules above its own line.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("background", &[]),
    ("quick_map", &[]),
    ("unread_body", &[]),
    ("config", &["domain"]),
    ("telemetry", &["config", "quick_map"]),
    ("lifecycle", &["config"]),
    ("expression", &["domain"]),
    ("filter", &["domain"]),
    ("sketch", &["domain"]),
    ("simulation", &["domain"]),
    ("store", &["domain", "telemetry"]),
    ("objects", &["domain", "clock", "config", "telemetry", "unread_body"]),
    ("context", &["clock", "config", "objects", "store"]),
    ("auth", &["clock", "config", "domain", "quick_map", "store"]),
    ("ingest", &["domain", "sketch", "filter", "config"]),
    ("score", &["domain", "expression", "filter", "quick_map"]),
    ("learn", &["background", "domain", "expression", "score", "sketch"]),
    (
        "live",
        &[
            "background",
            "domain",
            "clock",
            "context",
            "expression",
            "filter",
            "quick_map",
            "score",
            "store",
            "telemetry",
        ],
    ),
    ("production", &["domain", "context", "expression", "live", "quick_map", "score", "store"]),
    ("profiles", &["domain", "clock", "config", "context", "filter", "objects", "sketch", "store"]),
    (
        "jobs",
        &[
            "background",
            "domain",
            "clock",
            "config",
            "context",
            "expression",
            "filter",
            "ingest",
            "learn",
            "live",
            "objects",
            "profiles",
            "score",
            "sketch",
            "store",
        ],
    ),
    (
        "http",
        &[
            "auth",
            "domain",
            "clock",
            "config",
            "context",
            "expression",
            "filter",
            "ingest",
            "jobs",
            "learn",
            "lifecycle",
            "live",
            "objects",
            "production",
            "profiles",
            "score",
            "sketch",
            "store",
            "telemetry",
            "unread_body",
        ],
    ),
    ("client", &["progress"]),
    ("progress", &["domain"]),
    ("transfer", &["auth", "context", "domain", "live", "objects", "profiles", "store"]),
    (
        "app",
        &[
            "auth",
            "domain",
            "clock",
            "config",
            "context",
            "http",
            "jobs",
            "lifecycle",
            "live",
            "objects",
            "production",
            "profiles",
            "store",
            "telemetry",
            "transfer",
        ],
    ),
    (
        "bench",
        &[
            "app",
            "client",
            "clock",
            "config",
            "context",
            "domain",
            "expression",
            "filter",
            "http",
            "ingest",
            "jobs",
            "learn",
            "lifecycle",
            "live",
            "objects",
            "production",
            "profiles",
            "score",
            "simulation",
            "sketch",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "auth",
            "bench",
            "client",
            "clock",
            "config",
            "context",
            "domain",
            "http",
            "ingest",
            "jobs",
            "learn",
            "lifecycle",
            "live",
            "objects",
            "profiles",
            "progress",
            "score",
            "simulation",
            "store",
            "telemetry",
            "transfer",
        ],
    ),
];

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(module, names)| (*module, names.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for file in rust_files(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path()) {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(names) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: the module {module:?} has no line in the table of arrows", file.display()));
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, target) in crate_paths(&text) {
            if target != module && !names.contains(target.as_str()) {
                wrong.push(format!("{}:{number}: {module} must not name crate::{target}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "wrong arrows:\n{}", wrong.join("\n"));
}

/// What a backend is made of stays in the backend's folder.
#[test]
fn backends_stay_behind_their_interfaces() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&file).unwrap();
        for (needle, homes) in [
            ("rusqlite::", &["store/sqlite/", "bench/"][..]),
            ("aws_sdk_s3::", &["objects/"][..]),
            ("s3s::", &["objects/"][..]),
            (
                "axum::",
                &["http/", "app.rs", "app/", "objects/", "lifecycle", "unread_body.rs", "bench/score/echo.rs"][..],
            ),
        ] {
            if text.contains(needle) && !homes.iter().any(|home| inside.starts_with(home)) {
                wrong.push(format!("src/{inside} names {needle}"));
            }
        }
        if ["domain/", "filter/", "expression/", "sketch/", "learn/", "score/", "ingest/", "simulation/"]
            .iter()
            .any(|pure| inside.starts_with(pure))
            && (text.contains("tokio::") || text.contains("async fn"))
        {
            wrong.push(format!("src/{inside} is asynchronous, but this part of the house is pure"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file is a room with one topic.
#[test]
fn no_file_outgrows_its_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long: Vec<String> = Vec::new();
    for folder in ["src", "tests"] {
        for file in rust_files(&root.join(folder)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            if lines > 600 {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "files over 600 lines:\n{}", long.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The library's top-level module that a file belongs to.
fn module_of(file: &Path) -> String {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Line numbers and first segments of every `crate::…` path outside comments, `crate::{a, b}` included.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut group_depth = 0_usize;
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if group_depth > 0 {
            collect_group(code, &mut group_depth, index + 1, &mut found);
            continue;
        }
        let mut rest = code;
        while let Some(at) = rest.find("crate::") {
            let before = rest[..at].chars().next_back();
            rest = &rest[at + "crate::".len()..];
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            if let Some(group) = rest.strip_prefix('{') {
                group_depth = 1;
                collect_group(group, &mut group_depth, index + 1, &mut found);
                break;
            }
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.starts_with(|c: char| c.is_lowercase()) {
                found.push((index + 1, name));
            }
        }
    }
    found
}

/// Names at the first level of `crate::{…}`.
fn collect_group(code: &str, depth: &mut usize, line: usize, found: &mut Vec<(usize, String)>) {
    let mut name = String::new();
    let mut first = true;
    for c in code.chars() {
        match c {
            '{' => *depth += 1,
            '}' => {
                *depth -= 1;
                if *depth == 0 {
                    if !name.is_empty() && first {
                        found.push((line, std::mem::take(&mut name)));
                    }
                    return;
                }
            }
            ',' if *depth == 1 => {
                if !name.is_empty() && first {
                    found.push((line, name.clone()));
                }
                name.clear();
                first = true;
            }
            ':' if *depth == 1 => {
                if !name.is_empty() && first {
                    found.push((line, name.clone()));
                }
                first = false;
            }
            c if *depth == 1 && first && (c.is_alphanumeric() || c == '_') => name.push(c),
            _ => {}
        }
    }
    if *depth == 1 && first && !name.is_empty() {
        found.push((line, name));
    }
}

#[test]
fn the_reader_of_paths_finds_groups_and_ignores_comments() {
    let text =
        "use crate::{store::{Key, Op}, jobs};\n// crate::http\nlet x = crate::score::rank();\npub(crate) fn f() {}";
    let names: Vec<String> = crate_paths(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["store", "jobs", "score"]);
}
