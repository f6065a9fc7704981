//! Runs the pure Lua modules (`lua/pointsman/`) under LuaJIT, without nginx.
//!
//! A test is a chunk of Lua that raises an error when it fails. It sees the
//! standard library, `require`, and what [`check`] adds. Reading any other
//! global, `ngx` above all, or making a new one is an error: the modules are
//! pure, and stay so.

use std::fs;
use std::path::Path;

use mlua::{Lua, LuaSerdeExt, Result, Value};

const HARNESS: &str = include_str!("harness.lua");

/// Runs `chunk` in a fresh Lua state. It sees `json` (a decoder with the
/// manners of `cjson.safe.decode`), `golden` (the golden records), `same` and
/// `fails`.
///
/// # Panics
///
/// When the chunk raises an error: that is how a test fails.
pub fn check(chunk: &str) {
    if let Err(err) = run(chunk) {
        panic!("{err}");
    }
}

fn run(chunk: &str) -> Result<()> {
    let lua = Lua::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = here.join("../?.lua");
    let golden = here.join("../../t/fixtures/records.json");

    let package: mlua::Table = lua.globals().get("package")?;
    package.set("path", modules.display().to_string())?;
    package.set("cpath", "")?;

    let json = lua.create_function(|lua, raw: mlua::LuaString| {
        match serde_json::from_slice::<serde_json::Value>(&raw.as_bytes()) {
            Ok(value) => Ok((lua.to_value(&value)?, Value::Nil)),
            Err(err) => Ok((
                Value::Nil,
                Value::String(lua.create_string(err.to_string())?),
            )),
        }
    })?;
    let golden: serde_json::Value =
        serde_json::from_slice(&fs::read(&golden).map_err(mlua::Error::external)?)
            .map_err(mlua::Error::external)?;

    lua.load(HARNESS)
        .set_name("=harness")
        .call::<()>((json, lua.to_value(&golden)?))?;
    lua.load(chunk).set_name("=test").exec()
}
