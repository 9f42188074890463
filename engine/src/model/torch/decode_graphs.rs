//! Decoding as CUDA graphs: a step in which every sequence has one new token is recorded once for each of a few batch
//! sizes, and replayed from then on; asking for its operators one by one takes longer than they do. Owns: the graphs, and
//! the tensors that they read and write. Knows no kernel and no layer.
//!
//! A batch is filled up to the next size with sequences of one token, whose keys and values go to a page that is nobody's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lps_engine_core::batch::{Batch, BatchSequence, BlockId, SequenceId};
use tch::{Kind, TchError, Tensor};

use crate::kernels::cuda::library::{Graph, Library};
use crate::kernels::cuda::paged::Paged;
use crate::kernels::pages::{Reads, Slots};
use crate::model::torch::step::{Inputs, Rows, StepShape};

/// What batches may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sequences of one.
    pub sequences_max: usize,
    /// Pages of a sequence.
    pub pages_max: usize,
    /// The page that is nobody's.
    pub scratch: BlockId,
}

/// See the module.
#[derive(Debug)]
pub struct DecodeGraphs {
    library: Library,
    shape: StepShape,
    limits: Limits,
    /// By batch size. Each is made when it is first wanted.
    recorded: BTreeMap<usize, Recorded>,
}

/// What runs a step's layers.
pub type Forward<'a> = dyn FnMut(&Inputs) -> Result<Option<Tensor>, TchError> + 'a;

impl DecodeGraphs {
    /// None is recorded yet.
    pub fn new(library: Library, shape: StepShape, limits: Limits) -> Self {
        Self {
            library,
            shape,
            limits,
            recorded: BTreeMap::new(),
        }
    }

    /// Logits of a step, a row a sequence, valid until the next one; `None` when it is not one for graphs.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn logits(
        &mut self,
        batch: &Batch<'_>,
        forward: &mut Forward<'_>,
    ) -> Result<Option<Tensor>, TchError> {
        let decodes = |one: &BatchSequence<'_>| one.len == 1 && one.sample.is_some();
        let count = batch.sequences.len();
        if count > self.limits.sequences_max || !batch.sequences.iter().all(decodes) {
            return Ok(None);
        }
        let size = count.next_power_of_two().min(self.limits.sequences_max);
        let rows = self
            .shape
            .rows(&filled_up(batch, size, &[self.limits.scratch]));
        let recorded = match self.recorded.entry(size) {
            Entry::Occupied(recorded) => {
                recorded.get().inputs.fill(&rows)?;
                recorded.into_mut()
            }
            Entry::Vacant(place) => {
                let inputs = Fixed::new(&self.shape, size, self.limits.pages_max)?;
                inputs.fill(&rows)?;
                tracing::debug!(size, "a graph is recorded");
                place.insert(Recorded::new(self.library, inputs, forward)?)
            }
        };
        recorded.graph.replay()?;
        let logits = recorded.logits.f_narrow(0, 0, count as i64)?;
        Ok(Some(logits))
    }
}

/// The batch, and sequences of one token after it.
fn filled_up<'a>(batch: &Batch<'a>, size: usize, scratch: &'a [BlockId]) -> Batch<'a> {
    let own = batch.sequences.iter().map(|sequence| BatchSequence {
        sample: None,
        ..*sequence
    });
    let filling = BatchSequence {
        id: SequenceId(u64::MAX),
        tokens: &[0],
        prompt_len: 1,
        computed: 0,
        len: 1,
        blocks: scratch,
        sample: None,
    };
    let filling = std::iter::repeat_with(|| BatchSequence {
        sample: None,
        ..filling
    });
    Batch {
        step: batch.step,
        sequences: own.chain(filling).take(size).collect(),
    }
}

/// One size.
#[derive(Debug)]
struct Recorded {
    inputs: Fixed,
    graph: Graph,
    logits: Tensor,
}

