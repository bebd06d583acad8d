//! `doctorkafka-operator plan`, as a user runs it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output},
};

/// Three brokers in three racks, one of them dead, and one that is to take its place.
const INSTANCE: &str = r#"{"type":"meta","name":"small","resources":["cpu","nw_in","nw_out","disk"],"capacity_threshold":[0.7,0.8,0.8,0.8],"max_replicas_per_broker":100}
{"type":"broker","id":1,"rack":"a","state":"ALIVE","cap":[100,1000,1000,1000]}
{"type":"broker","id":2,"rack":"b","state":"ALIVE","cap":[100,1000,1000,1000]}
{"type":"broker","id":3,"rack":"c","state":"DEAD","cap":[-1,-1,-1,-1]}
{"type":"broker","id":4,"rack":"c","state":"NEW","cap":[100,1000,1000,1000]}
{"type":"partition","t":"orders","p":0,"r":[3,1,2],"load":[[9,90,90,300],[3,90,0,300],[3,90,0,300]],"lead":[6,0,90,0]}
{"type":"partition","t":"orders","p":1,"r":[1,2],"load":[[9,90,90,300],[3,90,0,300]],"lead":[6,0,90,0]}
"#;

fn plan(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"))
        .arg("plan")
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_dead_brokers_replicas_go_where_its_rack_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.jsonl"), INSTANCE).unwrap();
    let output = plan(folder.path(), &["--instance", "in.jsonl", "--out", "out.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let changes: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(changes[0]["t"], "orders");
    let mut replicas: Vec<i64> =
        changes[0]["r"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    replicas.sort_unstable();
    assert_eq!(replicas, [1, 2, 4]);
    assert_eq!(changes[0]["why"], "a replica leaves broker 3");
    let told = stderr(&output);
    assert!(told.contains("1 replicas are copied, 300 MB, at most 300 MB into one broker"), "{told}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside the plan");
}

#[test]
fn gzip_is_read_and_standard_output_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("in.gz")).unwrap();
    let mut zipped = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    zipped.write_all(INSTANCE.as_bytes()).unwrap();
    zipped.finish().unwrap();
    let arguments = ["--instance", "in.gz", "--remedy", "drain", "--broker", "1", "--out", "-"];
    let output = plan(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(3), "two brokers cannot hold three replicas: {}", stderr(&output));
    assert!(stderr(&output).contains("not met: NoEligibleTarget"), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
}

#[test]
fn what_cannot_be_read_is_named_and_no_plan_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let cut = INSTANCE.replace("\"r\":[1,2]", "\"r\":[1,7]");
    fs::write(folder.path().join("bad.jsonl"), cut).unwrap();
    fs::write(folder.path().join("in.jsonl"), INSTANCE).unwrap();
    fs::write(folder.path().join("out.jsonl"), "the last plan").unwrap();
    let refused: [(&[&str], i32, &str); 6] = [
        (&["--instance", "bad.jsonl", "--out", "out.jsonl"], 1, "line 7: orders-1: there is no broker 7"),
        (&["--instance", "none.jsonl", "--out", "out.jsonl"], 1, "cannot read the instance from none.jsonl"),
        (
            &["--instance", "in.jsonl", "--out", "no/such/folder"],
            1,
            "cannot write the plan to no/such/folder",
        ),
        (&["--instance", "in.jsonl", "--out", "out.jsonl", "--remedy", "drain"], 2, "need --broker ID"),
        (
            &["--instance", "in.jsonl", "--out", "out.jsonl", "--broker", "1"],
            2,
            "goes with --remedy drain or demote",
        ),
        (
            &["--instance", "in.jsonl", "--out", "out.jsonl", "--remedy", "demote", "--broker", "9"],
            2,
            "there is no broker 9 in small",
        ),
    ];
    for (arguments, code, told) in refused {
        let output = plan(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(fs::read_to_string(folder.path().join("out.jsonl")).unwrap(), "the last plan");
}
