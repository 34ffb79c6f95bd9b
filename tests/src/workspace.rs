//! The workspace as its manifests tell it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// One package of the workspace.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// Package name.
    pub name: String,
    /// The folder that holds its manifest.
    pub folder: PathBuf,
    /// Packages it depends on, be it to run, build or test, on any platform.
    pub dependencies: BTreeSet<String>,
    /// Whether it takes the workspace's lint table.
    pub workspace_lints: bool,
}

impl Member {
    /// A member from its manifest's text.
    ///
    /// # Errors
    /// When the text is not TOML or names no package.
    pub fn parse(folder: &Path, manifest: &str) -> Result<Self, Box<dyn Error>> {
        let manifest: Table = manifest.parse()?;
        let name = manifest
            .get("package")
            .and_then(|p| p.get("name")?.as_str())
            .ok_or_else(|| format!("{}: no package name", folder.display()))?;
        let mut dependencies = BTreeSet::new();
        collect_dependencies(&manifest, &mut dependencies);
        for platform in tables(manifest.get("target")) {
            collect_dependencies(platform, &mut dependencies);
        }
        let lints = manifest
            .get("lints")
            .and_then(|l| l.get("workspace")?.as_bool());
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            dependencies,
            workspace_lints: lints == Some(true),
        })
    }
}

/// Absolute path of the repository root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The text of a file, by its path from the root.
///
/// # Errors
/// When it can't be read; the path stands in the error.
pub fn read(path: impl AsRef<Path>) -> Result<String, Box<dyn Error>> {
    let path = root().join(path);
    fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// The root manifest.
///
/// # Errors
/// When it can't be read or is not TOML.
pub fn manifest() -> Result<Table, Box<dyn Error>> {
    Ok(read("Cargo.toml")?.parse()?)
}

/// Every package of the workspace, in no particular order.
///
/// # Errors
/// When a manifest can't be read or understood.
pub fn members() -> Result<Vec<Member>, Box<dyn Error>> {
    let manifest = manifest()?;
    let list = |key: &str| {
        let list = manifest
            .get("workspace")
            .and_then(|w| w.get(key)?.as_array());
        list.ok_or(format!("Cargo.toml: no workspace.{key}"))
    };
    let excluded = list("exclude")?.iter().filter_map(Value::as_str);
    let excluded: Vec<_> = excluded.map(|folder| root().join(folder)).collect();
    let mut members = Vec::new();
    for pattern in list("members")?.iter().filter_map(Value::as_str) {
        let folders = folders(pattern)?.into_iter();
        for folder in folders.filter(|folder| !excluded.contains(folder)) {
            members.push(Member::parse(&folder, &read(folder.join("Cargo.toml"))?)?);
        }
    }
    Ok(members)
}

/// The folders that a pattern of `workspace.members` names: `folder` or `folder/*`.
fn folders(pattern: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let Some(parent) = pattern.strip_suffix("/*") else {
        return Ok(vec![root().join(pattern)]);
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(parent))? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

fn collect_dependencies(manifest: &Table, into: &mut BTreeSet<String>) {
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(Value::Table(table)) = manifest.get(kind) else {
            continue;
        };
        for (key, value) in table {
            // A renamed dependency tells the package's own name.
            let name = value.get("package").and_then(Value::as_str).unwrap_or(key);
            into.insert(name.to_owned());
        }
    }
}

fn tables(value: Option<&Value>) -> impl Iterator<Item = &Table> {
    value
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_every_kind_are_seen() {
        let manifest = r#"
            [package]
            name = "top"
            [dependencies]
            a.workspace = true
            renamed = { path = "../b", package = "b" }
            [dev-dependencies]
            c = "1"
            [build-dependencies]
            d = "1"
            [target.'cfg(unix)'.dependencies]
            e = "1"
        "#;
        let member = Member::parse(Path::new("top"), manifest).unwrap();
        assert_eq!(member.name, "top");
        assert_eq!(
            member.dependencies,
            ["a", "b", "c", "d", "e"].map(String::from).into()
        );
        assert!(!member.workspace_lints);
        assert!(Member::parse(Path::new("nameless"), "[dependencies]").is_err());
    }

    #[test]
    fn this_package_is_a_member() {
        let members = members().unwrap();
        let this = members
            .iter()
            .find(|m| m.name == env!("CARGO_PKG_NAME"))
            .unwrap();
        assert_eq!(this.folder, root().join("tests"));
        assert!(this.dependencies.contains("toml"));
    }
}
