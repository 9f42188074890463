//! An error with what led to it, in one line. Owns: which causes are told, and how they are joined.

use std::error::Error;

/// The error and its causes, from the outermost in, joined by `: `; without what is said already, as by libraries whose
/// errors repeat their source.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Step {
        text: &'static str,
        source: Option<Box<Step>>,
    }

    fn chain(texts: &[&'static str]) -> Option<Box<Step>> {
        let (text, rest) = texts.split_first()?;
        let source = chain(rest);
        Some(Box::new(Step { text, source }))
    }

    #[test]
    fn causes_are_told_in_order_and_once() {
        for (texts, expected) in [
            (&["broken"][..], "broken"),
            (
                &["no answer", "connect", "refused"],
                "no answer: connect: refused",
            ),
            (
                &["engine at u: connect", "connect", "refused"],
                "engine at u: connect: refused",
            ),
        ] {
            let error = chain(texts).expect("at least one");
            assert_eq!(with_causes(&*error), expected);
        }
    }
}
