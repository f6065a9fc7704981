//! `pointsman events`: who changed what; as a list, or as it happens.

use clap::Args;
use pointsman_client::FollowedEvent;
use pointsman_wire::{EventItem, EventsQuery};
use serde_json::{Value, json};

use crate::around::{CommandError, CommandReport, Output, Session};
use crate::table::columns;
use crate::yaml;

/// How much of a change is shown to people, in characters.
const LONGEST_CHANGE: usize = 120;
/// As many as the API gives at once.
const PAGE: usize = 1000;

/// The arguments of `pointsman events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with changes as they happen
    #[arg(short, long)]
    pub follow: bool,

    /// Only changes after this revision
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
    pub since: Option<i64>,

    /// Show so many changes at the most; by default the last 100, or with --since all
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    pub limit: Option<usize>,
}

pub(crate) async fn events(
    session: &Session,
    args: &EventsArgs,
) -> Result<CommandReport, CommandError> {
    if args.follow {
        return follow(session, args).await;
    }
    let mut query = EventsQuery {
        since: args.since,
        limit: args.limit.or(args.since.map(|_| PAGE)),
    };
    query.limit = query.limit.map(|limit| limit.min(PAGE));
    let mut all = session.client.events(&query).await?;
    // All pages, as one.
    while all.more && args.since.is_some() && all.events.len() < args.limit.unwrap_or(usize::MAX) {
        let left = args.limit.map(|limit| limit - all.events.len());
        query.since = all.events.last().map(|event| event.revision);
        query.limit = Some(left.unwrap_or(PAGE).min(PAGE));
        let page = session.client.events(&query).await?;
        all.events.extend(page.events);
        all.more = page.more;
    }
    Ok(session.show(&all, |all| {
        let gap = match args.since.is_some_and(|since| since + 1 < all.from) {
            true => missing(all.from),
            false => String::new(),
        };
        let header = ["REVISION", "AT", "BY", "OP", "KIND", "NAME", "CHANGE"];
        gap + &columns(session.paint, header, all.events.iter().map(row))
    }))
}

fn missing(from: i64) -> String {
    format!("(changes before revision {from} may be missing)\n")
}

async fn follow(session: &Session, args: &EventsArgs) -> Result<CommandReport, CommandError> {
    let mut stream = session.client.follow_events(args.since).await?;
    let mut last = args.since;
    let ended = loop {
        match stream.next().await {
            Ok(Some(followed)) => {
                if let FollowedEvent::Event(event) = &followed {
                    last = Some(event.revision);
                }
                // Whoever reads no more, like head, has what it wanted.
                if (session.around.print)(&shown(session.output, &followed)).is_err() {
                    return Ok(CommandReport::done(""));
                }
            }
            Ok(None) => break "the agent has ended the events".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    let last = last.map(|last| format!("; --since {last} goes on from there"));
    Err(CommandError::Refused(ended + &last.unwrap_or_default()))
}

/// What a stream brings: a line, or a document.
fn shown(output: Output, followed: &FollowedEvent) -> String {
    let body = match followed {
        FollowedEvent::Event(event) => json!(event),
        FollowedEvent::Gap(from) => json!({ "gap": { "from": from } }),
    };
    match (output, followed) {
        (Output::Json, _) => format!("{body}\n"),
        (Output::Yaml, _) => format!("---\n{}", yaml::text(&body)),
        (Output::Text, FollowedEvent::Gap(from)) => missing(*from),
        (Output::Text, FollowedEvent::Event(event)) => {
            let [revision, at, by, op, kind, name, change] = row(event);
            let line =
                format!("{revision:<8}  {at:<24}  {by:<20}  {op:<7}  {kind} {name}  {change}");
            line.trim_end().to_owned() + "\n"
        }
    }
}

fn row(event: &EventItem) -> [String; 7] {
    let by = event.by.as_str();
    [
        event.revision.to_string(),
        event.at.clone().unwrap_or_else(|| "-".to_owned()),
        match event.caller.as_ref().or(event.agent.as_ref()) {
            Some(who) => format!("{by} {who}"),
            None => by.to_owned(),
        },
        event.op.as_str().to_owned(),
        event.kind.clone(),
        event.name.clone(),
        change(event.before.as_ref(), event.value.as_ref()),
    ]
}

/// What is different, field by field, in short.
fn change(before: Option<&Value>, after: Option<&Value>) -> String {
    let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let text = match (fields(before), fields(after)) {
        (Some(before), Some(after)) => {
            let names = before
                .keys()
                .chain(after.keys().filter(|name| !before.contains_key(*name)));
            let changed = names.filter(|name| before.get(*name) != after.get(*name));
            let shown = |value: Option<&Value>| value.map_or("-".to_owned(), Value::to_string);
            let changed = changed.map(|name| {
                let (before, after) = (shown(before.get(name)), shown(after.get(name)));
                format!("{name}: {before} -> {after}")
            });
            changed.collect::<Vec<_>>().join(", ")
        }
        (_, Some(after)) => json!(after).to_string(),
        (Some(before), _) => format!("was {}", json!(before)),
        (None, None) => String::new(),
    };
    match text.chars().count() > LONGEST_CHANGE {
        true => text.chars().take(LONGEST_CHANGE).chain(['…']).collect(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Value {
        json!({
            "revision": 27, "at": "2026-12-01T03:33:04.120Z", "by": "api",
            "caller": "127.0.0.1:5000", "request": "r-1", "agent": "agent-1",
            "kind": "app", "name": "shop", "op": "put",
            "before": {"retries": 1, "deadline": "1m"}, "value": {"retries": 2, "balance": "hash"},
        })
    }

    fn followed(event: Value) -> FollowedEvent {
        FollowedEvent::Event(Box::new(serde_json::from_value(event).unwrap()))
    }

    #[test]
    fn an_event_says_who_changed_what() {
        let line = shown(Output::Text, &followed(event()));
        assert_eq!(
            line,
            "27        2026-12-01T03:33:04.120Z  api 127.0.0.1:5000    put      app shop  \
             retries: 1 -> 2, deadline: \"1m\" -> -, balance: - -> \"hash\"\n"
        );
        let line = shown(Output::Json, &followed(event()));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), event());
        let line = shown(Output::Text, &FollowedEvent::Gap(9));
        assert_eq!(line, "(changes before revision 9 may be missing)\n");
    }

    #[test]
    fn what_is_gone_is_shown_in_short() {
        let mut gone = event();
        for field in ["value", "at"] {
            gone[field] = Value::Null;
        }
        gone["op"] = json!("expired");
        let row = row(&serde_json::from_value(gone).unwrap());
        assert_eq!(row[1], "-");
        assert_eq!(row[6], r#"was {"retries":1,"deadline":"1m"}"#);
        let long = json!({ "x": "y".repeat(300) });
        assert_eq!(change(Some(&long), None).chars().count(), 121);
    }
}
