//! A real Prometheus watches real doctors and sidecars: every query of the dashboard and every alert rule finds what it asks
//! for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use doctorkafka_testbed::{Process, find_program, free_port, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{Doctor, World};

/// Range of rates: several scrapes, as Grafana's `$__rate_interval` is.
const RATE_INTERVAL: &str = "20s";

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").canonicalize().unwrap()
}

/// A Prometheus that scrapes every second.
struct Prometheus {
    process: Process,
    agent: ureq::Agent,
    address: String,
}

impl Prometheus {
    /// With the project's alert rules and these jobs.
    async fn start(folder: &Path, jobs: &[(&str, Vec<String>)]) -> Self {
        assert!(
            find_program(&"prometheus".into()).is_some(),
            "prometheus not found: this test needs it; install it with `apt-get install -y prometheus`"
        );
        let job = |(name, targets): &(&str, Vec<String>)| json!({"job_name": name, "static_configs": [{"targets": targets}]});
        let settings = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [monitoring().join("prometheus-rules.yaml")],
            "scrape_configs": jobs.iter().map(job).collect::<Vec<_>>(),
        });
        let file = folder.join("prometheus.yaml");
        // JSON is YAML.
        fs::write(&file, settings.to_string()).unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::spawn("prometheus", command, folder.join("prometheus.log")).unwrap();
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
        let prometheus = Self { process, agent, address };
        prometheus
            .until("Prometheus to answer", async || prometheus.ask("status/buildinfo", &[]).is_some())
            .await;
        prometheus
    }

    /// What its HTTP API answers; `None` when it does not.
    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let mut answer = self.agent.get(&url).query_pairs(parameters.iter().copied()).call().ok()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The values that a query gives now, by their labels.
    fn query(&self, expr: &str) -> Vec<(Value, f64)> {
        let answer = self.ask("query", &[("query", expr)]).unwrap_or_else(|| panic!("{expr} is refused"));
        let results = answer["result"].as_array().unwrap().iter();
        let value = |result: &Value| result["value"][1].as_str().unwrap().parse().unwrap();
        results.map(|result| (result["metric"].clone(), value(result))).collect()
    }

    fn label_values(&self, metric: &str, label: &str) -> Vec<String> {
        let answer = self.ask(&format!("label/{label}/values"), &[("match[]", metric)]).unwrap();
        answer.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let waited = wait_until(what, Duration::from_secs(60), || condition()).await;
        if let Err(error) = waited {
            panic!("{error}\n{}", self.process.log_tail());
        }
    }
}

/// The dashboard's queries with the title of their panel, as Grafana would send them.
fn queries(dashboard: &Value, chosen: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| {
            (panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned())
        })
    });
    let filled = |expr: String| {
        let expr = expr.replace("$__rate_interval", RATE_INTERVAL);
        let expr = chosen.iter().fold(expr, |expr, (name, value)| expr.replace(&format!("${name}"), value));
        assert!(!expr.contains('$'), "{expr}");
        expr
    };
    targets.map(|(title, expr)| (title, filled(expr))).collect()
}

/// What each of the dashboard's variables stands for when all that there is was chosen one by one; with nothing to choose
/// from, for `All`.
fn chosen(dashboard: &Value, prometheus: &Prometheus) -> BTreeMap<String, String> {
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let queried = variables.filter(|variable| variable["type"] == "query").map(|variable| {
        let text = variable["query"]["query"].as_str().unwrap();
        let inner = text.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (metric, label) = inner.split_once(", ").unwrap();
        let values = prometheus.label_values(metric, label).join("|");
        let all = variable["allValue"].as_str().unwrap().to_owned();
        let name = variable["name"].as_str().unwrap().to_owned();
        (name, if values.is_empty() { all } else { values })
    });
    queried.collect()
}

/// Names of our metrics in an expression.
fn named(expr: &str) -> impl Iterator<Item = &str> {
    expr.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("doctorkafka_"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_alert_rule_finds_its_metrics() {
    let mut world = World::start(&[]).await;
    let sidecars = [1, 2, 3].map(|id| world.start_simulated_sidecar(id));
    let policy = world.policy("{}\n  remedies: {leadership: {mode: Auto}}\n  limits: {cooldown: 10m}");
    let doctors = ["first", "second"].map(|name| Doctor::start(name, &policy, world.folder.path()));
    let operators = doctors.iter().map(|doctor| doctor.api.clone()).collect();
    let jobs = [("operators", operators), ("sidecars", sidecars.to_vec())];
    let prometheus = Prometheus::start(world.folder.path(), &jobs).await;

    let leads = |doctor: &&Doctor| doctor.role() == "leading";
    prometheus.until("one doctor to lead", async || doctors.iter().filter(leads).count() == 1).await;
    prometheus
        .until("every broker to be known", async || {
            let known = prometheus.query("max(sum by (instance) (doctorkafka_brokers{state!=\"Unknown\"}))");
            known.first().is_some_and(|(_, brokers)| *brokers == 3.0)
        })
        .await;
    // One broker is hot: it is treated, and as it stays hot, the cool-down refuses another treatment.
    let spike = format!("http://{}/simulate/spike?seconds=300", sidecars[1]);
    prometheus.agent.post(&spike).send_empty().unwrap();
    prometheus
        .until("a treatment to be seen", async || {
            let done = prometheus.query("doctorkafka_treatments_total{end=\"done\"} > 0");
            !done.is_empty() && !prometheus.query("doctorkafka_refusals > 0").is_empty()
        })
        .await;

    let dashboard = fs::read_to_string(monitoring().join("grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let chosen = chosen(&dashboard, &prometheus);
    assert_eq!(chosen["policy"], "test");
    assert_eq!(chosen["broker"], "1|2|3");
    let queries = queries(&dashboard, &chosen);
    assert!(queries.len() > 30, "{} queries", queries.len());
    for (title, expr) in &queries {
        prometheus
            .until(&format!("the panel {title:?}: {expr}"), async || !prometheus.query(expr).is_empty())
            .await;
    }
    // Not only zeros: what happened is there to be seen.
    prometheus
        .until("the alert among the decisions", async || {
            let alerted =
                prometheus.query("max_over_time(doctorkafka_actions_total{kind=\"ALERT_OVERLOAD\"}[5m]) > 0");
            let hot = prometheus
                .query("doctorkafka_sidecar_cpu_percent > 90 and doctorkafka_sidecar_simulated == 1");
            !alerted.is_empty() && !hot.is_empty()
        })
        .await;

    let rules = prometheus.ask("rules", &[]).unwrap();
    let rules: Vec<&Value> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() > 20, "{} rules", rules.len());
    let mut metrics = BTreeSet::new();
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert_ne!(rule["state"], "firing", "nothing lasts long enough here: {rule:#}");
        metrics.extend(named(rule["query"].as_str().unwrap()));
    }
    // The injection webhook's are shown by its own tests; it needs Kubernetes.
    metrics.retain(|metric| !metric.starts_with("doctorkafka_injection_"));
    for metric in metrics {
        assert!(!prometheus.query(metric).is_empty(), "no process exports {metric}");
    }
}
