//! Third-party servers in Python, from the virtual environment that `.ci/setup receivers` installs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::wait::within;

/// A Python program that prints one JSON value per line. Killed when dropped.
pub(crate) struct PythonServer {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl PythonServer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = environment().join("bin/python");
        let mut child = Command::new(&program)
            .arg("-u")
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `.ci/setup receivers`", program.display()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { lines, _child: child }
    }

    /// Waits for the next line.
    pub(crate) async fn next(&mut self) -> Value {
        let line = within("a line of the Python server", self.lines.next_line()).await.unwrap();
        let line = line.expect("the Python server has ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

fn environment() -> PathBuf {
    // target/debug/bday
    let target = Path::new(env!("CARGO_BIN_EXE_bday")).ancestors().nth(2).unwrap();
    target.join("tools/python")
}
