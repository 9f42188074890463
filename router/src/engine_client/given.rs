//! What of an answer its client has. Owns: adding it up from an engine's checkpoints, and the request by which another
//! engine goes on with the answer.

use bytes::{Bytes, BytesMut};
use lps_api::protocol::{Beginning, Checkpoint, RESUME_FIELD, Resume};

/// The sum of the checkpoints whose events went to the client.
#[derive(Debug, Clone, Default)]
pub struct Given {
    beginning: Option<Beginning>,
    tokens: Vec<u32>,
}

impl Given {
    /// Of an answer that is being gone on with.
    pub fn resumed(resume: &Resume) -> Self {
        Self {
            beginning: Some(resume.beginning),
            tokens: resume.tokens.clone(),
        }
    }

    /// The client knows that there is an answer, which began so. One that is gone on with keeps its beginning.
    pub fn begin(&mut self, beginning: Option<Beginning>) {
        self.beginning = self.beginning.or(beginning);
    }

    /// The client has got the event of this checkpoint.
    pub fn add(&mut self, checkpoint: &Checkpoint) {
        self.begin(checkpoint.beginning);
        self.tokens.extend_from_slice(&checkpoint.tokens);
    }

    /// What another engine needs; none where the engine told no checkpoint.
    pub fn into_resume(self) -> Option<Resume> {
        let Self { beginning, tokens } = self;
        beginning.map(|beginning| Resume { beginning, tokens })
    }
}

/// A client's request, which is a JSON object, as one to go on with its answer. Of two fields of one name engines take the
/// last.
pub fn body_to_resume(body: &[u8], resume: &Resume) -> Bytes {
    let json = serde_json::to_vec(resume).expect("numbers");
    let open = body.trim_ascii_end();
    let open = open.strip_suffix(b"}").unwrap_or(open);
    let mut resumed = BytesMut::with_capacity(open.len() + json.len() + RESUME_FIELD.len() + 5);
    resumed.extend_from_slice(open);
    resumed.extend_from_slice(b",\"");
    resumed.extend_from_slice(RESUME_FIELD.as_bytes());
    resumed.extend_from_slice(b"\":");
    resumed.extend_from_slice(&json);
    resumed.extend_from_slice(b"}");
    resumed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_keeps_the_first_beginning_and_all_tokens() {
        let first = Beginning {
            created: 5,
            seed: u64::MAX,
        };
        let checkpoint = |beginning, tokens: &[u32]| Checkpoint {
            beginning,
            tokens: tokens.to_vec(),
            closes: false,
        };
        let mut given = Given::default();
        assert_eq!(given.clone().into_resume(), None);
        given.add(&checkpoint(Some(first), &[1]));
        given.add(&checkpoint(None, &[2, 3]));
        let resume = given.into_resume().unwrap();
        let mut again = Given::resumed(&resume);
        let other = Beginning {
            created: 6,
            seed: 0,
        };
        again.add(&checkpoint(Some(other), &[4]));
        let resume = again.into_resume().unwrap();
        assert_eq!(
            (resume.beginning, resume.tokens.as_slice()),
            (first, &[1, 2, 3, 4][..])
        );
    }

    #[test]
    fn the_request_gets_one_more_field() {
        let resume = Resume {
            beginning: Beginning {
                created: 1,
                seed: 2,
            },
            tokens: vec![7],
        };
        let body = body_to_resume(b"{\"model\":\"m\" }\n", &resume);
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["model"], "m");
        assert_eq!(
            serde_json::from_value::<Resume>(read[RESUME_FIELD].clone()).unwrap(),
            resume
        );
    }
}
