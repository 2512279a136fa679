//! A small HTTP/1.1 server on plain TCP, for the parts of the world that tests must be able to break.
//!
//! Not a framework, on purpose: one answers a request with bytes of one's choosing (half an answer, a reset, nothing
//! at all), the port can stop and start accepting, and a request costs little CPU, since the benchmark shares two cores
//! with it. It reads what our clients send: requests with a `content-length` or without a body, kept alive.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request is refused when it is larger than this, in bytes.
const LIMIT: usize = 64 << 20;

/// A request, as it lies in the connection's buffer.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [httparse::Header<'a>],
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    /// The first header of that name, where it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(header.value).ok()
    }
}

/// What is sent back.
pub(crate) enum Reply {
    /// A whole answer. `headers` are lines that end in `\r\n`.
    Whole { status: u16, headers: String, body: Vec<u8> },
    /// Bytes and pauses as listed; the connection closes after the last.
    Steps(Vec<Step>),
}

/// A piece of an answer that is no decent HTTP.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(Vec<u8>),
    Wait(Duration),
    /// The same bytes again and again, until the peer has had enough.
    Forever(Vec<u8>),
    /// Nothing more is sent, and the connection stays open until the peer closes it.
    Hang,
    /// RST.
    Reset,
}

/// What answers.
pub(crate) trait Service: Send + Sync + 'static {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Reply> + Send;
}

/// A server on a loopback port that stays its own while it is shut.
pub(crate) struct Server<S> {
    address: SocketAddr,
    service: Arc<S>,
    open: Mutex<Option<Open>>,
}

struct Open {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// With room for a thousand who come at once: where there is none, they try again after a second.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

impl<S: Service> Server<S> {
    /// Accepts on a free loopback port. `build` is told the address.
    #[expect(clippy::unused_async, reason = "as everything else that a test starts")]
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

    /// Cuts every connection and refuses new ones.
    pub(crate) async fn shut(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Open { token, tasks }) = open {
            token.cancel();
            tasks.wait().await;
        }
    }

    /// Accepts again, on the same port.
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
                    // A peer that goes away in the middle is its own business.
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

/// One connection, request after request.
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

/// The status line and headers of an answer; without a length it ends with the connection.
pub(crate) fn head_of(out: &mut Vec<u8>, status: u16, headers: &str, length: Option<usize>) {
    use std::io::Write;
    let length = length.map(|n| format!("content-length: {n}\r\n")).unwrap_or_default();
    // Writing to memory does not fail.
    let _written = write!(out, "HTTP/1.1 {status} -\r\n{headers}{length}\r\n");
}

/// Reads until the buffer starts with a whole request: where its head and its body end. `None`: the peer is done.
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

/// Resolves when the peer has closed its side. One that sends its next request early has not.
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
