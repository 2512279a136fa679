//! The server's needs on its host: a user, a directory, a port, a password, signals.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::EmbeddedError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerUser {
    Current,
    /// The user `postgres`, if this process is root.
    Other {
        uid: u32,
        gid: u32,
    },
}

impl ServerUser {
    pub(super) fn choose() -> Result<Self, EmbeddedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Current);
        }
        let path = Path::new("/etc/passwd");
        let users = std::fs::read_to_string(path).map_err(EmbeddedError::io("read", path))?;
        users.lines().find_map(postgres_entry).ok_or(EmbeddedError::NoServerUser)
    }

    /// Returns the command `program` as this user in `dir`, without the `PGDATA` and locale of this process.
    pub(super) fn command(self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn own(self, path: &Path) -> Result<(), EmbeddedError> {
        match self {
            Self::Current => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).map_err(EmbeddedError::io("chown", path))
            }
        }
    }
}

/// Parses `postgres:x:UID:GID:…`, as in `passwd(5)`.
fn postgres_entry(line: &str) -> Option<ServerUser> {
    let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
    Some(ServerUser::Other { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// Creates a temporary directory to which only the server's user has access.
pub(super) fn create_directory(user: ServerUser) -> Result<PathBuf, EmbeddedError> {
    let name = format!("bday-postgres-{}", &random_password()?[..12]);
    let dir = temporary_root(&std::env::temp_dir(), user)?.join(name);
    DirBuilder::new().mode(0o700).create(&dir).map_err(EmbeddedError::io("create the directory", &dir))?;
    user.own(&dir)?;
    Ok(dir)
}

/// Returns `given`, which is TMPDIR, as an absolute path, since the server has its own working directory. If this process is
/// root and the server's user cannot create and remove files there, returns `/tmp`.
fn temporary_root(given: &Path, user: ServerUser) -> Result<PathBuf, EmbeddedError> {
    let root = std::path::absolute(given).map_err(EmbeddedError::io("resolve the directory", given))?;
    let allows =
        |dir: &Path, bits: u32| dir.metadata().is_ok_and(|meta| meta.permissions().mode() & bits == bits);
    let usable =
        user == ServerUser::Current || allows(&root, 0o003) && root.ancestors().all(|dir| allows(dir, 0o001));
    Ok(if usable { root } else { "/tmp".into() })
}

/// Writes a file that only the server's user can read.
pub(super) fn write_private(path: &Path, content: &str, user: ServerUser) -> Result<(), EmbeddedError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(EmbeddedError::io("write", path))?;
    user.own(path)
}

pub(super) fn random_password() -> Result<String, EmbeddedError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(EmbeddedError::Random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

pub(super) fn unused_port() -> Result<u16, EmbeddedError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(EmbeddedError::io("find a free port on", Path::new("127.0.0.1")))
}

/// Sends `signal` to the postmaster, then to its children: after a SIGSTOP it forks no more.
pub(super) fn signal_tree(postmaster: u32, signal: Signal) -> Result<(), EmbeddedError> {
    send(postmaster, signal)?;
    let proc = Path::new("/proc");
    for entry in proc.read_dir().map_err(EmbeddedError::io("list the processes in", proc))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if parent_of(pid) == Some(postmaster) {
            send(pid, signal)?;
        }
    }
    Ok(())
}

fn send(pid: u32, signal: Signal) -> Result<(), EmbeddedError> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match process.map_or(Ok(()), |process| kill_process(process, signal)) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(EmbeddedError::io("signal", Path::new(&format!("process {pid}")))(errno.into())),
    }
}

/// Returns the fourth field of `/proc/PID/stat`. The second, the program's name, is in parentheses and may contain spaces.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_tmpdir_is_resolved_in_the_working_directory() {
        let here = std::env::current_dir().expect("a working directory");
        let root = temporary_root(Path::new("scratch"), ServerUser::Current).expect("a directory");
        assert_eq!(root, here.join("scratch"));
    }
}
