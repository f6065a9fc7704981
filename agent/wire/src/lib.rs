//! The data types of the admin API, as they stand in bodies: for the server,
//! for clients, and for the OpenAPI document.
//!
//! They say what a body looks like. What a value may be, and the sentence that
//! refuses another one, is the model's.

mod answer;
mod edges;
mod events;
mod explain;
mod instance;
mod list;
mod policy;
mod problem;
mod route;
mod set;
mod settings;
mod status;

pub use answer::{BadValue, Changed, Warning, WarningCode};
pub use edges::{
    DrainAnswer, DrainQuery, EdgeItem, EdgeList, EdgeReport, EdgeWord, LackingItem, LackingWord,
    WaitAnswer, WaitQuery, WriteQuery,
};
pub use events::{ActorWord, EventGap, EventItem, EventList, EventOp, EventsQuery};
pub use explain::{ExplainAnswer, ExplainQuery, ExplainedEdge, ExplainedInstance};
pub use instance::{AppAnswer, DrainingBody, InstanceBody, InstanceItem, InstanceWord, OwnerName};
pub use list::{AppItem, AppList, ListQuery, RouteItem, RouteList};
pub use policy::{
    BalanceWord, CheckType, DrainWord, FailureWord, HealthCheckBody, InitialWord, PolicyBody,
    SameSiteWord, SchemeWord, StatusSet, StickyBody, WakeBody,
};
pub use problem::{Code, ProblemBody};
pub use route::{
    ConditionBody, EditsBody, HashByBody, HeadersBody, MaintenanceBody, PauseItem, PauseQuery,
    RedirectBody, RouteAnswer, RouteBody, RuleBody, TargetBody,
};
pub use set::{SetAnswer, SetBody, SetList};
pub use settings::{CeilingsBody, SettingsAnswer, SettingsBody};
pub use status::{
    AgentName, BadKey, Contested, EtcdStatus, Lag, RecordCounts, RedisStatus, StatusAnswer,
};
