//! Frames of fixed snapshots on terminals of several sizes, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::frame::Frame;
use super::snapshot::{Ask, Known, Snapshot, Sort};
use super::view::{Next, View};

fn program(id: &str, [pending, running, completed]: [u64; 3]) -> Value {
    let wait = (pending > 0).then(|| json!({"reason": "no_capacity", "wait_us": 2_500_000}));
    json!({"id": id, "tenant": "t", "class": "agent", "state": "live", "service_total_us": 1_234_567, "critical_path_us": 900_000,
        "wait_total_us": 4_200_000, "age_us": 185_000_000,
        "call_counts": {"pending": pending, "running": running, "completed": completed, "cancelled": 0, "failed": 0},
        "first_call": {"id": "c1", "queue": 2, "p_us": 800_000, "wait": wait}})
}

fn call(id: &str, state: &str) -> Value {
    let explain = (state == "pending").then(|| {
        json!({"reason": "no_capacity", "for_us": 2_500_000, "position": 3, "engine": null,
            "wait_over_service_milli": 10})
    });
    json!({"id": id, "thread": "main", "parents": ["plan"], "state": state, "engine": "demo-0", "queue": 2,
        "p_us": 800_000, "service_us": 5_000, "wait_us": 2_600_000, "output_tokens": 7, "explain": explain})
}

fn engine(id: &str, running: u64) -> Value {
    json!({"id": id, "model": "demo", "draining": false, "slots": 4, "home_programs": 2,
        "load": {"running": running, "waiting": 1}, "kv": {"blocks_used": 45, "blocks_total": 100}})
}

fn known(programs: Vec<Value>) -> Known {
    let calls = json!({"waiting": 12, "running": 4, "oldest_wait_us": 3_210_000, "oldest_reason": "no_capacity"});
    Known {
        url: "http://127.0.0.1:8080".to_owned(),
        last: Some(Snapshot {
            models: vec![json!({"id": "demo", "calls": calls})],
            engines: vec![engine("demo-0", 4), engine("demo-1", 0)],
            programs,
            ..Snapshot::default()
        }),
        problem: None,
    }
}

