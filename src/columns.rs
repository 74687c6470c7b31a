//! Text for a terminal of 80 columns.

use textwrap::{Options, fill};

/// `label`, and `value` beside it, in as many lines as it needs.
pub fn paragraph(text: &mut String, label: &str, value: &str) {
    let indent = " ".repeat(label.len());
    let options = Options::new(WIDTH)
        .initial_indent(label)
        .subsequent_indent(&indent);
    text.push_str(fill(value, options).trim_end());
    text.push('\n');
}

/// As wide as terminals are at least.
pub const WIDTH: usize = 80;

/// A number of bytes, in the unit that leaves few digits.
pub fn bytes(count: f64) -> String {
    const UNITS: [(&str, f64); 3] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match UNITS.iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count / size),
        None => format!("{count:.0} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_are_short() {
        for (count, text) in [
            (0.0, "0 bytes"),
            (999.0, "999 bytes"),
            (1500.0, "1.5 kB"),
            (2_000_000.0, "2.0 MB"),
            (3.25e9, "3.2 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn long_values_stay_beside_their_label() {
        let mut text = String::new();
        paragraph(&mut text, "  label ", &"word ".repeat(30));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("        word") && lines.iter().all(|l| l.len() <= WIDTH));
    }
}
