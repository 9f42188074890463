//! One choice of one call. Owns: its tokens, which of them are computed, in which pages. Knows neither the pool
//! that the pages belong to nor who else wants them.

use crate::batch::BlockId;
use crate::request::TokenId;

/// Where a sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits until a sibling has computed the prompt that they share.
    Blocked,
    /// Was in no batch yet.
    Waiting,
    /// Was in the last batch.
    Running,
    /// Was in a batch, and had to leave it.
    Preempted,
    /// Nothing more will come of it.
    Ended,
}

/// What a page holds, beyond doubt: names the chain of tokens from the start of a sequence to the page's end. Two
/// pages with one identity have equal content; a number is never given to another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(pub(crate) u64);

/// What stands before a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Nothing: the page is the first, in the name space of this salt.
    Root(u64),
    /// The page of that content.
    Page(Identity),
}

/// One choice of one call.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// Prompt and output so far.
    pub(crate) tokens: Vec<TokenId>,
    /// Of those, how many are prompt.
    pub(crate) prompt_len: usize,
    /// Tokens whose KV is in the pages.
    pub(crate) computed: usize,
    /// Pages, in order.
    pub(crate) blocks: Vec<BlockId>,
    /// Chained hashes of the leading full pages, as far as they were asked for. Depends on `tokens` alone.
    pub(crate) hashes: Vec<u64>,
    /// Identities of the leading full pages, as far as they are known.
    pub(crate) identities: Vec<Identity>,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// The last step that it was in; 0 for none.
    pub(crate) step: u64,
}

impl Sequence {
    pub(crate) fn new(prompt: &[TokenId], resumed: &[TokenId], stage: Stage) -> Self {
        let mut tokens = Vec::with_capacity(prompt.len() + resumed.len() + 1);
        tokens.extend_from_slice(prompt);
        tokens.extend_from_slice(resumed);
        Self {
            tokens,
            prompt_len: prompt.len(),
            computed: 0,
            blocks: Vec::new(),
            hashes: Vec::new(),
            identities: Vec::new(),
            stage,
            step: 0,
        }
    }

    /// Tokens that are known and not computed; one of them when the sequence decodes.
    pub(crate) fn owed(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Output so far.
    pub(crate) fn output_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Takes part in the scheduling.
    pub(crate) fn is_schedulable(&self) -> bool {
        matches!(
            self.stage,
            Stage::Waiting | Stage::Running | Stage::Preempted
        )
    }

    /// What stands before page `index`.
    pub(crate) fn parent(&self, index: usize, salt: u64) -> Parent {
        match index.checked_sub(1) {
            None => Parent::Root(salt),
            Some(before) => Parent::Page(self.identities[before]),
        }
    }

    /// Forgets what an ended sequence no longer needs.
    pub(crate) fn end(&mut self) {
        assert!(
            self.blocks.is_empty(),
            "a sequence ended with {} pages",
            self.blocks.len()
        );
        self.stage = Stage::Ended;
        self.computed = 0;
        self.prompt_len = 0;
        self.tokens = Vec::new();
        self.hashes = Vec::new();
        self.identities = Vec::new();
    }
}
