//! Who is believed, and in what order.

use super::*;
use crate::echoes::Echoes;
use crate::message::{Before, Origin};

fn fresh() -> Fresh {
    Fresh {
        program: ProgramId::parse("fresh-program").unwrap(),
        call: CallId::parse("fresh-call").unwrap(),
    }
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn say(text: &'static str) -> Option<BodyId> {
    Some(BodyId(text.to_owned()))
}

fn object() -> ProgramObject {
    ProgramObject {
        id: say("b-program"),
        thread: say("b-thread"),
        call: say("b-call"),
        parents: Some(vec![BodyId("b-parent".to_owned())]),
        class: say("react"),
    }
}

fn everything() -> (HeaderSays<'static>, BodySays) {
    let header = HeaderSays {
        program: Some("h-program"),
        thread: Some("h-thread"),
        call: Some("h-call"),
        parents: Some("h-parent, h-other"),
        client: Some(ClientSays {
            session: "k-program",
            thread: Some("k-thread"),
        }),
        trace: Some(TRACE),
    };
    let body = BodySays {
        program: Some(object()),
        autellix_session: say("a-program"),
        autellix_thread: say("3"),
        autellix_call: say("a-call"),
        autellix_parents: Some(vec![BodyId("1".to_owned()), BodyId("2".to_owned())]),
        session: say("s-program"),
        may_be_followed: true,
    };
    (header, body)
}

fn calls(names: &[&str]) -> Lineage {
    let names = names
        .iter()
        .map(|name| CallId::parse(name).unwrap())
        .collect();
    Lineage::Calls(Parents::Named(names))
}

fn check(
    (header, body): (HeaderSays<'_>, BodySays),
    (source, names): (IdentitySource, [&str; 3]),
    lineage: Lineage,
) {
    let identity = identify(&header, &body, fresh()).unwrap();
    assert_eq!(identity.source, source);
    let found = [
        identity.program.as_str(),
        identity.thread.as_str(),
        identity.call.as_str(),
    ];
    assert_eq!(found, names);
    assert_eq!(identity.lineage, lineage);
}

#[test]
fn the_first_place_that_names_a_program_wins() {
    let (header, body) = everything();
    let h = ["h-program", "h-thread", "h-call"];
    check(
        (header, body.clone()),
        (IdentitySource::Headers, h),
        calls(&["h-parent", "h-other"]),
    );

    let b = ["b-program", "b-thread", "b-call"];
    let no_header = HeaderSays::default();
    check(
        (no_header, body.clone()),
        (IdentitySource::Body, b),
        calls(&["b-parent"]),
    );

    let mut no_object = body;
    no_object.program = None;
    let threads = ["1", "2"]
        .map(|name| ThreadId::parse(name).unwrap())
        .to_vec();
    let a = ["a-program", "3", "a-call"];
    let autellix = (IdentitySource::Autellix, a);
    check((no_header, no_object), autellix, Lineage::Threads(threads));
}

#[test]
fn where_nobody_says_it_on_purpose_what_comes_by_itself_counts() {
    let (header, _) = everything();
    let no_header = HeaderSays::default();
    let session = BodySays {
        session: say("s-program"),
        may_be_followed: true,
        ..BodySays::default()
    };
    let by_itself = HeaderSays {
        client: header.client,
        trace: header.trace,
        ..no_header
    };
    let traced = HeaderSays {
        trace: header.trace,
        ..no_header
    };
    let tools = BodySays {
        may_be_followed: true,
        ..BodySays::default()
    };
    let trace = "trace-0af7651916cd43dd8448eb211c80319c";
    for (says, source, program, thread) in [
        (
            (by_itself, session.clone()),
            IdentitySource::Client,
            "k-program",
            "k-thread",
        ),
        (
            (traced, session),
            IdentitySource::Session,
            "s-program",
            "main",
        ),
        (
            (traced, tools.clone()),
            IdentitySource::Trace,
            trace,
            "main",
        ),
        (
            (no_header, tools),
            IdentitySource::Tools,
            "fresh-program",
            "main",
        ),
        (
            (no_header, BodySays::default()),
            IdentitySource::Single,
            "fresh-program",
            "main",
        ),
    ] {
        let names = [program, thread, "fresh-call"];
        check(says, (source, names), Lineage::Calls(Parents::Unsaid));
    }
}

#[test]
fn known_clients_tell_their_sessions_and_are_not_refused_for_how() {
    let read = |pairs: &[(&str, &'static str)]| {
        let pairs = pairs.to_vec();
        let says =
            ClientSays::read(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1));
        says.map(|says| (says.session, says.thread))
    };
    let claude = ("x-claude-code-session-id", "s");
    assert_eq!(read(&[claude]), Some(("s", None)));
    assert_eq!(
        read(&[claude, ("x-claude-code-agent-id", "a")]),
        Some(("s", Some("a")))
    );
    assert_eq!(
        read(&[("session-id", "s"), ("thread-id", "t")]),
        Some(("s", Some("t")))
    );
    let child = ("x-session-id", "s");
    assert_eq!(read(&[child]), Some(("s", None)));
    assert_eq!(
        read(&[child, ("x-parent-session-id", "p")]),
        Some(("p", Some("s")))
    );
    assert_eq!(
        read(&[("x-session-id", "a b"), ("x-opencode-session", "o")]),
        Some(("o", None))
    );
    assert_eq!(read(&[("x-other", "s")]), None);
}

#[test]
fn headers_that_name_a_program_are_known_before_the_body() {
    let (header, _) = everything();
    let nothing = HeaderSays::default();
    let traced = |trace| HeaderSays {
        trace: Some(trace),
        ..nothing
    };
    let client = HeaderSays {
        client: header.client,
        ..nothing
    };
    for (header, is_named) in [
        (header, true),
        (client, true),
        (traced(TRACE), true),
        (traced("00-0-1-01"), false),
        (nothing, false),
    ] {
        assert_eq!(header.names_program(), is_named, "{header:?}");
        let identity = identify(&header, &BodySays::default(), fresh()).unwrap();
        assert_eq!(identity.is_alone(), !is_named, "{header:?}");
    }
}

#[test]
fn only_a_trace_is_a_program() {
    assert!(program_of_trace(TRACE).is_some());
    for other in [
        "",
        "00",
        "00-0-1-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-xyz",
    ] {
        assert_eq!(program_of_trace(other), None, "{other}");
    }
}

fn call(name: &str) -> CallId {
    CallId::parse(name).unwrap()
}

fn origin(program: &str, thread: &str, name: &str) -> Origin {
    Origin {
        program: ProgramId::parse(program).unwrap(),
        thread: ThreadId::parse(thread).unwrap(),
        call: call(name),
    }
}

fn known(wire: &CallId) -> Option<Before> {
    let (origin, is_fork) = match wire.as_str() {
        "a~1" => (origin("p", "t", "a"), false),
        "b~2" => (origin("p", "t", "b"), false),
        "c~3" => (origin("q", "t", "c"), false),
        "d~4" => (origin("p", "t", "d"), true),
        _ => return None,
    };
    Some(Before { origin, is_fork })
}

fn followed(header: &HeaderSays<'_>, answered: &[&str], latest: &str) -> Identity {
    let mut identity = identify(header, &BodySays::default(), fresh()).unwrap();
    let echoes = Echoes {
        answered: answered.iter().map(|name| call(name)).collect(),
        latest: call(latest),
        first: call("call-7-1~9"),
    };
    assert!(identity.may_follow());
    identity.follow(&echoes, known);
    identity
}

#[test]
fn results_put_a_call_behind_those_that_asked() {
    let nothing = HeaderSays::default();
    let join = followed(&nothing, &["a~1", "b~2", "c~3"], "b~2");
    assert_eq!((join.program.as_str(), join.thread.as_str()), ("p", "t"));
    assert_eq!(
        (join.source, join.lineage),
        (IdentitySource::Lineage, calls(&["a", "b"]))
    );
    let traced = HeaderSays {
        trace: Some(TRACE),
        thread: Some("mine"),
        ..nothing
    };
    let traced = followed(&traced, &["a~1"], "a~1");
    assert_eq!(
        (traced.program.as_str(), traced.thread.as_str()),
        ("p", "mine")
    );
    let later = followed(&nothing, &[], "a~1");
    assert_eq!(later.program.as_str(), "p");
    assert_eq!(later.lineage, Lineage::Calls(Parents::Unsaid));
}

#[test]
fn a_second_one_that_brings_results_of_a_call_is_on_a_thread_of_its_own() {
    let nothing = HeaderSays::default();
    let thread = |answered: &[&str]| followed(&nothing, answered, "d~4").thread;
    assert_eq!(thread(&["d~4"]).as_str(), "fresh-call");
    // After an answer in words, which has no id: the thread's last call may be what gave it.
    assert_eq!(thread(&[]).as_str(), "t");
}

#[test]
fn where_the_calls_are_forgotten_all_come_to_one_program() {
    let identity = followed(&HeaderSays::default(), &["x~4"], "x~4");
    assert_eq!(
        (identity.program.as_str(), identity.source),
        ("program-7-1", IdentitySource::Lineage)
    );
    assert_eq!(identity.lineage, Lineage::Calls(Parents::Unsaid));
}

#[test]
fn a_call_goes_on_from_the_one_before_or_beside_others() {
    for (header, is_fork, thread, lineage) in [
        (HeaderSays::default(), false, "t", calls(&["a"])),
        (HeaderSays::default(), true, "fresh-call", calls(&["a"])),
        (
            HeaderSays {
                thread: Some("mine"),
                parents: Some(""),
                ..HeaderSays::default()
            },
            true,
            "mine",
            calls(&[]),
        ),
    ] {
        let mut identity = identify(&header, &BodySays::default(), fresh()).unwrap();
        assert!(identity.is_alone());
        let origin = origin("p", "t", "a");
        identity.go_on_from(Before { origin, is_fork });
        assert_eq!(identity.source, IdentitySource::Prefix);
        let names = [identity.program.as_str(), identity.thread.as_str()];
        assert_eq!((names, identity.lineage), (["p", thread], lineage));
    }
}

#[test]
fn what_was_said_stays() {
    let said = HeaderSays {
        program: Some("q"),
        ..HeaderSays::default()
    };
    let identity = followed(&said, &["a~1", "c~3"], "a~1");
    assert_eq!(
        (identity.program.as_str(), identity.source),
        ("q", IdentitySource::Headers)
    );
    assert_eq!(identity.lineage, calls(&["c"]));
    let parents = HeaderSays {
        parents: Some(""),
        ..said
    };
    assert!(
        !identify(&parents, &BodySays::default(), fresh())
            .unwrap()
            .may_follow()
    );
}

#[test]
fn places_complete_each_other_field_by_field() {
    let (_, body) = everything();
    let header = HeaderSays {
        program: Some("h-program"),
        ..HeaderSays::default()
    };
    let names = ["h-program", "b-thread", "b-call"];
    check(
        (header, body),
        (IdentitySource::Headers, names),
        calls(&["b-parent"]),
    );
}

#[test]
fn a_present_and_empty_list_of_parents_is_a_root() {
    let header = HeaderSays {
        parents: Some(""),
        ..HeaderSays::default()
    };
    let single = (
        IdentitySource::Single,
        ["fresh-program", "main", "fresh-call"],
    );
    check((header, BodySays::default()), single, calls(&[]));
}

#[test]
fn a_bad_id_is_refused_by_the_name_of_its_place_even_where_it_is_outranked() {
    let (mut header, mut body) = everything();
    body.session = say("a\nb");
    let error = identify(&header, &body, fresh()).expect_err("a line end is no id");
    assert_eq!(error.place(), "session_id");

    body.session = None;
    header.thread = Some("a b");
    let error = identify(&header, &body, fresh()).expect_err("a blank is no id");
    assert_eq!(error.place(), "x-thread-id");

    let many = vec!["p"; PARENTS_MAX + 1].join(",");
    let header = HeaderSays {
        parents: Some(&many),
        ..HeaderSays::default()
    };
    let error = identify(&header, &BodySays::default(), fresh()).expect_err("too many");
    assert_eq!(
        error,
        Error::Parents {
            place: "x-parent-call-ids",
            count: PARENTS_MAX + 1
        }
    );
}
