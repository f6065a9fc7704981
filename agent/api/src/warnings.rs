//! What a write is warned of, from the table. A warning refuses nothing.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use pointsman_mirror::table::{RouteOwner, apps_of};
use pointsman_model::{Host, Route};
use pointsman_wire::WarningCode;

use super::ApiState;
use super::writing::Writing;

/// How many apps a sentence names.
const NAMED: usize = 5;

impl ApiState {
    /// Warns of what a route has to do with others.
    pub(super) fn warn_of_route(&self, host: &Host, route: &Route) {
        let (apps, host) = (apps_of(route), host.as_str());
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if table.revision() == 0 {
            return;
        }
        for app in apps.iter().filter(|app| !table.knows_app(app)) {
            let detail = format!("there is no app {app}: neither a policy nor an instance");
            Writing::warn(WarningCode::AppUnknown, detail);
        }
        let is_other = |owner: &RouteOwner| !owner.apps.is_empty() && owner.apps.is_disjoint(&apps);
        let own = table.route_owner(host);
        if let Some(before) = own.as_ref().filter(|own| !apps.is_empty() && is_other(own)) {
            let detail = format!("{host} went to {} before", list(&before.apps));
            Writing::warn(WarningCode::HostTakenOver, detail);
        }
        // A route that is there shadows nothing anew.
        if own.is_some() {
            return;
        }
        if let Some(above) = table.wildcard_above(host).filter(is_other) {
            let detail = format!(
                "{host} takes its requests from {}, which goes to {}",
                above.host,
                list(&above.apps)
            );
            Writing::warn(WarningCode::WildcardShadowed, detail);
        }
        if table.has_routes_beneath(host) {
            let detail =
                format!("hosts beneath {host} have routes of their own, which go before this one");
            Writing::warn(WarningCode::RouteShadowed, detail);
        }
    }
}

fn list(apps: &BTreeSet<String>) -> String {
    let named: Vec<_> = apps.iter().take(NAMED).map(String::as_str).collect();
    match (named.len(), apps.len()) {
        (0, _) => "no app".to_owned(),
        (shown, all) if shown < all => format!("{} and others", named.join(", ")),
        _ => named.join(", "),
    }
}
