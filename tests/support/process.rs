//! Runs the bday binary as a process with a controlled environment, reads its output, and sends it signals.

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

/// A command line and environment that is not started yet.
#[derive(Debug)]
pub(crate) struct Bday {
    command: Command,
}

/// The exit status and output of a finished command.
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

    /// Asserts success, and returns the standard output.
    pub(crate) fn succeeded(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.stdout
    }
}

/// Parses one JSON value per line.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A running process, killed when dropped. If the test failed, dropping also prints the last lines of its output.
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
    /// Returns the command `bday` with these arguments. It logs JSON and requires no token. Of the tests' environment, it inherits only
    /// `PATH`, `HOME` and `TMPDIR`.
    pub(crate) fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::program(Path::new(env!("CARGO_BIN_EXE_bday")), arguments)
    }

    /// Returns a command like [`Bday::new`] for another program.
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

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Unsets an environment variable.
    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets several environment variables.
    pub(crate) fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Runs the command until it exits.
    pub(crate) async fn finish(mut self) -> Finished {
        self.command.stdin(Stdio::null());
        let output = within("the command to end", self.command.output()).await.unwrap();
        Finished::new(output)
    }

    /// Runs the command with `input` as standard input until it exits.
    pub(crate) async fn finish_with(mut self, input: &[u8]) -> Finished {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = async {
            // Writing fails if the command rejects its arguments and exits without reading.
            drop(stdin.write_all(input).await);
            drop(stdin);
            child.wait_with_output().await
        };
        Finished::new(within("the command to end", output).await.unwrap())
    }

    /// Starts the command without waiting for its exit.
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

/// Number of output lines that are printed if the test fails.
const LAST_WORDS: usize = 60;

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            eprintln!("last output of process {}:\n{}", self.pid(), last.join("\n"));
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
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns all lines so far of stdout and stderr.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns all log lines so far.
    pub(crate) fn logs(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line for which `pick` returns a value; earlier lines count. Panics with the output if the process
    /// ends before.
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

    /// Waits for a log line with this message, and returns it.
    pub(crate) async fn logged(&self, message: &str) -> Value {
        self.log(message, |line| (text_of(line) == Some(message)).then(|| line.clone())).await
    }

    /// Waits until the process serves HTTP, and returns its address.
    pub(crate) async fn address(&self) -> SocketAddr {
        let line = self.logged("listening").await;
        let address = line.get("address").or_else(|| line.pointer("/fields/address"));
        address.and_then(Value::as_str).unwrap().parse().unwrap()
    }

    /// Waits until `/readyz` succeeds, and returns the address.
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

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT, like Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal, and ignores a process that has ended. Its process id is not reused before it is waited for.
    fn signal(&self, signal: Signal) {
        if self.child.id().is_some() {
            kill_process(self.pid, signal).unwrap();
        }
    }

    /// Waits for the exit of the process and the end of its output.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let status = within("the process to end", self.child.wait()).await.unwrap();
        within("the end of its output", self.readers.wait()).await;
        status
    }
}

/// Returns the message of a log line, whether or not its fields are flattened.
fn text_of(line: &Value) -> Option<&str> {
    line.get("message").or_else(|| line.pointer("/fields/message"))?.as_str()
}
