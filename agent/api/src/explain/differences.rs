//! Where edges differ from the agent, and from each other, in words.

use std::collections::BTreeMap;

use pointsman_mirror::table::RouteView;
use pointsman_store::Revision;
use pointsman_wire::{ExplainedEdge, ExplainedInstance, InstanceWord};
use serde_json::Value;

/// How many names a sentence has.
const NAMED: usize = 5;

/// What the agent's table has.
pub(super) struct Expected<'a> {
    pub(super) revision: Revision,
    pub(super) epoch: &'a str,
    pub(super) route: Option<&'a RouteView>,
    /// All apps of the route.
    pub(super) apps: &'a [String],
    pub(super) instances: &'a [ExplainedInstance],
    /// The apps whose instances these are.
    pub(super) shown: &'a [String],
}

impl Expected<'_> {
    pub(super) fn differences(&self, edges: &[ExplainedEdge]) -> Vec<String> {
        let mut found = Vec::new();
        if self.route.is_some_and(|route| route.rules.is_none()) {
            found.push(
                "the route's value in etcd is bad: edges keep the rules that it had before"
                    .to_owned(),
            );
        }
        for edge in edges {
            let name = &edge.edge;
            match (&edge.answer, &edge.error) {
                (Some(answer), _) => found.extend(
                    self.of(answer)
                        .into_iter()
                        .map(|difference| format!("{name} {difference}")),
                ),
                (None, error) => {
                    let error = error.as_deref().unwrap_or("no reason is known");
                    found.push(format!("{name} cannot be asked: {error}"));
                }
            }
        }
        found.extend(among(edges));
        found
    }

    /// How one edge differs.
    fn of(&self, answer: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let epoch = answer["epoch"].as_str().unwrap_or_default();
        if epoch != self.epoch {
            return vec![format!("follows another registry, {epoch:?}")];
        }
        let applied = answer["applied"].as_i64();
        if applied.is_some_and(|applied| applied < self.revision) {
            found.push(format!(
                "is behind: it has applied revision {}, this agent {}",
                applied.unwrap_or_default(),
                self.revision
            ));
        }
        let route = self.route.map(|route| route.host.as_str());
        let theirs = answer["route"].as_str();
        if route != theirs {
            let shown = |route: Option<&str>| match route {
                Some(route) => format!("the route {route}"),
                None => "no route".to_owned(),
            };
            let (theirs, ours) = (shown(theirs), shown(route));
            found.push(format!("finds {theirs}, this agent {ours}"));
            return found;
        }
        let ours = self.route.map(|route| route.mod_revision);
        if let (Some(ours), Some(theirs)) = (ours, answer["revision"].as_i64())
            && theirs < ours
        {
            found.push(format!(
                "has the route as of revision {theirs}; its last change is {ours}"
            ));
        }
        let Some(app) = answer["app"].as_str() else {
            return found;
        };
        let is_known = self.route.is_none_or(|route| route.rules.is_some());
        if is_known && !self.apps.iter().any(|known| known == app) {
            found.push(format!(
                "chooses the app {app}, to which the route of this agent does not lead"
            ));
        } else if self.shown.iter().any(|shown| shown == app) {
            found.extend(self.instances(app, &answer["instances"]));
        }
        found
    }

    fn instances(&self, app: &str, theirs: &Value) -> Vec<String> {
        let theirs = theirs.as_array().into_iter().flatten();
        let theirs: BTreeMap<_, _> = theirs
            .filter_map(|one| Some((one["id"].as_str()?, one["state"].as_str()?)))
            .collect();
        let ours = self.instances.iter().filter(|one| one.app == app);
        let ours: BTreeMap<_, _> = ours.map(|one| (&*one.item.id, one.item.state)).collect();
        let lacks = ours.iter().filter(|(id, state)| {
            let is_routed = matches!(state, InstanceWord::Live | InstanceWord::Draining);
            is_routed && !theirs.contains_key(**id)
        });
        let too_many = theirs.keys().filter(|id| {
            let ours = ours.get(**id);
            ours.is_none_or(|s| matches!(s, InstanceWord::Shadowed | InstanceWord::NotAllowed))
        });
        let not_draining = ours.iter().filter(|(id, state)| {
            let theirs = theirs.get(**id);
            **state == InstanceWord::Draining && theirs.is_some_and(|theirs| *theirs == "live")
        });
        let sentences = [
            ("lacks", names(lacks.map(|(id, _)| *id))),
            ("has too many:", names(too_many.copied())),
            ("does not drain", names(not_draining.map(|(id, _)| *id))),
        ];
        let sentences = sentences.into_iter();
        sentences
            .filter_map(|(what, names)| Some(format!("{what} {} of the app {app}", names?)))
            .collect()
    }
}

/// `a, b`; nothing if there is none.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> Option<String> {
    let all: Vec<_> = all.collect();
    let named = all[..all.len().min(NAMED)].join(", ");
    match all.len() {
        0 => None,
        count if count > NAMED => Some(format!("{named} and {} more", count - NAMED)),
        _ => Some(named),
    }
}

