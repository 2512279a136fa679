//! Tests of the process helpers, with a shell instead of the daemon.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::support::process::Bday;
use crate::support::wait::eventually;

fn shell(script: &str) -> Bday {
    Bday::program(Path::new("/bin/sh"), ["-c", script])
}

#[tokio::test]
async fn a_process_is_ready_when_it_says_so_over_http() {
    let receiver = crate::support::receiver::Receiver::start().await;
    receiver.next([crate::support::receiver::Behaviour::Status(503)]);
    let address = receiver.url().replace("http://", "").replace("/hook", "");
    let daemon = shell(&format!(
        r#"echo 'not json'; echo '{{"level":"INFO","message":"listening","address":"{address}"}}' >&2; exec sleep 60"#
    ));
    let daemon = daemon.start();
    assert_eq!(daemon.ready().await.to_string(), address);
    assert_eq!(receiver.records().len(), 2);
    assert_eq!(daemon.logs().len(), 1);
}

#[tokio::test]
async fn a_process_tells_how_it_ended() {
    let mut polite = shell(r#"trap 'echo "{\"message\":\"bye\"}"; exit 7' TERM; echo "{\"message\":\"up\"}"; while :; do sleep 0.01; done"#).start();
    polite.logged("up").await;
    polite.freeze();
    polite.terminate();
    polite.thaw();
    assert_eq!(polite.exit().await.code(), Some(7));
    polite.logged("bye").await;
    polite.terminate();

    for end in [crate::support::process::Running::kill, crate::support::process::Running::interrupt] {
        let mut killed = shell("echo '{\"message\":\"up\"}'; exec sleep 60").start();
        killed.logged("up").await;
        end(&killed);
        assert!(killed.exit().await.signal().is_some());
    }
}

#[tokio::test]
async fn a_process_dies_when_it_is_dropped() {
    let process = shell("exec sleep 60").start();
    let running = Path::new("/proc").join(process.pid().to_string());
    assert!(running.exists());
    drop(process);
    eventually("the process to go", async || (!running.exists()).then_some(())).await;
}

#[tokio::test]
#[should_panic(expected = "it ended before: never")]
async fn waiting_for_the_log_of_an_ended_process_fails_at_once() {
    shell("echo last words").start().logged("never").await;
}

#[tokio::test]
async fn a_command_sees_its_own_environment_and_leaves_its_output() {
    let sqs = crate::support::sqs::Sqs::start().await;
    let command = shell("echo $A $AWS_ENDPOINT_URL ${CARGO_PKG_NAME-none}; echo oops >&2; exit 3");
    let finished = command.env("A", "1").envs(sqs.env()).finish().await;
    assert_eq!(finished.status.code(), Some(3));
    assert_eq!(finished.stdout, format!("1 {} none\n", sqs.endpoint()));
    assert_eq!(finished.stderr, "oops\n");
}

#[tokio::test]
async fn the_binary_of_this_build_is_what_runs() {
    let finished = Bday::new(["--version"]).finish().await;
    assert!(finished.status.success(), "{finished:?}");
}
