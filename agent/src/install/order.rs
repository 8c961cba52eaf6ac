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
            *other != name && of.needs.iter().any(|need| relations.is_one_of(other.as_str(), need))
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
        left.retain(|name, _| !group.contains(name));
        for needed in left.values_mut() {
            needed.retain(|name| !group.contains(name));
        }
        rank_group(group, relations, &mut ranks);
    }
    ranks
}

/// Ranks the packages of a cycle. One leaves it whose every need is met by an alternative before it: dpkg
/// could not install those together that need each other before they are unpacked (`Pre-Depends`).
fn rank_group(
    mut group: BTreeSet<&PackageName>,
    relations: &BTreeMap<PackageName, Relations>,
    ranks: &mut Ranks,
) {
    let is_ready = |name: &PackageName, ranks: &Ranks| {
        let needs = relations.get(name).into_iter().flat_map(|of| &of.needs);
        needs.into_iter().all(|need| {
            let mut meet =
                relations.iter().filter(|(other, of)| of.is_one_of(other.as_str(), need)).peekable();
            meet.peek().is_none() || meet.any(|(other, _)| other == name || ranks.contains_key(other))
        })
    };
    while let Some(ready) = group.iter().copied().find(|name| is_ready(name, ranks)) {
        group.remove(ready);
        ranks.insert(ready.clone(), ranks.len());
    }
    let rank = ranks.len();
    ranks.extend(group.into_iter().map(|name| (name.clone(), rank)));
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
            // Another alternative is enough to leave a cycle.
            (&[("aa", "bb | cc", ""), ("bb", "aa", ""), ("cc", "", "")], &[("cc", 0), ("aa", 1), ("bb", 2)]),
            (
                &[("aa", "mail, bb", ""), ("bb", "mail", ""), ("cc", "", "mail"), ("dd", "aa", "mail")],
                &[("cc", 0), ("bb", 1), ("aa", 2), ("dd", 3)],
            ),
        ] {
            let expected: Vec<(String, usize)> =
                expected.iter().map(|(name, rank)| ((*name).to_owned(), *rank)).collect();
            assert_eq!(ranked(packages), expected);
        }
    }
}
