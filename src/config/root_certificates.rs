//! Files with the certificates of authorities: `webhook.tls_root_cert` and `channels.mail.tls_root_cert`.

use crate::pipeline::channel::http_client::Certificate;

/// The content of a file, which has at least one certificate.
pub(super) struct RootCertificates {
    pub(super) pem: Vec<u8>,
    pub(super) certificates: Vec<Certificate>,
}

/// Reads the file that `key` names; none for an empty path.
pub(super) fn read(key: &str, path: &str) -> Result<Option<RootCertificates>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let invalid = |problem: String| format!("{key} is {path:?}: {problem}");
    let pem = std::fs::read(path).map_err(|error| invalid(format!("it cannot be read: {error}")))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(Some(RootCertificates { pem, certificates })),
        _ => Err(invalid("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned())),
    }
}
