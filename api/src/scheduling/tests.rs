//! Settings: defaults, ranges, and both ways of writing them.

use super::*;

fn set(key: &str, value: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    settings
        .set(key, value)
        .map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

#[test]
fn queues_are_half_open() {
    let settings = set("bounds", "2,4,8").expect("valid");
    for (p_us, queue) in [
        (0, 0),
        (1_999_000, 0),
        (2_000_000, 1),
        (4_000_000, 2),
        (7_990_000, 2),
        (8_000_000, 3),
        (u64::MAX, 3),
    ] {
        assert_eq!(settings.queue_of(Micros(p_us)), queue, "{p_us}");
    }
    let widths: Vec<_> = (0..4).map(|queue| settings.quantum(queue)).collect();
    assert_eq!(
        widths,
        [Some(2), Some(2), Some(4), None].map(|s| s.map(Micros::from_secs))
    );
}

#[test]
fn one_queue_has_no_quantum() {
    for policy in ["fcfs", "program-fcfs", "gittins"] {
        let settings = set("policy", policy).expect("valid");
        let seen = (
            settings.queue_of(Micros::MAX),
            settings.quantum(0),
            settings.displaces(),
        );
        assert_eq!(seen, (0, None, false));
    }
}

#[test]
fn bounds_that_follow_have_their_own_quanta() {
    let settings = set("bounds", "auto").expect("valid");
    assert!(settings.auto_bounds && settings.bounds.len() == 5);
    let mut both = settings.clone();
    both.set("quanta", "1,2,3,4,5,6").expect("valid alone");
    assert_eq!(both.check(), Err(Error::AutoQuanta));
    both.set("bounds", "1,2,3,4,5").expect("valid");
    assert!(both.check().is_ok() && !both.auto_bounds);
}

#[test]
fn an_error_names_key_value_and_range() {
    for (key, value, words) in [
        ("polciy", "fcfs", "no key \"polciy\""),
        ("policy", "sjf", "policy: \"sjf\" is not fcfs,"),
        ("within_queue", "random", "arrival or round-robin"),
        ("tenant_weights", "a=0", "0.001..=1000000"),
        ("tenant_weights", "a", "TENANT=WEIGHT"),
        ("working_set", "maybe", "on or off"),
        ("kv_watermark", "1.1", "0.1..=1"),
        ("acting_lease", "none", "learned, or"),
        ("bounds", "4,2", "ascending"),
        ("bounds", "", "1 to 31"),
        ("quanta", "1,2", "6 queues (5 bounds) need 6 values, not 2"),
        ("beta", "-1", "beta: \"-1\" is not a number of 0.1"),
        ("beta", "NaN", "beta"),
        ("home_wait", "8 parsecs", "home_wait"),
        ("oversubscription", "65", "0..=64"),
        ("oldest_every", "0", "1..=1000000, or none"),
        ("unit", "tokens:0,0", "not both 0"),
        ("preemption", "perhaps", "on or off"),
    ] {
        let error = set(key, value).expect_err(value);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_resource_and_the_simulator_spell_alike() {
    let spec: SchedulingSpec = serde_json::from_str(
        r#"{"policy": "plas", "unit": "tokens:0,15625", "bounds": ["2", 4], "quanta": ["1", "2s", "none"],
            "preemption": "on", "beta": "none", "maxQueueWait": "1.5", "oldestEvery": "none",
            "oversubscription": 0, "homeWait": "250ms", "tenantWeights": {"a": 2, "b": "0.5"},
            "workingSet": "off", "kvWatermark": "0.8", "actingLease": "5s", "withinQueue": "round-robin"}"#,
    )
    .expect("parses");
    let from_spec = Settings::from_spec(&spec).expect("valid");
    let mut set = Settings::default();
    for (key, value) in [
        ("policy", "plas"),
        ("unit", "tokens:0,15625"),
        ("bounds", "2,4"),
        ("quanta", "1,2,inf"),
        ("preemption", "on"),
        ("beta", "none"),
        ("max_queue_wait", "1500ms"),
        ("oldest_every", "none"),
        ("oversubscription", "0"),
        ("home_wait", "0.25"),
        ("tenant_weights", "a=2,b=0.5"),
        ("working_set", "off"),
        ("kv_watermark", "0.8"),
        ("acting_lease", "5"),
        ("within_queue", "round-robin"),
    ] {
        set.set(key, value).expect(key);
    }
    assert_eq!(from_spec, set);
    assert_eq!(from_spec.home_wait, Some(Micros::from_millis(250)));
    assert_eq!(
        Settings::from_spec(&SchedulingSpec::default()),
        Ok(Settings::default())
    );
    assert!(serde_json::from_str::<SchedulingSpec>(r#"{"homewait": 1}"#).is_err());
}
