//! The daemons: starts, kills, stops, freezes and replaces them.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use super::journal::Cause;
use super::place::Place;
use super::plan::{ADDS_A_KIND, DaemonFault, TURNED};
use super::sent::ADDED_KIND;
use super::support::process::Running;

/// One of the daemons, with the logs of its predecessors.
pub(crate) struct Daemon<'a> {
    place: &'a Place,
    number: usize,
    generation: u32,
    running: Option<Running>,
    /// The name and the log lines of each process that has ended.
    pub(crate) logs: Vec<(String, Vec<String>)>,
    /// Processes that ended unexpectedly or with a failure.
    pub(crate) complaints: Vec<String>,
}

impl<'a> Daemon<'a> {
    pub(crate) fn start(place: &'a Place, number: usize) -> Self {
        let mut daemon =
            Self { place, number, generation: 0, running: None, logs: Vec::new(), complaints: Vec::new() };
        daemon.launch();
        daemon
    }

    /// Returns the unique name that identifies the sender of a request.
    fn name(&self) -> String {
        format!("{}-{}", self.number, self.generation)
    }

    fn launch(&mut self) {
        self.generation += 1;
        let name = self.name();
        let bday = match self.number {
            TURNED => self.place.turned(&name),
            ADDS_A_KIND => {
                let key = |key| format!("BDAY__KINDS__{}__{key}", ADDED_KIND.to_uppercase());
                let bday = self.place.bday(&["serve"], &name).env(&key("MESSAGE"), "Happy name day");
                bday.env(&key("CHANNELS"), "webhook")
            }
            _ => self.place.bday(&["serve"], &name),
        };
        self.running = Some(bday.start());
    }

    pub(crate) async fn ready(&self) {
        if let Some(running) = &self.running {
            running.logged("listening").await;
        }
    }

    pub(crate) async fn inject(&mut self, fault: DaemonFault) {
        match fault {
            DaemonFault::Kill(pause) => {
                self.kill().await;
                tokio::time::sleep(pause).await;
                self.launch();
            }
            DaemonFault::Terminate(pause) => {
                self.stop().await;
                tokio::time::sleep(pause).await;
                self.launch();
            }
            DaemonFault::Freeze(long) => self.freeze(long).await,
        }
    }

    async fn kill(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let cause = Cause::Killed(self.name());
        let status = self
            .place
            .journal
            .during(cause, async {
                running.kill();
                running.exit().await
            })
            .await;
        if status.signal().is_none() && !self.refused_its_clock(&running) {
            self.complain(format!("ended unexpectedly before it was killed: {status}"));
        }
        self.logs.push((self.name(), running.lines()));
    }

    /// Sends SIGTERM and requires a successful exit.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let from = self.place.journal.now();
        running.terminate();
        let status = running.exit().await;
        let took = self.place.journal.now().saturating_sub(from);
        // A daemon that has just started may not have installed its signal handler yet.
        if !status.success() && status.signal() != Some(15) && !self.refused_its_clock(&running) {
            self.complain(format!("failed after SIGTERM: {status}"));
        }
        if status.signal().is_some() {
            self.place.journal.during(Cause::Killed(self.name()), async {}).await;
        }
        self.place.journal.note(format!("daemon {} stopped in {took:.2?}", self.name()));
        self.logs.push((self.name(), running.lines()));
    }

    /// A daemon whose clock is wrong when it starts logs an error and exits.
    fn refused_its_clock(&self, ended: &Running) -> bool {
        let says_so = |line: &String| line.contains("differs from the database's");
        self.number == TURNED && ended.lines().last().is_some_and(says_so)
    }

    async fn freeze(&self, long: Duration) {
        if let Some(running) = &self.running {
            let still = async {
                running.freeze();
                tokio::time::sleep(long).await;
                running.thaw();
            };
            self.place.journal.during(Cause::Frozen(self.name()), still).await;
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers pass a new string")]
    fn complain(&mut self, what: String) {
        self.complaints.push(format!("daemon {} {what}", self.name()));
    }
}
