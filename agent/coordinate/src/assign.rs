//! Which agent probes an instance: rendezvous hashing over the agents that are
//! there. Each instance has exactly one prober, and when an agent comes or
//! leaves, only its own instances move.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The agent of `agents` that probes the instance named `<app>/<id>`; `None`
/// if there is none at all. All agents must come to the same answer: the hash
/// is a part of the contract between them.
pub fn prober<'a>(agents: impl IntoIterator<Item = &'a str>, instance: &str) -> Option<&'a str> {
    let score = |agent: &str| xxh3_64_with_seed(instance.as_bytes(), xxh3_64(agent.as_bytes()));
    agents
        .into_iter()
        .max_by_key(|agent| (score(agent), *agent))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn among<'a>(agents: &'a BTreeSet<String>, instance: &str) -> Option<&'a str> {
        prober(agents.iter().map(String::as_str), instance)
    }

    proptest! {
        #[test]
        fn each_instance_has_one_prober_whatever_the_order(
            agents in btree_set("[a-z0-9-]{1,12}", 1..8),
            instance in "[a-z0-9]{1,8}/[a-z0-9:]{1,12}",
        ) {
            let forwards = among(&agents, &instance);
            let backwards = prober(agents.iter().rev().map(String::as_str), &instance);
            prop_assert_eq!(forwards, backwards);
            prop_assert!(forwards.is_some_and(|agent| agents.contains(agent)));
        }

        #[test]
        fn when_an_agent_leaves_only_its_instances_move(
            agents in btree_set("[a-z0-9-]{1,12}", 2..8),
            instances in btree_set("[a-z0-9]{1,8}/[a-z0-9:]{1,12}", 1..50),
            leaver in any::<prop::sample::Index>(),
        ) {
            let leaver = leaver.get(&agents.iter().cloned().collect::<Vec<_>>()).clone();
            let mut rest = agents.clone();
            rest.remove(&leaver);
            for instance in &instances {
                let before = among(&agents, instance);
                let after = among(&rest, instance);
                if before == Some(leaver.as_str()) {
                    prop_assert!(after.is_some_and(|agent| agent != leaver));
                } else {
                    prop_assert_eq!(before, after);
                }
            }
        }
    }

    #[test]
    fn the_work_is_shared_evenly() {
        let agents = ["agent-1", "agent-2", "agent-3"];
        let mut shares = [0_usize; 3];
        for n in 0..9_000 {
            let chosen = prober(agents, &format!("shop/shop-{n}"));
            let place = agents.iter().position(|agent| Some(*agent) == chosen);
            shares[place.unwrap()] += 1;
        }
        // Of 9,000 coins with three sides, five standard deviations are 224.
        assert!(shares.iter().all(|n| n.abs_diff(3_000) < 224), "{shares:?}");
    }

    #[test]
    fn the_choice_is_the_same_in_all_versions() {
        // If this fails, agents of two versions would both probe an instance,
        // or neither.
        let agents = ["agent-1", "agent-2", "agent-3"];
        let chosen: Vec<_> = (0..8)
            .map(|n| prober(agents, &format!("shop/shop-{n}")).unwrap_or_default())
            .map(|agent| &agent[6..])
            .collect();
        assert_eq!(chosen.concat(), "11322132");
    }

    #[test]
    fn without_agents_nobody_probes() {
        assert_eq!(prober([], "shop/shop-1"), None);
    }
}
