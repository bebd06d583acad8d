//! JSON Schemas of the records on the topics.

use anyhow::Context;
use doctorkafka_wire::{ActionRecord, BrokerReport};
use schemars::{JsonSchema, generate::SchemaSettings};

/// Schema of the reports on the metrics topic.
pub(super) fn broker_report() -> anyhow::Result<String> {
    json::<BrokerReport>("broker-report")
}

/// Schema of the records of the actions log.
pub(super) fn action_record() -> anyhow::Result<String> {
    json::<ActionRecord>("action-record")
}

fn json<T: JsonSchema>(name: &str) -> anyhow::Result<String> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    schema["$id"] = format!("https://doctorkafka.dev/schemas/{name}.v1.json").into();
    super::crd::tidy(&mut schema);
    let json =
        serde_json::to_string_pretty(&schema).with_context(|| format!("the schema of {name} as JSON"))?;
    Ok(json + "\n")
}
