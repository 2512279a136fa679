//! A part of the world in a separate process: this binary in another role. The process prints one line when it is ready,
//! then answers each line of its standard input with one line. It ends at the end of its input, so it does not outlive
//! the benchmark.

use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::procfs;

#[derive(Debug)]
pub(crate) struct Part {
    /// Held because dropping it kills the process.
    _child: Child,
    pid: u32,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts a process in `role`; returns it and its first line.
    pub(crate) async fn start(role: &[&str]) -> anyhow::Result<(Self, String)> {
        Self::start_with(role, Vec::new()).await
    }

    /// Starts a process in `role` with additional environment variables.
    pub(crate) async fn start_with(
        role: &[&str],
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<(Self, String)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(role)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("the process has already exited")?;
        let questions = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut part = Self { _child: child, pid, questions, answers };
        let first = part.answer().await?;
        Ok((part, first))
    }

    pub(crate) async fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        self.questions.write_all(format!("{question}\n").as_bytes()).await?;
        self.answer().await
    }

    pub(crate) fn cpu_secs(&self) -> f64 {
        procfs::cpu_secs(self.pid)
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        self.answers.next_line().await?.context("the process exited")
    }
}

/// Runs in the part's process: prints `first`, then answers each line until the end of the input.
pub(crate) async fn answer(
    first: &str,
    answer: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(format!("{first}\n").as_bytes()).await?;
    out.flush().await?;
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    while let Some(question) = questions.next_line().await? {
        out.write_all(format!("{}\n", answer(&question)?).as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}
