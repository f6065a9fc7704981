//! How punctual one agent is with many instances: a few hundred, or ten thousand
//! for two minutes, which says something about a release only:
//! `POINTSMAN_PROBE_SCALE=full POINTSMAN_BIN=… cargo test --test probe scale -- --nocapture`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{Client, Txn, TxnOp};
use pointsman_dev::ports;
use pointsman_dev::services::Service;
use procfs::process::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::etcd::PREFIX;
use crate::world::{World, metric, until};

/// How many there are, how often each is asked, and for how long that is looked
/// at.
struct Scale {
    count: usize,
    interval: Duration,
    length: Duration,
}

const FULL: Scale = Scale {
    count: 10_000,
    interval: Duration::from_secs(10),
    length: Duration::from_secs(60),
};
const SMALL: Scale = Scale {
    count: 200,
    interval: Duration::from_secs(1),
    length: Duration::from_secs(6),
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// When each instance was asked.
type Asked = Arc<Vec<Mutex<Vec<Instant>>>>;

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    stream.write_all(ANSWER).await?;
    stream.shutdown().await
}

/// Listens on so many addresses of the loopback network.
async fn listen(count: usize) -> (Vec<SocketAddr>, Asked, JoinSet<()>) {
    let port = ports::free_loopback().port();
    let asked: Asked = Arc::new((0..count).map(|_| Mutex::default()).collect());
    let (mut addrs, mut servers) = (Vec::new(), JoinSet::new());
    for n in 0..count {
        let low = u8::try_from(n % 200 + 1).unwrap();
        let high = u8::try_from(n / 200).unwrap();
        let addr = SocketAddr::from((Ipv4Addr::new(127, 77, high, low), port));
        let listener = TcpListener::bind(addr).await.unwrap();
        addrs.push(addr);
        let asked = Arc::clone(&asked);
        servers.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                asked[n].lock().unwrap().push(Instant::now());
                answer(stream).await.ok();
            }
        });
    }
    (addrs, asked, servers)
}

async fn register(url: &str, addrs: &[SocketAddr]) {
    let client = Client::connect([url], None).await.unwrap();
    let mut kv = client.kv_client();
    for (page, addrs) in addrs.chunks(100).enumerate() {
        let puts = addrs.iter().enumerate().map(|(n, addr)| {
            let key = format!("{PREFIX}instances/shop/i{}", page * 100 + n);
            TxnOp::put(key, addr.to_string(), None)
        });
        let puts: Vec<_> = puts.collect();
        kv.txn(Txn::new().and_then(puts)).await.unwrap();
    }
}

/// The value below which this part of the sorted values lies.
fn part(sorted: &[Duration], part: f64) -> Duration {
    let place = (sorted.len() as f64 * part) as usize;
    sorted[place.min(sorted.len() - 1)]
}

/// The bound of a histogram's bucket below which this part lies, from what it
/// was and what it is.
fn bucket(before: &str, after: &str, name: &str, part: f64) -> String {
    let all = |text| metric(text, &format!("{name}_count"));
    let wanted = (all(after) - all(before)) * part;
    let prefix = format!("pointsman_agent_{name}_bucket{{le=\"");
    for line in after.lines() {
        let Some((bound, _)) = line.strip_prefix(&prefix).and_then(|l| l.split_once('"')) else {
            continue;
        };
        let line = format!("{name}_bucket{{le=\"{bound}\"}}");
        if metric(after, &line) - metric(before, &line) >= wanted {
            return format!("≤ {bound} s");
        }
    }
    "?".to_owned()
}

fn cpu(pid: i32) -> f64 {
    let stat = Process::new(pid).unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_instances_is_asked_once_in_an_interval() {
    let is_full = std::env::var_os("POINTSMAN_PROBE_SCALE").is_some_and(|size| size == "full");
    let Scale {
        count,
        interval,
        length,
    } = if is_full { FULL } else { SMALL };
    let mut world = World::start_without_agents().await;
    let (addrs, asked, _servers) = listen(count).await;
    let seconds = interval.as_secs();
    let check = format!(r#"{{"health_check":{{"path":"/up","interval":"{seconds}s"}}}}"#);
    world.registry.put("apps/shop", check).await;
    register(&world.etcd.url(), &addrs).await;
    world.add_agent("agent-1");
    world.agents[0].ready().await.unwrap();
    until("all are probed", async || {
        match world.metric(0, "probed_instances").await as usize {
            probed if probed == count => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    sleep(interval + Duration::from_secs(2)).await;

    let pid = world.agents[0].process().pid();
    let before = world.get(0, "/metrics").await.text();
    let (begun, cpu_before) = (Instant::now(), cpu(pid));
    sleep(length).await;
    let (took, cpu_after) = (begun.elapsed(), cpu(pid));
    let after = world.get(0, "/metrics").await.text();

    let mut off = Vec::new();
    let mut probes = 0;
    for times in asked.iter() {
        let times = times.lock().unwrap().clone();
        for time in &times {
            let since = time.duration_since(times[0]).as_nanos();
            let rounds = (since + interval.as_nanos() / 2) / interval.as_nanos();
            let turn = times[0] + interval * u32::try_from(rounds).unwrap();
            off.push(time.duration_since(turn).max(turn.duration_since(*time)));
        }
        let within = |time: &&Instant| **time >= begun && **time < begun + took;
        let its_probes = times.iter().filter(within).count();
        probes += its_probes;
        let turns = (took.as_nanos() / interval.as_nanos()) as usize;
        assert!(
            (turns - 1..=turns + 1).contains(&its_probes),
            "an instance was asked {its_probes} times in {turns} intervals"
        );
    }
    off.sort_unstable();
    let moved = |name: &str| metric(&after, name) - metric(&before, name);
    eprintln!(
        "{count} instances for {took:.1?}: {:.0} probes/s; off the first turn plus n intervals, \
         at the instance: p50 {:.2?}, p99 {:.2?}, max {:.2?}; delay in the agent: p50 {}, p99 {}, \
         max {}; left out: {}; good: {}; the agent's CPU: {:.1} %",
        probes as f64 / took.as_secs_f64(),
        part(&off, 0.5),
        part(&off, 0.99),
        part(&off, 1.0),
        bucket(&before, &after, "probe_delay_seconds", 0.5),
        bucket(&before, &after, "probe_delay_seconds", 0.99),
        bucket(&before, &after, "probe_delay_seconds", 1.0),
        moved("probes_late_total"),
        moved(r#"probes_total{result="good"}"#),
        (cpu_after - cpu_before) / took.as_secs_f64() * 100.0,
    );
    assert!(moved("probes_late_total") < 100.0);
}
