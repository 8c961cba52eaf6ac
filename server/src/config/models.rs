//! The table of models, with the extension that a setting may name.

use super::ConfigError;
use crate::files;
use std::{path::PathBuf, sync::Arc};
use unbox_common::models::Models;

/// The largest table of models that is read, in bytes.
const MAX_MODELS_BYTES: u64 = 4 * 1024 * 1024;

/// Merges the built-in table and the one in this file.
pub(super) fn read_models(path: PathBuf) -> Result<Arc<Models>, ConfigError> {
    let Some(table) = files::read(&path, MAX_MODELS_BYTES)? else { return Err(ConfigError::NoModels(path)) };
    match Models::parse(&table) {
        Ok(further) => Ok(Arc::new(Models::built_in().merge(&further))),
        Err(source) => Err(ConfigError::Models { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn further_models_are_read_and_a_mistake_in_them_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("models.csv");
        let settings = format!("names = [\"a\"]\nmodels = {:?}", path.display().to_string());
        assert!(matches!(parse(&settings), Err(ConfigError::NoModels(_))));
        for (row, says) in [
            ("Chromebook Acme 1,Acme,,serial,", None),
            ("Chromebook Acme 1,Acme,,imei,", Some("line 2, column certified_id: \"imei\"")),
        ] {
            let table = format!("model,brand,manufactured_from,certified_id,footnote\n{row}\n");
            files::replace(&path, table.as_bytes(), files::PRIVATE_FILE).unwrap();
            match (parse(&settings), says) {
                (Ok(settings), None) => {
                    assert!(settings.services.models.find("chromebook acme 1").is_some());
                    assert_eq!(settings.services.models.iter().len(), 188);
                }
                (Err(ConfigError::Models { source, .. }), Some(says)) => {
                    assert!(source.to_string().starts_with(says), "{source}");
                }
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}
