//! One line of a Prometheus page.
//!
//! Of the text format (version 0.0.4) only the samples matter here, and of a page only a handful of lines. The parser
//! crates bring regular expressions that take 3 MB of memory, a fifth of what the sidecar may use at all.

/// One sample: `name{label="value",...} value [timestamp]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    pub name: &'a str,
    labels: &'a str,
    pub value: f64,
}

/// Reads a line; `None` for a comment, an empty line and anything that is not a sample.
pub fn parse(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (name, rest) = line.split_at(line.find(|c| !is_name(c))?);
    if name.is_empty() {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => {
            let end = labels_end(inside)?;
            (inside.get(..end)?, inside.get(end + 1..)?)
        }
        None => ("", rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

impl<'a> Sample<'a> {
    /// A label's value as it is written, escapes included; empty without that label.
    pub fn label(&self, name: &str) -> &'a str {
        let mut rest = self.labels;
        while let Some((key, after)) = rest.split_once("=\"") {
            let Some(end) = quote_end(after) else { break };
            if key.trim_start_matches([',', ' ']) == name {
                return after.get(..end).unwrap_or_default();
            }
            rest = after.get(end + 1..).unwrap_or_default();
        }
        ""
    }
}

/// Where the closing brace is that is not within quotes.
fn labels_end(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let found = rest.find(['"', '}'])?;
        at += found;
        if rest.as_bytes().get(found) == Some(&b'}') {
            return Some(at);
        }
        at += 1;
        at += quote_end(text.get(at..)?)? + 1;
    }
}

/// Where a quoted text ends that begins with the text: the first quote without a backslash before it.
fn quote_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples() {
        let plain = parse("a_metric:total 1.5E3").unwrap();
        assert_eq!((plain.name, plain.value, plain.label("x")), ("a_metric:total", 1_500.0, ""));
        let full = parse(" m{area=\"heap\",odd=\"a,b=\\\"}\",name=\"BytesIn\",} -1 1700000000000 ").unwrap();
        assert_eq!((full.name, full.value), ("m", -1.0));
        assert_eq!(full.label("area"), "heap");
        assert_eq!(full.label("odd"), "a,b=\\\"}");
        assert_eq!(full.label("name"), "BytesIn");
        assert_eq!(full.label("none"), "");
        assert!(parse("m{} NaN").unwrap().value.is_nan());
        assert_eq!(parse("m +Inf").unwrap().value, f64::INFINITY);
    }

    #[test]
    fn anything_else_is_no_sample() {
        for line in [
            "",
            "# HELP m text",
            "m",
            "m ",
            "m{",
            "m{a=\"",
            "m{a=\"b\"",
            "m{a=\"b\"}",
            "m x",
            "{} 1",
            "ü 1",
            "m{}\u{e9}",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
