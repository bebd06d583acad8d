//! What the chart renders, for all values, and whether a real API server takes it.

use crate::cluster::{Cluster, NAMESPACE, chart, deploy, documents, helm, is_hook, name, template};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What stands for "on" and "off" of values that are lists, and for values that another one needs.
const SWITCHES: [(&str, &str, &str); 19] = [
    ("watchNamespaces", "watchNamespaces={kafka}", ""),
    ("secretAccess", "secretAccess[0].namespace=kafka,secretAccess[0].names={prod-ca,doctor}", ""),
    ("crds.install", "crds.install=true", "crds.install=false"),
    ("rbac.create", "rbac.create=true", "rbac.create=false"),
    ("rbac.platformFacts", "rbac.platformFacts=true", "rbac.platformFacts=false"),
    ("rbac.people", "rbac.people=true", "rbac.people=false"),
    ("rbac.aggregate", "rbac.aggregate=true", "rbac.aggregate=false"),
    ("serviceAccount.create", "serviceAccount.create=true", "serviceAccount.create=false"),
    ("topologySpread.enabled", "topologySpread.enabled=true", "topologySpread.enabled=false"),
    ("podDisruptionBudget.create", "podDisruptionBudget.create=true", "podDisruptionBudget.create=false"),
    ("networkPolicy.create", "networkPolicy.create=true", "networkPolicy.create=false"),
    ("injection.enabled", "injection.enabled=true", "injection.enabled=false"),
    (
        "injection.certManager.enabled",
        "injection.certManager.enabled=true,injection.certManager.issuerRef.name=ca",
        "injection.certManager.enabled=false",
    ),
    ("admissionPolicies.create", "admissionPolicies.create=true", "admissionPolicies.create=false"),
    ("serviceMonitor.create", "serviceMonitor.create=true", "serviceMonitor.create=false"),
    ("podMonitor.create", "podMonitor.create=true", "podMonitor.create=false"),
    ("prometheusRule.create", "prometheusRule.create=true", "prometheusRule.create=false"),
    ("grafanaDashboard.create", "grafanaDashboard.create=true", "grafanaDashboard.create=false"),
    (
        "priorityClassName",
        "priorityClassName=system-cluster-critical,resources.limits.cpu=1,imagePullSecrets[0].name=pull,\
         tolerations[0].operator=Exists,nodeSelector.disk=ssd,podLabels.team=kafka,podAnnotations.note=x",
        "",
    ),
];

/// Renderings beside each other.
const AT_ONCE: usize = 4;

/// CRDs that others bring, of the kinds that the chart has objects of.
const OTHERS: [(&str, &str, &str, &str); 4] = [
    ("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor"),
    ("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor"),
    ("monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule"),
    ("cert-manager.io", "v1", "certificates", "Certificate"),
];

#[tokio::test]
async fn lint_has_nothing_to_say() {
    let chart = chart();
    let said =
        helm(None, &["lint", "--strict", "--kube-version=1.37.0", chart.to_str().unwrap()]).await.unwrap();
    assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
    assert!(!said.contains("[WARNING]"), "{said}");
}

