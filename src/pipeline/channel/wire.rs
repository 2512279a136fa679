//! The HTTP client for one receiver: TLS, names, and which addresses may be connected to.
//!
//! Guaranteed: certificates are checked; redirects are not followed; no proxy is used; and the address that the [`AddressFilter`] checked is
//! the one that is connected to. Names are resolved here, once for each connection, so a second answer of the DNS has no effect.

use std::error::Error as _;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, Request, Response, Url, redirect, retry};
use tokio::time::timeout;

use super::address_filter::{AddressFilter, Refused};

pub(crate) const AGENT: &str = concat!("bday/", env!("CARGO_PKG_VERSION"));

/// A longer body, or a slower one, costs its connection.
const MAX_BODY_BYTES: usize = 4096;
const MAX_BODY_TIME: Duration = Duration::from_secs(1);
/// After the deadline, what has arrived by then is still read. A process that stood still finds its deadline passed and the answer in its
/// socket: to take that for a timeout is to greet twice.
const READ_ARRIVED: Duration = Duration::from_millis(100);

/// The client's settings.
#[derive(Debug, Clone, Default)]
pub struct WireOptions {
    /// From the start of a request to the head of its answer.
    pub timeout: Duration,
    /// For the connection alone, TLS included.
    pub connect_timeout: Duration,
    /// Trusted in addition to the machine's authorities.
    pub roots: Vec<Certificate>,
    /// Which addresses may be connected to.
    pub guard: AddressFilter,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The guard forbids the address: nothing was sent.
    #[error(transparent)]
    Refused(Refused),
    /// The deadline passed.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Everything else.
    #[error(transparent)]
    Http(reqwest::Error),
}

/// A client for one receiver.
#[derive(Debug, Clone)]
pub struct Wire {
    client: Client,
    guard: Arc<AddressFilter>,
    timeout: Duration,
}

impl Wire {
    /// Uses the system's resolver.
    pub fn new(options: WireOptions) -> Result<Self, reqwest::Error> {
        Self::with_names(options, Arc::new(SystemNames))
    }

    /// Resolves names by `names`.
    pub fn with_names(options: WireOptions, names: Arc<dyn Resolve>) -> Result<Self, reqwest::Error> {
        let guard = Arc::new(options.guard);
        let client = Client::builder()
            .user_agent(AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // A proxy would resolve names itself, past the guard.
            .no_proxy()
            .http1_only()
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .tls_certs_merge(options.roots)
            .dns_resolver(GuardedNames { names, guard: Arc::clone(&guard) })
            .build()?;
        Ok(Self { client, guard, timeout: options.timeout })
    }

    /// Builds requests; [`send`](Self::send) sends them.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends `request`, unless its address is refused. Returns with the head of the answer; its body is [`drain`]ed.
    pub async fn send(&self, request: Request) -> Result<Response, WireError> {
        if let Some(address) = literal_address(request.url()) {
            self.guard.check(address).map_err(WireError::Refused)?;
        }
        let mut answer = pin!(self.client.execute(request));
        let answer = match timeout(self.timeout, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => timeout(READ_ARRIVED, answer).await.map_err(|_| WireError::Timeout(self.timeout))?,
        };
        answer.map_err(|error| match refusal(&error) {
            Some(refused) => WireError::Refused(refused.clone()),
            None => WireError::Http(error),
        })
    }
}

/// Reads the body, so that its connection can be used again, but no more than [`MAX_BODY_BYTES`] in [`MAX_BODY_TIME`]. Returns its
/// first bytes, up to `keep`.
pub(super) async fn drain(mut response: Response, keep: usize) -> Vec<u8> {
    let (mut read, mut kept) = (0, Vec::new());
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            kept.extend(chunk.iter().take(keep - kept.len()));
            if read > MAX_BODY_BYTES {
                break;
            }
        }
    };
    // Whether it ended makes no difference: the status has decided.
    let _ = timeout(MAX_BODY_TIME, reading).await;
    kept
}

pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn refusal(error: &reqwest::Error) -> Option<&Refused> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
}

#[derive(Debug)]
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

struct GuardedNames {
    names: Arc<dyn Resolve>,
    guard: Arc<AddressFilter>,
}

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, guard) = (self.names.resolve(name), Arc::clone(&self.guard));
        Box::pin(async move {
            let mut refused = None;
            let mut allowed = Vec::new();
            for address in found.await? {
                match guard.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(refused) if allowed.is_empty() => Err(refused.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
