//! A copy of the work tree in which something may be broken.

use std::path::Path;

use crate::workspace::Workspace;

/// Makes `tree` equal to the work tree. Only what differs is written: cargo goes by the time of a file, and so rebuilds only
/// the crates that were changed there.
pub(crate) fn mirror(workspace: &Workspace, tree: &Path) -> Result<(), String> {
    let files = workspace.files()?;
    for file in &files {
        let wanted = read(&workspace.root().join(file))?;
        let place = tree.join(file);
        if std::fs::read(&place).is_ok_and(|present| present == wanted) {
            continue;
        }
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        std::fs::write(&place, wanted).map_err(|error| format!("{}: {error}", place.display()))?;
    }
    remove_others(tree, tree, &files)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn remove_others(tree: &Path, folder: &Path, files: &[String]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            remove_others(tree, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(tree) {
            let name = name.to_string_lossy().replace('\\', "/");
            if files.binary_search(&name).is_err() {
                std::fs::remove_file(&path).map_err(failed)?;
            }
        }
    }
    Ok(())
}