#[tokio::test]
async fn wrong_values_are_refused_by_the_name_of_their_key() {
    for (setting, key) in [
        ("replicas=two", "/replicas"),
        ("replicas=-1", "/replicas"),
        ("replica=2", "'replica'"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=latest", "/image/digest"),
        ("watchNamespaces=kafka", "/watchNamespaces"),
        ("watchNamespaces={Kafka}", "/watchNamespaces/0"),
        ("secretAccess[0].namespace=kafka", "'names'"),
        ("log.format=xml", "/log/format"),
        ("crds.instal=true", "'instal'"),
        ("rbac.create=sure", "/rbac/create"),
        ("terminationGracePeriodSeconds=1", "/terminationGracePeriodSeconds"),
        ("injection.sidecar.runAs=root", "/injection/sidecar/runAs"),
        ("injection.sidecar.cpuRequest=much", "/injection/sidecar/cpuRequest"),
        ("injection.sidecar.memoryRequest=24MiB", "/injection/sidecar/memoryRequest"),
        ("injection.sidecar.memoryLimit=lots", "/injection/sidecar/memoryLimit"),
        ("injection.certManager.issuerRef.kind=Vault", "/injection/certManager/issuerRef/kind"),
        ("injection.certManager.enabled=true", "injection.certManager.issuerRef.name"),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval"),
        ("prometheusRule.runbookBaseUrl=https://example.org", "/prometheusRule/runbookBaseUrl"),
        ("grafanaDashboard.labels.a=1", "/grafanaDashboard/labels/a"),
    ] {
        let refused = template("doctorkafka", NAMESPACE, &[setting]).await.unwrap_err();
        assert!(refused.contains(key), "{setting}: {refused}");
    }
    assert!(template("doctorkafka", NAMESPACE, &["global.of.another=chart"]).await.is_ok());
}

/// Each template is rendered with every combination of the switches that it reads. Templates read nothing but values, so no
/// other combination can render anything else.
#[tokio::test(flavor = "multi_thread")]
async fn every_combination_renders_what_the_api_server_takes() {
    let cluster = Cluster::start().await;
    cluster.stand_ins(&OTHERS).await;
    let mut combinations = BTreeSet::new();
    for read in switches_by_template().values() {
        for bits in 0..1_u32 << read.len() {
            let on = read.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, switch)| *switch);
            let on: BTreeSet<usize> = on.collect();
            combinations.insert(
                (0..SWITCHES.len()).filter(|n| !read.contains(n) || on.contains(n)).collect::<Vec<_>>(),
            );
        }
    }
    assert!(combinations.len() > 64, "{}", combinations.len());
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let renderings = combinations.iter().map(|on| async move {
        let of = |(n, (_, yes, no)): (usize, &(&'static str, &'static str, &'static str))| {
            if on.contains(&n) { *yes } else { *no }
        };
        let settings = SWITCHES.iter().enumerate().map(of).filter(|setting| !setting.is_empty());
        let settings: Vec<&str> = settings.collect();
        let rendered = template("doctorkafka", NAMESPACE, &settings).await;
        (rendered.unwrap_or_else(|error| panic!("{settings:?}: {error}")), settings)
    });
    let mut renderings = stream::iter(renderings).buffer_unordered(AT_ONCE);
    while let Some((rendered, settings)) = renderings.next().await {
        let mut names = BTreeSet::new();
        for object in rendered {
            assert!(
                names.insert((object["apiVersion"].to_string(), name(&object))),
                "{settings:?}: twice: {}",
                name(&object)
            );
            objects.insert(object.to_string(), object);
        }
    }
    let kinds: BTreeSet<&str> = objects.values().filter_map(|object| object["kind"].as_str()).collect();
    for kind in [
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "Certificate",
        "ValidatingAdmissionPolicy",
        "Role",
        "ClusterRole",
    ] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    // A pod is refused without its service account, which the release would have brought by then.
    let (pods, others): (Vec<_>, Vec<_>) = objects.into_values().partition(|object| object["kind"] == "Pod");
    let file = cluster.file("all.json", &others);
    cluster.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &file]).await;
    cluster.kubectl(&["create", "serviceaccount", "default", "-n", NAMESPACE]).await;
    let file = cluster.file("pods.json", &pods);
    cluster.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &file]).await;
}

/// The switches that each template reads, itself or in what it includes.
fn switches_by_template() -> BTreeMap<String, Vec<usize>> {
    let folder = chart().join("templates");
    let mut texts = BTreeMap::new();
    collect(&folder, &mut texts);
    let helpers: BTreeMap<String, String> = texts
        .values()
        .flat_map(|text| text.split("{{- define \"").skip(1))
        .filter_map(|text| text.split_once('"'))
        .map(|(name, body)| (name.to_owned(), body.to_owned()))
        .collect();
    let reads = texts.iter().filter(|(path, _)| !path.ends_with(".tpl")).map(|(path, text)| {
        let whole = with_includes(text, &helpers);
        let read = SWITCHES.iter().enumerate().filter(|(_, (key, ..))| reads(&whole, key)).map(|(n, _)| n);
        (path.clone(), read.collect::<Vec<_>>())
    });
    let reads: BTreeMap<_, _> = reads.collect();
    let all: BTreeSet<usize> = reads.values().flatten().copied().collect();
    assert_eq!(all.len(), SWITCHES.len(), "a switch that no template reads: {reads:?}");
    reads
}

