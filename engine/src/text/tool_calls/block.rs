//! What follows a mark, as calls. Owns: which calls a block says and where it ends, in text that grows. A marked call of a tool
//! that is offered is said as it comes, from where its arguments begin; any other when all of it was read. Pure.

use super::ToolRules;
use super::format::{Body, ToolCallFormat};
use super::head::{self, FENCE, Unknown};
use super::json::{Extent, Json};
use super::notation;
use super::whole;

/// Text of one block, at most; what follows is text.
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// What a block says, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// This tool is called.
    Call(String),
    /// With more of these arguments, which are JSON.
    Arguments(String),
    /// They are complete.
    Complete,
}

/// What is known of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It goes on.
    More,
    /// Where in the text it ends.
    Ended(usize),
    /// It is none, or none from here on.
    Not,
}

impl From<Unknown> for Read {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Open => Self::More,
            Unknown::Other => Self::Not,
        }
    }
}

/// A block that is being read. What was looked at is not looked at again, but for a few hundred bytes before arguments.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Where it begins in the text, after the mark.
    begin: usize,
    is_marked: bool,
    /// What ends it.
    close: &'static str,
    stage: Stage,
    /// Where the stage begins, or where its text is looked at next.
    at: usize,
    /// Whether a list of calls is open.
    in_list: bool,
    /// Calls that are said if the block ends well, or nothing more comes.
    pending: Vec<Said>,
    /// Where the last of them ends.
    pending_end: usize,
    /// Up to where calls were said; `None`: none was.
    told: Option<usize>,
}

/// What comes next in a block.
#[derive(Debug, Clone)]
enum Stage {
    /// All of it.
    Begin,
    /// A notation up to its end.
    Notation { in_text: bool },
    /// A call's object.
    Object,
    /// A call that is said when it was read: its object, or its arguments after its name.
    Whole { name: Option<String>, json: Json },
    /// The arguments of a call that is said as it comes.
    Arguments {
        json: Json,
        in_object: bool,
        /// Whether only its name was said: clients know calls that begin so.
        is_new: bool,
    },
    /// The end of the object around them.
    Rest(Json),
    /// What closes the block, where its JSON broke.
    Broken,
    /// Another call or the end.
    Next,
}

impl Block {
    pub(super) fn new(begin: usize, is_marked: bool, format: &ToolCallFormat) -> Self {
        Self {
            begin,
            is_marked,
            close: if is_marked { format.close_mark() } else { "" },
            stage: Stage::Begin,
            at: begin,
            in_list: false,
            pending: Vec::new(),
            pending_end: begin,
            told: None,
        }
    }

    /// Where it begins in the text.
    pub(super) fn begin(&self) -> usize {
        self.begin
    }

    /// Whether a mark stands before it.
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Up to where its text was said as calls.
    pub(super) fn told(&self) -> Option<usize> {
        self.told
    }

    /// Reads on; the text is that of before, or longer.
    pub(super) fn read(&mut self, text: &str, rules: &ToolRules, said: &mut Vec<Said>) -> Read {
        loop {
            match self.step(text, rules, said) {
                Ok(()) => {}
                Err(Read::More) if text.len() - self.begin > BLOCK_BYTES_MAX => return Read::Not,
                Err(read) => return read,
            }
        }
    }

    /// Says what is left when nothing more comes: calls that are whole, and the beginning of one that was begun. Where in the
    /// text they end.
    pub(super) fn finish(mut self, text: &str, said: &mut Vec<Said>) -> usize {
        // What no mark tells from an answer is one.
        if !self.is_marked {
            return 0;
        }
        if !self.pending.is_empty() {
            said.append(&mut self.pending);
            self.told = Some(self.pending_end);
        }
        match self.stage {
            Stage::Arguments { .. } => self.tell(text, text.len(), said),
            // The end of a call's object is no text, nor is the beginning of the block's mark.
            Stage::Rest(_) | Stage::Broken | Stage::Next => self.told = Some(text.len()),
            _ => {}
        }
        self.told.unwrap_or(0)
    }

    fn step(&mut self, text: &str, rules: &ToolRules, said: &mut Vec<Said>) -> Result<(), Read> {
        match &mut self.stage {
            Stage::Begin => self.start(text, rules, said),
            Stage::Notation { in_text } => {
                let Body::Notation { quote } = rules.format.body else {
                    return Err(Read::Not);
                };
                let end = notation::end(text, &mut self.at, in_text, [quote, self.close]);
                let end = end.ok_or(Read::More)?;
                let called = notation::called(&text[self.begin..end], quote);
                let (name, arguments) = called.ok_or(Read::Not)?;
                self.hold(name, arguments, end)
            }
            Stage::Object => self.object(text, rules, said),
            Stage::Whole { name, json } => {
                let end = ended(json.read(text))?;
                let json = &text[self.at..end];
                let called = match name.take() {
                    Some(name) => Some((name, json.to_owned())),
                    None => whole::called(json, rules.format, self.is_marked),
                };
                let (name, arguments) = called.ok_or(Read::Not)?;
                self.hold(name, arguments, end)
            }
            Stage::Arguments { .. } => self.arguments(text, said),
            Stage::Rest(json) => match json.read(text) {
                Extent::Open => Err(Read::More),
                Extent::Broken(at) => self.go_on(at, Stage::Broken),
                Extent::Ended(end) => {
                    self.told = Some(end);
                    self.go_on(end, Stage::Next)
                }
            },
            Stage::Broken if self.close.is_empty() => Err(Read::Not),
            Stage::Broken => Err(Read::Ended(self.closed(text)?)),
            Stage::Next if self.in_list => match self.first(text)? {
                ',' => self.go_on(self.at + 1, Stage::Object),
                ']' => {
                    self.in_list = false;
                    self.go_on(self.at + 1, Stage::Next)
                }
                _ => Err(Read::Not),
            },
            Stage::Next => {
                let end = self.closed(text)?;
                said.append(&mut self.pending);
                Err(Read::Ended(end))
            }
        }
    }

