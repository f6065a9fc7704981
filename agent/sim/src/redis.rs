//! As much of a Redis as the scripts need. The scripts are the agent's own,
//! run as they are; only the commands that they call are ours.

use std::cell::RefCell;
use std::collections::BTreeMap;

use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value, Variadic};
use pointsman_publish::sink::script::{Script, ScriptCall};

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A string.
    Text(String),
    /// A hash.
    Hash(BTreeMap<String, String>),
    /// A stream, and the last ID that it gave out.
    Stream(Vec<Entry>, Id),
}

/// An ID of a stream.
pub type Id = (u64, u64);

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its ID.
    pub id: Id,
    /// Field, value, field, value, …
    pub fields: Vec<String>,
}

/// All keys.
pub type Data = BTreeMap<String, Item>;

thread_local! {
    /// The data of the call that is running.
    static DATA: RefCell<Data> = const { RefCell::new(BTreeMap::new()) };
    static ENGINE: Engine = Engine::new().expect("the Lua engine starts");
}

struct Engine {
    lua: Lua,
    scripts: Vec<Function>,
}

impl Engine {
    fn new() -> mlua::Result<Self> {
        let lua = Lua::new();
        let redis = lua.create_table()?;
        redis.set(
            "call",
            lua.create_function(|lua, words: Variadic<String>| run(lua, &words))?,
        )?;
        redis.set(
            "pcall",
            lua.create_function(|lua, words: Variadic<String>| match run(lua, &words) {
                Ok(value) => Ok(value),
                Err(error) => {
                    let table = lua.create_table()?;
                    table.set("err", error.to_string())?;
                    Ok(Value::Table(table))
                }
            })?,
        )?;
        let cjson = lua.create_table()?;
        cjson.set("null", Value::NULL)?;
        cjson.set(
            "decode",
            lua.create_function(|lua, text: String| {
                let value = serde_json::from_str(&text).map_err(mlua::Error::external)?;
                to_lua(lua, &value)
            })?,
        )?;
        lua.globals().set("redis", redis)?;
        lua.globals().set("cjson", cjson)?;
        let scripts = Script::ALL
            .iter()
            .map(|script| lua.load(script.text()).into_function())
            .collect::<mlua::Result<_>>()?;
        Ok(Self { lua, scripts })
    }

    fn run(&self, call: &ScriptCall) -> mlua::Result<(Value, Value)> {
        self.lua.globals().set("KEYS", call.keys.as_slice())?;
        self.lua.globals().set("ARGV", call.args.as_slice())?;
        let answer: Table = self.scripts[call.script as usize].call(MultiValue::new())?;
        Ok((answer.get(1)?, answer.get(2)?))
    }
}

/// Runs a script on `data`. An error leaves behind what was written before it.
pub fn call(data: &mut Data, call: &ScriptCall) -> Result<(String, String), String> {
    within(data, |engine| {
        let (word, detail) = engine.run(call)?;
        Ok((
            text(&word).unwrap_or_default(),
            text(&detail).unwrap_or_default(),
        ))
    })
}

/// Two lists of strings that may be missing.
pub type Lists = (Vec<Option<String>>, Vec<Option<String>>);

/// Runs a script that answers two lists.
pub fn call_for_lists(data: &mut Data, call: &ScriptCall) -> Result<Lists, String> {
    within(data, |engine| {
        let (first, second) = engine.run(call)?;
        Ok((list(&first)?, list(&second)?))
    })
}

