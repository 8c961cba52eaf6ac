//! The order of packages: each after those that it needs. Pure.
//!
//! Only the order is decided here. Whether the relations of packages are met is decided by the package
//! system itself, in a rehearsal.

use super::package::Relations;
use std::collections::{BTreeMap, BTreeSet};
use unbox_common::payload::PackageName;

/// The position of each package; equal for packages that need each other.
pub(crate) type Ranks = BTreeMap<PackageName, usize>;

/// Ranks packages by their relations to each other, and otherwise by their names.
pub(crate) fn ranks(relations: &BTreeMap<PackageName, Relations>) -> Ranks {
    let needs = |name: &PackageName, of: &Relations| {
        let others = relations.iter().filter(|(other, relations)| {
            let stands_for = |need: &String| need == other.as_str() || relations.provides.contains(need);
            *other != name && of.needs.iter().any(stands_for)
        });
        others.map(|(other, _)| other).collect::<BTreeSet<&PackageName>>()
    };
    let edges: BTreeMap<&PackageName, BTreeSet<&PackageName>> =
        relations.iter().map(|(name, of)| (name, needs(name, of))).collect();
    let mut left: BTreeMap<&PackageName, BTreeSet<&PackageName>> =
        edges.keys().map(|name| (*name, closure(name, &edges))).collect();
    let mut ranks = Ranks::new();
    // The smallest group that is closed is either one package that needs no other, or one cycle.
    while let Some(group) = left.values().min_by_key(|group| group.len()).cloned() {
        let rank = ranks.len();
        left.retain(|name, _| !group.contains(name));
        for needed in left.values_mut() {
            needed.retain(|name| !group.contains(name));
        }
        ranks.extend(group.into_iter().map(|name| (name.clone(), rank)));
    }
    ranks
}

/// Returns a package with everything that it needs, directly or not.
fn closure<'a>(
    name: &'a PackageName,
    edges: &BTreeMap<&'a PackageName, BTreeSet<&'a PackageName>>,
) -> BTreeSet<&'a PackageName> {
    let mut closed = BTreeSet::from([name]);
    let mut pending = vec![name];
    while let Some(name) = pending.pop() {
        for needed in edges.get(name).into_iter().flatten() {
            if closed.insert(needed) {
                pending.push(needed);
            }
        }
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(packages: &[(&str, &str, &str)]) -> Vec<(String, usize)> {
        let relations = packages
            .iter()
            .map(|(name, needs, provides)| (name.parse().unwrap(), Relations::parse(needs, provides)));
        let mut ranks: Vec<(String, usize)> =
            ranks(&relations.collect()).into_iter().map(|(name, rank)| (name.to_string(), rank)).collect();
        ranks.sort_by(|(one, a), (other, b)| a.cmp(b).then(one.cmp(other)));
        ranks
    }

    #[test]
    fn packages_follow_those_that_they_need() {
        for (packages, expected) in [
            (&[("aa", "", ""), ("bb", "", "")][..], &[("aa", 0), ("bb", 1)][..]),
            (
                &[
                    ("aa", "cc (>= 1.0) | xx, libc6", ""),
                    ("bb", "", ""),
                    ("cc", "dd:any", ""),
                    ("dd", "", ""),
                ],
                &[("bb", 0), ("dd", 1), ("cc", 2), ("aa", 3)],
            ),
            (&[("aa", "mail", ""), ("bb", "", "post, mail (= 2)")], &[("bb", 0), ("aa", 1)]),
            (
                &[("aa", "bb", ""), ("bb", "cc", ""), ("cc", "bb", ""), ("dd", "aa", "")],
                &[("bb", 0), ("cc", 0), ("aa", 2), ("dd", 3)],
            ),
            (&[("aa", "aa, aa-data", "")], &[("aa", 0)]),
        ] {
            let expected: Vec<(String, usize)> =
                expected.iter().map(|(name, rank)| ((*name).to_owned(), *rank)).collect();
            assert_eq!(ranked(packages), expected);
        }
    }
}
