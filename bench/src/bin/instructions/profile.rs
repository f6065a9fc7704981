//! What callgrind writes: instructions by program part and function, and misses
//! of the caches if it simulates them.

use std::collections::HashMap;

/// The functions inside of glibc's malloc and free. What they cost depends on
/// what the heap has been through, by 600 instructions a request between two
/// runs of one nginx whose folders have names of different lengths. So each
/// call counts [`PRICE`], whatever it took.
const HEAP: [&str; 5] = [
    "_int_malloc",
    "_int_free",
    "_int_memalign",
    "malloc_consolidate",
    "unlink_chunk",
];
/// About what such a call costs.
const PRICE: u64 = 100;
/// Where valgrind sees code that no file holds: what LuaJIT compiled.
const NO_OBJECT: &str = "???";
/// The first-level caches' misses: of instructions, of reads, of writes.
const MISSES: [&str; 3] = ["I1mr", "D1mr", "D1mw"];

/// The sums of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// By the file that the code is from. Calls into the heap count for libc.
    pub objects: HashMap<String, u64>,
    /// Calls of malloc and free that had to look at the heap.
    pub heap_calls: u64,
    /// Misses of the first-level caches, but for those inside of malloc and free;
    /// 0 if these were not simulated.
    pub misses: u64,
}

impl Profile {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.objects.values().sum()
    }

    /// Reads a whole file; nothing if its end is missing.
    pub fn parse(text: &str) -> Option<Self> {
        text.lines()
            .rev()
            .take(3)
            .find(|line| line.starts_with("totals:"))?;
        let mut profile = Self::default();
        let (mut objects, mut functions) = (Names::default(), Names::default());
        let (mut object, mut function, mut callee) = ("", "", "");
        let mut is_call = false;
        let events = text
            .lines()
            .find_map(|line| line.strip_prefix("events: "))?;
        let is_miss: Vec<_> = events
            .split(' ')
            .map(|event| MISSES.contains(&event))
            .collect();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("ob=") {
                object = objects.resolve(name);
            } else if let Some(name) = line.strip_prefix("cob=") {
                objects.resolve(name);
            } else if let Some(name) = line.strip_prefix("fn=") {
                function = functions.resolve(name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = functions.resolve(name);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                // The line after it is what the callee took.
                is_call = true;
                if is_heap(callee) && !is_heap(function) {
                    let count = calls.split(' ').next()?.parse::<u64>().ok()?;
                    profile.heap_calls += count;
                    *profile.objects.entry("libc".to_owned()).or_default() += count * PRICE;
                }
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            {
                if std::mem::take(&mut is_call) || is_heap(function) {
                    continue;
                }
                // The place, then as many events as are not 0 at the end.
                let mut costs = line.split(' ').skip(1).map(str::parse::<u64>);
                let cost = costs.next()?.ok()?;
                *profile.objects.entry(part(object)).or_default() += cost;
                for (cost, is_miss) in costs.zip(&is_miss[1..]) {
                    profile.misses += if *is_miss { cost.ok()? } else { 0 };
                }
            }
        }
        Some(profile)
    }
}

/// callgrind writes a name once, as `(12) name`, and then `(12)`.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    fn resolve(&mut self, text: &'a str) -> &'a str {
        match text.split_once(' ') {
            Some((id, name)) => {
                self.0.insert(id, name);
                name
            }
            None => self.0.get(text).copied().unwrap_or(text),
        }
    }
}

/// Without the marks of recursion and of compilers' clones.
fn is_heap(function: &str) -> bool {
    let name = function.split(['.', '\'']).next().unwrap_or(function);
    HEAP.contains(&name)
}

/// `/usr/lib/x86_64-linux-gnu/libluajit-5.1.so.2.1.0` → `libluajit`
fn part(object: &str) -> String {
    if object == NO_OBJECT {
        return "machine code".to_owned();
    }
    let file = object.rsplit('/').next().unwrap_or(object);
    let name = file.split(".so").next().unwrap_or(file);
    name.split('-').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
version: 1
events: Ir
ob=(1) /usr/sbin/nginx
fl=(1) ???
fn=(1) ngx_palloc
0 100
cob=(2) /usr/lib/x86_64-linux-gnu/libc.so.6
cfi=(1)
cfn=(2) malloc
calls=3 0
0 960
+3 7

ob=(2)
fn=(2)
5 30
cfn=(3) _int_malloc
calls=2 0
5 900

fn=(3)
9 800
cfn=(4) unlink_chunk.constprop.0
calls=1 0
9 100

fn=(4)
9 100

ob=(3) ???
fn=(5) 0x000000002b4ffbaa
0 50

totals: 1087
";

    #[test]
    fn costs_are_summed_by_object_and_the_heap_has_a_flat_price() {
        let profile = Profile::parse(FILE).unwrap();
        assert_eq!(profile.objects["nginx"], 107);
        assert_eq!(profile.objects["libc"], 30 + 2 * PRICE);
        assert_eq!(profile.objects["machine code"], 50);
        assert_eq!(profile.heap_calls, 2);
        assert_eq!(profile.total(), 107 + 30 + 2 * PRICE + 50);
    }

    #[test]
    fn misses_of_the_first_level_are_summed() {
        let text = FILE
            .replace("events: Ir", "events: Ir Dr Dw I1mr D1mr D1mw ILmr")
            .replace("0 100\n", "0 100 20 10 5 3 1 9\n")
            .replace("\n+3 7\n", "\n+3 7 2 1 1\n")
            .replace("\n5 900\n", "\n5 900 9 9 9 9 9\n");
        let profile = Profile::parse(&text).unwrap();
        assert_eq!(profile.misses, 5 + 3 + 1 + 1);
        assert_eq!(profile.objects["nginx"], 107);
    }

    #[test]
    fn a_file_that_is_still_written_is_none() {
        assert_eq!(Profile::parse(FILE.split("totals").next().unwrap()), None);
    }

    #[test]
    fn parts_have_short_names() {
        assert_eq!(
            part("/usr/lib/x86_64-linux-gnu/libluajit-5.1.so.2.1.0"),
            "libluajit"
        );
        assert_eq!(
            part("/usr/lib/nginx/modules/ngx_http_lua_module.so"),
            "ngx_http_lua_module"
        );
    }
}