/// `with .Values.injection` reads all of what is below.
fn reads(template: &str, key: &str) -> bool {
    let mut path = key;
    loop {
        let exactly = format!(".Values.{path}");
        if template.match_indices(&exactly).any(|(at, _)| {
            let next = template[at + exactly.len()..].chars().next();
            !next.is_some_and(|next| next == '.' || next.is_alphanumeric())
        }) {
            return true;
        }
        match path.rsplit_once('.') {
            Some((above, _)) => path = above,
            None => return false,
        }
    }
}

fn with_includes(text: &str, helpers: &BTreeMap<String, String>) -> String {
    let mut whole = text.to_owned();
    for included in text.split("include \"").skip(1).filter_map(|text| text.split('"').next()) {
        whole.push_str(&with_includes(&helpers[included], helpers));
    }
    whole
}

fn collect(folder: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, texts);
        } else {
            texts.insert(path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
}

/// Every switch of `values.yaml` is among those of the combinations.
#[test]
fn no_switch_is_left_out() {
    fn switches(path: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Bool(_) => {
                found.insert(path.trim_start_matches('.').to_owned());
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| switches(&format!("{path}.{name}"), value, found));
            }
            _ => {}
        }
    }
    let values: Value =
        serde_saphyr::from_str(&fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    switches("", &values, &mut found);
    let known: BTreeSet<String> = SWITCHES.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert!(found.is_subset(&known), "{:?}", found.difference(&known));
}

#[tokio::test]
async fn watching_some_namespaces_takes_the_same_rules_there_and_no_cluster_wide_ones() {
    let everywhere = template("doctorkafka", NAMESPACE, &[]).await.unwrap();
    let somewhere = template("doctorkafka", NAMESPACE, &["watchNamespaces={a,b}"]).await.unwrap();
    let find =
        |objects: &[Value], wanted: &str| objects.iter().find(|object| name(object) == wanted).cloned();
    let all = find(&everywhere, "ClusterRole doctorkafka-operator").unwrap();
    assert!(find(&somewhere, "ClusterRole doctorkafka-operator").is_none());
    for namespace in ["a", "b"] {
        let role = find(&somewhere, &format!("Role {namespace}/doctorkafka-operator")).unwrap();
        assert_eq!(role["rules"], all["rules"]);
        assert!(find(&somewhere, &format!("RoleBinding {namespace}/doctorkafka-operator")).is_some());
    }
    let bound = |objects: &[Value]| -> BTreeSet<String> {
        objects.iter().filter(|object| object["kind"] == "ClusterRoleBinding").map(name).collect()
    };
    let still = ["ClusterRoleBinding doctorkafka-injection", "ClusterRoleBinding doctorkafka-nodes"];
    assert_eq!(bound(&somewhere), still.map(str::to_owned).into());
}

/// What the issue of least privilege comes down to.
#[tokio::test]
async fn no_role_of_the_operator_is_wide() {
    let settings = ["secretAccess[0].namespace=kafka,secretAccess[0].names={prod-ca}"];
    let objects = template("doctorkafka", NAMESPACE, &settings).await.unwrap();
    let roles =
        objects.iter().filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")));
    let mut rules = 0;
    for role in roles {
        for rule in role["rules"].as_array().unwrap() {
            rules += 1;
            let text = rule.to_string();
            assert!(!text.contains('*'), "{}: {text}", name(role));
            let resources = rule["resources"].as_array().unwrap();
            if resources.contains(&json!("secrets")) {
                assert_eq!(role["kind"], "Role", "{text}");
                assert!(rule["resourceNames"].as_array().is_some_and(|names| !names.is_empty()), "{text}");
                for verb in ["list", "watch", "create", "delete"] {
                    assert!(!rule["verbs"].as_array().unwrap().contains(&json!(verb)), "{text}");
                }
            }
            let of_people = name(role).contains("approver");
            assert_eq!(
                text.contains("kafkareassignments/approval"),
                of_people && text.contains("approval"),
                "{text}"
            );
        }
    }
    assert!(rules > 15, "{rules}");
}

