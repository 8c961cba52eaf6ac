//! Dependencies point one way: a forbidden `use` edge fails here, with file and line.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Below this folder, no path may start with one of these.
struct Forbidden {
    folder: &'static str,
    edges: &'static [&'static str],
    reason: &'static str,
}

const FORBIDDEN: &[Forbidden] = &[
    Forbidden {
        folder: "common/src",
        edges: &[
            "tokio",
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "std::time::SystemTime",
            "std::time::Instant",
            "unbox_agent",
            "unbox_server",
            "rusqlite",
            "reqwest",
            "axum",
        ],
        reason: "common is pure: no I/O, no clock, and it knows neither side",
    },
    Forbidden {
        folder: "agent/src",
        edges: &["unbox_server", "unbox_tests", "unbox_station", "ratatui", "rusqlite", "axum"],
        reason: "only tests see both sides, and a device draws no screen",
    },
    Forbidden {
        folder: "agent/station/src",
        edges: &[
            "unbox_server",
            "unbox_tests",
            "reqwest",
            "unbox_agent::install",
            "unbox_agent::payload",
            "unbox_agent::report",
            "unbox_agent::ledger",
            "unbox_agent::cli",
        ],
        reason: "the station uses the agent's ground, and reading and key of a device; nothing of an enrolled one",
    },
    Forbidden {
        folder: "server/src",
        edges: &["unbox_agent", "unbox_tests", "reqwest"],
        reason: "only tests see both sides",
    },
    Forbidden {
        folder: "server/src/domain",
        edges: &[
            "crate::store",
            "crate::service",
            "crate::route",
            "crate::keys",
            "crate::config",
            "crate::clock",
            "crate::entropy",
            "rusqlite",
            "axum",
            "tokio",
            "std::fs",
            // An address is a value; what opens sockets is not for the domain.
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
        ],
        reason: "domain imports nothing but common",
    },
    Forbidden {
        folder: "server/src/store",
        edges: &["crate::service", "crate::route", "axum"],
        reason: "route -> service -> store, never back",
    },
    Forbidden {
        folder: "server/src/service",
        edges: &["crate::route", "axum", "rusqlite", "postgres"],
        reason: "route -> service -> store, never back, and no SQL in services",
    },
    Forbidden {
        folder: "server/src/route",
        edges: &["crate::store", "rusqlite", "postgres"],
        reason: "a route calls a service, not the store",
    },
    Forbidden {
        folder: "server/src/route/api/wire",
        edges: &[
            "crate::route::api::message",
            "crate::domain",
            "crate::keys",
            "crate::config",
            "crate::clock",
            "crate::entropy",
            "tokio",
            "std::fs",
            "std::net",
        ],
        reason: "the forms of the API are pure, and know none of its messages",
    },
    Forbidden {
        folder: "server/src/route/api/message",
        edges: &["crate::service", "crate::domain", "crate::entropy", "crate::clock", "axum", "tokio"],
        reason: "a message is what travels: it decides nothing",
    },
    Forbidden {
        folder: "server/src/cli",
        edges: &[
            "rusqlite",
            "postgres",
            "axum",
            "crate::store::Reader",
            "crate::store::Tx",
            "crate::store::tenancy",
        ],
        reason: "a command calls a service; it opens, backs up and restores the store and asks it nothing",
    },
    Forbidden {
        folder: "agent/src/http",
        edges: &[
            "crate::boot",
            "crate::identity",
            "crate::handshake",
            "crate::payload",
            "crate::report",
            "crate::ledger",
        ],
        reason: "the HTTP client lies below the stages",
    },
    Forbidden {
        folder: "agent/src/install",
        edges: &["crate::handshake", "crate::report", "crate::identity", "reqwest", "tokio", "rustls"],
        reason: "the installer is root and has no network",
    },
    Forbidden {
        folder: "agent/src/identity",
        edges: &["crate::handshake", "crate::payload", "crate::install", "crate::report", "reqwest"],
        reason: "a stage knows only what lies before it",
    },
    Forbidden {
        folder: "agent/src/handshake",
        edges: &["crate::install", "crate::report"],
        reason: "a stage knows only what lies before it",
    },
    Forbidden {
        folder: "agent/src/payload",
        edges: &["crate::install", "crate::report"],
        reason: "a stage knows only what lies before it",
    },
];

#[test]
fn no_file_imports_what_its_folder_must_not_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for rule in FORBIDDEN {
        let files = rust_files(&root.join(rule.folder));
        assert!(
            !files.is_empty(),
            "{} holds no Rust file: is the rule still about a real folder?",
            rule.folder
        );
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (number, path) in imports(&text) {
                if let Some(edge) = rule.edges.iter().find(|edge| is_below(&path, edge)) {
                    let file = file.strip_prefix(root).unwrap().display();
                    found.push(format!("{file}:{number}: {path} ({edge}): {}", rule.reason));
                }
            }
        }
    }
    assert!(found.is_empty(), "forbidden edges:\n{}", found.join("\n"));
}

/// The contexts of the server's services, with their types: each calls those before it, and none behind it.
const CONTEXTS: [(&str, &str); 6] = [
    ("tenancy", "Tenancy"),
    ("catalogue", "Catalogue"),
    ("factory", "Factory"),
    ("claims", "Claims"),
    ("devices", "Devices"),
    ("upkeep", "Upkeep"),
];

