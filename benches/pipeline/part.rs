//! A part of the world in a process of its own: this binary in another role. One line tells that it is there, then
//! each line asked is answered by a line. It ends when its standard input does, so it never outlives us.

use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::procfs;

#[derive(Debug)]
pub(crate) struct Part {
    /// Held, since dropping it ends the process.
    _child: Child,
    pid: u32,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts the role, and gives its first line.
    pub(crate) async fn start(role: &[&str]) -> anyhow::Result<(Self, String)> {
        Self::start_with(role, Vec::new()).await
    }

    /// The same with variables of its own in the environment.
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
        let pid = child.id().context("it has ended already")?;
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
        self.answers.next_line().await?.context("it ended")
    }
}

/// The other side: says `first`, and answers until nobody asks any more.
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
