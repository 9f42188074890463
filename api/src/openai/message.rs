//! What a message and a tool look like, for the schemas. Requests keep both as they came, because templates read fields of
//! their own; these types say only what every one of them has.

use schemars::JsonSchema;

use crate::openai::Object;
use crate::openai::limits::ROLES;

/// One message of a chat.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ChatMessage", untagged)]
pub enum Message {
    /// The model's own.
    Assistant(Answered),
    /// What it is told.
    Other(Told),
}

/// What the model said and called.
#[derive(Debug, JsonSchema)]
pub struct Answered {
    /// Who speaks.
    #[schemars(extend("const" = "assistant"))]
    pub role: String,
    /// What was said; nothing, where it only called.
    pub content: Option<Content>,
    /// What was called.
    pub tool_calls: Option<Vec<Object>>,
}

/// What the model is told.
#[derive(Debug, JsonSchema)]
pub struct Told {
    /// Who speaks.
    #[schemars(extend("enum" = ROLES))]
    pub role: String,
    /// What is said.
    pub content: Content,
    /// Of which call this is the result.
    pub tool_call_id: Option<String>,
}

/// A text, whole or in parts.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ChatContent", untagged)]
pub enum Content {
    /// Whole.
    Text(String),
    /// In parts.
    Parts(Vec<Part>),
}

/// A part of a text. Models read nothing else.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ChatPart")]
pub struct Part {
    /// What it is.
    #[schemars(extend("enum" = ["text", "input_text", "output_text"]))]
    pub r#type: String,
    /// Its text.
    pub text: String,
}

/// What the model may call.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ChatTool")]
pub struct Tool {
    /// What it is: a function of the client's.
    #[schemars(extend("const" = "function"))]
    pub r#type: String,
    /// Which.
    pub function: Function,
}

/// A function of the client's.
#[derive(Debug, JsonSchema)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A schema of its arguments.
    pub parameters: Option<Object>,
    /// Whether its arguments follow the schema to the letter.
    pub strict: Option<bool>,
}

/// Whether the model may call a tool, or must.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "ChatToolChoice", untagged)]
pub enum ToolChoice {
    /// By its own choice, or none, or one at least.
    Mode(#[schemars(extend("enum" = ["auto", "none", "required"]))] String),
    /// This one.
    Function(NamedFunction),
}

/// One function by its name.
#[derive(Debug, JsonSchema)]
pub struct NamedFunction {
    /// What it is.
    #[schemars(extend("const" = "function"))]
    pub r#type: String,
    /// Which.
    pub function: FunctionName,
}

/// A function's name.
#[derive(Debug, JsonSchema)]
pub struct FunctionName {
    /// Its name.
    pub name: String,
}
