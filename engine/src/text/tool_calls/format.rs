//! Formats in which models write tool calls. Owns: what stands around a call and inside it, for whoever reads calls and for
//! whoever makes a model write them, and how a chat template shows which is its own. Pure.

/// How a model writes tool calls.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolCallFormat {
    /// By which people ask for it.
    pub name: &'static str,
    /// What tells a call from text.
    pub(in crate::text) mark: &'static str,
    /// Whether an answer that begins with JSON may be a call without the mark.
    pub(in crate::text) goes_unmarked: bool,
    /// Whether its templates take ids of nine letters and digits only.
    pub has_short_ids: bool,
    /// Before the first call.
    pub(in crate::text) begin: &'static [Part],
    /// Before each call.
    pub(in crate::text) open: &'static [Part],
    /// What a call is.
    pub(in crate::text) body: Body,
    /// After each call.
    pub(in crate::text) close: &'static [Part],
    /// Between two calls; `None`: an answer has one.
    pub(in crate::text) between: Option<&'static str>,
    /// After the last call.
    pub(in crate::text) end: &'static [Part],
}

/// Something that stands around calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Part {
    /// A token of its own where the tokenizer has one, else text.
    Mark(&'static str),
    /// Text.
    Text(&'static str),
}

/// What a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Body {
    /// `{"name": …, ARGUMENTS: {…}}`
    Object {
        /// The key of the arguments.
        arguments: &'static str,
    },
    /// The name, a mark, and the arguments as JSON.
    Named {
        /// Before the arguments.
        mark: &'static str,
    },
    /// `call:NAME{KEY:VALUE,…}`, texts between quotes.
    Notation {
        /// Before and after a text.
        quote: &'static str,
    },
}

/// Of NousResearch's Hermes, Qwen 2.5 and 3, and the demo model.
pub(in crate::text) const HERMES: ToolCallFormat = ToolCallFormat {
    name: "hermes",
    mark: "<tool_call>",
    goes_unmarked: false,
    has_short_ids: false,
    begin: &[],
    open: &[Part::Mark("<tool_call>"), Part::Text("\n")],
    body: Body::Object {
        arguments: "arguments",
    },
    close: &[Part::Text("\n"), Part::Mark("</tool_call>")],
    between: Some("\n"),
    end: &[],
};

/// Of Mistral's models since the middle of 2025.
pub(in crate::text) const MISTRAL: ToolCallFormat = ToolCallFormat {
    name: "mistral",
    mark: "[TOOL_CALLS]",
    goes_unmarked: false,
    has_short_ids: true,
    begin: &[],
    open: &[Part::Mark("[TOOL_CALLS]")],
    body: Body::Named { mark: "[ARGS]" },
    close: &[],
    between: Some(""),
    end: &[],
};

/// Of Mistral's models before: a list.
pub(in crate::text) const MISTRAL_LIST: ToolCallFormat = ToolCallFormat {
    name: "mistral-list",
    mark: "[TOOL_CALLS]",
    goes_unmarked: false,
    has_short_ids: true,
    begin: &[Part::Mark("[TOOL_CALLS]"), Part::Text("[")],
    open: &[],
    body: Body::Object {
        arguments: "arguments",
    },
    close: &[],
    between: Some(", "),
    end: &[Part::Text("]")],
};

/// Of Llama 3.1 to 3.3, whose templates take one call a message: JSON that is all of the answer. Gemma 3, which has no format
/// of its own, is told by its documents to write the same.
pub(in crate::text) const LLAMA: ToolCallFormat = ToolCallFormat {
    name: "llama",
    mark: "<|python_tag|>",
    goes_unmarked: true,
    has_short_ids: false,
    begin: &[],
    open: &[],
    body: Body::Object {
        arguments: "parameters",
    },
    close: &[],
    between: None,
    end: &[],
};

