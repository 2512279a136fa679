//! The real binary as a process: started with an environment of its own, listened to, and ended in every way.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::wait::{eventually, within};

/// A command line and an environment, not started yet.
#[derive(Debug)]
pub(crate) struct Bday {
    command: Command,
}

/// What a command that ends by itself left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    fn new(output: Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Must have worked; gives what it printed.
    pub(crate) fn succeeded(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.stdout
    }
}

/// One JSON value a line.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A process that runs. It is killed when this is dropped; when that is because the test failed, what it said last is
/// part of the test's output.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    readers: TaskTracker,
    output: Arc<Said>,
}

#[derive(Debug)]
struct Said {
    lines: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Bday {
    /// `bday` with these arguments. It logs JSON, requires no token, and inherits nothing else of the tests' environment.
    pub(crate) fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::program(Path::new(env!("CARGO_BIN_EXE_bday")), arguments)
    }

    /// Any other program, in the same way.
    pub(crate) fn program<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("BDAY__LOG__FORMAT", "json")
            .env("BDAY__HTTP__LISTEN", "127.0.0.1:0")
            .env("BDAY__HTTP__AUTH", "off");
        command.kill_on_drop(true);
        Self { command }
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Unsets a variable.
    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets several.
    pub(crate) fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Starts it and waits for its end.
    pub(crate) async fn finish(mut self) -> Finished {
        self.command.stdin(Stdio::null());
        let output = within("the command to end", self.command.output()).await.unwrap();
        Finished::new(output)
    }

    /// Gives it `input`, and waits for its end.
    pub(crate) async fn finish_with(mut self, input: &[u8]) -> Finished {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = async {
            // One that refuses the call does not read.
            drop(stdin.write_all(input).await);
            drop(stdin);
            child.wait_with_output().await
        };
        Finished::new(within("the command to end", output).await.unwrap())
    }

    /// Starts it and goes on.
    pub(crate) fn start(mut self) -> Running {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let pid = i32::try_from(child.id().unwrap()).ok().and_then(Pid::from_raw).unwrap();
        let output = Arc::new(Said { lines: Mutex::default(), count: watch::Sender::new(0) });
        let readers = TaskTracker::new();
        readers.spawn(read(child.stdout.take().unwrap(), Arc::clone(&output)));
        readers.spawn(read(child.stderr.take().unwrap(), Arc::clone(&output)));
        readers.close();
        Running { child, pid, readers, output }
    }
}

/// Of what a process said, this many lines are told when its test fails.
const LAST_WORDS: usize = 60;

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            eprintln!("process {} said last:\n{}", self.pid(), last.join("\n"));
        }
    }
}

async fn read(stream: impl AsyncRead + Unpin, output: Arc<Said>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        output.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        output.count.send_modify(|count| *count += 1);
    }
}

impl Running {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Every line so far, of stdout and stderr alike.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every log line so far.
    pub(crate) fn logs(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line of which `pick` makes something; earlier lines count. When the process ends without it,
    /// that is told, with what it said last.
    pub(crate) async fn log<T>(&self, what: &str, pick: impl Fn(&Value) -> Option<T>) -> T {
        let mut count = self.output.count.subscribe();
        let found = async {
            let mut seen = 0;
            loop {
                count.borrow_and_update();
                let lines = self.lines();
                let new = lines[seen..].iter().filter_map(|line| serde_json::from_str(line).ok());
                if let Some(found) = new.into_iter().find_map(|line: Value| pick(&line)) {
                    return found;
                }
                seen = lines.len();
                tokio::select! {
                    _ = count.changed() => {}
                    () = self.readers.wait(), if seen == self.lines().len() => {
                        assert!(seen < self.lines().len(), "it ended before: {what}\n{}", self.lines().join("\n"));
                    }
                }
            }
        };
        within(what, found).await
    }

    /// Waits for a log line with this message.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        self.log(message, |line| (text_of(line) == Some(message)).then(|| line.clone())).await
    }

    /// Where it serves HTTP, as soon as it does.
    pub(crate) async fn address(&self) -> SocketAddr {
        let line = self.logged("listening").await;
        let address = line.get("address").or_else(|| line.pointer("/fields/address"));
        address.and_then(Value::as_str).unwrap().parse().unwrap()
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) -> SocketAddr {
        let address = self.address().await;
        let client = reqwest::Client::new();
        let url = format!("http://{address}/readyz");
        eventually("the process to be ready", async || {
            client.get(&url).send().await.ok()?.error_for_status().ok().map(drop)
        })
        .await;
        address
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT, as by Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGKILL: it cannot do anything about it.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGSTOP: it stands still.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// One that has ended already needs no signal. As long as nobody waited for it, its process id is not reused.
    fn signal(&self, signal: Signal) {
        if self.child.id().is_some() {
            kill_process(self.pid, signal).unwrap();
        }
    }

    /// Waits for its end, and for its last words.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let status = within("the process to end", self.child.wait()).await.unwrap();
        within("the end of its output", self.readers.wait()).await;
        status
    }
}

/// The message of a log line, flattened or not.
fn text_of(line: &Value) -> Option<&str> {
    line.get("message").or_else(|| line.pointer("/fields/message"))?.as_str()
}
