//! A headless Chromium, controlled over a pipe with the Chrome `DevTools` protocol (JSON objects, each terminated by a NUL byte).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::wait::within;

/// The browser reads the protocol from descriptor 3 and writes it to 4. The flags disable background requests to other hosts.
const START: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --user-data-dir=\"$1\" \
    --remote-debugging-pipe about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// How the browser shows pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) is_dark: bool,
    /// 390 px, as on a telephone; otherwise 1280.
    pub(crate) is_narrow: bool,
    pub(crate) has_no_script: bool,
}

/// One page in a browser that ends with the test.
pub(crate) struct Page {
    browser: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Value,
    asked: u64,
    loaded: bool,
    /// Errors of scripts, entries of the console, and violations of the security policy.
    problems: Vec<String>,
    profile: PathBuf,
}

impl Page {
    /// Opens `url` and waits until the page is loaded.
    pub(crate) async fn open(url: &str) -> Self {
        let mut page = Self::start().await;
        page.go(url).await;
        page
    }

    /// Starts a browser with an empty page.
    pub(crate) async fn start() -> Self {
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
        let mut page = Self {
            browser,
            commands,
            answers,
            session: Value::Null,
            asked: 0,
            loaded: false,
            problems: Vec::new(),
            profile,
        };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"})).await["targetId"].clone();
        let attached = page.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        page.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.ask(&format!("{domain}.enable"), json!({})).await;
        }
        page
    }

    /// Opens `url` and waits until the page is loaded.
    pub(crate) async fn go(&mut self, url: &str) {
        self.loaded = false;
        self.ask("Page.navigate", json!({"url": url})).await;
        self.wait_for_load().await;
    }

    async fn wait_for_load(&mut self) {
        while !self.loaded {
            self.hear("the page to load").await;
        }
    }

    /// Clicks the element that `selector` finds, and waits until the next page is loaded.
    pub(crate) async fn follow(&mut self, selector: &str) {
        self.loaded = false;
        self.evaluate(&format!("document.querySelector({selector:?}).click()")).await;
        self.wait_for_load().await;
    }

    /// Does `action`, and waits until the next page is loaded.
    pub(crate) async fn follow_after(&mut self, action: impl AsyncFnOnce(&mut Self)) {
        self.loaded = false;
        action(self).await;
        self.wait_for_load().await;
    }

    /// Sets the value of the field that `selector` finds.
    pub(crate) async fn fill(&mut self, selector: &str, value: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).value = {}", json!(value))).await;
    }

    /// Presses keys: characters, or names such as `Enter`, separated by blanks.
    pub(crate) async fn press(&mut self, keys: &str) {
        for key in keys.split(' ') {
            let text = match key {
                "Enter" => "\r",
                "Space" => " ",
                _ if key.chars().count() == 1 => key,
                _ => "",
            };
            let code = match key {
                "Enter" => 13,
                "Tab" => 9,
                "Escape" => 27,
                "Space" => 32,
                _ => 0,
            };
            let name = if key == "Space" { " " } else { key };
            let down = json!({"type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": name, "text": text,
                              "windowsVirtualKeyCode": code});
            self.ask("Input.dispatchKeyEvent", down).await;
            self.ask(
                "Input.dispatchKeyEvent",
                json!({"type": "keyUp", "key": name, "windowsVirtualKeyCode": code}),
            )
            .await;
        }
    }

    /// Presses keys, and waits until the next page is loaded.
    pub(crate) async fn press_and_load(&mut self, keys: &str) {
        self.loaded = false;
        self.press(keys).await;
        self.wait_for_load().await;
    }

    /// Waits until the element that `selector` finds has the focus: `autofocus` takes effect after the page is loaded.
    pub(crate) async fn wait_for_focus(&mut self, selector: &str) {
        self.evaluate(&format!(
            "new Promise((resolve) => {{
                const look = () => {{
                    if (document.activeElement?.matches({selector:?})) resolve(true);
                    else requestAnimationFrame(look);
                }};
                look();
            }})"
        ))
        .await;
    }

    /// Types text into the element that has the focus.
    pub(crate) async fn type_text(&mut self, text: &str) {
        self.ask("Input.insertText", json!({"text": text})).await;
    }

    pub(crate) async fn set_cookie(&mut self, url: &str, name: &str, value: &str) {
        let cookie = json!({"url": url, "name": name, "value": value, "httpOnly": true, "sameSite": "Lax"});
        self.ask("Network.setCookie", cookie).await;
    }

    /// Takes effect with the next page.
    pub(crate) async fn set_look(&mut self, look: Look) {
        let scheme = if look.is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features).await;
        let (width, height) = if look.is_narrow { (390, 844) } else { (1280, 900) };
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": look.is_narrow});
        self.ask("Emulation.setDeviceMetricsOverride", size).await;
        // Pictures have no scrollbars, and no room for one.
        self.ask("Emulation.setScrollbarsHidden", json!({"hidden": true})).await;
        self.ask("Emulation.setScriptExecutionDisabled", json!({"value": look.has_no_script})).await;
    }

    /// Returns the whole page as a PNG file.
    pub(crate) async fn screenshot(&mut self) -> Vec<u8> {
        let size = self.ask("Page.getLayoutMetrics", json!({})).await["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let asked = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let png = self.ask("Page.captureScreenshot", asked).await;
        base64::engine::general_purpose::STANDARD.decode(png["data"].as_str().unwrap()).unwrap()
    }

    /// Adds a script of the test to the page, regardless of the security policy.
    pub(crate) async fn add_script(&mut self, source: &str) {
        self.evaluate(source).await;
    }

    /// Returns what went wrong on the pages so far: errors of scripts, entries of the console, and violations of the security policy.
    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Evaluates a JavaScript expression or promise.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
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
        self.evaluate(&expression).await
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
        self.note_problem(&message);
        message
    }

    fn note_problem(&mut self, message: &Value) {
        let params = &message["params"];
        let problem = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => params["exceptionDetails"].to_string(),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => params["args"].to_string(),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                format!(
                    "{}: {} {}",
                    params["entry"]["source"], params["entry"]["text"], params["entry"]["url"]
                )
            }
            _ => return,
        };
        self.problems.push(problem);
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
