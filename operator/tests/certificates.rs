//! An engine's certificates in its pod: where they come from, and what is told of them.

mod first_pod;

use lps_operator::build::Release;
use lps_operator::checkpoint::Fetching;
use serde_json::{Value, json};

#[test]
fn certificates_come_from_the_secret_of_the_namespace() {
    let release = Release {
        engine_image: "i".to_owned(),
        engine_tls_secret: Some("engines".to_owned()),
        fetching: Fetching::default(),
    };
    let manifest = first_pod::manifest(json!({"builtin": "demo"}), json!({}));
    let plain = first_pod::pod(&manifest, Fetching::default()).expect("is built");
    assert!(
        !serde_json::to_string(&plain)
            .expect("serialises")
            .contains("tls")
    );
    let pod = first_pod::pod_of(&manifest, &release).expect("is built");
    let pod = serde_json::to_value(pod).expect("serialises");
    assert_eq!(pod["metadata"]["annotations"]["llmprogram.dev/tls"], "true");
    let find = |list: &Value| {
        let mut list = list.as_array().into_iter().flatten();
        list.find(|one| one["name"] == "tls").cloned()
    };
    let expected = json!({"name": "tls", "secret": {"secretName": "engines"}});
    assert_eq!(find(&pod["spec"]["volumes"]), Some(expected));
    let engine = &pod["spec"]["containers"][0];
    let expected = json!({"name": "tls", "mountPath": "/etc/lps/tls", "readOnly": true});
    assert_eq!(find(&engine["volumeMounts"]), Some(expected));
    let flags: Vec<&str> = engine["args"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for pair in [
        ["--tls-cert", "/etc/lps/tls/tls.crt"],
        ["--tls-key", "/etc/lps/tls/tls.key"],
        ["--tls-client-ca", "/etc/lps/tls/ca.crt"],
    ] {
        assert!(flags.windows(2).any(|flags| flags == pair), "{flags:?}");
    }
    // Probes are the kubelet's, which has no certificate: they ask the other port.
    assert_eq!(engine["readinessProbe"]["httpGet"]["port"], "admin");
}
