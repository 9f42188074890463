//! Which files are keys, and what a key may do.

use super::file::parse;
use super::*;

/// `printf %s secret | sha256sum`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn entry(change: (&str, &str)) -> String {
    let fields = [
        ("name", "ci"),
        ("sha256", SECRET),
        ("tenant", "team-a"),
        ("roles", "[infer, cancel]"),
        ("expires", "2027-01-31T00:00:00Z"),
    ];
    let fields = fields.map(|(field, value)| {
        let value = if field == change.0 { change.1 } else { value };
        format!("{field}: {value}")
    });
    format!("keys:\n- {}\n", fields.join("\n  "))
}

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

#[test]
fn a_key_is_found_by_its_hash_until_it_expires() {
    let keys = parse(&entry(("", ""))).expect("good");
    let now = at("2027-01-30T23:59:59Z");
    let key = keys.find(Some(b"secret"), now).expect("known");
    assert_eq!(key.tenant(None).expect("its own").as_str(), "team-a");
    for (shown, now, denied) in [
        (None, now, Denied::NoKey),
        (Some(&b"secret\n"[..]), now, Denied::Unknown),
        (Some(SECRET.as_bytes()), now, Denied::Unknown),
        (Some(b"secret"), at("2027-01-31T00:00:00Z"), Denied::Expired),
    ] {
        assert_eq!(keys.find(shown, now), Err(denied));
    }
}

#[test]
fn a_key_is_for_its_roles_and_its_tenant_and_an_administrators_for_all() {
    let now = at("2026-01-01T00:00:00Z");
    let named = |name: &str| Some(TenantId::parse(name).expect("a name"));
    let keys = parse(&entry(("", ""))).expect("good");
    let key = keys.find(Some(b"secret"), now).expect("known");
    assert_eq!(key.may(Role::Cancel), Ok(()));
    assert_eq!(key.may(Role::Metrics), Err(Denied::Role(Role::Metrics)));
    assert_eq!(key.may(Role::Admin), Err(Denied::Role(Role::Admin)));
    assert_eq!(key.tenant(named("team-a")), Ok(key.tenant.clone()));
    assert_eq!(key.tenant(named("team-b")), Err(Denied::Tenant));

    let keys = parse(&entry(("roles", "[admin]"))).expect("good");
    let admin = keys.find(Some(b"secret"), now).expect("known");
    for role in [Role::Infer, Role::Cancel, Role::Metrics, Role::Admin] {
        assert_eq!(admin.may(role), Ok(()));
    }
    assert_eq!(
        Some(admin.tenant(named("team-b")).expect("any")),
        named("team-b")
    );
}

#[test]
fn what_is_wrong_is_told_by_entry_and_field_and_without_a_value() {
    let twice = |name: &str| {
        let one = entry(("", ""));
        let other = entry(("name", name)).replace("keys:\n", "");
        format!("{one}{other}")
    };
    let with_tenants = |tenants: &str| format!("{}tenants: {tenants}\n", entry(("", "")));
    for (text, expected) in [
        (
            entry(("sha256", "sk-plain")),
            r#"keys[0] (name "ci"): sha256: "#,
        ),
        (entry(("sha256", &SECRET[1..])), "sha256: "),
        (entry(("sha256", &SECRET.replace('2', "é"))), "sha256: "),
        (
            entry(("tenant", "sk plain")),
            r#"keys[0] (name "ci"): tenant: "#,
        ),
        (entry(("roles", "[]")), r#"keys[0] (name "ci"): roles: "#),
        (entry(("roles", "[root]")), "keys[0].roles[0]: "),
        (
            entry(("expires", "2027-01-31")),
            r#"keys[0] (name "ci"): expires: "#,
        ),
        (entry(("roles", "sk-plain")), "keys[0].roles: "),
        (
            entry(("expires", "\"a\"\n  key: sk-plain")),
            "unknown field",
        ),
        (twice("ci"), r#"keys[1] (name "ci"): name: "#),
        (twice("cd"), r#"keys[1] (name "cd"): sha256: "#),
        (with_tenants("[{name: t}]"), "missing field `limits`"),
        (
            with_tenants("[{name: t, limits: {requests: 1}}]"),
            "unknown field `requests`",
        ),
        (
            with_tenants("[{name: t, limits: {tokensPerMinute: 0}}]"),
            "tenants[0].limits",
        ),
        (
            with_tenants("[{name: t, limits: {livePrograms: -1}}]"),
            "tenants[0].limits",
        ),
        (
            with_tenants("[{name: a b, limits: {}}]"),
            "tenants[0]: name: ",
        ),
        (
            with_tenants("[{name: t, limits: {}}, {name: t, limits: {}}]"),
            "tenants[1]: name: another",
        ),
        ("keys: []".to_owned(), "keys: there is none"),
        ("keys: sk-plain".to_owned(), "keys: "),
        ("{}".to_owned(), "missing field `keys`"),
        (String::new(), ""),
        ("keys: [".to_owned(), "line 2"),
    ] {
        let told = parse(&text).expect_err(&text).to_string();
        assert!(told.contains(expected), "{text}\n{told}");
        for value in ["plain", &SECRET[1..]] {
            assert!(!told.contains(value), "{text}\n{told}");
        }
        assert!(!told.contains('\n'), "{told}");
    }
}
