//! The console on a real socket, on the database and clock of a [`World`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bday::clock::SharedClock;
use bday::http::{
    Api, Authorizer, Console, ConsoleSettings, Health, HealthDeadlines, Heartbeats, HttpServer, Limits,
    OpenHosts,
};
use bday::model::{Scope, Token};
use bday::people::explain::ExplainSettings;
use bday::people::preview::PreviewSettings;
use bday::store::NewToken;
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::browser::{Look, Page};
use super::wait::{eventually, within};
use super::world::World;

/// A running console that stops when dropped.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

/// The answer to a request without following redirects.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// Returns the value of the cookie `name` that it sets.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let set = self.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap());
        let mut pairs = set.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    }
}

impl Site {
    /// Starts the console at `now` (RFC 3339), with `http.auth = "required"`.
    pub(crate) async fn at(now: &str) -> Self {
        Self::on(World::at(now).await)
    }

    pub(crate) fn on(world: World) -> Self {
        Self::with_auth(world, true)
    }

    pub(crate) fn with_auth(world: World, requires_token: bool) -> Self {
        let shared = Arc::clone(&world.clock) as SharedClock;
        let health = Health::new(world.store.clone(), Heartbeats::default(), HealthDeadlines::default());
        health.set_up();
        health.set_queue_available(true);
        let health = Arc::new(health);
        let api = Api::new(
            world.store.clone(),
            ExplainSettings::new(&world.config),
            PreviewSettings::new(&world.config).unwrap(),
            world.dead_letters(),
            Arc::clone(&shared),
        );
        let authorizer =
            Authorizer::new(world.store.clone(), shared, (!requires_token).then(OpenHosts::default));
        let settings = ConsoleSettings::from(&world.config);
        let console = Console::new(api.clone(), authorizer.clone(), Arc::clone(&health), settings);
        let server = HttpServer {
            health,
            metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
            api: Some(api),
            callbacks: None,
            console: Some(console),
            authorizer,
            limits: Limits {
                connections: 64,
                head: Duration::from_secs(30),
                request: Duration::from_secs(30),
            },
        };
        let listener = bday::http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(server.serve(listener, stop.clone()));
        let http = reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { world, base, http, stop, running }
    }

    /// Creates a token with the name of its scope.
    pub(crate) async fn token(&self, scope: Scope) -> Token {
        self.token_named(scope.as_str(), scope).await
    }

    pub(crate) async fn token_named(&self, name: &str, scope: Scope) -> Token {
        let token = Token::generate().unwrap();
        let new = NewToken { name, scope, hash: token.hash(), expires_at: None };
        self.world.store.create_token(bday::clock::Clock::now(&*self.world.clock), new).await.unwrap();
        token
    }

    /// Signs in with a new token, and returns the cookie header.
    pub(crate) async fn sign_in(&self, scope: Scope) -> String {
        let token = self.token(scope).await;
        // 503: the database did not answer in time, because the machine is busy.
        let reply = eventually("the sign-in", async || {
            Some(self.sign_in_with(token.expose()).await).filter(|reply| reply.status != 503)
        });
        format!("bday_session={}", reply.await.cookie("bday_session").unwrap())
    }

    pub(crate) async fn sign_in_with(&self, token: &str) -> Reply {
        self.post("/sign-in", "", &[("token", token)]).await
    }

    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Reply {
        let request = self.http.get(format!("{}{path}", self.base)).header("cookie", cookie);
        Self::send(request).await
    }

    /// Sends a form as a browser does.
    pub(crate) async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_with(path, cookie, &[("sec-fetch-site", "same-origin")], fields).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        cookie: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Reply {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let mut request = self.http.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .header("cookie", cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.finish());
        Self::send(request).await
    }

    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Reply {
        let response = within("the answer of the console", request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }

    /// Opens `path` in a browser that is signed in with a new token of this scope.
    pub(crate) async fn browse(&self, scope: Scope, path: &str, look: Look) -> Page {
        let cookie = self.sign_in(scope).await;
        self.browse_as(&cookie, path, look).await
    }

    pub(crate) async fn browse_as(&self, cookie: &str, path: &str, look: Look) -> Page {
        let mut page = Page::start().await;
        let (name, value) = cookie.split_once('=').unwrap();
        page.set_cookie(&self.base, name, value).await;
        page.set_look(look).await;
        page.go(&format!("{}{path}", self.base)).await;
        page
    }

    /// Stops this console, and starts another one on the same database, as another process.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop.cancel();
        within("the console to stop", self.running.join_next()).await.unwrap().unwrap().unwrap();
        Self::on(self.world)
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        within("the console to stop", self.running.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// Checks the page with axe-core, and returns its findings.
pub(crate) async fn accessibility_findings(page: &mut Page) -> Vec<String> {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target").to_owned());
    let path = Path::new(&target).join("tools/axe/axe.min.js");
    let source = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run .ci/setup axe", path.display()));
    page.add_script(&source).await;
    let found = page
        .evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations.flatMap((rule) => \
             rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary} ${node.html.slice(0, 200)}`)))",
        )
        .await;
    found
        .as_array()
        .unwrap()
        .iter()
        .map(|finding: &Value| finding.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Checks that nothing went wrong on the pages, closes the browser, and stops the site.
pub(crate) async fn finish(mut page: Page, site: Site) {
    let problems = page.take_problems();
    assert_eq!(json!(problems), json!([]), "the console of the browser");
    page.close().await;
    site.stop().await;
}

/// Checks pages in light, dark and narrow: no finding of axe-core, and nothing that scrolls sideways.
pub(crate) async fn check_looks(page: &mut Page, site: &Site, paths: &[&str]) {
    for (is_dark, is_narrow) in [(false, false), (true, false), (false, true)] {
        page.set_look(Look { is_dark, is_narrow, has_no_script: false }).await;
        for path in paths {
            page.go(&format!("{}{path}", site.base)).await;
            let findings = accessibility_findings(page).await;
            assert!(findings.is_empty(), "{path} dark {is_dark} narrow {is_narrow}: {findings:#?}");
            let overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth").await;
            assert!(overflow.as_i64().unwrap() <= 0, "{path} narrow {is_narrow} scrolls by {overflow}");
        }
    }
}
