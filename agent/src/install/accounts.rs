//! Users and groups of the target device, from its own `/etc/passwd` and `/etc/group`.

use crate::files::Owner;
use std::collections::BTreeMap;
use unbox_common::payload::UserName;

/// The users and groups of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accounts {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, u32>,
    /// The owner of every file if the agent may not change owners: a sandbox without root.
    everything: Option<Owner>,
}

/// One line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) owner: Owner,
    pub(crate) home: String,
    /// True if the uid is 0, whatever the name.
    pub(crate) is_root: bool,
}

impl Accounts {
    /// Parses the two files. Malformed lines are skipped, as libc does.
    pub(crate) fn parse(passwd: &str, group: &str, everything: Option<Owner>) -> Self {
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1)?.to_owned();
            let owner = everything.unwrap_or(Owner { uid, gid });
            Some((name.to_owned(), User { owner, home, is_root: uid == 0 }))
        });
        let groups = group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
        });
        Self { users: first_of_each(users), groups: first_of_each(groups), everything }
    }

    pub(crate) fn user(&self, name: &UserName) -> Option<&User> {
        self.users.get(name.as_str())
    }

    /// Returns true if this user's keys let somebody log in as root: the user is root, or has root's home.
    pub(crate) fn logs_in_as_root(&self, name: &UserName) -> bool {
        let is_roots = |home: &str| self.root_homes().any(|of_root| of_root == home);
        self.user(name).is_some_and(|user| user.is_root || is_roots(&user.home))
    }

    /// Returns the homes of every user that is root.
    pub(crate) fn root_homes(&self) -> impl Iterator<Item = &str> {
        self.users.values().filter(|user| user.is_root).map(|user| user.home.as_str())
    }

    /// Returns the id of a group.
    pub(crate) fn group(&self, name: &UserName) -> Option<u32> {
        let gid = self.groups.get(name.as_str()).copied()?;
        Some(self.everything.map_or(gid, |owner| owner.gid))
    }

    /// Returns the default owner.
    pub(crate) fn root(&self) -> Owner {
        self.everything.unwrap_or(Owner { uid: 0, gid: 0 })
    }
}

/// Keeps the first of two entries with equal names (getpwnam(3)).
fn first_of_each<T>(entries: impl Iterator<Item = (String, T)>) -> BTreeMap<String, T> {
    let mut first = BTreeMap::new();
    for (name, value) in entries {
        first.entry(name).or_insert(value);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken:x:5\n\nada:x:1000:1001::/home/ada:/bin/sh\n\
                          ada:x:0:0::/root:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:ada\n";

    fn name(name: &str) -> UserName {
        name.parse().unwrap()
    }

    #[test]
    fn users_and_groups_are_those_of_the_root() {
        let accounts = Accounts::parse(PASSWD, GROUP, None);
        let ada = accounts.user(&name("ada")).unwrap();
        let owner = Owner { uid: 1000, gid: 1001 };
        assert_eq!(*ada, User { owner, home: "/home/ada".to_owned(), is_root: false });
        assert_eq!(accounts.group(&name("adm")), Some(4));
        assert_eq!(accounts.user(&name("broken")), None);
        assert_eq!(accounts.group(&name("ada")), None);
    }

    #[test]
    fn whoever_has_the_number_or_the_home_of_root_logs_in_as_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/srv:/bin/sh\nops:x:9:9::/root:/bin/sh\n\
                      ada:x:1000:1000::/home/ada:/bin/sh\n";
        let me = Owner { uid: 1000, gid: 1000 };
        for accounts in [Accounts::parse(passwd, "", None), Accounts::parse(passwd, "", Some(me))] {
            let as_root =
                ["root", "toor", "ops", "ada", "nobody"].map(|user| accounts.logs_in_as_root(&name(user)));
            assert_eq!(as_root, [true, true, true, false, false]);
        }
    }

    #[test]
    fn without_root_everything_belongs_to_whoever_runs_the_agent() {
        let me = Owner { uid: 7, gid: 8 };
        let accounts = Accounts::parse(PASSWD, GROUP, Some(me));
        assert_eq!(accounts.user(&name("ada")).unwrap().owner, me);
        assert_eq!((accounts.group(&name("adm")), accounts.root()), (Some(8), me));
    }
}
