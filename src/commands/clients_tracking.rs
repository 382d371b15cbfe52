//! How does a client say what it caches? CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR.

use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::client::registry::{
    TRACKING, TRACKING_BCAST, TRACKING_BROKEN, TRACKING_CACHING, TRACKING_NOLOOP, TRACKING_OPTIN,
    TRACKING_OPTOUT,
};
use crate::commands::prelude::*;

/// The options of CLIENT TRACKING.
#[derive(Default)]
struct Options<'a> {
    redirect: u64,
    /// A union of state bits.
    modes: u32,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(ctx: &Ctx<'_>, args: &mut Args<'a>) -> Result<Self> {
        let mut options = Options::default();
        while args.left() > 0 {
            if args.left() > 1 && args.word("redirect") {
                if options.redirect != 0 {
                    return Err(Error::new("ERR A client can only redirect to a single other client"));
                }
                let id = u64::try_from(args.int()?).ok().filter(|id| ctx.core.clients.get(*id).is_some());
                options.redirect =
                    id.ok_or(Error::new("ERR The client ID you want redirect to does not exist"))?;
            } else if args.left() > 1 && args.word("prefix") {
                options.prefixes.push(args.next()?);
            } else if args.word("bcast") {
                options.modes |= TRACKING_BCAST;
            } else if args.word("optin") {
                options.modes |= TRACKING_OPTIN;
            } else if args.word("optout") {
                options.modes |= TRACKING_OPTOUT;
            } else if args.word("noloop") {
                options.modes |= TRACKING_NOLOOP;
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(options)
    }

    fn has(&self, mode: u32) -> bool {
        self.modes & mode != 0
    }

    /// Whether the options fit together and the client's present state.
    fn check(&self, ctx: &Ctx<'_>) -> Result {
        let client = &ctx.session.client;
        let (optin, optout) = (self.has(TRACKING_OPTIN), self.has(TRACKING_OPTOUT));
        if !self.has(TRACKING_BCAST) && !self.prefixes.is_empty() {
            return Err(Error::new("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if client.has(TRACKING) && client.has(TRACKING_BCAST) != self.has(TRACKING_BCAST) {
            return Err(Error::new(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            ));
        }
        if self.has(TRACKING_BCAST) && (optin || optout) {
            return Err(Error::new("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if optin && optout {
            return Err(Error::new("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if (optin && client.has(TRACKING_OPTOUT)) || (optout && client.has(TRACKING_OPTIN)) {
            return Err(Error::new(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                 re-enabling it with a different mode.",
            ));
        }
        self.check_prefixes(ctx)
    }

    /// A key must not be announced twice to one client.
    fn check_prefixes(&self, ctx: &Ctx<'_>) -> Result {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let fault = |new: &[u8], which: &str, other: &[u8]| {
            Err(Error::text(format!(
                "ERR Prefix '{}' overlaps with {which} prefix '{}'. Prefixes for a single client must not overlap.",
                error::clip(new, 512),
                error::clip(other, 512)
            )))
        };
        for (i, new) in self.prefixes.iter().enumerate() {
            if let Some(old) = ctx.session.prefixes.iter().find(|old| overlap(old, new)) {
                return fault(new, "an existing", old);
            }
            let rest = self.prefixes.get(i + 1..).unwrap_or_default();
            if let Some(other) = rest.iter().find(|other| overlap(other, new)) {
                return fault(new, "another provided", other);
            }
        }
        Ok(())
    }
}

pub(super) fn tracking(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let status = args.next()?;
    let options = Options::parse(ctx, args)?;
    if status.eq_ignore_ascii_case(b"on") {
        options.check(ctx)?;
        enable(ctx, &options);
    } else if status.eq_ignore_ascii_case(b"off") {
        disable(ctx);
    } else {
        return Err(error::SYNTAX);
    }
    out.ok();
    Ok(())
}

fn enable(ctx: &mut Ctx<'_>, options: &Options<'_>) {
    let tracking = &ctx.core.clients.tracking;
    let session = &mut *ctx.session;
    tracking.enable(&session.client, options.redirect, options.modes);
    if !options.has(TRACKING_BCAST) {
        return;
    }
    let every: &[&[u8]] = &[b""];
    for prefix in if options.prefixes.is_empty() { every } else { &options.prefixes } {
        if session.prefixes.insert((*prefix).into()) {
            session.takes(prefix);
            tracking.listen(&session.client, prefix);
        }
    }
}

/// Ends tracking (CLIENT TRACKING OFF, RESET).
pub(crate) fn disable(ctx: &mut Ctx<'_>) {
    let prefixes = std::mem::take(&mut ctx.session.prefixes);
    prefixes.iter().for_each(|prefix| ctx.session.drops(prefix));
    ctx.core.clients.tracking.disable(&ctx.session.client, prefixes.into_iter());
}

pub(super) fn caching(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let client = &ctx.session.client;
    if !client.has(TRACKING) {
        return Err(Error::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    }
    let (mode, why) = if args.word("yes") {
        (TRACKING_OPTIN, "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    } else if args.word("no") {
        (TRACKING_OPTOUT, "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    } else {
        return Err(error::SYNTAX);
    };
    if !client.has(mode) {
        return Err(Error::new(why));
    }
    client.set(TRACKING_CACHING, true);
    out.ok();
    Ok(())
}

/// Where the client's invalidations go, as clients are told: -1 without tracking, 0 to itself.
fn redirection(client: &Client) -> i64 {
    if client.has(TRACKING) {
        i64::try_from(client.redirect.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    } else {
        -1
    }
}

pub(super) fn getredir(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(redirection(&ctx.session.client));
    Ok(())
}

pub(super) fn trackinginfo(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let client = &ctx.session.client;
    let modes = [
        (TRACKING_BCAST, "bcast"),
        (TRACKING_OPTIN, "optin"),
        (TRACKING_OPTIN | TRACKING_CACHING, "caching-yes"),
        (TRACKING_OPTOUT, "optout"),
        (TRACKING_OPTOUT | TRACKING_CACHING, "caching-no"),
        (TRACKING_NOLOOP, "noloop"),
        (TRACKING_BROKEN, "broken_redirect"),
    ];
    let mut flags = vec![if client.has(TRACKING) { "on" } else { "off" }];
    flags.extend(modes.iter().filter(|(bits, _)| client.has(*bits)).map(|(_, name)| *name));
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.int(redirection(client));
    out.bulk(b"prefixes");
    out.bulks(ctx.session.prefixes.iter());
    Ok(())
}
