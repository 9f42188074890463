//! Sets of tokens, as a grammar allows them. Knows no grammar.

use crate::request::TokenId;

/// A set of tokens: one bit each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenSet {
    /// Bit `t % 32` of word `t / 32` is token `t`. What is beyond the end is not in the set.
    words: Vec<u32>,
}

impl TokenSet {
    /// From words of 32 tokens, the lowest bit first.
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether it has this one.
    pub fn contains(&self, token: TokenId) -> bool {
        let word = self.words.get(token as usize / 32);
        word.is_some_and(|word| word & (1 << (token % 32)) != 0)
    }

    /// Rules out every token that the set has not.
    pub(crate) fn restrict(&self, logits: &mut [f32]) {
        let known = logits.len().min(self.words.len() * 32);
        logits[known..].fill(f32::NEG_INFINITY);
        for (word, logits) in self.words.iter().zip(logits.chunks_mut(32)) {
            match *word {
                0 => logits.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => {
                    let out = (0..).zip(logits).filter(|(bit, _)| word & (1 << bit) == 0);
                    out.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
                }
            }
        }
    }
}

impl FromIterator<TokenId> for TokenSet {
    fn from_iter<T: IntoIterator<Item = TokenId>>(tokens: T) -> Self {
        let mut words = Vec::new();
        for token in tokens {
            let index = token as usize / 32;
            words.resize(words.len().max(index + 1), 0);
            words[index] |= 1 << (token % 32);
        }
        Self { words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_set_is_ruled_out_also_beyond_its_end() {
        let set: TokenSet = [0, 31, 33].into_iter().collect();
        for size in [1, 31, 32, 33, 34, 64, 70, 130] {
            let mut logits = vec![1.0; size];
            set.restrict(&mut logits);
            let left: Vec<_> = (0..)
                .zip(&logits)
                .filter(|(_, logit)| **logit == 1.0)
                .map(|(token, _)| token)
                .collect();
            let expected: Vec<TokenId> = [0, 31, 33]
                .into_iter()
                .filter(|token| (*token as usize) < size)
                .collect();
            assert_eq!(left, expected, "{size}");
            assert!((0..size as TokenId).all(|token| set.contains(token) == left.contains(&token)));
        }
        assert!(!set.is_empty() && TokenSet::from_words(vec![0; 3]).is_empty());
        let mut logits = [2.0; 64];
        TokenSet::from_words(vec![u32::MAX, u32::MAX]).restrict(&mut logits);
        assert_eq!(logits, [2.0; 64]);
    }
}
