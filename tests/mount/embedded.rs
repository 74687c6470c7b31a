//! The server that needs no installing: libunftp over a folder, in this process.
//!
//! Its limits (measured on 0.24): no command sets a time or a mode, pipelined commands are
//! answered out of order, symlinks look like files.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as StdTcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use libunftp::ServerBuilder;
use libunftp::options::ActivePassiveMode;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, Principal};
use unftp_sbe_fs::Filesystem;

/// The login of every test server.
pub const USER: &str = "ftpfstest";
/// Password of [`USER`].
pub const PASSWORD: &str = "ftpfs-Test1";

/// What a test asks of a server beyond its defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Offer `AUTH TLS` with the certificate and key in this PEM file.
    pub certificate: Option<PathBuf>,
    /// With vsftpd and ProFTPD, and a certificate: let nobody in but who shows one that is signed by one of this PEM file.
    pub client_authority: Option<PathBuf>,
    /// With ProFTPD and a certificate: no TLS 1.2.
    pub tls_1_3_only: bool,
    /// With vsftpd: let `anonymous` in, who may make files where the folder's mode allows it, and change none.
    pub anonymous: bool,
    /// Most sessions at once; `None` = no limit.
    pub max_sessions: Option<usize>,
    /// How long a session may be idle; `None` = the server's default.
    pub idle: Option<Duration>,
    /// With vsftpd: the zone of its times, as `TZ` has it; `None` = UTC.
    pub local_time: Option<&'static str>,
}

/// A running server; dropping it ends its sessions and frees its port.
pub struct Embedded {
    address: SocketAddr,
    sessions: Arc<Sessions>,
    /// `None` only inside `drop`.
    runtime: Option<Runtime>,
}

impl Embedded {
    /// Serves the folder `root` on 127.0.0.1; port 0 takes a free one.
    pub fn start(root: &Path, port: u16, options: &Options) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("embedded-ftp")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        let address = listener.local_addr()?;
        let sessions = Arc::new(Sessions::default());
        runtime.spawn(accept(
            listener,
            root.to_owned(),
            options.clone(),
            sessions.clone(),
        ));
        Ok(Self {
            address,
            sessions,
            runtime: Some(runtime),
        })
    }

    /// The address of its control connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every control connection, without a reply.
    pub fn kill_sessions(&self) {
        self.sessions.close();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.sessions.close();
        if let Some(runtime) = self.runtime.take() {
            // Long enough for a file operation under way.
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// The control connections, to be counted and closed.
#[derive(Default)]
struct Sessions(Mutex<Vec<(SocketAddr, StdTcpStream)>>);

impl Sessions {
    fn table(&self) -> std::sync::MutexGuard<'_, Vec<(SocketAddr, StdTcpStream)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        for (_, stream) in self.table().iter() {
            // Fails only if the client has closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Accepts the connections itself, so that the sessions can be counted and closed.
async fn accept(listener: TcpListener, root: PathBuf, options: Options, sessions: Arc<Sessions>) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        if options
            .max_sessions
            .is_some_and(|most| sessions.table().len() >= most)
        {
            let _ = stream.write_all(b"421 Too many connections.\r\n").await;
            continue;
        }
        let Ok((stream, copy)) = duplicate(stream) else {
            continue;
        };
        sessions.table().push((peer, copy));
        let server = server(root.clone(), &options);
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let _ = server.service(stream).await;
            sessions.table().retain(|(address, _)| *address != peer);
        });
    }
}

fn duplicate(stream: TcpStream) -> io::Result<(TcpStream, StdTcpStream)> {
    let stream = stream.into_std()?;
    let copy = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, copy))
}

/// A server for one session: `service` takes the whole of it.
fn server(
    root: PathBuf,
    options: &Options,
) -> libunftp::Server<Filesystem, unftp_core::auth::DefaultUser> {
    let storage = move || Filesystem::new(&root).expect("the test's folder outlives its server");
    let mut builder = ServerBuilder::with_authenticator(Box::new(storage), Arc::new(OneLogin))
        .greeting("embedded test server")
        // The dynamic ports (RFC 6335 s6), so that parallel tests seldom meet on one.
        .passive_ports(49152..=65535)
        .active_passive_mode(ActivePassiveMode::ActiveAndPassive);
    if let Some(pem) = &options.certificate {
        builder = builder.ftps(pem, pem);
    }
    if let Some(idle) = options.idle {
        builder = builder.idle_session_timeout(idle.as_secs());
    }
    builder
        .build()
        .expect("every option above is one that libunftp takes")
}

/// Lets [`USER`] in with [`PASSWORD`], and nobody else.
#[derive(Debug)]
struct OneLogin;

#[async_trait]
impl Authenticator for OneLogin {
    async fn authenticate(
        &self,
        user: &str,
        credentials: &Credentials,
    ) -> Result<Principal, AuthenticationError> {
        if user != USER {
            return Err(AuthenticationError::BadUser);
        }
        if credentials.password.as_deref() != Some(PASSWORD) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal {
            username: user.to_owned(),
        })
    }
}
