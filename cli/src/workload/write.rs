//! Writing the workload file. Owns: a line a program, which the reader takes back as the same workload.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{CallSpec, ProgramSpec, Workload};

impl Workload {
    /// Writes JSON lines.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        for program in &self.programs {
            writeln!(to, "{}", line(program))?;
        }
        to.flush()
    }
}

fn line(program: &ProgramSpec) -> Value {
    let calls = program.calls.iter().map(|call| of_call(call, program));
    json!({
        "program": program.program.as_str(),
        "tenant": program.tenant.as_str(),
        "class": program.class.as_str(),
        "arrival_s": program.arrival.as_secs_f64(),
        "calls": calls.collect::<Vec<_>>(),
    })
}

fn of_call(call: &CallSpec, program: &ProgramSpec) -> Value {
    let mut fields = Map::new();
    fields.insert("call".into(), json!(call.call.as_str()));
    fields.insert("thread".into(), json!(call.thread.as_str()));
    if call.says_parents {
        let parents = call.parents.iter().map(|parent| {
            let parent = &program.calls[*parent];
            parent.call.as_str()
        });
        fields.insert("parents".into(), json!(parents.collect::<Vec<_>>()));
    }
    fields.insert("gap_s".into(), json!(call.gap.as_secs_f64()));
    fields.insert("prompt_tokens".into(), json!(call.prompt.0));
    fields.insert("shared_prefix_tokens".into(), json!(call.shared_prefix.0));
    fields.insert("output_tokens".into(), json!(call.output.0));
    fields.insert("service_s".into(), json!(call.service.as_secs_f64()));
    Value::Object(fields)
}
