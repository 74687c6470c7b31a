//! The scripted server's control connection, in the clear or encrypted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A control connection.
pub enum Control {
    /// In the clear.
    Plain(TcpStream),
    /// By TLS.
    Encrypted(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// What it takes to encrypt by the certificate and key in `pem`.
pub fn encryption(pem: &[u8]) -> Arc<ServerConfig> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>();
    let certificates = certificates.expect("it was made for this");
    let key = PrivateKeyDer::from_pem_slice(pem).expect("it was made for this");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    Arc::new(config.expect("they belong together"))
}

impl Control {
    /// The server's side of a connection that is encrypted from here on.
    pub fn encrypted(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let stream = StreamOwned::new(connection, stream);
        Ok(Self::Encrypted(Box::new(stream)))
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => &stream.sock,
        }
    }
}

impl Read for Control {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Control {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}
