//! A way to a server that can fall silent, as when a firewall forgets a connection or the machine behind it is gone:
//! nothing comes any more, and no end either.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Hands on what comes, until it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    silences: watch::Sender<u64>,
    _until_dropped: DropGuard,
}

impl Relay {
    /// To the server of this URL.
    pub(crate) async fn to(url: &reqwest::Url) -> Self {
        let target = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silences, end) = (watch::Sender::new(0), CancellationToken::new());
        let (silence, until_dropped) = (silences.clone(), end.clone().drop_guard());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target.clone()).await.unwrap();
                let hand_on = hand_on(client, server, silence.subscribe());
                tokio::spawn(end.clone().run_until_cancelled_owned(hand_on));
            }
        }));
        Self {
            address,
            silences,
            _until_dropped: until_dropped,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing more is handed on over the connections that there are. New ones work.
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
