//! The shape of a YAML text, with lines.
//!
//! The typed reader goes over the same text again. This one is for what types cannot say: fields that they do not know,
//! and where a field stands.

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;
use std::fmt;

/// What stands in a YAML text and on which lines.
#[derive(Debug)]
pub(super) enum Source {
    /// Names and values.
    Map(Vec<Field>),
    /// Items, each with the line it begins on.
    List(Vec<(u64, Source)>),
    /// A text.
    Text(String),
    /// A number, a truth value or nothing.
    Other,
}

/// One name of a map.
#[derive(Debug)]
pub(super) struct Field {
    /// The name.
    pub name: String,
    /// The line the name is on.
    pub line: u64,
    /// Its value.
    pub value: Source,
}

impl Source {
    /// The text of a field of this map.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let Self::Map(fields) = self else { return None };
        match fields.iter().find(|field| field.name == name) {
            Some(Field { value: Self::Text(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// The line of a field, or of the innermost part of its path that is there; `None` when nothing of it is.
    pub(super) fn line_of(&self, path: &str) -> Option<u64> {
        let mut here = self;
        let mut line = None;
        for step in path.split(['.', '[']) {
            let next = match here {
                Self::Map(fields) => {
                    fields.iter().find(|field| field.name == step).map(|field| (field.line, &field.value))
                }
                Self::List(items) => {
                    let item = step.strip_suffix(']').and_then(|n| items.get(n.parse::<usize>().ok()?));
                    item.map(|(line, item)| (*line, item))
                }
                Self::Text(_) | Self::Other => None,
            };
            let Some((next_line, next)) = next else { break };
            line = Some(next_line);
            here = next;
        }
        line
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<Spanned<String>, Source>()? {
            fields.push(Field { line: name.referenced.line(), name: name.value, value });
        }
        Ok(Source::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Source, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Source>>()? {
            list.push((item.referenced.line(), item.value));
        }
        Ok(Source::List(list))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Source, E> {
        Ok(Source::Text(text.to_owned()))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_none<E: de::Error>(self) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Source, E> {
        Ok(Source::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Source, D::Error> {
        Self::Value::deserialize(deserializer)
    }
}
