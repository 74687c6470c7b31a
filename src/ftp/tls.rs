//! Encryption: certificates, and streams that may be encrypted (RFC 4217, by rustls).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion,
    RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::config::{Identity, ServerConfig, Trust};
use super::error::{Error, ErrorKind, Result};
use super::tickets::{Tickets, TicketsOf};

/// What the connections to one server need to become encrypted.
#[derive(Debug)]
pub struct TlsContext {
    resumable: Arc<ClientConfig>,
    newest: Arc<ClientConfig>,
    name: ServerName<'static>,
    verifier: Arc<Verifier>,
}

/// What one control connection and its data connections need.
#[derive(Debug)]
pub struct SessionTls {
    /// For the control connection.
    pub control: TlsClient,
    /// For its data connections, which resume its TLS session.
    pub data: TlsClient,
}

/// One end of connections that become encrypted.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    verifier: Arc<Verifier>,
    version: TlsVersion,
    tickets: Arc<Tickets>,
}

/// Which version of TLS a session uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2, whose sessions can be resumed any number of times.
    #[default]
    Resumable,
    /// 1.3, where the server has no other.
    Newest,
}

impl TlsContext {
    /// Loads the certificates that `server` is verified against.
    ///
    /// # Errors
    /// [`ErrorKind::Tls`] if there are none, or a file of `cacert`, `tls_cert` or `tls_key` cannot be read.
    pub fn new(server: &ServerConfig) -> Result<Self> {
        let fail = |detail: String| Error::new(ErrorKind::Tls, "load certificates", detail);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        match &server.trust {
            Trust::Pin(_) => {}
            Trust::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Trust::CaFile(path) => {
                let certificates = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
                    .map_err(|error| fail(format!("{}: {error}", path.display())))?;
                if roots.add_parsable_certificates(certificates).0 == 0 {
                    return Err(fail(format!("{}: no certificate in it", path.display())));
                }
            }
        }
        let pin = match server.trust {
            Trust::Pin(pin) => Some(pin),
            Trust::System | Trust::CaFile(_) => None,
        };
        // Without any authority (a machine without ca-certificates) every certificate is refused, with its fingerprint.
        let chain = if roots.is_empty() {
            None
        } else {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build();
            Some(verifier.map_err(|error| fail(error.to_string()))?)
        };
        let verifier = Arc::new(Verifier {
            chain,
            pin,
            provider: provider.clone(),
            refused: Mutex::new(None),
        });
        let identity = match &server.identity {
            Some(files) => Some(load_identity(files).map_err(fail)?),
            None => None,
        };
        let config = |versions: &[&'static SupportedProtocolVersion]| {
            let builder = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(versions)
                .map_err(|error| fail(error.to_string()))?;
            let verifier = verifier.clone();
            let builder = builder
                .dangerous()
                .with_custom_certificate_verifier(verifier);
            let config = match &identity {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => builder
                    .with_client_auth_cert(chain.clone(), key.clone_key())
                    .map_err(|error| fail(format!("tls_cert, tls_key: {error}")))?,
            };
            Ok(Arc::new(config))
        };
        let newest = config(&[&rustls::version::TLS13])?;
        let resumable = config(&[&rustls::version::TLS12])?;
        let name = ServerName::try_from(server.host.clone()).map_err(|_| {
            fail(format!(
                "{:?} is no name that a certificate can have",
                server.host
            ))
        })?;
        Ok(Self {
            resumable,
            newest,
            name,
            verifier,
        })
    }

    /// What one control connection and its data connections need, in this version of TLS.
    pub fn for_session(&self, version: TlsVersion) -> SessionTls {
        let base = match version {
            TlsVersion::Newest => &self.newest,
            TlsVersion::Resumable => &self.resumable,
        };
        let tickets = Tickets::new();
        let client = |data| {
            let store = TicketsOf {
                tickets: tickets.clone(),
                data,
            };
            let mut config = (**base).clone();
            config.resumption = Resumption::store(Arc::new(store));
            TlsClient {
                config: Arc::new(config),
                name: self.name.clone(),
                verifier: self.verifier.clone(),
                version,
                tickets: tickets.clone(),
            }
        };
        SessionTls {
            control: client(false),
            data: client(true),
        }
    }
}

impl TlsClient {
    /// Whether the next data connection cannot resume the control connection's session by a ticket of that.
    pub fn is_used_up(&self) -> bool {
        self.version == TlsVersion::Newest && self.tickets.are_used_up()
    }

