//! Looks up TXT records.

use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Name, Rtype};
use domain::rdata::Txt;
use domain::resolv::StubResolver;
use domain::resolv::stub::Answer;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};

/// The second attempt covers a lost datagram.
const ATTEMPTS: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the DNS servers of this machine. A look-up ends within 4 s.
#[derive(Debug)]
pub struct Resolver {
    resolver: StubResolver,
    servers: String,
    /// Of an attempt.
    timeout: Duration,
}

impl Resolver {
    /// Uses the servers in `/etc/resolv.conf`.
    #[must_use]
    pub fn system() -> Self {
        Self::new(ResolvConf::default(), TIMEOUT)
    }

    /// Uses one server. `timeout` is that of an attempt.
    #[must_use]
    pub fn with_server(server: SocketAddr, timeout: Duration) -> Self {
        let mut conf = ResolvConf::new();
        conf.servers.push(ServerConf::new(server, Transport::UdpTcp));
        Self::new(conf, timeout)
    }

    fn new(mut conf: ResolvConf, timeout: Duration) -> Self {
        let servers: Vec<String> = conf.servers.iter().map(|server| server.addr.to_string()).collect();
        conf.options.timeout = timeout;
        Self { resolver: StubResolver::from_conf(conf), servers: servers.join(", "), timeout }
    }

    /// Returns the TXT records of `name`, which may be none; `None` if DNS has no such name.
    ///
    /// # Errors
    /// The name is invalid, or no server answers.
    pub(super) async fn txt(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        // Never in public DNS: RFC 6761, 6.3 and 6.4.
        if ["localhost", "invalid"].contains(&name.rsplit('.').next().unwrap_or_default()) {
            return Ok(None);
        }
        let query: Name<Vec<u8>> = name.parse().map_err(|error| format!("{name}: {error}"))?;
        let answer = self.query(&query).await?;
        match answer.header().rcode() {
            Rcode::NOERROR => records(&answer).map(Some).ok_or_else(|| self.error("answers unreadably")),
            Rcode::NXDOMAIN => Ok(None),
            code => Err(self.error(&format!("answers {code} for {name}"))),
        }
    }

    async fn query(&self, name: &Name<Vec<u8>>) -> Result<Answer, String> {
        for _ in 0..ATTEMPTS {
            // The timeout of the library starts after it has set up its sockets.
            let query = self.resolver.query((name, Rtype::TXT));
            match tokio::time::timeout(self.timeout, query).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.kind() != std::io::ErrorKind::TimedOut => {
                    return Err(self.error(&format!("is unavailable: {error}")));
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let waited = self.timeout * ATTEMPTS;
        Err(self.error(&format!("did not answer within {waited:?}")))
    }

    fn error(&self, what: &str) -> String {
        format!("the DNS server of this machine ({}) {what}", self.servers)
    }
}

/// The strings of a record are concatenated: RFC 7208, 3.3, and RFC 6376, 3.6.2.2.
fn records(answer: &Answer) -> Option<Vec<String>> {
    let records = answer.answer().ok()?.limit_to::<Txt<_>>();
    let text = |txt: &Txt<_>| String::from_utf8_lossy(&txt.text::<Vec<u8>>()).into_owned();
    records.map(|record| record.ok().map(|record| text(record.data()))).collect()
}
