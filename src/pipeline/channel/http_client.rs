//! The HTTP client for one receiver.
//!
//! Guaranteed: certificates are checked; redirects are not followed; no proxy is used; the client connects only to an address that the
//! [`AddressFilter`] has checked. It resolves a name once for each connection, so a later DNS response has no effect.

use std::error::Error as _;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method, Request, RequestBuilder, Response, Url, redirect, retry};
use tokio::time::timeout;

use super::address_filter::{AddressFilter, AddressRefused};
use super::grace;

#[cfg(feature = "tls")]
pub use reqwest::Certificate;

/// A build without the feature `tls` has no certificates.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub enum Certificate {}

#[cfg(not(feature = "tls"))]
impl Certificate {
    #[expect(clippy::unnecessary_wraps, reason = "the signature of the certificate of reqwest")]
    pub(crate) fn from_pem_bundle(_: &[u8]) -> Result<Vec<Self>, std::convert::Infallible> {
        Ok(Vec::new())
    }
}

pub(crate) const USER_AGENT: &str = concat!("bday/", env!("CARGO_PKG_VERSION"));

/// The connection of a longer or slower body is closed.
const MAX_BODY_BYTES: usize = 4096;
const MAX_BODY_TIME: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub struct HttpClientOptions {
    /// From the start of a request to the head of its response.
    pub timeout: Duration,
    /// For the connection, TLS included.
    pub connect_timeout: Duration,
    /// Trusted in addition to the machine's authorities.
    pub roots: Vec<Certificate>,
    pub address_filter: AddressFilter,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing was sent.
    #[error(transparent)]
    AddressRefused(AddressRefused),
    #[error("no response within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error(transparent)]
    Http(reqwest::Error),
}

#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client,
    address_filter: Arc<AddressFilter>,
    timeout: Duration,
}

impl HttpClient {
    pub fn new(options: HttpClientOptions) -> Result<Self, reqwest::Error> {
        Self::with_resolver(options, Arc::new(SystemResolver))
    }

    pub fn with_resolver(
        options: HttpClientOptions,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, reqwest::Error> {
        let address_filter = Arc::new(options.address_filter);
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // A proxy would resolve names itself, so the address filter would have no effect.
            .no_proxy()
            .http1_only()
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .dns_resolver(FilteringResolver { resolver, address_filter: Arc::clone(&address_filter) });
        #[cfg(feature = "tls")]
        let builder = builder.tls_certs_merge(options.roots);
        Ok(Self { client: builder.build()?, address_filter, timeout: options.timeout })
    }

    /// Returns this client with another timeout. Both share their connections.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Begins to build a request for [`send`](Self::send).
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends `request`, unless its address is refused. Returns with the head of the response; the caller reads the body.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        if let Some(address) = literal_address(request.url()) {
            self.address_filter.check(address).map_err(HttpError::AddressRefused)?;
        }
        let mut response = pin!(self.client.execute(request));
        let result = match timeout(self.timeout, &mut response).await {
            Ok(result) => result,
            Err(_) => grace::arrived(response).await.ok_or(HttpError::Timeout(self.timeout))?,
        };
        result.map_err(|error| match address_refused(&error) {
            Some(refused) => HttpError::AddressRefused(refused.clone()),
            None => HttpError::Http(error),
        })
    }
}

/// Reads the body, so that its connection can be reused, up to [`MAX_BODY_BYTES`] or `keep` in [`MAX_BODY_TIME`]. Returns the first `keep` bytes.
pub(crate) async fn read_body(mut response: Response, keep: usize) -> Vec<u8> {
    let (mut read, mut kept) = (0, Vec::new());
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            kept.extend(chunk.iter().take(keep - kept.len()));
            if read > MAX_BODY_BYTES.max(keep) {
                break;
            }
        }
    };
    // Errors and timeouts make no difference: the status has decided.
    let _ = timeout(MAX_BODY_TIME, reading).await;
    kept
}

pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn address_refused(error: &reqwest::Error) -> Option<&AddressRefused> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| cause.downcast_ref())
}

#[derive(Debug)]
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

struct FilteringResolver {
    resolver: Arc<dyn Resolve>,
    address_filter: Arc<AddressFilter>,
}

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, address_filter) = (self.resolver.resolve(name), Arc::clone(&self.address_filter));
        Box::pin(async move {
            let mut refused = None;
            let mut allowed = Vec::new();
            for address in found.await? {
                match address_filter.check(address.ip()) {
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
