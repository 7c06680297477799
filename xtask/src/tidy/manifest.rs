//! Reads the dependency tables of a manifest. Ours are written by hand, one dependency a line, so a reader of lines
//! is enough and this program needs no TOML parser.

/// One dependency: its line (from 1) and the package it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) line: usize,
    pub(crate) package: String,
}

/// Packages named in `[dependencies]`, `[build-dependencies]` and their `[target.….]` forms; development
/// dependencies are free.
pub(crate) fn dependencies(text: &str) -> Vec<Dependency> {
    let mut out: Vec<Dependency> = Vec::new();
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim().to_owned();
            if let Some(package) = table_of_one(&section) {
                out.push(Dependency {
                    line: index + 1,
                    package,
                });
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim();
        if shipped_table(&section) {
            let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
            let package = inline_package(value).unwrap_or(name).to_owned();
            out.push(Dependency {
                line: index + 1,
                package,
            });
        } else if let Some(last) = out.last_mut()
            && key == "package"
            && table_of_one(&section).is_some()
        {
            last.package = value.trim().trim_matches('"').to_owned();
        }
    }
    out
}

/// Whether a manifest has `key = value` in `[section]`, up to spaces.
pub(crate) fn says(text: &str, section: &str, key: &str, value: &str) -> bool {
    let mut inside = false;
    text.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        }
        inside
            && line
                .split_once('=')
                .is_some_and(|(k, v)| k.trim() == key && v.trim() == value)
    })
}

fn shipped_table(section: &str) -> bool {
    ["dependencies", "build-dependencies"].iter().any(|table| {
        section == *table || section.starts_with("target.") && section.ends_with(&format!(".{table}"))
    })
}

/// `dependencies.NAME`: a table for one dependency.
fn table_of_one(section: &str) -> Option<String> {
    let (table, name) = section.rsplit_once('.')?;
    (shipped_table(table) && !shipped_table(section)).then(|| name.trim_matches('"').to_owned())
}

fn inline_package(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("package")?;
    rest.trim_start()
        .strip_prefix('=')?
        .trim_start()
        .strip_prefix('"')?
        .split('"')
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_dependency_is_read() {
        let check = |text: &str, expect: &[&str]| {
            let packages: Vec<String> = dependencies(text)
                .into_iter()
                .map(|found| found.package)
                .collect();
            assert_eq!(packages, expect, "{text}");
        };
        check(
            "[dependencies]\na = \"1\" # why\nb = { workspace = true }\nc.workspace = true",
            &["a", "b", "c"],
        );
        check(
            "[dependencies]\nx = { package = \"real\", version = \"1\" }",
            &["real"],
        );
        check(
            "[dependencies.x]\nversion = \"1\"\npackage = \"real\"\n[dependencies.y]\nversion = \"1\"",
            &["real", "y"],
        );
        check("[build-dependencies]\na = \"1\"", &["a"]);
        check("[target.'cfg(unix)'.dependencies]\na = \"1\"", &["a"]);
        check("[target.'cfg(unix)'.dependencies.b]\nversion = \"1\"", &["b"]);
        check(
            "[dev-dependencies]\na = \"1\"\n[package]\nname = \"b\"\n[dev-dependencies.c]\nversion = \"1\"",
            &[],
        );
    }

    #[test]
    fn a_setting_is_found_in_its_section_only() {
        assert!(says("[lints]\nworkspace = true", "lints", "workspace", "true"));
        assert!(!says("[other]\nworkspace = true", "lints", "workspace", "true"));
        assert!(!says("[lints]\nworkspace = false", "lints", "workspace", "true"));
    }
}
