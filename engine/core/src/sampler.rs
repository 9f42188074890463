//! From logits to a token. Pure: random numbers come from (seed, choice, position). Owns: the sampling rules, in the
//! order in which [`SamplingParams`] lists them. Knows nothing of sequences or steps.
//!
//! Logits that hold not-a-number or plus infinity are drawn from by no rule, nor are those that rule out every token by
//! themselves ([`Defect`]). Where tokens are equal, the one with the lowest id wins. No path sorts the whole vocabulary,
//! unless the kept set is that large.

use crate::batch::{Logprobs, Sample, Sampled};
use crate::defect::Defect;
use crate::exponential::{exp, largest, sum};
use crate::request::{SamplingParams, TokenId};

/// First guess of how many of the most likely tokens reach `top_p`; grown by [`TOP_P_GROWTH`] while they do not.
const TOP_P_GUESS: usize = 128;
const TOP_P_GROWTH: usize = 8;

/// Weights that are summed together when the whole vocabulary is drawn from.
const SUM_BLOCK: usize = 1024;

/// Draws the next token. `logits` are the raw values of the whole vocabulary and are overwritten; `tokens` is prompt
/// and output so far, of which `prompt_len` are prompt.
///
/// A token that may not be drawn is drawn only if none may; then it is token 0.
///
/// # Errors
/// When the raw logits have a defect. What bias, penalties and forbidden tokens make of sound ones is none.
pub fn sample(
    logits: &mut [f32],
    sample: &Sample<'_>,
    tokens: &[TokenId],
    prompt_len: usize,
) -> Result<Sampled, Defect> {
    assert!(!logits.is_empty(), "a vocabulary of no tokens");
    let params = sample.params;
    if let Some(defect) = Defect::of_logits(logits) {
        return Err(defect);
    }
    let raw = params.logprobs.map(|count| Raw::of(logits, count as usize));
    if let Some(allowed) = sample.allowed {
        allowed.restrict(logits);
    }
    let mut changed = Vec::new();
    let mut vocabulary = Vocabulary {
        logits,
        changed: raw.is_some().then_some(&mut changed),
    };
    penalise(&mut vocabulary, params, tokens, prompt_len);
    for &(token, bias) in &params.logit_bias {
        vocabulary.change(token, |logit| logit + bias);
    }
    for &token in sample.forbidden {
        vocabulary.change(token, |_| f32::NEG_INFINITY);
    }
    let token = if params.temperature > 0.0 {
        let position = (tokens.len() - prompt_len) as u64;
        let random = uniform(params.seed, sample.choice, position);
        draw(logits, params, random).unwrap_or_else(|| most_likely(logits, sample))
    } else {
        most_likely(logits, sample)
    };
    let logprobs = raw.map(|raw| {
        let before = changed.iter().find(|(changed, _)| *changed == token);
        let logit = before.map_or(logits[token as usize], |(_, logit)| *logit);
        Logprobs {
            chosen: raw.logprob(logit),
            top: raw.top,
        }
    });
    Ok(Sampled { token, logprobs })
}

/// A number in `[0, 1)` that depends on nothing but its key: three rounds of splitmix64, of which the upper 53 bits
/// are taken. No generator has a state, so neither batch, nor preemption, nor resume on another engine changes a text.
pub fn uniform(seed: u64, choice: u32, position: u64) -> f64 {
    let keyed = mix(mix(mix(seed) ^ u64::from(choice)) ^ position);
    (keyed >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes a changed logit comparable: not-a-number becomes minus infinity, plus infinity the largest number (so that
/// differences are numbers), and minus zero zero. A request's own rules bring such values about, not the model.
fn comparable(logit: f32) -> f32 {
    if logit.is_nan() {
        f32::NEG_INFINITY
    } else {
        logit.min(f32::MAX) + 0.0
    }
}

/// What log-probabilities need of the raw logits.
struct Raw {
    /// Logarithm of the sum of all exponentials.
    log_sum: f64,
    top: Vec<(TokenId, f32)>,
}

impl Raw {
    fn of(logits: &[f32], count: usize) -> Self {
        let max = largest(logits);
        let sum = sum(logits, |logit| exp(logit - max));
        let mut raw = Self {
            log_sum: f64::from(max) + sum.ln(),
            top: Vec::new(),
        };
        raw.top = best(logits, count)
            .into_iter()
            .map(|token| (token, raw.logprob(logits[token as usize])))
            .collect();
        raw
    }

    fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum) as f32
    }
}

/// The logits under change.
struct Vocabulary<'a> {
    logits: &'a mut [f32],
    /// What was there before, where somebody will ask.
    changed: Option<&'a mut Vec<(TokenId, f32)>>,
}

