//! Who runs when: tables of steps, each written as `call:new tokens` in order of preference.

use crate::support::*;

#[test]
fn one_call_runs_to_its_length() {
    let mut engine = Engine::new(config());
    engine.add(request("a", 0, &prompt(1, 5), 3));
    let steps: Vec<_> = (0..3).map(|_| engine.step_line()).collect();
    assert_eq!(steps, ["a:5", "a:1", "a:1"]);
    engine.finish();
    assert_eq!(engine.text("a").len(), 3);
}
