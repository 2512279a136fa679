//! TLS in front of a receiver, with generated certificates, valid and invalid.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::receiver::Receiver;

/// A certificate authority that is not in the system's trust store. Dropping it removes its file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = std::env::temp_dir().join(format!("bday-ca-{}.pem", uuid::Uuid::now_v7()));
        std::fs::write(&pem, in_pem("CERTIFICATE", certificate.der())).unwrap();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns the path of its certificate, in PEM.
    pub(crate) fn file(&self) -> &str {
        self.pem.to_str().unwrap()
    }

    /// Issues a certificate for `name`, a host name or an address, that expires on 1 January of the year `until`.
    pub(crate) fn certify(&self, name: &str, until: i32) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certified { certificate: certificate.der().clone(), key: key.into() }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.pem));
    }
}

/// A certificate and its key.
pub(crate) struct Certified {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certified {
    /// Writes the certificate and the key to `folder`, in PEM. Returns their paths.
    pub(crate) fn write(&self, folder: &Path) -> [String; 2] {
        [("CERTIFICATE", self.certificate.as_ref()), ("PRIVATE KEY", self.key.secret_der())].map(
            |(label, der)| {
                let file = folder.join(format!("{label}.pem"));
                std::fs::write(&file, in_pem(label, der)).unwrap();
                file.to_str().unwrap().to_owned()
            },
        )
    }
}

/// Terminates TLS, and forwards the connections to a receiver.
pub(crate) struct TlsFront {
    address: SocketAddr,
    _stop: DropGuard,
}

impl TlsFront {
    pub(crate) async fn before(receiver: &Receiver, certified: Certified) -> Self {
        Self::before_address(receiver.address(), certified).await
    }

    pub(crate) async fn before_address(behind: SocketAddr, certified: Certified) -> Self {
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.certificate], certified.key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (tasks, token) = (TaskTracker::new(), stop.clone());
        let children = tasks.clone();
        tasks.spawn(async move {
            while let Some(Ok((outside, _))) = token.run_until_cancelled(listener.accept()).await {
                let (acceptor, token) = (acceptor.clone(), token.clone());
                children.spawn(async move {
                    let carry = async {
                        // Fails if the client rejects the certificate.
                        let mut outside = acceptor.accept(outside).await?;
                        let mut inside = TcpStream::connect(behind).await?;
                        tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                    };
                    drop(token.run_until_cancelled(carry).await);
                });
            }
        });
        Self { address, _stop: stop.drop_guard() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the webhook URL with the host name `host`.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/hook", self.address.port())
    }
}

fn in_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
