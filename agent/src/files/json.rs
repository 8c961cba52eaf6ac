//! Documents in JSON: the only place that reads one from a file and writes one to a file.

use super::{FilesError, PRIVATE_FILE, read, replace};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// Reads one of the agent's own documents. A damaged one, or an object that is not a document, counts as
/// absent.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>, FilesError> {
    match read(path, limit) {
        Err(error) if error.is_not_a_document() => Ok(None),
        read => Ok(read?.and_then(|bytes| serde_json::from_slice(&bytes).ok())),
    }
}

/// Writes a document that only its owner can read, replacing whatever exists.
pub fn write_json(path: &Path, document: &impl Serialize) -> Result<(), FilesError> {
    replace(path, &to_json(path, document)?, PRIVATE_FILE)
}

/// Returns a document as it stands in its file.
pub fn to_json(path: &Path, document: &impl Serialize) -> Result<Vec<u8>, FilesError> {
    serde_json::to_vec(document)
        .map_err(|source| FilesError::Write { path: path.to_owned(), source: source.into() })
}

/// Returns a document as it stands in a file that people read, too: in lines.
pub fn to_json_lines(path: &Path, document: &impl Serialize) -> Result<Vec<u8>, FilesError> {
    let mut json = serde_json::to_vec_pretty(document)
        .map_err(|source| FilesError::Write { path: path.to_owned(), source: source.into() })?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_document_that_cannot_be_read_counts_as_absent_and_one_that_cannot_be_written_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("document.json");
        write_json(&path, &["kept"]).unwrap();
        // A key that is no string has no form in JSON.
        let unwritable = BTreeMap::from([([1, 2], 3)]);
        assert!(matches!(write_json(&path, &unwritable), Err(FilesError::Write { .. })));
        assert_eq!(read_json::<[String; 1]>(&path, 99).unwrap().unwrap(), ["kept"]);
        for damage in [&b"[\"ke"[..], b"", b"{}", &[b' '; 100]] {
            replace(&path, damage, PRIVATE_FILE).unwrap();
            assert!(read_json::<[String; 1]>(&path, 99).unwrap().is_none());
        }
    }
}
