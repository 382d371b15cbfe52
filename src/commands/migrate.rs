//! How do keys go to another server? MIGRATE: they are dumped here, restored there, and deleted here if that went well.
//!
//! The keys stay locked, and the thread waits, until the other server has answered: nobody sees a key in both places.

use std::io;
use std::time::Duration;

use crate::cluster::courier::{Link, is_timeout};
use crate::commands::prelude::*;
use crate::log::entry::encode_command;
use crate::persist::rdb;
use crate::persist::rdb::encode::Encoder;

/// The family's rows.
pub const COMMANDS: &[Command] = &[Command::new("migrate", migrate)
    .find_keys(migrated_keys)
    .arity(-6)
    .flags(WRITE | MOVABLE_KEYS)
    .acl(KEYSPACE | DANGEROUS)
    .keys(&[
        one(RW | ACCESS | DELETE, 3),
        after(RW | ACCESS | DELETE | INCOMPLETE, "KEYS", -2, -1, 1, 0),
    ])
    .tips(&["nondeterministic_output"])
    .doc(
        "generic",
        "2.6.0",
        "That of DUMP and DEL here and of RESTORE there, and O(N) for sending N bytes.",
        "Moves keys to another server, all or those that it takes.",
        "host:str port:int key-selector(key:key@0 | \"\"=empty-string) destination-db:int timeout:int [COPY^3.0.0] \
         [REPLACE^3.0.0] [authentication(AUTH auth/password:str^4.0.7 | AUTH2 auth2{username:str \
         password:str}^6.0.0)] [KEYS keys/key:key@1^3.0.6...]",
    )];

/// The keys are what follows KEYS, or else the third argument.
fn migrated_keys(argv: &[&[u8]], keys: &mut Vec<KeyAt>) -> Option<()> {
    let flags = RW | ACCESS | DELETE;
    let is = |at: usize, word: &[u8]| argv.get(at).is_some_and(|a| a.eq_ignore_ascii_case(word));
    let mut at = 6;
    while at < argv.len() {
        if is(at, b"keys") && argv.get(3).is_some_and(|key| key.is_empty()) {
            keys.extend((at + 1..argv.len()).map(|index| KeyAt { index, flags }));
            return Some(());
        }
        at += if is(at, b"auth") {
            2
        } else if is(at, b"auth2") {
            3
        } else {
            1
        };
    }
    argv.get(3)?;
    keys.push(KeyAt { index: 3, flags });
    Some(())
}

/// What MIGRATE is asked for.
struct Options<'a> {
    copy: bool,
    replace: bool,
    /// User and password, or the password alone.
    auth: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
}

fn options<'a>(args: &mut Args<'a>, key: &'a [u8]) -> Result<Options<'a>> {
    let mut o = Options { copy: false, replace: false, auth: Vec::new(), keys: vec![key] };
    while args.left() > 0 {
        if args.word("copy") {
            o.copy = true;
        } else if args.word("replace") {
            o.replace = true;
        } else if args.left() > 1 && args.word("auth") {
            o.auth = vec![args.next()?];
        } else if args.left() > 2 && args.word("auth2") {
            o.auth = vec![args.next()?, args.next()?];
        } else if args.word("keys") {
            if !key.is_empty() {
                return Err(Error::new(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ));
            }
            o.keys = args.take_rest().to_vec();
        } else {
            return Err(error::SYNTAX);
        }
    }
    Ok(o)
}

fn migrate(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (host, port, key) = (args.next()?, args.next()?, args.next()?);
    let (db, timeout) = (args.next()?, args.next()?);
    let options = options(args, key)?;
    let number = |text| crate::util::number::parse_i64(text).ok_or(error::NOT_INTEGER);
    let (timeout, db) = (number(timeout)?, number(db)?);
    let timeout = Duration::from_millis(u64::try_from(timeout).ok().filter(|ms| *ms > 0).unwrap_or(1000));
    let restores = restores(ctx, &options);
    if restores.is_empty() {
        out.simple("NOKEY");
        return Ok(());
    }
    let to = Destination { host: &String::from_utf8_lossy(host), port: number(port)?, db, timeout };
    let mut sent = to.send(ctx, &options, &restores);
    // A connection that was kept may have been closed over there meanwhile.
    if sent.as_ref().is_err_and(|broken| broken.again) {
        sent = to.send(ctx, &options, &restores);
    }
    sent.map_err(|broken| broken.error)?;
    out.ok();
    Ok(())
}

/// Why the keys, or some of them, have not gone.
struct Broken {
    error: Error,
    /// Another connection may do better: no key has been answered for.
    again: bool,
}

fn cannot_write(error: io::Error) -> Broken {
    let text = Error::new("IOERR error or timeout writing to target instance");
    Broken { error: text, again: !is_timeout(&error) }
}

fn cannot_read(error: io::Error) -> Broken {
    let text = Error::new("IOERR error or timeout reading from target instance");
    Broken { error: text, again: !is_timeout(&error) }
}

fn refusal(why: &str) -> Broken {
    Broken { error: Error::text(format!("ERR Target instance replied with error: {why}")), again: false }
}

