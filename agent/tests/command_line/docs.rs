//! The examples of docs/cli.md, run in their order.

use crate::shell::Shell;

/// A block of the page: a file, or commands with what they print.
enum Block {
    File { name: String, text: String },
    Example { command: String, prints: String },
}

fn blocks() -> Vec<Block> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut language = None;
    for line in page.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            language = Some(fence).filter(|_| language.is_none());
            continue;
        }
        match (language, blocks.last_mut()) {
            (Some("yaml"), last) => match (line.strip_prefix("# "), last) {
                (Some(name), _) => blocks.push(Block::File {
                    name: name.to_owned(),
                    text: format!("{line}\n"),
                }),
                (None, Some(Block::File { text, .. })) => *text += &format!("{line}\n"),
                _ => panic!("a file without a name: {line}"),
            },
            (Some("sh"), last) => match (line.strip_prefix("$ "), last) {
                (Some(command), _) => blocks.push(Block::Example {
                    command: command.to_owned(),
                    prints: String::new(),
                }),
                (None, Some(Block::Example { prints, .. })) => *prints += &format!("{line}\n"),
                _ => panic!("output of no command: {line}"),
            },
            _ => {}
        }
    }
    blocks
}

/// Compares word by word. Revisions depend on what the agents wrote when they
/// started: all may be higher or lower by the same number. `…` at the end of a
/// line stands for the rest of it.
struct Comparison {
    shift: Option<i64>,
}

impl Comparison {
    fn is_same(&mut self, expected: &str, actual: &str) -> bool {
        let (expected, actual): (Vec<_>, Vec<_>) =
            (expected.lines().collect(), actual.lines().collect());
        expected.len() == actual.len()
            && expected
                .iter()
                .zip(actual)
                .all(|(expected, actual)| self.is_same_line(expected, actual))
    }

    fn is_same_line(&mut self, expected: &str, actual: &str) -> bool {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut actual_words = actual.split_whitespace();
        for word in expected.split_whitespace() {
            if word == "…" {
                return true;
            }
            let Some(other) = actual_words.next() else {
                return false;
            };
            if word != other && !is_alike(word, other) && !self.is_shifted(word, other) {
                return false;
            }
        }
        actual_words.next().is_none() && indent(expected) == indent(actual)
    }

    /// A command that names a revision, with the one that is meant here.
    fn shifted(&self, command: &str) -> String {
        let begins = ["pointsman wait ", "pointsman events --since "];
        let named = begins.iter().find_map(|begin| {
            let rest = command.strip_prefix(begin)?;
            let (revision, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((begin, revision.parse::<i64>().ok()?, rest))
        });
        match named {
            Some((begin, revision, rest)) => {
                let revision = revision + self.shift.unwrap_or_default();
                format!("{begin}{revision} {rest}")
            }
            None => command.to_owned(),
        }
    }

    fn is_shifted(&mut self, expected: &str, actual: &str) -> bool {
        let number = |word: &str| word.trim_end_matches([',', ':']).parse::<i64>().ok();
        let (Some(expected), Some(actual)) = (number(expected), number(actual)) else {
            return false;
        };
        *self.shift.get_or_insert(actual - expected) == actual - expected
    }
}

/// Two times, two numbers of seconds that are left, or two ports of this machine.
fn is_alike(expected: &str, actual: &str) -> bool {
    let left = |word: &str| word.strip_suffix("s,")?.parse::<u32>().ok();
    let is_time = |word: &str| word.len() == 24 && word.ends_with('Z');
    let is_local = |word: &str| word.starts_with("127.0.0.1:");
    left(expected).is_some() && left(actual).is_some()
        || is_time(expected) && is_time(actual)
        || is_local(expected) && is_local(actual)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_prints_what_the_page_says() {
    let shell = Shell::start().await;
    let edge = shell.edge().await["edge"].as_str().unwrap().to_owned();
    let blocks = blocks();
    assert!(blocks.len() > 30, "the examples were not found");
    let mut comparison = Comparison { shift: None };
    for block in &blocks {
        match block {
            Block::File { name, text } => shell.write(name, text),
            Block::Example { command, prints } => {
                let command = &comparison.shifted(command);
                let printed = shell.run(command).await.text.replace(&edge, "edge-1");
                assert!(
                    comparison.is_same(prints, &printed),
                    "$ {command}\nprints\n{printed}and not\n{prints}(revisions are shifted by {:?})",
                    comparison.shift
                );
            }
        }
    }
}

#[test]
fn each_command_for_an_agent_has_an_example() {
    let mut help = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let help = help.arg("help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split_whitespace().next()?;
        name.chars().all(|c| c.is_ascii_lowercase()).then_some(name)
    });
    // What docs/configuration.md and docs/operations.md are about.
    let others = ["serve", "register", "adopt", "confirm", "help"];
    let commands: Vec<_> = commands.filter(|name| !others.contains(name)).collect();
    assert!(commands.len() > 12, "{help}");
    let blocks = blocks();
    for name in commands {
        let begin = format!("pointsman {name}");
        let mut examples = blocks.iter().filter_map(|block| match block {
            Block::Example { command, .. } => Some(command),
            Block::File { .. } => None,
        });
        let found = examples.any(|command| command.contains(&begin));
        assert!(found, "docs/cli.md has no example of {name}");
    }
}