/// The same, with the calls of the first program.
fn opened(calls: Vec<Value>) -> (View, Known) {
    let mut known = known(vec![program("run-1", [1, 1, 1])]);
    let mut whole = program("run-1", [1, 1, 1]);
    whole["calls"] = Value::Array(calls);
    let mut view = View::default();
    assert_eq!(view.on(key(KeyCode::Enter), &known), Next::Read);
    assert_eq!(
        view.ask.program.as_ref().map(|it| it.id.as_str()),
        Some("run-1")
    );
    if let Some(last) = &mut known.last {
        last.program = Some(whole);
    }
    (view, known)
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn terminal(view: &View, known: &Known, (width, height): (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let frame = Frame {
        view,
        known,
        has_colour: true,
    };
    terminal
        .draw(|screen| screen.render_widget(frame, screen.area()))
        .expect("drawn");
    terminal
}

/// The lines of a frame.
fn lines(view: &View, known: &Known, size: (u16, u16)) -> Vec<String> {
    let terminal = terminal(view, known, size);
    let buffer = terminal.backend().buffer();
    let cells = buffer.content.chunks(usize::from(size.0));
    let lines = cells.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_frame_has_queues_engines_and_programs() {
    let known = known(vec![
        program("run-1", [3, 1, 2]),
        program("run-2", [0, 1, 0]),
    ]);
    let shown = lines(&View::default(), &known, (120, 14));
    let expected = [
        "lps top  2 programs, most wait first  http://127.0.0.1:8080",
        "MODEL  WAITING  RUNNING  OLDEST  WHY",
        "demo   12       4        3.21 s  no_capacity",
        "ENGINE  SLOTS  WAITING  KV    HOMES  DRAINING  MODEL",
        "demo-0  4/4    1        45 %  2      false     demo",
        "demo-1  0/4    1        45 %  2      false     demo",
        "PROGRAM  STATE  WAITING  RUNNING  WHY          WAIT    SERVICE  QUEUE  P       AGE    CLASS  CRITICAL PATH  CALLS",
        "run-1    live   3        1        no_capacity  4.20 s  1.23 s   2      800 ms  3 min  agent  900 ms         6",
        "run-2    live   0        1        -            4.20 s  1.23 s   2      800 ms  3 min  agent  900 ms         1",
        "",
        "",
        "",
        "",
        "↑↓ choose  Enter calls  s sort  e ended  q quit",
    ];
    assert_eq!(shown, expected, "{shown:#?}");
}

#[test]
fn what_fits_no_narrow_terminal_is_left_out_from_the_right() {
    let known = known(vec![program("run-1", [3, 1, 2])]);
    let shown = lines(&View::default(), &known, (60, 15));
    assert_eq!(
        shown[6],
        "PROGRAM  STATE  WAITING  RUNNING  WHY          WAIT"
    );
    assert_eq!(shown[14], "↑↓ choose  Enter calls  s sort  e ended  q quit");
    for size in [(60, 15), (10, 3), (3, 2), (1, 1), (300, 100)] {
        let (view, opened) = opened(vec![call("c1", "pending")]);
        for (view, known) in [(&View::default(), &known), (&view, &opened)] {
            assert_eq!(lines(view, known, size).len(), usize::from(size.1));
        }
    }
}

#[test]
fn an_overload_is_shown_around_the_chosen_program() {
    let programs = (0..1_000).map(|n| program(&format!("run-{n}"), [9, 0, 0]));
    let mut known = known(programs.collect());
    if let Some(last) = &mut known.last {
        last.has_more = true;
        last.engines = (0..64).map(|n| engine(&format!("demo-{n}"), 4)).collect();
    }
    let mut view = View::default();
    for _ in 0..50 {
        view.on(key(KeyCode::PageDown), &known);
    }
    let shown = lines(&view, &known, (80, 30)).join("\n");
    for text in [
        "more than 1000 programs",
        "… 59 more",
        "run-500 ",
        "run-495 ",
    ] {
        assert!(shown.contains(text), "{text}\n{shown}");
    }
    assert!(!shown.contains("run-0 "), "{shown}");
    view.on(key(KeyCode::End), &known);
    let shown = lines(&view, &known, (80, 30)).join("\n");
    assert!(shown.contains("run-999"), "{shown}");
}

#[test]
fn an_id_of_any_letters_is_cut_where_it_is_too_wide() {
    let long = "a".repeat(128);
    let wide = "漢".repeat(128);
    let known = known(vec![
        program(&long, [1, 0, 0]),
        program(&wide, [1, 0, 0]),
        program("ünï-é\u{301}\u{1b}[2J", [1, 0, 0]),
    ]);
    let shown = lines(&View::default(), &known, (60, 15));
    assert!(
        shown[7].starts_with(&format!("{}…  live", "a".repeat(19))),
        "{shown:#?}"
    );
    assert!(
        shown[8].starts_with("漢 漢") && shown[8].contains('…'),
        "{shown:#?}"
    );
    assert!(
        shown[9].starts_with("ünï-é\u{301}\u{fffd}[2J"),
        "{shown:#?}"
    );
    let columns: Vec<_> = shown[7..10]
        .iter()
        .map(|line| line.contains("live"))
        .collect();
    assert_eq!(columns, [true; 3]);
}

#[test]
fn a_programs_calls_say_why_they_wait() {
    let calls = ["completed", "pending", "running"];
    let calls = calls.map(|state| call(&format!("{state}-1"), state));
    let (mut view, known) = opened(calls.to_vec());
    let shown = lines(&view, &known, (100, 15));
    let first = |line: usize| shown[line].split_whitespace().next().unwrap_or_default();
    assert_eq!([1, 2, 3].map(first), ["PROGRAM", "run-1", "CALL"]);
    assert_eq!(
        [4, 5, 6].map(first),
        ["pending-1", "running-1", "completed-1"]
    );
    let told = shown.join(" ");
    for text in [
        "This call waits, for 2.50 s as no_capacity: calls that stand before it have the room.",
        "Calls before it: 3.",
        "Esc back",
    ] {
        assert!(told.contains(text), "{text}\n{shown:#?}");
    }
    view.on(key(KeyCode::Down), &known);
    let told = lines(&view, &known, (100, 15)).join(" ");
    assert!(told.contains("This call is running."), "{told}");
    assert_eq!(view.on(key(KeyCode::Esc), &known), Next::Draw);
    assert_eq!(view.ask.program, None);
}

#[test]
fn a_program_that_has_gone_is_told() {
    let (view, mut known) = opened(Vec::new());
    known.last = Some(Snapshot::default());
    let shown = lines(&view, &known, (60, 15)).join("\n");
    assert!(shown.contains("nothing is known of run-1"), "{shown}");
}

#[test]
fn a_router_that_does_not_answer_is_told_above_what_it_said_last() {
    let mut silent = Known {
        problem: Some("cannot reach the router at http://h:1 (Connection refused)".to_owned()),
        ..Known::default()
    };
    let shown = lines(&View::default(), &silent, (80, 15)).join("\n");
    assert!(shown.contains("the router does not answer"), "{shown}");
    assert!(shown.contains("Connection refused"), "{shown}");
    silent.last = known(vec![program("run-1", [1, 0, 0])]).last;
    let shown = lines(&View::default(), &silent, (80, 15)).join("\n");
    assert!(shown.contains("this is what it said last"), "{shown}");
    assert!(shown.contains("run-1"), "{shown}");
    silent.told(Ok(Snapshot::default()));
    let shown = lines(&View::default(), &silent, (80, 15)).join("\n");
    assert!(
        shown.contains("0 programs") && shown.contains("no programs"),
        "{shown}"
    );
    assert!(!shown.contains("does not answer"), "{shown}");
}

#[test]
fn colour_says_what_waits_and_the_chosen_row_is_turned() {
    let known = known(vec![program("run-1", [1, 0, 0])]);
    let shown = terminal(&View::default(), &known, (100, 15));
    let buffer = shown.backend().buffer();
    let reason = &buffer[(34, 7)];
    assert_eq!((reason.symbol(), reason.fg), ("n", Color::Yellow));
    assert!(reason.modifier.contains(Modifier::REVERSED));
    assert_eq!(buffer[(0, 7)].fg, Color::Reset);
    let mut plain = Terminal::new(TestBackend::new(100, 15)).expect("a terminal");
    let frame = Frame {
        view: &View::default(),
        known: &known,
        has_colour: false,
    };
    plain
        .draw(|screen| screen.render_widget(frame, screen.area()))
        .expect("drawn");
    let cells = &plain.backend().buffer().content;
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

#[test]
fn a_chosen_program_stays_chosen_where_others_pass_it() {
    let mut view = View::default();
    let before = known(vec![program("a", [1, 0, 0]), program("b", [1, 0, 0])]);
    view.on(key(KeyCode::Down), &before);
    let after = ["x", "y", "b", "a"].map(|id| program(id, [1, 0, 0]));
    assert_eq!(view.chosen(after.iter()), 2);
    let gone = [program("z", [1, 0, 0])];
    assert_eq!(view.chosen(gone.iter()), 0);
    let mut another = program("b", [1, 0, 0]);
    another["tenant"] = json!("another");
    let mut later = program("b", [1, 0, 0]);
    later["generation"] = json!(2);
    let alike = [another, later, program("b", [1, 0, 0])];
    assert_eq!(
        view.chosen(alike.iter()),
        2,
        "ids are their tenants' own, and come again"
    );
}

#[test]
fn keys_end_it_or_change_what_is_asked_for() {
    let known = known(Vec::new());
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for end in [key(KeyCode::Char('q')), key(KeyCode::Esc), interrupt] {
        assert_eq!(View::default().on(end, &known), Next::Quit);
    }
    let mut view = View::new(Ask::default());
    let mut sorts = Vec::new();
    for _ in 0..4 {
        assert_eq!(view.on(key(KeyCode::Char('s')), &known), Next::Read);
        sorts.push(view.ask.sort);
    }
    let all = [Sort::Service, Sort::CriticalPath, Sort::Arrival, Sort::Wait];
    assert_eq!(sorts, all);
    assert_eq!(view.on(key(KeyCode::Char('e')), &known), Next::Read);
    assert!(view.ask.with_ended);
    for ignored in [KeyCode::Down, KeyCode::End, KeyCode::Char('x')] {
        assert_eq!(view.on(key(ignored), &known), Next::Draw);
    }
    assert_eq!(view.on(key(KeyCode::Enter), &known), Next::Read);
    assert_eq!(view.ask.program, None, "there is none to look at");
}
