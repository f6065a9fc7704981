//! Nobody wants anything: nothing is done, nothing is logged.

use std::path::Path;
use std::time::Duration;

use pointsman_dev::services::Service;

use crate::support::upstreams::Upstreams;
use crate::support::world::World;

/// Long enough for whatever is done each second or every few.
const IDLE: Duration = Duration::from_secs(12);
/// CPU time that is next to nothing on a busy machine, of a debug build that
/// reconciles every three seconds: little more than one per cent.
const NOTHING: Duration = Duration::from_millis(150);

fn cpu_time(pid: i32) -> Duration {
    let stat = procfs::process::Process::new(pid).unwrap().stat().unwrap();
    let ticks = stat.utime + stat.stime;
    Duration::from_millis(ticks * 1000 / procfs::ticks_per_second())
}

fn size(log: &Path) -> u64 {
    std::fs::metadata(log).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_agent_uses_no_cpu_and_logs_nothing() {
    let mut world = World::start(2, 2).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("shop.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;

    let pids: Vec<i32> = world
        .agents
        .iter_mut()
        .map(|agent| agent.process().pid())
        .collect();
    let mut logs: Vec<_> = world
        .agents
        .iter_mut()
        .map(|agent| agent.process().log().to_owned())
        .collect();
    logs.push(world.nginx.process().log().to_owned());
    let before: Vec<_> = pids.iter().map(|pid| cpu_time(*pid)).collect();
    let sizes: Vec<_> = logs.iter().map(|log| size(log)).collect();
    // Here the time itself is what is tested.
    tokio::time::sleep(IDLE).await;
    for (log, before) in logs.iter().zip(sizes) {
        let text = std::fs::read_to_string(log).unwrap();
        assert_eq!(
            size(log),
            before,
            "{}:\n{}",
            log.display(),
            &text[before as usize..]
        );
    }
    for (pid, before) in pids.iter().zip(before) {
        let used = cpu_time(*pid) - before;
        assert!(used <= NOTHING, "an idle agent used {used:?} in {IDLE:?}");
    }
}