    /// The version of TLS that is used.
    pub fn version(&self) -> TlsVersion {
        self.version
    }

    /// Encrypts `stream`.
    ///
    /// # Errors
    /// [`ErrorKind::Tls`]; for a certificate that is not trusted, with its fingerprint and what to do.
    /// [`ErrorKind::TlsVersion`] where the server may agree to another version; [`ErrorKind::TlsGarbled`].
    pub async fn handshake(&self, stream: TcpStream, patience: Duration) -> Result<MaybeTls> {
        const OPERATION: &str = "TLS handshake";
        let connector = TlsConnector::from(self.config.clone());
        match timeout(patience, connector.connect(self.name.clone(), stream)).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let (version, handshake) = (session.protocol_version(), session.handshake_kind());
                debug!(?version, ?handshake, "encrypted");
                Ok(MaybeTls::Tls(Box::new(stream)))
            }
            Ok(Err(error)) => {
                let refused = self
                    .verifier
                    .refused
                    .lock()
                    .expect("no panic while locked")
                    .take();
                let kind = match &refused {
                    None => kind_of(&error),
                    Some(_) => ErrorKind::Tls,
                };
                let detail = refused.unwrap_or_else(|| error.to_string());
                Err(Error::new(kind, OPERATION, detail))
            }
            Err(_) => Err(Error::timed_out(OPERATION)),
        }
    }
}

/// The chain and the key of a certificate of ours; the message for the user.
fn load_identity(
    files: &Identity,
) -> std::result::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let Identity { certificates, key } = files;
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| format!("{}: {error}", certificates.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: no certificate in it", certificates.display()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let hint = "its private key, without a passphrase, is expected there or in -o tls_key=FILE";
        format!("{}: {error}: {hint}", key.display())
    })?;
    Ok((chain, secret))
}

/// Why a handshake failed. Servers without the version of TLS that is asked for may only close.
fn kind_of(error: &io::Error) -> ErrorKind {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        )) => ErrorKind::TlsVersion,
        Some(rustls::Error::PeerIncompatible(_)) | None => ErrorKind::TlsVersion,
        Some(rustls::Error::InvalidMessage(_)) => ErrorKind::TlsGarbled,
        Some(_) => ErrorKind::Tls,
    }
}

/// Verifies by the authorities or by the pinned fingerprint, and remembers why it refused.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pin: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
    refused: Mutex<Option<String>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let fingerprint: [u8; 32] = Sha256::digest(certificate).into();
        let verdict = match (&self.pin, &self.chain) {
            (Some(pin), _) if *pin == fingerprint => return Ok(ServerCertVerified::assertion()),
            (Some(_), _) => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
            (None, Some(chain)) => {
                chain.verify_server_cert(certificate, intermediates, name, ocsp, now)
            }
            (None, None) => Err(rustls::CertificateError::UnknownIssuer.into()),
        };
        verdict.inspect_err(|error| {
            let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
            let reason = if self.pin.is_some() { "it is not the pinned one".to_owned() } else { error.to_string() };
            *self.refused.lock().expect("no panic while locked") = Some(format!(
                "the server's certificate is not trusted ({reason}); its SHA-256 fingerprint is {hex}: if that is the \
                 right one, mount with -o tls_pin=sha256:{hex}, or name its authority's file with -o cacert=FILE"
            ));
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A TCP stream, encrypted or not.
#[derive(Debug)]
pub enum MaybeTls {
    /// In the clear.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// As `1.3`; empty if unknown.
    pub version: &'static str,
    /// SHA-256 fingerprint of the server's certificate.
    pub fingerprint: Option<[u8; 32]>,
    /// The session of an earlier connection was resumed.
    pub resumed: bool,
}

impl MaybeTls {
    /// How it is encrypted, if it is.
    pub fn encryption(&self) -> Option<Encryption> {
        let Self::Tls(stream) = self else { return None };
        let session = stream.get_ref().1;
        Some(Encryption {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "",
            },
            fingerprint: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| Sha256::digest(certificate).into()),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Ends the connection by a reset: what the peer has not got yet is not sent any more, now or after the link is back.
    pub fn reset(self) {
        if let Err(error) = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)) {
            debug!(%error, "a connection was closed, but not reset");
        }
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for MaybeTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
