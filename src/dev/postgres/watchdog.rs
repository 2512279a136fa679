//! The shell between this process and the server, which ends the server when this process ends.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

use super::EmbeddedError;
use super::host::ServerUser;

/// The server's log, in its directory.
pub(super) const LOG: &str = "server.log";

/// Between two reads of the server's status file.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// `$1` is the directory to remove at the end; the rest is the server's command line.
///
/// A watcher process reads the pipe. A line names a signal for the server; a second word in it asks for the removal of the
/// directory (SIGUSR2 to the shell), which is done here since this process may be killed meanwhile. The end of the pipe
/// means that this process has ended (SIGUSR1 to the shell): only the server's parent can be sure that a process id is
/// still the server's. The kernel sends SIGHUP to a process group with a stopped (frozen) member when its owner ends.
const SCRIPT: &str = r#"
trap '' HUP
directory=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- >>server.log 2>&1 &
server=$!
remove_it=
trap 'remove_it=yes' USR2
trap 'remove_it=yes; kill -s CONT "$server"; kill -s QUIT "$server"' USR1
{ if read -r how for_good <&3; then [ -z "$for_good" ] || kill -s USR2 $$; kill -s "$how" "$server"; fi; read -r how <&3; kill -s USR1 $$; } 2>/dev/null 3<&3 &
watcher=$!
exec 3<&-
echo "$server"
exec >/dev/null
while kill -s 0 "$server"; do wait "$server"; status=$?; done 2>/dev/null
kill "$watcher" 2>/dev/null
if [ -n "$remove_it" ]; then cd / && rm -rf "$directory"; fi
exit "$status"
"#;

/// A watchdog and its server. Dropping it closes the pipe, which ends the server.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    pipe: ChildStdin,
    server_pid: u32,
}

impl Watchdog {
    /// Starts the server or `initdb`. `dir` is removed when this process ends.
    pub(super) async fn launch(
        user: ServerUser,
        program: &Path,
        arguments: &[OsString],
        dir: &Path,
    ) -> Result<Self, EmbeddedError> {
        let failed = || EmbeddedError::io("start", program);
        let mut command = user.command(Path::new("/bin/sh"), dir);
        command.args(["-c", SCRIPT, "bday-postgres-watchdog"]);
        command.arg(dir).arg(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);

        let mut shell = command.spawn().map_err(failed())?;
        let (Some(pipe), Some(stdout)) = (shell.stdin.take(), shell.stdout.take()) else {
            return Err(failed()(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.map_err(failed())?;
        let server_pid =
            line.trim().parse().map_err(|_| failed()(std::io::ErrorKind::UnexpectedEof.into()))?;
        Ok(Self { shell, pipe, server_pid })
    }

    pub(super) fn server_pid(&self) -> u32 {
        self.server_pid
    }

    /// Waits until the server accepts connections; returns `false` if it ended instead.
    pub(super) async fn ready(&mut self, data_dir: &Path) -> bool {
        // As `pg_ctl --wait` does: the eighth line is the server's state. The file may be an earlier run's, so the first
        // line must be the process id of this server.
        let status_file = data_dir.join("postmaster.pid");
        let pid = self.server_pid.to_string();
        loop {
            if let Ok(status) = std::fs::read_to_string(&status_file) {
                let mut lines = status.lines().map(str::trim);
                if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
                    return true;
                }
            }
            if tokio::time::timeout(POLL_INTERVAL, self.shell.wait()).await.is_ok() {
                return false;
            }
        }
    }

    /// Waits for a program that ends by itself, such as `initdb`; returns whether it succeeded.
    pub(super) async fn finish(mut self) -> std::io::Result<bool> {
        self.shell.wait().await.map(|status| status.success())
    }

    /// Sends `signal` to the postmaster and waits for the server's end; with `for_good`, its directory is removed.
    pub(super) async fn end(mut self, signal: &str, for_good: bool) -> std::io::Result<()> {
        let line = format!("{signal}{}\n", if for_good { " for-good" } else { "" });
        // Fails if the server has ended before.
        let _ = self.pipe.write_all(line.as_bytes()).await;
        self.shell.wait().await.map(drop)
    }
}
