//! The calls of the API, as one table: the router, the OpenAPI document and
//! the tests of the documentation are derived from it.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use pointsman_model::Kind;
use pointsman_wire as wire;
use utoipa::ToSchema;
use utoipa::openapi::{Ref, RefOr, Schema};

use super::{
    ApiState, apps, draining, edges, events, explain, instances, openapi, pausing, routes, sets,
    settings, status,
};

/// What a client must be allowed to do, to make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Nothing: for probes and monitoring.
    Open,
    /// Read the registry.
    Read,
    /// Change what belongs to an app or a host.
    Write,
    /// Change what holds for the whole registry.
    Admin,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scope::Open => "open",
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }
}

/// A call.
pub(crate) struct ApiCall {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) scope: Scope,
    /// What it does, in a few words.
    pub(crate) summary: &'static str,
    /// The parameters of its query.
    pub(crate) query: Option<TypeSchema>,
    pub(crate) body: Option<TypeSchema>,
    /// Whether it writes one thing, and may wait for the edges.
    pub(crate) is_write: bool,
    pub(crate) answer: Answers,
    /// Whether it answers 304 to a reader that has this revision already.
    pub(crate) has_304: bool,
    handler: MethodRouter<Arc<ApiState>>,
}

/// What a call answers when all is well.
pub(crate) enum Answers {
    Json(TypeSchema),
    /// Text of this type.
    Text(&'static str),
}

/// A type of a body, as the document needs it.
pub(crate) struct TypeSchema {
    name: String,
    /// Its schema and those that it refers to, by name.
    pub(crate) parts: Vec<(String, RefOr<Schema>)>,
    /// Reads JSON as this type and writes it again.
    #[cfg(test)]
    pub(crate) round: fn(&serde_json::Value) -> serde_json::Result<serde_json::Value>,
}

impl TypeSchema {
    pub(crate) fn of<T: ToSchema + serde::Serialize + serde::de::DeserializeOwned>() -> Self {
        let mut parts = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut parts);
        Self {
            name: T::name().into_owned(),
            parts,
            #[cfg(test)]
            round: |value| serde_json::to_value(T::deserialize(value)?),
        }
    }

    /// A reference to its schema.
    pub(crate) fn schema(&self) -> RefOr<Schema> {
        Ref::from_schema_name(&self.name).into()
    }
}

impl ApiCall {
    fn new<H, T>(
        method: Method,
        path: &'static str,
        scope: Scope,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<ApiState>>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Self {
            method,
            path,
            scope,
            summary,
            query: None,
            body: None,
            is_write: false,
            answer: Answers::Text("text/plain; charset=utf-8"),
            has_304: false,
            handler: on(filter, handler),
        }
    }

    fn query<T: ToSchema + serde::Serialize + serde::de::DeserializeOwned>(mut self) -> Self {
        self.query = Some(TypeSchema::of::<T>());
        self
    }

    fn takes<T: ToSchema + serde::Serialize + serde::de::DeserializeOwned>(mut self) -> Self {
        self.body = Some(TypeSchema::of::<T>());
        self
    }

    fn answers<T: ToSchema + serde::Serialize + serde::de::DeserializeOwned>(mut self) -> Self {
        self.answer = Answers::Json(TypeSchema::of::<T>());
        self
    }

    fn cached(mut self) -> Self {
        self.has_304 = true;
        self
    }

    /// A write, which the layer around the handlers may let wait for the edges.
    fn writes(mut self) -> Self {
        self.is_write = true;
        self.query::<wire::WriteQuery>().answers::<wire::Changed>()
    }

    fn text(mut self, content_type: &'static str) -> Self {
        self.answer = Answers::Text(content_type);
        self
    }
}

