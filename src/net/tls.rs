//! Whom does the server prove itself to, and who must prove themselves? The TLS set-up from the `tls-*` settings.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use rustls_pemfile::Item;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::config::Config;
use crate::config::choices::TlsAuthClients;
use crate::net::listener::TlsAcceptor;

/// Reads the files that the settings name.
///
/// # Errors
/// Names the file that is missing or makes no sense.
pub fn acceptor(config: &Config) -> io::Result<TlsAcceptor> {
    let certificates = certificates(&config.tls_cert_file)?;
    let key = private_key(&config.tls_key_file)?;
    let builder = ServerConfig::builder_with_protocol_versions(&versions(&config.tls_protocols));
    let builder = match config.tls_auth_clients {
        TlsAuthClients::No => builder.with_no_client_auth(),
        asked => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(config)?));
            let verifier =
                if asked == TlsAuthClients::Optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(io::Error::other)?)
        }
    };
    let mut server = builder.with_single_cert(certificates, key).map_err(io::Error::other)?;
    server.session_storage = if config.tls_session_caching {
        ServerSessionMemoryCache::new(usize::try_from(config.tls_session_cache_size).unwrap_or(0).max(1))
    } else {
        Arc::new(NoServerSessionStorage {})
    };
    Ok(TlsAcceptor(Arc::new(server).into()))
}

/// `tls-protocols`: 1.2 and 1.3 unless it says less.
fn versions(names: &str) -> Vec<&'static SupportedProtocolVersion> {
    let names = names.to_ascii_lowercase();
    let mut versions = Vec::new();
    if names.is_empty() || names.contains("tlsv1.2") {
        versions.push(&TLS12);
    }
    if names.is_empty() || names.contains("tlsv1.3") || versions.is_empty() {
        versions.push(&TLS13);
    }
    versions
}

/// Says which file an error is about.
fn about(path: &str, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("Failed to load TLS file '{path}': {error}"))
}

fn items(path: &str) -> io::Result<Vec<Item>> {
    let file = std::fs::File::open(path).map_err(|error| about(path, error))?;
    rustls_pemfile::read_all(&mut BufReader::new(file)).collect::<Result<_, _>>().map_err(|e| about(path, e))
}

fn certificates(path: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = items(path)?
        .into_iter()
        .filter_map(|item| if let Item::X509Certificate(der) = item { Some(der) } else { None })
        .collect();
    if found.is_empty() { Err(about(path, "it holds no certificate")) } else { Ok(found) }
}

fn private_key(path: &str) -> io::Result<PrivateKeyDer<'static>> {
    let key = items(path)?.into_iter().find_map(|item| match item {
        Item::Pkcs1Key(key) => Some(key.into()),
        Item::Pkcs8Key(key) => Some(key.into()),
        Item::Sec1Key(key) => Some(key.into()),
        _ => None,
    });
    key.ok_or_else(|| about(path, "it holds no private key that can be read without a password"))
}

/// The authorities that clients' certificates must come from.
fn roots(config: &Config) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let mut add = |path: &str| -> io::Result<()> {
        certificates(path)?.into_iter().try_for_each(|der| roots.add(der).map_err(|error| about(path, error)))
    };
    if !config.tls_ca_cert_file.is_empty() {
        add(&config.tls_ca_cert_file)?;
    }
    if !config.tls_ca_cert_dir.is_empty() {
        let dir = config.tls_ca_cert_dir.to_string();
        for entry in std::fs::read_dir(Path::new(&dir)).map_err(|error| about(&dir, error))? {
            let path = entry?.path();
            if path.is_file() {
                add(&path.display().to_string())?;
            }
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
             tls-auth-clients are enabled!",
        ));
    }
    Ok(roots)
}
