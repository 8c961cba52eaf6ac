//! The state that packages share about files that are in none of their lists, and the part of it that the
//! packages of payloads have made. Pure.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A diversion (dpkg-divert(1)): other packages' files at this place are moved elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diversion {
    /// The diverted place.
    pub from: String,
    /// The new place for other packages' files.
    pub to: String,
    /// The package whose file stays at the diverted place; a local diversion if absent.
    pub package: Option<String>,
}

/// The state that packages share, about files that are in none of their lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Choices {
    /// The diversions.
    pub diversions: BTreeSet<Diversion>,
    /// The rest of dpkg's list after its last complete diversion; with a rest, the list is broken.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incomplete_diversion: String,
    /// Modes and owners set by the administrator (dpkg-statoverride(1)), in dpkg's own format.
    pub overrides: String,
    /// Alternatives (update-alternatives(1)) in their own format, by name.
    pub alternatives: BTreeMap<String, String>,
    /// The links of `/etc/alternatives`, with their targets.
    pub links: BTreeMap<String, String>,
}

/// Changes of choices: each choice with its value before and after.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Made(BTreeMap<String, (Option<String>, Option<String>)>);

impl Choices {
    /// Returns every choice with its value.
    fn entries(&self) -> BTreeMap<String, String> {
        let diversions = self.diversions.iter().map(|Diversion { from, to, package }| {
            (format!("diversion {from}"), format!("{}\n{to}", package.as_deref().unwrap_or_default()))
        });
        // Owner, group and mode come before the path, which may have blanks.
        let overrides = self.overrides.lines().filter_map(|line| {
            let (at, _) = line.match_indices(' ').nth(2)?;
            let (value, path) = line.split_at(at);
            Some((format!("override{path}"), value.to_owned()))
        });
        let named = |kind: &'static str, of: &BTreeMap<String, String>| {
            of.iter().map(|(name, value)| (format!("{kind} {name}"), value.clone())).collect::<Vec<_>>()
        };
        let alternatives = named("alternative", &self.alternatives);
        let links = named("link", &self.links);
        diversions.chain(overrides).chain(alternatives).chain(links).collect()
    }

    fn from_entries(entries: BTreeMap<String, String>) -> Self {
        let mut choices = Self::default();
        for (key, value) in entries {
            match (key.split_once(' '), value.split_once('\n')) {
                (Some(("diversion", from)), Some((package, to))) => {
                    let package = (!package.is_empty()).then(|| package.to_owned());
                    choices.diversions.insert(Diversion {
                        from: from.to_owned(),
                        to: to.to_owned(),
                        package,
                    });
                }
                (Some(("override", path)), _) => {
                    choices.overrides.extend([value.as_str(), " ", path, "\n"]);
                }
                (Some(("alternative", name)), _) => {
                    choices.alternatives.insert(name.to_owned(), value);
                }
                (Some(("link", name)), _) => {
                    choices.links.insert(name.to_owned(), value);
                }
                _ => (),
            }
        }
        choices
    }
}

impl Made {
    /// Returns the changes from one state to another.
    #[must_use]
    pub fn difference(before: &Choices, after: &Choices) -> Self {
        let (before, after) = (before.entries(), after.entries());
        let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let values = |key: &String| (before.get(key).cloned(), after.get(key).cloned());
        let changes = keys.into_iter().map(|key| (key.clone(), values(key)));
        Self(changes.filter(|(_, (before, after))| before != after).collect())
    }

    /// Returns these changes together with later ones.
    #[must_use]
    pub fn merge(mut self, later: Self) -> Self {
        for (key, (before, after)) in later.0 {
            let first = self.0.remove(&key).map_or(before, |(first, _)| first);
            if first != after {
                self.0.insert(key, (first, after));
            }
        }
        self
    }

    /// Returns the choices without these changes. A choice that somebody else has changed since stays.
    #[must_use]
    pub fn revert(&self, now: &Choices) -> Choices {
        let mut entries = now.entries();
        let mut changed = false;
        for (key, (before, after)) in &self.0 {
            if entries.get(key) != after.as_ref() {
                continue;
            }
            changed = true;
            match before {
                Some(before) => entries.insert(key.clone(), before.clone()),
                None => entries.remove(key),
            };
        }
        if changed { Choices::from_entries(entries) } else { now.clone() }
    }

    /// Returns true if nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(diverted: &[&str], overrides: &str, editor: &str) -> Choices {
        let diversion =
            |from: &&str| Diversion { from: (*from).to_owned(), to: format!("{from}.local"), package: None };
        Choices {
            diversions: diverted.iter().map(diversion).collect(),
            overrides: overrides.to_owned(),
            alternatives: BTreeMap::from([("editor".to_owned(), format!("auto\n{editor}\n"))]),
            links: BTreeMap::from([("editor".to_owned(), editor.to_owned())]),
            ..Choices::default()
        }
    }

    #[test]
    fn changes_are_undone_but_those_of_others_stay() {
        let before = choices(&["/etc/a"], "root root 0600 /etc/a b\n", "/bin/ed");
        let after = choices(&["/etc/a", "/etc/b"], "root root 0640 /etc/a b\nu g 1 /c\n", "/bin/tool");
        let made = Made::difference(&before, &after);
        assert_eq!(made.revert(&after), before);
        assert_eq!(made.revert(&before), before);
        // Meanwhile, somebody diverts another file and chooses another editor.
        let now = choices(&["/etc/a", "/etc/b", "/etc/c"], &after.overrides, "/bin/vi");
        let expected = choices(&["/etc/a", "/etc/c"], &before.overrides, "/bin/vi");
        assert_eq!(made.revert(&now), expected);
        // A second payload changes some of it again.
        let later = choices(&["/etc/a", "/etc/c"], &before.overrides, "/bin/nano");
        let both = made.merge(Made::difference(&now, &later));
        assert_eq!(both.revert(&later), choices(&["/etc/a", "/etc/c"], &before.overrides, "/bin/ed"));
        assert!(Made::difference(&now, &now).is_empty());
    }
}