/// Of FunctionGemma, a Gemma 3.
pub(in crate::text) const FUNCTION_GEMMA: ToolCallFormat = ToolCallFormat {
    name: "function-gemma",
    mark: "<start_function_call>",
    goes_unmarked: false,
    has_short_ids: false,
    begin: &[],
    open: &[Part::Mark("<start_function_call>")],
    body: Body::Notation { quote: "<escape>" },
    close: &[Part::Mark("<end_function_call>")],
    between: Some(""),
    end: &[],
};

/// Of Gemma 4.
pub(in crate::text) const GEMMA: ToolCallFormat = ToolCallFormat {
    name: "gemma",
    mark: "<|tool_call>",
    goes_unmarked: false,
    has_short_ids: false,
    begin: &[],
    open: &[Part::Mark("<|tool_call>")],
    body: Body::Notation { quote: "<|\"|>" },
    close: &[Part::Mark("<tool_call|>")],
    between: Some(""),
    end: &[],
};

/// Where some of Mistral's models write an id of theirs, before the arguments.
pub(in crate::text) const CALL_ID: &str = "[CALL_ID]";

/// All of them.
pub(in crate::text) const ALL: [&ToolCallFormat; 6] = [
    &HERMES,
    &MISTRAL_LIST,
    &MISTRAL,
    &LLAMA,
    &FUNCTION_GEMMA,
    &GEMMA,
];

/// A tool's name that no template has of its own.
pub(in crate::text) const PROBE_NAME: &str = "lps_probe";
/// The probe's only argument, which is 1.
pub(in crate::text) const PROBE_KEY: &str = "lps_key";
/// The probe's id: nine letters, as Mistral's templates want it.
pub(in crate::text) const PROBE_ID: &str = "callprobe";

impl ToolCallFormat {
    /// The format of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|format| format.name == name)
    }

    /// The format in which a template writes a call of [`PROBE_NAME`] with [`PROBE_KEY`]; `None`: one that is not known.
    pub(in crate::text) fn written_in(text: &str) -> Option<&'static Self> {
        let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let bare = bare.replace(&format!("{CALL_ID}{PROBE_ID}"), "");
        ALL.into_iter()
            .find(|format| bare.contains(&format.probe()))
    }

    /// How the probe is written, without white space and what may stand between a call and its end.
    fn probe(&self) -> String {
        let text = |part: &Part| match part {
            Part::Mark(text) | Part::Text(text) => text.trim(),
        };
        let parts = self.begin.iter().chain(self.open).map(text);
        let mut probe: String = parts.collect();
        let json = format!("{{\"{PROBE_KEY}\":1}}");
        probe += &match self.body {
            Body::Object { arguments } => {
                format!("{{\"name\":\"{PROBE_NAME}\",\"{arguments}\":{json}")
            }
            Body::Named { mark } => format!("{PROBE_NAME}{mark}{json}"),
            Body::Notation { .. } => format!("call:{PROBE_NAME}{{{PROBE_KEY}:1}}"),
        };
        probe
    }

    /// Whether a grammar holds calls to their schemas: it knows JSON only.
    pub fn has_grammar(&self) -> bool {
        !matches!(self.body, Body::Notation { .. })
    }

    /// The key of arguments in a call's object.
    pub(in crate::text) fn arguments_key(&self) -> &'static str {
        match self.body {
            Body::Object { arguments } => arguments,
            Body::Named { .. } | Body::Notation { .. } => "arguments",
        }
    }

    /// What stands around calls and may be special tokens.
    pub(in crate::text) fn marks(&self) -> impl Iterator<Item = &'static str> {
        let inside = match self.body {
            Body::Object { .. } => None,
            Body::Named { mark } => Some(mark),
            Body::Notation { quote } => Some(quote),
        };
        let after = self.close.iter().filter_map(|part| match part {
            Part::Mark(mark) => Some(*mark),
            Part::Text(_) => None,
        });
        [self.mark].into_iter().chain(inside).chain(after)
    }

    /// The mark after each call, if there is one.
    pub(in crate::text) fn close_mark(&self) -> &'static str {
        let mark = |part: &Part| match part {
            Part::Mark(mark) => Some(*mark),
            Part::Text(_) => None,
        };
        self.close.iter().find_map(mark).unwrap_or_default()
    }
}