/// How edges differ from each other. Where requests are split among apps, each
/// edge may choose another one.
fn among(edges: &[ExplainedEdge]) -> Option<String> {
    let mut by_app: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in edges {
        let Some(answer) = &edge.answer else { continue };
        if !answer["split"].is_null() {
            return None;
        }
        if let Some(app) = answer["app"].as_str() {
            by_app.entry(app).or_default().push(&edge.edge);
        }
    }
    let all = by_app.iter().filter_map(|(app, edges)| {
        let edges = names(edges.iter().copied())?;
        Some(format!("{app} at {edges}"))
    });
    let all: Vec<_> = all.collect();
    (all.len() > 1).then(|| format!("edges choose different apps: {}", all.join("; ")))
}

#[cfg(test)]
mod tests {
    use pointsman_wire::InstanceItem;
    use serde_json::json;

    use super::*;

    fn instance(id: &str, state: InstanceWord) -> ExplainedInstance {
        let item = InstanceItem {
            id: id.to_owned(),
            addr: None,
            weight: None,
            zone: None,
            shared: None,
            state,
            shadowed_by: None,
            reason_class: None,
            reason: None,
            revision: 1,
        };
        let app = "shop".to_owned();
        ExplainedInstance { app, item }
    }

    /// The differences if the edges answer as `answer`, changed so.
    fn found(changes: &[Value]) -> Vec<String> {
        let route = RouteView {
            host: "*.shop.test".to_owned(),
            rules: Some("[]".to_owned()),
            mod_revision: 7,
        };
        let instances = [
            instance("a", InstanceWord::Live),
            instance("b", InstanceWord::Draining),
            instance("c", InstanceWord::Unhealthy),
            instance("d", InstanceWord::Shadowed),
        ];
        let apps = ["shop".to_owned(), "blog".to_owned()];
        let expected = Expected {
            revision: 42,
            epoch: "e",
            route: Some(&route),
            apps: &apps,
            instances: &instances,
            shown: &apps[..1],
        };
        let edges = changes.iter().enumerate().map(|(n, change)| {
            let mut answer = json!({
                "epoch": "e", "applied": 42, "route": "*.shop.test", "revision": 7, "app": "shop",
                "split": null,
                "instances": [
                    { "id": "a", "state": "live" },
                    { "id": "b", "state": "draining" },
                    { "id": "c", "state": "ejected" },
                ],
            });
            for (name, value) in change.as_object().into_iter().flatten() {
                answer[name] = value.clone();
            }
            ExplainedEdge {
                edge: format!("edge-{}", n + 1),
                error: change.as_str().map(str::to_owned),
                answer: change.is_object().then_some(answer),
            }
        });
        expected.differences(&edges.collect::<Vec<_>>())
    }

    #[test]
    fn edges_that_agree_do_not_differ() {
        assert!(found(&[]).is_empty());
        assert!(found(&[json!({}), json!({ "revision": 8 })]).is_empty());
        // Each edge draws for itself.
        let split = json!({ "app": "shop" });
        let a = json!({ "split": split });
        let b = json!({ "split": split, "app": "blog", "instances": [] });
        assert!(found(&[a, b]).is_empty());
    }

    #[test]
    fn each_difference_is_told() {
        for (change, expected) in [
            (json!("timed out"), "edge-1 cannot be asked: timed out"),
            (
                json!({ "epoch": "other" }),
                "edge-1 follows another registry, \"other\"",
            ),
            (
                json!({ "applied": 41 }),
                "edge-1 is behind: it has applied revision 41, this agent 42",
            ),
            (
                json!({ "route": "a.shop.test" }),
                "edge-1 finds the route a.shop.test, this agent the route *.shop.test",
            ),
            (
                json!({ "route": null, "app": null }),
                "edge-1 finds no route, this agent the route *.shop.test",
            ),
            (
                json!({ "revision": 6 }),
                "edge-1 has the route as of revision 6; its last change is 7",
            ),
            (
                json!({ "app": "news" }),
                "edge-1 chooses the app news, to which the route of this agent does not lead",
            ),
            (
                json!({ "instances": [{ "id": "b", "state": "draining" }] }),
                "edge-1 lacks a of the app shop",
            ),
            (
                json!({ "instances": [
                    { "id": "a", "state": "live" }, { "id": "b", "state": "draining" },
                    { "id": "d", "state": "live" }, { "id": "z", "state": "live" },
                ] }),
                "edge-1 has too many: d, z of the app shop",
            ),
            (
                json!({ "instances": [
                    { "id": "a", "state": "live" }, { "id": "b", "state": "live" },
                ] }),
                "edge-1 does not drain b of the app shop",
            ),
        ] {
            assert_eq!(found(&[change]), [expected]);
        }
        assert_eq!(
            found(&[json!({}), json!({ "app": "blog" }), json!({})]),
            ["edges choose different apps: blog at edge-2; shop at edge-1, edge-3"]
        );
    }

    #[test]
    fn a_sentence_has_few_names() {
        assert_eq!(names([].into_iter()), None);
        assert_eq!(names(["a", "b"].into_iter()).as_deref(), Some("a, b"));
        let many = names(["x"; 7].into_iter());
        assert_eq!(many.as_deref(), Some("x, x, x, x, x and 2 more"));
    }
}
