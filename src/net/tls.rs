//! TLS: certificates from files, exchanged while running.
//!
//! Invariant: a new pair is used as soon as it is whole and fits together; a bad one is told of once
//! and the one before stays in use.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto, version};
use tokio_rustls::server::TlsStream;

use super::TlsFiles;
use super::files::{self, Fingerprint, Readers, Unusable, Wrong};
use super::stats::{Denial, GuardStats};

/// How long a handshake may take, counted from accept.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes of one listener at once: they are what costs most.
const MOST_HANDSHAKES: usize = 256;
/// Files are looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// TLS of one listener.
pub(super) struct Tls {
    files: TlsFiles,
    protocols: Vec<Vec<u8>>,
    state: Mutex<State>,
    handshakes: Semaphore,
    stats: Arc<GuardStats>,
}

struct State {
    acceptor: TlsAcceptor,
    fingerprints: [Option<Fingerprint>; 3],
    looked: Instant,
}

impl Tls {
    /// Reads the files. `protocols` are those that a client may name (ALPN); none: any.
    pub(super) fn open(
        files: &TlsFiles,
        protocols: &[&str],
        stats: &Arc<GuardStats>,
    ) -> Result<Tls, Unusable> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let fingerprints = fingerprints(files);
        let acceptor = load(files, &protocols)?;
        Ok(Tls {
            files: files.clone(),
            protocols,
            state: Mutex::new(State {
                acceptor,
                fingerprints,
                looked: Instant::now(),
            }),
            handshakes: Semaphore::new(MOST_HANDSHAKES),
            stats: Arc::clone(stats),
        })
    }

    /// The handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Denial> {
        let handshake = async {
            let permit = self.handshakes.acquire().await.ok();
            let stream = self.acceptor().accept(stream).await;
            drop(permit);
            stream
        };
        match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                Err(Denial::Tls)
            }
            Err(_) => Err(Denial::Timeout),
        }
    }

    /// The one for new connections.
    fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let now = fingerprints(&self.files);
            if now != state.fingerprints {
                state.fingerprints = now;
                self.reload(&mut state);
            }
        }
        state.acceptor.clone()
    }

    fn reload(&self, state: &mut State) {
        let cert = self.files.cert.display();
        match load(&self.files, &self.protocols) {
            Ok(acceptor) => {
                state.acceptor = acceptor;
                self.stats.tls_reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%cert, "certificates were read again");
            }
            Err(Unusable { message, help, .. }) => {
                let failures = &self.stats.tls_reload_failures;
                failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%cert, help, "the certificates read before stay: {message}");
            }
        }
    }
}

fn fingerprints(files: &TlsFiles) -> [Option<Fingerprint>; 3] {
    [
        Some(&files.cert),
        Some(&files.key),
        files.client_ca.as_ref(),
    ]
    .map(|path| path.and_then(|p| files::fingerprint(p)))
}

fn load(files: &TlsFiles, protocols: &[Vec<u8>]) -> Result<TlsAcceptor, Unusable> {
    let of = |key| {
        move |(message, help): Wrong| Unusable {
            key,
            index: 0,
            message,
            help,
        }
    };
    let chain = certificates(&files.cert).map_err(of("cert"))?;
    let key = private_key(&files.key).map_err(of("key"))?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has the suites of both versions");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let shown = path.display();
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path).map_err(of("client_ca"))? {
                roots.add(certificate).map_err(|error| {
                    let message = format!("{shown} is no authority's certificate: {error}");
                    of("client_ca")((
                        message,
                        "name the certificate that signs the clients'".into(),
                    ))
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| {
                    let message = format!("{shown}: {error}");
                    of("client_ca")((
                        message,
                        "name the certificate that signs the clients'".into(),
                    ))
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let (cert, key) = (files.cert.display(), files.key.display());
        let message = format!("{cert} and {key} do not go together: {error}");
        let help = "`key` is the private key of the first certificate in `cert`";
        of("key")((message, help.into()))
    })?;
    config.alpn_protocols = protocols.to_vec();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let bytes = files::read(path, Readers::Anyone)?;
    let shown = path.display();
    let help = || "it is PEM: -----BEGIN CERTIFICATE-----".to_owned();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    // The error is left out: it may quote what the file holds.
    let chain = chain.map_err(|_| (format!("{shown} is not well-formed PEM"), help()))?;
    if chain.is_empty() {
        return Err((format!("{shown} has no certificate in it"), help()));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Wrong> {
    let bytes = files::read(path, Readers::OwnerAndGroup)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let help = "it is PEM: -----BEGIN PRIVATE KEY-----, without a passphrase".to_owned();
        (format!("{} has no private key in it", path.display()), help)
    })
}
