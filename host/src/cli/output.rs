//! Output: tables and sentences for people, JSON for programs, and no untrusted control characters.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde_json::{json, value::RawValue};

use super::error::CliError;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
    terminal: bool,
    colours: bool,
    colours_on_stderr: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = io::stdout().is_terminal();
        Self {
            json,
            terminal,
            colours: terminal && wanted,
            colours_on_stderr: io::stderr().is_terminal() && wanted,
        }
    }

    /// Whether the output is for programs.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Whether to show progress on standard error.
    pub(super) fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Prints a line for people, whose parts have been cleaned.
    pub(super) fn line(&self, line: &str) -> Result<(), CliError> {
        written(writeln!(io::stdout().lock(), "{line}"))
    }

    /// Prints a JSON value verbatim, on one line.
    pub(super) fn object(&self, value: &RawValue) -> Result<(), CliError> {
        let line = one_line(value.get(), self.terminal);
        written(writeln!(io::stdout().lock(), "{line}"))
    }

    /// Prints a value as JSON, on one line.
    pub(super) fn value(&self, value: &serde_json::Value) -> Result<(), CliError> {
        self.line(&one_line(&value.to_string(), self.terminal))
    }

    /// Prints a warning on standard error.
    pub(super) fn warn(&self, sentence: &str) {
        if self.json {
            self.complain(&json!({ "warning": sentence }));
        } else {
            eprintln!("{} {}", self.red_on_stderr("warning:"), clean(sentence));
        }
    }

    /// Prints a JSON value about a problem on standard error, on one line.
    pub(super) fn complain(&self, problem: &serde_json::Value) {
        // Always escaped: the meaning is the same, and logs are read in terminals later.
        eprintln!("{}", one_line(&problem.to_string(), true));
    }

    /// Prints a table, and cleans its cells.
    pub(super) fn table<const N: usize>(&self, heads: [&str; N], rows: Vec<[String; N]>) -> Result<(), CliError> {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if !self.terminal {
            table.force_no_tty();
        }
        table.set_header(heads);
        for row in rows {
            table.add_row(row.map(|cell| self.cell(&cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(&table.trim_fmt())
    }

    fn cell(&self, text: &str) -> Cell {
        let cell = Cell::new(clean(text));
        match status_colour(text).filter(|_| self.colours) {
            Some(colour) => cell.fg(colour),
            None => cell,
        }
    }

    /// The name of a status, coloured.
    pub(super) fn status(&self, status: &str) -> String {
        let code = match status_colour(status).filter(|_| self.colours) {
            Some(Color::Green) => 32,
            Some(Color::Red) => 31,
            Some(Color::Yellow) => 33,
            _ => return clean(status),
        };
        format!("\u{1b}[{code}m{}\u{1b}[0m", clean(status))
    }

    /// Colours the text red, if standard error supports it.
    pub(super) fn red_on_stderr(&self, text: &str) -> String {
        if self.colours_on_stderr {
            format!("\u{1b}[31m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn status_colour(status: &str) -> Option<Color> {
    match status {
        "Completed" => Some(Color::Green),
        "Failed" | "Terminated" | "Canceled" | "Stuck" | "error" => Some(Color::Red),
        "Suspended" | "Pending" | "warn" => Some(Color::Yellow),
        _ => None,
    }
}

/// A closed pipe (`| head`) needs no error message, but ends the output.
fn written(result: io::Result<()>) -> Result<(), CliError> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::NotCompleted,
        _ => CliError::failed(format!("cannot write: {error}")),
    })
}

/// Whether a character controls the terminal or changes the direction of the text after it.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Makes untrusted text safe for a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if is_control(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// JSON on one line. Line breaks outside of strings are white space; control characters can only appear within strings,
/// where an escape has the same meaning.
fn one_line(json: &str, for_terminal: bool) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.trim().chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if for_terminal && is_control(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    line.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => line.push(c),
        }
    }
    line
}

/// A digest, shortened for a table.
pub(super) fn short_digest(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            clean("a\u{1b}[31mé\n\u{9b}2J\u{202e}\u{61c}"),
            "a\\u{1b}[31mé\\n\\u{9b}2J\\u{202e}\\u{61c}"
        );
    }

    #[test]
    fn json_keeps_its_meaning_on_one_line() {
        let text = "{\n\t\"a\": \"x\u{9b}\u{2028}y\", \"b\": 1.0\n}";
        let line = one_line(text, true);
        assert_eq!(line, "{  \"a\": \"x\\u009b\\u2028y\", \"b\": 1.0 }");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(text));
    }
}
