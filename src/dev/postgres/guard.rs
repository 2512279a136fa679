//! The shell between us and the server: it ends the server when we end, however we end.

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

/// Between two looks at the server's status file.
const POLL: Duration = Duration::from_millis(5);

/// A watcher reads our end of the pipe: a line is the signal to send, its end means that we are gone. The watcher
/// tells the shell itself by SIGUSR1, since only the server's parent knows for sure that a process id is still the
/// server's. `$1` is the directory to remove, or empty; the rest is the server's command line.
/// A second word in the line says that this is for good (SIGUSR2): the directory is removed here and not by us, who may
/// be killed half way.
/// SIGHUP is what the kernel sends to a process group with a stopped (frozen) member when its owner dies.
const SCRIPT: &str = r#"
trap '' HUP
remove=$1; shift
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
if [ -n "$remove_it" ] && [ -n "$remove" ]; then cd / && rm -rf "$remove"; fi
exit "$status"
"#;

/// A guard and the server under it. Dropping it closes the pipe, which ends the server.
#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
    pipe: ChildStdin,
    server_pid: u32,
}

impl Guard {
    /// Starts `program`, which is the server (it may not be ready yet) or makes its database. With `throwaway`, `dir` goes when we do.
    pub(super) async fn launch(
        user: ServerUser,
        program: &Path,
        arguments: &[OsString],
        dir: &Path,
        throwaway: bool,
    ) -> Result<Self, EmbeddedError> {
        let failed = || EmbeddedError::io("start", program);
        let mut command = user.command(Path::new("/bin/sh"), dir);
        command.args(["-c", SCRIPT, "bday-postgres-guard"]);
        if throwaway {
            command.arg(dir);
        } else {
            command.arg("");
        }
        command.arg(program).args(arguments);
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

    /// The postmaster's process id.
    pub(super) fn server_pid(&self) -> u32 {
        self.server_pid
    }

    /// Waits until the server accepts connections; `false` when it ended instead.
    pub(super) async fn ready(&mut self, data_dir: &Path) -> bool {
        // The server's own word for it, the eighth line, as `pg_ctl --wait` reads it. The file of an earlier run
        // may still lie there, so the first line must be our server's process id.
        let status_file = data_dir.join("postmaster.pid");
        let pid = self.server_pid.to_string();
        loop {
            if let Ok(status) = std::fs::read_to_string(&status_file) {
                let mut lines = status.lines().map(str::trim);
                if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
                    return true;
                }
            }
            if tokio::time::timeout(POLL, self.shell.wait()).await.is_ok() {
                return false;
            }
        }
    }

    /// Waits for a program that ends by itself, which `initdb` does; whether it succeeded.
    pub(super) async fn finish(mut self) -> std::io::Result<bool> {
        // Closing the pipe would end the program.
        let _pipe = self.pipe;
        self.shell.wait().await.map(|status| status.success())
    }

    /// Sends `signal` to the postmaster and waits until the server is gone; `for_good`, its throw-away directory as well.
    pub(super) async fn end(mut self, signal: &str, for_good: bool) -> std::io::Result<()> {
        let line = format!("{signal}{}\n", if for_good { " for-good" } else { "" });
        // A server that is gone already has closed the pipe: that is what is wanted.
        let _gone = self.pipe.write_all(line.as_bytes()).await;
        self.shell.wait().await.map(drop)
    }
}
