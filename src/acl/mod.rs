//! Who may do what? Users and their rules, shared by all threads.
//!
//! ```text
//! Acl ── users ── User ─┬─ passwords
//!                       ├─ root: Selector ── commands, keys, channels
//!                       └─ selectors ...
//! ```
//!
//! A [`User`] never changes. Each connection keeps a [`Login`]: a pointer to its user and the version at which it was
//! the present one. Looking at it costs one load of the version; only after a change is a lock taken to find out what
//! has become of the user.
//!
//! Invariants: changes happen one after another; the version is raised after a change is visible; a user's id stays
//! with it through all changes and is never given to another, so that who logged in as a deleted user never becomes
//! the one that is made later under its name. There is always a default user.

pub mod catalogue;
pub mod file;
pub mod log;
pub mod selector;
pub mod user;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::acl::catalogue::Catalogue;
use crate::acl::log::AclLog;
use crate::acl::user::{Bad, Setting};

pub use crate::acl::selector::{KeyUse, READ, Refusal, WRITE, Wanted};
pub use crate::acl::user::User;

/// The name of the user that every connection begins as.
pub const DEFAULT: &[u8] = b"default";

/// The user of a connection, as it last looked.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user.
    pub user: Arc<User>,
    seen: u64,
}

impl Login {
    /// The login of what the server does by itself: it is never looked at again.
    pub fn internal() -> Self {
        Login { user: Arc::new(User::internal()), seen: 0 }
    }

    /// True when users have changed since: [`Login::renew`] it.
    pub fn is_stale(&self, acl: &Acl) -> bool {
        self.seen != acl.version()
    }

    /// Looks at the user again. False when it has been deleted.
    #[must_use]
    pub fn renew(&mut self, acl: &Acl) -> bool {
        let seen = acl.version();
        let found = acl.user(&self.user.name).filter(|user| user.id == self.user.id);
        match found {
            Some(user) => *self = Login { user, seen },
            None => return false,
        }
        true
    }
}

#[derive(Debug, Default)]
struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    next_id: u64,
}

impl Users {
    /// The id of the user with a name, or the next one.
    fn id_of(&mut self, name: &[u8]) -> u64 {
        match self.by_name.get(name) {
            Some(user) => user.id,
            None => {
                self.next_id += 1;
                self.next_id - 1
            }
        }
    }
}

/// All users.
#[derive(Debug)]
pub struct Acl {
    catalogue: Catalogue,
    users: RwLock<Users>,
    version: AtomicU64,
    /// Connections need not log in: the default user is on and has no password.
    open: AtomicBool,
    /// What was refused.
    pub log: AclLog,
}

/// The ids of the users whose clients have to be looked at after a change: they are gone, or have lost channels.
pub type Affected = Vec<u64>;

impl Acl {
    /// The default user, who may do everything.
    pub fn new(catalogue: Catalogue) -> Self {
        let mut users = Users::default();
        let default = free_default(users.id_of(DEFAULT), &catalogue);
        users.by_name.insert(DEFAULT.into(), Arc::new(default));
        let (version, open) = (AtomicU64::new(1), AtomicBool::new(true));
        Acl { catalogue, users: RwLock::new(users), version, open, log: AclLog::default() }
    }

