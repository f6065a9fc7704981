//! Runs schedules. `POINTSMAN_SIM_SCHEDULES` says how many (a few thousand by
//! default), `POINTSMAN_SIM_SEED` from which seed, and `POINTSMAN_SIM_REPLAY`
//! is one schedule, as a failure prints it.

use pointsman_sim::schedule::schedules;
use pointsman_sim::{Schedule, run};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

const FEW: u32 = 2_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
    )
}

#[test]
fn every_schedule_comes_to_rest_and_nothing_is_violated_on_the_way() {
    if let Ok(text) = std::env::var("POINTSMAN_SIM_REPLAY") {
        let schedule: Schedule = serde_json::from_str(&text).expect("a schedule as JSON");
        return run(&schedule).unwrap();
    }
    let cases = number("POINTSMAN_SIM_SCHEDULES").map_or(FEW, |n| u32::try_from(n).unwrap());
    let seed = number("POINTSMAN_SIM_SEED").unwrap_or_else(rand::random);
    println!("{cases} schedules from POINTSMAN_SIM_SEED={seed}");

    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&schedules(), |schedule| {
        run(&schedule).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, schedule)) => {
            let json = serde_json::to_string(&schedule).unwrap();
            panic!("{why}\nPOINTSMAN_SIM_SEED={seed}; shrunk to\nPOINTSMAN_SIM_REPLAY='{json}'");
        }
        Err(other) => panic!("{other}"),
    }
}