impl Vocabulary<'_> {
    /// A token that the vocabulary does not have is ignored.
    fn change(&mut self, token: TokenId, to: impl FnOnce(f32) -> f32) {
        let Some(logit) = self.logits.get_mut(token as usize) else {
            return;
        };
        // Of several changes the first has seen the raw value, and is found first.
        if let Some(changed) = &mut self.changed {
            changed.push((token, *logit));
        }
        *logit = comparable(to(*logit));
    }
}

fn penalise(
    vocabulary: &mut Vocabulary<'_>,
    params: &SamplingParams,
    tokens: &[TokenId],
    prompt_len: usize,
) {
    let repetition = params.repetition_penalty;
    if repetition != 1.0 {
        let mut seen = vec![0_u64; vocabulary.logits.len().div_ceil(64)];
        for &token in tokens {
            let (word, bit) = (token as usize / 64, 1 << (token % 64));
            let first = seen.get_mut(word).is_some_and(|word| {
                let first = *word & bit == 0;
                *word |= bit;
                first
            });
            if first {
                vocabulary.change(token, |logit| {
                    if logit > 0.0 {
                        logit / repetition
                    } else {
                        logit * repetition
                    }
                });
            }
        }
    }
    let (frequency, presence) = (params.frequency_penalty, params.presence_penalty);
    if frequency != 0.0 || presence != 0.0 {
        let mut output = tokens[prompt_len..].to_vec();
        output.sort_unstable();
        for run in output.chunk_by(|a, b| a == b) {
            let count = run.len() as f32;
            vocabulary.change(run[0], |logit| logit - frequency * count - presence);
        }
    }
}

/// The greedy token, which is also what remains when no token has a chance.
fn most_likely(logits: &[f32], sample: &Sample<'_>) -> TokenId {
    let max = largest(logits);
    let token = if max > f32::NEG_INFINITY {
        logits.iter().position(|logit| *logit == max)
    } else {
        (0..logits.len()).find(|token| sample.permits(*token as TokenId))
    };
    token.unwrap_or(0) as TokenId
}

/// Draws by weight; `None` when no token has any.
fn draw(logits: &[f32], params: &SamplingParams, random: f64) -> Option<TokenId> {
    let max = largest(logits);
    if max == f32::NEG_INFINITY {
        return None;
    }
    let scale = Scale {
        max,
        // Of a temperature that is nearly none it would be infinite, and that times zero no number.
        per_degree: (1.0 / params.temperature).min(f32::MAX),
    };
    let top_k = params.top_k as usize;
    let limited_k = top_k > 0 && top_k < logits.len();
    if !limited_k && params.top_p >= 1.0 {
        return draw_from_all(logits, scale, params.min_p, random);
    }
    let mut kept = if limited_k {
        best(logits, top_k)
    } else {
        let total = sum(logits, |logit| scale.weight(logit));
        nucleus(logits, scale, total, params.top_p)
    };
    if limited_k && params.top_p < 1.0 {
        let total = kept
            .iter()
            .map(|&token| f64::from(scale.weight(logits[token as usize])))
            .sum();
        cut(logits, scale, total, params.top_p, &mut kept);
    }
    kept.retain(|&token| scale.weight(logits[token as usize]) >= params.min_p);
    let weights: Vec<f64> = kept
        .iter()
        .map(|&token| f64::from(scale.weight(logits[token as usize])))
        .collect();
    let (index, _) = locate(
        weights.iter().copied(),
        random * weights.iter().sum::<f64>(),
    )?;
    Some(kept[index])
}