#[test]
fn a_context_calls_those_before_it_by_what_they_offer() {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("server/src/service");
    let mut found = Vec::new();
    for (place, (context, _)) in CONTEXTS.into_iter().enumerate() {
        let files = rust_files(&services.join(context));
        assert!(!files.is_empty(), "{context} holds no Rust file");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (number, path) in imports(&text) {
                let of = |(folder, name): &(&str, &str)| {
                    is_below(&path, &format!("crate::service::{folder}"))
                        || is_below(&path, &format!("crate::service::{name}"))
                };
                let Some(other) = CONTEXTS.iter().position(of).filter(|other| *other != place) else {
                    continue;
                };
                // `crate::service::tenancy::name`, and nothing within it.
                if other > place || path.split("::").count() > 4 {
                    let file = file.strip_prefix(&services).unwrap().display();
                    found.push(format!("{file}:{number}: {path}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "contexts that reach where they must not:\n{}", found.join("\n"));
}

#[test]
fn the_agents_modules_import_each_other_in_no_circle() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("agent/src");
    let mut imported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files(&sources) {
        let module = file.strip_prefix(&sources).unwrap().iter().next().unwrap().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        let text = fs::read_to_string(&file).unwrap();
        let others = imports(&text).into_iter().filter_map(|(_, path)| {
            let name = path.strip_prefix("crate::")?.split("::").next()?.to_owned();
            (name != module).then_some(name)
        });
        imported.entry(module.to_owned()).or_default().extend(others);
    }
    assert!(imported.get("driver").is_some_and(|others| others.contains("handshake")), "{imported:?}");
    assert_eq!(circles(imported), BTreeMap::new());
}

/// Removes modules that import no other, or that no other imports, until only circles are left.
fn circles(mut imported: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    loop {
        let names: BTreeSet<String> = imported.keys().cloned().collect();
        for others in imported.values_mut() {
            others.retain(|name| names.contains(name));
        }
        let needed: BTreeSet<String> = imported.values().flatten().cloned().collect();
        imported.retain(|name, others| !others.is_empty() && needed.contains(name));
        if imported.len() == names.len() {
            return imported;
        }
    }
}

#[test]
fn a_circle_is_told_from_a_chain() {
    let row = |name: &str, others: &[&str]| {
        (name.to_owned(), others.iter().map(|&other| other.to_owned()).collect::<BTreeSet<_>>())
    };
    let modules = [row("a", &["b"]), row("b", &["c"]), row("c", &["b", "d"]), row("d", &[])];
    assert_eq!(circles(modules.into()), [row("b", &["c"]), row("c", &["b"])].into());
}

#[test]
fn the_scanner_sees_grouped_and_inline_paths() {
    let text = "use std::{fs, path::{Path, PathBuf}};\n// use std::net;\nlet x = tokio::spawn(y);\n";
    let paths: Vec<String> = imports(text).into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["std::fs", "std::path::Path", "std::path::PathBuf", "tokio::spawn"]);
    let text = "#[cfg(test)]\nmod fixtures;\nuse std::io;\n#[cfg(test)]\nmod tests {\n    use std::env;\n}\n";
    assert_eq!(imports(text), [(3, "std::io".to_owned())]);
    assert!(
        is_below("std::fs", "std::fs")
            && is_below("std::fs::File", "std::fs")
            && !is_below("std::fsx", "std::fs")
    );
}

fn is_below(path: &str, edge: &str) -> bool {
    path.strip_prefix(edge).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// Every path that a file names, with its line: `use` trees flattened, and `a::b` in code.
/// What stands below `#[cfg(test)]` may know more, and is left out.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code = without_tests(text);
    let mut found = Vec::new();
    let mut tree: Option<(usize, String)> = None;
    for (index, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let started = line.strip_prefix("pub use ").or_else(|| line.strip_prefix("use "));
        match (&mut tree, started) {
            (None, Some(rest)) => tree = Some((index + 1, rest.to_owned())),
            (None, None) => found.extend(inline_paths(line).map(|path| (index + 1, path))),
            (Some((_, so_far)), _) => so_far.push_str(line),
        }
        if let Some((number, whole)) = tree.take_if(|(_, whole)| whole.ends_with(';')) {
            found.extend(flatten("", whole.trim_end_matches(';')).into_iter().map(|path| (number, path)));
        }
    }
    found
}

/// Leaves out an import or module of a line for tests, and everything from the first block of tests on.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            if lines.next().is_none_or(|item| !item.ends_with(';')) {
                break;
            }
            code.push('\n');
        } else {
            code.push_str(line);
        }
        code.push('\n');
    }
    code
}

fn inline_paths(line: &str) -> impl Iterator<Item = String> {
    line.split(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':'))
        .filter(|word| word.contains("::"))
        .map(|word| word.trim_matches(':').to_owned())
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn flatten(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return if path.is_empty() { Vec::new() } else { vec![format!("{prefix}{path}")] };
    };
    let prefix = format!("{prefix}{}", tree.get(..open).unwrap_or_default().trim());
    let inside = tree.get(open + 1..tree.rfind('}').unwrap_or(tree.len())).unwrap_or_default();
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, char) in inside.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(inside.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(inside.get(start..).unwrap_or_default());
    parts.into_iter().flat_map(|part| flatten(&prefix, part)).collect()
}
