//! A headless Chromium, controlled over a pipe with the Chrome `DevTools` protocol (JSON objects, each terminated by a NUL byte).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::wait::within;

/// The browser reads the protocol from descriptor 3 and writes it to 4. The flags disable background requests to other hosts.
const START: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --user-data-dir=\"$1\" \
    --remote-debugging-pipe about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// One page in a browser that ends with the test.
pub(crate) struct Page {
    browser: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Value,
    asked: u64,
    loaded: bool,
    profile: PathBuf,
}

impl Page {
    /// Opens `url` and waits until the page is loaded.
    pub(crate) async fn open(url: &str) -> Self {
        let installed = std::process::Command::new("chromium").arg("--version").output().is_ok();
        assert!(installed, "this test requires a browser: install chromium (apt-get install chromium)");
        let profile =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", uuid::Uuid::now_v7()));
        let mut browser = Command::new("sh")
            .args(["-c", START, "sh"])
            .arg(&profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = browser.stdin.take().unwrap();
        let answers = BufReader::new(browser.stdout.take().unwrap());
        let mut page =
            Self { browser, commands, answers, session: Value::Null, asked: 0, loaded: false, profile };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"})).await["targetId"].clone();
        let attached = page.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        page.session = attached["sessionId"].clone();
        page.ask("Page.enable", json!({})).await;
        page.ask("Page.navigate", json!({"url": url})).await;
        while !page.loaded {
            page.hear("the page to load").await;
        }
        page
    }

    /// Waits until a JavaScript expression is truthy, and returns its value. The expression is evaluated after each change of the
    /// page.
    pub(crate) async fn run(&mut self, expression: &str) -> Value {
        let expression = format!(
            "new Promise((resolve, reject) => {{
                const look = () => {{
                    try {{
                        const it = {expression};
                        if (!it) return;
                        changes.disconnect();
                        resolve(it);
                    }} catch (error) {{
                        reject(error);
                    }}
                }};
                const changes = new MutationObserver(look);
                changes.observe(document, {{subtree: true, childList: true, attributes: true, characterData: true}});
                look();
            }})"
        );
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Closes the browser and removes its profile.
    pub(crate) async fn close(mut self) {
        self.session = Value::Null;
        self.ask("Browser.close", json!({})).await;
        within("the browser to end", self.browser.wait()).await.unwrap();
        std::fs::remove_dir_all(&self.profile).unwrap();
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut command = json!({"id": self.asked, "method": method, "params": params});
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).await.unwrap();
        loop {
            let message = self.hear(method).await;
            if message["id"] == self.asked {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// Reads the next message: a response or an event.
    async fn hear(&mut self, what: &str) -> Value {
        let mut message = Vec::new();
        within(what, self.answers.read_until(0, &mut message)).await.unwrap();
        assert!(message.pop().is_some(), "the browser ended while waiting for: {what}");
        let message: Value = serde_json::from_slice(&message).unwrap();
        self.loaded |= message["method"] == "Page.loadEventFired";
        message
    }
}

impl Drop for Page {
    /// Kills the browser if a failed test did not close it.
    fn drop(&mut self) {
        if self.browser.start_kill().is_ok() {
            let _ = std::fs::remove_dir_all(&self.profile);
        }
    }
}