/// From logits to weights; the most likely token has weight 1.
#[derive(Clone, Copy)]
struct Scale {
    max: f32,
    per_degree: f32,
}

impl Scale {
    #[inline]
    fn weight(self, logit: f32) -> f32 {
        exp((logit - self.max) * self.per_degree)
    }
}

/// Draws from the whole vocabulary. Each weight is computed once: the block in which the draw falls is found by the
/// blocks' sums.
fn draw_from_all(logits: &[f32], scale: Scale, min_p: f32, random: f64) -> Option<TokenId> {
    let weight = |logit: f32| {
        let weight = scale.weight(logit);
        if weight >= min_p { weight } else { 0.0 }
    };
    let blocks = logits.chunks(SUM_BLOCK);
    let sums: Vec<f64> = blocks.map(|block| sum(block, weight)).collect();
    let (block, left) = locate(sums.iter().copied(), random * sums.iter().sum::<f64>())?;
    let start = block * SUM_BLOCK;
    let end = logits.len().min(start + SUM_BLOCK);
    let weights = logits[start..end].iter();
    let (index, _) = locate(weights.map(|&logit| f64::from(weight(logit))), left)?;
    Some((start + index) as TokenId)
}

/// The index at which the cumulated weight passes `target`, and how far it lies inside; the last one with a weight if
/// rounding leaves a little at the end.
fn locate(weights: impl Iterator<Item = f64>, target: f64) -> Option<(usize, f64)> {
    let mut left = target;
    let mut last = None;
    for (index, weight) in weights.enumerate() {
        if weight > 0.0 {
            if left < weight {
                return Some((index, left));
            }
            left -= weight;
            last = Some((index, weight));
        }
    }
    last
}

/// The smallest set of the most likely tokens that holds `top_p` of `total`, best first.
fn nucleus(logits: &[f32], scale: Scale, total: f64, top_p: f32) -> Vec<TokenId> {
    let mut count = TOP_P_GUESS;
    loop {
        let mut kept = best(logits, count);
        if cut(logits, scale, total, top_p, &mut kept) || count >= logits.len() {
            return kept;
        }
        count = count.saturating_mul(TOP_P_GROWTH);
    }
}

/// Cuts a list that starts with the best after `top_p` of `total`; whether it holds so much. At least one stays.
fn cut(logits: &[f32], scale: Scale, total: f64, top_p: f32, kept: &mut Vec<TokenId>) -> bool {
    let wanted = f64::from(top_p) * total;
    let mut mass = 0.0;
    let enough = kept.iter().position(|&token| {
        mass += f64::from(scale.weight(logits[token as usize]));
        mass >= wanted
    });
    if let Some(last) = enough {
        kept.truncate(last + 1);
    }
    enough.is_some()
}

/// The `count` best tokens, best first.
fn best(logits: &[f32], count: usize) -> Vec<TokenId> {
    let by_preference =
        |a: &(f32, TokenId), b: &(f32, TokenId)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    // Candidates gather until there are twice as many as wanted; then the worse half goes, and sets the mark that
    // later ones must pass. Nearly all tokens of a vocabulary fail at the mark.
    let capacity = count.saturating_mul(2).max(64).min(logits.len());
    let mut candidates = Vec::with_capacity(capacity);
    let mut mark = f32::NEG_INFINITY;
    let mut marked = false;
    for (token, &logit) in (0..).zip(logits) {
        // Equal to the mark is too late: the ids before are lower.
        if marked && logit <= mark {
            continue;
        }
        candidates.push((logit, token));
        if candidates.len() == capacity && capacity > count {
            candidates.select_nth_unstable_by(count - 1, by_preference);
            candidates.truncate(count);
            mark = candidates[count - 1].0;
            marked = true;
        }
    }
    candidates.sort_unstable_by(by_preference);
    candidates.truncate(count);
    candidates.into_iter().map(|(_, token)| token).collect()
}
