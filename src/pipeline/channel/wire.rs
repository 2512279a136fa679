//! How a receiver is reached: TLS, names, and which addresses may be connected to.
//!
//! Guaranteed: certificates are checked; redirects are not followed; no proxy is used; and the address that the [`Guard`]
//! looked at is the one that is connected to. Names are resolved here, once for each connection, and the connection is
//! made to what came of it, so a second answer of the DNS cannot lead elsewhere.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, Request, Response, Url, redirect, retry};

use super::guard::{Guard, Refused};

/// How we introduce ourselves.
pub(super) const AGENT: &str = concat!("bday/", env!("CARGO_PKG_VERSION"));

/// What can be set.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// From the start of a request to the end of its answer.
    pub timeout: Duration,
    /// For the connection alone, TLS included.
    pub connect_timeout: Duration,
    /// Authorities that are trusted beside those of the machine.
    pub roots: Vec<Certificate>,
    /// Which addresses may be connected to.
    pub guard: Guard,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The guard forbids the address: nothing was sent.
    #[error(transparent)]
    Refused(Refused),
    /// Everything else.
    #[error(transparent)]
    Http(reqwest::Error),
}

/// A client for one receiver.
#[derive(Debug, Clone)]
pub struct Wire {
    client: Client,
    guard: Arc<Guard>,
    timeout: Duration,
}

impl Wire {
    /// Names are resolved as the system does.
    pub fn new(options: Options) -> Result<Self, reqwest::Error> {
        Self::with_names(options, Arc::new(SystemNames))
    }

    /// Names are resolved by `names`.
    pub fn with_names(options: Options, names: Arc<dyn Resolve>) -> Result<Self, reqwest::Error> {
        let guard = Arc::new(options.guard);
        let client = Client::builder()
            .user_agent(AGENT)
            .redirect(redirect::Policy::none())
            // One attempt is one request: when there is another, the queue says.
            .retry(retry::never())
            // It would resolve names itself, past the guard.
            .no_proxy()
            .http1_only()
            .timeout(options.timeout)
            .connect_timeout(options.connect_timeout)
            // Shorter than what common receivers and balancers keep an idle connection for.
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .tls_certs_merge(options.roots)
            .dns_resolver(GuardedNames { names, guard: Arc::clone(&guard) })
            .build()?;
        Ok(Self { client, guard, timeout: options.timeout })
    }

    /// What requests are made with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// From the start of a request to the end of its answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends `request`, unless its address is refused.
    pub async fn send(&self, request: Request) -> Result<Response, WireError> {
        // An address in the place of a name is connected to without asking for names.
        if let Some(address) = literal_address(request.url()) {
            self.guard.check(address).map_err(WireError::Refused)?;
        }
        self.client.execute(request).await.map_err(|error| match refusal(&error) {
            Some(refused) => WireError::Refused(refused.clone()),
            None => WireError::Http(error),
        })
    }
}

/// The address that a URL has in the place of a name.
fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether what is sent to `url` does not leave this machine.
#[must_use]
pub fn stays_here(url: &Url) -> bool {
    match literal_address(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

fn refusal(error: &reqwest::Error) -> Option<&Refused> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// The system's resolver.
#[derive(Debug)]
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is set by whoever connects.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Gives only the addresses that the guard allows.
struct GuardedNames {
    names: Arc<dyn Resolve>,
    guard: Arc<Guard>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_on_this_machine_is_told_from_what_leaves_it() {
        let here = |url: &str| stays_here(&url.parse().expect("a URL"));
        for url in [
            "http://localhost:8025/",
            "http://LOCALHOST/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://[::1]:1/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(here(url), "{url}");
        }
        for url in [
            "http://localhost.example.org/",
            "http://example.org/localhost",
            "http://localhost@example.org/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://[::]/",
        ] {
            assert!(!here(url), "{url}");
        }
    }
}
