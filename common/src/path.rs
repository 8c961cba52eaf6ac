//! Paths that a payload may name: they cannot leave their intended place.

use crate::{protected::holder_of_path, text::is_invisible};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The longest path, in bytes; Linux takes 4096 with the root in front.
pub const MAX_PATH_BYTES: usize = 1024;

/// An absolute path on the device: no `..`, no empty part, and nothing that belongs to the kernel or to
/// Unbox ([`holder_of_path`]).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath(String);

/// A path inside an archive: relative, no `..`, no empty part.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(String);

/// The reason why a path is not safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePath {
    /// It does not start with `/`.
    #[error("expected an absolute path, found {0:?}")]
    NotAbsolute(String),
    /// It starts with `/`.
    #[error("expected a path relative to the archive, found {0:?}")]
    NotRelative(String),
    /// `.`, `..`, an empty part, or an invisible character ([`is_invisible`]).
    #[error("path {0:?} holds a part that is empty, `.`, `..` or not printable")]
    BadPart(String),
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// A place that payloads must not touch.
    #[error("path {path:?} belongs to {holder}, and a payload must not touch it")]
    Forbidden {
        /// The path.
        path: String,
        /// The owner of the place.
        holder: &'static str,
    },
}

fn check_parts(path: &str, parts: &str) -> Result<(), UnsafePath> {
    if path.len() > MAX_PATH_BYTES {
        return Err(UnsafePath::TooLong);
    }
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(is_invisible);
    if parts.split('/').any(bad) { Err(UnsafePath::BadPart(excerpt(path))) } else { Ok(()) }
}

fn excerpt(path: &str) -> String {
    path.chars().take(128).collect()
}

impl SafePath {
    /// Checks an absolute path.
    ///
    /// # Errors
    /// [`UnsafePath`], naming the problem.
    pub fn parse(path: &str) -> Result<Self, UnsafePath> {
        let Some(parts) = path.strip_prefix('/') else {
            return Err(UnsafePath::NotAbsolute(excerpt(path)));
        };
        check_parts(path, parts)?;
        match holder_of_path(path) {
            Some(holder) => Err(UnsafePath::Forbidden { path: excerpt(path), holder }),
            None => Ok(Self(path.to_owned())),
        }
    }

    /// Returns the path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path below `root`. The caller has to resolve symbolic links on the way.
    #[must_use]
    pub fn to_path(&self, root: &Path) -> PathBuf {
        root.join(self.0.trim_start_matches('/'))
    }

    /// Returns the path's parents, outermost first, without `/` itself.
    pub fn parents(&self) -> impl Iterator<Item = Self> {
        let ends: Vec<usize> = self.0.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        ends.into_iter().filter_map(|end| self.0.get(..end).map(|parent| Self(parent.to_owned())))
    }
}

impl RelativePath {
    /// Checks a path inside an archive; one leading `./` is allowed, as `tar` writes it.
    ///
    /// # Errors
    /// [`UnsafePath`], naming the problem.
    pub fn parse(path: &str) -> Result<Self, UnsafePath> {
        if path.starts_with('/') {
            return Err(UnsafePath::NotRelative(excerpt(path)));
        }
        let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
        check_parts(path, path)?;
        Ok(Self(path.to_owned()))
    }

    /// Returns the path as it was written, without a leading `./` and a closing `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(SafePath);
as_text!(RelativePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_escape_are_refused() {
        for bad in [
            "",
            "etc/passwd",
            "/",
            "/..",
            "/etc/../proc",
            "/etc//x",
            "/etc/./x",
            "/etc/x/",
            "/etc/\0x",
            "/etc/a\nb",
            "/etc/\u{202e}fdp.x",
            "/etc/a\u{200b}b",
            "/usr/bin/unbox-agent",
            "/lib/systemd/system/unbox-install.service",
            "/proc/sys/kernel",
            "/sys",
            "/var/lib/unbox/ledger.json",
            "/etc/unbox/trust/root.json",
            "/run/x",
        ] {
            assert!(SafePath::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "/x", "../x", "a/../../x", "a//b", "./../x", ".", "a\u{2066}b"] {
            assert!(RelativePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SafePath::parse(&format!("/{}", "a".repeat(MAX_PATH_BYTES))).is_err());
    }

    #[test]
    fn ordinary_paths_pass() {
        for good in ["/etc/motd", "/etc/unboxed", "/var/lib/unbox-dpc/x", "/runner", "/a.b/..c"] {
            assert_eq!(SafePath::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(RelativePath::parse("./bin/dpc").unwrap().as_str(), "bin/dpc");
        assert_eq!(RelativePath::parse("lib/").unwrap().as_str(), "lib");
        assert_eq!(
            SafePath::parse("/etc/motd").unwrap().to_path(Path::new("/tmp/r")),
            Path::new("/tmp/r/etc/motd")
        );
        let parents: Vec<_> =
            SafePath::parse("/a/b/c").unwrap().parents().map(|path| path.to_string()).collect();
        assert_eq!(parents, ["/a", "/a/b"]);
    }
}
