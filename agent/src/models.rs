//! The table of ChromeOS models for judging machines: the built-in one, extended by a file.

use crate::files::{self, FilesError};
use std::path::{Path, PathBuf};
use unbox_common::models::{InvalidTable, Models};

/// The largest table that is read, in bytes.
const MAX_TABLE_BYTES: u64 = 4 * 1024 * 1024;

/// The reason why a table is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The file could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The file does not exist.
    #[error("the table of models {} does not exist", .0.display())]
    Absent(PathBuf),
    /// The file's content is not a valid table.
    #[error("the table of models {} cannot be used", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The fault in the table.
        #[source]
        source: InvalidTable,
    },
}

/// Reads the built-in table, extended by this file if there is one; the file's rows take precedence.
///
/// # Errors
/// [`ModelsError`].
pub fn read(further: Option<&Path>) -> Result<Models, ModelsError> {
    let Some(path) = further else { return Ok(Models::built_in().clone()) };
    let table = files::read(path, MAX_TABLE_BYTES)?.ok_or_else(|| ModelsError::Absent(path.to_owned()))?;
    let further = Models::parse(&table);
    let further = further.map_err(|source| ModelsError::Invalid { path: path.to_owned(), source })?;
    Ok(Models::built_in().merge(&further))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_model_comes_in_as_a_file_and_a_mistake_in_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.csv");
        assert!(matches!(read(Some(&path)), Err(ModelsError::Absent(_))));
        let put = |row: &str| {
            let table = format!("model,brand,manufactured_from,certified_id,footnote\n{row}\n");
            files::replace(&path, table.as_bytes(), files::PUBLIC_FILE).unwrap();
        };
        put("Chromebook Acme 1,Acme,,serial,");
        let models = read(Some(&path)).unwrap();
        assert!(models.find("chromebook acme 1").is_some());
        assert_eq!(models.iter().len(), read(None).unwrap().iter().len() + 1);
        put("Chromebook Acme 1,Acme,,imei,");
        let refused = read(Some(&path)).unwrap_err();
        assert!(matches!(&refused, ModelsError::Invalid { .. }));
        assert!(crate::text::chain(&refused).contains("line 2, column certified_id"));
    }
}
