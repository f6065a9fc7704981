//! `/v1/events`: what was changed, and who did it; as a list, or as server-sent
//! events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use pointsman_events::{EventPage, LoggedEvent, LoggedOp};
use pointsman_model::{Actor, Bad, Instance, Kind, Policy, Revision, Route, Settings};
use pointsman_wire::{ActorWord, EventGap, EventItem, EventList, EventOp, EventsQuery, ListQuery};
use serde_json::{Value, json};

use super::ApiState;
use super::extract::Params;
use super::problem::{Code, Problem};
use super::routes::checked_limit;
use super::storage::{bad_value, json_body};

const STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: &str = "last-event-id";
/// How often a stream in which nothing happens gives a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How many events are taken at a time.
const BATCH: usize = 100;

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if query.since.is_some_and(|since| since < 0) {
        let detail = "since must be a revision, or 0 for all events that are known";
        return Err(Problem::new(Code::BadQuery, detail).field("since"));
    }
    // An agent that has just become ready is about to read them.
    let begun = state.events.begun();
    let begun = tokio::time::timeout(state.patience, begun).await;
    begun.map_err(|_| unread())?;
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.contains(STREAM)) {
        return follow(state, &query, &headers);
    }
    let limit = checked_limit(&ListQuery {
        limit: query.limit,
        ..ListQuery::default()
    })?;
    let page = match query.since {
        Some(since) => state.events.after(since, limit),
        None => state.events.last(limit),
    };
    let page = page.ok_or_else(unread)?;
    Ok(json_body(&EventList {
        events: page.events.iter().map(|event| item(event)).collect(),
        from: page.from,
        more: page.more,
    }))
}

/// A reader that is slow holds up itself alone: what it has not read stays in
/// the log, and where it has left the log, the reader is told of a gap. One that
/// does not read at all is cut off, as with any other answer.
fn follow(
    state: Arc<ApiState>,
    query: &EventsQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if query.limit.is_some() {
        let detail = "limit has no meaning in a stream of events";
        return Err(Problem::new(Code::BadQuery, detail).field("limit"));
    }
    let now = state.events.last(1).ok_or_else(unread)?;
    // A client that connects again repeats the query, too.
    let since = match headers.get(LAST_EVENT_ID) {
        Some(id) => Some(last_event(id.to_str().ok())?),
        None => query.since,
    };
    let position = since.unwrap_or_else(|| {
        let last = now.events.last();
        last.map_or(now.from - 1, |event| event.revision)
    });
    let following = Following {
        state,
        position,
        begun: now.begun,
        whole_from: 0,
        gap: None,
        batch: VecDeque::new(),
    };
    let events = stream::unfold(following, |mut following| async {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    let keep_alive = KeepAlive::new().interval(SIGN_OF_LIFE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

fn last_event(id: Option<&str>) -> Result<Revision, Problem> {
    let revision = id.and_then(|id| id.parse().ok()).filter(|id| *id >= 0);
    revision.ok_or_else(|| {
        let detail = "Last-Event-ID must be the id of an event of this stream, a revision";
        Problem::new(Code::BadQuery, detail)
    })
}

fn unread() -> Problem {
    let detail = "the agent has not read the events from etcd yet";
    Problem::new(Code::NotReady, detail)
}

/// A stream that is open.
struct Following {
    state: Arc<ApiState>,
    /// The last revision that was sent.
    position: Revision,
    /// Of which beginning of the log it is.
    begun: u64,
    /// From which revision on the reader knows that nothing is missing.
    whole_from: Revision,
    /// To be told before the batch.
    gap: Option<EventGap>,
    batch: VecDeque<Arc<LoggedEvent>>,
}

impl Following {
    /// Waits for the next event; nothing when the agent stops.
    async fn next(&mut self) -> Option<SseEvent> {
        let mut events = self.state.events.clone();
        loop {
            if let Some(gap) = self.gap.take() {
                let event = SseEvent::default().event("gap");
                return Some(event.data(json!(gap).to_string()));
            }
            if let Some(event) = self.batch.pop_front() {
                return Some(self.sent(&event));
            }
            if self.state.readiness.is_stopping() {
                return None;
            }
            if let Some(page) = events.after(self.position, BATCH) {
                self.take(page);
            }
            if self.gap.is_none() && self.batch.is_empty() {
                tokio::select! {
                    () = events.moved() => {}
                    () = self.state.readiness.stopping() => {}
                }
            }
        }
    }

    fn take(&mut self, page: EventPage) {
        let is_other = page.begun != self.begun;
        let is_behind = self.position + 1 < page.from && self.whole_from < page.from;
        if is_other || is_behind {
            self.gap = Some(EventGap { from: page.from });
            self.whole_from = page.from;
        }
        if is_other {
            self.begun = page.begun;
            self.position = 0;
        } else {
            self.batch.extend(page.events);
        }
    }

    /// An event has an id only if it is the last one of its revision: a reader
    /// that comes back gets all of a revision.
    fn sent(&mut self, event: &LoggedEvent) -> SseEvent {
        let sent = SseEvent::default().data(json!(item(event)).to_string());
        let following = self.batch.front().map(|next| next.revision);
        if following == Some(event.revision) {
            return sent;
        }
        self.position = event.revision;
        sent.id(event.revision.to_string())
    }
}

fn item(event: &LoggedEvent) -> EventItem {
    let (by, agent, caller, request) = match event.actor.clone() {
        None => (ActorWord::Etcd, None, None, None),
        Some(Actor::Agent { agent }) => (ActorWord::Agent, Some(agent), None, None),
        Some(Actor::Api {
            agent,
            caller,
            request,
        }) => (ActorWord::Api, Some(agent), caller, Some(request)),
    };
    let shown = |raw: &Option<Box<[u8]>>| raw.as_deref().map(|raw| shown(event.kind, raw));
    EventItem {
        revision: event.revision,
        at: event.at.map(time),
        by,
        caller,
        request,
        agent,
        kind: event.kind.word().to_owned(),
        name: event.name.to_string(),
        op: match event.op {
            LoggedOp::Put => EventOp::Put,
            LoggedOp::Delete => EventOp::Delete,
            LoggedOp::Expired => EventOp::Expired,
        },
        before: shown(&event.before),
        value: shown(&event.value),
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// A value as the API shows it elsewhere.
fn shown(kind: Kind, raw: &[u8]) -> Value {
    let text = match kind {
        Kind::Route => Route::from_value(raw).map(|route| route.to_value()),
        Kind::App => Policy::from_value(raw).map(|policy| policy.to_value()),
        Kind::Instance => Instance::from_value(raw).map(|instance| instance.to_value()),
        Kind::Settings => Settings::from_value(raw).map(|settings| settings.to_value()),
        _ => (kind.declaration().check)(raw).map(|()| String::from_utf8_lossy(raw).into()),
    };
    let bad = |bad: &Bad| json!({ "bad": bad_value(bad) });
    match text {
        Ok(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Err(refused) => bad(&refused),
    }
}
