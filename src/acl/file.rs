//! How are users read from an ACL file? Lines of `user NAME RULE ...`, all of them good or none taken.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};

use crate::acl::selector::Fault;
use crate::acl::user::{Bad, Setting, User, is_name, join_selectors};
use crate::config::values::reason;
use crate::error::clip;

/// The largest file that is read.
const MAX_BYTES: u64 = 64 << 20;

/// The text of a file.
///
/// # Errors
/// Why it cannot be read.
pub fn read(path: &str) -> Result<Vec<u8>, String> {
    let whole = |file: File| {
        let mut text = Vec::new();
        let taken = file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
        if taken as u64 > MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    };
    File::open(path)
        .and_then(whole)
        .map_err(|error| format!("Error loading ACLs, opening file '{path}': {}", reason(&error)))
}

/// Reads the users from the text of a file; there are no quotes in it. `id_of` gives the id of a user by its name.
///
/// # Errors
/// All that is wrong, in one line.
pub fn parse(
    text: &[u8],
    path: &str,
    setting: Setting<'_>,
    mut id_of: impl FnMut(&[u8]) -> u64,
) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    let mut seen = HashSet::new();
    let mut faults = String::new();
    for (n, line) in text.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let place = format!("{path}:{}", n + 1);
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let [b"user", name, rules @ ..] = words.as_slice() else {
            faults += &format!("{place} should start with user keyword followed by the username. ");
            continue;
        };
        let shown = clip(name, 128);
        if !is_name(name) {
            faults += &format!("'{place}: username '{shown}' contains invalid characters. ");
            continue;
        }
        if !seen.insert(name.to_vec()) {
            faults += &format!("WARNING: Duplicate user '{shown}' found on line {}. ", n + 1);
            continue;
        }
        let mut user = User::new(id_of(name), name, setting);
        faults += &faults_of(&mut user, rules, &place, setting);
        users.push(user);
    }
    if faults.is_empty() {
        return Ok(users);
    }
    Err(faults + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
}

/// Applies the rules of a line and says what is wrong with them. Unknown commands are named; of other faults only
/// the first is told, since rules may hold secrets.
fn faults_of(user: &mut User, rules: &[&[u8]], place: &str, setting: Setting<'_>) -> String {
    let rules = match join_selectors(rules) {
        Ok(rules) => rules,
        Err(Bad::Open(_) | Bad::Rule(..)) => {
            return format!("{place}: Unmatched parenthesis in selector definition.");
        }
    };
    let (mut faults, mut told) = (String::new(), false);
    for rule in rules {
        match user.apply(rule.trim_ascii(), setting) {
            Ok(()) => {}
            Err(fault @ Fault::Unknown) => {
                let rule = String::from_utf8_lossy(&rule);
                faults += &format!("{place}: Error in applying operation '{rule}': {}. ", fault.text());
            }
            Err(fault) if !told => {
                faults += &format!("{place}: {}. ", fault.text());
                told = true;
            }
            Err(_) => {}
        }
    }
    faults
}
