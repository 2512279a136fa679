//! A DNS server with the records that a test gives it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use tokio::net::TcpStream;

use super::process::{Bday, Running};
use super::wait::eventually;

/// The path on Debian, which is not in the PATH of every user.
const PROGRAM: &str = "/usr/sbin/dnsmasq";

/// A running dnsmasq, stopped when dropped. It has all names below `org` and `example`, and refuses others.
pub(crate) struct Dnsmasq {
    pub(crate) address: SocketAddr,
    _running: Running,
}

impl Dnsmasq {
    /// Starts a server with arguments such as `--txt-record=NAME,TEXT`. Prints a message and returns `None` if it is not installed.
    pub(crate) async fn start(records: &[&str]) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("skipped: dnsmasq is not installed (apt-get install dnsmasq-base)");
            return None;
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let port = format!("--port={}", address.port());
        let mut arguments = vec![
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--pid-file=",
            // The user to which root changes.
            "--user=root",
            "--local=/org/",
            "--local=/example/",
            &port,
        ];
        arguments.extend(records);
        let running = Bday::program(Path::new(PROGRAM), arguments).start();
        eventually("dnsmasq to listen", async || TcpStream::connect(address).await.ok()).await;
        Some(Self { address, _running: running })
    }
}
