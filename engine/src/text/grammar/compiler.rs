//! Where grammars are made. Owns: how many at once, and on what stack. The library follows rules and references by calling
//! itself, so a form of a few kilobytes needs more stack than threads have.

use std::sync::Arc;
use std::thread;

use lps_engine_core::model::Matcher;
use tokio::sync::{Semaphore, oneshot};

use crate::text::grammar::{Form, GrammarError, Grammars};

/// Grammars that are made at once; others wait.
const AT_ONCE: usize = 2;
/// Of addresses: memory is taken as it is used. The largest forms that are taken use a quarter of it.
const STACK_BYTES: usize = 256 << 20;

/// Makes grammars beside everything else.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// What makes them, where the stack is no matter.
    pub grammars: Arc<Grammars>,
    room: Arc<Semaphore>,
}

impl Compiler {
    /// A compiler of these grammars; clones share what is made at once.
    pub fn new(grammars: Grammars) -> Self {
        Self {
            grammars: Arc::new(grammars),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Makes a grammar, and so many matchers of it.
    ///
    /// # Errors
    /// When the form is wrong, unsupported or too large.
    pub async fn matchers(
        &self,
        form: Form,
        count: u32,
    ) -> Result<Vec<Box<dyn Matcher>>, GrammarError> {
        let failed = |_| GrammarError::Form("it could not be looked at".to_owned());
        let room = Arc::clone(&self.room).acquire_owned();
        let room = room.await.expect("it is never closed");
        let grammars = Arc::clone(&self.grammars);
        let (done, is_done) = oneshot::channel();
        let make = move || {
            // Until the work is done, whoever waits for it: a client that leaves makes no room.
            let _room = room;
            let made = grammars
                .compile(&form)
                .map(|grammar| grammar.matchers(count));
            // Nobody waits any more.
            let _ = done.send(made);
        };
        let thread = thread::Builder::new().name("compile".to_owned());
        thread
            .stack_size(STACK_BYTES)
            .spawn(make)
            .map_err(|error| GrammarError::Form(format!("no thread looks at it: {error}")))?;
        is_done.await.map_err(failed)?
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::directory::{ModelDirectory, Source};
    use crate::text::Text;
    use crate::text::grammar::Shape;

    fn form(shape: Shape) -> Form {
        Form {
            text: Some(shape),
            ..Form::default()
        }
    }

    /// Each of so many definitions refers to the next.
    fn chain(length: usize) -> Value {
        let next = |index: usize| json!({"items": {"$ref": format!("#/$defs/a{}", index + 1)}});
        let definitions = (0..length).map(|index| (format!("a{index}"), next(index)));
        let mut definitions: serde_json::Map<_, _> = definitions.collect();
        definitions.insert(format!("a{length}"), json!({"type": "null"}));
        json!({"$ref": "#/$defs/a0", "$defs": definitions})
    }

    fn rules(length: usize) -> String {
        let mut lark = "start: a0\n".to_owned();
        for index in 0..length {
            writeln!(lark, "a{index}: \"x\" a{}", index + 1).unwrap();
        }
        writeln!(lark, "a{length}: \"y\"").unwrap();
        lark
    }

    #[tokio::test]
    async fn forms_that_go_deep_take_no_more_stack_than_there_is() {
        let demo = Text::open(&ModelDirectory::open(&Source::Demo).unwrap()).unwrap();
        for shape in [
            Shape::Json(chain(250)),
            Shape::Json(chain(9_000)),
            Shape::Lark(rules(700)),
            Shape::Lark(rules(30_000)),
        ] {
            // A grammar or a refusal; that there is an answer is what is asked for.
            let made = demo.compiler.matchers(form(shape), 2).await;
            assert!(made.is_err() || made.unwrap().len() == 2);
        }
    }

    #[tokio::test]
    async fn who_leaves_makes_no_room_until_the_work_is_done() {
        let demo = Text::open(&ModelDirectory::open(&Source::Demo).unwrap()).unwrap();
        for _ in 0..8 {
            let asked = demo.compiler.matchers(form(Shape::Lark(rules(2_000))), 1);
            let left = tokio::time::timeout(std::time::Duration::ZERO, asked);
            assert!(left.await.is_err());
        }
        let answered = demo
            .compiler
            .matchers(form(Shape::Regex("a+".to_owned())), 3);
        assert_eq!(answered.await.unwrap().len(), 3);
    }
}
