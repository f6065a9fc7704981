//! Runs a file of Lua as the tests run their chunks, for the measurements
//! beside this file.

use std::{env, fs};

fn main() {
    let file = env::args().nth(1).expect("usage: run FILE");
    let chunk = fs::read_to_string(&file).expect("the file can be read");
    pointsman_lua_tests::check(&chunk);
}