fn within<T>(data: &mut Data, f: impl FnOnce(&Engine) -> mlua::Result<T>) -> Result<T, String> {
    DATA.set(std::mem::take(data));
    let answer = ENGINE.with(f);
    *data = DATA.take();
    answer.map_err(|error| error.to_string())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.to_string_lossy()),
        Value::Integer(n) => Some(n.to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn list(value: &Value) -> mlua::Result<Vec<Option<String>>> {
    match value {
        Value::Table(table) => (1..=table.raw_len())
            .map(|i| Ok(text(&table.get::<Value>(i)?)))
            .collect(),
        _ => Ok(Vec::new()),
    }
}

fn to_lua(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    Ok(match value {
        serde_json::Value::Null => Value::NULL,
        serde_json::Value::String(s) => s.as_str().into_lua(lua)?,
        serde_json::Value::Array(items) => {
            let table = lua.create_table()?;
            for item in items {
                table.push(to_lua(lua, item)?)?;
            }
            Value::Table(table)
        }
        other => return Err(wrong(&format!("the scripts decode no {other}"))),
    })
}

fn wrong(text: &str) -> mlua::Error {
    mlua::Error::runtime(text)
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

fn run(lua: &Lua, words: &[String]) -> mlua::Result<Value> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    DATA.with_borrow_mut(|data| match words.as_slice() {
        ["TYPE", key] => {
            let kind = match data.get(*key) {
                None => "none",
                Some(Item::Text(_)) => "string",
                Some(Item::Hash(_)) => "hash",
                Some(Item::Stream(..)) => "stream",
            };
            let table = lua.create_table()?;
            table.set("ok", kind)?;
            Ok(Value::Table(table))
        }
        ["GET", key] => match data.get(*key) {
            None => Ok(Value::Boolean(false)),
            Some(Item::Text(value)) => value.as_str().into_lua(lua),
            Some(_) => Err(wrong(WRONG_TYPE)),
        },
        ["SET", key, value] => {
            data.insert((*key).to_owned(), Item::Text((*value).to_owned()));
            "OK".into_lua(lua)
        }
        ["MSET", pairs @ ..] => {
            for pair in pairs.chunks(2) {
                data.insert(pair[0].to_owned(), Item::Text(pair[1].to_owned()));
            }
            "OK".into_lua(lua)
        }
        ["DEL", keys @ ..] => {
            let gone = keys
                .iter()
                .filter(|key| data.remove(**key).is_some())
                .count();
            gone.into_lua(lua)
        }
        ["HGET", key, field] => match hash(data, key)?.and_then(|h| h.get(*field)) {
            None => Ok(Value::Boolean(false)),
            Some(value) => value.as_str().into_lua(lua),
        },
        ["HMGET", key, fields @ ..] => {
            let hash = hash(data, key)?;
            let table = lua.create_table()?;
            for field in fields {
                match hash.and_then(|h| h.get(*field)) {
                    None => table.push(false)?,
                    Some(value) => table.push(value.as_str())?,
                }
            }
            Ok(Value::Table(table))
        }
        ["HSET", key, pairs @ ..] => {
            let item = data
                .entry((*key).to_owned())
                .or_insert(Item::Hash(BTreeMap::new()));
            let Item::Hash(hash) = item else {
                return Err(wrong(WRONG_TYPE));
            };
            for pair in pairs.chunks(2) {
                hash.insert(pair[0].to_owned(), pair[1].to_owned());
            }
            (pairs.len() / 2).into_lua(lua)
        }
        ["HDEL", key, fields @ ..] => {
            let Some(item) = data.get_mut(*key) else {
                return 0.into_lua(lua);
            };
            let Item::Hash(hash) = item else {
                return Err(wrong(WRONG_TYPE));
            };
            let gone = fields.iter().filter(|f| hash.remove(**f).is_some()).count();
            if hash.is_empty() {
                data.remove(*key);
            }
            gone.into_lua(lua)
        }
        ["XADD", key, "MAXLEN", "~", length, id, fields @ ..] => {
            let fields = fields.iter().map(|f| (*f).to_owned()).collect();
            add(data, key, length, id, fields)?.into_lua(lua)
        }
        ["XTRIM", key, "MINID", "~", id] => {
            let least = id.split_once('-').and_then(|(ms, seq)| {
                let least: Id = (ms.parse().ok()?, seq.parse().ok()?);
                Some(least)
            });
            let least =
                least.ok_or_else(|| wrong("ERR Invalid stream ID specified as stream command"))?;
            let Some(Item::Stream(entries, _)) = data.get_mut(*key) else {
                return Err(wrong(WRONG_TYPE));
            };
            let before = entries.len();
            entries.retain(|entry| entry.id >= least);
            (before - entries.len()).into_lua(lua)
        }
        ["XREVRANGE", key, "+", "-", "COUNT", "1"] => {
            let table = lua.create_table()?;
            match data.get(*key) {
                None => {}
                Some(Item::Stream(entries, _)) => {
                    if let Some(Entry { id: (ms, seq), .. }) = entries.last() {
                        let entry = lua.create_table()?;
                        entry.push(format!("{ms}-{seq}"))?;
                        table.push(entry)?;
                    }
                }
                Some(_) => return Err(wrong(WRONG_TYPE)),
            }
            Ok(Value::Table(table))
        }
        other => Err(wrong(&format!("no such command here: {other:?}"))),
    })
}

fn hash<'a>(data: &'a Data, key: &str) -> mlua::Result<Option<&'a BTreeMap<String, String>>> {
    match data.get(key) {
        None => Ok(None),
        Some(Item::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(wrong(WRONG_TYPE)),
    }
}

fn add(
    data: &mut Data,
    key: &str,
    length: &str,
    id: &str,
    fields: Vec<String>,
) -> mlua::Result<String> {
    let item = data
        .entry(key.to_owned())
        .or_insert(Item::Stream(Vec::new(), (0, 0)));
    let Item::Stream(entries, last) = item else {
        return Err(wrong(WRONG_TYPE));
    };
    let ms = id.strip_suffix("-*").and_then(|ms| ms.parse::<u64>().ok());
    let ms =
        ms.ok_or_else(|| wrong("ERR Invalid stream ID specified as stream command argument"))?;
    if ms < last.0 {
        return Err(wrong(
            "ERR The ID specified in XADD is equal or smaller than the target's",
        ));
    }
    let seq = if ms == last.0 { last.1 + 1 } else { 0 };
    *last = (ms, seq);
    entries.push(Entry { id: *last, fields });
    let most: usize = length.parse().map_err(mlua::Error::external)?;
    if entries.len() > most {
        entries.drain(..entries.len() - most);
    }
    Ok(format!("{ms}-{seq}"))
}
