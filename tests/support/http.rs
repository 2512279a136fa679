//! A small HTTP/1.1 server on plain TCP, for test servers with fault injection.
//!
//! It replaces an HTTP framework for three reasons. A service can respond with arbitrary bytes (a partial response, a
//! reset, or nothing). The port can stop and resume accepting. A request costs little CPU, since the benchmark shares two
//! cores with the server. It supports requests with a `content-length` or without a body, on persistent connections.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The maximum size of a request, in bytes. Larger requests are rejected.
const LIMIT: usize = 64 << 20;

/// A request that borrows from the connection's buffer.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [httparse::Header<'a>],
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    /// Returns the first header with this name, if its value is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(header.value).ok()
    }
}

pub(crate) enum Reply {
    /// A complete response. `headers` are lines that end in `\r\n`.
    Whole { status: u16, headers: String, body: Vec<u8> },
    /// The listed steps. The connection is closed after the last.
    Steps(Vec<Step>),
}

/// A step of a partial or invalid response.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(Vec<u8>),
    Wait(Duration),
    /// The same bytes repeatedly, until the peer closes the connection.
    Forever(Vec<u8>),
    /// Sends nothing more, and keeps the connection open until the peer closes it.
    Hang,
    /// Resets the connection (TCP RST).
    Reset,
}

/// Responds to requests.
pub(crate) trait Service: Send + Sync + 'static {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Reply> + Send;
}

/// A server on a loopback port. [`Server::reopen`] uses the same port.
pub(crate) struct Server<S> {
    address: SocketAddr,
    service: Arc<S>,
    open: Mutex<Option<Open>>,
}

struct Open {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// The backlog of 1,024 accepts a burst of connections. Clients that do not fit retry after 1 s.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

impl<S: Service> Server<S> {
    /// Starts a server on a free loopback port. `build` receives its address.
    #[expect(clippy::unused_async, reason = "consistent with the other constructors of test servers")]
    pub(crate) async fn start(build: impl FnOnce(SocketAddr) -> S) -> Self {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = listener.local_addr().unwrap();
        let server = Self { address, service: Arc::new(build(address)), open: Mutex::new(None) };
        server.accept_on(listener);
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn service(&self) -> &Arc<S> {
        &self.service
    }

    /// Closes every connection and refuses new ones.
    pub(crate) async fn shut(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Open { token, tasks }) = open {
            token.cancel();
            tasks.wait().await;
        }
    }

    /// Resumes accepting, on the same port.
    pub(crate) async fn reopen(&self) {
        self.shut().await;
        self.accept_on(listen(self.address));
    }

    fn accept_on(&self, listener: TcpListener) {
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (service, children, stop) = (Arc::clone(&self.service), tasks.clone(), token.clone());
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (service, stop) = (Arc::clone(&service), stop.clone());
                children.spawn(async move {
                    // Errors of the connection, for example a reset by the peer, are ignored.
                    let _ended = stop.run_until_cancelled(serve(stream, &*service)).await;
                });
            }
        });
        tasks.close();
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Open { token, tasks });
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        if let Some(open) = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            open.token.cancel();
        }
    }
}

/// Serves the requests of one connection sequentially.
async fn serve<S: Service>(mut stream: TcpStream, service: &S) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut out = Vec::with_capacity(4 << 10);
    loop {
        let Some((head, end)) = read_request(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let mut slots = [httparse::EMPTY_HEADER; 48];
        let mut parsed = httparse::Request::new(&mut slots);
        parsed.parse(&buffer[..head]).map_err(io::Error::other)?;
        let request = Request {
            method: parsed.method.unwrap_or_default(),
            path: parsed.path.unwrap_or_default(),
            headers: parsed.headers,
            body: &buffer[head..end],
        };
        let reply = tokio::select! {
            biased;
            reply = service.call(request) => reply,
            () = closed(&stream) => return Ok(()),
        };
        match reply {
            Reply::Whole { status, headers, body } => {
                out.clear();
                head_of(&mut out, status, &headers, Some(body.len()));
                out.extend_from_slice(&body);
                stream.write_all(&out).await?;
            }
            Reply::Steps(steps) => return play(stream, steps).await,
        }
        buffer.drain(..end);
    }
}

/// Writes the status line and headers of a response. Without a length, its body ends with the connection.
pub(crate) fn head_of(out: &mut Vec<u8>, status: u16, headers: &str, length: Option<usize>) {
    use std::io::Write;
    let length = length.map(|n| format!("content-length: {n}\r\n")).unwrap_or_default();
    // Writing to a `Vec` does not fail.
    let _written = write!(out, "HTTP/1.1 {status} -\r\n{headers}{length}\r\n");
}

/// Reads until the buffer starts with a complete request. Returns the ends of its head and body, or `None` if the peer closed the
/// connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    let mut ends = None;
    loop {
        if ends.is_none() && !buffer.is_empty() {
            ends = ends_of(buffer)?;
        }
        match ends {
            Some((head, end)) if buffer.len() >= end => return Ok(Some((head, end))),
            _ if buffer.len() > LIMIT => return Err(io::ErrorKind::FileTooLarge.into()),
            _ => {}
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn ends_of(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut slots = [httparse::EMPTY_HEADER; 48];
    let mut request = httparse::Request::new(&mut slots);
    let httparse::Status::Complete(head) = request.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let header = |name| request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if header("transfer-encoding").is_some() {
        return Err(io::Error::other("a request body must come with a content-length"));
    }
    let length = header("content-length").and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
    Ok(Some((head, head + length.unwrap_or(0))))
}

/// Resolves when the peer has closed its side, but not when it pipelines another request.
async fn closed(stream: &TcpStream) {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

async fn play(mut stream: TcpStream, steps: Vec<Step>) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Write(bytes) => stream.write_all(&bytes).await?,
            Step::Wait(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = closed(&stream) => return Ok(()),
            },
            Step::Forever(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Step::Hang => {
                closed(&stream).await;
                return Ok(());
            }
            Step::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
        }
    }
    stream.shutdown().await
}