/// All calls.
#[rustfmt::skip]
pub(crate) fn all() -> Vec<ApiCall> {
    use Scope::{Admin, Open, Read, Write};
    const GET: Method = Method::GET;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    const POST: Method = Method::POST;
    let path = |kind: Kind| kind.declaration().api.unwrap_or_default();
    let (route_path, app_path, instance_path) =
        (path(Kind::Route), path(Kind::App), path(Kind::Instance));
    let (draining_path, settings_path) = (path(Kind::Override), path(Kind::Settings));
    let (edge_path, pause_path, set_path) = (path(Kind::Edge), path(Kind::Pause), path(Kind::Set));
    vec![
        ApiCall::new(GET, "/v1/routes", Read, "List routes", routes::list)
            .query::<wire::ListQuery>().answers::<wire::RouteList>(),
        ApiCall::new(PUT, route_path, Write, "Bind a host", routes::put)
            .takes::<wire::RouteBody>().writes(),
        ApiCall::new(GET, route_path, Read, "Show a route", routes::get)
            .answers::<wire::RouteAnswer>().cached(),
        ApiCall::new(DELETE, route_path, Write, "Unbind a host", routes::delete)
            .writes(),
        ApiCall::new(PUT, pause_path, Write, "Let a route's requests wait", pausing::put)
            .query::<wire::PauseQuery>().answers::<wire::Changed>(),
        ApiCall::new(DELETE, pause_path, Write, "Resume a route", pausing::delete)
            .writes(),
        ApiCall::new(GET, "/v1/apps", Read, "List apps", apps::list)
            .query::<wire::ListQuery>().answers::<wire::AppList>(),
        ApiCall::new(PUT, app_path, Write, "Give an app a policy", apps::put)
            .takes::<wire::PolicyBody>().writes(),
        ApiCall::new(GET, app_path, Read, "Show an app with its instances", apps::get)
            .answers::<wire::AppAnswer>(),
        ApiCall::new(DELETE, app_path, Write, "Delete an app's policy", apps::delete)
            .writes(),
        ApiCall::new(PUT, instance_path, Write, "Register an instance, or keep it", instances::put)
            .takes::<wire::InstanceBody>().writes(),
        ApiCall::new(DELETE, instance_path, Write, "Deregister an instance", instances::delete)
            .writes(),
        ApiCall::new(PUT, draining_path, Write, "Take an instance out of use", draining::put)
            .takes::<wire::DrainingBody>().writes(),
        ApiCall::new(DELETE, draining_path, Write, "End the draining of an instance", draining::delete)
            .writes(),
        ApiCall::new(POST, "/v1/apps/{app}/instances/{id}/drain", Write, "Drain an instance and wait until it is", draining::drain)
            .query::<wire::DrainQuery>().answers::<wire::DrainAnswer>(),
        ApiCall::new(GET, "/v1/edges", Read, "List the edges", edges::list)
            .answers::<wire::EdgeList>(),
        ApiCall::new(DELETE, edge_path, Admin, "Forget an edge", edges::delete)
            .writes(),
        ApiCall::new(GET, "/v1/wait", Read, "Wait until a revision is live on every edge", edges::wait)
            .query::<wire::WaitQuery>().answers::<wire::WaitAnswer>(),
        ApiCall::new(GET, "/v1/events", Read, "List the last changes, or follow them", events::list)
            .query::<wire::EventsQuery>().answers::<wire::EventList>(),
        ApiCall::new(GET, "/v1/explain", Read, "Explain what becomes of a request", explain::get)
            .query::<wire::ExplainQuery>().answers::<wire::ExplainAnswer>(),
        ApiCall::new(PUT, settings_path, Admin, "Set what holds for the whole registry", settings::put)
            .takes::<wire::SettingsBody>().writes(),
        ApiCall::new(GET, settings_path, Read, "Show the settings", settings::get)
            .answers::<wire::SettingsAnswer>(),
        ApiCall::new(DELETE, settings_path, Admin, "Go back to the defaults", settings::delete)
            .writes(),
        ApiCall::new(GET, "/v1/sets", Read, "List the sets", sets::list)
            .answers::<wire::SetList>(),
        ApiCall::new(PUT, set_path, Write, "Say what is in a set", sets::put)
            .takes::<wire::SetBody>().writes(),
        ApiCall::new(GET, set_path, Read, "Show a set", sets::get)
            .answers::<wire::SetAnswer>(),
        ApiCall::new(DELETE, set_path, Write, "Forget a set, not its members", sets::delete)
            .writes(),
        ApiCall::new(GET, "/v1/status", Read, "Show what the agent does", status::status)
            .answers::<wire::StatusAnswer>(),
        ApiCall::new(GET, "/v1/openapi.json", Open, "This document", openapi::get)
            .text("application/json"),
        ApiCall::new(GET, "/livez", Open, "Whether the process answers", status::livez),
        ApiCall::new(GET, "/readyz", Open, "Whether the agent is ready", status::readyz),
        ApiCall::new(GET, "/metrics", Open, "Metrics, for Prometheus", status::metrics)
            .text(crate::metrics::CONTENT_TYPE),
    ]
}

/// The router of `calls`.
pub(crate) fn router(calls: Vec<ApiCall>) -> Router<Arc<ApiState>> {
    calls.into_iter().fold(Router::new(), |router, call| {
        router.route(call.path, call.handler)
    })
}