    /// How often users have changed.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// True when connections need not log in.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The commands that rules speak of.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn setting(&self, all_channels: bool) -> Setting<'_> {
        Setting { catalogue: &self.catalogue, all_channels }
    }

    /// The user with a name.
    pub fn user(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().by_name.get(name).cloned()
    }

    /// All users by name.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.read().by_name.values().cloned().collect()
    }

    /// The login of a new connection: the default user.
    pub fn first_login(&self) -> Login {
        let seen = self.version();
        // There is always one.
        let user = self.user(DEFAULT).unwrap_or_else(|| Arc::new(free_default(0, &self.catalogue)));
        Login { user, seen }
    }

    /// The login with a name and a password, if they are right.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Login> {
        let seen = self.version();
        let user = self.user(name).filter(|user| user.is_enabled() && user.has_password(password))?;
        Some(Login { user, seen })
    }

    /// Makes a change visible.
    fn publish(&self, users: &Users) {
        let default = users.by_name.get(DEFAULT);
        let open = default.is_some_and(|user| user.is_enabled() && user.needs_no_password());
        self.open.store(open, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes a user by rules, or makes one.
    ///
    /// # Errors
    /// The first rule that is none; nothing is changed then.
    pub fn set(&self, name: &[u8], rules: &[&[u8]], all_channels: bool) -> Result<Affected, Bad> {
        let setting = self.setting(all_channels);
        let users = &mut *self.users.write();
        let old = users.by_name.get(name).cloned();
        let new = match &old {
            Some(old) => old.with_rules(rules, setting)?,
            None => User::new(users.next_id, name, setting).with_rules(rules, setting)?,
        };
        if old.is_none() {
            users.next_id += 1;
        }
        let affected = old.filter(|old| new.loses_channels(old)).map(|old| old.id);
        users.by_name.insert(name.into(), Arc::new(new));
        self.publish(users);
        Ok(affected.into_iter().collect())
    }

    /// Defines a user from a configuration file: what was known of it is forgotten.
    ///
    /// # Errors
    /// The first rule that is none.
    pub fn define(&self, name: &[u8], rules: &[&[u8]], all_channels: bool) -> Result<(), Bad> {
        let rules: Vec<&[u8]> = std::iter::once(&b"reset"[..]).chain(rules.iter().copied()).collect();
        self.set(name, &rules, all_channels).map(|_| ())
    }

    /// `requirepass`: the password of the default user, none when it is empty.
    pub fn set_default_password(&self, password: &[u8]) {
        let rule = if password.is_empty() { b"nopass".to_vec() } else { [b">", password].concat() };
        // Both rules always make sense.
        let _ = self.set(DEFAULT, &[b"resetpass", &rule], false);
    }

    /// Deletes users and returns those that were.
    pub fn remove(&self, names: &[&[u8]]) -> Affected {
        let users = &mut *self.users.write();
        let gone = names.iter().filter_map(|name| users.by_name.remove(*name)).map(|user| user.id).collect();
        self.publish(users);
        gone
    }

    /// Reads the users from a file, in place of all that were.
    ///
    /// # Errors
    /// What is wrong with the file; nothing is changed then.
    pub fn load(&self, path: &str, all_channels: bool) -> Result<Affected, String> {
        let text = file::read(path)?;
        let users = &mut *self.users.write();
        let read = file::parse(&text, path, self.setting(all_channels), |name| users.id_of(name))?;
        let mut new: BTreeMap<_, _> =
            read.into_iter().map(|user| (user.name.clone(), Arc::new(user))).collect();
        let default = users.id_of(DEFAULT);
        new.entry(DEFAULT.into()).or_insert_with(|| Arc::new(free_default(default, &self.catalogue)));
        let old = std::mem::replace(&mut users.by_name, new);
        let worse = |old: &Arc<User>| {
            let new = users.by_name.get(&old.name);
            new.is_none_or(|new| new.loses_channels(old))
        };
        let affected = old.values().filter(|user| worse(user)).map(|user| user.id).collect();
        self.publish(users);
        Ok(affected)
    }

    /// What an ACL file of the present users holds.
    pub fn file_text(&self) -> Vec<u8> {
        let lines = self.all().into_iter().map(|user| [&user.line(), &b"\n"[..]].concat());
        lines.collect::<Vec<_>>().concat()
    }

    /// What follows `user` in a configuration file, for each user.
    pub fn directives(&self) -> Vec<Vec<u8>> {
        self.all().into_iter().map(|user| user.directive()).collect()
    }
}

/// The default user as it is at first.
fn free_default(id: u64, catalogue: &Catalogue) -> User {
    let setting = Setting { catalogue, all_channels: true };
    let mut user = User::new(id, DEFAULT, setting);
    for rule in [&b"on"[..], b"nopass", b"~*", b"&*", b"+@all"] {
        // They all make sense.
        let _ = user.apply(rule, setting);
    }
    user
}
