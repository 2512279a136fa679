//! A TCP relay that can stop forwarding without closing connections, as when a firewall drops a connection's state or a
//! host fails.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards connections until dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    silences: watch::Sender<u64>,
    _until_dropped: JoinSet<()>,
}

impl Relay {
    /// Starts a relay to the server of this URL.
    pub(crate) async fn to(url: &reqwest::Url) -> Self {
        let target = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let silences = watch::Sender::new(0);
        let silence = silences.clone();
        let mut relaying = JoinSet::new();
        relaying.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target.clone()).await.unwrap();
                connections.spawn(hand_on(client, server, silence.subscribe()));
            }
        });
        Self { address, silences, _until_dropped: relaying }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops forwarding on the existing connections, without closing them. New connections work.
    pub(crate) fn fall_silent(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }
}

async fn hand_on(mut client: TcpStream, mut server: TcpStream, mut silence: watch::Receiver<u64>) {
    tokio::select! {
        biased;
        _ = silence.changed() => std::future::pending().await,
        _ended = copy_bidirectional(&mut client, &mut server) => {}
    }
}
