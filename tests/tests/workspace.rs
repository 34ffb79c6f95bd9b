//! The shape of the workspace: dependencies point down, documents name what exists.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;

use bedside_tests::workspace::{self, Member};

/// Every package, top to bottom. A package may depend only on those below it.
const ORDER: &[&str] = &[
    "bedside-tests",
    "bedsided",
    "bedside-cli",
    "bedside-fuzz",
    "bedside-annotate",
    "bedside-eval",
    "bedside-dicom-node",
    "bedside-dicom",
    "bedside-preview",
    "bedside-igtl",
    "bedside-live",
    "bedside",
    "bedside-engine",
    "bedside-kernels",
    "bedside-update",
    "bedside-bundle",
    "bedside-display",
    "bedside-map",
    "bedside-video",
    "bedside-vision",
    "bedside-phantom",
    "bedside-link",
    "bedside-core",
];

fn rank(name: &str) -> Option<usize> {
    ORDER.iter().position(|n| *n == name)
}

/// Dependencies between members that don't point down, and members without a place.
fn upward_edges(members: &[Member]) -> Vec<String> {
    let mut problems = Vec::new();
    for member in members {
        let Some(own) = rank(&member.name) else {
            problems.push(format!("{} has no place in ORDER", member.name));
            continue;
        };
        for dependency in &member.dependencies {
            if rank(dependency).is_some_and(|other| other <= own) {
                problems.push(format!(
                    "{} depends on {dependency}, not below it",
                    member.name
                ));
            }
        }
    }
    problems
}

/// The names in backticks that open the rows of a Markdown table.
fn row_names(markdown: &str) -> Vec<&str> {
    markdown
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn dependencies_point_down() -> Result<(), Box<dyn Error>> {
    assert_eq!(upward_edges(&workspace::members()?), Vec::<String>::new());
    Ok(())
}

#[test]
fn an_upward_edge_is_noticed() {
    let member = |name: &str, dependencies: &[&str]| Member {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(|d| (*d).to_owned()).collect(),
        ..Member::default()
    };
    let sound = member("bedside", &["bedside-core", "rayon"]);
    let upward = member("bedside-core", &["bedside-vision"]);
    let unplaced = member("bedside-new", &[]);
    assert_eq!(
        upward_edges(&[sound, upward, unplaced]),
        [
            "bedside-core depends on bedside-vision, not below it",
            "bedside-new has no place in ORDER",
        ]
    );
}

/// Whatever the lint table forbids, no attribute allows again.
#[test]
fn p_25_unsafe_code_is_forbidden_outside_two_crates() -> Result<(), Box<dyn Error>> {
    let manifest = workspace::manifest()?;
    let lints = manifest.get("workspace").and_then(|w| w.get("lints"));
    let level = lints.and_then(|lints| lints.get("rust")?.get("unsafe_code")?.as_str());
    assert_eq!(level, Some("forbid"));
    let members = workspace::members()?;
    let without: Vec<_> = members
        .iter()
        .filter(|m| !m.workspace_lints)
        .map(|m| m.name.as_str())
        .collect();
    assert_eq!(without, ["bedside-kernels", "bedside-map"]);
    Ok(())
}

/// The crates that may hold unsafe code are otherwise held to the same.
#[test]
fn p_25_the_exceptions_are_no_wider_than_they_say() -> Result<(), Box<dyn Error>> {
    let workspace = workspace::manifest()?;
    for (name, rust, clippy) in [
        (
            "bedside-kernels",
            &["unsafe_code"][..],
            &["indexing_slicing"][..],
        ),
        ("bedside-map", &["unsafe_code"], &[]),
    ] {
        let manifest = workspace::read(format!("crates/{name}/Cargo.toml"))?.parse()?;
        for (tool, expected) in [("rust", rust), ("clippy", clippy)] {
            let table = |manifest: &toml::Table, path: &[&str]| -> Option<toml::Table> {
                let mut value = manifest.get(*path.first()?)?;
                for key in path.get(1..)? {
                    value = value.get(key)?;
                }
                value.get(tool)?.as_table().cloned()
            };
            let all = table(&workspace, &["workspace", "lints"]).ok_or("no workspace lints")?;
            let mut own = table(&manifest, &["lints"]).ok_or("no lints")?;
            own.remove("needless_range_loop");
            let apart: Vec<_> = all
                .iter()
                .filter(|(name, level)| own.get(*name) != Some(level))
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(apart, expected, "{name}");
            assert_eq!(own.len(), all.len(), "{name}: {tool}");
        }
    }
    Ok(())
}

/// A file beside `tests/main.rs` is compiled only where that names it.
#[test]
fn every_file_of_tests_is_run() -> Result<(), Box<dyn Error>> {
    for member in workspace::members()? {
        let folder = member.folder.join("tests");
        let Ok(main) = fs::read_to_string(folder.join("main.rs")) else {
            continue;
        };
        let manifest = fs::read_to_string(member.folder.join("Cargo.toml"))?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path
                .file_stem()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let known = name == "main"
                || main.contains(&format!("mod {name};\n"))
                || manifest.contains(&format!("[[test]]\nname = \"{name}\""));
            let file = path.extension().is_some_and(|e| e == "rs");
            assert!(known || !file, "no test runs {}", path.display());
        }
    }
    Ok(())
}

#[test]
fn architecture_names_every_member_in_order() -> Result<(), Box<dyn Error>> {
    let members = workspace::members()?;
    let members: BTreeSet<_> = members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(ORDER.iter().copied().collect::<BTreeSet<_>>(), members);
    assert_eq!(row_names(&workspace::read("ARCHITECTURE.md")?), ORDER);
    Ok(())
}

