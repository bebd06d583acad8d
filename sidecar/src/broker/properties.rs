//! Java properties files, as far as Kafka's use of them goes.

use std::collections::HashMap;

/// Parses the text of a properties file (`java.util.Properties.load`): `key=value`, `key:value` or `key value`, comments
/// by `#` and `!`, lines continued by a backslash, escapes. The last of equal keys counts.
pub fn parse(text: &str) -> HashMap<String, String> {
    logical_lines(text)
        .iter()
        .map(|line| {
            let (key, value) = split(line);
            (unescape(key), unescape(value))
        })
        .collect()
}

fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continues = false;
    for line in text.lines() {
        let line = line.trim_start();
        if !continues && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let goes_on = backslashes % 2 == 1;
        let content = if goes_on { line.strip_suffix('\\').unwrap_or(line) } else { line };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => last.push_str(content),
            None => lines.push(content.to_owned()),
        }
        continues = goes_on;
    }
    lines
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (key, value)
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        let parsed = parse(
            "# a comment\n! another\n\nnode.id=4\nlog.dirs = /data/a,\\\n    /data/b\nspaced   value with blanks\n\
             colon:x:y\nescaped\\=key=v\\u0041\\tz\nempty=\nwindows=C\\:\\\\kafka\r\nnode.id=5\n",
        );
        let expected = [
            ("node.id", "5"),
            ("log.dirs", "/data/a,/data/b"),
            ("spaced", "value with blanks"),
            ("colon", "x:y"),
            ("escaped=key", "vA\tz"),
            ("empty", ""),
            ("windows", "C:\\kafka"),
        ];
        for (key, value) in expected {
            assert_eq!(parsed.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(parsed.len(), expected.len());
    }

    #[test]
    fn survives_broken_text() {
        for text in ["\\", "=", "a\\", "\\u12", "=\\u", "\u{0}\u{1}", "k=\\uZZZZ"] {
            let _ = parse(text);
        }
    }
}
