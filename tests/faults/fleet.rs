//! The daemons: started, killed, stopped, frozen, and replaced.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use super::journal::Cause;
use super::place::Place;
use super::plan::{ADDS_A_KIND, DaemonFault, TURNED};
use super::seed;
use super::support::process::Running;

/// One of the daemons, and those that were here before it.
pub(crate) struct Daemon<'a> {
    place: &'a Place,
    number: usize,
    generation: u32,
    running: Option<Running>,
    /// What each of them said.
    pub(crate) logs: Vec<(String, Vec<String>)>,
    /// Deaths that nobody ordered.
    pub(crate) complaints: Vec<String>,
}

impl<'a> Daemon<'a> {
    pub(crate) fn start(place: &'a Place, number: usize) -> Self {
        let mut daemon =
            Self { place, number, generation: 0, running: None, logs: Vec::new(), complaints: Vec::new() };
        daemon.launch();
        daemon
    }

    /// Each has a path of its own at the receiver: so a request tells who sent it.
    fn path(&self) -> String {
        format!("/{}-{}", self.number, self.generation)
    }

    fn launch(&mut self) {
        self.generation += 1;
        let path = self.path();
        let bday = match self.number {
            TURNED => self.place.turned(&path),
            ADDS_A_KIND => {
                let message = format!("BDAY__KINDS__{}__MESSAGE", seed::ADDED_KIND.to_uppercase());
                self.place.bday(&["serve"], &path).env(&message, "Happy name day")
            }
            _ => self.place.bday(&["serve"], &path),
        };
        self.running = Some(bday.start());
    }

    pub(crate) async fn ready(&self) {
        if let Some(running) = &self.running {
            running.logged("listening").await;
        }
    }

    pub(crate) async fn suffer(&mut self, fault: DaemonFault) {
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
        let cause = Cause::Killed(self.path());
        let status = self
            .place
            .journal
            .during(cause, async {
                running.kill();
                running.exit().await
            })
            .await;
        if status.signal().is_none() && !self.refused_its_clock(&running) {
            self.complain(format!("had ended by itself before it was killed: {status}"));
        }
        self.logs.push((self.path(), running.lines()));
    }

    /// SIGTERM, and its end is to be a good one.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let from = self.place.journal.now();
        running.terminate();
        let status = running.exit().await;
        let took = self.place.journal.now().saturating_sub(from);
        // One that has hardly begun has not taken the signal over yet.
        if !status.success() && status.signal() != Some(15) && !self.refused_its_clock(&running) {
            self.complain(format!("ended badly after SIGTERM: {status}"));
        }
        if status.signal().is_some() {
            self.place.journal.during(Cause::Killed(self.path()), async {}).await;
        }
        self.place.journal.note(format!("daemon {} stopped in {took:.2?}", self.path()));
        self.logs.push((self.path(), running.lines()));
    }

    /// A daemon that starts with a wrong clock says so and ends.
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
            self.place.journal.during(Cause::Frozen(self.path()), still).await;
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "every caller has just made it")]
    fn complain(&mut self, what: String) {
        self.complaints.push(format!("daemon {} {what}", self.path()));
    }
}
