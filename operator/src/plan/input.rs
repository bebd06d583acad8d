//! Reading an instance from a file.

use anyhow::{Context, anyhow};
use doctorkafka_planner::{Instance, Parser};
use flate2::bufread::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// The first bytes of gzip (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The longest line that is read, bytes. A partition of 255 replicas needs some 20 KB.
const LONGEST_LINE: u64 = 1 << 20;

/// Reads an instance from a file, plain or gzip; `-` is standard input.
///
/// # Errors
/// The file cannot be read, or a line of it cannot be; the message names both.
pub fn read_instance(path: &Path) -> anyhow::Result<Instance> {
    let stdin = path == Path::new("-");
    let name = if stdin { "standard input".to_owned() } else { path.display().to_string() };
    let cannot = || format!("cannot read the instance from {name}");
    let raw: Box<dyn Read> =
        if stdin { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).with_context(cannot)?) };
    let mut raw = BufReader::with_capacity(1 << 16, raw);
    let zipped = raw.fill_buf().with_context(cannot)?.starts_with(&GZIP);
    let lines: Box<dyn BufRead> = if zipped {
        Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw)))
    } else {
        Box::new(raw)
    };
    parse(lines).with_context(cannot)
}

fn parse(mut lines: Box<dyn BufRead>) -> anyhow::Result<Instance> {
    let mut parser = Parser::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = lines.as_mut().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read as u64 == LONGEST_LINE {
            return Err(anyhow!("line {number} is longer than {LONGEST_LINE} bytes"));
        }
        let text = std::str::from_utf8(&line).with_context(|| format!("line {number} is not text"))?;
        parser.line(text)?;
    }
    Ok(parser.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = BufReader::new(io::repeat(b' ').take(3 * LONGEST_LINE));
        let error = parse(Box::new(endless)).unwrap_err().to_string();
        assert!(error.contains("line 1 is longer than"), "{error}");
    }
}
