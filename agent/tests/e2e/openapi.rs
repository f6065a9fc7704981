//! The API against its own OpenAPI document: Schemathesis makes requests of
//! it, good and bad ones, and judges the answers.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::support::world::World;

/// Schemathesis itself stops earlier.
const PATIENCE: Duration = Duration::from_secs(120);
/// That all data which fits the document is accepted is not checked: some
/// fields exclude each other, and a host has too many forms for a pattern. The
/// calls that wait are left out: a 504 after a while is what they are for.
const ARGS: [&str; 9] = [
    "--checks=all",
    "--exclude-path-regex=/(wait|drain)$",
    "--exclude-checks=positive_data_acceptance",
    "--max-examples=20",
    "--seed=1",
    "--request-timeout=10",
    "--continue-on-failure",
    "--no-shrink",
    "--warnings=off",
];
const SKIP: &str = "POINTSMAN_SKIP_SCHEMATHESIS";

#[tokio::test]
async fn the_api_does_what_its_document_says() {
    if std::env::var(SKIP).is_ok_and(|value| value == "1") {
        return eprintln!("{SKIP}=1: the API is NOT tested against its OpenAPI document");
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = top.join(".tools/schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "{} is not there: run .ci/get-schemathesis, or set {SKIP}=1 to leave this test out",
        program.display()
    );
    let world = World::start(1, 1).await;
    let run = Command::new(program)
        .args(["--no-color", "run"])
        .arg(format!(
            "http://{}/v1/openapi.json",
            world.agents[0].admin()
        ))
        .args(ARGS)
        .current_dir(world.dir())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(PATIENCE, run).await;
    let run = run.expect("Schemathesis comes to an end").unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}{errors}");
    // What it wrote is good for the agent.
    let status = world.status(0).await;
    assert_eq!(status["bad_total"], 0, "{status}");
    assert_eq!(status["ready"], true, "{status}");
}