impl Recorded {
    /// Runs the step once as it is, so that whatever is made at a first use is there; then records it.
    fn new(library: Library, inputs: Fixed, forward: &mut Forward<'_>) -> Result<Self, TchError> {
        let mut run = || {
            let nothing = || TchError::Shape("a step without logits".to_owned());
            forward(&inputs.inputs)?.ok_or_else(nothing)
        };
        drop(run()?);
        let (graph, logits) = library.record(run)?;
        Ok(Self {
            inputs,
            graph,
            logits,
        })
    }
}

/// What a graph reads: always the same tensors, with each step's numbers.
#[derive(Debug)]
struct Fixed {
    /// Token ids, positions, slots, then what [`Paged::pack`] makes.
    packed: Tensor,
    /// Views of it.
    inputs: Inputs,
}

impl Fixed {
    fn new(shape: &StepShape, size: usize, pages_max: usize) -> Result<Self, TchError> {
        let count = size as i64;
        let numbers = (6 + pages_max) * size;
        let packed = Tensor::f_zeros([numbers as i64], (Kind::Int64, shape.device))?;
        let column = |index: i64| packed.f_narrow(0, index * count, count);
        let paged = packed.f_slice(0, 3 * count, None, 1)?;
        let reads = |window: &Option<usize>| {
            let (paged, options) = (Paged::of_packed(&paged, count)?, (shape.kind, shape.device));
            let (window, tokens) = (*window, shape.block_tokens);
            Ok(Reads::of_paged(window, tokens, options, paged))
        };
        let inputs = Inputs {
            tokens: column(0)?,
            positions: column(1)?,
            slots: Slots::of_tensor(column(2)?),
            sampled: None,
            reads: shape
                .windows
                .iter()
                .map(reads)
                .collect::<Result<_, TchError>>()?,
        };
        Ok(Self { packed, inputs })
    }

    /// Puts a step's numbers in, in one transfer. All its reads are of the same pages; they differ in their windows.
    fn fill(&self, rows: &Rows) -> Result<(), TchError> {
        let mut numbers = [&rows.tokens[..], &rows.positions[..]].concat();
        numbers.extend(rows.slots.iter().map(|slot| *slot as i64));
        if let Some(reads) = rows.reads.first() {
            numbers.extend(Paged::pack(reads));
        }
        let mut place = self.packed.f_narrow(0, 0, numbers.len() as i64)?;
        place.f_copy_(&Tensor::f_from_slice(&numbers)?)
    }
}

#[cfg(test)]
mod tests {
    use lps_engine_core::batch::Sample;
    use lps_engine_core::request::SamplingParams;

    use super::*;
    use crate::kernels::choice::Choice;
    use crate::kernels::cuda::cases::difference;
    use crate::kernels::cuda::library::emulated;
    use crate::kernels::native::InferenceMode;
    use crate::kernels::pages::LayerPages;
    use crate::model::directory::{ModelDirectory, Source};
    use crate::model::progress::Progress;
    use crate::model::sim::SimCost;
    use crate::model::torch::weights::Weights;
    use crate::model::torch::{TorchModel, families};
    use crate::model::{Device, Dtype, KernelsAsked, KvSize, LoadOptions};

    const BLOCK_TOKENS: usize = 16;
    /// Tokens before the first step, of five sequences.
    const PROMPTS: [usize; 5] = [1, 15, 16, 33, 50];
    const BLOCKS_EACH: u32 = 4;

    /// The demo model in 32 bits, its pages empty.
    fn model(kernels: Choice) -> TorchModel {
        let directory = ModelDirectory::open(&Source::Demo).unwrap();
        let architecture = families::read(&directory).unwrap();
        let weights = Weights::open(&directory.files, &Progress::silent()).unwrap();
        let options = LoadOptions {
            dtype: Some(Dtype::Float32),
            device: Device::Cpu,
            kernels: KernelsAsked::Auto,
            quantization: None,
            block_tokens: BLOCK_TOKENS as u32,
            kv: KvSize::Bytes(8 << 20),
            max_model_len: BLOCKS_EACH * BLOCK_TOKENS as u32,
            max_num_seqs: PROMPTS.len() as u32,
            max_batched_tokens: 1024,
            sim: SimCost::default(),
            printable_tokens: Vec::new(),
            progress: Progress::silent(),
        };
        let (mut model, blocks) =
            TorchModel::new(architecture, &weights, &options, kernels).unwrap();
        assert!(blocks >= BLOCKS_EACH * PROMPTS.len() as u32);
        for pages in pools(&mut model) {
            let _ = pages.zero_();
        }
        model
    }