/// Where the keys go.
struct Destination<'a> {
    host: &'a str,
    port: i64,
    db: i64,
    timeout: Duration,
}

impl Destination<'_> {
    /// Sends the keys over a connection that is kept afterwards, unless it fails.
    fn send(
        &self,
        ctx: &mut Ctx<'_>,
        options: &Options<'_>,
        restores: &[(&[u8], Vec<u8>)],
    ) -> std::result::Result<(), Broken> {
        let links = &ctx.core.couriers;
        let text = Error::new("IOERR error or timeout connecting to the client");
        let unreachable = Broken { error: text, again: false };
        let Ok(port) = u16::try_from(self.port) else { return Err(unreachable) };
        let Ok(mut link) = links.take(self.host, port, self.timeout) else { return Err(unreachable) };
        let refused = match self.prepare(&mut link, &options.auth)? {
            Some(refused) => Some(refused),
            None => restore(ctx, &mut link, restores, options.copy)?,
        };
        link.db = refused.is_none().then_some(self.db);
        links.keep(self.host, port, link);
        refused.map_or(Ok(()), Err)
    }

    /// Logs in and selects the database, if that is to be done; before that has been answered no key is sent. Returns
    /// the refusal.
    fn prepare(&self, link: &mut Link, auth: &[&[u8]]) -> std::result::Result<Option<Broken>, Broken> {
        let mut commands = Vec::new();
        if !auth.is_empty() {
            commands.push(encode_command(&[&[b"AUTH".as_slice()], auth].concat()));
        }
        if link.db != Some(self.db) {
            commands.push(encode_command(&[b"SELECT".as_slice(), self.db.to_string().as_bytes()]));
        }
        for command in commands {
            link.send(&command).map_err(cannot_write)?;
            if let Err(why) = link.answer().map_err(cannot_read)? {
                return Ok(Some(refusal(&why)));
            }
        }
        Ok(None)
    }
}

/// For each key that exists, the command that makes it there.
fn restores<'k>(ctx: &mut Ctx<'_>, options: &Options<'k>) -> Vec<(&'k [u8], Vec<u8>)> {
    let compress = ctx.config().rdbcompression;
    let restore: &[u8] = if ctx.config().cluster_enabled { b"RESTORE-ASKING" } else { b"RESTORE" };
    let now = ctx.now_ms();
    let mut commands = Vec::new();
    for &name in &options.keys {
        let key = ctx.key(name);
        let Some(expiry) = ctx.expiry(&key) else { continue };
        let Some(view) = ctx.view(&key) else { continue };
        let payload = Encoder::new(rdb::VERSION, compress).dump(&view);
        let ttl = expiry.map_or(0, |at| at.saturating_sub(now).max(1)).to_string();
        let mut argv = vec![restore, name, ttl.as_bytes(), &payload];
        if options.replace {
            argv.push(b"REPLACE");
        }
        commands.push((name, encode_command(&argv)));
    }
    commands
}

/// Sends the keys and reads the answers. A key that the other server has taken is deleted, unless it is a copy. Returns
/// the first refusal.
fn restore(
    ctx: &mut Ctx<'_>,
    link: &mut Link,
    restores: &[(&[u8], Vec<u8>)],
    copy: bool,
) -> std::result::Result<Option<Broken>, Broken> {
    restores.iter().try_for_each(|(_, command)| link.send(command)).map_err(cannot_write)?;
    let mut refused = None;
    let mut gone: Vec<&[u8]> = vec![b"DEL"];
    let mut end = Ok(());
    for (n, (name, _)) in restores.iter().enumerate() {
        match link.answer() {
            Ok(Ok(())) => {
                let key = ctx.key(name);
                if !copy && ctx.remove(&key) {
                    ctx.changed(&key, event::GENERIC, "del");
                    gone.push(name);
                }
            }
            Ok(Err(why)) => refused = refused.or(Some(refusal(&why))),
            Err(error) => {
                let broken = cannot_read(error);
                end = Err(Broken { again: broken.again && n == 0, ..broken });
                break;
            }
        }
    }
    match gone.len() {
        1 => ctx.propagate_nothing(),
        _ => ctx.propagate_as(&gone),
    }
    match (refused, end) {
        (Some(refused), Err(_)) => Err(refused),
        (refused, end) => end.map(|()| refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_the_options_say() {
        let keys = |text: &str| {
            let argv: Vec<&[u8]> =
                text.split(' ').map(|w| if w == "-" { b"" } else { w.as_bytes() }).collect();
            let mut found = Vec::new();
            migrated_keys(&argv, &mut found).map(|()| found.iter().map(|k| k.index).collect::<Vec<_>>())
        };
        assert_eq!(keys("MIGRATE h 1 k 0 10"), Some(vec![3]));
        assert_eq!(keys("MIGRATE h 1 - 0 10 COPY KEYS a b"), Some(vec![8, 9]));
        assert_eq!(keys("MIGRATE h 1 - 0 10 AUTH keys KEYS a"), Some(vec![9]));
        assert_eq!(keys("MIGRATE h 1 - 0 10 AUTH2 keys keys KEYS a"), Some(vec![10]));
    }
}
