//! Removable media: a reader process per medium writes down its result, and the network side picks it up.

use crate::{
    boot::{
        Found, Layout, Medium, NotUsed, fat,
        token::{FILES, MAX_FILE_BYTES, parse_token_file},
    },
    files::{self, FilesError, Within},
};
use nix::errno::Errno;
use std::{
    fs::{self, File},
    io,
    path::Path,
};
use unbox_common::secret::Secret;

/// Name of the file with a reader's result, in the folder that its unit made for it.
const FOUND: &str = "found.json";

/// The largest result file, in bytes: a token or a reason.
const MAX_FOUND_BYTES: u64 = 16 * 1024;

/// The most media that are considered.
const MAX_MEDIA: usize = 16;

/// Reads the token off a medium and writes the result for the network side. The folder disappears with
/// the medium.
///
/// # Errors
/// [`FilesError`] if the result cannot be written; a fault of the medium is part of the result.
pub fn read_medium(volume: File, folder: &Path) -> Result<Found, FilesError> {
    let found = Found::from(fat::read_token(io::BufReader::new(volume)));
    files::write_json(&folder.join(FOUND), &found)?;
    Ok(found)
}

/// Returns the media that are present: those that a reader reported, and the one mounted at `folder`.
pub(super) fn present_media(layout: &Layout, folder: Option<&impl AsRef<Path>>) -> Vec<Medium> {
    let mut media = reported_media(&layout.media());
    media.extend(folder.and_then(|folder| mounted_medium(layout, folder.as_ref())));
    media
}

fn reported_media(folder: &Path) -> Vec<Medium> {
    let medium = |name: String, found| Medium { name, found };
    let mut names: Vec<String> = match fs::read_dir(folder) {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let name = folder.display().to_string();
            return vec![medium(name, Found::from(Err(NotUsed::from_read_error(&error))))];
        }
    };
    names.sort();
    names.truncate(MAX_MEDIA);
    // No result yet: the reader is still at work.
    let found = |name: String| match files::read(&folder.join(&name).join(FOUND), MAX_FOUND_BYTES) {
        Ok(bytes) => {
            let found =
                serde_json::from_slice(&bytes?).map_err(|_| NotUsed::Unreadable("damaged".to_owned()));
            Some(medium(name, found.unwrap_or_else(|why| Found::from(Err(why)))))
        }
        Err(error) => Some(medium(name, Found::from(Err(reason_not_used(&error))))),
    };
    names.into_iter().filter_map(found).collect()
}

/// Reads the medium mounted at a folder; `None` if there is no token file, as when nothing is mounted.
fn mounted_medium(layout: &Layout, folder: &Path) -> Option<Medium> {
    let root = Within::open(layout.root()).ok()?;
    let read = |file| match root.read(&folder.join(file), MAX_FILE_BYTES) {
        Ok(bytes) => bytes.map(|bytes| parse_token_file(&bytes)),
        Err(error) => Some(Err(reason_not_used(&error))),
    };
    let found: Result<Secret, NotUsed> = FILES.into_iter().find_map(read)?;
    Some(Medium { name: folder.display().to_string(), found: found.into() })
}

fn reason_not_used(error: &FilesError) -> NotUsed {
    match error {
        FilesError::TooLarge { .. } => NotUsed::TooLarge,
        FilesError::Blocked { .. } => NotUsed::NotAFile,
        // The error for a link in the last component of the path.
        FilesError::Read { source, .. } if source.raw_os_error() == Some(Errno::ELOOP as i32) => {
            NotUsed::NotAFile
        }
        other => other.io().map_or(NotUsed::NotAFile, NotUsed::from_read_error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn medium_result(result: Result<&str, NotUsed>) -> Found {
        Found::from(result.map(|text| Secret::new(text.to_owned())))
    }

    #[test]
    fn what_a_reader_hands_on_is_for_its_user_alone_and_gone_with_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let folder = layout.media().join("sdb1");
        files::make_directory(&folder, files::PRIVATE_DIRECTORY).unwrap();
        assert_eq!(present_media(&layout, None::<&str>.as_ref()), [], "a reader is at work");
        let stick = root.path().join("stick");
        files::replace(&stick, b"no volume", files::PRIVATE_FILE).unwrap();
        let handed = read_medium(File::open(&stick).unwrap(), &folder).unwrap();
        assert_eq!(handed, medium_result(Err(NotUsed::NotFat)));
        let mode = folder.join(FOUND).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(
            present_media(&layout, None::<&str>.as_ref()),
            [Medium { name: "sdb1".to_owned(), found: handed }]
        );
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(present_media(&layout, None::<&str>.as_ref()), []);
    }

    #[test]
    fn what_nobody_handed_on_whole_is_listed_with_its_reason() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        for (name, bytes) in [("sda1", &b"{\"token\":"[..]), ("sdb1", "x".repeat(20_000).as_bytes())] {
            let folder = layout.media().join(name);
            files::make_directory(&folder, files::PRIVATE_DIRECTORY).unwrap();
            files::replace(&folder.join(FOUND), bytes, files::PRIVATE_FILE).unwrap();
        }
        let media = present_media(&layout, None::<&str>.as_ref());
        let reasons: Vec<_> = media.into_iter().map(|one| one.found).collect();
        assert_eq!(
            reasons,
            [
                medium_result(Err(NotUsed::Unreadable("damaged".to_owned()))),
                medium_result(Err(NotUsed::TooLarge))
            ]
        );
    }

    #[test]
    fn a_mounted_folder_is_read_by_the_same_rules() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let look = || {
            let mut media = present_media(&layout, Some(&"/media/stick"));
            assert!(media.len() <= 1);
            media.pop().map(|one| one.found)
        };
        let folder = root.path().join("media/stick");
        let file = folder.join("unbox-token");
        assert_eq!(look(), None, "nothing is mounted there");
        files::make_directory(&folder, files::PUBLIC_DIRECTORY).unwrap();
        assert_eq!(look(), None);
        for (content, expected) in [
            (&b"ppt_1\n"[..], Ok("ppt_1")),
            (&[b'x'; 2000], Err(NotUsed::TooLarge)),
            (b"\0\x01\x02", Err(NotUsed::NotAToken)),
        ] {
            files::replace(&file, content, files::PUBLIC_FILE).unwrap();
            assert_eq!(look(), Some(medium_result(expected)));
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(look(), Some(medium_result(Err(NotUsed::NotAFile))));
        fs::remove_dir(&file).unwrap();
        symlink("/etc/hostname", &file).unwrap();
        assert_eq!(look(), Some(medium_result(Err(NotUsed::NotAFile))));
        fs::remove_file(&file).unwrap();
        files::replace(&folder.join("unbox-token.txt"), b"ppt_2", files::PUBLIC_FILE).unwrap();
        assert_eq!(look(), Some(medium_result(Ok("ppt_2"))));
    }
}
