//! The client side of TLS towards GitHub and AWS: the system's certificate authorities, and those of a `ca_file`.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The client side of TLS, with aws-lc-rs.
///
/// # Errors
/// When the `ca_file` cannot be read or holds no certificate.
pub fn config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let roots = match ca_file {
        None => Arc::clone(system_roots()),
        Some(file) => Arc::new(with_file(RootCertStore::clone(system_roots()), file)?),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS version is usable: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Read once for all connections; an unreadable one is left out, as a server that needs it is refused by name.
fn system_roots() -> &'static Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            tracing::warn!(
                "the system has no certificate authorities: TLS works with a ca_file only; install ca-certificates"
            );
        }
        Arc::new(roots)
    })
}

fn with_file(mut roots: RootCertStore, file: &Path) -> Result<RootCertStore, String> {
    let problem = |what: String| format!("ca_file {}: {what}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| problem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(problem("holds no certificate in PEM form".to_owned()));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| problem(error.to_string()))?;
    }
    Ok(roots)
}