    fn start(&mut self, text: &str, rules: &ToolRules, said: &mut Vec<Said>) -> Result<(), Read> {
        let first = self.first(text)?;
        let rest = &text[self.at..];
        match (rules.format.body, first) {
            (Body::Notation { .. }, _) => {
                self.go_on(self.begin, Stage::Notation { in_text: false })
            }
            (_, '{' | '[') if !self.is_marked => {
                head::begins_like_a_call(rest)?;
                self.go_on(self.at, Stage::Object)
            }
            (_, '{') => self.go_on(self.at, Stage::Object),
            (_, '[') => {
                self.in_list = true;
                self.go_on(self.at + 1, Stage::Object)
            }
            (Body::Named { mark }, _) => {
                let (name, length) = head::name_before(rest, mark)?;
                let at = self.at + length;
                if rules.offers(&name) {
                    return self.open(name, at, false, said);
                }
                let (name, json) = (Some(name), Json::new(at));
                self.go_on(at, Stage::Whole { name, json })
            }
            _ if !self.is_marked && rest.starts_with(FENCE) => {
                let inside = head::fenced(rest)?;
                head::begins_like_a_call(&rest[inside..])?;
                self.close = FENCE;
                self.go_on(self.at + inside, Stage::Object)
            }
            _ => Err(Read::Not),
        }
    }

    fn object(&mut self, text: &str, rules: &ToolRules, said: &mut Vec<Said>) -> Result<(), Read> {
        if self.first(text)? != '{' {
            return Err(Read::Not);
        }
        // What no mark tells from an answer in JSON may be one until its end.
        if self.is_marked {
            match head::name_within(&text[self.at..], rules.format.arguments_key()) {
                Ok((name, length)) if rules.offers(name) => {
                    return self.open(name.to_owned(), self.at + length, true, said);
                }
                Err(Unknown::Open) => return Err(Read::More),
                Ok(_) | Err(Unknown::Other) => {}
            }
        }
        let (name, json) = (None, Json::new(self.at));
        self.go_on(self.at, Stage::Whole { name, json })
    }

    fn arguments(&mut self, text: &str, said: &mut Vec<Said>) -> Result<(), Read> {
        let Stage::Arguments {
            json,
            in_object,
            is_new,
        } = &mut self.stage
        else {
            return Err(Read::Not);
        };
        let in_object = *in_object;
        match json.read(text) {
            Extent::Open => {
                if !std::mem::take(is_new) {
                    self.tell(text, text.len(), said);
                }
                Err(Read::More)
            }
            Extent::Broken(at) => {
                self.tell(text, at, said);
                self.go_on(at, Stage::Broken)
            }
            Extent::Ended(end) => {
                self.tell(text, end, said);
                said.push(Said::Complete);
                let rest = Stage::Rest(Json::inside(end));
                self.go_on(end, if in_object { rest } else { Stage::Next })
            }
        }
    }

    /// What stands next, after white space.
    fn first(&mut self, text: &str) -> Result<char, Read> {
        let rest = text[self.at..].trim_start();
        self.at = text.len() - rest.len();
        rest.chars().next().ok_or(Read::More)
    }

    fn go_on(&mut self, at: usize, stage: Stage) -> Result<(), Read> {
        self.at = at;
        self.stage = stage;
        Ok(())
    }

    /// Begins a call that is said as it comes; its arguments stand there.
    fn open(
        &mut self,
        name: String,
        at: usize,
        in_object: bool,
        said: &mut Vec<Said>,
    ) -> Result<(), Read> {
        said.append(&mut self.pending);
        said.push(Said::Call(name));
        self.told = Some(at);
        let arguments = Stage::Arguments {
            json: Json::new(at),
            in_object,
            is_new: true,
        };
        self.go_on(at, arguments)
    }

    /// Says arguments up to there.
    fn tell(&mut self, text: &str, end: usize, said: &mut Vec<Said>) {
        let begin = self.told.replace(end).unwrap_or(end);
        said.push(Said::Arguments(text[begin..end].to_owned()));
    }

    /// Keeps a call that was read, up to there.
    fn hold(&mut self, name: String, arguments: String, end: usize) -> Result<(), Read> {
        let call = [Said::Call(name), Said::Arguments(arguments), Said::Complete];
        self.pending.extend(call);
        self.pending_end = end;
        self.go_on(end, Stage::Next)
    }

    /// Where the block ends: what closes it stands next, after white space.
    fn closed(&mut self, text: &str) -> Result<usize, Read> {
        if self.close.is_empty() {
            return Ok(self.at);
        }
        self.first(text)?;
        let rest = &text[self.at..];
        if rest.starts_with(self.close) {
            Ok(self.at + self.close.len())
        } else if self.close.starts_with(rest) {
            Err(Read::More)
        } else {
            Err(Read::Not)
        }
    }
}

fn ended(extent: Extent) -> Result<usize, Read> {
    match extent {
        Extent::Ended(end) => Ok(end),
        Extent::Open => Err(Read::More),
        Extent::Broken(_) => Err(Read::Not),
    }
}
