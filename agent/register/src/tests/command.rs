//! The command around which an instance is held: real processes, on the real
//! clock.

use std::path::Path;

use pointsman_memory::{Fake, Fault};
use tokio::net::TcpListener;

use super::*;

/// Long enough for a slow machine; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(30);

struct Running {
    store: MemoryStore,
    signals: mpsc::Sender<Signal>,
    task: JoinHandle<Result<u8, RegisterError>>,
}

fn register(store: &MemoryStore, script: &str) -> Register {
    let command = ["sh", "-c", script];
    Register {
        holding: holding(Arc::new(store.clone())),
        addr: "127.0.0.1:9".parse().unwrap(),
        wait_port: None,
        command: command.iter().map(Into::into).collect(),
        guard: None,
        private: Vec::new(),
        drain: None,
        grace: LONG,
    }
}

impl Running {
    fn start(script: &str, change: impl FnOnce(&mut Register)) -> Self {
        // An etcd over a long line: what comes first must not be luck.
        let fake = Fake::new(Fault::Dawdles(Duration::from_millis(100)));
        let store = fake.inner.clone();
        let mut register = register(&store, script);
        register.holding.store = Arc::new(fake);
        change(&mut register);
        let (signals, receiver) = mpsc::channel(8);
        let task = tokio::spawn(register.run(receiver));
        Self {
            store,
            signals,
            task,
        }
    }

    async fn registered(&self, wanted: bool) {
        wait(|| async { stored(&self.store).await.is_some() == wanted }).await;
    }

    async fn signal(&self, signal: Signal) {
        self.signals.send(signal).await.unwrap();
    }

    /// The exit code, and that nothing is registered any more.
    async fn ended(self) -> u8 {
        let code = timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
        assert_eq!(stored(&self.store).await, None);
        code
    }
}

async fn wait<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let reached = timeout(LONG, async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    reached.await.unwrap();
}

async fn there(path: &Path) {
    wait(|| async { path.exists() }).await;
}

#[tokio::test]
async fn the_exit_code_is_passed_on_and_the_instance_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; exit 7", go.display());
    let running = Running::start(&script, |_| {});
    running.registered(true).await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(running.ended().await, 7);
}

#[tokio::test]
async fn a_command_that_died_of_a_signal_is_told_as_a_shell_tells_it() {
    assert_eq!(Running::start("kill -9 $$", |_| {}).ended().await, 128 + 9);
}

#[tokio::test]
async fn a_stop_deregisters_first_and_then_passes_the_signal_on() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, told) = (dir.path().join("ready"), dir.path().join("told"));
    // The command goes on after the signal, until it is let go.
    let script = format!(
        "trap 'touch {0}; until [ -e {0}.go ]; do sleep 0.02; done; exit 3' TERM; \
         touch {1}; while :; do sleep 0.02; done",
        told.display(),
        ready.display()
    );
    let running = Running::start(&script, |_| {});
    there(&ready).await;
    running.registered(true).await;
    running.signal(Signal::SIGTERM).await;
    there(&told).await;
    assert_eq!(
        stored(&running.store).await,
        None,
        "no traffic while it ends"
    );
    std::fs::write(told.with_extension("go"), "").unwrap();
    assert_eq!(running.ended().await, 3);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_etcd_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let script = format!(
        "trap 'exit 4' TERM; touch {}; while :; do sleep 0.02; done",
        ready.display()
    );
    let running = Running::start(&script, |_| {});
    there(&ready).await;
    running.registered(true).await;
    running.store.set_down(true);
    running.signal(Signal::SIGTERM).await;
    let code = timeout(LONG, running.task).await.unwrap().unwrap().unwrap();
    assert_eq!(code, 4);
}

#[tokio::test]
async fn a_command_that_does_not_end_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let script = format!(
        "trap '' TERM; sh -c 'echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 1; done'",
        child.display()
    );
    let running = Running::start(&script, |r| r.grace = Duration::from_millis(300));
    there(&child).await;
    let pid: i32 = std::fs::read_to_string(&child)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    running.registered(true).await;
    running.signal(Signal::SIGTERM).await;
    assert_eq!(running.ended().await, 128 + 9);
    // Whoever inherits it may not have waited for it yet.
    wait(|| async {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |s| s.contains(") Z "))
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let script = format!(
        "trap '' TERM; touch {}; while :; do sleep 0.02; done",
        ready.display()
    );
    let running = Running::start(&script, |_| {});
    there(&ready).await;
    running.registered(true).await;
    running.signal(Signal::SIGTERM).await;
    running.registered(false).await;
    running.signal(Signal::SIGTERM).await;
    assert_eq!(running.ended().await, 128 + 15);
}

#[tokio::test]
async fn other_signals_are_passed_on_and_do_not_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, told) = (dir.path().join("ready"), dir.path().join("told"));
    let script = format!(
        "trap 'touch {}' USR1; touch {}; while [ ! -e {}.go ]; do sleep 0.02; done",
        told.display(),
        ready.display(),
        told.display()
    );
    let running = Running::start(&script, |_| {});
    there(&ready).await;
    running.signal(Signal::SIGUSR1).await;
    there(&told).await;
    running.registered(true).await;
    std::fs::write(told.with_extension("go"), "").unwrap();
    assert_eq!(running.ended().await, 0);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_an_error_and_nothing_is_registered() {
    let store = MemoryStore::new();
    let mut register = register(&store, "");
    register.command = vec!["/nowhere/at/all".into()];
    let (_signals, receiver) = mpsc::channel(1);
    let error = register.run(receiver).await.unwrap_err();
    assert!(matches!(error, RegisterError::Spawn(e) if e.kind() == io::ErrorKind::NotFound));
    assert_eq!(store.revision(), 1);
}

#[tokio::test]
async fn without_a_command_a_signal_ends_it_with_zero() {
    let running = Running::start("", |r| r.command.clear());
    running.registered(true).await;
    running.signal(Signal::SIGHUP).await;
    running.signal(Signal::SIGTERM).await;
    assert_eq!(running.ended().await, 0);
}

#[tokio::test]
async fn it_registers_once_the_port_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let running = Running::start("while :; do sleep 0.02; done", |r| {
        r.addr = addr;
        r.wait_port = Some(LONG);
    });
    sleep(Duration::from_millis(300)).await;
    assert_eq!(stored(&running.store).await, None);
    let _listener = TcpListener::bind(addr).await.unwrap();
    running.registered(true).await;
    running.signal(Signal::SIGTERM).await;
    assert_eq!(running.ended().await, 128 + 15);
}

#[tokio::test]
async fn a_port_that_never_opens_ends_the_command_and_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let ended = dir.path().join("ended");
    let script = format!(
        "trap 'touch {}; exit' TERM; while :; do sleep 0.02; done",
        ended.display()
    );
    let running = Running::start(&script, |r| {
        r.addr = addr;
        r.wait_port = Some(Duration::from_millis(500));
    });
    let error = timeout(LONG, running.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{addr} accepted no connection within 500ms")
    );
    assert!(ended.exists());
    assert_eq!(running.store.revision(), 1, "nothing was registered");
}
