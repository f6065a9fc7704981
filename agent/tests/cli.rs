//! The binary from the outside, with no services: exit codes, and what is
//! said where.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for a slow machine; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(30);

fn pointsman(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") {
            command.env_remove(name);
        }
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn ends(mut command: Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    output
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn help_and_version_are_no_mistakes() {
    let output = ends(pointsman(&["--version"]), 0);
    assert!(text(&output.stdout).starts_with("pointsman "));
    ends(pointsman(&["serve", "--help"]), 0);
}

#[test]
fn a_bad_configuration_is_told_at_once_and_exits_with_64() {
    let mut command = pointsman(&["serve", "--log-level", "loud", "--grace", "5"]);
    command.env("POINTSMAN_AGENT_REDIS_URL", "http://u:geheim@h");
    command.env("POINTSMAN_AGENT_COLOUR", "red");
    let output = ends(command, 64);
    let errors = text(&output.stderr);
    assert!(errors.contains("has 4 mistakes:"), "{errors}");
    for origin in [
        "--log-level: ",
        "--grace: ",
        "POINTSMAN_AGENT_REDIS_URL: ",
        "POINTSMAN_AGENT_COLOUR: ",
    ] {
        assert!(errors.contains(origin), "{origin} not in {errors}");
    }
    assert!(!errors.contains("geheim"), "{errors}");
    ends(pointsman(&["serve", "--no-such-flag"]), 2);
    ends(pointsman(&["fly"]), 2);
    ends(pointsman(&[]), 2);
}

#[test]
fn a_good_configuration_is_printed_without_its_secrets() {
    let mut command = pointsman(&["check-config", "--id", "agent-7"]);
    command.env("POINTSMAN_AGENT_REDIS_URL", "redis://:geheim@h:1");
    let output = ends(command, 0);
    let config = text(&output.stdout);
    assert!(config.contains("agent-7"), "{config}");
    assert!(config.contains("redis://:(redacted)@h:1"), "{config}");
    assert!(!config.contains("geheim"), "{config}");
}

#[test]
fn a_port_that_is_taken_is_one_sentence_and_exits_with_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let output = ends(pointsman(&["serve", "--admin-listen", &addr]), 1);
    let errors = text(&output.stderr);
    let expected = format!("pointsman: the admin API cannot listen at {addr}: ");
    assert!(errors.starts_with(&expected), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

#[test]
fn a_command_that_cannot_be_executed_exits_as_in_a_shell() {
    let etcd = format!("http://{}", nobody());
    for (program, code) in [("/nowhere/at/all", 127), ("/etc/passwd", 126)] {
        let mut args = vec!["register", "--app", "shop", "--id", "shop-1"];
        args.extend(["--addr", "10.0.0.5:8080", "--etcd-endpoints", &etcd]);
        args.extend(["--", program]);
        let output = ends(pointsman(&args), code);
        assert!(text(&output.stderr).contains(program));
    }
}

#[test]
fn the_settings_are_not_passed_on_to_the_command() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let etcd = format!("http://{}", nobody());
    let args = ["register", "--app", "shop", "--id", "a"];
    let mut command = pointsman(&args);
    command.args(["--addr", "10.0.0.5:8080", "--", "env"]);
    command.env("POINTSMAN_AGENT_CONFIG", file.path());
    command.env("POINTSMAN_AGENT_ETCD_ENDPOINTS", etcd);
    command.env("POINTSMAN_AGENT_ETCD_USER", "u");
    command.env("POINTSMAN_AGENT_ETCD_PASSWORD", "geheim");
    command.env("POINTSMAN_AGENT_LOG_LEVEL", "warn");
    // No setting of ours: the command may need what its platform says.
    command.env("POINTSMAN_AGENT_SERVICE_HOST", "10.0.0.1");
    command.env("POINTSMAN_REDIS", "redis://127.0.0.1");
    let output = ends(command, 0);
    let environment = text(&output.stdout);
    let names = environment.lines().filter_map(|line| line.split_once('='));
    let mut ours: Vec<_> = names
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("POINTSMAN_"))
        .collect();
    ours.sort_unstable();
    assert_eq!(ours, ["POINTSMAN_AGENT_SERVICE_HOST", "POINTSMAN_REDIS"]);
    assert!(environment.contains("PATH="), "{environment}");
}

/// An agent that has neither etcd nor Redis.
struct Lonely {
    child: Child,
    addr: SocketAddr,
}

impl Lonely {
    fn start() -> Self {
        let (addr, etcd, redis) = (nobody(), nobody(), nobody());
        let child = pointsman(&[
            "serve",
            "--admin-listen",
            &addr.to_string(),
            "--etcd-endpoints",
            &format!("http://{etcd}"),
            "--redis-url",
            &format!("redis://{redis}"),
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let lonely = Self { child, addr };
        let begun = Instant::now();
        while lonely.get("/livez").is_none() {
            assert!(begun.elapsed() < LONG, "the admin API never answered");
            std::thread::sleep(Duration::from_millis(10));
        }
        lonely
    }

    /// The status line and the rest, if somebody answers.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.addr).ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn exit_code(mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < LONG, "the agent did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lonely {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_agent_without_etcd_and_redis_lives_says_what_it_lacks_and_ends_when_told() {
    let agent = Lonely::start();
    let alive = agent.get("/livez").unwrap();
    assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
    let ready = agent.get("/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("\"code\":\"not_ready\""), "{ready}");
    let list = agent.get("/v1/routes").unwrap();
    assert!(list.starts_with("HTTP/1.1 503 "), "{list}");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.exit_code(), Some(0));
}

#[test]
fn half_a_head_and_half_a_body_do_not_hold_up_a_shutdown() {
    let agent = Lonely::start();
    let put = "PUT /v1/routes/a.example HTTP/1.1\r\nHost: agent\r\nX-Half: ";
    let body = "1\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    let hanging: Vec<_> = [put.to_owned(), format!("{put}{body}")]
        .iter()
        .map(|sent| {
            let mut stream = TcpStream::connect(agent.addr).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            stream
        })
        .collect();
    // They were accepted before this.
    agent.get("/livez").unwrap();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.exit_code(), Some(0));
    drop(hanging);
}

#[test]
fn a_second_signal_does_not_wait_for_a_request_in_flight() {
    let mut agent = Lonely::start();
    let mut stream = TcpStream::connect(agent.addr).unwrap();
    stream
        .write_all(
            b"PUT /v1/routes/a.example HTTP/1.1\r\nHost: agent\r\nExpect: 100-continue\r\n\
              Content-Type: application/json\r\nContent-Length: 10\r\n\r\n",
        )
        .unwrap();
    // Asked to go on, the request is in the handler's hands.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    agent.signal(Signal::SIGTERM);
    let begun = Instant::now();
    while TcpStream::connect(agent.addr).is_ok() {
        assert!(begun.elapsed() < LONG, "it still accepts connections");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(agent.child.try_wait().unwrap().is_none(), "it waits");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.exit_code(), Some(128 + 15));
}
