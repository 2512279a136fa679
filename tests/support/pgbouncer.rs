//! A PgBouncer process in front of the test server, with default settings except for the pool mode.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustix::process::geteuid;
use tokio::net::TcpStream;

use super::process::{Bday, Running};
use super::wait::eventually;

/// The path on Debian, which is not in the PATH of every user.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running PgBouncer, stopped when dropped.
pub(crate) struct PgBouncer {
    url: String,
    folder: PathBuf,
    _running: Running,
}

impl PgBouncer {
    /// Starts PgBouncer in front of the database at `url`. Prints a message and returns `None` if it is not installed.
    pub(crate) async fn start(url: &str, pool_mode: &str) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("skipped: PgBouncer is not installed (apt-get install pgbouncer)");
            return None;
        }
        let mut url: Url = url.parse().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("bday-pgbouncer-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let (settings, users) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
        let (host, port) = (url.host_str().unwrap(), url.port().unwrap());
        let text = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_file = {}\npool_mode = {pool_mode}\n",
            free.port(),
            users.display()
        );
        std::fs::write(&settings, text).unwrap();
        let login = format!("\"{}\" \"{}\"\n", url.username(), url.password().unwrap());
        std::fs::write(&users, login).unwrap();
        let mut arguments = vec![settings.to_str().unwrap().to_owned()];
        // PgBouncer refuses to run as root.
        if geteuid().is_root() {
            for path in [&folder, &settings, &users] {
                chown(path, Some(postgres_uid()), None).unwrap();
            }
            arguments.extend(["-u", "postgres"].map(str::to_owned));
        }
        let running = Bday::program(Path::new(PROGRAM), arguments).start();
        eventually("PgBouncer to listen", async || TcpStream::connect(free).await.ok()).await;
        url.set_port(Some(free.port())).unwrap();
        Some(Self { url: url.into(), folder, _running: running })
    }

    /// Returns the URL for `BDAY__DATABASE__URL`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn postgres_uid() -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let entry = users.lines().find_map(|line| line.strip_prefix("postgres:x:")).unwrap();
    entry.split(':').next().unwrap().parse().unwrap()
}
