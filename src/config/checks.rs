//! Which texts may a setting not hold?

/// A file name without a directory.
fn is_base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

/// The name of the snapshot file.
///
/// # Errors
/// What the client is told.
pub fn dbfilename(name: &str) -> Result<(), &'static str> {
    if is_base_name(name) { Ok(()) } else { Err("dbfilename can't be a path, just a filename") }
}

/// The name that append-only files begin with.
///
/// # Errors
/// What the client is told.
pub fn appendfilename(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        _ if !is_base_name(name) => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

/// The directory of append-only files.
///
/// # Errors
/// What the client is told.
pub fn appenddirname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        _ if !is_base_name(name) => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

/// A host name to announce.
///
/// # Errors
/// What the client is told.
pub fn hostname(name: &str) -> Result<(), &'static str> {
    if name.len() >= 256 {
        Err("Hostnames must be less than 256 characters")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    } else {
        Ok(())
    }
}

/// A node name for people: it goes into the space- and comma-separated nodes file.
///
/// # Errors
/// What the client is told.
pub fn nodename(name: &str) -> Result<(), &'static str> {
    if name.contains(|byte: char| "!#$%&()*+:;<>?@[]^{|}~".contains(byte)) {
        Err("Announced human node name contained invalid character")
    } else {
        Ok(())
    }
}

/// A locale such as `C`, `de_DE` or `en_US.UTF-8@x`; empty is that of the environment.
///
/// # Errors
/// What the client is told.
pub fn locale(name: &str) -> Result<(), &'static str> {
    const PLAIN: [&str; 3] = ["", "C", "POSIX"];
    let (place, encoding) = name.split_once(['.', '@']).unwrap_or((name, ""));
    let named = place.split_once('_').is_some_and(|(language, country)| {
        matches!(language.len(), 2 | 3)
            && language.bytes().all(|b| b.is_ascii_lowercase())
            && country.len() == 2
            && country.bytes().all(|b| b.is_ascii_uppercase())
    });
    let clean = encoding.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'@'));
    if (PLAIN.contains(&place) || named) && clean { Ok(()) } else { Err("Invalid locale name") }
}

/// A process title with `{variables}`; `{{` is a brace.
///
/// # Errors
/// What the client is told.
pub fn title(template: &str) -> Result<(), &'static str> {
    const INVALID: &str = "template format is invalid or contains unknown variables";
    const VARIABLES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        if let Some(after) = after.strip_prefix('{') {
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(INVALID)?;
        if !VARIABLES.contains(&name) {
            return Err(INVALID);
        }
        rest = after;
    }
    // The title itself may be empty.
    if template.replace("{title}", "").trim_matches(' ').is_empty() { Err(INVALID) } else { Ok(()) }
}