#[test]
fn every_third_party_crate_has_a_reason_and_a_user() -> Result<(), Box<dyn Error>> {
    let manifest = workspace::manifest()?;
    let declared: BTreeSet<_> = manifest
        .get("workspace")
        .and_then(|w| w.get("dependencies")?.as_table())
        .ok_or("Cargo.toml: no workspace.dependencies")?
        .iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let members = workspace::members()?;
    let used: BTreeSet<_> = members
        .iter()
        .flat_map(|m| &m.dependencies)
        .map(String::as_str)
        .collect();
    assert_eq!(
        declared.difference(&used).collect::<Vec<_>>(),
        Vec::<&&str>::new()
    );

    let page = workspace::read("docs/dependencies.md")?;
    assert_eq!(
        row_names(&page).into_iter().collect::<BTreeSet<_>>(),
        declared
    );
    Ok(())
}

/// Nothing is taken from elsewhere, and nothing without the hash that it had when it was looked at.
#[test]
fn p_27_every_dependency_is_of_the_registry_and_has_its_hash() -> Result<(), Box<dyn Error>> {
    let lock: toml::Table = workspace::read("Cargo.lock")?.parse()?;
    let packages = lock.get("package").and_then(|p| p.as_array());
    let packages = packages.ok_or("Cargo.lock: no packages")?;
    let text = |package: &toml::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let members: BTreeSet<_> = workspace::members()?.into_iter().map(|m| m.name).collect();
    for package in packages {
        let name = text(package, "name").ok_or("a package without a name")?;
        if members.contains(&name) {
            continue;
        }
        let source = text(package, "source");
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        assert_eq!(source.as_deref(), Some(registry), "{name}");
        let hash = text(package, "checksum").unwrap_or_default();
        assert_eq!(hash.len(), 64, "{name}");
    }
    Ok(())
}

/// What `cargo deny` is told to let pass; nothing by default.
#[test]
fn p_27_the_policy_of_dependencies_lets_nothing_pass_unseen() -> Result<(), Box<dyn Error>> {
    let deny: toml::Table = workspace::read("deny.toml")?.parse()?;
    let set = |table: &str, key: &str| {
        let value = deny.get(table)?.get(key)?;
        value.as_str().map(str::to_owned)
    };
    for (table, key, value) in [
        ("sources", "unknown-registry", "deny"),
        ("sources", "unknown-git", "deny"),
        ("bans", "wildcards", "deny"),
        ("advisories", "yanked", "deny"),
        ("advisories", "unmaintained", "all"),
    ] {
        assert_eq!(set(table, key).as_deref(), Some(value), "{table}.{key}");
    }
    let ignored = deny
        .get("advisories")
        .and_then(|a| a.get("ignore")?.as_array());
    for advisory in ignored.into_iter().flatten() {
        assert!(
            advisory.get("reason").is_some(),
            "{advisory:?} has no reason"
        );
    }
    let run = workspace::read(".ci/run")?;
    for check in [
        "--hide-inclusion-graph bans licenses sources",
        "in Cargo.toml crates/bridges/Cargo.toml firmware-host/mcu/Cargo.toml",
        "check advisories",
        ".ci/release",
    ] {
        assert!(run.contains(check), ".ci/run lacks {check}");
    }
    Ok(())
}

/// The root manifest's bans by name, and the packages of `Cargo.lock`.
fn banned_and_locked() -> Result<(Vec<String>, BTreeSet<String>), Box<dyn Error>> {
    let names = |table: &toml::Table, path: &[&str]| -> Option<Vec<String>> {
        let mut value = table.get(*path.first()?)?;
        for key in path.get(1..)? {
            value = value.get(key)?;
        }
        let named = value.as_array()?.iter();
        named
            .map(|entry| Some(entry.get("name")?.as_str()?.to_owned()))
            .collect()
    };
    let deny = workspace::read("deny.toml")?.parse()?;
    let lock = workspace::read("Cargo.lock")?.parse()?;
    let banned = names(&deny, &["bans", "deny"]).ok_or("deny.toml: no bans")?;
    let locked = names(&lock, &["package"]).ok_or("Cargo.lock: no packages")?;
    Ok((banned, locked.into_iter().collect()))
}

#[test]
fn p_20_no_http_client_is_among_the_dependencies() -> Result<(), Box<dyn Error>> {
    let (mut banned, locked) = banned_and_locked()?;
    for client in [
        "reqwest",
        "ureq",
        "curl",
        "hyper",
        "isahc",
        "minreq",
        "attohttpc",
        "rustls",
    ] {
        assert!(
            banned.iter().any(|name| name == client),
            "{client} is allowed"
        );
    }
    // It serves the preview page, and must not be able to ask.
    banned.retain(|name| name != "hyper");
    let present: Vec<_> = banned
        .iter()
        .filter(|name| locked.contains(*name))
        .collect();
    assert_eq!(present, Vec::<&String>::new());
    let manifest = workspace::manifest()?;
    let dependencies = manifest
        .get("workspace")
        .and_then(|w| w.get("dependencies")?.as_table())
        .ok_or("Cargo.toml: no workspace.dependencies")?;
    for name in ["axum", "hyper", "hyper-util"] {
        let features = dependencies.get(name).and_then(|d| d.get("features"));
        let features = features.and_then(toml::Value::as_array);
        let features = features.ok_or_else(|| format!("{name}: no features named"))?;
        let asks = |feature: &toml::Value| feature.as_str().is_none_or(|f| f.contains("client"));
        assert!(!features.iter().any(asks), "{name}: {features:?}");
    }
    Ok(())
}