    fn pools(model: &mut TorchModel) -> Vec<&mut Tensor> {
        let tensors = model.pages.iter_mut().flat_map(|pages| match pages {
            LayerPages::Tensors(pages) => [&mut pages.keys, &mut pages.values],
            LayerPages::Own(_) => panic!("pages of tensors"),
        });
        tensors.collect()
    }

    /// Some of the sequences, each with so many new tokens.
    fn step(members: &[(usize, usize, usize)], model: &mut TorchModel) -> Tensor {
        let tokens: Vec<u32> = (0..64).map(|place| 5 + place * 7 % 90).collect();
        let blocks: Vec<Vec<u32>> = (0..PROMPTS.len() as u32)
            .map(|one| (one * BLOCKS_EACH..(one + 1) * BLOCKS_EACH).collect())
            .collect();
        let params = SamplingParams::default();
        let sequences = members.iter().map(|(one, computed, len)| BatchSequence {
            id: SequenceId(*one as u64),
            tokens: &tokens[*one..computed + len + one],
            prompt_len: PROMPTS[*one],
            computed: *computed,
            len: *len,
            blocks: &blocks[*one],
            sample: Some(Sample {
                params: &params,
                choice: 0,
                forbidden: &[],
                allowed: None,
            }),
        });
        let batch = Batch {
            step: 1,
            sequences: sequences.collect(),
        };
        model.logits(&batch).unwrap().unwrap().copy()
    }

    /// Batches are filled up to the next size: that changes no logit, and no page of anybody.
    #[test]
    fn graphs_compute_what_operators_compute() {
        let _inference = InferenceMode::begin().unwrap();
        let mut plain = model(Choice::Operators);
        let mut graphs = model(Choice::Cuda(emulated::library(true)));
        let mut both = |members: &[(usize, usize, usize)]| {
            let (expected, found) = (step(members, &mut plain), step(members, &mut graphs));
            assert_eq!(found.size(), expected.size());
            let worst = difference(&found, &expected).unwrap();
            assert!(worst < 1e-4, "{members:?}: {worst}");
            // What is recorded is done when it is recorded, and not again: see `emulated`.
            let recorded = &mut graphs.graphs.as_mut().unwrap().recorded;
            let sizes: Vec<usize> = std::mem::take(recorded).into_keys().collect();
            sizes
        };
        let first: Vec<_> = PROMPTS
            .iter()
            .enumerate()
            .map(|(one, len)| (one, 0, *len))
            .collect();
        assert!(both(&first).is_empty());
        let member = |one: usize, later: usize| (one, PROMPTS[one] + later, 1);
        assert_eq!(both(&[member(3, 0)]), [1]);
        assert_eq!(both(&[member(1, 0), member(4, 0), member(0, 0)]), [4]);
        let all = [
            member(2, 0),
            member(0, 1),
            member(4, 1),
            member(1, 1),
            member(3, 1),
        ];
        assert_eq!(both(&all), [5]);
        // One with several new tokens: no step for graphs.
        let sizes = both(&[(0, PROMPTS[0] + 2, 3), member(2, 1)]);
        assert!(sizes.is_empty());
        for (found, expected) in pools(&mut graphs).into_iter().zip(pools(&mut plain)) {
            let own = found.narrow(0, 0, expected.size()[0]);
            let worst = difference(&own, expected).unwrap();
            assert!(worst < 1e-4, "{worst}");
        }
    }
}