/// An alert that would always fire is none.
#[tokio::test]
async fn a_single_operator_is_not_alerted_for_being_alone() {
    let mut alerts = Vec::new();
    for replicas in ["replicas=2", "replicas=1"] {
        let objects =
            template("doctorkafka", NAMESPACE, &["prometheusRule.create=true", replicas]).await.unwrap();
        let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
        let groups = rule["spec"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        alerts.push(rules.map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>());
    }
    let left: Vec<_> = alerts[0].difference(&alerts[1]).collect();
    assert_eq!(left, ["DoctorKafkaNoStandby"]);
    assert!(alerts[1].len() > 20, "{alerts:?}");
}

/// OpenShift's security context constraints take no pod that names a user outside of its namespace's range.
#[tokio::test]
async fn openshift_chooses_the_users_of_pods() {
    let chart = chart();
    let arguments = ["template", "doctorkafka", chart.to_str().unwrap(), "--kube-version=1.37.0"];
    for (more, chosen) in [(&[][..], true), (&["--api-versions=security.openshift.io/v1"][..], false)] {
        let text = helm(None, &[&arguments[..], more].concat()).await.unwrap();
        let objects = documents(&text);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let test = objects.iter().find(|object| is_hook(object)).unwrap();
        for spec in [&deployment["spec"]["template"]["spec"], &test["spec"]] {
            let context = &spec["securityContext"];
            assert_eq!(context["runAsNonRoot"], json!(true));
            for field in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert_eq!(context[field].is_u64(), chosen, "{context}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_restricted_and_have_no_token_but_the_operator_s_own() {
    let cluster = Cluster::start().await;
    for account in ["default", "doctorkafka-operator"] {
        cluster.kubectl(&["create", "serviceaccount", account, "-n", NAMESPACE]).await;
    }
    let objects = template("doctorkafka", NAMESPACE, &[]).await.unwrap();
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let test = objects.iter().find(|object| is_hook(object)).unwrap();
    let of_deployment = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "operator", "namespace": NAMESPACE}, "spec": deployment["spec"]["template"]["spec"],
    });
    let accounts = objects.iter().filter(|object| object["kind"] == "ServiceAccount");
    accounts.for_each(|account| assert_eq!(account["automountServiceAccountToken"], json!(false)));
    for (pod, tokens) in [(&of_deployment, 1), (test, 0)] {
        let file = cluster.file("pod.json", std::slice::from_ref(pod));
        let created = cluster.kubectl(&["create", "--dry-run=server", "-o", "json", "-f", &file]).await;
        let created: Value = serde_json::from_str(&created).unwrap();
        assert_eq!(created.to_string().matches("serviceAccountToken\":").count(), tokens, "{created}");
        for container in created["spec"]["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
        }

        // The namespace does refuse what is not restricted.
        let mut wider = pod.clone();
        wider["spec"]["securityContext"]["seccompProfile"]["type"] = json!("Unconfined");
        let file = cluster.file("wider.json", &[wider]);
        let refused = cluster.try_kubectl(&["create", "--dry-run=server", "-f", &file]).await.unwrap_err();
        assert!(refused.contains("restricted") && refused.contains("seccompProfile"), "{refused}");
    }
}

/// What `kubectl apply -k deploy` would send is taken, and is all that the chart renders by default.
#[tokio::test(flavor = "multi_thread")]
async fn the_plain_manifests_are_the_whole_chart() {
    let cluster = Cluster::start().await;
    let manifests = cluster.kubectl(&["kustomize", &deploy("")]).await;
    let names = |objects: &[Value]| -> BTreeSet<String> {
        objects.iter().filter(|object| !is_hook(object)).map(name).collect()
    };
    let mut plain = names(&documents(&manifests));
    assert!(plain.remove("Namespace doctorkafka"));
    let mut chart = names(&template("doctorkafka", NAMESPACE, &[]).await.unwrap());
    // Not every supported API server knows these.
    chart.retain(|name| !name.starts_with("MutatingAdmissionPolicy"));
    assert_eq!(plain, chart);
    cluster.kubectl(&["apply", "--dry-run=server", "-k", &deploy("")]).await;
    cluster.kubectl(&["apply", "--dry-run=server", "-f", &deploy("secret-access.yaml")]).await;
}
