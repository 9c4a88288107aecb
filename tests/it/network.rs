//! What the tests of ports share: clients over TCP and TLS, certificates made for one test, requests
//! written by hand so that they can be wrong.

use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, crypto,
};

use crate::support::{DEADLINE, Daemon, write};

/// A file that only its owner can read.
pub fn secret(dir: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = dir.join(name);
    write(&path, text);
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
}

/// An authority and what it has signed.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for localhost and its key.
    pub fn sign(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a pair, `cert.pem` and `key.pem`.
    pub fn serve(&self, dir: &Path) {
        let (cert, key) = self.sign();
        secret(dir, "cert.pem", cert);
        secret(dir, "key.pem", key);
    }

    /// A client that trusts this authority alone, with a certificate of its own if it has one.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(String, String)>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM");
        roots.add(root).expect("a certificate");
        let builder =
            ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_protocol_versions(versions)
                .expect("versions")
                .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder
                    .with_client_auth_cert(vec![cert], key)
                    .expect("a pair")
            }
        })
    }
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    stream
}

pub fn tls(address: SocketAddr, client: &Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a client");
    StreamOwned::new(connection, connect(address))
}

/// Writes and reads to the end; what came before an error counts.
pub fn talk(stream: &mut (impl Read + Write), request: &[u8]) -> String {
    let mut answer = Vec::new();
    if stream
        .write_all(request)
        .and_then(|()| stream.flush())
        .is_ok()
    {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(n @ 1..) => answer.extend_from_slice(&buffer[..n]),
                // A stop and a continue of the whole process cut a read with a timeout short.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
}

pub fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

pub fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {answer:?}"))
}

/// The answer is an error as JSON with this status.
pub fn refused(answer: &str, want: u16) {
    assert_eq!(status(answer), want, "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.to_lowercase()
            .contains("content-type: application/json"),
        "{answer}"
    );
    let body: serde_json::Value = serde_json::from_str(body).expect(body);
    assert!(body["error"].as_str().is_some_and(|e| !e.is_empty()));
}

pub fn denied(daemon: &Daemon, listener: &str, reason: &str, value: f64) {
    let series = format!("learnd_denied_total{{listener=\"{listener}\",reason=\"{reason}\"}}");
    daemon.wait_metric(&series, value);
}
