//! What no server does at the right moment, by one in this process that says what it is told to.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::ftp::UploadKind;
use crate::ftp::config::ServerConfig;

/// A session of a server that takes every command, and ends all connections of an upload once it has agreed to it.
async fn lose_uploads(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 ready\r\n").await?;
    let mut data = None;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let verb = line.split_whitespace().next().unwrap_or_default();
        let reply = match verb {
            "USER" => "331 password".to_owned(),
            "PASS" => "230 in".to_owned(),
            "PWD" => "257 \"/\"".to_owned(),
            "CWD" => "250 there".to_owned(),
            "FEAT" => "211 none".to_owned(),
            "SYST" => "215 UNIX Type: L8".to_owned(),
            "EPSV" => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                let port = listener.local_addr()?.port();
                data = Some(listener);
                format!("229 Entering Extended Passive Mode (|||{port}|)")
            }
            "STOR" => "150 go on".to_owned(),
            _ => "200 fine".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        if verb == "STOR"
            && let Some(listener) = data.take()
        {
            listener.accept().await?;
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}

/// Somebody comes who needs nothing of a file, just as its upload has broken off.
#[tokio::test]
async fn an_upload_that_broke_off_can_be_cut() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(lose_uploads(stream));
        }
    });
    let server = Server::new(ServerConfig::of_test(port)).expect("a server");
    let config = PoolConfig {
        max_sessions: 2,
        idle_timeout: Duration::from_secs(30),
    };
    let pool = Pool::new(server, config);
    let lease = pool.lease_to_send(u64::MAX).await.expect("a session");
    let file = RemotePath::new(b"/file");
    let opened = Upload::open(lease, &file, UploadKind::Store).await;
    let mut upload = opened.expect("it agrees");
    while upload.send(&[0; 100_000]).await.is_ok() {}
    upload.cut().await;
    assert_eq!(pool.sessions().transfers, 0);
}
