//! The workspace as `cargo metadata` describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Packages and their dependencies.
pub struct Metadata {
    members: BTreeSet<String>,
    /// Package name -> names of its normal (neither dev nor build) dependencies.
    normal: BTreeMap<String, BTreeSet<String>>,
    licences: BTreeMap<String, Option<String>>,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo fails, or prints something else than metadata.
    pub fn read() -> Result<Self> {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout)?;

        let mut names = BTreeMap::new();
        let mut licences = BTreeMap::new();
        for package in array(&json, "packages")? {
            let name = text(package, "name")?;
            names.insert(text(package, "id")?, name);
            licences
                .insert(name.to_owned(), package.get("license").and_then(Value::as_str).map(str::to_owned));
        }
        let name_of = |id: &Value| -> Result<String> {
            let id = id.as_str().context("a package id is no text")?;
            Ok((*names.get(id).context("an unknown package id")?).to_owned())
        };

        let members = array(&json, "workspace_members")?.iter().map(name_of).collect::<Result<_>>()?;
        let mut normal: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in array(json.get("resolve").context("no resolve graph")?, "nodes")? {
            let of = normal.entry(name_of(node.get("id").context("a node without id")?)?).or_default();
            for dependency in array(node, "deps")? {
                let is_normal = array(dependency, "dep_kinds")?
                    .iter()
                    .any(|kind| kind.get("kind").is_some_and(Value::is_null));
                if is_normal {
                    of.insert(name_of(dependency.get("pkg").context("a dependency without pkg")?)?);
                }
            }
        }
        Ok(Self { members, normal, licences })
    }

    /// The names of the workspace's crates.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(String::as_str)
    }

    /// Whether a crate of this name is in the workspace.
    pub fn is_member(&self, name: &str) -> bool {
        self.members.contains(name)
    }

    /// What a package names under `[dependencies]`.
    pub fn normal_dependencies(&self, name: &str) -> impl Iterator<Item = &str> {
        self.normal.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Everything a package links, directly or through others.
    pub fn reachable(&self, name: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&str> = self.normal_dependencies(name).collect();
        while let Some(next) = waiting.pop() {
            if reached.insert(next) {
                waiting.extend(self.normal_dependencies(next));
            }
        }
        reached
    }

    /// Every package with the licence expression of its manifest.
    pub fn licences(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.licences.iter().map(|(name, licence)| (name.as_str(), licence.as_deref()))
    }
}

fn array<'a>(json: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    json.get(field).and_then(Value::as_array).with_context(|| format!("no list '{field}'"))
}

fn text<'a>(json: &'a Value, field: &str) -> Result<&'a str> {
    json.get(field).and_then(Value::as_str).with_context(|| format!("no text '{field}'"))
}
