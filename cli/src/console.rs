//! The terminal. Owns: how a line, a table and a JSON value are printed on standard output, and how a bar is drawn on
//! standard error, where logs go too.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Prints a line.
///
/// # Errors
/// When nobody reads.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a piece of a line, at once.
///
/// # Errors
/// When nobody reads.
pub fn piece(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints a value as indented JSON.
///
/// # Errors
/// When nobody reads.
pub fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Prints a table; where it has no rows, `empty` instead.
///
/// # Errors
/// When nobody reads.
pub fn table(header: &[&str], rows: Vec<Vec<String>>, empty: &str) -> io::Result<()> {
    if rows.is_empty() {
        return line(empty);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header)
        .add_rows(rows);
    for text in table.lines() {
        line(text.trim_end())?;
    }
    Ok(())
}

/// A bar of a style in indicatif's words, on a terminal; elsewhere nothing is drawn.
pub fn bar(length: u64, style: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template(style);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// A text from outside, without characters that a terminal would obey.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(harmless).collect()
}

/// Microseconds for people: three digits that matter.
pub fn duration(us: u64) -> String {
    let us = us as f64;
    match us {
        us if us < 1e3 => format!("{us} µs"),
        us if us < 1e4 => format!("{:.2} ms", us / 1e3),
        us if us < 1e5 => format!("{:.1} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us if us < 1e7 => format!("{:.2} s", us / 1e6),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// Seconds for people, as `kubectl` writes ages.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (us, text) in [
            (7, "7 µs"),
            (1_234, "1.23 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (1_234_567, "1.23 s"),
            (123_456_789, "123.5 s"),
        ] {
            assert_eq!(duration(us), text);
        }
    }

    #[test]
    fn a_terminal_is_not_commanded_from_outside() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\n");
    }
}
